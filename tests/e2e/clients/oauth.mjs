// The same as oauth.py with the TypeScript SDKs. Usage: oauth.mjs URL ts1|legacy|auto|modern [DOCUMENT].

import { createInterface } from "node:readline";

const CALLBACK = "http://127.0.0.1:9/callback";
const PATIENCE = 20_000;
const [url, mode, document] = process.argv.slice(2);
const self = { name: "e2e", version: "1" };
const memory = {};
let visits = 0;
let cameBack;

// Follows redirects with cookies; the authorization server asks nothing.
async function browse(address) {
  visits += 1;
  const cookies = new Map();
  while (!address.startsWith(CALLBACK)) {
    const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") };
    const response = await fetch(address, { headers, redirect: "manual", signal: AbortSignal.timeout(PATIENCE) });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    const location = response.headers.get("location");
    if (!location) throw new Error(`${response.status} of ${address}: ${(await response.text()).slice(0, 500)}`);
    address = new URL(location, address).href;
  }
  return new URL(address).searchParams;
}

const user = {
  redirectUrl: CALLBACK,
  clientMetadataUrl: document,
  clientMetadata: {
    client_name: "e2e",
    redirect_uris: [CALLBACK],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  clientInformation: () => memory.client,
  saveClientInformation: (client) => void (memory.client = client),
  tokens: () => memory.tokens,
  saveTokens: (tokens) => void (memory.tokens = tokens),
  codeVerifier: () => memory.verifier,
  saveCodeVerifier: (verifier) => void (memory.verifier = verifier),
  redirectToAuthorization: async (address) => void (cameBack = await browse(address.href)),
};

// A program without a user. The 1.x SDK asks for the scopes that it is told of here, and for no others.
async function robot() {
  const [clientId, clientSecret, expectedIssuer] = process.env.OAUTH_CREDENTIALS.split(" ");
  const module = mode === "ts1" ? "@modelcontextprotocol/sdk/client/auth-extensions.js" : "@modelcontextprotocol/client";
  const { ClientCredentialsProvider } = await import(module);
  return new ClientCredentialsProvider({ clientId, clientSecret, expectedIssuer, scope: "mcp:read mcp:write" });
}

const provider = process.env.OAUTH_CREDENTIALS ? await robot() : user;

// The transport's program continues when the user has come back from the authorization server.
async function authorized(transport, action) {
  try {
    return await action();
  } catch (error) {
    if (error.name !== "UnauthorizedError" && error.constructor.name !== "UnauthorizedError") throw error;
    if (!cameBack?.get("code")) throw new Error(`the user was refused: ${cameBack}`);
    await transport.finishAuth(mode === "ts1" ? cameBack.get("code") : cameBack);
    cameBack = undefined;
    return undefined;
  }
}

async function connect() {
  // A transport that was refused is not used again; it serves to finish the authorization.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    let client, transport, version;
    if (mode === "ts1") {
      const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
      const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
      transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
      client = new Client(self, {});
      version = () => transport.protocolVersion;
    } else {
      const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
      transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
      client = new Client(self, { versionNegotiation: { mode: mode === "modern" ? { pin: "2026-07-28" } : mode } });
      version = () => client.getNegotiatedProtocolVersion();
    }
    const done = await authorized(transport, async () => (await client.connect(transport), true));
    if (done) return [client, transport, version()];
  }
  throw new Error("not authorized after the user signed in twice");
}

function report(said) {
  const tokens = provider.tokens();
  const held = tokens ? { token: tokens.access_token, scope: tokens.scope ?? null } : {};
  process.stdout.write(JSON.stringify({ visits, id: memory.client?.client_id ?? null, ...held, ...said }) + "\n");
}

const told = (error) => ({ error: `${error.name}: ${error.message}` });
try {
  const [client, transport, version] = await connect();
  report({ version });
  for await (const tool of createInterface({ input: process.stdin })) {
    const call = { name: tool, arguments: {} };
    const options = { timeout: PATIENCE };
    const once = () => (mode === "ts1" ? client.callTool(call, undefined, options) : client.callTool(call, options));
    try {
      const result = (await authorized(transport, once)) ?? (await once());
      report({ text: result.content.map((block) => block.text) });
    } catch (error) {
      report(told(error));
    }
  }
} catch (error) {
  report(told(error));
}
process.exit(0);

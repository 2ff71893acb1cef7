// An OAuth authorization server (oidc-provider) on loopback. Usage: authorization_server.mjs SETTINGS.json
//
// Clients register themselves; users sign in and consent without a hand. Access tokens are JWTs for one resource (RFC 8707, RFC 9068).
// A second, plain listener takes what the test decides as JSON: who signs in, what that user consents to, how long tokens live, which key
// signs, which keys are published. `GET /` there says what was requested of the server so far.

import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

import Provider, { errors } from "oidc-provider";

const settings = JSON.parse(readFileSync(process.argv[2]));
const SCOPES = ["mcp:read", "mcp:write", "mcp:other"];

// Kept in a file, so that a server that starts again has the keys that it had.
if (!existsSync(settings.keys)) writeFileSync(settings.keys, JSON.stringify(["es-1", "es-2", "rs-1", "rs-2"].map(newKey)));
const keys = JSON.parse(readFileSync(settings.keys));

function newKey(kid) {
  const [type, options, alg] = kid.startsWith("es") ? ["ec", { namedCurve: "P-256" }, "ES256"] : ["rsa", { modulusLength: 2048 }, "RS256"];
  return { ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), kid, alg, use: "sig" };
}

const state = {
  account: "alice",
  consents: [SCOPES], // of one user after the other; the last one stays
  seconds: 3600,
  signing: "es-1",
  published: ["es-1", "rs-1"],
  jwks_delay: 0, // milliseconds
  ...settings.state,
};
const requests = [];

const provider = new Provider(settings.issuer, {
  clients: settings.robots.map((name) => ({
    client_id: name,
    client_secret: settings.secret,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  })),
  jwks: { keys },
  scopes: ["openid", "offline_access", ...SCOPES],
  clientAuthMethods: ["none", "client_secret_basic", "client_secret_post"],
  cookies: { keys: ["only for tests"] },
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    clientIdMetadataDocument: settings.documents ? { enabled: true, ack: "draft-02" } : { enabled: false },
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, indicator) {
        if (!settings.resources.includes(indicator)) throw new errors.InvalidTarget();
        const alg = keys.find((key) => key.kid === state.signing).alg;
        const jwt = { sign: { alg, kid: state.signing } };
        return { scope: SCOPES.join(" "), audience: indicator, accessTokenFormat: "jwt", accessTokenTTL: state.seconds, jwt };
      },
      useGrantedResource: () => true,
    },
  },
  extraTokenClaims: () => settings.claims,
  // The documents of clients that are known by a URL of theirs; nothing is fetched from elsewhere.
  fetch: async (url) => {
    const document = settings.documents[url];
    return new Response(JSON.stringify(document), { status: document ? 200 : 404, headers: { "content-type": "application/json" } });
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed("refresh_token"),
  ttl: { Grant: 86_400, Interaction: 600, RefreshToken: 86_400, Session: 86_400 },
});
provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route !== "jwks") return;
  await new Promise((resolve) => setTimeout(resolve, state.jwks_delay));
  ctx.body = { keys: ctx.body.keys.filter((key) => state.published.includes(key.kid)) };
});
provider.on("server_error", (ctx, error) => console.error(error));

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: state.account } });
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const consented = state.consents.length > 1 ? state.consents.shift() : state.consents[0];
  const consents = (scope) => !SCOPES.includes(scope) || consented.includes(scope);
  for (const scope of prompt.details.missingOIDCScope ?? []) {
    if (consents(scope)) grant.addOIDCScope(scope);
    else grant.rejectOIDCScope(scope);
  }
  for (const [indicator, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    for (const scope of scopes) {
      if (consents(scope)) grant.addResourceScope(indicator, scope);
      else grant.rejectResourceScope(indicator, scope);
    }
  }
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const answer = provider.callback();
function serve(request, response) {
  requests.push(`${request.method} ${request.url}`);
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  return interact(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end(String(error));
  });
}

function control(request, response) {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    if (body) Object.assign(state, JSON.parse(body));
    response.end(JSON.stringify({ state, requests }));
  });
}

const { certificate, key } = settings.tls ?? {};
const server = certificate ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, serve) : http.createServer(serve);
http.createServer(control).listen(settings.control, "127.0.0.1", () => server.listen(settings.port, "127.0.0.1"));

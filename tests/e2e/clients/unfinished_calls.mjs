// The same as unfinished_calls.py with the TypeScript SDKs. Usage: unfinished_calls.mjs URL ts1|legacy|auto TOOL...; the token is in MCP_TOKEN.

const [url, mode, ...tools] = process.argv.slice(2);
const PATIENCE = 15_000;
const requestInit = { headers: { Authorization: `Bearer ${process.env.MCP_TOKEN}` } };
const self = { name: "e2e", version: "1" };

async function connected() {
  if (mode === "ts1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const client = new Client(self, {});
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const client = new Client(self, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

async function outcome(client, name) {
  const started = performance.now();
  const told = {};
  const call = { name, arguments: {} };
  const options = { timeout: PATIENCE };
  try {
    const result = await (mode === "ts1" ? client.callTool(call, undefined, options) : client.callTool(call, options));
    told.text = result.content.map((block) => block.text);
  } catch (error) {
    if (error.message.includes("timed out")) told.hung = true;
    Object.assign(told, { error: `${error.name}: ${error.message}`, code: error.code ?? null, data: error.data ?? null });
  }
  return { ...told, seconds: (performance.now() - started) / 1000 };
}

const client = await connected();
const told = {};
for (const tool of tools) {
  const beside = outcome(client, "slow");
  told[tool] = await outcome(client, tool);
  told[tool].beside = await beside;
}
process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));

// The same as unfinished_calls.py with the TypeScript SDKs. Usage: unfinished_calls.mjs URL ts1|legacy|auto TOOL...; the token is in MCP_TOKEN.

import { connected } from "./connected.mjs";

const [url, mode, ...tools] = process.argv.slice(2);
const PATIENCE = 15_000;

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

const [client] = await connected(url, mode);
const told = {};
for (const tool of tools) {
  const beside = outcome(client, "slow");
  told[tool] = await outcome(client, tool);
  told[tool].beside = await beside;
}
process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));

// A TypeScript SDK client that lives on, as steady.py does. Usage: steady.mjs URL ts1|legacy|auto NAME; the token is in MCP_TOKEN.

import { connected } from "./connected.mjs";

const [url, mode, name] = process.argv.slice(2);
const TOOL = "get_server_instructions";
const PAUSE = 10;
const PATIENCE = 30_000;
const ROUNDS_LEAST = 21;

const told = { reads: 0, calls: 0, slowest_read: 0, failed_reads: [], failed_calls: [] };

async function make(kind, marker, call) {
  const started = performance.now();
  try {
    const result = await call();
    if (result.isError) throw new Error(JSON.stringify(result));
    told[kind] += 1;
  } catch (error) {
    told[`failed_${kind}`].push({ marker, error: `${error.name}: ${error.message}`, data: error.data ?? null });
  }
  if (kind === "reads") told.slowest_read = Math.max(told.slowest_read, (performance.now() - started) / 1000);
}

let ended = false;
process.stdin.on("end", () => (ended = true)).resume();
const [client, version] = await connected(url, mode);
console.log(`ready ${version}`);
// On a busy machine the end may come after a few rounds: each client makes so many at least.
for (let number = 0; !ended || number < ROUNDS_LEAST; number += 1) {
  const marker = `${name}-${number}`;
  const options = { timeout: PATIENCE };
  await make("reads", marker, () => client.listTools({}, options));
  const call = { name: TOOL, arguments: {}, _meta: { "e2e/marker": marker } };
  // The 1.x client takes a schema of the result before the options.
  await make("calls", marker, () => (mode === "ts1" ? client.callTool(call, undefined, options) : client.callTool(call, options)));
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}
process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));

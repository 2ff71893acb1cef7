// One conversation with a TypeScript SDK on standard input and output. Usage: local.mjs ts1|legacy|auto PROGRAM ARGUMENT...

const [mode, command, ...args] = process.argv.slice(2);
const self = { name: "e2e", version: "1" };
let client;
if (mode === "ts1") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  client = new Client(self, {});
  await client.connect(new StdioClientTransport({ command, args }));
} else {
  const { Client } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  client = new Client(self, { versionNegotiation: { mode } });
  await client.connect(new StdioClientTransport({ command, args }));
}
const tools = await client.listTools();
const found = await client.callTool({ name: "get_part", arguments: { id: 1 } });
const missing = await client.callTool({ name: "get_part", arguments: { id: 9 } });
console.log(
  JSON.stringify({
    server: client.getServerVersion()?.name,
    tools: tools.tools.map((tool) => tool.name),
    found: found.structuredContent,
    missing: [missing.isError, missing.content[0].text],
  }),
);
await client.close();

// What both TypeScript clients say, and how they report it. A client that hangs is cut after 30 seconds.

const token = process.env.MCP_TOKEN;
export const requestInit = token ? { headers: { Authorization: `Bearer ${token}` } } : {};

function report(value) {
  process.stdout.write(JSON.stringify(value) + "\n", () => process.exit(0));
}

export async function converse(client, transport, { era, version }) {
  setTimeout(() => report({ error: "no end after 30 s" }), 30_000);
  try {
    await client.connect(transport);
    if (era === "legacy") await client.sendRootsListChanged();
    const tools = await client.listTools();
    const text = await client.callTool({ name: "get_server_instructions", arguments: {} });
    const listed = await client.callTool({ name: "swf_list_available_tools", arguments: {} });
    report({
      version: version(),
      server: client.getServerVersion()?.name ?? null,
      instructions: client.getInstructions() ?? null,
      tools: tools.tools.map((tool) => tool.name),
      text: text.content.map((block) => block.text),
      listed: listed.content.map((block) => block.text),
    });
  } catch (error) {
    report({ error: `${error.name}: ${error.message}` });
  }
}

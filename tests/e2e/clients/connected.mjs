// A connected client of a TypeScript SDK and its protocol version. The token is in MCP_TOKEN; mode is ts1, legacy or auto.

const self = { name: "e2e", version: "1" };

export async function connected(url, mode) {
  const options = { requestInit: { headers: { Authorization: `Bearer ${process.env.MCP_TOKEN}` } } };
  if (mode === "ts1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const transport = new StreamableHTTPClientTransport(new URL(url), options);
    const client = new Client(self, {});
    await client.connect(transport);
    return [client, transport.protocolVersion];
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const client = new Client(self, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), options));
  return [client, client.getNegotiatedProtocolVersion()];
}

// One conversation with the TypeScript SDK 1.x. Usage: ts1.mjs URL legacy; the token is in MCP_TOKEN. Prints one JSON object.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { converse, requestInit } from "./conversation.mjs";

const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), { requestInit });
const client = new Client({ name: "e2e", version: "1" }, { capabilities: { roots: { listChanged: true } } });
await converse(client, transport, { era: "legacy", version: () => transport.protocolVersion });

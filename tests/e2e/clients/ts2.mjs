// One conversation with the TypeScript SDK 2.x. Usage: ts2.mjs URL legacy|auto|modern; the token is in MCP_TOKEN. Prints one JSON object.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { converse, requestInit } from "./conversation.mjs";

const MODES = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } };
const era = process.argv[3];
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), { requestInit });
const client = new Client(
  { name: "e2e", version: "1" },
  { capabilities: { roots: { listChanged: true } }, versionNegotiation: { mode: MODES[era] } },
);
await converse(client, transport, { era, version: () => client.getNegotiatedProtocolVersion() });

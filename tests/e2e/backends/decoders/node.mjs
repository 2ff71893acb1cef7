// Node: JSON.parse, the last of equal keys, trimmed. A line of hexadecimal in, a line of readings out.
import { createInterface } from "node:readline";

const text = (value) => (typeof value === "string" ? value.trim() : null);

for await (const line of createInterface({ input: process.stdin })) {
  let reading;
  try {
    const message = JSON.parse(Buffer.from(line, "hex").toString());
    const params = message.params ?? {};
    const version = params._meta?.["io.modelcontextprotocol/protocolVersion"];
    reading = [message.method, params.name, version].map(text);
  } catch (error) {
    reading = { error: String(error) };
  }
  process.stdout.write(JSON.stringify({ node: reading }) + "\n");
}

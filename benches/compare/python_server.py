"""The server that mcp-tools replaces, for the comparison: FastMCP 1.30 with the declarations of `mcp-tools list --json`.

    python_server.py unix:PATH LISTED INSTRUCTIONS            FastMCP alone
    python_server.py 127.0.0.1:PORT LISTED INSTRUCTIONS TOKEN  behind a guard in Python, in the same process

Every tool answers the instructions. Runs under the interpreter that has FastMCP. The guard is a stand-in with the order of
decisions of the one that is replaced: health, path, method, token.
"""

import hmac
import json
import sys
from pathlib import Path

import uvicorn
from mcp.server.fastmcp import FastMCP
from mcp.server.transport_security import TransportSecuritySettings

TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict", "array": "list"}


def declared(listed: str, instructions: str) -> FastMCP:
    # On a Unix socket there is no port for its check of Host to compare.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    options = {"instructions": instructions, "stateless_http": True, "json_response": True, "transport_security": security}
    server = FastMCP("swf-testbed", log_level="WARNING", **options)
    for tool in json.loads(listed):
        required = tool["inputSchema"].get("required", [])
        signature = []
        for name, property in tool["inputSchema"]["properties"].items():
            kind = TYPES.get(property.get("type"), "str | None")
            signature.append(f"{name}: {kind}" + ("" if name in required else f" = {property.get('default')!r}"))
        made: dict = {"text": instructions}
        exec(f"def {tool['name']}({', '.join(signature)}) -> str:\n    return text\n", made)
        server.tool(description=tool["description"])(made[tool["name"]])
    return server


class Guard:
    """A pure ASGI middleware: no framework between the socket and its decision."""

    def __init__(self, app, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/health":
            return await self.refuse(send, 200, {"status": "ok"})
        path = scope["path"].removeprefix("/swf-monitor")
        if scope["method"] != "POST":
            return await self.refuse(send, 405, {"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]})
        sent = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if not sent.startswith("Bearer "):
            return await self.refuse(send, 401, {"error": "Authorization required"})
        if not hmac.compare_digest(sent[7:].encode(), self.token.encode()):
            return await self.refuse(send, 403, {"error": "Invalid token"})
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    async def refuse(self, send, status: int, told: dict):
        body = json.dumps(told).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    address, listed, instructions, *token = sys.argv[1:]
    app = declared(Path(listed).read_text(), Path(instructions).read_text()).streamable_http_app()
    if token:
        app = Guard(app, token[0])
    if address.startswith("unix:"):
        uvicorn.run(app, uds=address.removeprefix("unix:"), log_level="warning")
    else:
        host, _, port = address.rpartition(":")
        uvicorn.run(app, host=host, port=int(port), log_level="warning")


main()

"""An MCP server whose tools do not answer: each does what its name says. Usage: broken.py SOCKET

`good` answers at once and `slow` after a moment; the others cut a stream, leave it silent, end it early, or answer with what is no
answer. Speaks both eras, and nothing but what a client needs to get as far as its calls.
"""

import asyncio
import json
import os
import socket
import struct
import sys

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NOTE = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}}
INFO = {"name": "broken", "version": "1"}


def answer(status: str, kind: str | None, body: bytes, fields: str = "") -> bytes:
    kind_line = f"Content-Type: {kind}\r\n" if kind else ""
    return f"HTTP/1.1 {status}\r\n{kind_line}{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def result(id, value: dict) -> bytes:
    value = {"resultType": "complete", **value}
    return answer("200 OK", "application/json", json.dumps({"jsonrpc": "2.0", "id": id, "result": value}).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(message: dict, before: str = "") -> bytes:
    return chunk(f"{before}event: message\ndata: {json.dumps(message)}\n\n".encode())


PLAIN = {
    "html": answer("200 OK", "text/html", b"<h1>It works!</h1>"),
    "empty": answer("200 OK", "application/json", b""),
    "accepted": answer("202 Accepted", None, b""),
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "unauthorized": answer("401 Unauthorized", "application/json", b'{"error":"unauthorized"}', 'WWW-Authenticate: Bearer resource_metadata="http://inner/"\r\n'),
    "forbidden": answer("403 Forbidden", "application/json", b'{"error":"unauthorized"}'),
    "missing": answer("404 Not Found", "text/html", b"<h1>Not Found</h1>"),
    "moved": answer("307 Temporary Redirect", None, b"", "Location: http://inner/mcp/\r\n"),
}
STREAMS = ["closes", "resets", "ends", "polls", "silent"]
TOOLS = ["good", "slow", *STREAMS, *PLAIN]


async def call(name: str, id, writer: asyncio.StreamWriter) -> bool:
    """Answers a call in the manner of its tool; whether the connection lives on."""
    if name == "slow":
        await asyncio.sleep(0.4)
    if name in ("good", "slow"):
        writer.write(result(id, {"content": [{"type": "text", "text": "done"}]}))
    elif name in PLAIN:
        writer.write(PLAIN[name])
    else:
        writer.write(EVENTS + event(NOTE, "id: 1\nretry: 100\n" if name == "polls" else ""))
        await writer.drain()
        if name == "silent":
            print("a silent stream", flush=True)
            await asyncio.sleep(3600)
        elif name == "resets":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif name in ("ends", "polls"):
            writer.write(b"0\r\n\r\n")
    return name not in ("closes", "resets")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            message = json.loads(await reader.readexactly(length))
            method, id = message.get("method"), message.get("id")
            if id is None:
                writer.write(answer("202 Accepted", None, b""))
            elif method == "initialize":
                version = message["params"]["protocolVersion"]
                writer.write(result(id, {"protocolVersion": version, "capabilities": {"tools": {}, "logging": {}}, "serverInfo": INFO}))
            elif method == "server/discover":
                discovered = {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {"tools": {}}, "serverInfo": INFO}
                writer.write(result(id, {**discovered, "ttlMs": 0, "cacheScope": "private", "_meta": {"io.modelcontextprotocol/serverInfo": INFO}}))
            elif method == "tools/list":
                tools = [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]
                writer.write(result(id, {"tools": tools, "ttlMs": 0, "cacheScope": "private"}))
            elif method == "tools/call":
                if not await call(message["params"]["name"], id, writer):
                    return
            else:
                writer.write(result(id, {}))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main(path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(512)
    os.rename(path + ".new", path)
    await (await asyncio.start_unix_server(serve, sock=listener)).serve_forever()


asyncio.run(main(sys.argv[1]))

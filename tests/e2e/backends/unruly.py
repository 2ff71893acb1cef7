"""A candidate with moods: passes everything on to a good backend, until its mood file says otherwise. Knows no MCP.

Usage: unruly.py SOCKET GOOD_SOCKET MOOD_FILE RECORD_FILE

The guard's own probes are always passed on: what must be noticed is what happens to clients. Every other request is written to
the record before anything else happens to it: [milliseconds since the epoch, method, marker of a tools/call, milliseconds]. It arrived
between the two times: this process had read everything at the first, and the second is that of the record.
"""

import asyncio
import json
import os
import random
import socket
import sys
import time

path, good, mood_file, record_file = sys.argv[1:]
record = open(record_file, "ab", buffering=0)  # What is written is kept, whatever kills this process.

PAGE = b"<!doctype html><title>It works!</title>"


def answer(status: str, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


MOODS = {
    "html": answer("200 OK", "text/html", PAGE),
    "noise": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
    "half": answer("200 OK", "application/json", b'{"jsonrpc":"2.0","id":1,"result":{"content":[')[:-1],
    "500": answer("500 Internal Server Error", "text/html", PAGE),
}


async def message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head


idle_at = time.time()


async def watch() -> None:
    """Notes when this process has last had time."""
    global idle_at
    while True:
        # The loop reads its sockets before it comes here again.
        now = time.time()
        await asyncio.sleep(0.005)
        idle_at = now


def note(body: bytes) -> None:
    call = json.loads(body)
    marker = call.get("params", {}).get("_meta", {}).get("e2e/marker")
    line = [round(idle_at * 1000), call.get("method"), marker, round(time.time() * 1000)]
    record.write(json.dumps(line).encode() + b"\n")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(good)
        while True:
            request = await message(reader)
            mood = "good"
            if b"user-agent: mcp-guard/" not in request.lower():
                note(request.partition(b"\r\n\r\n")[2])
                mood = open(mood_file).read()
                if mood == "flaky":
                    mood = random.choice(["500", "good"])
            if mood.startswith("slow "):
                await asyncio.sleep(float(mood.removeprefix("slow ")))
                mood = "good"
            if mood == "hangs":
                await asyncio.sleep(3600)
            elif mood == "cuts":
                return
            elif mood == "good":
                upstream_writer.write(request)
                writer.write(await message(upstream_reader))
            else:
                writer.write(MOODS[mood])
            await writer.drain()
            if mood in ("noise", "half"):
                return
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    # Bound beside and moved into place: the path is never there without a listener.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(512)
    os.rename(path + ".new", path)
    server = await asyncio.start_unix_server(serve, sock=listener)
    await asyncio.gather(server.serve_forever(), watch())


asyncio.run(main())

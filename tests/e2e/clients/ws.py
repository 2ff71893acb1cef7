"""A WebSocket client that prints one JSON line for each thing that happens. Usage: ws.py URL KEY WHAT

WHAT is `echo` (sizes of messages there and back), `refused` (the status of the refusal) or `wait` (until the server ends it)."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


def say(**what):
    print(json.dumps(what), flush=True)


async def main(url: str, key: str, what: str) -> None:
    fields = {"X-API-Key": key} if key else {}
    try:
        async with connect(url, additional_headers=fields, compression=None, max_size=None, proxy=None) as socket:
            say(opened=json.loads(await socket.recv()), request_id=socket.response.headers.get("X-Request-Id"))
            if what == "wait":
                await socket.recv()
            for size in (0, 1, 125, 126, 65535, 65536, 300_000):
                message = "é" * size if size % 2 else bytes(size)
                await socket.send(message)
                assert await socket.recv() == message, size
            say(echoed=True)
    except InvalidStatus as refused:
        say(status=refused.response.status_code, body=refused.response.body.decode())
    except ConnectionClosed as closed:
        say(closed=closed.rcvd.code if closed.rcvd else None)


asyncio.run(main(*sys.argv[1:4]))

"""A WebSocket server that echoes, and says first what it was sent along with the handshake. Usage: ws_echo.py PORT"""

import asyncio
import json
import sys

from websockets.asyncio.server import serve


async def echo(socket):
    await socket.send(json.dumps({"path": socket.request.path, "headers": dict(socket.request.headers.raw_items())}))
    async for message in socket:
        await socket.send(message)


async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), compression=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())

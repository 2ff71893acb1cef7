"""Sessions of the Python SDK 2 that call at a steady rate until standard input closes. Usage: paced.py URL legacy|auto SESSIONS RATE.

The token is in MCP_TOKEN, RATE is calls a second of all sessions together. Prints `ready VERSION` once all are connected, and one JSON
object at the end: how many calls were answered in how many seconds, their times, and every one that failed.
"""

import asyncio
import contextlib
import json
import os
import sys
import time

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TOOL = "get_server_instructions"
PATIENCE = 30


async def main(url: str, mode: str, sessions: int, rate: float) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    times, failed, ended = [], [], asyncio.Event()

    async def call(client, number: int, begin: float) -> None:
        due = begin + number / rate
        while not ended.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + sessions / rate, time.monotonic() - 1)  # After a pause it catches up for a second and no more.
            started = time.monotonic()
            try:
                result = await asyncio.wait_for(client.call_tool(TOOL, {}), PATIENCE)
                assert not result.is_error, result
                times.append(time.monotonic() - started)
            except Exception as error:
                failed.append(f"after {time.monotonic() - begin:.3f} s: {type(error).__name__}: {error}")

    async with contextlib.AsyncExitStack() as opened:
        clients = []
        for _ in range(sessions):
            http = await opened.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=PATIENCE))
            clients.append(await opened.enter_async_context(Client(streamable_http_client(url, http_client=http), mode=mode)))
        print(f"ready {clients[0].protocol_version}", flush=True)
        begin = time.monotonic()
        calling = [asyncio.create_task(call(client, number, begin)) for number, client in enumerate(clients)]
        await asyncio.to_thread(sys.stdin.read)
        ended.set()
        await asyncio.gather(*calling)
        seconds = time.monotonic() - begin
    print(json.dumps({"calls": len(times), "seconds": seconds, "times": times, "failed": failed}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))

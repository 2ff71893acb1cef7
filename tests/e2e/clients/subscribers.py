"""Clients of the Python SDK 2 that each hold one subscription open, until their input ends. Usage: subscribers.py URL COUNT.

The token is in MCP_TOKEN. Prints `ready VERSION` when all subscriptions are acknowledged, and one JSON object at the end: how
many of them were still open then. Where one of them fails, its error is printed instead.
"""

import asyncio
import contextlib
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

PATIENCE = 60


async def subscribed(url: str, acknowledged: asyncio.Queue, ending: asyncio.Event) -> bool:
    """Subscribes and waits; whether the subscription lasted."""
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        async with Client(streamable_http_client(url, http_client=http), mode="2026-07-28") as client:
            async with client.listen(tools_list_changed=True) as subscription:
                acknowledged.put_nowait(client.protocol_version)

                async def events() -> None:
                    async for _ in subscription:
                        pass

                waiting = asyncio.create_task(events())
                ended = asyncio.create_task(ending.wait())
                await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
                lasted = not waiting.done()
                for task in (waiting, ended):
                    task.cancel()
                    with contextlib.suppress(BaseException):
                        await task
                return lasted


async def main(url: str, count: int) -> None:
    acknowledged, ending = asyncio.Queue(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(subscribed(url, acknowledged, ending)) for _ in range(count)]
        async with asyncio.timeout(PATIENCE):
            versions = {await acknowledged.get() for _ in range(count)}
        print("ready", *sorted(versions), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        ending.set()
    print(json.dumps({"lasted": sum(client.result() for client in clients)}), flush=True)


try:
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
except BaseException as error:  # A task group wraps what happened; the innermost cause is the story.
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)

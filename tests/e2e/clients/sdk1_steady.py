"""A bot that keeps one session of the Python SDK 1.x busy until its standard input closes. Usage: sdk1_steady.py URL; the token is in
MCP_TOKEN. Prints one JSON object: how many calls were answered, and what went wrong."""

import asyncio
import json
import os
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

TOOL = "get_server_instructions"


async def main(url: str) -> dict:
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    answered = 0
    async with streamablehttp_client(url, headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            print("connected", file=sys.stderr, flush=True)
            while not ended.done():
                result = await asyncio.wait_for(session.call_tool(TOOL, {}), 20)
                assert not result.isError, result
                answered += 1
                await asyncio.sleep(0.02)
    return {"answered": answered}


try:
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
except BaseException as error:  # A task group wraps what happened; the innermost cause is the story.
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))

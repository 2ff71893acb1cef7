"""Calls tools that do not respond, beside one that does. Usage: unfinished_calls.py URL sdk1|legacy|auto TOOL...; the token is in MCP_TOKEN.

Prints one JSON object: for each tool what was said and after how many seconds, and how the call beside it went.
"""

import asyncio
import json
import sys
import time

from steady import connected

PATIENCE = 15


async def outcome(calling) -> dict:
    started = time.monotonic()
    try:
        result = await asyncio.wait_for(calling, PATIENCE)
        told = {"text": [block.text for block in result.content]}
    except TimeoutError:
        told = {"hung": True}
    except Exception as error:
        said = getattr(error, "error", None)
        told = {"error": str(error), "code": getattr(said, "code", None), "data": getattr(said, "data", None)}
    return {**told, "seconds": time.monotonic() - started}


async def main(url: str, mode: str, *tools: str) -> None:
    told = {}
    async with connected(url, mode) as (session, _):
        await session.list_tools()  # The 1.x client would ask for it after the first result.
        for tool in tools:
            beside = asyncio.create_task(outcome(session.call_tool("slow", {})))
            await asyncio.sleep(0.05)
            told[tool] = await outcome(session.call_tool(tool, {}))
            told[tool]["beside"] = await beside
    print(json.dumps(told), flush=True)


asyncio.run(main(*sys.argv[1:]))

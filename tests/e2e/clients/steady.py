"""A Python SDK client that lives on: lists and calls in turn until its input ends. Usage: steady.py URL sdk1|legacy|auto NAME.

The token is in MCP_TOKEN. Every call carries a marker of its own. Prints `ready VERSION` once connected, and one JSON object at the
end: what was answered, and every error.
"""

import asyncio
import contextlib
import json
import os
import sys
import time

TOOL = "get_server_instructions"
PAUSE = float(os.environ.get("MCP_PAUSE", "0.01"))
PATIENCE = 30
ROUNDS_LEAST = 21


@contextlib.asynccontextmanager
async def connected(url: str, mode: str):
    """A session of either SDK, and the version it negotiated."""
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    if mode == "sdk1":
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(url, headers=headers) as (read, write, _):
            async with ClientSession(read, write) as session:
                yield session, (await session.initialize()).protocolVersion
    else:
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                yield client, client.protocol_version


async def main(url: str, mode: str, name: str) -> None:
    told = {"reads": 0, "calls": 0, "slowest_read": 0.0, "failed_reads": [], "failed_calls": []}

    async def make(kind: str, marker: str, call) -> None:
        started = time.monotonic()
        try:
            result = await asyncio.wait_for(call, PATIENCE)
            assert not getattr(result, "isError", getattr(result, "is_error", False)), result
            told[kind] += 1
        except Exception as error:
            said = getattr(error, "error", None)
            failed = {"marker": marker, "error": f"{type(error).__name__}: {error}", "data": getattr(said, "data", None)}
            told[f"failed_{kind}"].append(failed)
        if kind == "reads":
            told["slowest_read"] = max(told["slowest_read"], time.monotonic() - started)

    async with connected(url, mode) as (session, version):
        print(f"ready {version}", flush=True)
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        number = 0
        # On a busy machine the end may come after a few rounds: each client makes so many at least.
        while not ended.done() or number < ROUNDS_LEAST:
            marker = f"{name}-{number}"
            await make("reads", marker, session.list_tools())
            await make("calls", marker, session.call_tool(TOOL, {}, meta={"e2e/marker": marker}))
            number += 1
            await asyncio.sleep(PAUSE)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

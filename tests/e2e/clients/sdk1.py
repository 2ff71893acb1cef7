"""One conversation with the Python SDK 1.x. Usage: sdk1.py URL legacy; the token is in MCP_TOKEN. Prints one JSON object."""

import asyncio
import json
import os
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str) -> dict:
    token = os.environ.get("MCP_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with streamablehttp_client(url, headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            hello = await session.initialize()
            await session.send_roots_list_changed()
            tools = await session.list_tools()
            text = await session.call_tool("get_server_instructions", {})
            listed = await session.call_tool("swf_list_available_tools", {})
            return {
                "version": hello.protocolVersion,
                "server": hello.serverInfo.name,
                "instructions": hello.instructions,
                "tools": [tool.name for tool in tools.tools],
                "text": [block.text for block in text.content],
                "listed": [block.text for block in listed.content],
            }


try:
    print(json.dumps(asyncio.run(asyncio.wait_for(main(sys.argv[1]), 30))))
except BaseException as error:  # A task group wraps what happened; the innermost cause is the story.
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))

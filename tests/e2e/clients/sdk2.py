"""One conversation with the Python SDK 2.x. Usage: sdk2.py URL legacy|auto|modern; the token is in MCP_TOKEN. Prints one JSON object."""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


async def main(url: str, era: str) -> dict:
    token = os.environ.get("MCP_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=MODES[era]) as client:
            if era == "legacy":
                await client.send_roots_list_changed()
            tools = await client.list_tools()
            text = await client.call_tool("get_server_instructions", {})
            listed = await client.call_tool("swf_list_available_tools", {})
            return {
                "version": client.protocol_version,
                "server": client.server_info.name if client.server_info else None,
                "instructions": client.instructions,
                "tools": [tool.name for tool in tools.tools],
                "text": [block.text for block in text.content],
                "listed": [block.text for block in listed.content],
            }


try:
    print(json.dumps(asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2]), 30))))
except BaseException as error:  # A task group wraps what happened; the innermost cause is the story.
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))

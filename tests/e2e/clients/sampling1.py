"""A Python SDK 1.x client whose model answers questions of the server. Usage: sampling1.py URL [TOOL]; the token is in MCP_TOKEN.

Prints the id of its session once connected. With a TOOL, calls it after a line of input, and prints the answer as JSON.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CreateMessageResult, TextContent


async def model(_context, params) -> CreateMessageResult:
    text = params.messages[0].content.text
    return CreateMessageResult(role="assistant", model="e2e", content=TextContent(type="text", text=text.upper()))


async def main(url: str, *tools: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_TOKEN']}"}
    async with streamablehttp_client(url, headers=headers) as (read, write, session_id):
        async with ClientSession(read, write, sampling_callback=model) as session:
            await session.initialize()
            print(session_id(), flush=True)
            for tool in tools:
                await asyncio.to_thread(sys.stdin.readline)
                result = await asyncio.wait_for(session.call_tool(tool, {"question": "who asks?"}), 15)
                print(json.dumps([block.text for block in result.content]), flush=True)


asyncio.run(main(*sys.argv[1:]))

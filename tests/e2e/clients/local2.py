"""One conversation with the Python SDK 2.x on standard input and output. Usage: local2.py MODE PROGRAM ARGUMENT...; prints one JSON object."""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(mode: str, program: str, *arguments: str) -> dict:
    transport = stdio_client(StdioServerParameters(command=program, args=list(arguments)))
    async with Client(transport, mode=mode) as client:
        tools = await client.list_tools()
        found = await client.call_tool("get_part", {"id": 1})
        missing = await client.call_tool("get_part", {"id": 9})
        return {
            "version": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "tools": [tool.name for tool in tools.tools],
            "found": found.structured_content,
            "missing": [missing.is_error, missing.content[0].text],
        }


print(json.dumps(asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 30))))

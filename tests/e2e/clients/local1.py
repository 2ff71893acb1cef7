"""One conversation with the Python SDK 1.x on standard input and output. Usage: local1.py PROGRAM ARGUMENT...; prints one JSON object."""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(program: str, *arguments: str) -> dict:
    async with stdio_client(StdioServerParameters(command=program, args=list(arguments))) as (read, write):
        async with ClientSession(read, write) as session:
            hello = await session.initialize()
            tools = await session.list_tools()
            found = await session.call_tool("get_part", {"id": 1})
            missing = await session.call_tool("get_part", {"id": 9})
            return {
                "version": hello.protocolVersion,
                "server": hello.serverInfo.name,
                "tools": [tool.name for tool in tools.tools],
                "found": found.structuredContent,
                "missing": [missing.isError, missing.content[0].text],
            }


print(json.dumps(asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 30))))

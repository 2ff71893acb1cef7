"""The old backend's shape: FastMCP of the Python SDK 1.30, stateless, JSON answers, legacy protocol versions only.

Usage: fastmcp1.py PORT INSTRUCTIONS_FILE
"""

import sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP

port, instructions = int(sys.argv[1]), Path(sys.argv[2]).read_text()
server = FastMCP(
    "swf-testbed",
    instructions=instructions,
    host="127.0.0.1",
    port=port,
    stateless_http=True,
    json_response=True,
    streamable_http_path="/swf-monitor/mcp/",
    log_level="WARNING",
)


@server.tool()
def get_server_instructions() -> str:
    """Return the server's instructions."""
    return instructions


@server.tool()
async def swf_list_available_tools() -> list:
    """List every tool of this server."""
    return [{"name": tool.name, "description": tool.description} for tool in await server.list_tools()]


@server.tool()
def fails() -> str:
    """A tool that always fails."""
    raise RuntimeError("as asked")


server.run(transport="streamable-http")

"""A dual-era backend: MCPServer of the Python SDK 2.3. Usage: mcpserver2.py PORT INSTRUCTIONS_FILE [--sse]"""

import sys
from pathlib import Path

from mcp.server import MCPServer
from surface import register

port, instructions = int(sys.argv[1]), Path(sys.argv[2]).read_text()
server = MCPServer("swf-testbed", instructions=instructions, log_level="WARNING")
register(server, instructions)
server.run(
    transport="streamable-http",
    host="127.0.0.1",
    port=port,
    streamable_http_path="/mcp",
    stateless_http=True,
    json_response="--sse" not in sys.argv,
)

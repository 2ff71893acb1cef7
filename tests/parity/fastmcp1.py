"""The new Python backend: FastMCP of the Python SDK 1.30. Usage: fastmcp1.py PORT INSTRUCTIONS_FILE [--sse] [--stateful]"""

import sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP
from surface import register

port, instructions = int(sys.argv[1]), Path(sys.argv[2]).read_text()
server = FastMCP(
    "swf-testbed",
    instructions=instructions,
    host="127.0.0.1",
    port=port,
    stateless_http="--stateful" not in sys.argv,
    json_response="--sse" not in sys.argv,
    streamable_http_path="/swf-monitor/mcp/",
    log_level="WARNING",
)
register(server, instructions)
server.run(transport="streamable-http")

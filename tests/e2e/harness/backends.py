"""The backends that a guard stands in front of: mcp-tools and two servers of the Python SDKs."""

from mcp_testkit.paths import E2E, python
from mcp_testkit.programs import Programs, free_port
from mcp_testkit.tools import Backend, instructions_file, mcp_tools


def fastmcp1(programs: Programs) -> Backend:
    """The old backend's shape: FastMCP 1.30, legacy protocol versions only."""
    port = free_port()
    argv = [python("sdk1"), str(E2E / "backends" / "fastmcp1.py"), str(port), str(instructions_file(programs.folder))]
    address = f"127.0.0.1:{port}"
    program = programs.start("fastmcp1", argv).wait_for(address)
    return Backend(address, "/swf-monitor/mcp/", False, program, argv)


def mcpserver2(programs: Programs, *, sessions: bool = False) -> Backend:
    """A dual-era server with the fixtures of the conformance suite; stateful in the old eras with `sessions`."""
    port = free_port()
    argv = [python("sdk2"), str(E2E / "backends" / "mcpserver2.py"), str(port), str(instructions_file(programs.folder))]
    argv += ["--sessions"] if sessions else []
    address = f"127.0.0.1:{port}"
    program = programs.start("mcpserver2", argv).wait_for(address)
    return Backend(address, "/mcp", True, program, argv)


BY_NAME = {"mcp-tools": mcp_tools, "fastmcp1": fastmcp1, "mcpserver2": mcpserver2}

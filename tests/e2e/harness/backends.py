"""The backends that a guard stands in front of: ours and two that others wrote."""

from dataclasses import dataclass
from pathlib import Path

from mcp_testkit.paths import E2E, ROOT, TOOLS, python
from mcp_testkit.programs import Program, Programs, free_port

# Not ASCII on purpose: byte-exact is more than character-exact.
INSTRUCTIONS = "Streaming workflow → testbed.\nUse swf_list_available_tools() to see all available tools.\n"


@dataclass
class Backend:
    address: str  # as a slot has it
    path: str
    modern: bool  # whether it speaks 2026-07-28
    program: Program
    restart: list[str]  # the command line that starts it again on the same address


def instructions_file(folder: Path) -> Path:
    path = folder / "instructions.txt"
    path.write_text(INSTRUCTIONS)
    return path


def mcp_tools(programs: Programs, name: str = "tools") -> Backend:
    """Our tool server on a Unix socket, with the shipped catalogue."""
    socket = programs.folder / f"{name}.sock"
    argv = [str(TOOLS), "serve", "--socket", str(socket), "--instructions", str(instructions_file(programs.folder))]
    argv += ["--catalog", str(ROOT / "conf" / "tools" / "swf.toml")]
    address = f"unix:{socket}"
    program = programs.start(f"mcp-{name}", argv).wait_for(address)
    return Backend(address, "/mcp", True, program, argv)


def fastmcp1(programs: Programs) -> Backend:
    """The old backend's shape: FastMCP 1.30, legacy protocol versions only."""
    port = free_port()
    argv = [python("sdk1"), str(E2E / "backends" / "fastmcp1.py"), str(port), str(instructions_file(programs.folder))]
    address = f"127.0.0.1:{port}"
    program = programs.start("fastmcp1", argv).wait_for(address)
    return Backend(address, "/swf-monitor/mcp/", False, program, argv)


def mcpserver2(programs: Programs, *, sessions: bool = False) -> Backend:
    """A dual-era server with the fixtures of the conformance suite; stateful in the old eras if asked."""
    port = free_port()
    argv = [python("sdk2"), str(E2E / "backends" / "mcpserver2.py"), str(port), str(instructions_file(programs.folder))]
    argv += ["--sessions"] if sessions else []
    address = f"127.0.0.1:{port}"
    program = programs.start("mcpserver2", argv).wait_for(address)
    return Backend(address, "/mcp", True, program, argv)


BY_NAME = {"mcp-tools": mcp_tools, "fastmcp1": fastmcp1, "mcpserver2": mcpserver2}

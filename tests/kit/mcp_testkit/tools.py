"""mcp-tools on a Unix socket, and a guard in front of it."""

from dataclasses import dataclass
from pathlib import Path

from mcp_testkit.guard import Guard
from mcp_testkit.paths import ROOT, TOOLS
from mcp_testkit.programs import Program, Programs

# Not ASCII on purpose: byte-exact is more than character-exact.
INSTRUCTIONS = "Streaming workflow → testbed.\nUse swf_list_available_tools() to see all available tools.\n"


@dataclass
class Backend:
    address: str  # As a slot names it.
    path: str
    modern: bool  # Whether it speaks 2026-07-28.
    program: Program
    argv: list[str]  # Starts it again on the same address.


def instructions_file(folder: Path) -> Path:
    path = folder / "instructions.txt"
    path.write_text(INSTRUCTIONS)
    return path


def mcp_tools(programs: Programs, name: str = "tools", *, binary: Path = TOOLS, catalog: Path | None = ROOT / "conf/tools/swf.toml", **options) -> Backend:
    """The tool server with a catalogue, the shipped one if none is named; None is the built-in one. `options` are those of `Program`."""
    address = f"unix:{programs.folder}/{name}.sock"
    argv = [str(binary), "serve", "--socket", address.removeprefix("unix:"), "--instructions", str(instructions_file(programs.folder))]
    argv += ["--demo"] + (["--catalog", str(catalog)] if catalog else [])
    program = programs.start(f"mcp-{name}", argv, **options).wait_for(address)
    return Backend(address, "/mcp", True, program, argv)


def guarded_tools(programs: Programs, **options) -> tuple[Backend, Guard]:
    """The tool server and a guard in front of it. `options` are those of `Guard`."""
    backend = mcp_tools(programs)
    return backend, Guard(programs, backend.address, backend.path, **options)

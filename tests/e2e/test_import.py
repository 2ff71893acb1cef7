"""`mcp-tools import`: a server of the old library becomes a catalogue that lists the same tools."""

import json
import subprocess

import pytest

from mcp_testkit.paths import ROOT, TOOLS, python
from mcp_testkit.programs import free_port

BACKENDS = ROOT / "tests" / "e2e" / "backends"
KNOWN = ROOT / "crates" / "mcp-tools" / "tests"
SERVERS = {
    "the 54 tools on FastMCP": ("sdk1", [KNOWN / "known.py", "PORT", KNOWN / "data" / "tools-54.json"], "/mcp/", 54),
    "FastMCP without sessions": ("sdk1", [BACKENDS / "fastmcp1.py", "PORT", "TEXT"], "/swf-monitor/mcp/", 3),
    "FastMCP with sessions and event streams": ("sdk1", [BACKENDS / "stateful1.py", "PORT"], "/mcp", 1),
    "the newer SDK": ("sdk2", [BACKENDS / "mcpserver2.py", "PORT", "TEXT"], "/mcp", 1),
}


def run(*arguments: str) -> str:
    done = subprocess.run([str(TOOLS), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_of_an_sdk_becomes_a_catalogue_with_one_command(programs, tmp_path, name):
    library, argv, path, least = SERVERS[name]
    port = free_port()
    text = tmp_path / "instructions.txt"
    text.write_text("Call one.\nThen the other.\n")
    argv = [str({"PORT": port, "TEXT": text}.get(part, part)) for part in argv]
    programs.start("imported", [python(library), *argv]).wait_for(f"127.0.0.1:{port}")
    file = str(tmp_path / "old.toml")
    run("import", "--from-server", f"http://127.0.0.1:{port}{path}", "--output", file)
    assert run("check", file).splitlines()[-1].startswith("OK: ")
    listed = json.loads(run("list", "--json", "--catalog", file))
    assert len(listed) >= least
    written = (tmp_path / "old.toml").read_text()
    # What the catalogue does not keep stands above each tool; a FastMCP server has nothing of that kind.
    if library == "sdk1":
        assert "otherwise" not in written and "Not imported" not in written
    if "TEXT" in SERVERS[name][1]:
        assert 'instructions = """\nCall one.\nThen the other.\n"""' in written

"""The built-in catalogue beside the libraries it replaces: the same 54 declarations give the same names and schemas."""

import json
import subprocess
import urllib.request

import pytest

from mcp_testkit.paths import ROOT, TOOLS, python
from mcp_testkit.programs import free_port

KNOWN = ROOT / "crates" / "mcp-tools" / "tests" / "known.py"
FACTS = ROOT / "crates" / "mcp-tools" / "tests" / "data" / "tools-54.json"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def listed(url: str) -> list[dict]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(url, json.dumps(LIST).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["result"]["tools"]


def ours() -> list[dict]:
    printed = subprocess.run([str(TOOLS), "list", "--json"], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(printed.stdout)


def comparable(tool: dict) -> dict:
    """A schema without its words: descriptions are ours to write, and the old library titles one tool otherwise."""
    schema = json.loads(json.dumps(tool["inputSchema"]))
    schema.pop("title", None)
    for parameter in schema.get("properties", {}).values():
        parameter.pop("description", None)
    schema.setdefault("required", [])
    return schema


@pytest.mark.parametrize("library", ["django", "sdk1"])
def test_names_and_schemas_are_those_of_the_library_that_served_them(programs, library):
    port = free_port()
    argv = [python(library), str(KNOWN), str(port), str(FACTS)]
    programs.start(f"known-{library}", argv).wait_for(f"127.0.0.1:{port}")
    theirs = {tool["name"]: comparable(tool) for tool in listed(f"http://127.0.0.1:{port}/mcp/")}
    mine = {tool["name"]: comparable(tool) for tool in ours()}
    assert len(mine) == 54
    assert sorted(mine) == sorted(theirs)
    for name, schema in theirs.items():
        assert mine[name] == schema, name

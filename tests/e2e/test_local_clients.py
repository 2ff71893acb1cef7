"""mcp-tools without a guard: the official SDKs start it themselves, or reach its loopback address with a token."""

import json
import sqlite3
import subprocess

import pytest

from harness.clients import CLIENTS, in_node_env
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.paths import E2E, TOOLS, node, python
from mcp_testkit.programs import free_port

CATALOGUE = """
[server]
name = "shop"
[database.main]
url = "sqlite:shop.db"
[[tool]]
name = "get_part"
description = "A part by its id."
read_only = true
output_schema = '{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"required":["id","name"]}'
params.id = { type = "integer", required = true }
sql = { shape = "row", not_found = "There is no part {id}.", query = "SELECT id, name FROM parts WHERE id = :id" }
"""

LOCAL = {
    "python-1": lambda: [python("sdk1"), str(E2E / "clients/local1.py")],
    "python-2-legacy": lambda: [python("sdk2"), str(E2E / "clients/local2.py"), "legacy"],
    "python-2-auto": lambda: [python("sdk2"), str(E2E / "clients/local2.py"), "auto"],
    "python-2-modern": lambda: [python("sdk2"), str(E2E / "clients/local2.py"), "2026-07-28"],
    "typescript-1": lambda: [node(), str(in_node_env("local.mjs")), "ts1"],
    "typescript-2-legacy": lambda: [node(), str(in_node_env("local.mjs")), "legacy"],
    "typescript-2-auto": lambda: [node(), str(in_node_env("local.mjs")), "auto"],
}


@pytest.fixture
def shop(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.executescript("CREATE TABLE parts (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO parts VALUES (1, 'bolt')")
    catalogue = tmp_path / "shop.toml"
    catalogue.write_text(CATALOGUE)
    return catalogue


@pytest.mark.parametrize("client", LOCAL)
def test_an_sdk_starts_the_server_and_speaks_on_its_standard_input_and_output(shop, client):
    argv = LOCAL[client]()
    ran = subprocess.run([*argv, str(TOOLS), "stdio", "--catalog", str(shop)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    reported = json.loads(ran.stdout)
    assert reported["server"] in ("shop", None), reported
    assert reported["tools"] == ["get_part"], reported
    assert reported["found"] == {"id": 1, "name": "bolt"}, reported
    assert reported["missing"] == [True, "There is no part 9."], reported


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_an_sdk_reaches_the_loopback_address_with_the_token_only(programs, client):
    port = free_port()
    argv = [str(TOOLS), "serve", "--listen", f"127.0.0.1:{port}", "--token-env", "SHOP_TOKEN"]
    programs.start("mcp-tools", argv, env={"SHOP_TOKEN": TOKEN}).wait_for(f"127.0.0.1:{port}")
    reported = client.converse(f"http://127.0.0.1:{port}/mcp", TOKEN)
    assert "get_server_instructions" in reported.get("tools", []), reported
    assert "error" in client.converse(f"http://127.0.0.1:{port}/mcp", WRONG_TOKEN)

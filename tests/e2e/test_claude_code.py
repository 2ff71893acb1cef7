"""Claude Code's own transports: it starts mcp-tools, reaches its loopback address, and reaches the guard behind Apache.

`claude mcp list` connects to each configured server and needs no account; a scripted model makes it call tools.
Its home is empty, and nothing of this environment reaches it.
"""

import json
import re

import pytest

from harness.claude_code import ClaudeCode
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.paths import ROOT, TOOLS
from mcp_testkit.programs import free_port

CATALOGUE = """
[server]
name = "shop"
[[tool]]
name = "hours"
description = "When the shop is open."
read_only = true
text = { body = "Monday to Friday" }
[[tool]]
name = "order"
description = "ACTS: orders a part."
read_only = false
params.part = { type = "string", required = true }
refuse = { reason = "There are no parts here." }
"""


@pytest.fixture
def claude(tmp_path):
    return ClaudeCode(tmp_path / "home", tmp_path)


@pytest.fixture
def shop(tmp_path):
    catalogue = tmp_path / "shop.toml"
    catalogue.write_text(CATALOGUE)
    return catalogue


def test_it_starts_the_server_and_speaks_on_its_standard_input_and_output(claude, shop):
    claude.add("shop", "--", str(TOOLS), "stdio", "--catalog", str(shop))
    claude.add("absent", "--", str(TOOLS), "stdio", "--catalog", str(shop.with_name("absent.toml")))
    assert "Connected" in claude.state("shop"), claude.list()
    assert "Failed to connect" in claude.state("absent"), claude.list()


def test_its_model_gets_results_and_errors(claude, shop):
    server = {"command": str(TOOLS), "args": ["stdio", "--catalog", str(shop)]}
    result = claude.call(server, "hours", {})
    assert "Monday to Friday" in json.dumps(result) and not result.get("is_error"), result
    result = claude.call(server, "order", {"part": "bolt"})
    assert "There are no parts here." in json.dumps(result) and result["is_error"], result


def test_it_reaches_the_loopback_address_with_the_token_only(claude, shop, programs):
    port = free_port()
    argv = [str(TOOLS), "serve", "--listen", f"127.0.0.1:{port}", "--token-env", "SHOP_TOKEN", "--catalog", str(shop)]
    programs.start("mcp-tools", argv, env={"SHOP_TOKEN": TOKEN}).wait_for(f"127.0.0.1:{port}")
    connects_with_the_token_only(claude, f"http://127.0.0.1:{port}/mcp")


def test_it_reaches_the_guard_with_the_token_only(claude, tools):
    connects_with_the_token_only(claude, tools.url)


def test_the_documented_mcp_json_reads_the_token_from_the_environment(claude, tools):
    documented = re.search(r"```json\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)[1]
    server = json.loads(documented)["mcpServers"]["swf"] | {"url": tools.url + "/"}
    result = claude.call(server, "swf_list_available_tools", {}, env={"MCP_BEARER_TOKEN": TOKEN})
    assert "panda_list_jobs" in json.dumps(result) and not result.get("is_error"), result


def connects_with_the_token_only(claude, url):
    for name, token in [("shop", TOKEN), ("stranger", WRONG_TOKEN)]:
        claude.add("--transport", "http", name, url, "--header", f"Authorization: Bearer {token}")
    assert "Connected" in claude.state("shop"), claude.list()
    assert "Connected" not in claude.state("stranger"), claude.list()

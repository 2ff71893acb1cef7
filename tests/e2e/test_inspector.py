"""The MCP Inspector's command line through Apache and the guard."""

import json

import pytest

from harness.clients import inspector
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.tools import INSTRUCTIONS

ERAS = ["legacy", "auto", "modern"]


@pytest.mark.parametrize("era", ERAS)
def test_it_lists_the_tools(tools, era):
    done = inspector(tools.url, era, TOKEN, "--method", "tools/list")
    assert done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "get_server_instructions" in done.stdout, done.stdout


@pytest.mark.parametrize("era", ERAS)
def test_it_calls_a_tool(tools, era):
    done = inspector(tools.url, era, TOKEN, "--method", "tools/call", "--tool-name", "get_server_instructions", "--tool-args-json", "{}")
    assert done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert json.dumps(INSTRUCTIONS, ensure_ascii=False) in done.stdout, done.stdout


@pytest.mark.parametrize("token", [None, WRONG_TOKEN], ids=["no-token", "wrong-token"])
def test_it_exits_3_without_a_valid_token(tools, token):
    done = inspector(tools.url, "auto", token, "--method", "tools/list")
    assert done.returncode == 3, f"expected exit 3 (auth required), saw {done.returncode}:\n{done.stdout}\n{done.stderr}"

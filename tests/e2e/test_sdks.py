"""The official SDKs, through Apache and the guard, in both protocol eras, on our backend and on one that others wrote."""

import json

import pytest

from harness.clients import CLIENTS, Client
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.tools import INSTRUCTIONS

LEGACY, MODERN = "2025-11-25", "2026-07-28"


def expected_version(client: Client, modern_backend: bool) -> str | None:
    """What the two should agree on; None where they cannot agree."""
    if client.era == "legacy":
        return LEGACY
    if modern_backend:
        return MODERN
    return LEGACY if client.era == "auto" else None


@pytest.mark.parametrize("backend", ["mcp-tools", "fastmcp1", "mcpserver2"])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_a_conversation(stacks, backend, client):
    stack = stacks(backend)
    # One half of the clients takes the address with a slash, the other without.
    url = stack.url + ("/" if client.name.startswith("ts") else "")
    reported = client.converse(url, TOKEN)
    version = expected_version(client, stack.backend.modern)
    if version is None:
        assert "error" in reported, f"expected no common version, saw {reported}"
        return
    assert reported.get("version") == version, f"expected {version}, saw {reported}"
    assert "get_server_instructions" in reported["tools"], reported
    assert reported["text"] == [INSTRUCTIONS], f"the instructions must pass byte for byte, saw {reported['text']}"
    assert [json.loads(text)["name"] for text in reported["listed"]] == reported["tools"], "swf_list_available_tools and tools/list drifted"
    if client.era != "modern":  # A pinned client skips discovery and never learns these.
        assert reported["instructions"] == INSTRUCTIONS, reported
        assert reported["server"] == "swf-testbed", reported


@pytest.mark.parametrize("token", [None, WRONG_TOKEN], ids=["no-token", "wrong-token"])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_a_client_that_may_not_call_gets_an_error(tools, client, token):
    reported = client.converse(tools.url, token)
    assert "error" in reported, f"expected a refusal, saw {reported}"
    assert "no end after" not in reported["error"] and "Timeout" not in reported["error"], f"the client hung: {reported}"
    if client.name.startswith("ts"):  # These show the body, or the status while they negotiate.
        reasons = ("Invalid token", "403") if token else ("Authorization required", "401")
        assert any(reason in reported["error"] for reason in reasons), f"expected one of {reasons}, saw {reported}"

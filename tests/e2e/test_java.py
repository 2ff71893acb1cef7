"""Java's own HTTP client in its default setting, which offers h2c (an upgrade to HTTP/2) with its requests."""

import json
import subprocess

import pytest

from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import E2E, system

CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "get_server_instructions", "arguments": {}}}


# RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field".
@pytest.mark.parametrize("door", ["guard", "apache"])
def test_a_client_that_offers_h2c_is_answered_over_http_1(tools, door):
    url = {"guard": tools.guard.url + "/swf-monitor/mcp", "apache": tools.url}[door]
    argv = [system("java"), str(E2E / "clients" / "DefaultClient.java"), url, TOKEN, json.dumps(CALL), "3"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    offered, *lines = done.stdout.splitlines()
    assert offered == "HTTP_2" and len(lines) == 3, done.stdout
    for line in lines:
        status, version, body = line.split(" ", 2)
        assert (status, version) == ("200", "HTTP_1_1"), line
        response = json.loads(body)
        assert response["id"] == 7 and response["result"]["isError"] is False, line

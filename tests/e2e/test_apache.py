"""Responses through Apache's virtual host to requests of curl. Expected bodies are the contract's, byte for byte."""

import json
import re

import pytest

from harness.curl import Response, call, curl
from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from mcp_testkit.programs import free_port

PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
PATHS = ["/swf-monitor/mcp", "/swf-monitor/mcp/"]
ONLY_POST = '{"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}'
NO_TOKEN = '{"error": "Authorization required"}'
BAD_TOKEN = '{"error": "Invalid token"}'
NOT_CONFIGURED = '{"error": "MCP token not configured"}'
NO_OAUTH = '{"error":"access_denied","error_description":"This server uses a static bearer token; set the Authorization header"}'


def check(response: Response, status: int, body: str | None = None, **headers: str) -> None:
    """The response is a local reply of the guard, complete, with this status, body and these headers."""
    __tracebackhide__ = True
    assert response.status == status, f"expected status {status}, saw {response.status}: {response}"
    if body is not None:
        assert response.body.decode() == body, f"expected body {body!r}: {response}"
    for name, value in {"content-type": "application/json", **headers}.items():
        name = name.replace("_", "-")
        assert response.headers.get(name) == value, f"expected {name}: {value}, saw {response.headers.get(name)!r}: {response}"
    assert "content-encoding" not in response.headers, f"the answer was compressed on the way: {response}"
    assert response.headers.get("x-request-id"), f"expected an X-Request-Id: {response}"


@pytest.mark.parametrize("path", PATHS)
def test_a_call_passes_with_and_without_the_slash(tools, path):
    response = call(tools.apache.url + path, "tools/list", id="cafe-é")
    check(response, 200)
    assert response.json()["id"] == "cafe-é" and response.json()["result"]["tools"], response


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
def test_other_methods_are_405_before_auth(tools, path, method):
    check(curl(tools.apache.url + path, "-X", method), 405, ONLY_POST, allow="POST")
    check(curl(tools.apache.url + path, "-X", method, token=WRONG_TOKEN), 405, ONLY_POST, allow="POST")


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_token_is_401_with_a_challenge(tools, path):
    check(curl(tools.apache.url + path, data=PING), 401, NO_TOKEN, www_authenticate='Bearer realm="mcp"')


def test_another_scheme_is_401(tools):
    check(curl(tools.url, "-H", f"Authorization: Basic {TOKEN}", data=PING), 401, NO_TOKEN)


def test_the_scheme_is_case_insensitive(tools):
    check(curl(tools.url, "-H", f"Authorization: bEARER {TOKEN}", data=PING), 200)


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_token_is_403(tools, path):
    check(curl(tools.apache.url + path, data=PING, token=WRONG_TOKEN), 403, BAD_TOKEN)


def test_a_token_in_the_query_string_is_not_a_token(tools):
    for name in ("access_token", "token"):
        check(curl(f"{tools.url}?{name}={TOKEN}", data=PING), 401, NO_TOKEN)


def test_a_guard_without_tokens_says_so(programs, stacks):
    """It starts, is healthy, and refuses every call visibly; there is no switch that disables auth."""
    from harness.apache import Apache

    backend = stacks("mcp-tools").backend
    guard = Guard(programs, backend.address, backend.path, token=None)
    url = Apache(programs, guard.address).url + "/swf-monitor/mcp"
    response = curl(url, data=PING, token=TOKEN)
    check(response, 503, NOT_CONFIGURED)
    assert response.headers.get("retry-after"), response
    check(curl(url, data=PING), 401, NO_TOKEN)
    check(curl(url), 405, ONLY_POST)
    check(curl(url + "/health"), 200, '{"status": "ok"}')


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_health_needs_no_token_and_no_method(tools, method):
    check(curl(tools.url + "/health", "-X", method), 200, '{"status": "ok"}')


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/swf-monitor/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/swf-monitor/mcp",
        "/.well-known/openid-configuration",
        "/swf-monitor/mcp/.well-known/openid-configuration",
    ],
)
def test_an_oauth_probe_finds_nothing(tools, path):
    check(curl(tools.apache.url + path), 404, '{"error":"not_found"}')


@pytest.mark.parametrize("path", ["/register", "/swf-monitor/mcp/register"])
def test_client_registration_says_how_to_authenticate(tools, path):
    check(curl(tools.apache.url + path, data='{"redirect_uris":[]}'), 400, NO_OAUTH)


@pytest.mark.parametrize("path", ["/", "/other", "/swf-monitor/mcpx", "/swf-monitor/", "/.well-known/acme-challenge/x"])
def test_the_rest_of_the_site_is_apaches(tools, path):
    response = curl(tools.apache.url + path, token=TOKEN)
    assert response.status in (403, 404), response
    assert "x-request-id" not in response.headers, f"this path must not reach the guard: {response}"


@pytest.mark.parametrize("path", ["/swf-monitor/mcp/x", "/swf-monitor/mcp/x/", "/swf-monitor/mcp/%2e%2e/mcp/"])
def test_a_path_below_the_endpoint_is_never_a_call(tools, path):
    response = curl(tools.apache.url + path, data=PING, token=TOKEN)
    assert response.status == 404, f"expected 404: {response}"


def test_apache_is_no_open_proxy(tools):
    response = curl(tools.apache.url + "/", "--request-target", f"http://127.0.0.1:{free_port()}/", "-H", "Host: elsewhere.test")
    assert response.status in (403, 404), f"expected the site's own answer: {response}"
    assert curl(tools.apache.url + "/", "-X", "CONNECT", "--request-target", "127.0.0.1:22").status in (400, 403, 405)


def test_a_chunked_body_of_3_mib_passes_whole(tools, programs):
    """Far above every buffer on the way, below the guard's cap."""
    arguments = {"name": "get_server_instructions", "arguments": {"pad": "x" * (3 << 20)}}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": arguments}
    path = programs.folder / "big.json"
    path.write_text(json.dumps(message))
    response = curl(tools.url, "-H", "Transfer-Encoding: chunked", data=f"@{path}", token=TOKEN)
    check(response, 200)
    assert response.json()["id"] == 7, response


def test_a_body_over_the_cap_is_413(tools, programs):
    path = programs.folder / "bigger.json"
    path.write_bytes(b" " * ((4 << 20) + 1))
    response = curl(tools.url, "-H", "Expect:", data=f"@{path}", token=TOKEN)
    assert response.status == 413, f"expected 413: {response}"


@pytest.mark.parametrize("mib", [5, 10, 16])
def test_a_refusal_of_a_body_of_any_size_reaches_the_client(tools, programs, mib):
    """Apache waits for 100 Continue before it sends a body: otherwise it still sends when the guard has replied, and replies 502 itself."""
    path = programs.folder / "huge.json"
    path.write_bytes(b" " * (mib << 20))
    check(curl(tools.url, "-H", "Expect:", data=f"@{path}", token=WRONG_TOKEN), 403, BAD_TOKEN)
    check(curl(tools.url, "-H", "Expect:", data=f"@{path}", token=TOKEN), 413)


def test_the_request_id_is_apaches_and_never_the_clients(tools):
    chosen = ("-H", "X-Request-Id: chosen-by-the-client")
    good = call(tools.url, "ping", None, *chosen).headers["x-request-id"]
    assert re.fullmatch(r"[A-Za-z0-9@_-]{20,32}", good) and "chosen" not in good, f"no UNIQUE_ID: {good}"
    assert call(tools.url, "ping", None, *chosen).headers["x-request-id"] != good
    refused = curl(tools.url, *chosen, data=PING, token=WRONG_TOKEN)
    assert "chosen" not in refused.headers["x-request-id"], refused


def test_an_offer_of_http2_is_ignored(tools):
    """curl --http2 and Java's HTTP client offer h2c with every plain request."""
    for url in (tools.url, f"{tools.guard.url}/mcp"):
        check(curl(url, "--http2", data=PING, token=TOKEN), 200)


def test_a_batch_is_refused_in_json_rpc(tools):
    response = curl(tools.url, data=f"[{PING}]", token=TOKEN)
    check(response, 400)
    assert response.json()["error"]["code"] == -32600, response


def test_a_notification_is_202_without_a_body(tools):
    response = curl(tools.url, data='{"jsonrpc":"2.0","method":"notifications/initialized"}', token=TOKEN)
    assert (response.status, response.body) == (202, b""), response

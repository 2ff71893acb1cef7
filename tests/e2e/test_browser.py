"""A page in a real browser calls the guard from another origin: preflight, call, and what the page may read (CORS)."""

import functools
import html
import http.server
import json
import re
import subprocess
import threading
import urllib.parse

import pytest

from harness.oauth_site import oauth
from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from mcp_testkit.paths import E2E, system
from mcp_testkit.programs import free_port


@pytest.fixture(scope="module")
def page():
    """The port of a server for the page."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(E2E / "clients"))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def visit(programs, origin: str, server: str, token: str, document: str = "page.html") -> dict:
    """What the page of this origin reports after its calls. Every host name resolves to this machine."""
    query = urllib.parse.urlencode({"server": server, "token": token})
    argv = [
        system("chromium"),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={programs.folder / 'browser'}",
        "--host-resolver-rules=MAP * 127.0.0.1",
        "--virtual-time-budget=60000",
        "--dump-dom",
        f"{origin}/{document}?{query}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.S)
    assert found, f"the page reported nothing:\n{done.stdout}\n{done.stderr[-3000:]}"
    return json.loads(html.unescape(found[1]))


def test_a_page_on_this_machine_calls_a_tool(tools, programs, page):
    reported = visit(programs, f"http://localhost:{page}", f"{tools.guard.url}/mcp", TOKEN)
    assert "failed" not in reported, reported
    assert [reported[step]["status"] for step in ("opened", "notified", "called")] == [200, 202, 200], reported
    assert reported["called"]["body"]["result"]["content"], reported
    assert reported["called"]["id"], f"the page cannot read X-Request-Id: {reported}"


def test_a_page_can_read_why_it_was_refused(tools, programs, page):
    reported = visit(programs, f"http://localhost:{page}", f"{tools.guard.url}/mcp", WRONG_TOKEN)
    assert reported["opened"] == {"status": 403, "id": reported["opened"]["id"], "body": {"error": "Invalid token"}}, reported


def test_a_page_without_a_token_finds_the_authorization_server(tools, programs, page):
    address = f"127.0.0.1:{free_port()}"
    resource = f"http://{address}/mcp"
    guard = Guard(programs, tools.backend.address, tools.backend.path, address=address, more=oauth(resource, ["http://127.0.0.1:9"]))
    reported = visit(programs, f"http://localhost:{page}", f"{guard.url}/mcp", "", "page_oauth.html")
    assert reported["refused"] == 401, reported
    assert reported["metadata"]["resource"] == resource and reported["metadata"]["authorization_servers"] == ["http://127.0.0.1:9"], reported


def test_only_a_listed_origin_may_call(tools, programs, page):
    more = f'[origin]\nallowed = ["http://app.test:{page}"]'
    guard = Guard(programs, tools.backend.address, tools.backend.path, more=more)
    reported = visit(programs, f"http://app.test:{page}", f"{guard.url}/mcp", TOKEN)
    assert reported.get("called", {}).get("status") == 200, reported
    reported = visit(programs, f"http://evil.test:{page}", f"{guard.url}/mcp", TOKEN)
    assert reported == {"failed": "TypeError: Failed to fetch"}, reported

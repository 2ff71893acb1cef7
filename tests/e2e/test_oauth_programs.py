"""Programs of users that sign in by OAuth: Claude Code, the MCP Inspector's command line and mcp-remote, each as docs/clients.md shows it.

Each shows a URL for the user's browser. The browser of the test opens it, signs in, and is sent back to the program.
"""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.browser import visit
from harness.claude_code import ClaudeCode
from harness.oauth_site import TOOL, Site
from harness.terminal import Terminal
from mcp_testkit.paths import NODE_MODULES, node
from mcp_testkit.programs import accepts, free_port, wait_until
from mcp_testkit.tools import INSTRUCTIONS


@pytest.fixture(scope="module")
def site(module_programs):
    return Site(module_programs, front="apache")


@pytest.fixture
def env(site, tmp_path):
    """Not the environment of the tests: it may hold settings of a developer."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": str(site.authority)}


def pattern(site: Site) -> str:
    return re.escape(site.issuer.issuer) + r"/auth\?\S+(?=\s)"


def sign_in(site: Site, url: str) -> None:
    """The browser opens the URL and comes back to the program, which listens for it."""
    back = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0])
    wait_until("the program to listen for the browser", lambda: accepts(back.netloc))
    assert visit(url, site.authority).startswith(back.geturl())


def test_claude_code_signs_in_and_its_model_calls(site, tmp_path):
    claude = ClaudeCode(tmp_path / "home", tmp_path, {"NODE_EXTRA_CA_CERTS": str(site.authority)})
    site.issuer.tell(account="user of Claude Code")
    claude.add("--transport", "http", "swf", site.resource)
    assert "Needs authentication" in claude.state("swf"), claude.list()
    with claude.login("swf") as login:
        url = login.wait_for(pattern(site))[0]
        back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        login.wait_for("paste the redirect URL")
        login.type(visit(url, site.authority, short_of=back))
        login.wait_for("Authenticated")
        assert login.end() == 0, login.seen
    assert "Connected" in claude.state("swf"), claude.list()
    result = claude.call("swf", TOOL, {})
    assert INSTRUCTIONS.splitlines()[0] in json.dumps(result, ensure_ascii=False) and not result.get("is_error"), result
    site.logged(client="writers", subject="user of Claude Code", tool=TOOL)


def test_the_inspector_signs_in_and_calls(site, env, tmp_path):
    site.issuer.tell(account="user of the Inspector")
    argv = [node(), str(NODE_MODULES / ".bin" / "mcp-inspector"), "--cli", "--server-url", site.resource, "--transport", "http"]
    argv += ["--format", "json", "--method", "tools/call", "--tool-name", TOOL, "--tool-args-json", "{}"]
    own = {"MCP_OAUTH_CALLBACK_URL": f"http://127.0.0.1:{free_port()}/oauth/callback", "MCP_INSPECTOR_SECRET_STORE": "memory"}
    with Terminal(argv, env | own, tmp_path) as inspector:
        sign_in(site, inspector.wait_for(pattern(site))[0])
        assert inspector.end() == 0, inspector.seen
        assert json.dumps(INSTRUCTIONS, ensure_ascii=False) in inspector.seen, inspector.seen
    site.logged(client="writers", subject="user of the Inspector", tool=TOOL)


def test_mcp_remote_signs_in_and_lists(site, env, tmp_path):
    site.issuer.tell(account="user of mcp-remote")
    argv = [node(), str(NODE_MODULES / "mcp-remote" / "dist" / "client.js"), site.resource, "--transport", "http-only"]
    with Terminal(argv, env, tmp_path) as remote:
        sign_in(site, remote.wait_for(pattern(site))[0])
        remote.wait_for(TOOL)
    site.logged(client="writers", subject="user of mcp-remote", method="tools/list")

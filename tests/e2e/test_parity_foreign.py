"""mcp-guard parity on a server of yet another library, and over HTTPS.

The server is the TypeScript SDK's own example of everything it can do (tools, prompts, resources; sessions; answers as event
streams). The conformance suite's everything-server itself is in no package: its npm package holds the suite alone.
"""

import json
import subprocess

import pytest

from harness import tls
from harness.backends import fastmcp1
from mcp_testkit.paths import GUARD, NODE_MODULES, node
from mcp_testkit.programs import free_port

EXAMPLE = NODE_MODULES / "@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js"
UNTIMED = ["--samples", "1", "--max-slowdown", "1000"]


@pytest.fixture(scope="module")
def typescript(module_programs) -> int:
    """The port of the example server."""
    port = free_port()
    environment = {"MCP_PORT": str(port), "MCP_AUTH_PORT": str(free_port()), "PATH": "/usr/bin:/bin"}
    module_programs.start("typescript", [node(), str(EXAMPLE)], env=environment).wait_for(f"127.0.0.1:{port}")
    return port


@pytest.fixture(scope="module")
def encrypted(module_programs, typescript) -> tls.Tls:
    """The example server behind TLS, with an authority of its own."""
    return tls.in_front_of(module_programs, typescript)


def parity(live: str, candidate: str, *more: str, env: dict[str, str] | None = None) -> tuple[int, dict]:
    argv = [str(GUARD), "parity", "--json", "--live-url", live, "--candidate-url", candidate, *UNTIMED, *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env or {})
    assert done.returncode in (0, 1), f"exit {done.returncode}: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


def findings(report: dict, verdict: str | None = None) -> list[str]:
    return [f"{check['id']}: {finding['subject']} {finding['change']} {finding['candidate']}" for check in report["checks"]
            for finding in check["findings"] if verdict in (None, finding["verdict"])]


def test_the_typescript_sdks_everything_example_equals_itself(typescript):
    url = f"http://localhost:{typescript}/mcp"
    code, report = parity(url, url)
    assert (code, findings(report)) == (0, []), findings(report)
    tools = next(check for check in report["checks"] if check["id"] == "tool-names")
    assert int(tools["summary"].split()[0]) >= 5, tools


def test_another_server_is_compared_tool_by_tool(typescript, module_programs):
    other = fastmcp1(module_programs)
    code, report = parity(f"http://localhost:{typescript}/mcp", f"http://{other.address}{other.path}")
    missing = [words for words in findings(report, "break") if "tool missing on the candidate" in words]
    assert code == 1 and any("greet" in words for words in missing), findings(report)


def test_https_is_the_same_server(typescript, encrypted):
    trusting = {"SSL_CERT_FILE": str(encrypted.authority)}
    code, report = parity(f"http://localhost:{typescript}/mcp", encrypted.url("/mcp"), env=trusting)
    assert (code, findings(report)) == (0, []), findings(report)
    assert report["candidate"].startswith("https://localhost:")


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
def test_a_certificate_that_does_not_fit_is_a_finding(typescript, encrypted, host, trusted):
    # An authority of another make, where this one is not to be trusted.
    other = encrypted.authority.with_name("other.pem")
    if not trusted:
        tls.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                    str(other.with_suffix(".key")), "-out", str(other), "-days", "2", "-subj", "/CN=other authority")
    authority = encrypted.authority if trusted else other
    code, report = parity(f"http://localhost:{typescript}/mcp", encrypted.url("/mcp", host), env={"SSL_CERT_FILE": str(authority)})
    broken = " ".join(findings(report, "break"))
    assert code == 1 and "the candidate fails to answer" in broken and "certificate" in broken, broken

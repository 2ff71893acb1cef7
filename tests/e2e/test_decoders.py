"""Every decoder reads a forwarded body as the call that the policy allowed.

A few hundred odd bodies go through the guard to a backend that passes the same bytes to the decoders of real backends: JSON.parse,
Python's json, Jackson and Go (both ignore the case of keys), cJSON, serde. The guard's log says what the policy read. The same
bodies sent straight to the decoders show what the guard refuses. MCP_DECODERS_SEED and _PAIRS choose other bodies.
"""

import hashlib
import http.client
import http.server
import json
import os
import threading
from collections import Counter

import pytest

from harness.decoders import READINGS, Decoders, Reading
from harness.odd_bodies import ALLOWED_NAMES, FORBIDDEN, is_harmless, table
from mcp_testkit.guard import Guard
from mcp_testkit.programs import wait_until

SEED = int(os.environ.get("MCP_DECODERS_SEED", "1"))
PAIRS = int(os.environ.get("MCP_DECODERS_PAIRS", "200"))
BOUNDED = "decoders-Tok3n-0123456789abcdefghijklm"
#: RFC 8259 allows such a number; serde_json refuses it, and then nothing runs.
REFUSED_BY_SERDE = "1e400"


class Backend(http.server.BaseHTTPRequestHandler):
    """Passes each body to the decoders and sends a response that the guard accepts."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # A response is one write.
    decoders: Decoders
    seen: dict[str, dict[str, Reading]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body)
        result: dict = {"content": [], "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "decoders", "version": "1"}}
        if case := self.headers.get("X-Case"):
            assert case not in self.seen, f"case {case} came twice"
            self.seen[case] = self.decoders.read(body)
        if message.get("method") == "tools/list":
            names = [*ALLOWED_NAMES, FORBIDDEN]
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
        response = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def decoders(module_programs):
    started = Decoders(module_programs.folder)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def straight(decoders):
    """Every body, and what each decoder reads in it without a guard."""
    return [(case, decoders.read(case.body)) for case in table(SEED, PAIRS)]


@pytest.fixture(scope="module")
def guarded(module_programs, decoders, straight):
    """With the guard: what the decoders read in each forwarded body, and the line of the guard's log for each body."""
    Backend.decoders, Backend.seen = decoders, {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tokens = module_programs.folder / "tokens.toml"
    tokens.write_text(f'[clients.bounded]\nsha256 = "{hashlib.sha256(BOUNDED.encode()).hexdigest()}"\ntools = ["ok_*"]\n')
    tokens.chmod(0o600)
    guard = Guard(module_programs, "127.0.0.1:%d" % server.server_port, "/mcp", token=None, more='[auth]\ntokens_file = "tokens.toml"')
    slot = lambda: json.loads(guard.command("slots", "list", "--json").stdout)["slots"][0]  # noqa: E731
    wait_until("the slot is healthy, and its tools known", lambda: slot()["health"] == "healthy")
    host, port = guard.address.split(":")
    for number, (case, _) in enumerate(straight):
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        fields = {"Authorization": f"Bearer {BOUNDED}", "Content-Type": "application/json", "X-Case": str(number), "X-Request-Id": f"case-{number}"}
        connection.request("POST", "/mcp", case.body, fields)
        connection.getresponse().read()
        connection.close()

    def judged() -> dict[str, dict] | None:
        found = {line["request_id"]: line for line in guard.lines() if line.get("request_id", "").startswith("case-")}
        return found if len(found) == len(straight) else None

    yield Backend.seen, wait_until("a line of the log for each body", judged)
    server.shutdown()


def test_every_decoder_runs_the_call_that_was_judged(straight, guarded):
    seen, judged = guarded
    wrong = []
    for number, (case, _) in enumerate(straight):
        if (readings := seen.get(str(number))) is None:
            assert judged[f"case-{number}"].get("denial"), f"neither forwarded nor refused: {case}"
            assert not is_harmless(case.what) or " + " in case.what, f"refused, though only unusual: {case} {judged[f'case-{number}']}"
            continue
        line = judged[f"case-{number}"]
        expect = (line["method"], line.get("tool"))
        assert expect[0] != "tools/call" or expect[1] in ALLOWED_NAMES, f"forwarded, though not allowed: {case} {line}"
        for name, reading in readings.items():
            if reading.error is None:
                if reading.runs != expect:
                    wrong.append(f"{case.what}: judged {expect}, {name} runs {reading.runs}: {case.body!r}")
            elif name != "serde" or REFUSED_BY_SERDE not in case.what:
                wrong.append(f"{case.what}: {name} cannot read what was forwarded ({reading.error}): {case.body!r}")
        if len(versions := {reading.version for reading in readings.values() if reading.error is None}) > 1:
            wrong.append(f"{case.what}: the version is one of {versions}: {case.body!r}")
    assert not wrong, f"{len(wrong)} readings differ:\n" + "\n".join(wrong[:40])
    assert len(seen) > 200, f"only {len(seen)} of {len(straight)} bodies were forwarded: this shows nothing"


def test_a_careless_judge_would_let_the_forbidden_tool_be_run(straight, decoders):
    """The control: the same bodies under a policy that reads each as Python's json does, or under none."""
    run, passed = Counter(), Counter()
    for _, readings in straight:
        judge = readings["python"]
        for name, reading in readings.items():
            if reading.runs == ("tools/call", FORBIDDEN):
                run[name] += 1
                passed[name] += judge.error is None and judge.tool in (None, *ALLOWED_NAMES)
    assert set(run) == set(READINGS), f"some decoder never ran the forbidden tool: {run}"
    for folding in ("go", "jackson", "jackson, Turkish", "cJSON", "careless"):
        assert passed[folding] >= 10, f"{folding} found the forbidden tool in too few bodies that a careless judge lets pass: {passed}"

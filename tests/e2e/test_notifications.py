"""Rollout notifications: a guard as shipped notifies each kind of receiver, and retries one that fails at first."""

import http.server
import json
import threading

import pytest

from harness.curl import curl
from harness.operator import HELD_PLAN, Operator
from mcp_testkit.guard import Guard
from mcp_testkit.programs import wait_until
from mcp_testkit.tools import mcp_tools

RECEIVERS = """
[[notify]]
name = "hook"
kind = "generic"
url = "{url}/hook"
[[notify]]
name = "chat"
kind = "slack"
url_env = "CHAT_URL"
[[notify]]
name = "pager"
kind = "pagerduty"
routing_key_env = "PAGER_KEY"
url = "{url}/pager"
on = ["rolled_back"]
[[notify]]
name = "program"
kind = "exec"
exec = ["sh", "-c", "cat >> {told}; echo >> {told}"]
"""
MORE = """
[slots.green]
address = "{green}"
[rollout]
plan = "plan.toml"
[health]
interval = "250ms"
timeout = "250ms"
"""


class Receiver(http.server.ThreadingHTTPServer):
    """Responds 503 to the first request of every path, and records the others."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reported: list[tuple[str, dict]] = []
        self.refused: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def at(self, path: str) -> list[dict]:
        return [body for where, body in list(self.reported) if where == path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        first = self.path not in self.server.refused
        self.server.refused.add(self.path)
        if not first:
            self.server.reported.append((self.path, body))
        self.send_response(503 if first else 202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()


def test_every_receiver_is_notified_in_its_own_format_and_again_after_a_failure(programs, receiver, monkeypatch):
    monkeypatch.setenv("CHAT_URL", receiver.url + "/services/T0/B0/chat-secret")
    monkeypatch.setenv("PAGER_KEY", "pager-secret")
    blue, reported = mcp_tools(programs), programs.folder / "told"
    green = mcp_tools(programs, "green")
    (programs.folder / "plan.toml").write_text(HELD_PLAN + RECEIVERS.format(url=receiver.url, told=reported))
    operator = Operator(Guard(programs, blue.address, blue.path, more=MORE.format(green=green.address)))
    operator.both_healthy()
    # An alert on the increase of what is given up must see the first one, too.
    page = curl(f"http://{operator.guard.metrics}/metrics").body.decode()
    for name in ("hook", "chat", "pager", "program"):
        assert f'mcp_guard_notifications_total{{receiver="{name}",result="given_up"}} 0' in page
    operator.does("rollout start")
    green.program.signal(9)
    operator.rolled_back()

    chat = "/services/T0/B0/chat-secret"
    wait_until("every receiver is notified", lambda: len(receiver.at("/hook")) == 2 and len(receiver.at(chat)) == 2 and receiver.at("/pager"), 30)
    lines = lambda: [line for line in reported.read_text().splitlines() if line] if reported.exists() else []  # noqa: E731
    wait_until("the program is told, too", lambda: len(lines()) == 2)
    started, back = receiver.at("/hook")
    assert [started["transition"]["kind"], back["transition"]["kind"]] == ["started", "rolled_back"], "in order, though the first one failed"
    assert back["transition"]["cause"]["fired"]["trigger"] == "candidate_health" and back["severity"] == "critical"
    assert started["incident"] is None
    shown = wait_until("the record is written", lambda: operator.guard.command("incident", "show", back["incident"], "--json").stdout)
    record = json.loads(shown)
    assert record["outcome"] == "rolled_back" and "candidate_health" in record["cause"], record
    assert "candidate_health" in receiver.at(chat)[1]["text"]
    assert receiver.at(chat)[1]["text"].endswith(f"record: {back['incident']}")
    (page,) = receiver.at("/pager")
    assert page["payload"]["custom_details"]["incident"] == back["incident"]
    assert (page["routing_key"], page["event_action"], page["payload"]["severity"]) == ("pager-secret", "trigger", "critical")
    by_hand = [json.loads(line)["transition"]["kind"] for line in lines()]
    assert by_hand == ["started", "rolled_back"]
    said = operator.guard.program.log()
    assert "secret" not in said, "an address is a secret"

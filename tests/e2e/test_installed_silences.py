"""Contract, section 21: "Alertmanager (API v2): a silence for the duration where configured, ended with it; the generic, Slack and PagerDuty
notifications carry the record's id". A real Alertmanager, and a receiver of notifications, on a booted machine."""

import json
from pathlib import Path

import pytest

from harness.installed import Installed
from harness.releases import GUARD, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import system
from mcp_testkit.programs import wait_until

API = "http://127.0.0.1:9093/api/v2"


class Alertmanager:
    def __init__(self, machine):
        self.machine = machine
        program = machine.push(Path(system("prometheus-alertmanager")), "/srv/alertmanager")
        machine.do("chmod", "755", program)
        for template in Path("/usr/share/prometheus/alertmanager").glob("*.tmpl"):
            machine.push(template, str(template))
        machine.write("/srv/alertmanager.yml", "route: {receiver: none}\nreceivers: [{name: none}]\n")
        flags = ["--config.file=/srv/alertmanager.yml", "--storage.path=/run/am", "--cluster.listen-address=", "--web.listen-address=127.0.0.1:9093"]
        machine.do("systemd-run", "--quiet", "--unit=am", program, *flags)
        wait_until("Alertmanager", lambda: machine.run("curl", "-sf", f"{API}/status").returncode == 0)

    def silences(self, state: str | None = None) -> list[dict]:
        found = json.loads(self.machine.do("curl", "-sS", f"{API}/silences"))
        return [one for one in found if state is None or one["status"]["state"] == state]

    def is_suppressed(self, alert: str, instance: str = "here") -> bool:
        labels = {"alertname": alert, "instance": instance}
        body = json.dumps([{"labels": labels}])
        self.machine.do("curl", "-sSf", "-H", "Content-Type: application/json", "--data-binary", body, f"{API}/alerts")
        found = json.loads(self.machine.do("curl", "-sS", f"{API}/alerts"))
        return next(one for one in found if one["labels"] == labels)["status"]["state"] == "suppressed"


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    return ready(Installed(machine, package))


def test_alerts_are_silenced_while_an_operation_runs_and_no_longer(installed):
    machine, releases = installed.machine, Releases(installed)
    releases.make("second")
    # It starts and never listens.
    releases.make("slow", script="exec sleep 600")
    guard = machine.do("cat", GUARD)
    line = '# alertmanager = "http://127.0.0.1:9093" '
    assert guard.count(line) == 1
    labels = '# silence_labels = { instance = "web1:9464" } '
    assert guard.count(labels) == 1
    ours = 'silence_labels = { instance = "here" } '
    machine.write(GUARD, guard.replace(line, line[2:]).replace(labels, ours))

    # Without an Alertmanager that responds: a warning, no failure.
    done = releases.types("deploy", "second")
    assert done.returncode == 0 and "alerts are not silenced: " in done.stderr, done
    assert releases.serving() == "green"

    alertmanager = Alertmanager(machine)
    assert "alerts are silenced for the operation, 60 min at most" in releases.does("rollback", "--reason", "drill")
    [silence] = alertmanager.silences()
    record = releases.record()
    assert silence["comment"] == f"mcp-guard {record['id']}" and silence["status"]["state"] == "expired", silence
    assert silence["createdBy"].startswith("mcp-guard, "), silence

    # Killed in the middle: the silence goes on, until another command ends the operation.
    script = "mcp-guard release deploy slow >/run/deploy.log 2>&1 & echo $! >/run/deploy.pid; wait"
    killed = machine.start("sh", "-c", script)
    wait_until("a silence", lambda: alertmanager.silences("active"))
    wait_until("an operation", lambda: machine.run("test", "-e", "/var/lib/mcp-releases/operation.jsonl").returncode == 0)
    machine.do("sh", "-c", "kill -KILL $(cat /run/deploy.pid)")
    killed.communicate(timeout=30)
    [silence] = alertmanager.silences("active")
    assert alertmanager.is_suppressed("McpGuardDown") and not alertmanager.is_suppressed("SomethingElse")
    assert not alertmanager.is_suppressed("McpGuardDown", instance="another guard")
    said = releases.does("undo")
    assert f"alerts are silenced already (silence {silence['id']})" in said, said
    assert not alertmanager.silences("active") and len(alertmanager.silences()) == 2
    assert not alertmanager.is_suppressed("McpGuardDown")

    # A deployment that fails ends its silence, too.
    assert releases.types("deploy", "slow").returncode == 1
    assert not alertmanager.silences("active") and len(alertmanager.silences()) == 3


RECEIVER = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/run/told" + self.path, "ab") as told:
            told.write(body + b"\\n")
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", 9000), Handler).serve_forever()
"""
PLAN = """
[[notify]]
name = "hook"
kind = "generic"
url = "http://127.0.0.1:9000/hook"
on = ["release"]
[[notify]]
name = "chat"
kind = "slack"
url = "http://127.0.0.1:9000/chat"
on = ["release"]
[[notify]]
name = "pager"
kind = "pagerduty"
url = "http://127.0.0.1:9000/pager"
routing_key_env = "PAGER_KEY"
on = ["release"]
"""


def test_the_end_of_an_operation_is_notified_of_with_the_id_of_its_record(installed):
    machine, releases = installed.machine, Releases(installed)
    # It starts and never listens.
    releases.make("slow", script="exec sleep 600")
    machine.do("mkdir", "-p", "/run/told")
    machine.write("/srv/receiver.py", RECEIVER)
    machine.do("systemd-run", "--quiet", "--unit=receiver", "python3", "/srv/receiver.py")
    wait_until("the receiver", lambda: machine.run("curl", "-s", "-d", "x", "http://127.0.0.1:9000/ready").returncode == 0)
    machine.write("/etc/mcp-guard/env", f"MCP_BEARER_TOKEN={TOKEN}\nPAGER_KEY=key\n", mode=0o600)
    guard = machine.do("cat", GUARD)
    assert guard.count('# plan = "plan.toml" ') == 1
    machine.write("/etc/mcp-guard/plan.toml", PLAN)
    machine.write(GUARD, guard.replace('# plan = "plan.toml" ', 'plan = "plan.toml"   '))
    machine.do("mcp-guard", "reload")

    def told(where: str, count: int) -> list[dict]:
        lines = lambda: machine.run("cat", f"/run/told/{where}").stdout.splitlines()  # noqa: E731
        wait_until(f"{count} notifications at {where}", lambda: len(lines()) >= count)
        return [json.loads(line) for line in lines()]

    installed.serves(TOKEN)
    assert releases.types("deploy", "slow", "--reason", "a <try>").returncode == 1
    failed = releases.record()
    assert failed["notified"] == ["hook", "chat", "pager"], failed
    releases.does("deploy", releases.make("third"))
    done = releases.record()
    assert "* **Notified**: hook, chat, pager" in machine.do("mcp-guard", "incident", "show", done["id"])

    first, second = told("hook", 2)
    assert (first["incident"], first["severity"], first["operation"]["result"]) == (failed["id"], "error", "undone"), first
    assert first["operation"]["cause"].startswith("ready: not ready within 15 s"), first
    assert (second["incident"], second["event"], second["operation"]["release"]) == (done["id"], "mcp_guard.release", "third"), second
    chat = [message["text"] for message in told("chat", 2)]
    assert f"record: {failed['id']}" in chat[0] and "reason: a &lt;try&gt;" in chat[0] and chat[1].endswith(f"record: {done['id']}"), chat
    pages = [(page["event_action"], page["payload"]["custom_details"]["incident"]) for page in told("pager", 2)]
    assert pages == [("trigger", failed["id"]), ("resolve", done["id"])]

"""Contract, section 21: "Alertmanager (API v2): a silence for the duration where configured, ended with it". A real Alertmanager, on a booted machine."""

import json
from pathlib import Path

import pytest

from harness.installed import Installed
from harness.releases import GUARD, Releases, ready
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

"""Verification, the standard rollback and the drill on a booted systemd, with the shipped units and real failures."""

import json

import pytest

from harness.installed import Installed
from harness.releases import GUARD, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until

CHECKS = ["units", "health", "initialize", "tools", "dependencies", "log", "metrics", "load"]
LIB = "/var/lib/mcp-releases"


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = ready(Installed(machine, package))
    guard = machine.do("cat", GUARD)
    # A drill waits until the guard has noticed.
    guard = guard.replace("fall = 20 ", "fall = 3 ").replace('timeout = "500ms" ', 'timeout = "1500ms" ')
    machine.write(GUARD, guard)
    machine.do("systemctl", "reload", "mcp-guard")
    return there


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    made = Releases(installed)
    tools = len(json.loads(installed.post(TOKEN).body)["result"]["tools"])
    made.make("second", more=f"tools = {tools}\n")
    made.make("third", more=f"tools = {tools}\n")
    made.make("boasts", more="tools = 99\n")
    return made


def verified(releases: Releases) -> tuple[int, dict[str, dict]]:
    """The exit code of a verification, and its checks by name."""
    done = releases.types("verify", "--json")
    checks = json.loads(done.stdout)["verification"]["checks"]
    assert [check["name"] for check in checks] == CHECKS, done
    return done.returncode, {check["name"]: check for check in checks}


def bad(checks: dict[str, dict]) -> dict[str, str]:
    return {name: check["found"] for name, check in checks.items() if check["state"] == "bad"}


def notes(record: dict, step: str) -> str:
    return "\n".join(note for line in record["timeline"] if line["what"].startswith(f"{step}: ") for note in line["notes"])


def quiet(releases: Releases) -> None:
    """Both slots healthy, no restart counted, and the last hundred lines of every log free of errors."""
    machine = releases.machine
    releases.both_healthy()
    machine.do("systemctl", "reset-failed", "mcp-guard", "mcp-tools@blue", "mcp-tools@green")
    machine.do("journalctl", "--rotate")
    machine.do("journalctl", "--vacuum-time=1s")
    for _ in range(3):
        assert releases.installed.status(TOKEN) == 200


def test_verification_says_what_each_check_found(releases):
    exit_code, checks = verified(releases)
    assert (exit_code, bad(checks)) == (0, {})
    units = checks["units"]["found"]
    assert "mcp-guard.service is active, 0 restarts" in units and "mcp-tools@blue.service is active" in units, units
    assert "mcp-tools@green.service is stopped" in units
    assert "no figures of before" in checks["load"]["found"] and "through the guard: 20 requests, 0 failed, 4 connections, p50 " in checks["load"]["found"]
    lines = releases.does("verify").splitlines()
    assert [line.split()[:2] for line in lines] == [["-" if name == "dependencies" else "ok", name] for name in CHECKS], lines


def test_a_deployment_keeps_the_figures_before_and_after_it(releases):
    releases.does("deploy", "second")
    record = releases.record()
    assert " 0 failed" in notes(record, "figures"), record
    after = notes(record, "verify service")
    assert "before the latest deployment" in after and "now: slot green (second)" in after, after
    kept = json.loads(releases.machine.do("cat", f"{LIB}/figures.json"))
    assert (kept["operation"], kept["before"]["serving"], kept["after"]["serving"]) == (record["id"], "blue", "green")
    exit_code, checks = verified(releases)
    assert exit_code == 0 and "; before: 20 requests" in checks["load"]["found"], checks


def test_a_release_that_lists_other_tools_than_it_says_gets_no_traffic(releases):
    before = releases.state()
    done = releases.types("deploy", "boasts")
    assert done.returncode == 1 and "tools/list has" in done.stderr and "its release says 99" in done.stderr, done
    assert releases.record()["cause"].startswith("verify slot: "), releases.record()
    assert releases.state() == before


def test_a_standard_rollback_leaves_a_checkpoint_and_verifies(releases):
    machine = releases.machine
    releases.does("deploy", "third")
    assert releases.serving() == "blue"
    said = releases.does("rollback", "--standard", "--reason", "drill")
    record = releases.record()
    assert releases.serving() == "green" and record["kind"] == "standard-rollback" and record["outcome"] == "done", said
    folder = f"{LIB}/checkpoints/{record['id']}"
    modes = dict(line.split()[::-1] for line in machine.do("find", folder, "-printf", "%m %P\\n").splitlines() if len(line.split()) == 2)
    expected = ["figures.json", "history.json", "metrics.txt", "rollout.json", "status.json", "configuration", "configuration/00-guard.toml"]
    expected += [f"journal-{unit}.service.log" for unit in ("mcp-guard", "mcp-tools@blue", "mcp-tools@green", "mcp-watchdog")]
    assert set(expected) <= set(modes) and not [path for path, mode in modes.items() if mode not in ("600", "700")], modes
    assert machine.do("stat", "-c", "%a", folder).strip() == "700"
    assert json.loads(machine.do("cat", f"{folder}/status.json"))["stable"] == "blue"
    assert "mcp_guard_connections " in machine.do("cat", f"{folder}/metrics.txt")
    assert "now: slot green" in notes(record, "verify service"), record
    assert TOKEN not in machine.do("sh", "-c", f"cat {folder}/*.* {folder}/configuration/*")


def test_a_standard_rollback_to_a_named_release(releases):
    before = releases.serving()
    releases.does("rollback", "--standard", "third")
    record = releases.record()
    assert releases.serving() != before and record["release"] == "third", record


@pytest.mark.parametrize("kind", ["stop", "kill", "hang", "wrong-answers"])
def test_a_drill_fails_the_other_slot_and_no_call(releases, kind):
    releases.both_healthy()
    serving, said = releases.serving(), []
    before = releases.process(serving)
    calls, failed = releases.installed.under_load(TOKEN, lambda: said.append(releases.does("drill", "--kind", kind)))
    assert calls > 10 and not failed, failed
    record = releases.record()
    assert record["kind"] == "drill" and record["outcome"] == "done" and record["slot"] != serving, record
    seen = notes(record, "fail slot")
    assert "0 of " in seen and "requests to the service failed" in seen, seen
    rows = [row["of"] for row in record["figures"]]
    assert any(row.startswith(f"slot {serving} (") and "while it ran" in row for row in rows), rows
    assert ("ran again by itself after" if kind == "kill" else "the guard noticed after") in seen, seen
    assert releases.serving() == serving and releases.process(serving) == before
    assert releases.machine.show(f"mcp-tools@{record['slot']}", "NRestarts") == "0"
    releases.both_healthy()


def test_a_drill_with_wrong_answers_that_was_killed_is_undone(releases):
    """The slot's address is given back, and nothing is left beside it."""
    machine = releases.machine
    releases.both_healthy()
    drilled = {"blue": "green", "green": "blue"}[releases.serving()]
    script = "mcp-guard release drill --kind wrong-answers >/run/drill.log 2>&1 & echo $! >/run/drill.pid; wait"
    drill = machine.start("sh", "-c", script)
    aside = f"/run/mcp-tools/{drilled}.sock.drilled"
    wait_until("something to stand in", lambda: machine.run("test", "-e", aside).returncode == 0)
    machine.do("sh", "-c", "kill -KILL $(cat /run/drill.pid)")
    drill.communicate(timeout=30)
    assert "was interrupted at `fail slot`" in releases.types("deploy", "second").stderr
    told = json.loads(machine.run("mcp-guard", "doctor", "--json").stdout)["findings"]
    [told] = [finding for finding in told if finding["what"] == "release"]
    assert told["state"] == "warn" and f"in slot {drilled}) was interrupted at `fail slot`" in told["found"], told
    assert "mcp-guard release resume" in told["todo"] and "mcp-guard release undo" in told["todo"], told
    releases.does("undo")
    assert '"what": "release"' not in machine.run("mcp-guard", "doctor", "--json").stdout
    assert machine.do("ls", "/run/mcp-tools").split() == ["blue.sock", "green.sock"]
    releases.both_healthy()


def test_a_drill_does_not_touch_the_slot_that_serves_unless_told(releases):
    serving, other = releases.serving(), {"blue": "green", "green": "blue"}
    before = releases.process(serving)
    done = releases.types("drill", "--slot", serving)
    assert done.returncode == 1 and f"slot {serving} serves; nothing was touched" in done.stderr, done
    assert releases.process(serving) == before
    releases.machine.do("systemctl", "stop", f"mcp-tools@{other[serving]}")
    wait_until("the guard to notice", lambda: "is unhealthy: only a healthy slot can fail" in releases.types("drill").stderr)
    releases.machine.do("systemctl", "start", f"mcp-tools@{other[serving]}")
    releases.both_healthy()


def test_an_interrupted_drill_is_told_and_undone(releases):
    machine = releases.machine
    drilled = {"blue": "green", "green": "blue"}[releases.serving()]
    drill = machine.start("mcp-guard", "release", "drill", "--kind", "hang")
    state = lambda: machine.do("sed", "-n", "s/^State:\t//p", f"/proc/{releases.process(drilled)}/status")  # noqa: E731
    wait_until("the slot to be halted", lambda: state().startswith("T"))
    # nsenter has become the command itself, or its parent: the command is found by the lock that it holds.
    machine.do("sh", "-c", f"for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q ' {LIB}/lock$' && kill -KILL ${{p#/proc/}}; done; true")
    drill.wait(30)
    wait_until("the lock to be free", lambda: "was interrupted at `fail slot`" in releases.types("deploy", "second").stderr)
    releases.types("undo")
    assert not releases.listed()["interrupted"] and not state().startswith("T")
    releases.both_healthy()


def test_verification_fails_for_a_restarted_unit_until_its_count_is_reset(releases):
    machine = releases.machine
    quiet(releases)
    assert verified(releases)[0] == 0
    serving = releases.serving()
    unit = f"mcp-tools@{serving}.service"
    before = releases.process(serving)
    machine.do("systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit)
    wait_until("the unit to be back", lambda: machine.is_active(unit) and releases.process(serving) not in (before, "0"))
    releases.both_healthy()
    exit_code, checks = verified(releases)
    assert exit_code == 1 and f"systemd has restarted {unit} 1 times" in checks["units"]["found"], checks
    assert f"{unit}: 1 errors in the last" in checks["log"]["found"], checks
    quiet(releases)
    exit_code, checks = verified(releases)
    assert exit_code == 0, checks


def test_verification_fails_for_a_slow_service_and_says_how_slow_it_was(releases):
    """The figures of before are made faster than any service is."""
    machine = releases.machine
    quiet(releases)
    releases.does("verify", "--record")
    kept = json.loads(machine.do("cat", f"{LIB}/figures.json"))
    kept["before"]["load"]["p95_ms"] = -1000.0
    machine.write(f"{LIB}/figures.json", json.dumps(kept))
    exit_code, checks = verified(releases)
    assert exit_code == 1 and list(bad(checks)) == ["load"] and "-1000.0 ms before" in checks["load"]["found"], checks
    releases.does("verify", "--record")
    assert verified(releases)[0] == 0


def test_a_dependency_that_is_away_fails_the_verification_and_an_optional_one_no_deployment(releases):
    machine = releases.machine
    quiet(releases)
    before = machine.do("cat", GUARD)
    tool = '[[dependency]]\nname = "tools"\ntool = { name = "swf_list_available_tools" }\n'
    away = '[[dependency]]\nname = "away"\ntcp = { address = "127.0.0.1:9" }\n'
    try:
        machine.write(GUARD, f"{before}\n{tool}")
        machine.do("systemctl", "reload", "mcp-guard")
        exit_code, checks = verified(releases)
        assert exit_code == 0 and f"tools (slot {releases.serving()}) in " in checks["dependencies"]["found"], checks
        machine.write(GUARD, f"{before}\n{tool}{away}")
        machine.do("systemctl", "reload", "mcp-guard")
        exit_code, checks = verified(releases)
        assert exit_code == 1 and list(bad(checks)) == ["dependencies"] and "away FAILED: " in checks["dependencies"]["found"], checks
        releases.does("deploy", "second")
        record = releases.record()
        assert "away FAILED: " in notes(record, "verify service") and "tools (slot " in notes(record, "verify slot"), record
        machine.write(GUARD, f"{before}\n{tool}{away}required = true\n")
        machine.do("systemctl", "reload", "mcp-guard")
        serving = releases.serving()
        done = releases.types("deploy", "third")
        assert done.returncode == 1 and "dependencies: " in done.stderr and releases.serving() == serving, done
        assert releases.record()["cause"].startswith("verify service: dependencies: "), releases.record()
    finally:
        machine.write(GUARD, before)
        machine.do("systemctl", "reload", "mcp-guard")


def test_a_load_tool_that_cannot_be_called_stops_a_deployment_before_it_changes_anything(releases):
    machine = releases.machine
    guard, before = machine.do("cat", GUARD), releases.state()
    assert '# load_tool = "swf_list_agents"' in guard
    try:
        machine.write(GUARD, guard.replace('# load_tool = "swf_list_agents"', 'load_tool = "nothing"'))
        done = releases.types("deploy", "second")
        assert done.returncode == 1 and "release.load_tool: nothing is not listed" in done.stderr, done
        assert releases.record()["cause"].startswith("figures: ") and releases.state() == before
        machine.write(GUARD, guard.replace('# load_tool = "swf_list_agents"', 'load_tool = "swf_list_available_tools"'))
        assert "tools/call swf_list_available_tools through the guard: 20 requests, 0 failed" in verified(releases)[1]["load"]["found"]
    finally:
        machine.write(GUARD, guard)


def test_verification_without_a_guard_is_a_failure(releases):
    machine = releases.machine
    machine.do("systemctl", "stop", "mcp-guard")
    try:
        done = releases.types("verify")
        assert done.returncode == 1 and "no guard is running" in done.stderr, done
    finally:
        machine.do("systemctl", "start", "mcp-guard")
    releases.installed.serves(TOKEN)

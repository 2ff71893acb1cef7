"""Releases on a booted systemd with the shipped units: forward and back under load, and every failure leaves the slot as it was."""

import json
import re
import time

import pytest

from harness.installed import Installed
from harness.releases import GUARD, SERVE, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until

FIRST = "mcp-tools-0.1.0-1"
#: A catalogue with other tools than the built-in one.
OTHER = '[server]\nname = "other"\n\n[[tool]]\nname = "only_one"\ndescription = "The only tool."\nread_only = true\ntext = { body = "one" }\n'


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    return ready(Installed(machine, package))


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    made = Releases(installed)
    made.make("second")
    made.make("third")
    return made


def under_load(releases: Releases, *words: str) -> str:
    """Runs a release command that must succeed while clients call, and returns what it printed. No call fails."""
    said = []
    calls, failed = releases.installed.under_load(TOKEN, lambda: said.append(releases.does(*words)))
    assert calls > 10 and not failed, failed
    return said[0]


def milliseconds(record: dict) -> float:
    """How long an operation took, from its first to its last entry."""
    began, ended = (time.strptime(record[key][:19], "%Y-%m-%dT%H:%M:%S") for key in ("began", "ended"))
    fraction = float(record["ended"][19:-1]) - float(record["began"][19:-1])
    return (time.mktime(ended) - time.mktime(began) + fraction) * 1000


def figures(record: dict, *, before: str, after: str) -> None:
    """The record has the calls of the slot that served before and of the one that serves after, and none failed."""
    rows = {row["of"]: row for row in record["figures"]}
    wanted = [f"slot {before}, before: since", f"slot {after}, after traffic moved"]
    found = [row for begin in wanted for of, row in rows.items() if of.startswith(begin)]
    assert len(found) == 2 and not any(row["failures"] for row in rows.values()), rows
    # The quick way back counts once, before its backup.
    assert any("until traffic moved" in of for of in rows) == (record["kind"] != "switch-back"), rows
    first, last = found
    assert first["requests"] > 0 and last["requests"] > 0 and 0 < last["p50_ms"] <= last["p95_ms"], rows


def test_a_deployment_and_both_ways_back_fail_no_call(releases, record_property):
    under_load(releases, "deploy", "second")
    record = releases.record()
    figures(record, before=f"blue ({FIRST})", after="green (second)")
    assert {f"slot blue ({FIRST}), load check before", "slot green (second), load check after"} <= {row["of"] for row in record["figures"]}
    markdown = releases.machine.do("mcp-guard", "incident", "show", record["id"])
    assert "## Figures" in markdown and "| slot green (second), after traffic moved (" in markdown, markdown
    assert releases.serving() == "green" and releases.of_slots() == {"blue": FIRST, "green": "second"}
    assert releases.record()["outcome"] == "done" and releases.record()["release"] == "second"

    said = under_load(releases, "rollback", "--reason", "too slow")
    assert "switch-back" in said and releases.serving() == "blue" and releases.of_slots() == {"blue": FIRST, "green": "second"}
    record = releases.record()
    assert record["reason"] == "too slow" and record["kind"] == "switch-back", record
    figures(record, before="green (second)", after=f"blue ({FIRST})")
    switch = milliseconds(record)
    # The slot has meanwhile another release, so that the former one has to be started there again.
    under_load(releases, "deploy", "second")
    under_load(releases, "deploy", "third")
    assert releases.serving() == "blue" and releases.of_slots() == {"blue": "third", "green": "second"}
    releases.machine.do("systemctl", "stop", "mcp-tools@green")
    under_load(releases, "rollback")
    record = releases.record()
    assert releases.serving() == "green" and record["kind"] == "rollback" and releases.of_slots()["green"] == "second", record
    restore = milliseconds(record)
    figures(record, before="blue (third)", after="green (second)")
    record_property("rollback_by_switch_milliseconds", round(switch))
    record_property("rollback_by_restart_milliseconds", round(restore))
    print(f"rollback by switch: {switch:.0f} ms, by starting the former release: {restore / 1000:.2f} s")
    assert switch < 10_000 and restore < 60_000


def test_the_slot_that_serves_is_there_after_a_reboot(installed, releases):
    """Only blue was enabled before; traffic is on green."""
    before = releases.serving()
    assert before == "green"
    installed.machine.reboot()
    installed.machine.wait_active("mcp-guard")
    installed.serves(TOKEN)
    assert releases.serving() == before and releases.machine.is_active(f"mcp-tools@{before}")
    releases.both_healthy()


NOTIFIES = "sd_notify = true\n"
FAILURES = {
    "does not start": (dict(script="echo 'no such database' >&2; exit 3", more=NOTIFIES), "start unit", "no such database"),
    "hangs at its start": (dict(script="exec sleep 600", more=NOTIFIES), "start unit", "did not end within 15 s"),
    "is no MCP server": (dict(script="exec sleep 600"), "ready", "not ready within 15 s"),
    "ends after its start": (dict(script="sleep 0.5; exit 4"), "ready", "was restarted"),
    "lists other tools": (dict(start=[*SERVE, "--catalog", "{release}/other.toml"], files={"other.toml": OTHER}), "parity", "tool"),
    "fails its own check": (dict(more='check = ["/bin/sh", "-c", "echo wrong libc >&2; exit 1"]\n'), "preflight", "wrong libc"),
}


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("idle", ["running", "stopped"])
def test_a_failed_deployment_leaves_both_slots_as_they_were(installed, releases, how, idle):
    options, step, cause = FAILURES[how]
    name = re.sub(r"\W+", "-", how)
    if name not in {each["name"] for each in releases.listed()["releases"]}:
        releases.make(name, **options)
    other = {"blue": "green", "green": "blue"}[releases.serving()]
    releases.machine.do("systemctl", {"running": "start", "stopped": "stop"}[idle], f"mcp-tools@{other}")
    before, done = releases.state(), []
    calls, failed = installed.under_load(TOKEN, lambda: done.append(releases.types("deploy", name)))
    assert calls > 10 and not failed, failed
    assert done[0].returncode == 1 and f"{step}: " in done[0].stderr and cause in done[0].stderr, done[0]
    record = releases.record()
    assert record["outcome"] == "undone" and record["cause"].startswith(f"{step}: ") and cause in record["cause"], record
    assert releases.state() == before


def test_a_slot_whose_release_does_not_start_takes_another_one(releases):
    """Also after a deployment that had to put the broken release back."""
    other = {"blue": "green", "green": "blue"}[releases.serving()]
    releases.machine.do("ln", "-sfn", "../../releases/does-not-start", f"/var/lib/mcp-releases/slots/{other}/current")
    releases.machine.run("systemctl", "restart", f"mcp-tools@{other}")
    done = releases.types("deploy", "lists-other-tools")
    assert done.returncode == 1 and "which does not start: " in done.stdout and "no such database" in done.stdout, done
    assert releases.of_slots()[other] == "does-not-start" and releases.serving() != other
    under_load(releases, "deploy", "second")
    assert releases.serving() == other and releases.of_slots()[other] == "second"


def test_a_release_with_a_wrong_checksum_is_not_deployed(releases):
    releases.make("damaged")
    before = releases.state()
    releases.machine.write("/var/lib/mcp-releases/releases/damaged/note", "changed")
    done = releases.types("deploy", "damaged")
    assert done.returncode == 1 and "preflight: " in done.stderr and "note is not the file that release.toml lists" in done.stderr, done
    listed = {each["name"]: each["damaged"] for each in releases.listed()["releases"]}
    assert "note" in listed["damaged"] and not listed["second"], listed
    releases.machine.write("/var/lib/mcp-releases/releases/damaged/note", "damaged")
    assert releases.state() == before


def test_a_restore_brings_configuration_and_release_back(installed, releases):
    machine = installed.machine
    shipped, serving, had = machine.do("cat", GUARD), releases.serving(), releases.of_slots()
    said = releases.does("backup")
    backup = re.search(r"backup (\S+) with", said).group(1)
    under_load(releases, "deploy", "third")
    machine.write(GUARD, shipped.replace("in_flight = 32 ", "in_flight = 31 "))
    machine.do("mcp-guard", "reload")
    assert machine.run("mcp-guard", "release", "restore", "nonsense").returncode == 1
    under_load(releases, "restore", backup)
    assert machine.do("cat", GUARD) == shipped and releases.of_slots()[releases.serving()] == had[serving]
    assert releases.record()["kind"] == "restore"
    assert any("after traffic moved" in row["of"] and row["requests"] for row in releases.record()["figures"]), releases.record()
    # A backup that does not have its checksums is refused, and nothing is touched.
    before = releases.state()
    machine.do("sh", "-c", f"echo >> /var/lib/mcp-releases/backups/{backup}/00-guard.toml")
    done = releases.types("restore", backup)
    assert done.returncode == 1 and "nothing was touched" in done.stderr, done
    assert releases.state() == before
    # Nor is a release removed while it is not known which ones that backup needs.
    done = releases.types("prune", "--keep", "0")
    assert done.returncode == 1 and f"backup {backup} is damaged" in done.stderr, done
    machine.do("rm", "-r", f"/var/lib/mcp-releases/backups/{backup}")


def test_backups_are_for_root_and_hold_no_token(releases):
    machine = releases.machine
    modes = machine.do("find", "/var/lib/mcp-releases/backups", "-type", "f", "-printf", "%m %u\n").split("\n")
    assert set(filter(None, modes)) == {"600 root"}
    assert machine.run("grep", "-r", TOKEN, "/var/lib/mcp-releases").returncode == 1
    assert machine.run("ls", "/var/lib/mcp-releases/backups", user="mcp-tools").returncode != 0


def test_a_deployment_by_rollout_starts_one_and_a_rollback_ends_it(releases):
    before = releases.serving()
    under_load(releases, "deploy", "second", "--strategy", "rollout")
    status = json.loads(releases.machine.do("mcp-guard", "rollout", "status", "--json"))["status"]
    assert status["run"] and status["position"]["stable"] == before, status
    # A second deployment would change the candidate under the rollout.
    done = releases.types("deploy", "third")
    assert done.returncode == 1 and "is under way" in done.stderr, done
    releases.machine.do("mcp-guard", "rollout", "rollback")
    wait_until("the rollout to end", lambda: not json.loads(releases.machine.do("mcp-guard", "rollout", "status", "--json"))["status"]["run"])
    assert releases.serving() == before


def test_prune_keeps_what_is_used(releases):
    used = set(releases.of_slots().values())
    backups = json.loads(releases.does("backups", "--json"))["backups"]
    used |= {name for backup in backups if "damaged" not in backup for name in backup["releases"].values()}
    releases.does("prune", "--keep", "0")
    assert {each["name"] for each in releases.listed()["releases"]} == used and len(used) >= 2


def test_a_dry_run_changes_nothing(releases):
    before, records = releases.state(), releases.record()["id"]
    name = next(name for name in before["releases"].values())
    assert "nothing was changed" in releases.does("deploy", name, "--dry-run")
    assert releases.state() == before and releases.record()["id"] == records

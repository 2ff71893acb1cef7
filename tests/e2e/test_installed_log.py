"""mcp-guard doctor --log on a booted systemd: what the real journal has of the units, and what it hides from other users.

Requirements: no errors in the logs for five minutes is a criterion of success; the last 100 log lines are collected at a rollback.
"""

import json

import pytest

from mcp_testkit.paths import GUARD
from mcp_testkit.programs import wait_until


@pytest.fixture(scope="module")
def there(machine):
    machine.push(GUARD, "/usr/bin/mcp-guard")
    machine.do("chmod", "0755", "/usr/bin/mcp-guard")
    return machine


def prints(machine, unit: str, *lines: str, status: int = 0) -> None:
    """A unit of this name that prints the lines and ends; its last line is in the journal afterwards."""
    before = machine.cursor()
    script = "".join(f"echo '{line}'; " for line in lines)
    machine.run("systemd-run", f"--unit={unit}", "--wait", "--collect", "--quiet", "sh", "-c", f"{script}exit {status}")
    wait_until(f"{unit} in the journal", lambda: lines[-1].removeprefix("<3>") in machine.since(before))


def doctor(machine, *arguments: str, user: str | None = None) -> tuple[int, str]:
    done = machine.run("mcp-guard", "doctor", "--log", *arguments, user=user)
    return done.returncode, done.stdout + done.stderr


def test_the_log_is_clean_until_an_error_is_in_it(there):
    code, said = doctor(there)
    assert code == 2 and "the journal has no line of mcp-guard.service, mcp-tools@*.service" in said, said

    prints(there, "mcp-guard.service", '{"level":"info","message":"serves"}', '{"status":200,"outcome":"ok"}')
    code, said = doctor(there)
    assert code == 0 and "[OK]   log            mcp-guard.service: no error in " in said, said
    assert "[SKIP] log            mcp-watchdog.service: no line in the journal" in said, said

    prints(there, "mcp-tools@blue.service", "a line", "<3>cannot reach the database")
    code, said = doctor(there, "--lines", "2")
    assert code == 1 and "[BAD]  log            mcp-tools@blue.service: 1 of " in said, said
    assert "the latest at 20" in said and said.count("cannot reach the database") == 2, said
    report = json.loads(doctor(there, "--json", "--lines", "100")[1])
    assert [line["text"] for line in report["lines"] if line["error"]] == ["cannot reach the database"]
    assert {line["unit"] for line in report["lines"]} == {"mcp-guard.service", "mcp-tools@blue.service"}

    # It is clean again when the error is older than that.
    wait_until("the error to be older than a second", lambda: doctor(there, "--since", "1")[0] == 0)
    assert doctor(there)[0] == 1


def test_another_unit_is_named_and_a_misspelt_one_is_not_clean(there):
    prints(there, "old-backend.service", "2026-01-01 12:00:00,001 ERROR django.request: Internal Server Error")
    code, said = doctor(there, "--unit", "old-backend")
    assert code == 1 and "ERROR django.request" in said, said
    code, said = doctor(there, "--unit", "old-backand.service", "--unit", "old-backend.service")
    assert code == 2 and "the journal has no line of old-backand.service" in said, said


def test_a_unit_that_failed_is_an_error_though_it_printed_none(there):
    prints(there, "fails.service", "all is well", status=3)
    code, said = doctor(there, "--unit", "fails.service")
    assert code == 1 and "Failed with result" in said, said


def test_a_user_who_may_not_read_the_journal_sees_no_clean_log(there):
    prints(there, "mcp-guard.service", "well")
    code, said = doctor(there, user="nobody")
    assert code == 2 and "insufficient permissions. (hint: run as root or in the group systemd-journal)" in said, said

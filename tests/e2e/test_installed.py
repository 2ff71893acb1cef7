"""Token revocation on a booted systemd: a removed token is refused after every kind of reload, and stays refused."""

import json

import pytest

from harness.installed import Installed
from harness.package import repacked

TOKENS = "/etc/mcp-guard/tokens.toml"
ENV = "/etc/mcp-guard/env"
# The edited file is in force when one of these returns. SIGHUP returns nothing: its result is in the log and in `systemctl status`.
RELOADS = {
    "systemctl reload": ["systemctl", "reload", "mcp-guard"],
    "mcp-guard reload": ["mcp-guard", "reload"],
    "upgrade": ["mcp-guard", "upgrade"],
    "SIGHUP": ["systemctl", "kill", "--signal=HUP", "--kill-whom=main", "mcp-guard"],
}


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = Installed(machine, package)
    there.alice, there.alice_lines = there.token("alice")
    there.bob, there.bob_lines = there.token("bob")
    # As an operator with a strict umask writes it.
    machine.write(TOKENS, there.alice_lines, mode=0o600)
    there.start()
    return there


@pytest.fixture(autouse=True)
def only_alice(installed):
    installed.machine.run("rm", "-f", ENV)
    installed.machine.write(TOKENS, installed.alice_lines)
    installed.machine.do("systemctl", "reload-or-restart", "mcp-guard")
    assert (installed.status(installed.alice), installed.status(installed.bob)) == (200, 403)


def take_up(installed: Installed, how: str) -> None:
    """Reloads the guard and returns when the edited file is in force."""
    machine = installed.machine
    before = machine.cursor()
    machine.do(*RELOADS[how])
    if how == "SIGHUP":
        machine.wait_journal(before, '"reloaded: ')


def bearer(token: str) -> str:
    return f"MCP_BEARER_TOKEN={token}\n"


def test_the_installed_units_serve(installed):
    assert installed.status("swf_wrong") == 403
    assert installed.machine.show("mcp-guard", "NRestarts") == "0"


@pytest.mark.parametrize("how", RELOADS)
def test_a_token_taken_out_of_tokens_toml_is_refused(installed, how):
    installed.machine.write(TOKENS, installed.bob_lines)
    take_up(installed, how)
    assert (installed.status(installed.alice), installed.status(installed.bob)) == (403, 200)


@pytest.mark.parametrize("how", ["systemctl reload", "mcp-guard reload", "upgrade"])
def test_a_file_that_was_replaced_by_one_of_roots_own_is_read(installed, how):
    machine = installed.machine
    machine.write("/var/tmp/new.toml", installed.bob_lines, mode=0o600)
    machine.do("mv", "/var/tmp/new.toml", TOKENS)
    assert machine.do("stat", "-c", "%U:%G %a", TOKENS).strip() == "root:root 600"
    take_up(installed, how)
    assert (installed.status(installed.alice), installed.status(installed.bob)) == (403, 200)


def test_a_signal_says_that_it_may_not_read_a_file_of_roots_own(installed):
    machine = installed.machine
    machine.write("/var/tmp/new.toml", installed.bob_lines, mode=0o600)
    machine.do("mv", "/var/tmp/new.toml", TOKENS)
    before = machine.cursor()
    machine.do(*RELOADS["SIGHUP"])
    machine.wait_journal(before, "Permission denied (os error 13) (hint: chgrp mcp-guard")


@pytest.mark.parametrize("how", RELOADS)
def test_a_token_file_that_is_gone_admits_no_client(installed, how):
    installed.machine.do("rm", TOKENS)
    take_up(installed, how)
    assert installed.status(installed.alice) == 503


@pytest.mark.parametrize("how", RELOADS)
def test_the_bearer_token_of_the_environment_is_taken_away_as_well(installed, how):
    machine = installed.machine
    machine.write(ENV, bearer(installed.bob), mode=0o600)
    machine.do("systemctl", "restart", "mcp-guard")
    assert (installed.status(installed.alice), installed.status(installed.bob)) == (200, 200)
    machine.write(ENV, bearer("swf_another-one-0123456789"))
    take_up(installed, how)
    assert installed.status(installed.bob) == 403 and installed.status("swf_another-one-0123456789") == 200
    machine.write(ENV, "# none\n")
    take_up(installed, how)
    assert installed.status("swf_another-one-0123456789") == 403


def test_tokens_in_clear_are_for_the_guard_alone(installed):
    machine = installed.machine
    for path, expect in ((ENV, "mcp-guard:root 600"), (TOKENS, "root:mcp-guard 640")):
        machine.run("rm", "-f", path)
        machine.write(path, "", mode=0o600)
        machine.do("systemctl", "reload", "mcp-guard")
        assert machine.do("stat", "-c", "%U:%G %a", path).strip() == expect


@pytest.mark.parametrize("user", [None, "mcp-guard"])
def test_check_doctor_and_token_list_see_what_the_unit_sees(installed, user):
    """Two clients, and a slot whose token is in the unit's file of variables: no false alarm, and no false all-clear."""
    machine, config = installed.machine, "/etc/mcp-guard/guard.toml"
    shipped = machine.do("cat", config)
    slot = 'authorization = "env:BACKEND_TOKEN"'
    try:
        machine.write(ENV, bearer(installed.bob) + "BACKEND_TOKEN=swf_backend-0123456789\n", mode=0o600)
        machine.write(config, shipped.replace('authorization = "strip"', slot, 1))
        assert slot in machine.do("cat", config)
        machine.do("systemctl", "reload", "mcp-guard")
        for words in ("mcp-guard {}", "cd /etc/mcp-guard && mcp-guard {} --config guard.toml"):

            def ask(order: str):
                return machine.run("sh", "-c", words.format(order), user=user)

            check, doctor, listed = ask("check"), ask("doctor --json"), ask("token list")
            assert check.returncode == 0 and "clients: 2" in check.stdout and "no token" not in check.stdout, check
            findings = json.loads(doctor.stdout)["findings"]
            assert doctor.returncode == 0 and [each["found"] for each in findings if each["what"] == "tokens"] == ["2 clients"], findings
            names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
            assert (listed.returncode, names, listed.stderr) == (0, ["default", "alice"], ""), listed
        machine.write(TOKENS, "junk\n")
        assert ask("check").returncode == 1 and "tokens.toml:1: not valid TOML" in ask("check").stdout
        doctor = ask("doctor --json")
        assert doctor.returncode == 1 and "tokens.toml:1: not valid TOML" in doctor.stdout, doctor
        # The running guard reports the tokens that it accepts, not those of the file.
        assert "alice" in ask("token list").stdout
    finally:
        machine.write(config, shipped)
        machine.write(TOKENS, installed.alice_lines)
        machine.do("systemctl", "reload", "mcp-guard")


def test_the_token_file_named_in_the_configuration_keeps_its_documented_mode(installed, package, tmp_path):
    machine = installed.machine
    shipped = machine.do("cat", "/etc/mcp-guard/guard.toml")
    machine.write("/etc/mcp-guard/guard.toml", shipped.replace("# tokens_file =", "tokens_file ="))
    machine.do("chgrp", "mcp-guard", TOKENS)
    machine.do("chmod", "0640", TOKENS)
    try:
        machine.do("systemctl", "restart", "mcp-guard")
        machine.write(TOKENS, installed.bob_lines)
        take_up(installed, "systemctl reload")
        assert (installed.status(installed.alice), installed.status(installed.bob)) == (403, 200)
        survives_reboot_and_package(installed, package, tmp_path)
    finally:
        machine.write("/etc/mcp-guard/guard.toml", shipped)
        machine.do("systemctl", "restart", "mcp-guard")


def test_a_revoked_token_stays_revoked_over_reboot_and_package_upgrade(installed, package, tmp_path):
    machine = installed.machine
    once = "swf_once-0123456789abcdef"
    machine.write(ENV, bearer(once), mode=0o600)
    machine.do("systemctl", "restart", "mcp-guard")
    assert installed.status(once) == 200
    machine.write(TOKENS, installed.bob_lines)
    machine.write(ENV, "\n")
    take_up(installed, "systemctl reload")
    survives_reboot_and_package(installed, package, tmp_path)
    assert installed.status(once) == 403


def survives_reboot_and_package(installed: Installed, package, folder) -> None:
    """Bob is let in and alice is not: after the package comes again, and after the machine has started again."""
    machine = installed.machine
    machine.do("systemctl", "enable", "--quiet", "mcp-guard", "mcp-tools@blue")
    pid = machine.show("mcp-guard", "MainPID")
    installed.install(repacked(package, folder, "0.1.1-1"))
    assert machine.show("mcp-guard", "MainPID") != pid, "the package upgrade replaces the process"
    assert (installed.status(installed.alice), installed.status(installed.bob)) == (403, 200)
    machine.reboot()
    machine.wait_active("mcp-guard")
    installed.serves(installed.bob)
    assert installed.status(installed.alice) == 403
    machine.do("dpkg", "--force-downgrade", "--install", f"/srv/{package.name}", seconds=120)


def test_root_sees_the_clients_that_the_unit_serves(installed):
    machine = installed.machine
    machine.write(ENV, bearer(installed.bob), mode=0o600)
    machine.do("systemctl", "reload", "mcp-guard")
    assert "clients: 2" in machine.do("mcp-guard", "check")
    listed = [client["client"] for client in json.loads(machine.do("mcp-guard", "token", "list", "--json"))]
    assert listed == ["default", "alice"]
    machine.write(TOKENS, "junk")
    assert machine.run("mcp-guard", "check").returncode == 1


def test_a_reload_that_is_refused_fails_and_the_status_says_so(installed):
    machine = installed.machine
    guard = machine.do("cat", "/etc/mcp-guard/guard.toml")
    for path, good, bad in ((TOKENS, installed.alice_lines, "junk"), ("/etc/mcp-guard/guard.toml", guard, guard + "\n[nonsense]\n")):
        machine.write(path, bad)
        for command in (["systemctl", "reload", "mcp-guard"], ["mcp-guard", "reload"]):
            assert machine.run(*command).returncode == 1, f"{command} with a bad {path}"
            assert installed.status(installed.alice) == 200 and machine.is_active("mcp-guard")
            assert "the last reload was refused, 1 problem" in machine.show("mcp-guard", "StatusText")
        machine.write(path, good)
        machine.do("systemctl", "reload", "mcp-guard")
        assert machine.show("mcp-guard", "StatusText") == "serving on 127.0.0.1:8001"


def test_a_guard_without_an_admin_socket_reloads_too(installed):
    machine = installed.machine
    shipped = machine.do("cat", "/etc/mcp-guard/guard.toml")
    try:
        machine.write("/etc/mcp-guard/guard.toml", shipped.replace("admin = ", "# admin = "))
        machine.do("systemctl", "restart", "mcp-guard")
        machine.write(TOKENS, installed.bob_lines)
        before = machine.cursor()
        machine.do("systemctl", "reload", "mcp-guard")
        machine.wait_journal(before, '"reloaded: ')
        installed.serves(installed.bob)
        machine.write(TOKENS, "junk")
        assert machine.run("systemctl", "reload", "mcp-guard").returncode == 1
    finally:
        machine.write(TOKENS, installed.alice_lines)
        machine.write("/etc/mcp-guard/guard.toml", shipped)
        machine.do("systemctl", "restart", "mcp-guard")

"""New versions of the package on a booted systemd, under load: each brings a release of mcp-tools, and no slot changes by itself."""

import json

import pytest

from harness.installed import Installed
from harness.package import RELEASE, repacked
from harness.releases import GUARD, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until

BAD = {f"{RELEASE}/bin/mcp-tools": "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no database' >&2\nexit 3\n"}
DOES_NOT_RUN = {f"{RELEASE}/bin/mcp-tools": "#!/bin/sh\necho 'no such library' >&2\nexit 127\n"}
FIRST = "mcp-tools-0.1.0-1"


@pytest.fixture(scope="module")
def packages(package, tmp_path_factory):
    """The next version, one that does not start, one whose own check fails, and a good one after these."""
    folder = tmp_path_factory.mktemp("next")
    versions = {"0.1.1-1": None, "0.1.2-1": BAD, "0.1.3-1": DOES_NOT_RUN, "0.1.4-1": None}
    return {version: repacked(package, folder, version, files) for version, files in versions.items()}


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    return ready(Installed(machine, package))


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    return Releases(installed)


def runs(releases: Releases, slot: str) -> str:
    """The release whose program is a slot's process."""
    program = releases.machine.do("readlink", f"/proc/{releases.process(slot)}/exe").strip()
    assert program.startswith("/var/lib/mcp-releases/releases/"), program
    return program.split("/")[5]


def test_both_slots_have_the_packages_release_after_the_installation(installed, releases):
    assert releases.of_slots() == {"blue": FIRST, "green": FIRST}
    assert runs(releases, "blue") == FIRST
    assert installed.machine.do("mcp-tools", "--version").startswith("mcp-tools ")
    findings = json.loads(installed.machine.run("mcp-guard", "doctor", "--json").stdout)["findings"]
    units = [each["found"] for each in findings if each["what"] == "unit"]
    assert "mcp-tools@.service is as shipped" in units, units


def test_a_package_upgrade_under_load_fails_no_call_and_leaves_both_slots_alone(installed, releases, packages):
    machine = installed.machine
    before, guard = releases.process("blue"), machine.show("mcp-guard", "MainPID")
    said = []
    calls, failed = installed.under_load(TOKEN, lambda: said.append(installed.install(packages["0.1.1-1"])))
    assert calls > 10 and not failed, failed
    assert machine.show("mcp-guard", "MainPID") != guard and releases.process("blue") == before
    assert "no slot has it; `mcp-guard release deploy mcp-tools-0.1.1-1` brings it into service" in said[0]
    # Nor at the next restart.
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("systemctl", "restart", "mcp-tools@blue"))
    assert not failed, failed
    assert releases.of_slots() == {"blue": FIRST, "green": FIRST} and runs(releases, "blue") == FIRST


@pytest.mark.parametrize(
    "version, step, cause",
    [("0.1.2-1", "start unit", "no database"), ("0.1.3-1", "preflight", "no such library")],
    ids=["does not start", "own check fails"],
)
def test_a_bad_release_is_put_back_and_takes_no_slot_down(installed, releases, packages, version, step, cause):
    machine = installed.machine
    before, green = releases.process("blue"), machine.is_active("mcp-tools@green")
    deploy = []

    def upgrade() -> None:
        installed.install(packages[version])
        deploy.append(machine.run("mcp-guard", "release", "deploy", f"mcp-tools-{version}", seconds=120))

    calls, failed = installed.under_load(TOKEN, upgrade)
    assert calls > 10 and not failed, failed
    assert deploy[0].returncode == 1 and step in deploy[0].stderr and cause in deploy[0].stderr, deploy[0]
    assert releases.of_slots() == {"blue": FIRST, "green": FIRST} and releases.process("blue") == before
    assert machine.is_active("mcp-tools@green") == green
    record = releases.record()
    assert record["outcome"] == "undone" and record["cause"].startswith(f"{step}: ") and cause in record["cause"], record
    # The serving slot has its release after a crash and after a reboot.
    machine.do("systemctl", "kill", "--signal=KILL", "mcp-tools@blue")
    wait_until("blue to come back", lambda: machine.is_active("mcp-tools@blue") and releases.process("blue") not in (before, "0"))
    installed.serves(TOKEN)
    assert runs(releases, "blue") == FIRST


def test_the_slots_have_their_releases_after_a_reboot(installed, releases):
    installed.machine.reboot()
    installed.machine.wait_active("mcp-guard")
    installed.serves(TOKEN)
    assert runs(releases, "blue") == FIRST


def test_the_next_release_goes_into_the_other_slot_and_traffic_follows(installed, releases, packages):
    machine = installed.machine
    installed.install(packages["0.1.4-1"])
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("mcp-guard", "release", "deploy", "mcp-tools-0.1.4-1", seconds=120))
    assert calls > 10 and not failed, failed
    assert runs(releases, "green") == "mcp-tools-0.1.4-1" and runs(releases, "blue") == FIRST
    calls, failed = installed.under_load(TOKEN, lambda: machine.do("mcp-guard", "release", "rollback"))
    assert calls > 5 and not failed, failed
    assert releases.serving() == "blue"


def test_the_same_package_again_and_the_one_before_change_no_slot(installed, releases, packages, package):
    machine, before = installed.machine, releases.of_slots()
    assert "is installed already" in installed.install(packages["0.1.4-1"])
    machine.do("dpkg", "--force-downgrade", "--install", f"/srv/{package.name}", seconds=120)
    assert releases.of_slots() == before
    # Another program under the same name: a release never changes, and the installation goes on.
    machine.do("sh", "-c", f"sed -i 's/^version = .*/version = \"other\"/' {RELEASE}/release.toml")
    done = machine.run("/var/lib/dpkg/info/mcp-guard.postinst", "configure", "0.1.0-1", seconds=120)
    assert done.returncode == 0 and "another release is installed under the name" in done.stderr and "every slot keeps its own" in done.stderr, done
    assert releases.of_slots() == before and installed.status(TOKEN) == 200


def test_a_purge_leaves_nothing_behind(installed):
    machine = installed.machine
    machine.do("systemctl", "enable", "--quiet", "mcp-tools@green", "mcp-tools@green.socket", "mcp-guard.socket", "mcp-watchdog.timer")
    machine.write("/etc/mcp-tools/blue.env", "A=1\n", mode=0o600)
    machine.do("systemctl", "kill", "--signal=KILL", "mcp-tools@green")
    machine.do("dpkg", "--remove", "mcp-guard", seconds=120)
    assert machine.run("test", "-e", GUARD).returncode == 0, "a removal keeps the configuration"
    assert machine.run("test", "-e", "/var/lib/mcp-releases/releases").returncode == 0, "and the releases"
    machine.do("dpkg", "--purge", "mcp-guard", seconds=120)
    assert machine.run("test", "-e", "/var/lib/mcp-releases").returncode == 1
    places = ["/etc", "/run", "/tmp", "/usr/bin", "/usr/lib", "/usr/share", "/var"]
    left = machine.do("find", *places, "-xdev", "-name", "*mcp-*", "-not", "-path", "/run/systemd/*").split()
    assert not left, left
    assert not machine.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "mcp-*").strip()
    assert not machine.do("systemctl", "--failed", "--plain", "--no-legend").strip()
    assert not [line for line in machine.do("ps", "-eo", "comm").split() if line.startswith("mcp-")]
    machine.do("id", "mcp-guard")

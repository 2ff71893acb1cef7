"""Release commands on a booted systemd that are killed anywhere, and a disk that fills up: one command finishes or undoes.

MCP_KILLS=300 makes that many kills, MCP_SEED=N chooses them.
"""

import json
import os

import pytest

from harness.installed import Installed
from harness.package import RELEASE
from harness.releases import SERVE, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import E2E

KILLS = int(os.environ.get("MCP_KILLS", "30"))
SEED = int(os.environ.get("MCP_SEED", "1"))
OTHER = '[server]\nname = "other"\n\n[[tool]]\nname = "only_one"\ndescription = "The only tool."\nread_only = true\ntext = { body = "one" }\n'


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    return ready(Installed(machine, package))


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    made = Releases(installed)
    made.make("a")
    made.make("b")
    made.make("other", start=[*SERVE, "--catalog", "{release}/other.toml"], more="sd_notify = true\n", files={"other.toml": OTHER})
    return made


def test_a_command_killed_anywhere_is_finished_or_undone_by_one_command(installed, releases):
    machine, done = installed.machine, []
    program = machine.push(E2E / "harness/killed_operations.py", "/srv/killed_operations.py")

    def kill() -> None:
        done.append(machine.run("python3", program, str(KILLS), str(SEED), TOKEN, seconds=60 + KILLS * 20))

    calls, failed = installed.under_load(TOKEN, kill)
    assert done[0].returncode == 0, f"seed {SEED}\n{done[0].stdout}{done[0].stderr}"
    said = json.loads(done[0].stdout)
    print(f"{said}, {calls} calls")
    assert said["kills"] >= KILLS and len(said["places"]) >= min(10, KILLS // 4), said
    assert not failed, failed
    releases.of_slots()


def test_a_killed_add_leaves_no_half_release(installed, releases):
    machine, killed = installed.machine, 0
    before = {each["name"] for each in releases.listed()["releases"]}
    for hundredth in range(1, 41):
        name = f"killed-{hundredth}"
        text = f'name = "{name}"\nversion = "1"\nstart = ["bin/mcp-tools"]\n'
        machine.do("sh", "-c", f"rm -rf /srv/add && cp -r {RELEASE} /srv/add")
        machine.write("/srv/add/release.toml", text)
        machine.do("mcp-guard", "release", "pack", "/srv/add")
        done = machine.run("timeout", "--signal=KILL", f"{hundredth / 100}", "mcp-guard", "release", "add", "/srv/add")
        installs = {each["name"] for each in releases.listed()["releases"]} - before
        assert not [each for each in releases.listed()["releases"] if each["damaged"]]
        if done.returncode == 0:
            break
        killed += 1
        assert installs <= {name}, installs
        machine.do("mcp-guard", "release", "add", "/srv/add")
        machine.do("mcp-guard", "release", "prune", "--keep", "0")
        assert not machine.do("find", "/var/lib/mcp-releases/releases", "-maxdepth", "1", "-name", ".*").strip()
        before = {each["name"] for each in releases.listed()["releases"]}
    assert killed >= 3


def test_a_full_disk_leaves_a_state_that_one_command_ends(installed, releases):
    machine, place, done = installed.machine, "/var/lib/mcp-releases", []
    program = machine.push(E2E / "harness/killed_operations.py", "/srv/killed_operations.py")
    used = int(machine.do("du", "-sm", place).split()[0])
    # Deployments want 64 MiB for themselves.
    machine.do("sh", "-c", f"cp -a {place} /srv/kept && mount -t tmpfs -o size={used + 80}m,mode=755 tmpfs {place} && cp -a /srv/kept/. {place}/")
    fills = max(6, KILLS // 5)

    def cut() -> None:
        done.append(machine.run("python3", program, str(fills), str(SEED), TOKEN, f"{place}/fill", seconds=60 + fills * 20))

    calls, failed = installed.under_load(TOKEN, cut)
    assert done[0].returncode == 0, f"seed {SEED}\n{done[0].stdout}{done[0].stderr}"
    print(f"{json.loads(done[0].stdout)}, {calls} calls")
    assert not failed, failed
    had = releases.of_slots()
    machine.run("dd", "if=/dev/zero", f"of={place}/fill", "bs=64k")
    added = releases.types("add", RELEASE)
    assert added.returncode == 1 and "No space left on device" in added.stderr, added
    machine.do("rm", f"{place}/fill")
    assert "is installed" in releases.does("add", RELEASE) and releases.of_slots() == had

"""The runbook on a booted systemd: every command of docs/runbook.md, in order, on the miniature old backend."""

import re

import pytest

from harness.installed import Installed
from harness.old_backend import make_new_tools, make_old_site, slots_include
from harness.releases import Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import ROOT

RUNBOOK = ROOT / "docs" / "runbook.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", RUNBOOK.read_text(), re.M | re.S)
    return [line.removeprefix("# ") for block in blocks for line in block.splitlines() if line.startswith("# ")]


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = ready(Installed(machine, package))
    slots_include(there)
    make_old_site(there)
    make_new_tools(Releases(there))
    machine.do("mv", "/srv/sources/new-tools", "/srv/new-tools")
    return there


def test_every_command_of_the_runbook_does_what_it_says(installed):
    listed = commands()
    assert len(listed) > 20, listed
    for command in listed:
        done = installed.machine.run("sh", "-c", command, seconds=240)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    installed.serves(TOKEN)

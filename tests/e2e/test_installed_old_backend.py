"""The old Python backend as a release on a booted systemd: django-mcp-server below its own path, forward to mcp-tools and back."""

import json

import pytest

from harness.installed import Installed
from harness.old_backend import make_new_tools, make_old_site, slots_include
from harness.releases import Releases, ready
from mcp_testkit.guard import TOKEN

@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = ready(Installed(machine, package))
    slots_include(there)
    return there


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    make_old_site(installed)
    installed.machine.do("mcp-guard", "release", "pack", "/srv/old-site", "--output", "/srv/old-site.tar.zst")
    installed.machine.do("mcp-guard", "release", "add", "/srv/old-site.tar.zst", seconds=300)
    made = Releases(installed)
    make_new_tools(made)
    return made


def job(installed: Installed) -> dict:
    """A call of a tool that both backends have."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "panda_get_job", "arguments": {"pandaid": 7}}}
    response = installed.post(TOKEN, json.dumps(call))
    assert response.status == 200, response
    return json.loads(response.json()["result"]["content"][0]["text"])


def is_python(releases: Releases) -> bool:
    program = releases.machine.do("readlink", f"/proc/{releases.process(releases.serving())}/exe")
    return "python" in program


def under_load(releases: Releases, *words: str) -> None:
    calls, failed = releases.installed.under_load(TOKEN, lambda: releases.does(*words))
    assert calls > 10 and not failed, failed


def test_the_old_backend_goes_to_mcp_tools_and_comes_back_in_both_ways(installed, releases):
    # Another tool list than that of the package's release.
    under_load(releases, "deploy", "old-site", "--force")
    assert is_python(releases) and job(installed)["pandaid"] == 7
    old = releases.serving()

    under_load(releases, "deploy", "new-tools")
    assert not is_python(releases) and job(installed)["pandaid"] == 7
    under_load(releases, "rollback")
    assert is_python(releases) and releases.serving() == old and job(installed)["pandaid"] == 7

    # Forward again, and back where the old backend has to be started first.
    under_load(releases, "deploy", "new-tools")
    releases.machine.do("systemctl", "stop", f"mcp-tools@{old}")
    under_load(releases, "rollback")
    assert is_python(releases) and job(installed)["pandaid"] == 7
    assert releases.record()["kind"] == "rollback"


def test_the_old_backend_serves_after_a_reboot(installed, releases):
    installed.machine.reboot()
    installed.machine.wait_active("mcp-guard")
    installed.serves(TOKEN)
    assert is_python(releases) and job(installed)["pandaid"] == 7
    # It compiled nothing into its release.
    assert releases.of_slots()[releases.serving()] == "old-site"

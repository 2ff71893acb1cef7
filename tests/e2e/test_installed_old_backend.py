"""The old Python backend as a release on a booted systemd: django-mcp-server below its own path, forward to mcp-tools and back."""

import json
import shutil
import subprocess
import sys

import pytest

from harness.installed import Installed
from harness.releases import GUARD, SERVE, Releases, ready
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import ENVS, ROOT
from mcp_testkit.tools import INSTRUCTIONS

PARITY = ROOT / "tests" / "parity"
#: Not needed to run, or made again below.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "pip*", "setuptools*", "pkg_resources", "_distutils_hack", "*.po", "tests")
MANIFEST = """name = "old-site"
version = "0.5.7"
start = ["/usr/bin/python3", "old_site.py", "{socket}", "instructions.txt", "--strict"]
check = ["/usr/bin/python3", "-c", "import django, mcp.server, uvicorn"]
tools = 7
[environment]
PYTHONPATH = "{release}/lib"
"""


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = ready(Installed(machine, package))
    guard = machine.do("cat", GUARD)
    for slot in ("blue", "green"):
        address = f'address = "unix:/run/mcp-tools/{slot}.sock"'
        include = f'include = "/var/lib/mcp-releases/slots/{slot}/current/slot.toml"'
        assert guard.count(address) == 1
        guard = guard.replace(address, f"{include}\n{address}")
    # Python takes its time on a busy machine.
    machine.write(GUARD, guard.replace('ready_timeout = "15s"', 'ready_timeout = "60s"'))
    machine.do("mcp-guard", "reload")
    return there


@pytest.fixture(scope="module")
def releases(installed) -> Releases:
    made = Releases(installed)
    folder = installed.machine.root / "srv/sources/old-site"
    shutil.copytree(next((ENVS / "django/lib").glob("python3*/site-packages")), folder / "lib", ignore=LEFT_OUT)
    # The times of copied files are not those that compiled ones name.
    compile_all = [sys.executable, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", str(folder / "lib")]
    subprocess.run(compile_all, check=False, capture_output=True, timeout=300)
    for name in ("old_site.py", "surface.py"):
        shutil.copy(PARITY / name, folder)
    (folder / "instructions.txt").write_text(INSTRUCTIONS)
    (folder / "slot.toml").write_text('path = "/swf-monitor/mcp/"\naccept = "json"\n')
    (folder / "release.toml").write_text(MANIFEST)
    installed.machine.do("mcp-guard", "release", "pack", "/srv/sources/old-site", "--output", "/srv/old-site.tar.zst")
    installed.machine.do("mcp-guard", "release", "add", "/srv/old-site.tar.zst", seconds=300)
    files = {"base.toml": (ROOT / "conf/tools/base.toml").read_text(), "tools.toml": (PARITY / "tools.toml").read_text(), "instructions.txt": INSTRUCTIONS}
    start = [*SERVE, "--catalog", "{release}/base.toml", "--catalog", "{release}/tools.toml", "--instructions", "{release}/instructions.txt"]
    made.make("new-tools", start=start, files=files, more="sd_notify = true\ntools = 7\n")
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

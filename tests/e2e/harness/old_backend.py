"""The old Python backend and its successor as releases: django-mcp-server below its own path, and mcp-tools with the same tools."""

import shutil
import subprocess
import sys

from harness.installed import Installed
from harness.releases import GUARD, SERVE, Releases
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


def slots_include(installed: Installed) -> None:
    """Lets both slots take over what a release says about them, and gives Python time to start on a busy machine."""
    guard = installed.machine.do("cat", GUARD)
    for slot in ("blue", "green"):
        address = f'address = "unix:/run/mcp-tools/{slot}.sock"'
        include = f'include = "/var/lib/mcp-releases/slots/{slot}/current/slot.toml"'
        assert guard.count(address) == 1
        guard = guard.replace(address, f"{include}\n{address}")
    installed.machine.write(GUARD, guard.replace('ready_timeout = "15s"', 'ready_timeout = "60s"'))
    installed.machine.do("mcp-guard", "reload")


def make_old_site(installed: Installed) -> None:
    """The directory /srv/old-site, not packed yet."""
    folder = installed.machine.root / "srv/old-site"
    shutil.copytree(next((ENVS / "django/lib").glob("python3*/site-packages")), folder / "lib", ignore=LEFT_OUT)
    # The times of copied files are not those that compiled ones name.
    compile_all = [sys.executable, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", str(folder / "lib")]
    subprocess.run(compile_all, check=False, capture_output=True, timeout=300)
    for name in ("old_site.py", "surface.py"):
        shutil.copy(PARITY / name, folder)
    (folder / "instructions.txt").write_text(INSTRUCTIONS)
    (folder / "slot.toml").write_text('path = "/swf-monitor/mcp/"\naccept = "json"\n')
    (folder / "release.toml").write_text(MANIFEST)


def make_new_tools(releases: Releases) -> None:
    """mcp-tools with the same tools, installed; its directory is /srv/sources/new-tools."""
    files = {"base.toml": (ROOT / "conf/tools/base.toml").read_text(), "tools.toml": (PARITY / "tools.toml").read_text(), "instructions.txt": INSTRUCTIONS}
    start = [*SERVE, "--catalog", "{release}/base.toml", "--catalog", "{release}/tools.toml", "--instructions", "{release}/instructions.txt"]
    releases.make("new-tools", start=start, files=files, more="sd_notify = true\ntools = 7\n")

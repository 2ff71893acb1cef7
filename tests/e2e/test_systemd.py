"""The shipped units: systemd's own checker finds nothing, and its security judge scores them low exposure."""

import re
import subprocess
from pathlib import Path

import pytest

from mcp_testkit.paths import GUARD, ROOT, TOOLS, system

UNITS = ROOT / "conf" / "systemd"
# Exposure 0.0 is best, 10.0 worst; systemd calls anything below 2.0 "OK" and most daemons score above 9.
EXPOSURE_MAX = 1.9
SERVICES = ["mcp-guard.service", "mcp-tools@.service", "mcp-watchdog.service"]


def analyze(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([system("systemd-analyze"), *arguments], capture_output=True, text=True, timeout=60)


def installed(folder: Path) -> list[Path]:
    """The units with only the programs' paths replaced: the checker demands that they exist."""
    copies = []
    for unit in sorted(UNITS.glob("*.service")) + sorted(UNITS.glob("*.socket")) + sorted(UNITS.glob("*.timer")):
        text = unit.read_text().replace("/usr/bin/mcp-guard", str(GUARD))
        text = text.replace("/var/lib/mcp-releases/slots/%i/current/.start", str(TOOLS))
        copies.append(folder / unit.name)
        copies[-1].write_text(text)
    return copies


def test_systemd_verifies_the_units(tmp_path):
    copies = installed(tmp_path)
    assert {copy.name for copy in copies} >= set(SERVICES)
    done = analyze("verify", "--man=no", "--recursive-errors=no", *map(str, copies))
    ours = [line for line in (done.stdout + done.stderr).splitlines() if any(copy.name in line for copy in copies)]
    assert done.returncode == 0 and not ours, f"systemd-analyze verify (exit {done.returncode}):\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_are_hardened(name):
    done = analyze("security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}", str(UNITS / name))
    exposure = re.search(r"Overall exposure level for .*?: ([\d.]+)", done.stdout)
    assert done.returncode == 0 and exposure, f"expected an exposure below {EXPOSURE_MAX}:\n{done.stdout}\n{done.stderr}"


def test_no_secret_is_in_a_unit():
    for unit in UNITS.iterdir():
        settings = [line for line in unit.read_text().splitlines() if not line.startswith("#")]
        secret = [line for line in settings if re.match("Environment=(?!MIMALLOC_|MCP_SLOT=%i )", line) or "TOKEN=" in line]
        assert not secret, f"{unit.name} would show this to any user through `systemctl show`: {secret}"

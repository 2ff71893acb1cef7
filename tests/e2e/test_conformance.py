"""The official conformance suite, against a backend directly and through the guard: both summaries must be the same.

A check that a backend fails by itself is no finding; a check that the guard changes is one.
"""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness import backends
from harness.header_injector import Injector
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import NODE_MODULES, node

SUITE = NODE_MODULES / ".bin" / "conformance"

# Checks that differ on a POST-only endpoint by design, with the reason. Any other difference is a defect.
NO_DELETE = "DELETE is answered 405, as the specification allows; the suite then skips what follows a deletion"
BY_DESIGN = {
    ("server-session-lifecycle", "server-session-delete-accepted"): NO_DELETE,
    ("server-session-lifecycle", "server-session-terminated-returns-404"): NO_DELETE,
}

BACKENDS = {
    "mcp-tools": backends.mcp_tools,
    "mcpserver2": backends.mcpserver2,
    "mcpserver2-sessions": lambda programs: backends.mcpserver2(programs, sessions=True),
}


def run_suite(url: str, requirements: str, output: Path) -> dict[str, Counter]:
    """Runs every scenario of a requirement set. The result counts (check, status) of each scenario."""
    argv = [node(), str(SUITE), "server", "--url", url, "--requirements", requirements, "-o", str(output)]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240)
    assert "=== SUMMARY ===" in done.stdout, f"the suite did not run (exit {done.returncode}):\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    scenarios: dict[str, Counter] = {}
    for path in sorted(output.glob("*/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", path.parent.name.removeprefix("server-"))  # A time stamp ends the name.
        scenarios[scenario] = Counter((check["id"], check["status"]) for check in json.loads(path.read_text()))
    return scenarios


def differences(direct: dict[str, Counter], guarded: dict[str, Counter]) -> list[str]:
    lines = []
    for scenario in sorted(direct.keys() | guarded.keys()):
        alone, through = direct.get(scenario, Counter()), guarded.get(scenario, Counter())
        for check, status in sorted((alone - through) + (through - alone)):
            if (scenario, check) not in BY_DESIGN:
                lines.append(f"{scenario}: {check} {status}: {alone[check, status]} directly, {through[check, status]} through the guard")
    return lines


@pytest.mark.parametrize("requirements", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("name", BACKENDS)
def test_the_guard_changes_no_verdict(programs, name, requirements):
    backend = BACKENDS[name](programs)
    slot = "strip_session = false" if name.endswith("sessions") else ""
    guard = Guard(programs, backend.address, backend.path, slot=slot)
    before = Injector(backend.address, "X-Direct: 1")
    after = Injector(guard.address, f"Authorization: Bearer {TOKEN}")
    direct = run_suite(before.url + "/mcp", requirements, programs.folder / "direct")
    guarded = run_suite(after.url + "/mcp", requirements, programs.folder / "guarded")
    before.close()
    after.close()
    passed = sum(count for scenario in direct.values() for (_, status), count in scenario.items() if status == "SUCCESS")
    assert passed > 30, f"only {passed} checks passed directly: the backend or the suite is not what it should be"
    changed = differences(direct, guarded)
    assert not changed, "the guard changed what the suite sees:\n" + "\n".join(changed)

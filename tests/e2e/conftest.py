"""Fixtures: each starts real programs once and ends them; a failing case reports their logs and how to run it alone."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import backends, container
from harness import package as packaging
from harness.apache import Apache
from mcp_testkit.guard import Guard
from mcp_testkit.paths import GUARD, TOOLS
from mcp_testkit.programs import Programs

RUNNING: list[Programs] = []
#: The files that run longest, in the order in which the workers of pytest-xdist take them; the others follow.
LONGEST = ["installed", "installed_package", "installed_releases", "installed_kills", "installed_measures", "installed_old_backend", "installed_units", "fleet", "parity", "alerts_and_dashboard", "oauth_keys", "rollout", "oauth", "conformance", "sdks", "soak"]


def unable(why: str) -> None:
    """A test that cannot run here is skipped; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass
class Stack:
    """Apache, the guard and one backend, as in production."""

    backend: backends.Backend
    guard: Guard
    apache: Apache

    @property
    def url(self) -> str:
        return self.apache.url + "/swf-monitor/mcp"


def new_programs() -> Programs:
    # Short names: the path of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="mcp-e2e-"))
    folder.chmod(0o755)  # Apache's workers are another user.
    programs = Programs(folder)
    RUNNING.append(programs)
    return programs


def end(programs: Programs) -> None:
    programs.stop_all()
    RUNNING.remove(programs)
    shutil.rmtree(programs.folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def built():
    for program in (GUARD, TOOLS):
        assert program.exists(), f"{program} is not built: run scripts/e2e, or cargo build --bins first"


@pytest.fixture
def programs():
    started = new_programs()
    yield started
    end(started)


@pytest.fixture(scope="module")
def module_programs():
    """Programs that every test of a module may use."""
    started = new_programs()
    yield started
    end(started)


@pytest.fixture(scope="session")
def stacks():
    """`stacks(name)` is Apache and guard in front of that backend, started once in a session."""
    made: dict[str, Stack] = {}
    started: list[Programs] = []

    def stack(name: str) -> Stack:
        if name not in made:
            programs = new_programs()
            started.append(programs)
            backend = backends.BY_NAME[name](programs)
            guard = Guard(programs, backend.address, backend.path)
            made[name] = Stack(backend, guard, Apache(programs, guard.address))
        return made[name]

    yield stack
    for programs in started:
        end(programs)


@pytest.fixture(scope="session")
def tools(stacks) -> Stack:
    """The stack in front of mcp-tools."""
    return stacks("mcp-tools")


@pytest.fixture(scope="session")
def packed_programs(tmp_path_factory) -> Path:
    return packaging.stripped(tmp_path_factory.mktemp("bin"))


@pytest.fixture(scope="session")
def package(packed_programs, tmp_path_factory) -> Path:
    """The Debian package, built once in a session."""
    return packaging.build(packed_programs, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def machine(request):
    """A booted Debian of the module's own, with nothing of ours in it."""
    if why := container.missing():
        unable(why)
    booted = container.Machine(request.module.__name__.removeprefix("test_").replace("_", "-"))
    yield booted
    booted.destroy()


def pytest_collection_modifyitems(items) -> None:
    rank = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))  # Stable: a file's own order stays.


def pytest_xdist_make_scheduler(config, log):
    """With `-n`, a file stays on one worker, because its tests share programs, and so do all files that boot containers."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "containers" if file.startswith("test_installed") else file

    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections.append(("rerun this case alone", f"scripts/e2e '{item.nodeid}'"))
        for programs in RUNNING:
            report.sections.append((f"programs in {programs.folder}", programs.logs()))
    return report

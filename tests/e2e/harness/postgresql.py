"""A PostgreSQL server of a test's own: Debian's program, a directory that goes with the test, no TCP port."""

import os
import subprocess
from pathlib import Path

from mcp_testkit.programs import Program, Programs, wait_until

INSTALLED = Path("/usr/lib/postgresql")


class Postgres:
    def __init__(self, programs: Programs):
        self._programs = programs
        versions = sorted(INSTALLED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        assert versions, "PostgreSQL is not installed: run scripts/setup test"
        self._bin = versions[-1].parent
        self.folder = programs.folder / "pg"
        self.folder.mkdir()
        # PostgreSQL refuses to run as root.
        self._prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.folder.chmod(0o777)
        self._run("initdb", "-U", "swf", "--auth=trust", "--locale=C", "-E", "UTF8", "--no-sync", "-D", str(self.folder / "data"))
        self.url = f"postgresql://swf@/postgres?host={self.folder}"
        self.program: Program = self.start()

    def start(self) -> Program:
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(self.folder), "-D", str(self.folder / "data")]
        self.program = self._programs.start("postgresql", [*self._prefix, str(self._bin / "postgres"), *options])
        wait_until("PostgreSQL to respond", lambda: self._psql("SELECT 1").returncode == 0, 60)
        return self.program

    def stop(self) -> None:
        """The fast shutdown: clients are disconnected."""
        self.program.signal(2)
        self.program.wait()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([*self._prefix, str(self._bin / program), *arguments], capture_output=True, text=True, timeout=120, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def _psql(self, query: str) -> subprocess.CompletedProcess:
        argv = [str(self._bin / "psql"), "-X", "-h", str(self.folder), "-U", "swf", "-d", "postgres", "-c", query]
        return subprocess.run(argv, capture_output=True, timeout=30)

"""The real guard on free ports, with a configuration written for the case."""

import json
import subprocess

from mcp_testkit.paths import GUARD
from mcp_testkit.programs import Program, Programs, free_port

TOKEN = "e2e-Tok3n-0123456789abcdefghijklmnop"
WRONG_TOKEN = "e2e-wr0ng-Tok3n-zyxwvutsrqponmlkji"

CONFIG = """
[listen]
address = "{address}"
metrics = "{metrics}"
admin   = "{folder}/{name}.admin"
state   = "{folder}/{name}.state"

[slots.blue]
address = "{backend}"
path = "{path}"
{slot}
{more}
"""


class Guard:
    def __init__(
        self,
        programs: Programs,
        backend: str,
        path: str,
        *,
        token: str | None = TOKEN,
        slot: str = "",
        more: str = "",
        name: str = "guard",
        address: str | None = None,
        env: dict[str, str] | None = None,
    ):
        self.address = address or f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.name = name
        self.config = programs.folder / f"{name}.toml"
        (programs.folder / f"{name}.state").mkdir(exist_ok=True)
        self.config.write_text(
            CONFIG.format(
                address=self.address, metrics=self.metrics, folder=programs.folder, name=name, backend=backend, path=path, slot=slot, more=more
            )
        )
        self._programs = programs
        # An empty variable is no token: the caller's environment must not lend the guard one.
        self._env = {"MCP_BEARER_TOKEN": token or "", **(env or {})}
        self.program: Program = self.start()

    def start(self) -> Program:
        self.program = self._programs.start(self.name, [str(GUARD), "run", "--config", str(self.config)], self._env)
        return self.program.wait_for(self.address)

    def command(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess:
        """Runs a command of the operator's against this guard."""
        return subprocess.run([str(GUARD), *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=seconds)

    def status(self) -> dict:
        done = self.command("status", "--json")
        assert done.returncode == 0, f"status failed ({done.returncode}): {done.stderr}"
        return json.loads(done.stdout)

    def upgrade(self) -> int:
        """Lets a new process take over and returns its number. The program is ended with all its successors."""
        self.program.has_successors = True
        done = self.command("upgrade")
        assert done.returncode == 0, f"upgrade failed ({done.returncode}): {done.stderr}\n{self.program.log()[-2000:]}"
        return int(done.stdout.split()[1])

"""A guard on free ports, with a configuration that is written for the test."""

import json
import subprocess

from mcp_testkit.paths import GUARD
from mcp_testkit.programs import READY_SECONDS, Program, Programs, free_port

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
        config: str = CONFIG,
        argv: tuple[str, ...] = (str(GUARD),),
        ready_seconds: float = READY_SECONDS,
        **options,
    ):
        """`slot` is added to the slot's table, `more` at the end of `config`; `argv` may begin with a wrapper such as valgrind.

        `options` are those of `Program`.
        """
        self.address = address or f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.name = name
        self.config = programs.folder / f"{name}.toml"
        (programs.folder / f"{name}.state").mkdir(exist_ok=True)
        self.config.write_text(
            config.format(
                address=self.address, metrics=self.metrics, folder=programs.folder, name=name, backend=backend, path=path, slot=slot, more=more
            )
        )
        self._programs = programs
        self._argv, self._ready_seconds, self._options = list(argv), ready_seconds, options
        # An empty variable is no token: without it, the guard would read the token of the caller's environment.
        self._env = {"MCP_BEARER_TOKEN": token or "", **(env or {})}
        self.program: Program = self.start()

    def start(self) -> Program:
        argv = [*self._argv, "run", "--config", str(self.config)]
        self.program = self._programs.start(self.name, argv, self._env, **self._options)
        return self.program.wait_for(self.address, self._ready_seconds)

    def command(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess:
        """Runs a subcommand of mcp-guard with this guard's configuration."""
        return subprocess.run([self._argv[-1], *arguments, "--config", str(self.config)], capture_output=True, text=True, timeout=seconds)

    def status(self) -> dict:
        done = self.command("status", "--json")
        assert done.returncode == 0, f"status failed ({done.returncode}): {done.stderr}"
        return json.loads(done.stdout)

    def lines(self) -> list[dict]:
        """Its log. The last line may be half written."""
        return [json.loads(line) for line in self.program.log().splitlines() if line.startswith("{") and line.endswith("}")]

    def upgrade(self) -> int:
        """Replaces the process by a new one and returns the new pid. `stop` then ends all of them."""
        self.program.has_successors = True
        done = self.command("upgrade")
        assert done.returncode == 0, f"upgrade failed ({done.returncode}): {done.stderr}\n{self.program.log()[-2000:]}"
        return int(done.stdout.split()[1])

"""The real guard on free ports, with a configuration written for the case."""

from harness.paths import GUARD
from harness.programs import Program, Programs, free_port

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
        self, programs: Programs, backend: str, path: str, *, token: str | None = TOKEN, slot: str = "", more: str = "", name: str = "guard"
    ):
        self.address = f"127.0.0.1:{free_port()}"
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
        self._env = {"MCP_BEARER_TOKEN": token or ""}
        self.program: Program = self.start()

    def start(self) -> Program:
        self.program = self._programs.start(self.name, [str(GUARD), "run", "--config", str(self.config)], self._env)
        return self.program.wait_for(self.address)

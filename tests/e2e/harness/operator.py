"""Commands of `mcp-guard` as an operator types them."""

import json
import subprocess

from mcp_testkit.guard import Guard
from mcp_testkit.paths import GUARD
from mcp_testkit.programs import accepts, wait_until

# Half of the calls go to the candidate until something ends the rollout.
HELD_PLAN = """
[gate]
parity = false
[[step]]
stage = "canary"
weight = 50
hold = "1h"
"""


class Operator:
    def __init__(self, guard: Guard):
        self.guard = guard
        # The operators' socket comes up beside the clients' one, not before it.
        admin = guard.config.with_name(f"{guard.name}.admin")
        wait_until("the guard listens to operators", lambda: accepts(f"unix:{admin}"))

    def types(self, words: str) -> subprocess.CompletedProcess:
        argv = [str(GUARD), *words.split(), "--config", str(self.guard.config)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    def does(self, words: str) -> str:
        done = self.types(words)
        assert done.returncode == 0, f"$ mcp-guard {words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> dict:
        return json.loads(self.does("rollout status --json"))["status"]

    def history(self) -> list[dict]:
        return json.loads(self.does("rollout history --json"))

    def both_healthy(self) -> None:
        wait_until("both slots are healthy", lambda: all(slot["health"] == "healthy" for slot in self.status()["slots"]))

    def rolled_back(self) -> dict:
        """Waits until the rollout has ended, and returns the last entry of its history, a rollback."""
        wait_until("the rollout has ended", lambda: self.status()["run"] is None)
        last = self.history()[-1]
        assert last["kind"] == "rolled_back", last
        return last

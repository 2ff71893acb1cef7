"""SDK clients that call all the time, in processes of their own, and their reports."""

import json
import os
import subprocess
from dataclasses import dataclass, field

from harness.clients import in_node_env
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import E2E, node, python

#: Each SDK with each protocol era that it speaks.
KINDS = ["sdk1", "sdk2-legacy", "sdk2-auto", "ts1", "ts2-legacy", "ts2-auto"]


@dataclass
class ClientReport:
    kind: str
    reads: int
    calls: int
    slowest_read: float
    failed_reads: list = field(default_factory=list)
    failed_calls: list = field(default_factory=list)


class SteadyClient:
    """A client that calls until it is stopped."""

    def __init__(self, url: str, kind: str, pause: float = 0.01):
        """`pause` is the time between two calls of a Python client."""
        sdk, _, mode = kind.partition("-")
        if sdk.startswith("sdk"):
            argv = [python(sdk), str(E2E / "clients" / "steady.py"), url + "/mcp", mode or sdk, kind]
        else:
            argv = [node(), str(in_node_env("steady.mjs")), url + "/mcp", mode or sdk, kind]
        self.kind = kind
        env = {**os.environ, "MCP_TOKEN": TOKEN, "MCP_PAUSE": str(pause)}
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        """Waits until it is connected; the version it negotiated."""
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            self.process.kill()
            raise AssertionError(f"{self.kind} did not connect:\n{self.process.communicate(timeout=30)}")
        return words[1]

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> ClientReport:
        said, complained = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, f"{self.kind} died:\n{complained}"
        return ClientReport(self.kind, **json.loads(said))

    def kill(self) -> None:
        if self.alive():
            self.process.kill()
            self.process.communicate(timeout=30)


class SteadyClients:
    """One client of each kind."""

    def __init__(self, url: str, kinds: list[str] = KINDS):
        self.clients = [SteadyClient(url, kind) for kind in kinds]

    def __enter__(self) -> "SteadyClients":
        self.versions = {client.kind: client.ready() for client in self.clients}
        return self

    def __exit__(self, *_) -> None:
        for client in self.clients:
            client.kill()

    def stop(self) -> list[ClientReport]:
        """Ends all of them. No session has died, and no read has failed."""
        reported = [client.stop() for client in self.clients]
        for one in reported:
            assert one.failed_reads == [], f"{one.kind} lost {len(one.failed_reads)} reads, such as {one.failed_reads[:3]}"
            assert one.reads > 20 and one.calls > 20, f"{one.kind} hardly called: {one}"
        return reported

"""Pods of the shipped manifests in podman: the test is their kubelet, and publishes their ConfigMap and Secret.

Must not know what a test expects of them.
"""

import hashlib
import json
import os
from pathlib import Path

from harness.curl import curl, metric
from harness.kubernetes import USER, Podman, Volume, for_podman, only
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import free_port


def tokens(**clients: str) -> str:
    return "".join(f'[clients.{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n' for name, token in clients.items())


class Pod:
    """One pod, with what the ConfigMap and the Secret have in it."""

    def __init__(self, podman: Podman, image: str, folder: Path, name: str, documents: list[dict]):
        folder.mkdir()
        self.podman, self.name = podman, name
        template = only(documents, "Deployment")["spec"]["template"]
        self.spec = template["spec"]
        [self.guard] = [container for container in self.spec["initContainers"] if container["name"] == "guard"]
        self.toml = only(documents, "ConfigMap")["data"]["guard.toml"]
        self.config = Volume(folder / "config", {"guard.toml": self.toml})
        self.tokens = Volume(folder / "tokens", {"tokens.toml": tokens(bot=TOKEN)})
        folders = {"config": folder / "config", "tokens": folder / "tokens"}
        for volume in ["admin", "sockets", "state"]:
            folders[volume] = folder / volume
            folders[volume].mkdir()
            os.chown(folders[volume], USER, USER)
        self.ports = {"mcp": free_port(), "metrics": free_port()}
        env = {"MCP_GUARD_LISTEN_ADDRESS": f"127.0.0.1:{self.ports['mcp']}", "MCP_GUARD_LISTEN_METRICS": f"127.0.0.1:{self.ports['metrics']}"}
        podman.play(for_podman(name, template, image, folders, env))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['mcp']}/mcp"

    def container(self, name: str) -> str:
        return f"{self.name}-{name}"

    def probe(self, name: str) -> int | None:
        """As the kubelet does it: the pod's address is the host's name in it."""
        probe = self.guard[name]["httpGet"]
        try:
            return curl(f"http://127.0.0.1:{self.ports[probe['port']]}{probe['path']}", "-H", "Host: 10.1.2.3:8001").status
        except AssertionError:
            return None  # Nothing listens.

    def is_ready(self) -> bool:
        return self.probe("readinessProbe") == 200

    def metric(self, name: str) -> float:
        return metric(f"127.0.0.1:{self.ports['metrics']}", name)

    def executes(self, command: str) -> str:
        """`kubectl exec POD -c guard -- mcp-guard COMMAND`, which succeeds."""
        config = ["--config", "/etc/mcp-guard/guard.toml"]
        return self.podman.does("exec", self.container("guard"), "mcp-guard", *command.split(), *config)

    def fleet(self) -> dict:
        """The fleet as this pod's guard sees it."""
        return json.loads(self.executes("fleet status --json"))

    def status(self) -> dict:
        return json.loads(self.executes("rollout status --json"))["status"]

    def ends(self) -> dict[str, int]:
        """Stops it as the kubelet does: containers, then sidecars from the last to the first. The exit code of each."""
        order = [*(one["name"] for one in self.spec["containers"]), *(one["name"] for one in reversed(self.spec["initContainers"]))]
        return {name: self.stops(name, self.spec["terminationGracePeriodSeconds"]) for name in order}

    def stops(self, container: str, seconds: int) -> int:
        """Its exit code after SIGTERM; what is cut after so many seconds has 137."""
        self.podman.does("stop", "--time", str(seconds), self.container(container))
        return int(self.podman.does("inspect", "--format", "{{.State.ExitCode}}", self.container(container)))

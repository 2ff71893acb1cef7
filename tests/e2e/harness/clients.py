"""The SDK clients: each has one conversation in a process of its own and prints it as one JSON object."""

import json
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mcp_testkit.paths import E2E, ENVS, NODE_MODULES, node, python


@dataclass(frozen=True)
class Client:
    name: str  # sdk1, sdk2: Python; ts1, ts2: TypeScript
    era: str

    @property
    def id(self) -> str:
        return f"{self.name}-{self.era}"

    def argv(self, url: str) -> list[str]:
        if self.name.startswith("sdk"):
            return [python(self.name), str(E2E / "clients" / f"{self.name}.py"), url, self.era]
        return [node(), str(in_node_env(f"{self.name}.mjs")), url, self.era]

    def converse(self, url: str, token: str | None) -> dict:
        """Connects, lists, calls, notifies. The result has `error` instead when that did not work."""
        argv = self.argv(url)
        done = subprocess.run(argv, env={**os.environ, "MCP_TOKEN": token or ""}, capture_output=True, text=True, timeout=60)
        reported = json.loads(done.stdout or "{}")
        assert reported, f"$ MCP_TOKEN=... {shlex.join(argv)}\nprinted nothing:\n{done.stderr}"
        return reported


def in_node_env(script: str) -> Path:
    """Node looks for packages beside the script, so the scripts are copied to where the packages are."""
    for source in [*(E2E / "clients").glob("*.mjs"), *(E2E / "backends").glob("*.mjs")]:
        target = ENVS / "node" / source.name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            # Replaced in one step: another worker may be starting the same script.
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
                copy.write(source.read_bytes())
            os.replace(copy.name, target)
    return ENVS / "node" / script


CLIENTS = [
    Client("sdk1", "legacy"),
    Client("sdk2", "legacy"),
    Client("sdk2", "auto"),
    Client("sdk2", "modern"),
    Client("ts1", "legacy"),
    Client("ts2", "legacy"),
    Client("ts2", "auto"),
    Client("ts2", "modern"),
]


def inspector(url: str, era: str, token: str | None, *options: str) -> subprocess.CompletedProcess:
    """The MCP Inspector's command line."""
    argv = [node(), str(NODE_MODULES / ".bin" / "mcp-inspector"), "--cli", "--server-url", url, "--transport", "http"]
    argv += ["--protocol-era", era, "--format", "json", *options]
    argv += ["--header", f"Authorization: Bearer {token}"] if token else []
    # A catalogue of its own: the default one is a file in the user's home.
    env = {**os.environ, "MCP_CATALOG_PATH": str(ENVS / f"inspector-catalog-{os.getpid()}.json")}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=env)

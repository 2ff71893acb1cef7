"""Claude Code as its users run it, with a home of its own and without an account."""

import json
import platform
import subprocess
from pathlib import Path

from harness.scripted_model import ScriptedModel
from harness.terminal import Terminal
from mcp_testkit.paths import ENVS


class ClaudeCode:
    def __init__(self, home: Path, project: Path, env: dict[str, str] | None = None):
        home.mkdir()
        arch = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
        self._program = ENVS / "claude-code" / "node_modules" / "@anthropic-ai" / f"claude-code-linux-{arch}" / "claude"
        self._project = project
        # Not the environment of the tests: it may hold settings or an account of a developer.
        self._env = {
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            **(env or {}),
        }

    def run(self, *argv: str, env: dict[str, str] | None = None) -> str:
        ran = subprocess.run(
            [str(self._program), *argv],
            cwd=self._project,
            env={**self._env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, f"claude {' '.join(argv)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def add(self, *argv: str) -> None:
        self.run("mcp", "add", *argv)

    def list(self) -> str:
        """Connects to all servers; one line for each, with the state of its connection."""
        return self.run("mcp", "list")

    def state(self, name: str) -> str:
        lines = [line for line in self.list().splitlines() if line.startswith(f"{name}: ")]
        assert len(lines) == 1, lines
        return lines[0]

    def login(self, name: str) -> Terminal:
        """Signs in at the server's authorization server; the URL is for a browser, and what the browser is sent to is pasted."""
        return Terminal([str(self._program), "mcp", "login", "--no-browser", name], self._env, self._project)

    def call(self, server: dict | str, tool: str, arguments: dict, env: dict[str, str] | None = None) -> dict:
        """What a model gets that calls `tool` of `server`: the entry of an `.mcp.json`, or the name of a server that was added."""
        name = server if isinstance(server, str) else "shop"
        config = [] if isinstance(server, str) else ["--strict-mcp-config", "--mcp-config", json.dumps({"mcpServers": {name: server}})]
        with ScriptedModel(f"mcp__{name}__{tool}", arguments) as model:
            argv = ["-p", "Call it.", *config, "--tools", "", "--allowedTools", f"mcp__{name}__{tool}"]
            # The tools stand in the first request, and are not searched for.
            printed = self.run(*argv, env={"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "scripted", "ENABLE_TOOL_SEARCH": "false", **(env or {})})
        assert len(model.results) == 1, printed
        return model.results[0]

"""Claude Code as its users run it, with a home of its own and without an account."""

import platform
import subprocess
from pathlib import Path

from mcp_testkit.paths import ENVS


class ClaudeCode:
    def __init__(self, home: Path, project: Path):
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
        }

    def run(self, *argv: str) -> str:
        ran = subprocess.run(
            [str(self._program), *argv], cwd=self._project, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
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

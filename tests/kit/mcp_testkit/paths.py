"""Where things are: the repository, the built programs, the pinned environments."""

import os
import platform
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
E2E = ROOT / "tests" / "e2e"
ENVS = ROOT / "target" / "e2e"
BIN = Path(os.environ.get("MCP_E2E_BIN", ROOT / "target" / "debug"))
NODE_MODULES = ENVS / "node" / "node_modules"

GUARD = BIN / "mcp-guard"
TOOLS = BIN / "mcp-tools"


def python(env: str) -> str:
    """The interpreter of a pinned environment: `sdk1`, `sdk2`, `django`, `openapi` or `pytest`."""
    return str(ENVS / env / "bin" / "python")


def node() -> str:
    """Node 22, which the Inspector and the conformance suite need; Debian 12 has an older one."""
    arch = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    return str(NODE_MODULES / f"node-linux-{arch}" / "bin" / "node")


def system(name: str) -> str:
    """A Debian program; daemons live in sbin, which is not in every user's path."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert found, f"{name} is not installed: run scripts/setup bench"
    return found

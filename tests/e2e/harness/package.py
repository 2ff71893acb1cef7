"""The Debian package of the programs under test, and variants of it: the next version, a broken one."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from mcp_testkit.paths import BIN, GUARD, ROOT

#: Where the package has its mcp-tools.
RELEASE = "/usr/lib/mcp-tools/release"


def stripped(folder: Path) -> Path:
    """The programs without what debuggers want: most of their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in ("mcp-guard", "mcp-tools"):
        subprocess.run(["strip", "-o", str(folder / program), str(BIN / program)], check=True)
    return folder


def build(programs: Path, out: Path) -> Path:
    env = {**os.environ, "MCP_DEB_BIN": str(programs), "MCP_DEB_LEVEL": "0", "MCP_DEB_OUT": str(out)}
    done = subprocess.run([ROOT / "scripts" / "deb"], capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def repacked(package: Path, out: Path, version: str, replace: dict[str, str] | None = None) -> Path:
    """The same package under another version, its mcp-tools a release of that version, with other files: path and text, executable."""
    root = out / f"repacked-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(root)], check=True, timeout=60)
    control = root / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.M))
    for path, text in (replace or {}).items():
        (root / path.lstrip("/")).write_text(text)
        (root / path.lstrip("/")).chmod(0o755)
    pack(root / RELEASE.lstrip("/"), name=f"mcp-tools-{version}", version=version)
    made = out / f"mcp-guard_{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z0", "--build", str(root), str(made)], check=True, capture_output=True, timeout=120)
    shutil.rmtree(root)
    return made


def pack(release: Path, **values: str) -> Path:
    """Lists the files of a release anew, after setting these keys of its release.toml."""
    manifest = release / "release.toml"
    text = manifest.read_text()
    for key, value in values.items():
        text, count = re.subn(rf"^{key} = .*$", lambda _: f"{key} = {json.dumps(value)}", text, flags=re.M)
        assert count == 1, f"{key} stands {count} times in {manifest}"
    manifest.write_text(text)
    subprocess.run([str(GUARD), "release", "pack", str(release)], check=True, capture_output=True, timeout=60)
    return release

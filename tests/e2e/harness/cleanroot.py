"""A root file system with only the dependencies of the package: the shell, systemd's two helpers, and their libraries."""

import re
import shutil
import subprocess
from pathlib import Path

from mcp_testkit.paths import system

PROGRAMS = ["sh", "rm", "rmdir", "systemd-sysusers", "systemd-tmpfiles"]
# The package's dependencies, by the names of the machine's dpkg.
LIBRARIES = ["libc6", "libgcc-s1"]
PACKAGES = [*LIBRARIES, "systemd"]


class CleanRoot:
    def __init__(self, path: Path):
        self.path = path
        for folder in ["usr/bin", "usr/lib", "usr/sbin", "etc", "run", "tmp", "dev", "proc", "var/lib/dpkg/info", "var/lib/dpkg/updates"]:
            (path / folder).mkdir(parents=True)
        path.chmod(0o755)
        for name in ("bin", "lib", "sbin", "lib64"):  # As Debian has it since 12.
            (path / f"usr/{name}").mkdir(exist_ok=True)
            (path / name).symlink_to(f"usr/{name}")
        (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (path / "etc/group").write_text("root:x:0:\n")
        (path / "dev/null").touch(0o666)
        (path / "dev/null").chmod(0o666)
        for name in PROGRAMS:
            self._copy(Path(system(name)).resolve(), f"usr/bin/{name}")
        for library in shared_libraries(*LIBRARIES):
            self._place(library)
        (path / "var/lib/dpkg/status").write_text("\n\n".join(filter(None, map(installed, PACKAGES))) + "\n\n")
        (path / "var/lib/dpkg/available").touch()

    def _copy(self, program: Path, name: str) -> None:
        shutil.copy2(program, self.path / name)
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+)(?= \()", listed):
            self._place(library)

    def _place(self, library: str) -> None:
        """Copies it to where the loader looks, which is below /usr."""
        target = self.path / "usr" / library.removeprefix("/usr/").removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(library, target)

    def dpkg(self, *arguments: str) -> subprocess.CompletedProcess:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return subprocess.run(["dpkg", f"--root={self.path}", *arguments], capture_output=True, text=True, timeout=60, env=env)

    def argv(self, *command: str, user: str | None = None) -> list[str]:
        """The command line that runs `command` in here, as this user with all their groups."""
        who = ["--userspec", f"{self.ids(user)[0]}:{self.ids(user)[1]}", f"--groups={','.join(self.groups(user))}"] if user else []
        return [system("chroot"), *who, str(self.path), *command]

    def run(self, *command: str, user: str | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(self.argv(*command, user=user), capture_output=True, text=True, timeout=60)

    def ids(self, user: str) -> tuple[str, str]:
        """The user's number and the main group's."""
        lines = [line.split(":") for line in (self.path / "etc/passwd").read_text().splitlines()]
        found = [(line[2], line[3]) for line in lines if line[0] == user]
        assert found, f"no user {user}: {lines}"
        return found[0]

    def groups(self, user: str) -> list[str]:
        lines = [line.split(":") for line in (self.path / "etc/group").read_text().splitlines()]
        return [line[2] for line in lines if user == line[0] or user in line[3].split(",")]


def installed(package: str) -> str:
    """The package as the machine's dpkg has it, without what it depends on: that is not in the root either."""
    text = subprocess.run(["dpkg", "--status", package], capture_output=True, text=True).stdout.strip()
    return "\n".join(part for part in re.split(r"\n(?! )", text) if not re.match(r"(Pre-)?Depends|Conffiles", part))


def shared_libraries(*packages: str) -> list[str]:
    listed = subprocess.run(["dpkg", "--listfiles", *packages], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if ".so" in Path(line).name and Path(line).is_file() and "gconv" not in line]

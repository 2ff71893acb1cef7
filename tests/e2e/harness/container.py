"""A Debian with systemd as its first process, booted in a container: units, journal and packages are the real ones.

The root file system is made once and kept under target/; every machine writes into a layer of its own above it. Commands
run inside through nsenter. Every wait has a deadline, and a machine is ended by the pid of its systemd-nspawn.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import wait_until

KEPT = ROOT / "target" / "container"
# Containers of one host share control groups of the same names, so only one machine may run at a time.
LOCK = Path("/run/lock/mcp-guard-test-container")
LOCK_SECONDS = 900
PACKAGES = ["systemd", "systemd-sysv", "dbus", "curl", "apache2", "python3-minimal", "libpython3-stdlib"]
# Enabled by their packages.
QUIET = ["apache2.service", "apache-htcacheclean.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"]
BOOT_SECONDS = 60
COMMAND_SECONDS = 60
# What the container has in its environment, whatever the caller's is.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_PAGER": ""}


def missing() -> str | None:
    """Why no container can be booted here; none if one can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    absent = [name for name in ("mmdebstrap", "systemd-nspawn", "nsenter") if not shutil.which(name)]
    return f"{', '.join(absent)} not installed: run scripts/setup test" if absent else None


class Machine:
    """One booted container."""

    def __init__(self, name: str):
        self._lock = locked()
        try:
            base = base_root()
        except BaseException:
            self._lock.close()
            raise
        # Machine names are one for the whole host.
        self.name = f"mcp-{os.getpid()}-{name}"
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=KEPT))
        self.root = self.folder / "root"
        for layer in ("root", "upper", "work"):
            (self.folder / layer).mkdir()
        layers = f"lowerdir={base},upperdir={self.folder}/upper,workdir={self.folder}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)])
        self._log = (self.folder / "console.log").open("ab")
        self._nspawn: subprocess.Popen | None = None
        self.leader = 0
        try:
            self.boot()
        except BaseException:
            self.destroy()
            raise

    def boot(self) -> None:
        """Starts systemd and returns when it has started everything that is enabled."""
        argv = [system("systemd-nspawn"), "-D", str(self.root), "--boot", "--register=no", "--keep-unit", "--private-network"]
        self._nspawn = subprocess.Popen(
            [*argv, f"--machine={self.name}", "--console=pipe"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._wait_booted()

    def _wait_booted(self) -> None:
        self.leader = wait_until("the container's first process", self._find_leader, BOOT_SECONDS)

        def booted() -> bool:
            if not Path(f"/proc/{self.leader}").exists():
                self.leader = self._find_leader() or self.leader
                return False
            state = self.run("systemctl", "is-system-running").stdout.strip()
            return state in ("running", "degraded")

        wait_until(f"the container to boot\n{self.console()}", booted, BOOT_SECONDS)

    def _find_leader(self) -> int | None:
        """The process that is number 1 inside. systemd-nspawn has it as a child, or as a grandchild."""
        assert self._nspawn and self._nspawn.poll() is None, f"systemd-nspawn ended:\n{self.console()}"
        pending = [self._nspawn.pid]
        while pending:
            pid = pending.pop()
            for child in children(pid):
                status = status_of(child)
                if re.search(r"^NSpid:\t\d+\t1$", status, re.M) and "Name:\tsystemd\n" in status:
                    return child
                pending.append(child)
        return None

    def argv(self, *command: str, user: str | None = None) -> list[str]:
        """The command line that runs `command` in here."""
        inside = [system("nsenter"), "--target", str(self.leader), "--all", "--", "/usr/bin/env", "-i"]
        inside += [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        return inside + (["runuser", "-u", user, "--"] if user else []) + list(command)

    def run(self, *command: str, user: str | None = None, input: str | None = None, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess:
        return subprocess.run(self.argv(*command, user=user), capture_output=True, text=True, timeout=seconds, input=input)

    def start(self, *command: str) -> subprocess.Popen:
        """A command in the background; it ends with the machine at the latest."""
        return subprocess.Popen(self.argv(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def do(self, *command: str, user: str | None = None, input: str | None = None, seconds: float = COMMAND_SECONDS) -> str:
        """Runs a command that must succeed, and returns what it printed."""
        done = self.run(*command, user=user, input=input, seconds=seconds)
        said = f"$ {' '.join(command)}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{said}\n--- journal\n{self.journal(lines=40)}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file in place, as an editor does that keeps owner and mode of one that is there."""
        self.do("sh", "-c", f"test -e {path} || install -D -m {mode:o} /dev/null {path}; cat > {path}", input=text)

    def push(self, file: Path, path: str) -> str:
        """Copies a file of the host's into the container."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        # The mount inside is the same one: what is written below the root is seen there.
        shutil.copyfile(file, target)
        return path

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.do("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "--quiet", "is-active", unit).returncode == 0

    def wait_active(self, unit: str, seconds: float = 30) -> None:
        wait_until(f"{unit} to be active\n{self.journal(unit)}", lambda: self.is_active(unit), seconds)

    def journal(self, unit: str | None = None, lines: int = 30, *options: str) -> str:
        which = ["-u", unit] if unit else []
        return self.run("journalctl", "--no-pager", "-q", "-n", str(lines), "-o", "short-monotonic", *which, *options).stdout

    def cursor(self) -> str:
        """Where the journal ends now."""
        return self.do("journalctl", "-q", "-n", "0", "--show-cursor").split("cursor: ")[1].strip()

    def since(self, cursor: str, *options: str) -> str:
        return self.do("journalctl", "--no-pager", "-q", "-o", "cat", f"--after-cursor={cursor}", *options)

    def wait_journal(self, cursor: str, text: str, seconds: float = 20) -> None:
        """Returns when a text has come into the journal behind `cursor`."""
        wait_until(f"'{text}' in the journal\n{self.journal()}", lambda: text in self.since(cursor), seconds)

    def console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-4000:]

    def reboot(self) -> None:
        """As `reboot` does it: every unit is stopped, and the machine starts again with the same files."""
        before = self.leader
        self.run("systemctl", "reboot")
        wait_until("the container to go down", lambda: not Path(f"/proc/{before}").exists(), BOOT_SECONDS)
        time_left = time.monotonic() + BOOT_SECONDS
        while self._nspawn and self._nspawn.poll() is None and not self._find_leader_or_none():
            assert time.monotonic() < time_left, f"the container did not come back:\n{self.console()}"
            time.sleep(0.05)
        if self._nspawn and self._nspawn.poll() is not None:
            self.boot()  # With --keep-unit, systemd-nspawn leaves the restart to its caller.
        else:
            self._wait_booted()

    def _find_leader_or_none(self) -> int | None:
        return self._find_leader() if self._nspawn and self._nspawn.poll() is None else None

    def destroy(self) -> None:
        """Ends the machine as if its power was cut, and removes what it wrote."""
        if self._nspawn and self._nspawn.poll() is None:
            if self.leader:
                signal_if_there(self.leader, signal.SIGKILL)
            else:
                self._nspawn.terminate()
            try:
                self._nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait(20)
        self._log.close()
        subprocess.run(["umount", "--lazy", str(self.root)], capture_output=True, timeout=30)
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / self.name, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def locked() -> IO:
    """The lock of the host's one test container; it is free again when this file is closed."""
    lock = LOCK.open("w")

    def taken() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    wait_until("another test container to end", taken, LOCK_SECONDS)
    return lock


def base_root() -> Path:
    """The files of a small Debian, made once for this list of packages."""
    key = hashlib.sha256("\n".join([codename(), *PACKAGES]).encode()).hexdigest()[:12]
    base = KEPT / f"base-{key}"
    if base.exists():
        return base
    KEPT.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix="making-", dir=KEPT))
    argv = [system("mmdebstrap"), "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *proxies(), codename(), str(making)]
    done = subprocess.run([*argv, *map(str, sources())], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-3000:]}"
    # Nothing runs in the tests but what a test starts.
    run([system("systemctl"), f"--root={making}", "--quiet", "disable", *QUIET])
    (making / "etc/machine-id").write_text("")
    making.rename(base)
    return base


def codename() -> str:
    return re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M).group(1)


def sources() -> list[Path]:
    """The machine's own apt sources of this Debian."""
    candidates = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]
    return [file for file in candidates if file.exists() and codename() in file.read_text().split()]


def proxies() -> list[str]:
    """The proxy settings of the machine's apt."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=30).stdout
    return [f"--aptopt={line.rstrip(';')}" for line in dump.splitlines() if re.match(r"Acquire::https?::Proxy(::\S+)? ", line)]


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"


def children(pid: int) -> list[int]:
    found = []
    try:
        tasks = [Path(task.path) for task in os.scandir(f"/proc/{pid}/task")]
    except OSError:  # The process has ended.
        return found
    for task in tasks:
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


def signal_if_there(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    if why := missing():
        print(f"no container is prepared: {why}")
    else:
        with locked():
            print(base_root())

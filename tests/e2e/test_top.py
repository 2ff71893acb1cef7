"""Contract, section 19: `mcp-guard top` on a real pseudo-terminal, whose screen is read as a terminal emulator shows it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pyte
import pytest
from harness.load import Load
from harness.operator import HELD_PLAN
from mcp_testkit.guard import Guard
from mcp_testkit.paths import GUARD
from mcp_testkit.programs import wait_until
from mcp_testkit.tools import mcp_tools

MORE = """
[slots.green]
address = "{green}"
[health]
interval = "500ms"
timeout = "500ms"
rise = 1
[rollout]
plan = "plan.toml"
[routing]
key = "request"
"""
SECONDS = 40


class Top:
    """`mcp-guard top` and the screen that its user sees."""

    def __init__(self, guard: Guard, columns: int = 80, lines: int = 24, env: dict[str, str] | None = None, words: tuple[str, ...] = ()):
        self.screen, self.raw = pyte.Screen(columns, lines), b""
        self.stream = pyte.ByteStream(self.screen)
        self.side, self.other = pty.openpty()
        self.set_size(columns, lines)
        self.before = termios.tcgetattr(self.other)
        argv = [str(GUARD), "top", "--config", str(guard.config), *words]
        env = {"TERM": "xterm-256color", "PATH": os.environ["PATH"], **(env or {})}
        # The terminal is the program's controlling one, so that the kernel tells it of a new size.
        control = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
        self.process = subprocess.Popen(
            argv, env=env, stdin=self.other, stdout=self.other, stderr=self.other, start_new_session=True, preexec_fn=control
        )

    def __enter__(self) -> "Top":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self.side)
        os.close(self.other)

    def set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self.side], [], [], seconds)
        part = os.read(self.side, 65536) if ready else b""
        self.raw += part
        self.stream.feed(part)
        return part

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, pattern: str) -> re.Match:
        """Reads until the screen shows the pattern."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline and self.process.poll() is None, f"never on the screen: {pattern}\n{self.text}"
            self.read(0.5)
        return found

    def press(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def ended(self) -> int:
        """The exit code, once it has ended and everything it wrote was read. A terminal that is not read makes it wait."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end\n{self.text}"
            self.read(0.1)
        while self.read(0.1):
            pass
        return self.process.returncode

    def assert_restored(self) -> None:
        assert termios.tcgetattr(self.other) == self.before, "the modes of the terminal are as before"
        assert self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h") >= 0, "the alternate screen was left"
        assert self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l") >= 0, "the cursor is shown"


class Site:
    def __init__(self, programs):
        blue, green = (mcp_tools(programs, name).address for name in ("blue", "green"))
        (programs.folder / "plan.toml").write_text(HELD_PLAN)
        self.guard = Guard(programs, blue, "/mcp", more=MORE.format(green=green))
        healthy = lambda: self.guard.command("slots", "list").stdout.count(" healthy ") == 2  # noqa: E731
        wait_until("both slots are healthy", healthy)


@pytest.fixture(scope="module")
def site(module_programs):
    return Site(module_programs)


def rates(top: Top) -> list[float]:
    return [float(rate) for rate in re.findall(r"([\d.]+) calls/s", top.text)]


def test_the_numbers_of_top_follow_the_load_and_a_rollout(site):
    with Top(site.guard) as top:
        top.wait_for("blue: stable")
        top.wait_for("nothing is in rollout: blue serves all traffic")
        with Load(site.guard.address, "swf_list_agents", rate=100, connections=4) as load:
            wait_for_rate(top, 0, 20)
            top.wait_for(r"swf_list_agents +[\d.]+ +0\.0 %")
            assert site.guard.command("rollout", "start").returncode == 0
            top.wait_for(r"\[canary\]")
            top.wait_for("waits for the hold of this step")
            wait_for_rate(top, 1, 10)
            top.press(b"\t\t")
            top.wait_for(r"candidate_health +(\d+ % left|\d+ more sample)")
            top.wait_for("started: stable -> canary")
            assert site.guard.command("rollout", "rollback").returncode == 0
            top.wait_for(r"\[stable\]")
            top.wait_for("rolled_back")
            load.stop()
        assert not load.outcome.failures, load.outcome
        top.press(b"q")
        assert top.ended() == 0
        top.assert_restored()


def wait_for_rate(top: Top, slot: int, least: float) -> None:
    deadline = time.monotonic() + SECONDS
    while len(rates(top)) <= slot or rates(top)[slot] < least:
        assert time.monotonic() < deadline, f"slot {slot} never had {least} calls/s\n{top.text}"
        top.read(0.5)


def test_top_follows_the_size_of_its_terminal(site):
    with Top(site.guard) as top:
        top.wait_for("q quit")
        for columns, lines in [(160, 50), (60, 20), (100, 30)]:
            top.set_size(columns, lines)
            top.wait_for(r"\A[^\n]*mcp-guard [\d.]+")
            deadline = time.monotonic() + SECONDS
            while not re.search(r"q quit", top.screen.display[lines - 1]):
                assert time.monotonic() < deadline, top.text
                top.read(0.5)
            assert all(len(line) <= columns for line in top.screen.display)
        top.set_size(40, 10)
        top.wait_for("too small")
        top.set_size(80, 24)
        top.wait_for("blue: ")
        top.press(b"?")
        top.wait_for("Orders: mcp-guard rollout")
        top.press(b"\x1b")
        deadline = time.monotonic() + SECONDS
        while "Orders:" in top.text:
            assert time.monotonic() < deadline, top.text
            top.read(0.5)
        top.press(b"\x1b")
        assert top.ended() == 0
        top.assert_restored()


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "SIGINT", "SIGHUP"])
def test_top_gives_the_terminal_back_however_it_ends(site, how):
    with Top(site.guard) as top:
        top.wait_for("q quit")
        assert termios.tcgetattr(top.other) != top.before, "raw while it runs"
        if how == "ctrl-c":
            top.press(b"\x03")
        else:
            top.process.send_signal(getattr(signal, how))
        assert top.ended() == 0
        top.assert_restored()


def test_top_writes_little_and_no_colour_where_it_is_not_asked_for(site):
    with Top(site.guard, env={"NO_COLOR": "1"}) as top:
        top.wait_for("q quit")
        until = time.monotonic() + 3
        before = len(top.raw)
        while time.monotonic() < until:
            top.read(0.2)
        # Without calls a look changes a clock and little else: no screen is written anew.
        assert len(top.raw) - before < 6_000, len(top.raw) - before
        assert b"\x1b[2J" not in top.raw[before:]
        colours = re.findall(rb"\x1b\[[\d;]*m", top.raw)
        assert not [code for code in colours if re.search(rb"[\[;](3[0-7]|38|9[0-7])[;m]", code)], colours
        top.press(b"q")
        assert top.ended() == 0
    with Top(site.guard) as top:
        top.wait_for("q quit")
        assert re.search(rb"\x1b\[[\d;]*(3[0-7]|38|9[0-7])[\d;]*m", top.raw)


def test_top_goes_on_when_the_guard_is_upgraded_killed_and_started_again(programs):
    site = Site(programs)
    with Top(site.guard) as top:
        first = int(top.wait_for(r"pid (\d+)").group(1))
        second = site.guard.upgrade()
        top.wait_for(rf"pid {second}")
        top.wait_for("connected")
        assert first != second
        os.kill(second, signal.SIGKILL)
        top.wait_for("AWAY, trying again: no guard is running")
        top.wait_for("blue: ")
        site.guard.start()
        top.wait_for("connected")
        third = int(top.wait_for(r"pid (\d+)").group(1))
        assert third not in (first, second)
        with Load(site.guard.address, "swf_list_agents", rate=50, connections=2) as load:
            wait_for_rate(top, 0, 5)
            load.stop()
        top.press(b"q")
        assert top.ended() == 0
        top.assert_restored()


def test_top_without_a_terminal_or_a_guard_says_so(site, tmp_path):
    done = site.guard.command("top")
    assert done.returncode == 2 and "needs a terminal" in done.stderr and not done.stdout, done
    nobody = tmp_path / "nobody.toml"
    nobody.write_text('[listen]\nadmin = "nobody.sock"\n[slots.blue]\naddress = "unix:blue.sock"\n')

    class Nobody:
        config = nobody

    with Top(Nobody()) as top:
        assert top.ended() == 1
        assert b"no guard is running" in top.raw and b"\x1b[?1049h" not in top.raw
        assert termios.tcgetattr(top.other) == top.before

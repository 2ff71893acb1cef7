"""A program on a terminal of its own, for programs that talk to their user only there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")


class Terminal:
    """`seen` is all that the program wrote, without the terminal's escape sequences."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd=None, columns: int = 4000):
        """The terminal is wide, so that no line is broken."""
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=other, stdout=other, stderr=other, start_new_session=True)
        os.close(other)
        self._raw = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        os.close(self._side)

    @property
    def seen(self) -> str:
        return ESCAPES.sub("", self._raw.decode(errors="replace")).replace("\r", "")

    def wait_for(self, pattern: str, seconds: float = 40) -> re.Match:
        """The first match of the pattern in what the program has written so far or writes now."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            assert self._read(deadline), f"the program never wrote {pattern}:\n{self.seen}"
        return found

    def type(self, line: str) -> None:
        os.write(self._side, line.encode() + b"\r")

    def end(self, seconds: float = 40) -> int:
        """Waits for the program's end; its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"the program did not end:\n{self.seen}"
        return self.process.wait(20)

    def _read(self, deadline: float) -> bool:
        """False once nothing more comes."""
        ready, _, _ = select.select([self._side], [], [], max(0.0, deadline - time.monotonic()))
        try:
            part = os.read(self._side, 65536) if ready else b""
        except OSError:  # EIO: the program has closed the terminal.
            part = b""
        self._raw += part
        return bool(part)

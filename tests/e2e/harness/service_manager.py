"""The service manager's side of sd_notify: a datagram socket with the sender of each message."""

import os
import re
import select
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Message:
    pid: int
    fields: tuple[str, ...]

    def has(self, field: str) -> bool:
        return field in self.fields


class Manager:
    """Listens like systemd with NotifyAccess=main: messages of other processes than the main one are recorded and ignored."""

    def __init__(self, folder: Path):
        self.path = folder / "notify.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self.path))
        self.main_pid: int | None = None
        self.obeyed: list[Message] = []
        self.ignored: list[Message] = []
        #: With this, a `BARRIER=1` is not answered before `answer_barriers`.
        self.holds_barriers = False
        self._barriers: list[socket.socket] = []

    def env(self, watchdog_seconds: float | None = None) -> dict[str, str]:
        env = {"NOTIFY_SOCKET": str(self.path)}
        if watchdog_seconds:
            env["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1e6))
        return env

    def supervise(self, pid: int) -> None:
        self.main_pid = pid

    def wait_for(self, field: str, since: int = 0, seconds: float = 20) -> Message:
        """The first obeyed message from index `since` on that has a field matching this."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.obeyed[since:]:
                if any(re.fullmatch(field, part) for part in message.fields):
                    return message
            left = deadline - time.monotonic()
            assert left > 0, f"no {field} within {seconds:g} s; obeyed {self.obeyed[since:]}, ignored {self.ignored}"
            self._receive(left)

    def is_waited_for(self) -> bool:
        """Receives the next barrier; whether its sender waits still."""
        assert self.holds_barriers
        while not self._barriers:
            assert self._receive(20), "no barrier"
        events = select.poll()
        for barrier in self._barriers:
            events.register(barrier, 0)
        return not events.poll(0)

    def answer_barriers(self) -> None:
        self.holds_barriers = False
        while self._barriers:
            self._barriers.pop().close()

    def drain(self) -> None:
        """Receives the messages that have been sent already."""
        while self._receive(0.05):
            pass

    @contextmanager
    def reading(self):
        """Receives what is sent meanwhile, as systemd does: an upgrade waits until its messages are read."""
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                self._receive(0.05)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            is_over.set()
            reader.join()

    def _receive(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")) + socket.CMSG_SPACE(struct.calcsize("i")))
        except TimeoutError:
            return False
        content = {kind: content for _, kind, content in ancillary}
        pid = struct.unpack("3i", content[socket.SCM_CREDENTIALS])[0]
        if descriptor := content.get(socket.SCM_RIGHTS):
            barrier = socket.socket(fileno=struct.unpack("i", descriptor)[0])
            if self.holds_barriers:
                self._barriers.append(barrier)
            else:
                barrier.close()
        message = Message(pid, tuple(data.decode().split("\n")))
        if self.main_pid is not None and pid != self.main_pid:
            self.ignored.append(message)
            return True
        self.obeyed.append(message)
        for field in message.fields:
            if field.startswith("MAINPID="):
                self.main_pid = int(field.removeprefix("MAINPID="))
        return True


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not waited for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

"""The store of a fleet: Debian's redis-server on a port of the loopback address, Sentinels, and a link that can be cut."""

import asyncio
import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator

from mcp_testkit.paths import system
from mcp_testkit.programs import Programs, free_port, wait_until

#: What the Sentinels watch.
PRIMARY = "drill"


class Store:
    """One server without persistence."""

    def __init__(self, programs: Programs, name: str = "redis", *, lines: str = "", sentinel: bool = False):
        """`lines` are added to its configuration."""
        self.port = free_port()
        self._programs, self._name, self._lives = programs, name, 0
        folder = programs.folder / name
        folder.mkdir()
        config = folder / "redis.conf"
        of_server = "" if sentinel else 'save ""\nappendonly no\nrepl-diskless-sync-delay 0\n'
        config.write_text(f"bind 127.0.0.1\nport {self.port}\ndir {folder}\n{of_server}{lines}")
        self._argv = [system("redis-server"), str(config), *(["--sentinel"] if sentinel else [])]
        self._start()

    def _start(self) -> None:
        self._lives += 1
        self.program = self._programs.start(f"{self._name}-{self._lives}", self._argv).wait_for(self.address)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def says(self, *words: str) -> str:
        """What it responds to a command."""
        argv = [system("redis-cli"), "-h", "127.0.0.1", "-p", str(self.port), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout

    def kill(self) -> None:
        self.program.signal(signal.SIGKILL)
        self.program.wait()

    def restart_empty(self) -> None:
        self.kill()
        self._start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections, and does not respond."""
        self.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.signal(signal.SIGCONT)


class Sentinels:
    """A primary, its replica, and three Sentinels of which two must agree."""

    def __init__(self, programs: Programs):
        self.primary = Store(programs, "primary", lines="min-replicas-to-write 0\n")
        self.replica = Store(programs, "replica", lines=f"replicaof 127.0.0.1 {self.primary.port}\n")
        wait_until("a replica", lambda: "master_link_status:up" in self.replica.says("info", "replication"))
        watch = f"sentinel monitor {PRIMARY} 127.0.0.1 {self.primary.port} 2\n"
        watch += f"sentinel down-after-milliseconds {PRIMARY} 500\nsentinel failover-timeout {PRIMARY} 3000\n"
        self.sentinels = [Store(programs, f"sentinel-{number}", lines=watch, sentinel=True) for number in range(3)]
        for one in self.sentinels:
            wait_until("the Sentinels know each other", lambda one=one: self._knows(one))

    def _knows(self, one: Store) -> bool:
        known = one.says("sentinel", "master", PRIMARY).split("\n")
        said = dict(zip(known[::2], known[1::2]))
        return said.get("num-other-sentinels") == "2" and said.get("num-slaves") == "1"

    @property
    def urls(self) -> list[str]:
        return [one.url for one in self.sentinels]

    def leads(self) -> int:
        """The port of the server that the Sentinels name."""
        return int(self.sentinels[0].says("sentinel", "get-master-addr-by-name", PRIMARY).split()[1])


class Link:
    """A way to a server that can be cut: then nothing passes, in either direction, and no connection ends."""

    def __init__(self, port: int):
        self._target, self.port = port, free_port()
        self._open = threading.Event()
        self._open.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._listens = threading.Event()
        self._thread.start()
        assert self._listens.wait(10), "the link does not listen"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._listens.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._passes()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    async def _passes(self) -> None:
        while not self._open.is_set():
            await asyncio.sleep(0.01)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._passes()
                sink.write(data)
                await sink.drain()
        sink.close()

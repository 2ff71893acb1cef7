"""A steady load of JSON-RPC calls on kept-alive connections, in a thread of its own. Every response is checked.

The load is bounded in rate, connections and time. A call without a response counts as lost, unless nothing was accepted:
a connection that cannot be opened, or that the server closed before the call was written, is opened again.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp_testkit.guard import TOKEN

RESPONSE_SECONDS = 15.0


@dataclass
class Outcome:
    succeeded: int = 0
    failures: list[str] = field(default_factory=list)
    refused: int = 0  # connections that could not be opened
    slowest: float = 0.0

    def __str__(self) -> str:
        shown = "\n".join(self.failures[:10])
        return f"{self.succeeded} succeeded, {len(self.failures)} failed, {self.refused} refused, slowest {self.slowest:.2f} s\n{shown}"


class Load:
    def __init__(
        self,
        address: str,
        tool: str,
        *,
        rate: int = 500,
        connections: int = 16,
        path: str = "/swf-monitor/mcp",
        fresh: bool = False,
        token: Callable[[], str] = lambda: TOKEN,
    ):
        """`token` gives the token of each call."""
        self._token = token
        host, _, port = address.rpartition(":")
        self._host, self._port, self._path, self._tool = host, int(port), path, tool
        self._pause = connections / rate
        self._closing = "Connection: close\r\n" if fresh else ""  # A connection for each call, or kept-alive ones.
        self._connections = connections
        self._stop = threading.Event()
        self.outcome = Outcome()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> Outcome:
        self._stop.set()
        self._thread.join(RESPONSE_SECONDS + 5)
        assert not self._thread.is_alive(), "the load did not end: a call hangs"
        return self.outcome

    async def _run(self) -> None:
        await asyncio.gather(*(self._worker(number) for number in range(self._connections)))

    async def _worker(self, number: int) -> None:
        connection, sequence = None, 0
        due = time.monotonic() + self._pause * number / self._connections
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._pause, time.monotonic() - 1)  # After a hold, catch up for one second and no more.
            if connection is None:
                connection = await self._open()
                if connection is None:
                    await asyncio.sleep(0.05)
                    continue
            sequence += 1
            connection = await self._call(connection, f"{number}-{sequence}")
        if connection:
            connection[1].close()

    async def _open(self):
        try:
            return await asyncio.open_connection(self._host, self._port)
        except OSError:
            self.outcome.refused += 1
            return None

    async def _call(self, connection, id: str):
        """One call; returns the connection if it can carry the next one."""
        reader, writer = connection
        if reader.at_eof():  # Closed while idle: nothing was sent, nothing is lost.
            writer.close()
            return None
        message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": self._tool, "arguments": {}}}
        body = json.dumps(message)
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token()}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n{self._closing}\r\n"
        )
        started = time.monotonic()
        try:
            writer.write((head + body).encode())
            status, headers, response = await asyncio.wait_for(read_response(reader), RESPONSE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            self.outcome.failures.append(f"call {id}: no response after {time.monotonic() - started:.2f} s: {error!r}")
            writer.close()
            return None
        self.outcome.slowest = max(self.outcome.slowest, time.monotonic() - started)
        self._judge(id, status, response)
        if headers.get("connection", "").lower() == "close":
            writer.close()
            return None
        return connection

    def _judge(self, id: str, status: int, body: bytes) -> None:
        try:
            message = json.loads(body)
        except ValueError:
            message = {}
        if status == 200 and message.get("id") == id and "result" in message and not message["result"].get("isError"):
            self.outcome.succeeded += 1
        else:
            self.outcome.failures.append(f"call {id}: {status} {body[:300]!r}")


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split(" ")[1]), headers, body

"""Calls of one client to several guards, each at a rate that may change, and which of them a rate limit refused."""

import asyncio
import json
import threading
import time
from collections import Counter

from harness.load import RESPONSE_SECONDS, read_response
from mcp_testkit.guard import Guard

#: The guard's code for a call beyond a rate.
RATE_LIMITED = -31429
CONNECTIONS = 6


class Demand:
    """Calls while a `with` block lasts."""

    def __init__(self, guards: list[Guard], token: str, tool: str):
        self._guards, self._token, self._tool = guards, token, tool
        self._rates = [0.0] * len(guards)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        #: (seconds of the monotonic clock, number of the guard) of each admitted call.
        self.admitted: list[tuple[float, int]] = []
        self.refused = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Demand":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(RESPONSE_SECONDS + 5)
        assert not self._thread.is_alive(), "a call hangs"

    def at(self, *rates: float) -> None:
        """Calls a second, guard by guard, from now on."""
        self._rates = [*rates, *[0.0] * (len(self._guards) - len(rates))]

    def during(self, seconds: float) -> tuple[Counter, float]:
        """How many calls each guard admits in the next seconds, and how many seconds it were."""
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        return Counter(guard for at, guard in list(self.admitted) if begin <= at < end), end - begin

    async def _run(self) -> None:
        workers = [self._worker(number, turn) for number in range(len(self._guards)) for turn in range(CONNECTIONS)]
        await asyncio.gather(*workers)

    async def _worker(self, number: int, turn: int) -> None:
        host, _, port = self._guards[number].address.rpartition(":")
        connection, due, sequence = None, time.monotonic(), 0
        while not self._stop.is_set():
            rate = self._rates[number]
            if not rate:
                await asyncio.sleep(0.02)
                due = time.monotonic()
                continue
            pause = CONNECTIONS / rate
            # No more than one call is made up for, so that a late worker makes no burst.
            due = max(due + pause, time.monotonic() - pause)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            connection = connection or await asyncio.open_connection(host, int(port))
            sequence += 1
            if not await self._call(connection, number, f"{turn}-{sequence}"):
                connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    async def _call(self, connection, number: int, id: str) -> bool:
        """One call; whether its connection can carry another one."""
        reader, writer = connection
        body = json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": self._tool, "arguments": {}}})
        writer.write(
            f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        try:
            status, headers, response = await asyncio.wait_for(read_response(reader), RESPONSE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            self.failures.append(f"call {id} to guard {number}: {error!r}")
            return False
        said = json.loads(response)
        if status == 200 and said.get("id") == id and "result" in said:
            self.admitted.append((time.monotonic(), number))
        elif said.get("error", {}).get("code") == RATE_LIMITED:
            self.refused += 1
        else:
            self.failures.append(f"call {id} to guard {number}: {status} {response[:300]!r}")
        return headers.get("connection", "").lower() != "close"

#!/usr/bin/env python3
"""The backend of event streams: 1,000 events for each request on a Unix socket, one write an event, all open streams in turn.

    streams.py PATH

At most EVENTS_PER_SECOND in all: faster than that a proxy would fall behind and relay several events as one, and the slowest most.
"""

import json
import os
import selectors
import socket
import sys
import time

from scenarios import EVENTS, SMALL

EVENTS_PER_SECOND = 20_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
OTHER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(SMALL)}\r\n\r\n{SMALL}".encode()


def chunk(message: dict) -> bytes:
    event = f"event: message\ndata: {json.dumps(message)}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def progress(number: int) -> bytes:
    params = {"progressToken": 1, "progress": number, "total": EVENTS, "message": "x" * 40}
    return chunk({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


PARTS = [HEAD, *map(progress, range(1, EVENTS))]
PARTS.append(chunk({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "done"}], "isError": False}}) + b"0\r\n\r\n")


def main() -> None:
    listener = socket.socket(socket.AF_UNIX)
    # nginx's worker is another user when root runs this.
    os.umask(0)
    listener.bind(sys.argv[1])
    listener.listen(1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    # The next part of each open stream.
    streams: dict[socket.socket, int] = {}
    due = 0.0
    while True:
        for key, _ in selector.select(max(0.0, due - time.monotonic()) if streams else None):
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            # A request is one read: it is small. What is no call is a probe.
            try:
                request = key.fileobj.recv(65536)
            except ConnectionError:
                request = b""
            if b'"tools/call"' in request:
                streams[key.fileobj] = 0
            elif request:
                key.fileobj.sendall(OTHER)
            else:
                streams.pop(key.fileobj, None)
                selector.unregister(key.fileobj)
                key.fileobj.close()
        now = time.monotonic()
        if now < due:
            continue
        due = now + len(streams) / EVENTS_PER_SECOND
        for connection, part in list(streams.items()):
            try:
                connection.sendall(PARTS[part])
            except OSError:
                part = len(PARTS)  # The proxy has closed it; the next read finds the end.
            if part + 1 < len(PARTS):
                streams[connection] = part + 1
            else:
                del streams[connection]


if __name__ == "__main__":
    main()

"""A proxy that adds one header to every request and changes nothing else.

The conformance suite cannot send a token. This stands before the guard (or before a backend, for the direct run) and
copies bytes: field names, values, spacing, methods and streams stay as the suite sent them.
"""

import re
import socket
import threading


class Injector:
    def __init__(self, upstream: str, header: str):
        self._upstream = upstream
        self._header = header.encode() + b"\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._upstream.startswith("unix:"):
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._upstream[5:])
            return upstream
        host, _, port = self._upstream.rpartition(":")
        upstream = socket.create_connection((host, int(port)))
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return upstream

    def _relay(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, self._connect() as upstream:
            back = threading.Thread(target=pump, args=(upstream, client), daemon=True)
            back.start()
            try:
                with client.makefile("rb") as stream:
                    while self._one_request(stream, upstream):
                        pass
                upstream.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # One side closed; the other sees its closed socket.
            back.join()

    def _one_request(self, stream, upstream: socket.socket) -> bool:
        head = stream.readline()
        if not head:
            return False
        head += self._header
        while (line := stream.readline()) not in (b"\r\n", b"\n", b""):
            head += line
        upstream.sendall(head + line)
        if length := re.search(rb"(?im)^content-length:\s*(\d+)", head):
            upstream.sendall(stream.read(int(length[1])))
        elif re.search(rb"(?im)^transfer-encoding:\s*chunked", head):
            relay_chunks(stream, upstream)
        return True


def relay_chunks(stream, upstream: socket.socket) -> None:
    while True:
        line = stream.readline()
        upstream.sendall(line)
        size = int(line.split(b";")[0] or b"0", 16)
        upstream.sendall(stream.read(size + 2))
        if size == 0:
            return


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copies until the source ends, then ends the target: a truncated response must look truncated."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for one in (target, source):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

#!/usr/bin/env python3
"""What TLS costs: guard, nginx and HAProxy with the same P-256 certificate, versions and ciphers, in turn.

    tls.py                                     target/release/mcp-guard, five rounds
    tls.py --guard target/fast/mcp-guard --rounds 3 --seconds 2

Method: CPU of the proxy's process tree (measure.py) for each full handshake (`openssl s_time -new`), and for each call on kept-alive
connections (250-byte tools/call, fixed 300-byte response from a Unix socket), in clear and encrypted; the difference is what
encryption costs. CPU survives a busy machine, calls a second would not. Tickets are off at the peers, so that every handshake is a full
one; s_time resumes none. Rounds are interleaved; medians are compared. Standard library only; everything on 127.0.0.1.
"""

import argparse
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

from measure import cpu_ns  # noqa: E402
from mcp_testkit.paths import system  # noqa: E402
from mcp_testkit.programs import Programs, free_port  # noqa: E402
from scenarios import SMALL, TOKEN, call  # noqa: E402

HERE = Path(__file__).resolve().parent
PROXIES = ["guard", "nginx", "haproxy"]
VERSIONS = {"TLS 1.3, AES-128-GCM": ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS 1.2, ECDHE-ECDSA-AES128-GCM": ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]}
CONNECTIONS, CALLS = 8, 4000


class Bench:
    def __init__(self, folder: Path, guard: Path):
        self.folder, self.guard, self.programs = folder, guard, Programs(folder)
        self.certificate()
        socket_path = f"{folder}/upstream.sock"
        self.values = {"FOLDER": str(folder), "TOKEN": TOKEN, "ANSWER": SMALL, "UPSTREAM_SOCKET": socket_path, "UPSTREAM_PATH": "/", "THREADS": "1"}
        self.values |= {"UPSTREAM_PORT": str(free_port()), "TOKENS_FILE": ""}
        argv = [system("nginx"), "-c", self.rendered("upstream.nginx.conf", {}), "-e", "stderr"]
        self.programs.start("upstream", argv).wait_for(f"127.0.0.1:{self.values['UPSTREAM_PORT']}")

    def certificate(self) -> None:
        key, chain = self.folder / "key.pem", self.folder / "chain.pem"
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(chain)]
        subprocess.run(argv, check=True, capture_output=True)
        (self.folder / "both.pem").write_text(chain.read_text() + key.read_text())

    def rendered(self, name: str, more: dict[str, str], change=lambda text: text) -> str:
        path = self.folder / f"{more.get('PORT', '')}{name}"
        values = {**self.values, **more}
        path.write_text(re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], change((HERE / name).read_text())))
        return str(path)

    def start(self, name: str, encrypted: bool):
        port, folder = str(free_port()), self.folder
        argv, change, env = [], lambda text: text, None
        if name == "nginx":
            tls = f" ssl; ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;"
            if encrypted:
                change = lambda text: text.replace("listen 127.0.0.1:@PORT@;", f"listen 127.0.0.1:@PORT@{tls}")  # noqa: E731
            argv = [system("nginx"), "-c", self.rendered("nginx.conf", {"PORT": port}, change), "-e", "stderr"]
        elif name == "haproxy":
            tls = f" ssl crt {folder}/both.pem no-tls-tickets ssl-min-ver TLSv1.2"
            if encrypted:
                change = lambda text: text.replace("bind 127.0.0.1:@PORT@", f"bind 127.0.0.1:@PORT@{tls}")  # noqa: E731
            argv = [system("haproxy"), "-f", self.rendered("haproxy.cfg", {"PORT": port}, change)]
        else:
            if encrypted:
                change = lambda text: f'{text}\n[listen.tls]\ncertificate = "{folder}/chain.pem"\nkey = "{folder}/key.pem"\n'  # noqa: E731
            argv = [str(self.guard), "run", "--config", self.rendered("guard.toml", {"PORT": port}, change)]
            env = {"MCP_BEARER_TOKEN": TOKEN}
        program = self.programs.start(f"{name}-{port}", argv, env, stderr=subprocess.DEVNULL).wait_for(f"127.0.0.1:{port}")
        return program, int(port)

    def handshakes(self, name: str, options: list[str], seconds: int) -> float:
        """Microseconds of CPU for each full handshake."""
        program, port = self.start(name, encrypted=True)
        argv = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-time", str(seconds), *options]
        run = lambda: subprocess.run(argv, capture_output=True, text=True, timeout=60 + seconds)  # noqa: E731
        run()
        before = cpu_ns(program.pid)
        done = run()
        spent = cpu_ns(program.pid) - before
        program.stop()
        return spent / 1000 / int(re.search(r"(\d+) connections in .* real seconds", done.stdout)[1])

    def calls(self, name: str, encrypted: bool) -> float:
        """Microseconds of CPU for each call on a kept-alive connection."""
        program, port = self.start(name, encrypted)
        body = call(250)
        head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        request = f"{head}Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        context = ssl.create_default_context(cafile=str(self.folder / "chain.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        open_one = lambda: socket.create_connection(("127.0.0.1", port))  # noqa: E731
        streams = [context.wrap_socket(open_one(), server_hostname="localhost") if encrypted else open_one() for _ in range(CONNECTIONS)]
        exchange_all(streams, request, CALLS // 4)
        before = cpu_ns(program.pid)
        exchange_all(streams, request, CALLS)
        spent = cpu_ns(program.pid) - before
        for stream in streams:
            stream.close()
        program.stop()
        return spent / 1000 / CALLS


def exchange_all(streams: list[socket.socket], request: bytes, count: int) -> None:
    tail = SMALL.encode()
    for number in range(count // len(streams)):
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            answer = stream.recv(65536)
            while not answer.endswith(tail):
                piece = stream.recv(65536)
                assert piece, f"call {number}: {answer[:200]!r}"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guard", type=Path, default=HERE.parents[1] / "target" / "release" / "mcp-guard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    measured: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="tls-bench-") as folder:
        os.chmod(folder, 0o755)
        bench = Bench(Path(folder), options.guard.resolve())
        try:
            for _ in range(options.rounds):
                for name in PROXIES:
                    results = {f"handshake, {version}": bench.handshakes(name, more, options.seconds) for version, more in VERSIONS.items()}
                    results |= {"call in clear": bench.calls(name, False), "call, TLS 1.3": bench.calls(name, True)}
                    for what, value in results.items():
                        measured.setdefault(what, {}).setdefault(name, []).append(value)
        finally:
            bench.programs.stop_all()
    print("| CPU, microseconds | " + " | ".join(PROXIES) + " |\n|---|" + "---|" * len(PROXIES))
    for what, by_name in measured.items():
        print(f"| {what} | " + " | ".join(f"{statistics.median(by_name[name]):.1f}" for name in PROXIES) + " |")


if __name__ == "__main__":
    main()

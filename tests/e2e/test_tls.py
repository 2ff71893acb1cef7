"""TLS as openssl, curl and an SDK see it: what is offered, who is let in, and what a reload does to handshakes."""

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.clients import Client
from harness.tls import openssl
from mcp_testkit.guard import CONFIG, TOKEN, Guard
from mcp_testkit.paths import GUARD as GUARD_BINARY
from mcp_testkit.programs import Programs, wait_until
from mcp_testkit.tools import INSTRUCTIONS, guarded_tools, mcp_tools

CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_server_instructions", "arguments": {}}})
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Certificates:
    """An authority and what it signs, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.authority("ca")

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def authority(self, name: str) -> None:
        out = ["-keyout", self.file(f"{name}.key"), "-out", self.file(f"{name}.pem")]
        openssl("req", "-x509", *CURVE, *out, "-days", "30", "-subj", f"/CN={name}")

    def issue(self, name: str, names: str, by: str = "ca", key: list[str] = CURVE) -> None:
        file = self.file
        openssl("req", *key, "-keyout", file(f"{name}.key"), "-out", file(f"{name}.csr"), "-subj", f"/CN={name}")
        Path(file(f"{name}.ext")).write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        signed = ["-CA", file(f"{by}.pem"), "-CAkey", file(f"{by}.key"), "-CAcreateserial", "-days", "30"]
        openssl("x509", "-req", "-in", file(f"{name}.csr"), *signed, "-extfile", file(f"{name}.ext"), "-out", file(f"{name}.pem"))

    def listen(self, more: str = "") -> str:
        return f'[listen.tls]\ncertificate = "{self.file("server.pem")}"\nkey = "{self.file("server.key")}"\n{more}\n'


@pytest.fixture(scope="module")
def certificates(module_programs: Programs) -> Certificates:
    made = Certificates(module_programs.folder / "tls")
    made.authority("strangers")
    made.issue("server", "DNS:localhost")
    made.issue("rsa", "DNS:rsa.example", key=["-newkey", "rsa:2048", "-nodes"])
    made.issue("watchdog", "URI:spiffe://example.org/watchdog")
    made.issue("forged", "URI:spiffe://example.org/watchdog", by="strangers")
    return made


@pytest.fixture(scope="module")
def guard(module_programs: Programs, certificates: Certificates) -> Guard:
    tokens = module_programs.folder / "tokens.toml"
    tokens.write_text('[clients.watchdog]\ncertificates = ["spiffe://example.org/watchdog"]\n')
    more = f'client_ca = "{certificates.file("ca.pem")}"\nmore = [{{ certificate = "{certificates.file("rsa.pem")}", key = "{certificates.file("rsa.key")}" }}]'
    more = certificates.listen(more) + f'[auth]\ntokens_file = "{tokens}"\n[timeouts]\nheader = "2s"\n'
    _, started = guarded_tools(module_programs, more=more)
    return started


def s_client(guard: Guard, *options: str, sent: str = "Q\n") -> subprocess.CompletedProcess:
    argv = ["openssl", "s_client", "-connect", guard.address, *options]
    return subprocess.run(argv, input=sent, capture_output=True, text=True, timeout=30)


def curl(guard: Guard, *options: str, host: str = "localhost", token: str | None = TOKEN) -> subprocess.CompletedProcess:
    port = guard.address.rpartition(":")[2]
    argv = ["curl", "-s", "--max-time", "20", "--resolve", f"{host}:{port}:127.0.0.1", "-w", "\n%{http_code}", "-d", CALL]
    argv += ["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"]
    argv += ["-H", f"Authorization: Bearer {token}"] if token else []
    return subprocess.run([*argv, *options, f"https://{host}:{port}/mcp"], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("version, offered", [("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-tls1", False)])
def test_only_current_versions_are_offered(guard, version, offered):
    # Level 0, or openssl itself would refuse the old ones.
    done = s_client(guard, version, "-cipher", "ALL:@SECLEVEL=0")
    assert ("Cipher is (NONE)" not in done.stdout) == offered, done.stdout + done.stderr


@pytest.mark.parametrize(
    "cipher, offered",
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("AES128-GCM-SHA256", False),
        ("DHE-RSA-AES128-GCM-SHA256", False),
        ("AECDH-AES128-SHA", False),
        ("ECDHE-ECDSA-NULL-SHA", False),
    ],
)
def test_only_ciphers_with_forward_secrecy_and_authentication_are_offered(guard, cipher, offered):
    done = s_client(guard, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert (f"Cipher is {cipher}" in done.stdout) == offered, done.stdout + done.stderr


def test_alpn_names_http_1_1_and_nothing_else(guard):
    assert "ALPN protocol: http/1.1" in s_client(guard, "-alpn", "h2,http/1.1").stdout
    only_h2 = s_client(guard, "-alpn", "h2")
    assert "no application protocol" in only_h2.stderr, only_h2.stderr
    assert "No ALPN negotiated" in s_client(guard).stdout


def test_renegotiation_and_compression_do_not_exist(guard):
    shown = s_client(guard, "-tls1_2").stdout
    assert "Secure Renegotiation IS supported" in shown and "Compression: NONE" in shown, shown
    done = s_client(guard, "-tls1_2", sent="R\n")
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "read R BLOCK" not in done.stdout, "a client's renegotiation is not taken up"


def test_the_certificate_follows_the_name(guard, certificates):
    for name, subject in [("localhost", "CN = server"), ("rsa.example", "CN = rsa"), ("other.example", "CN = server")]:
        assert f"subject={subject}" in s_client(guard, "-servername", name).stdout, name
    verified = s_client(guard, "-servername", "rsa.example", "-CAfile", certificates.file("ca.pem"), "-verify_hostname", "rsa.example")
    assert "Verify return code: 0 (ok)" in verified.stdout


def test_curl_calls_with_a_token_with_a_certificate_and_with_neither(guard, certificates):
    trust = ["--cacert", certificates.file("ca.pem")]

    def shows(name):
        return [*trust, "--cert", certificates.file(f"{name}.pem"), "--key", certificates.file(f"{name}.key")]

    for version in ["--tls-max 1.2", "--tlsv1.3"]:
        done = curl(guard, *trust, *version.split())
        assert done.stdout.endswith("200") and "swf_list" in done.stdout, done
    done = curl(guard, *shows("watchdog"), token=None)
    assert done.stdout.endswith("200"), done
    wait_until("the call in the log", lambda: '"client":"watchdog"' in guard.program.log())
    assert curl(guard, *trust, token=None).stdout.endswith("401")
    assert curl(guard, *shows("forged"), token=None).returncode in (35, 55, 56), "the handshake fails"
    assert curl(guard, token=None).returncode == 60, "curl does not know the authority"


def test_what_is_no_handshake_ends_with_an_alert_or_a_close(guard):
    host, _, port = guard.address.rpartition(":")
    for sent in [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\x01" * 100]:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(sent)
            answer = connection.recv(1000)
            assert answer == b"" or answer[:2] == b"\x15\x03", answer
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert connection.recv(1000) == b"", "a handshake that dribbles is closed"
        assert 1.5 < time.monotonic() - began < 10


def test_an_sdk_client_calls_over_tls(guard, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.file("ca.pem"))
    port = guard.address.rpartition(":")[2]
    reported = Client("sdk1", "legacy").converse(f"https://localhost:{port}/mcp", TOKEN)
    assert reported.get("text") == [INSTRUCTIONS], reported


def test_the_programs_own_commands_reach_a_guard_with_tls(guard):
    checked = guard.command("check")
    assert checked.returncode == 0 and " with TLS; " in checked.stdout, checked
    env = {**os.environ, "MCP_BEARER_TOKEN": TOKEN}
    argv = [str(GUARD_BINARY), "load", "--requests", "40", "--config", str(guard.config)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done


class Handshakes:
    """Connections that are opened, used for one request and closed, as fast as they go. Every failure is kept."""

    def __init__(self, guard: Guard, authority: str, clients: int = 3):
        self._address, self._stop = guard.address, threading.Event()
        self._context = ssl.create_default_context(cafile=authority)
        self.done, self.failures = 0, []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        host, _, port = self._address.rpartition(":")
        head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        request = f"{head}Accept: application/json, text/event-stream\r\nConnection: close\r\nContent-Length: {len(CALL)}\r\n\r\n{CALL}".encode()
        while not self._stop.is_set():
            try:
                with socket.create_connection((host, int(port)), timeout=20) as plain, self._context.wrap_socket(plain, server_hostname="localhost") as stream:
                    stream.sendall(request)
                    answer = b""
                    # Without close_notify, the end is an error.
                    stream.suppress_ragged_eofs = False
                    while data := stream.recv(65536):
                        answer += data
                    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
                self.done += 1
            except Exception as error:  # noqa: BLE001
                self.failures.append(repr(error))


def test_reloads_of_certificates_and_upgrades_under_load_fail_no_handshake(programs):
    certificates = Certificates(programs.folder / "tls")
    pairs = []
    for number in range(2):
        certificates.issue(f"pair{number}", "DNS:localhost")
        pairs.append([Path(certificates.file(f"pair{number}.{kind}")).read_text() for kind in ("pem", "key")])
    certificates.issue("server", "DNS:localhost")
    _, guard = guarded_tools(programs, more=certificates.listen())
    with Handshakes(guard, certificates.file("ca.pem")) as load:
        for number in range(12):
            seen = load.done
            for kind, text in zip(("pem", "key"), pairs[number % 2], strict=True):
                Path(certificates.file(f"server.{kind}")).write_text(text)
            if number % 6 == 5:
                guard.upgrade()
            else:
                done = guard.command("reload")
                assert done.returncode == 0, done
            # A file that is replaced half-way is refused, and changes nothing.
            Path(certificates.file("server.key")).write_text(pairs[(number + 1) % 2][1])
            assert guard.command("reload").returncode == 1
            wait_until("handshakes go on", lambda: load.done > seen + 10)  # noqa: B023
    print(f"{load.done} handshakes")
    assert not load.failures, load.failures[:5]
    assert load.done > 100


def test_a_backend_over_tls_by_a_name_that_moves(programs, tmp_path):
    """The name is in a hosts file of the guard's own; its address changes while calls go on."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a process its own /etc/hosts")
    certificates = Certificates(programs.folder / "tls")
    certificates.issue("server", "DNS:backend.example")
    backend = mcp_tools(programs)
    terminators = {address: Terminator(programs, certificates, address, backend.address) for address in ("127.0.0.1", "127.0.0.2")}
    port = terminators["127.0.0.1"].port
    hosts = programs.folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.1 backend.example\n")
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    argv = ("unshare", "--mount", "sh", "-c", script, str(hosts), str(GUARD_BINARY))
    slot = f'[slots.blue.tls]\nca = "{certificates.file("ca.pem")}"'
    guard = Guard(programs, f"https://backend.example:{port}", backend.path, slot=slot, argv=argv, config=CONFIG)
    assert plain_call(guard)[0] == 200
    terminators["127.0.0.1"].stop()
    hosts.write_text("127.0.0.1 localhost\n127.0.0.2 backend.example\n")
    began = time.monotonic()
    assert plain_call(guard)[0] == 200, "the call is held until the name leads to the new address"
    assert time.monotonic() - began < 10
    assert terminators["127.0.0.2"].connections() > 0


def plain_call(guard: Guard) -> tuple[int, str]:
    argv = ["curl", "-s", "--max-time", "20", "-w", "\n%{http_code}", "-d", CALL, "-H", "Content-Type: application/json"]
    argv += ["-H", "Accept: application/json, text/event-stream", "-H", f"Authorization: Bearer {TOKEN}", f"{guard.url}/mcp"]
    body, _, status = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.rpartition("\n")
    return int(status), body


class Terminator:
    """Ends TLS on an address, in front of a backend on a Unix socket."""

    _port = 0

    def __init__(self, programs: Programs, certificates: Certificates, address: str, backend: str):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.file("server.pem"), certificates.file("server.key"))
        self._listener = socket.create_server((address, Terminator._port))
        self.port = Terminator._port = self._listener.getsockname()[1]
        self._backend, self._open, self._count = backend.removeprefix("unix:"), [], 0
        threading.Thread(target=self._accept, daemon=True).start()

    def connections(self) -> int:
        return self._count

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for stream in self._open:
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            stream = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return
        self._count += 1
        behind = socket.socket(socket.AF_UNIX)
        behind.connect(self._backend)
        self._open += [stream, behind]
        threading.Thread(target=pump, args=(behind, stream), daemon=True).start()
        pump(stream, behind)


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

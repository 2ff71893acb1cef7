"""TLS in front of a server: an authority made for the test, a certificate for localhost, and a process that ends TLS."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mcp_testkit.programs import Programs, free_port

TERMINATOR = """
import asyncio, ssl, sys

port, upstream, certificate, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", upstream)
    await asyncio.gather(pump(reader, back), pump(there, writer))

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(serve, "127.0.0.1", port, ssl=context) as server:
        await server.serve_forever()

asyncio.run(main())
"""


@dataclass
class Certificate:
    """For `localhost` only: any other name must be refused."""

    authority: Path  # What SSL_CERT_FILE and NODE_EXTRA_CA_CERTS name.
    chain: Path
    key: Path


@dataclass
class Tls:
    port: int
    authority: Path  # What SSL_CERT_FILE names.

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def certificate(folder: Path) -> Certificate:
    """An authority of its own in `folder`, and a certificate by it."""
    folder.mkdir()
    file = lambda name: str(folder / name)  # noqa: E731
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", file("ca.key"), "-out", file("ca.pem"), "-days", "2", "-subj", "/CN=test authority")
    openssl("req", *curve, "-keyout", file("key.pem"), "-out", file("request.pem"), "-subj", "/CN=localhost")
    Path(file("extensions")).write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", file("request.pem"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial",
            "-days", "2", "-extfile", file("extensions"), "-out", file("certificate.pem"))
    return Certificate(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")


def in_front_of(programs: Programs, upstream_port: int) -> Tls:
    """A process of its own that ends TLS and passes the bytes on."""
    made = certificate(programs.folder / f"tls-{upstream_port}")
    port = free_port()
    argv = [sys.executable, "-c", TERMINATOR, str(port), str(upstream_port), str(made.chain), str(made.key)]
    programs.start(f"tls-{port}", argv).wait_for(f"127.0.0.1:{port}")
    return Tls(port, made.authority)

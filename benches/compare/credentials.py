"""A certificate for the TLS rows, and a token of an issuer with its keys in a file. Made with openssl, for one run."""

import base64
import json
import subprocess
import time
from pathlib import Path


def openssl(*argv: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *argv], input=data, check=True, capture_output=True, timeout=60).stdout


def certificate(folder: Path) -> None:
    """chain.pem, key.pem, and both in both.pem: P-256, for localhost and 127.0.0.1."""
    key, chain = folder / "key.pem", folder / "chain.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    argv = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    openssl(*argv, "-addext", names, "-keyout", str(key), "-out", str(chain))
    (folder / "both.pem").write_text(chain.read_text() + key.read_text())


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def issued_token(folder: Path) -> str:
    """A token that is valid for an hour; jwks.json has the key."""
    key = folder / "issuer.pem"
    openssl("genrsa", "-out", str(key), "2048")
    modulus = bytes.fromhex(openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip().removeprefix("Modulus="))
    public = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench", "n": text(modulus), "e": text(b"\x01\x00\x01")}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    now = int(time.time())
    claims = {"iss": "https://issuer.bench.test", "aud": "https://mcp.bench.test/mcp", "sub": "bench", "client_id": "bench", "scope": "mcp"}
    claims |= {"iat": now - 60, "exp": now + 3600, "jti": "bench"}
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "bench"}
    signed = ".".join(text(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{text(openssl('dgst', '-sha256', '-sign', str(key), data=signed.encode()))}"

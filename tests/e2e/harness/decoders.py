"""JSON decoders of backends, each a program of its own, and what each reads in a body."""

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcp_testkit.paths import E2E, ENVS, ROOT, node, system

SOURCES = E2E / "backends" / "decoders"
JARS = [f"/usr/share/java/jackson-{part}.jar" for part in ("annotations", "core", "databind")]
#: Every reading that the programs report.
READINGS = ["node", "python", "python, first", "jackson", "jackson, Turkish", "go", "go, decoder", "cJSON", "serde", "serde, structs", "careless"]


@dataclass(frozen=True)
class Reading:
    """What a backend with this decoder would run."""

    method: str | None
    tool: str | None  # Of a `tools/call`.
    version: str | None
    error: str | None = None

    @property
    def runs(self) -> tuple[str | None, str | None]:
        return self.method, self.tool


def reading(said: list | dict) -> Reading:
    if isinstance(said, dict):
        return Reading(None, None, None, said["error"])
    # Go has no null: a text that is missing is empty.
    method, name, version = (text or None for text in said)
    return Reading(method, name if method == "tools/call" else None, version)


def serde_decoder() -> Path:
    """An example of Cargo's, which scripts/e2e builds: no program that is shipped needs it."""
    program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples" / "serde_decoder"
    assert program.exists(), f"{program} is not built: run scripts/e2e, or cargo build --example serde_decoder first"
    return program


def argv_of(language: str, folder: Path) -> list[str]:
    """Compiles what must be compiled; how the decoder is started."""
    program = str(folder / f"decoder-{language}")
    if language == "c":
        subprocess.run([system("cc"), "-O1", "-o", program, str(SOURCES / "cjson.c"), "-lcjson"], check=True, timeout=60)
    elif language == "go":
        env = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(ENVS / "go")}
        subprocess.run([system("go"), "build", "-o", program, str(SOURCES / "golang.go")], check=True, timeout=120, env=env)
    return {
        "node": [node(), str(SOURCES / "node.mjs")],
        "python": [system("python3"), str(SOURCES / "python.py")],
        "java": [system("java"), "-cp", ":".join(JARS), str(SOURCES / "Jackson.java")],
        "go": [program],
        "c": [program],
        "rust": [str(serde_decoder())] if language == "rust" else [],
    }[language]


class Decoder:
    """One program: a line of hexadecimal in, a line of readings out."""

    def __init__(self, language: str, folder: Path):
        self._lock = threading.Lock()
        self.process = subprocess.Popen(argv_of(language, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace")

    def read(self, body: bytes) -> dict[str, Reading]:
        with self._lock:
            self.process.stdin.write(body.hex() + "\n")
            self.process.stdin.flush()
            response = self.process.stdout.readline()
        assert response, f"{self.process.args} ended over {body!r}"
        return {name: reading(said) for name, said in json.loads(response).items()}

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)


class Decoders:
    """All of them."""

    def __init__(self, folder: Path):
        with ThreadPoolExecutor() as pool:
            self._decoders = list(pool.map(lambda language: Decoder(language, folder), ["node", "python", "java", "go", "c", "rust"]))

    def read(self, body: bytes) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
        for decoder in self._decoders:
            readings |= decoder.read(body)
        return readings

    def stop(self) -> None:
        for decoder in self._decoders:
            decoder.stop()

"""curl, as an operator uses it; a response carries the command that requested it."""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass

from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import system


@dataclass
class Response:
    command: str
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    def __str__(self) -> str:
        lines = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"\n$ {self.command}\n{self.status}\n{lines}\n\n{self.body.decode(errors='replace')}\n"


def curl(url: str, *options: str, data: str | None = None, token: str | None = None, seconds: int = 15) -> Response:
    """One request. `data` makes it a JSON POST, `token` adds the bearer header."""
    argv = [system("curl"), "-sS", "-i", "--path-as-is", "-m", str(seconds)]
    if token is not None:
        argv += ["-H", f"Authorization: Bearer {token}"]
    if data is not None:
        argv += ["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream", "--data-binary", data]
    argv += [*options, url]
    command = shlex.join(argv)
    done = subprocess.run(argv, capture_output=True, timeout=seconds + 5)
    assert done.returncode == 0, f"curl failed with {done.returncode}: {done.stderr.decode()}\n$ {command}"
    return parse(command, done.stdout)


def call(url: str, method: str, params: dict | None = None, *options: str, id: object = 1) -> Response:
    """One JSON-RPC request with the right token."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
    return curl(url, *options, data=json.dumps(message), token=TOKEN)


def metric(address: str, series: str) -> float:
    """The value of a series of the metrics page there."""
    page = curl(f"http://{address}/metrics").body.decode()
    return float(re.search(rf"(?m)^{re.escape(series)} (\S+)$", page)[1])


def parse(command: str, raw: bytes) -> Response:
    """The final response in `raw`, after informational ones (100 Continue)."""
    while True:
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status >= 200:
            break
        raw = body
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Response(command, status, headers, body)

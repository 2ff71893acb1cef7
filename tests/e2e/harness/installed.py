"""The package on a booted machine: installed as an operator does it, called as a client on that machine."""

import json
from pathlib import Path

from harness.container import Machine
from harness.curl import Answer, parse
from harness.programs import wait_until

URL = "http://127.0.0.1:8001/swf-monitor/mcp/"
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})


class Installed:
    """A machine on which mcp-guard serves in front of mcp-tools@blue, as the package has them."""

    def __init__(self, machine: Machine, package: Path):
        self.machine = machine
        self.install(package)

    def install(self, package: Path) -> str:
        inside = self.machine.push(package, f"/root/{package.name}")
        return self.machine.do("dpkg", "--install", inside, seconds=120)

    def start(self, *units: str) -> None:
        """The units, until a call is answered in one way or another."""
        for unit in units or ("mcp-tools@blue", "mcp-guard"):
            self.machine.do("systemctl", "start", unit)

    def token(self, name: str) -> tuple[str, str]:
        """A new token, and the lines of tokens.toml that let it in."""
        printed = self.machine.do("mcp-guard", "token", "new", name)
        token = next(word for word in printed.split() if word.startswith("swf_"))
        digest = next(line.split('"')[1] for line in printed.splitlines() if "sha256 =" in line)
        return token, f'[clients.{name}]\nsha256 = "{digest}"\n'

    def post(self, token: str | None, body: str = LIST, *options: str, url: str = URL) -> Answer:
        argv = ["curl", "-sS", "-i", "-m", "15", "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"]
        argv += ["-H", f"Authorization: Bearer {token}"] if token else []
        argv += ["--data-binary", body, *options, url]
        done = self.machine.run(*argv)
        assert done.returncode == 0, f"curl failed with {done.returncode}: {done.stderr}\n{self.machine.journal(lines=30)}"
        return parse(" ".join(argv), done.stdout.replace("\n", "\r\n").replace("\r\r\n", "\r\n").encode())

    def status(self, token: str | None) -> int:
        """What a list of tools is answered with."""
        return self.post(token).status

    def serves(self, token: str) -> None:
        wait_until(f"a call to be answered\n{self.machine.journal()}", lambda: self.status(token) == 200)

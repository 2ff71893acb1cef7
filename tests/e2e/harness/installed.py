"""The installed package on a booted machine, and requests of clients on that machine."""

import json
import time
from pathlib import Path
from typing import Callable

from harness.container import Machine
from harness.curl import Response, parse
from mcp_testkit.programs import wait_until

URL = "http://127.0.0.1:8001/swf-monitor/mcp/"
CALLS_MIN = 12
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})


class Installed:
    """A machine on which mcp-guard serves in front of mcp-tools@blue, as the package has them."""

    def __init__(self, machine: Machine, package: Path):
        self.machine = machine
        self.install(package)

    def install(self, package: Path) -> str:
        # Not below /var: what a purge leaves there is looked for by this name.
        inside = self.machine.push(package, f"/srv/{package.name}")
        return self.machine.do("dpkg", "--install", inside, seconds=120)

    def start(self, *units: str) -> None:
        """Starts the units."""
        for unit in units or ("mcp-tools@blue", "mcp-guard"):
            self.machine.do("systemctl", "start", unit)

    def token(self, name: str) -> tuple[str, str]:
        """A new token, and the lines of tokens.toml that let it in."""
        printed = self.machine.do("mcp-guard", "token", "new", name)
        token = next(word for word in printed.split() if word.startswith("swf_"))
        digest = next(line.split('"')[1] for line in printed.splitlines() if "sha256 =" in line)
        return token, f'[clients.{name}]\nsha256 = "{digest}"\n'

    def post(self, token: str | None, body: str = LIST, *options: str, url: str = URL) -> Response:
        argv = ["curl", "-sS", "-i", "-m", "15", "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"]
        argv += ["-H", f"Authorization: Bearer {token}"] if token else []
        argv += ["--data-binary", body, *options, url]
        done = self.machine.run(*argv)
        assert done.returncode == 0, f"curl failed with {done.returncode}: {done.stderr}\n{self.machine.journal(lines=30)}"
        return parse(" ".join(argv), done.stdout.replace("\n", "\r\n").replace("\r\r\n", "\r\n").encode())

    def status(self, token: str | None) -> int:
        """The status of the response to tools/list."""
        return self.post(token).status

    def under_load(self, token: str, busy: Callable[[], object], seconds: float = 1) -> tuple[int, list[str]]:
        """Calls, each on a new connection, while `busy` runs, then for so long and until there are enough; their number and the failed ones."""
        program = (
            "n=0; while [ ! -e /run/load.stop ]; do n=$((n + 1)); "
            f"code=$(curl -sS -m 15 -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' "
            "-H 'Accept: application/json, text/event-stream' --data-binary @/var/tmp/list.json http://127.0.0.1:8001/mcp 2>&1); "
            '[ "$code" = 200 ] || echo "call $n: $code"; echo $n >/run/load.calls; done; echo "calls $n"'
        )
        self.machine.write("/var/tmp/list.json", LIST)
        self.machine.do("rm", "-f", "/run/load.stop", "/run/load.calls")
        load = self.machine.start("sh", "-c", program)
        begun = time.monotonic()
        try:
            busy()
            time.sleep(max(0.0, begun + seconds - time.monotonic()))
            # A busy machine makes few calls in a second.
            made = lambda: int(self.machine.run("cat", "/run/load.calls").stdout or 0)  # noqa: E731
            wait_until(f"{CALLS_MIN} calls", lambda: made() >= CALLS_MIN)
        finally:
            self.machine.do("touch", "/run/load.stop")
            out, _ = load.communicate(timeout=60)
        lines = out.decode().splitlines()
        return int(lines[-1].split()[1]), lines[:-1]

    def serves(self, token: str) -> None:
        """Returns when a call succeeds. Until then, the port may be closed."""
        request = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json"]
        request += ["-H", "Accept: application/json, text/event-stream", "-H", f"Authorization: Bearer {token}", "--data-binary", LIST, URL]
        wait_until("a call to succeed", lambda: self.machine.run(*request).stdout == "200")

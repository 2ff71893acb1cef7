#!/usr/bin/env python3
"""mcp-tools and FastMCP 1.30 with the same 54 declarations, in turn, in one run, each on a Unix socket.

    make bench          or: python3 benches/compare/tools.py [--rounds 5] [--calls 2000] [--resident 100000] [--tools PATH]

Method: the FastMCP server is made from what `mcp-tools list --json` says, so both carry the same names, descriptions and
schemas. One client, kept-alive connections (--connections), the same bytes to both; servers are warmed up, rounds are
interleaved. CPU per call is the scheduler's run time of all threads of the server's process (/proc/PID/task/*/schedstat)
divided by the calls; the table shows medians with the least and the most. The log of mcp-tools goes to a file, as under a
service manager; FastMCP logs warnings only. Then the resident memory of mcp-tools after many calls of all kinds. Standard
library only, but for the FastMCP server, which runs in the environment of `scripts/setup test`.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import ROOT, cpu_ns, end, resident_kib

PYTHON = ROOT / "target" / "e2e" / "sdk1" / "bin" / "python"
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict", "array": "list"}
# name: (method, params, whether FastMCP is asked as well)
SCENARIOS = {
    "tools/list": ("tools/list", {}, True),
    "text tool": ("tools/call", {"name": "get_server_instructions", "arguments": {}}, True),
    "indexed SQLite read": ("tools/call", {"name": "swf_get_workflow_execution", "arguments": {"execution_id": "stf_datataking-torre-0042"}}, False),
    "four SQLite reads": ("tools/call", {"name": "swf_get_run", "arguments": {"run_number": 100042}}, False),
    "page of a table": ("tools/call", {"name": "swf_list_runs", "arguments": {}}, False),
}


def serve_fastmcp(path: str, listed: str, instructions: str) -> None:
    """The other server; runs under the interpreter that has FastMCP."""
    import uvicorn
    from mcp.server.fastmcp import FastMCP
    from mcp.server.transport_security import TransportSecuritySettings

    # On a Unix socket there is no port for its check of Host to compare.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    options = {"instructions": instructions, "stateless_http": True, "json_response": True, "transport_security": security}
    server = FastMCP("swf-testbed", log_level="WARNING", **options)
    for tool in json.loads(Path(listed).read_text()):
        required = tool["inputSchema"].get("required", [])
        signature = []
        for name, property in tool["inputSchema"]["properties"].items():
            kind = TYPES.get(property.get("type"), "str | None")
            signature.append(f"{name}: {kind}" + ("" if name in required else f" = {property.get('default')!r}"))
        made: dict = {"text": instructions}
        exec(f"def {tool['name']}({', '.join(signature)}) -> str:\n    return text\n", made)
        server.tool(description=tool["description"])(made[tool["name"]])
    uvicorn.run(server.streamable_http_app(), uds=path, log_level="warning")


class Client:
    """Kept-alive connections that are used in turn: a call on each, then an answer from each."""

    def __init__(self, path: Path, target: str, connections: int):
        self.target, self.sockets = target, []
        for _ in range(connections):
            self.sockets.append(socket.socket(socket.AF_UNIX))
            self.sockets[-1].settimeout(30)
            self.sockets[-1].connect(str(path))

    def request(self, method: str, params: dict) -> bytes:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return (
            f"POST {self.target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def read(self, connection: socket.socket) -> bytes:
        got = connection.recv(262144)
        while b"\r\n\r\n" not in got:
            got += connection.recv(262144)
        head, _, body = got.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"refused: {got[:500]!r}")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += connection.recv(262144)
        return body

    def calls(self, request: bytes, count: int) -> bytes:
        last = b""
        for _ in range(count // len(self.sockets)):
            for connection in self.sockets:
                connection.sendall(request)
            for connection in self.sockets:
                last = self.read(connection)
        return last


def start(argv: list[str], path: Path, log: Path, cores: set[int]) -> subprocess.Popen:
    keep = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": log.open("ab"), "start_new_session": True}
    started = subprocess.Popen(argv, cwd=Path(__file__).parent, preexec_fn=lambda: os.sched_setaffinity(0, cores), **keep)
    deadline = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if path.exists() and probe.connect_ex(str(path)) == 0:
                return started
        if started.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{argv[0]} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def measure(server: subprocess.Popen, client: Client, scenario: str, calls: int) -> float:
    method, params, _ = SCENARIOS[scenario]
    request = client.request(method, params)
    answer = json.loads(client.calls(request, len(client.sockets)))
    if "result" not in answer or answer["result"].get("isError"):
        sys.exit(f"{scenario}: {answer}: this run measures the wrong thing")
    before = cpu_ns(server.pid)
    client.calls(request, calls)
    return (cpu_ns(server.pid) - before) / (calls // len(client.sockets) * len(client.sockets)) / 1000


def compare(servers: dict, options: argparse.Namespace) -> None:
    print(f"{'CPU us per call':22} {'mcp-tools':>26} {'FastMCP':>28} {'ratio':>7}")
    for scenario, (_, _, both) in SCENARIOS.items():
        runs: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, (server, client) in servers.items():
                if both or name == "mcp-tools":
                    # FastMCP needs a hundred times longer: a tenth of the calls tell as much.
                    calls = options.calls if name == "mcp-tools" else max(options.calls // 10, options.connections)
                    runs.setdefault(name, []).append(measure(server, client, scenario, calls))
        told = {name: f"{statistics.median(run):.1f} ({min(run):.1f} to {max(run):.1f})" for name, run in runs.items()}
        ratio = f"{statistics.median(runs['FastMCP']) / statistics.median(runs['mcp-tools']):.0f}x" if "FastMCP" in runs else ""
        print(f"{scenario:22} {told['mcp-tools']:>26} {told.get('FastMCP', '-'):>28} {ratio:>7}")


def resident(server: subprocess.Popen, client: Client, count: int) -> None:
    """Calls of every kind, also refused and large ones, until `count` have been answered."""
    kinds = [client.request(method, params) for method, params, _ in SCENARIOS.values()]
    kinds.append(client.request("tools/call", {"name": "swf_get_run", "arguments": {"run_number": "none"}}))
    kinds.append(client.request("tools/call", {"name": "swf_list_logs", "arguments": {"search": "x" * 100_000}}))
    done, began = 0, resident_kib(server.pid)
    while done < count:
        for request in kinds:
            client.calls(request, 10 * len(client.sockets))
            done += 10 * len(client.sockets)
    print(f"resident memory of mcp-tools: {began / 1024:.1f} MiB, and after {done} calls more {resident_kib(server.pid) / 1024:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--resident", type=int, default=100_000)
    parser.add_argument("--tools", type=Path, help="a built mcp-tools instead of a fresh release build")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("FastMCP is not set up: run scripts/setup test")
    if not options.tools:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "mcp-tools"], cwd=ROOT, check=True)
    tools = str((options.tools or ROOT / "target" / "release" / "mcp-tools").resolve())
    cores = sorted(os.sched_getaffinity(0))
    served = {cores[0]}
    os.sched_setaffinity(0, {cores[-1]})
    folder = Path(tempfile.mkdtemp(prefix="mcp-bench-"))
    started = []
    try:
        listed, instructions = folder / "listed.json", ROOT / "conf" / "tools" / "instructions.txt"
        listed.write_bytes(subprocess.run([tools, "list", "--json"], check=True, capture_output=True).stdout)
        ours, theirs = folder / "ours.sock", folder / "theirs.sock"
        started.append(start([tools, "serve", "--socket", str(ours)], ours, folder / "ours.log", served))
        argv = [str(PYTHON), __file__, "--serve-fastmcp", str(theirs), str(listed), str(instructions)]
        started.append(start(argv, theirs, folder / "theirs.log", served))
        servers = {
            "mcp-tools": (started[0], Client(ours, "/", options.connections)),
            "FastMCP": (started[1], Client(theirs, "/mcp", options.connections)),
        }
        for server, client in servers.values():
            for scenario, (_, _, both) in SCENARIOS.items():
                if both or server is started[0]:
                    measure(server, client, scenario, 200)
        print(f"{options.rounds} interleaved rounds, {options.connections} connections, servers pinned to one core, the client to another")
        compare(servers, options)
        resident(*servers["mcp-tools"], options.resident)
    finally:
        for server in started:
            end(server)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve-fastmcp"]:
        serve_fastmcp(sys.argv[2], sys.argv[3], Path(sys.argv[4]).read_text())
    else:
        main()

#!/usr/bin/env python3
"""mcp-tools beside FastMCP 1.30 with the same 54 declarations: alone on a Unix socket, then each behind its guard.

    make bench          or: python3 benches/compare/tools.py [--rounds 5] [--calls 2000] [--resident 100000] [--tools PATH --guard PATH]

Method: the FastMCP server is made from what `mcp-tools list --json` says (python_server.py), so both carry the same names,
descriptions and schemas. The same bytes to both over kept-alive connections; servers are warmed up and have one core
alone, rounds are interleaved. CPU per call is the scheduler's run time of all threads (/proc/PID/task/*/schedstat)
divided by the calls; the table shows medians with the least and the most. Alone, one client fills 8 connections in turn.
Behind the guards wrk does, on 32 connections over loopback: mcp-guard as shipped in front of mcp-tools, both processes
counted and both on that one core, and a guard in Python in FastMCP's own process. The log of mcp-tools goes to a file, as
under a service manager, and that of mcp-guard to a pipe; Python logs warnings only. Then the resident memory of mcp-tools
after many calls of all kinds. Standard library only, but for the Python server, which runs in the environment of
`scripts/setup test`.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Log, cpu_ns, wrk
from mcp_testkit.paths import python
from mcp_testkit.programs import Program, Programs, free_port
from scenarios import TOKEN, Scenario

HERE = Path(__file__).resolve().parent
PYTHON = Path(python("sdk1"))
PYTHON_SERVER = HERE / "python_server.py"
INSTRUCTIONS = ROOT / "conf" / "tools" / "instructions.txt"
BEHIND = Scenario("text", "a text tool, behind the guard")
# name: (method, params, whether FastMCP is measured as well)
SCENARIOS = {
    "tools/list": ("tools/list", {}, True),
    "text tool": ("tools/call", {"name": "get_server_instructions", "arguments": {}}, True),
    "indexed SQLite read": ("tools/call", {"name": "swf_get_workflow_execution", "arguments": {"execution_id": "stf_datataking-torre-0042"}}, False),
    "four SQLite reads": ("tools/call", {"name": "swf_get_run", "arguments": {"run_number": 100042}}, False),
    "page of a table": ("tools/call", {"name": "swf_list_runs", "arguments": {}}, False),
}


def body_of(scenario: str) -> bytes:
    method, params, _ = SCENARIOS[scenario]
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


class Client:
    """Kept-alive connections that are used in turn: a call on each, then a response from each."""

    def __init__(self, path: Path, target: str, connections: int):
        self.target, self.sockets = target, []
        for _ in range(connections):
            self.sockets.append(socket.socket(socket.AF_UNIX))
            self.sockets[-1].settimeout(30)
            self.sockets[-1].connect(str(path))

    def request(self, body: bytes) -> bytes:
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


def measure(server: Program, client: Client, scenario: str, calls: int) -> float:
    request = client.request(body_of(scenario))
    response = json.loads(client.calls(request, len(client.sockets)))
    if "result" not in response or response["result"].get("isError"):
        sys.exit(f"{scenario}: {response}: this run measures the wrong thing")
    before = cpu_ns(server.pid)
    client.calls(request, calls)
    return (cpu_ns(server.pid) - before) / (calls // len(client.sockets) * len(client.sockets)) / 1000


def row(title: str, ours: list[float], theirs: list[float]) -> None:
    reported = [f"{statistics.median(run):.1f} ({min(run):.1f} to {max(run):.1f})" if run else "-" for run in (ours, theirs)]
    ratio = f"{statistics.median(theirs) / statistics.median(ours):.0f}x" if theirs else ""
    print(f"{title:22} {reported[0]:>26} {reported[1]:>28} {ratio:>7}", flush=True)


def alone(servers: dict, options: argparse.Namespace) -> None:
    print(f"{'CPU us per call':22} {'mcp-tools':>26} {'FastMCP':>28} {'ratio':>7}")
    for scenario, (_, _, both) in SCENARIOS.items():
        runs: dict[str, list[float]] = {name: [] for name in servers}
        for name, (server, client) in servers.items():
            if both or name == "mcp-tools":
                measure(server, client, scenario, 200)
        for _ in range(options.rounds):
            for name, (server, client) in servers.items():
                if both or name == "mcp-tools":
                    # FastMCP needs a hundred times longer: a tenth of the calls is enough.
                    calls = options.calls if name == "mcp-tools" else max(options.calls // 10, options.connections)
                    runs[name].append(measure(server, client, scenario, calls))
        row(scenario, runs["mcp-tools"], runs["FastMCP"])


def guarded(programs: Programs, tools: Program, socket_path: Path, listed: Path, cores: list[set[int]], options: argparse.Namespace) -> None:
    """A text tool through everything a call passes, from a TCP connection to the tool and back."""
    served, loading = cores
    port, python_port = str(free_port()), str(free_port())
    values = {"PORT": port, "THREADS": "1", "TOKENS_FILE": "", "UPSTREAM_SOCKET": str(socket_path), "UPSTREAM_PATH": "/"}
    config = programs.folder / "guard.toml"
    config.write_text(re.sub(r"@([A-Z_]+)@", lambda name: values[name[1]], (HERE / "guard.toml").read_text()))
    log = Log(loading)
    started = []
    try:
        argv = [str(options.guard), "run", "--config", str(config)]
        guard = programs.start("guard", argv, {"MCP_BEARER_TOKEN": TOKEN}, cores=served, stderr=log.write)
        started.append(guard.wait_for(f"127.0.0.1:{port}"))
        argv = [str(PYTHON), str(PYTHON_SERVER), f"127.0.0.1:{python_port}", str(listed), str(INSTRUCTIONS), TOKEN]
        started.append(programs.start("python-guard", argv, cores=served).wait_for(f"127.0.0.1:{python_port}"))
        sides = [(port, [started[0].pid, tools.pid]), (python_port, [started[1].pid])]
        runs: list[list[float]] = [[], []]
        for turn in range(options.rounds + 1):
            for (port, pids), run in zip(sides, runs):
                before = sum(map(cpu_ns, pids))
                done = wrk(programs.folder, loading, port, BEHIND, TOKEN, body_of("text tool"), 1 if turn == 0 else 2, [])
                # The first turn warms up.
                if turn:
                    run.append((sum(map(cpu_ns, pids)) - before) / done["requests"] / 1000)
        row("text tool, guarded", *runs)
    finally:
        for server in started:
            server.stop()
        log.close()


def resident_mib(pid: int) -> float:
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) / 1024


def resident(server: Program, client: Client, count: int) -> None:
    """Calls of every kind, also refused and large ones, until `count` have succeeded or been refused."""
    kinds = [client.request(body_of(scenario)) for scenario in SCENARIOS]
    for name, arguments in (("swf_get_run", {"run_number": "none"}), ("swf_list_logs", {"search": "x" * 100_000})):
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        kinds.append(client.request(json.dumps(call).encode()))
    done, began = 0, resident_mib(server.pid)
    while done < count:
        for request in kinds:
            client.calls(request, 10 * len(client.sockets))
            done += 10 * len(client.sockets)
    print(f"resident memory of mcp-tools: {began:.1f} MiB, and after {done} calls more {resident_mib(server.pid):.1f} MiB")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--resident", type=int, default=100_000)
    parser.add_argument("--tools", type=Path, help="a built mcp-tools instead of a fresh release build")
    parser.add_argument("--guard", type=Path, help="a built mcp-guard instead of a fresh release build")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("FastMCP is not set up: run scripts/setup test")
    if not (options.tools and options.guard):
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bins"], cwd=ROOT, check=True)
    options.tools = (options.tools or ROOT / "target" / "release" / "mcp-tools").resolve()
    options.guard = (options.guard or ROOT / "target" / "release" / "mcp-guard").resolve()
    return options


def main() -> None:
    options = arguments()
    available = sorted(os.sched_getaffinity(0))
    cores = [{available[0]}, set(available[1:]) or {available[0]}]
    os.sched_setaffinity(0, cores[1])
    folder = Path(tempfile.mkdtemp(prefix="mcp-bench-"))
    programs = Programs(folder)
    try:
        listed = folder / "listed.json"
        listed.write_bytes(subprocess.run([options.tools, "list", "--json"], check=True, capture_output=True).stdout)
        ours, theirs = folder / "ours.sock", folder / "theirs.sock"
        argv = [str(options.tools), "serve", "--socket", str(ours)]
        tools = programs.start("mcp-tools", argv, cores=cores[0]).wait_for(f"unix:{ours}")
        argv = [str(PYTHON), str(PYTHON_SERVER), f"unix:{theirs}", str(listed), str(INSTRUCTIONS)]
        fastmcp = programs.start("fastmcp", argv, cores=cores[0]).wait_for(f"unix:{theirs}", 60)
        servers = {
            "mcp-tools": (tools, Client(ours, "/", options.connections)),
            "FastMCP": (fastmcp, Client(theirs, "/mcp", options.connections)),
        }
        print(f"{options.rounds} interleaved rounds, servers on one core, the client on another")
        alone(servers, options)
        guarded(programs, tools, ours, listed, cores, options)
        # A connection that was idle for long has been closed.
        resident(tools, Client(ours, "/", options.connections), options.resident)
    finally:
        programs.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

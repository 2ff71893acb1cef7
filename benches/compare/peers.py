#!/usr/bin/env python3
"""mcp-tools beside MCP Toolbox and dbhub: the same table, the same statements, SQLite and PostgreSQL, HTTP over TCP for all.

    python3 benches/compare/peers.py [--rounds 5] [--calls 1000] [--rate 200] [--many 5000] [--only sqlite] [--tools PATH]

Method: each server declares three tools over a table of 100,000 rows: one row by its key, 50 rows, and a write of one row.
The same calls over kept-alive connections, one at a time on each of 4; servers are warmed up and have one core alone, the client
and PostgreSQL the others; rounds are interleaved. Every response is compared with what the database says before anything is measured. CPU a call
is the scheduler's run time of the server's process tree; p99 comes from a paced load of --rate calls a second; memory is the
tree's proportional share after all calls. Then a catalogue of --many tools: time from start to the first response, and CPU
and bytes of tools/list. The peers come from npm (@toolbox-sdk/server-linux-x64 1.12, @bytebase/dbhub) into target/bench/peers.
PostgreSQL is a cluster of its own in a temporary folder. Standard library only; everything on 127.0.0.1; bounded in time.
Compare inside one run only, and on a machine that does nothing else.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, cpu_ns, memory_kib
from mcp_testkit.programs import Program, Programs, free_port, wait_until

PEERS = ROOT / "target" / "bench" / "peers"
PACKAGES = ["@toolbox-sdk/server-linux-x64@1.12", "@bytebase/dbhub@0.21"]
ROWS = 100_000
TOKEN = "bench-token-of-peers"
CONNECTIONS = 4
TABLE = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL, note TEXT NOT NULL)"
COLUMNS = "id, name, amount, note"
# name: (statement with one `:id`, whether it only reads, rows of the result)
STATEMENTS = {
    "row": (f"SELECT {COLUMNS} FROM items WHERE id = :id", True, 1),
    "rows": (f"SELECT {COLUMNS} FROM items WHERE id >= :id ORDER BY id LIMIT 50", True, 50),
    "write": (f"UPDATE items SET amount = amount + 1 WHERE id = :id RETURNING {COLUMNS}", False, 1),
}
TITLES = {"row": "one indexed row", "rows": "50 rows", "write": "a write of one row"}


class Postgres:
    """A cluster of this run alone."""

    def __init__(self, folder: Path, cores: set[int]):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found:
            sys.exit("PostgreSQL is not installed: run scripts/setup bench")
        self.bin, self.data, self.port = found[-1], folder / "pg", free_port()
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.data.mkdir()
        if self.as_user:
            folder.chmod(0o755)
            shutil.chown(self.data, "postgres", "postgres")
        run = lambda *argv: subprocess.run([*self.as_user, *argv], check=True, capture_output=True, cwd="/", timeout=120)
        run(self.bin / "initdb", "-D", self.data, "-U", "bench", "--auth=trust", "--no-sync")
        settings = [f"listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.data}", "fsync=off"]
        argv = [*self.as_user, str(self.bin / "postgres"), "-D", str(self.data)]
        argv += [part for setting in settings for part in ("-c", setting)]
        start = lambda: os.sched_setaffinity(0, cores)
        self.process = subprocess.Popen(argv, preexec_fn=start, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ready = [*self.as_user, self.bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until("PostgreSQL is ready", lambda: subprocess.run(ready, capture_output=True, cwd="/").returncode == 0, 60)
        fill = f"INSERT INTO items SELECT n, 'item ' || n, n % 1000, 'a note of some length about item ' || n FROM generate_series(1, {ROWS}) n"
        self.query(TABLE), self.query(fill), self.query("VACUUM ANALYZE items")

    @property
    def url(self) -> str:
        return f"postgresql://bench@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def query(self, statement: str) -> str:
        argv = [self.bin / "psql", "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", "postgres", "-c", statement]
        return subprocess.run([*map(str, argv)], check=True, capture_output=True, text=True, cwd="/", timeout=60).stdout

    def stop(self) -> None:
        subprocess.run([*self.as_user, self.bin / "pg_ctl", "-D", self.data, "stop", "-m", "immediate"], capture_output=True, cwd="/", timeout=60)
        self.process.wait(30)


def filled_sqlite(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(TABLE)
        rows = ((n, f"item {n}", n % 1000, f"a note of some length about item {n}") for n in range(1, ROWS + 1))
        database.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)
    return path


def toml(value: str) -> str:
    return json.dumps(value)


class Ours:
    """mcp-tools: `serve --listen` with a bearer token."""

    name, path, token = "mcp-tools", "/", TOKEN

    def __init__(self, program: Path):
        self.program = program

    def start(self, programs: Programs, name: str, engine: str, url: str, cores: set[int], many: int = 0) -> tuple[Program, int]:
        file, port = programs.folder / f"{name}.toml", free_port()
        tools = []
        for tool, (statement, reads, _) in STATEMENTS.items():
            cast = statement.replace(":id", ":id::integer") if engine == "postgres" else statement
            tools.append((tool, cast, reads))
        tools += [(f"tool_{number}", tools[0][1], True) for number in range(many)]
        text = "".join(
            f"[[tool]]\nname = {toml(tool)}\ndescription = \"Items of the bench.\"\nread_only = {str(reads).lower()}\n"
            f"params.id = {{ type = \"integer\", required = true, description = \"The key.\" }}\n[tool.sql]\nshape = \"rows\"\nquery = {toml(sql)}\n\n"
            for tool, sql, reads in tools
        )
        file.write_text(text)
        address = f"127.0.0.1:{port}"
        argv = [str(self.program), "serve", "--listen", address, "--token-env", "BENCH_TOKEN"]
        argv += ["--catalog", str(file), "--database", "env:BENCH_DATABASE"]
        env = {"BENCH_TOKEN": TOKEN, "BENCH_DATABASE": url}
        return programs.start(name, argv, env, cores=cores).wait_for(address, 60), port


class Toolbox:
    """MCP Toolbox: one binary, its tools in YAML (JSON is YAML)."""

    name, path, token = "Toolbox", "/mcp", ""

    def start(self, programs: Programs, name: str, engine: str, url: str, cores: set[int], many: int = 0) -> tuple[Program, int]:
        file, port = programs.folder / f"{name}.yaml", free_port()
        host = url.partition("@")[2].partition("/")[0].partition(":")
        source = (
            {"kind": "sqlite", "database": url.removeprefix("sqlite:")}
            if engine == "sqlite"
            else {"kind": "postgres", "host": host[0], "port": host[2], "database": "postgres", "user": "bench", "password": "bench"}
        )
        mark = "?" if engine == "sqlite" else "$1"
        parameters = [{"name": "id", "type": "integer", "description": "The key."}]
        tools = {
            tool: {
                "kind": f"{engine}-sql",
                "source": "main",
                "description": "Items of the bench.",
                "statement": statement.replace(":id", mark),
                "parameters": parameters,
            }
            for tool, (statement, _, _) in STATEMENTS.items()
        }
        tools |= {f"tool_{number}": tools["row"] for number in range(many)}
        file.write_text(json.dumps({"sources": {"main": source}, "tools": tools}))
        program = next(PEERS.glob("node_modules/@toolbox-sdk/server-linux-x64/**/toolbox"))
        argv = [str(program), "--config", str(file), "--port", str(port), "--disable-reload", "--disable-version-check", "--log-level", "ERROR"]
        return programs.start(name, argv, cores=cores).wait_for(f"127.0.0.1:{port}", 120), port


class Dbhub:
    """dbhub: Node, its custom tools in TOML."""

    name, path, token = "dbhub", "/mcp", ""

    def start(self, programs: Programs, name: str, engine: str, url: str, cores: set[int], many: int = 0) -> tuple[Program, int]:
        file, port = programs.folder / f"{name}.toml", free_port()
        dsn = url.replace("sqlite:", "sqlite://") if engine == "sqlite" else url
        mark = "?" if engine == "sqlite" else "$1"
        tools = [(tool, statement) for tool, (statement, _, _) in STATEMENTS.items()]
        tools += [(f"tool_{number}", STATEMENTS["row"][0]) for number in range(many)]
        text = f"[[sources]]\nid = \"main\"\ndsn = {toml(dsn)}\n\n" + "".join(
            f"[[tools]]\nname = {toml(tool)}\nsource = \"main\"\ndescription = \"Items of the bench.\"\nstatement = {toml(statement.replace(':id', mark))}\n"
            f"[[tools.parameters]]\nname = \"id\"\ntype = \"integer\"\ndescription = \"The key.\"\n\n"
            for tool, statement in tools
        )
        file.write_text(text)
        manifest = json.loads((PEERS / "node_modules/@bytebase/dbhub/package.json").read_text())
        entry = PEERS / "node_modules/@bytebase/dbhub" / next(iter(manifest["bin"].values()))
        argv = [shutil.which("node") or "node", str(entry), "--transport", "http", "--host", "127.0.0.1", "--port", str(port), "--config", str(file)]
        return programs.start(name, argv, cores=cores).wait_for(f"127.0.0.1:{port}", 120), port


class Client:
    """Kept-alive connections to one server. A response is one JSON body, or one event of a stream."""

    def __init__(self, port: int, path: str, token: str):
        self.path = path
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.connections = []
        for _ in range(CONNECTIONS):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.request("initialize", params)
        self.notify("notifications/initialized")

    def post(self, message: dict, turn: int = 0) -> bytes:
        connection = self.connections[turn % CONNECTIONS]
        connection.request("POST", self.path, json.dumps(message), self.headers)
        response = connection.getresponse()
        body = response.read()
        if response.status not in (200, 202):
            raise RuntimeError(f"{message['method']}: {response.status} {body[:300]!r}")
        if session := response.headers.get("Mcp-Session-Id"):
            self.headers["Mcp-Session-Id"] = session
        return body

    def notify(self, method: str) -> None:
        self.post({"jsonrpc": "2.0", "method": method})

    def request(self, method: str, params: dict, turn: int = 0) -> bytes:
        return self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, turn)

    def call(self, tool: str, key: int, turn: int = 0) -> bytes:
        return self.request("tools/call", {"name": tool, "arguments": {"id": key}}, turn)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def result_of(body: bytes) -> dict:
    text = body.decode()
    if not text.startswith("{"):
        text = next(line[5:] for line in text.splitlines() if line.startswith("data:"))
    message = json.loads(text)
    if "result" not in message or message["result"].get("isError"):
        raise RuntimeError(f"{text[:400]}: this run would measure the wrong thing")
    return message["result"]


def rows_of(result: dict) -> list[dict]:
    """The rows, in whatever blocks and wrapping a server puts them."""
    found: list[dict] = []

    def visit(value: object) -> None:
        if isinstance(value, dict) and {"id", "name", "amount", "note"} <= value.keys():
            found.append(value)
        elif isinstance(value, dict):
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                visit(inner)

    for block in result["content"]:
        visit(json.loads(block["text"]))
    return found


def check(client: Client, tool: str) -> None:
    """The rows are those of the table."""
    rows = rows_of(result_of(client.call(tool, 4242)))
    expected = [(key, f"item {key}", f"a note of some length about item {key}") for key in range(4242, 4242 + STATEMENTS[tool][2])]
    if [(int(row["id"]), row["name"], row["note"]) for row in rows] != expected:
        raise RuntimeError(f"{tool}: {rows[:2]} and {len(rows)} rows: this run would measure the wrong thing")


def cpu_of_calls(server: Program, client: Client, tool: str, calls: int) -> float:
    before = cpu_ns(server.pid)
    for turn in range(calls):
        client.call(tool, turn * 37 % (ROWS - 100) + 1, turn)
    return (cpu_ns(server.pid) - before) / calls / 1000


def p99_of_calls(client: Client, tool: str, rate: int, calls: int) -> float:
    """Milliseconds, from when a call was due: a server that falls behind cannot hide it."""
    latencies, begun = [], time.perf_counter()
    for turn in range(calls):
        due = begun + turn / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        client.call(tool, turn * 37 % (ROWS - 100) + 1, turn)
        latencies.append(time.perf_counter() - due)
    return statistics.quantiles(latencies, n=100)[98] * 1000


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else "-"


def table(title: str, servers: list[str], rows: dict[str, dict[str, list[float]]]) -> None:
    print(f"\n| {title} | " + " | ".join(servers) + " |\n|---" * 1 + "|---" * len(servers) + "|")
    for row, runs in rows.items():
        print(f"| {row} | " + " | ".join(shown(runs.get(server, [])) for server in servers) + " |", flush=True)


def measured(engine: str, url: str, sides: list, programs: Programs, cores: list[set[int]], options: argparse.Namespace) -> None:
    """The three calls on one database."""
    running = {}
    for side in sides:
        try:
            server, port = side.start(programs, f"{side.name}-{engine}", engine, url, cores[0])
            running[side.name] = (server, Client(port, side.path, side.token))
        except (AssertionError, RuntimeError, OSError) as error:
            print(f"{side.name} is left out on {engine}: {error}", file=sys.stderr)
    cpu: dict[str, dict[str, list[float]]] = {TITLES[tool]: {} for tool in STATEMENTS}
    late: dict[str, dict[str, list[float]]] = {TITLES[tool]: {} for tool in STATEMENTS}
    for tool in STATEMENTS:
        able = dict(running)
        for name, (server, client) in running.items():
            try:
                check(client, tool)
                cpu_of_calls(server, client, tool, options.calls // 5)
            except RuntimeError as error:
                print(f"{name} is left out of {tool} on {engine}: {error}", file=sys.stderr)
                del able[name]
        for _ in range(options.rounds):
            for name, (server, client) in able.items():
                cpu[TITLES[tool]].setdefault(name, []).append(cpu_of_calls(server, client, tool, options.calls))
                late[TITLES[tool]].setdefault(name, []).append(p99_of_calls(client, tool, options.rate, options.calls))
    names = [side.name for side in sides]
    table(f"{engine}: CPU us a call", names, cpu)
    table(f"{engine}: p99 ms at {options.rate} calls/s", names, late)
    table(f"{engine}: memory MiB", names, {"after these calls": {name: [memory_kib(server.pid) / 1024] for name, (server, _) in running.items()}})
    for server, client in running.values():
        client.close()
        server.stop()


def of_many(url: str, sides: list, programs: Programs, cores: list[set[int]], options: argparse.Namespace) -> None:
    """A catalogue of many tools: until the first response, and tools/list."""
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in ("start, ms", "tools/list, CPU us", "tools/list, KiB", "memory, MiB")}
    for side in sides:
        try:
            begun = time.perf_counter()
            server, port = side.start(programs, f"{side.name}-many", "sqlite", url, cores[0], options.many)
            client = Client(port, side.path, side.token)
            body = client.request("tools/list", {})
            rows["start, ms"][side.name] = [(time.perf_counter() - begun) * 1000]
            listed = len(result_of(body)["tools"])
            if listed < options.many:
                print(f"{side.name} lists {listed} of {options.many} tools", file=sys.stderr)
            before, count = cpu_ns(server.pid), 20
            for _ in range(count):
                client.request("tools/list", {})
            rows["tools/list, CPU us"][side.name] = [(cpu_ns(server.pid) - before) / count / 1000]
            rows["tools/list, KiB"][side.name] = [len(body) / 1024]
            rows["memory, MiB"][side.name] = [memory_kib(server.pid) / 1024]
            client.close()
            server.stop()
        except (AssertionError, RuntimeError, OSError) as error:
            print(f"{side.name} is left out with {options.many} tools: {error}", file=sys.stderr)
    table(f"{options.many} tools", [side.name for side in sides], rows)


def tools(bench, scenario, seconds: float) -> dict[str, dict[str, float]]:
    """A round of the common table: mcp-tools and MCP Toolbox on one database, a row and 50 rows."""
    from sides import Absent

    try:
        bench.once("toolbox", lambda: install(PACKAGES[:1]))
        url = f"sqlite:{bench.once('items', lambda: filled_sqlite(bench.folder / 'items.db'))}"
        if scenario.name == "postgres":
            url = bench.once("postgres", lambda: Postgres(bench.folder, bench.split(True)[1])).url
    except subprocess.SubprocessError as error:
        raise Absent(f"{Path(str(error.cmd[0])).name} failed") from error
    except (OSError, SystemExit) as error:
        raise Absent(f"MCP Toolbox or a database is not to be had: {error}") from error
    cores, load_cores = bench.split(True)
    os.sched_setaffinity(0, load_cores)
    figures: dict[str, dict[str, float]] = {}
    sides = list(zip(scenario.sides, (Ours(bench.tools), Toolbox())))
    random.shuffle(sides)
    for side, peer in sides:
        server, port = peer.start(bench.programs, f"{peer.name}-{scenario.name}-{free_port()}", scenario.name, url, cores)
        try:
            client = Client(port, peer.path, peer.token)
            figures[side] = {}
            for tool in ("row", "rows"):
                check(client, tool)
                cpu_of_calls(server, client, tool, 200)
                figures[side][tool] = cpu_of_calls(server, client, tool, max(100, int(1000 * seconds)))
            client.close()
        finally:
            server.stop()
    return figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=200, help="calls a second of the paced load")
    parser.add_argument("--many", type=int, default=5000, help="tools of the large catalogue")
    parser.add_argument("--only", choices=["sqlite", "postgres", "many"])
    parser.add_argument("--tools", type=Path, help="a built mcp-tools instead of a fresh release build")
    options = parser.parse_args()
    if not options.tools:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bins"], cwd=ROOT, check=True)
    options.tools = (options.tools or ROOT / "target" / "release" / "mcp-tools").resolve()
    install(PACKAGES)
    return options


def install(packages: list[str]) -> None:
    """The peers from npm, once. Where npm cannot fetch dbhub's SQLite as a binary, it is built with the headers of this Node."""
    PEERS.mkdir(parents=True, exist_ok=True)
    if not all((PEERS / "node_modules" / package.rpartition("@")[0]).exists() for package in packages):
        argv = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", "--prefix", str(PEERS), *packages]
        subprocess.run(argv, check=True, timeout=600, capture_output=True)
    built = any((PEERS / "node_modules" / "better-sqlite3" / "build").glob("Release/better_sqlite3.node"))
    if PACKAGES[1] in packages and not built:
        node = Path(shutil.which("node") or sys.exit("Node is not installed"))
        env = {**os.environ, "npm_config_nodedir": str(node.resolve().parents[1]), "npm_config_build_from_source": "true"}
        subprocess.run(["npm", "rebuild", "better-sqlite3", "--prefix", str(PEERS)], env=env, timeout=900, check=False)


def main() -> None:
    options = arguments()
    available = sorted(os.sched_getaffinity(0))
    cores = [{available[0]}, set(available[1:]) or {available[0]}]
    os.sched_setaffinity(0, cores[1])
    folder = Path(tempfile.mkdtemp(prefix="mcp-peers-"))
    programs, postgres = Programs(folder), None
    sides = [Ours(options.tools), Toolbox(), Dbhub()]
    try:
        sqlite = f"sqlite:{filled_sqlite(folder / 'items.db')}"
        print(f"{options.rounds} interleaved rounds of {options.calls} calls, servers on one core")
        if options.only in (None, "sqlite"):
            measured("sqlite", sqlite, sides, programs, cores, options)
        if options.only in (None, "postgres"):
            postgres = Postgres(folder, cores[1])
            measured("postgres", postgres.url, sides, programs, cores, options)
        if options.only in (None, "many"):
            of_many(sqlite, sides, programs, cores, options)
    finally:
        programs.stop_all()
        if postgres:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""[[dependency]] with the real things: PostgreSQL behind mcp-tools, and Redis, each stopped and started again."""

import json
import re

from harness.curl import call, curl
from harness.postgresql import Postgres
from mcp_testkit.guard import Guard
from mcp_testkit.paths import ROOT, TOOLS, system
from mcp_testkit.programs import Programs, free_port, wait_until

PASSWORD = "Redis-s3cret-0123456789"
# The tool that the operator is shown.
CATALOGUE = re.findall(r"```toml\n(\[\[tool\]\].*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)[0]
PACE = 'interval = "200ms"\ntimeout = "200ms"\nrise = 1\nfall = 1\n'


class Redis:
    """A Redis server on a port, without files."""

    def __init__(self, programs: Programs):
        self._programs, self.port = programs, free_port()
        self.start(PASSWORD)

    def start(self, password: str) -> None:
        argv = [system("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass", password]
        self.program = self._programs.start("redis", argv).wait_for(f"127.0.0.1:{self.port}")


def ready(guard: Guard) -> tuple[int, dict]:
    response = curl(f"{guard.url}/ready")
    return response.status, response.json()


def becomes(guard: Guard, status: str, http: int, **checks: str) -> None:
    def is_there() -> bool:
        found, body = ready(guard)
        return (found, body["status"]) == (http, status) and checks.items() <= body["checks"].items()

    wait_until(f"/ready: {http} {status} {checks}, not {ready(guard)}", is_there, 60)


def metrics(guard: Guard) -> str:
    return curl(f"http://{guard.metrics}/metrics").body.decode()


def reason(guard: Guard, name: str) -> str:
    return next(found["reason"] for found in guard.status()["dependencies"] if found["name"] == name) or ""


def test_readiness_follows_postgresql_and_redis_while_the_slot_stays_healthy(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)  # For doctor, too.
    postgres, redis = Postgres(programs), Redis(programs)
    catalogue = tmp_path / "tools.toml"
    catalogue.write_text(CATALOGUE)
    address = f"unix:{programs.folder}/tools.sock"
    argv = [str(TOOLS), "serve", "--socket", address.removeprefix("unix:"), "--catalog", str(catalogue), "--database", postgres.url]
    programs.start("mcp-tools", argv).wait_for(address)
    more = f"[[dependency]]\nname = \"database\"\n{PACE}required = true\ntool = {{ name = \"db_ping\", json = '{{\"ok\": 1}}' }}\n"
    more += f'[[dependency]]\nname = "cache"\n{PACE}redis = {{ address = "127.0.0.1:{redis.port}", password = "env:REDIS_PASSWORD" }}\n'
    more += '[health]\ninterval = "250ms"\ntimeout = "250ms"\n'
    guard = Guard(programs, address, "/mcp", more=more)
    becomes(guard, "ok", 200, database="ok", cache="ok")
    health = curl(f"{guard.url}/health").body

    postgres.stop()
    becomes(guard, "unready", 503, database="failed", cache="ok")
    # What the slot's own check sees is well: that is why the dependency is needed.
    wait_until("blue is healthy", lambda: 'mcp_guard_slot_healthy{slot="blue"} 1' in metrics(guard))
    page = metrics(guard)
    assert 'mcp_guard_dependency_up{dependency="database",required="true",slot="blue"} 0' in page
    assert call(f"{guard.url}/mcp", "tools/list").json()["result"]["tools"]
    assert call(f"{guard.url}/mcp", "tools/call", {"name": "db_ping", "arguments": {}}).json()["result"]["isError"] is True
    assert curl(f"{guard.url}/health").body == health == b'{"status": "ok"}'
    assert "tool `db_ping` answers isError" in reason(guard, "database")
    doctor = guard.command("doctor", "--json")
    found = {finding["what"]: finding["state"] for finding in json.loads(doctor.stdout)["findings"]}
    assert doctor.returncode == 1 and found["dependency database at blue"] == "bad", doctor.stdout

    postgres.start()
    becomes(guard, "ok", 200, database="ok", cache="ok")

    redis.program.stop()
    becomes(guard, "degraded", 200, database="ok", cache="failed")
    assert "Connection refused" in reason(guard, "cache")
    redis.start("another-password")
    wait_until("Redis refuses the password", lambda: "it refuses the password" in reason(guard, "cache"))
    assert "DOWN" in guard.command("status").stdout
    redis.program.stop()
    redis.start(PASSWORD)
    becomes(guard, "ok", 200, database="ok", cache="ok")
    said = guard.program.log() + guard.command("status").stdout + page
    assert PASSWORD not in said and "up again after" in said

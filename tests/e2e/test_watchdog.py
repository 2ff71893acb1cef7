"""mcp-guard watchdog: its output and exit code, and when it restarts the service; systemctl is a script that records its arguments."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from mcp_testkit.paths import GUARD, ROOT
from mcp_testkit.programs import free_port, wait_until
from mcp_testkit.tools import mcp_tools

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"{log}"
[ "$1" = show ] && printf 'ActiveState=%s\\nActiveEnterTimestampMonotonic=%s\\n' {state} {entered}
[ "$1" = restart ] && exit {restart}
exit 0
"""


class Watchdog:
    """The watchdog with a systemctl of ours before the system's, and its memory in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "systemctl.log"
        self.state = folder / "watchdog.json"
        self.unit(state="active", entered=1, restart=0)

    def unit(self, **how) -> None:
        script = self.folder / "systemctl"
        script.write_text(SYSTEMCTL.format(log=self.log, **how))
        script.chmod(0o755)

    def run(self, *arguments: str, token: str | None = TOKEN, prefix: list[str] | None = None) -> subprocess.CompletedProcess:
        env = {"PATH": f"{self.folder}:/usr/bin:/bin", **({"MCP_BEARER_TOKEN": token} if token else {})}
        return subprocess.run([*(prefix or []), str(GUARD), "watchdog", *arguments], capture_output=True, text=True, timeout=60, env=env)

    def failing(self, *more: str, **how) -> subprocess.CompletedProcess:
        dead = f"http://127.0.0.1:{free_port()}/mcp"
        return self.run("--url", dead, "--restart", "mcp-tools@blue.service", "--state", str(self.state), *more, **how)

    def restarts(self) -> int:
        return self.log.read_text().count("restart -- mcp-tools@blue.service") if self.log.exists() else 0


@pytest.fixture
def watchdog(tmp_path):
    return Watchdog(tmp_path)


def test_all_is_well(programs, watchdog):
    guard = Guard(programs, *(lambda backend: (backend.address, backend.path))(mcp_tools(programs)))
    for arguments in (["--url", guard.url + "/swf-monitor/mcp/"], ["--config", str(guard.config)]):
        done = watchdog.run(*arguments)
        assert done.returncode == 0 and done.stdout.startswith("MCP watchdog OK: "), done
        assert re.search(r" tools in \d+\.\d{3}s", done.stdout), done
    refused = watchdog.run("--url", guard.url + "/mcp", token=WRONG_TOKEN)
    assert refused.returncode == 1 and "HTTP 403" in refused.stderr and WRONG_TOKEN not in refused.stderr


def test_restarts_after_three_failures_and_counts(watchdog):
    for number in (1, 2):
        done = watchdog.failing()
        assert done.returncode == 1 and f"failure {number} of 3" in done.stderr, done.stderr
    assert watchdog.restarts() == 0
    done = watchdog.failing()
    assert done.returncode == 1 and "restarted mcp-tools@blue.service (1 of 5)" in done.stderr
    assert watchdog.restarts() == 1
    done = watchdog.failing("--failures", "1")
    assert "no restart for another" in done.stderr and watchdog.restarts() == 1
    report = watchdog.run("--report", "--state", str(watchdog.state))
    assert report.returncode == 0 and report.stdout.startswith("1 restarts in 0.0 days"), report.stdout


def test_a_restart_that_fails_is_exit_2(watchdog):
    watchdog.unit(state="failed", entered=0, restart=1)
    done = watchdog.failing("--failures", "1")
    assert done.returncode == 2 and "restart failed" in done.stderr


@pytest.mark.parametrize("state", ["activating", "deactivating", "inactive", "reloading"])
def test_a_unit_that_is_changing_or_was_stopped_is_left_alone(watchdog, state):
    watchdog.unit(state=state, entered=0, restart=0)
    done = watchdog.failing("--failures", "1")
    assert done.returncode == 1 and "no restart: the unit" in done.stderr and watchdog.restarts() == 0


def test_a_unit_that_has_just_started_is_left_alone(watchdog):
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    watchdog.unit(state="active", entered=int((uptime - 5) * 1e6), restart=0)
    done = watchdog.failing("--failures", "1")
    assert "the unit started" in done.stderr and watchdog.restarts() == 0


def test_a_deploy_holds_restarts(watchdog, tmp_path):
    hold = tmp_path / "hold"
    hold.touch()
    done = watchdog.failing("--failures", "1", "--hold-file", str(hold))
    assert "a deploy is under way" in done.stderr and watchdog.restarts() == 0
    hold.unlink()
    assert "restarted" in watchdog.failing("--failures", "1", "--hold-file", str(hold)).stderr


def test_a_guard_that_has_just_started_holds_restarts(programs, watchdog):
    guard = Guard(programs, f"127.0.0.1:{free_port()}", "/mcp")
    done = watchdog.failing("--failures", "1", "--config", str(guard.config))
    assert "no restart: the guard started" in done.stderr and watchdog.restarts() == 0, done.stderr


def test_a_switch_of_slots_holds_restarts_for_a_while(programs, watchdog):
    blue, green = mcp_tools(programs, "blue"), mcp_tools(programs, "green")
    guard = Guard(programs, blue.address, blue.path, more=f'[slots.green]\naddress = "{green.address}"\n[health]\ninterval = "250ms"\ntimeout = "250ms"\n')
    wait_until("a switch", lambda: guard.command("slots", "switch", "green").returncode == 0)
    # The guard has been up for long enough by this window, and the switch is younger still.
    wait_until("the guard is older than the switch will be when the watchdog looks", lambda: guard.status()["uptime_seconds"] >= 10)
    failing = ["--failures", "1", "--config", str(guard.config), "--start-window"]
    guard.command("slots", "switch", "blue")
    uptime = guard.status()["uptime_seconds"]
    done = watchdog.failing(*failing, str(uptime))
    assert "the guard did this: switched: stable is blue now" in done.stderr and watchdog.restarts() == 0, done.stderr
    assert "restarted" in watchdog.failing(*failing, "0").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a guard of another user needs root")
def test_the_unit_may_query_a_guard_of_another_user(programs, watchdog):
    """With no more of root than the shipped unit leaves it, and behind the modes of the guard's own folder and socket."""
    unit = (ROOT / "conf/systemd/mcp-watchdog.service").read_text()
    (bound,) = re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", unit)
    for name, capabilities, held in (("shipped", bound, True), ("none", "", False)):
        guard = Guard(programs, f"127.0.0.1:{free_port()}", "/mcp", name=name)
        owned = [Path(f"{programs.folder}/{name}.admin")]
        for path in owned:
            os.chown(path, 65534, 65534)
        keep = ",".join(["-all", *(f"+{each.removeprefix('CAP_').lower()}" for each in capabilities.split())])
        prefix = ["setpriv", f"--bounding-set={keep}", "--inh-caps=-all"]
        done = watchdog.failing("--failures", "1", "--config", str(guard.config), prefix=prefix)
        assert ("no restart: the guard started" in done.stderr) == held, done.stderr
        assert ("cannot ask the guard" in done.stderr) != held, done.stderr


def test_without_memory_nothing_is_restarted(watchdog):
    done = watchdog.run("--url", "http://127.0.0.1:1/", "--restart", "x.service")
    assert done.returncode == 1 and "--state FILE is needed" in done.stderr and watchdog.restarts() == 0
    watchdog.state.mkdir()
    done = watchdog.failing("--failures", "1")
    assert done.returncode == 1 and "cannot use the state file" in done.stderr and watchdog.restarts() == 0


def test_both_health_bodies_are_accepted(programs, watchdog, tmp_path):
    """The old site's `{"ok":true}` beside the guard's `{"status":"ok"}`; anything else is not healthy."""
    for body, healthy in (({"ok": True, "database": "ok"}, True), ({"status": "ok"}, True), ({"status": "unhealthy"}, False)):
        port = free_port()
        script = tmp_path / "server.py"
        script.write_text(SERVER.format(port=port, body=json.dumps(body)))
        programs.start(f"site-{port}", ["python3", str(script)]).wait_for(f"127.0.0.1:{port}")
        done = watchdog.run("--url", f"http://127.0.0.1:{port}/mcp", "--health-path", "/api/mcp-health/")
        assert (done.returncode == 0) == healthy, done
        assert healthy or "not healthy" in done.stderr


SERVER = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

class Site(BaseHTTPRequestHandler):
    def answer(self, value):
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        self.answer({body})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results = {{"initialize": {{"protocolVersion": "2025-03-26"}}, "tools/list": {{"tools": [{{"name": "a"}}]}}}}
        self.answer({{"jsonrpc": "2.0", "id": request.get("id"), "result": results.get(request["method"], {{}})}})

true, false = True, False
HTTPServer(("127.0.0.1", {port}), Site).serve_forever()
"""


ONE = ["--restart", "mcp-tools@blue.service", "--failures", "1", "--start-window", "0"]


def test_its_own_mistake_never_restarts_the_backend(programs, watchdog):
    """A refusal of the caller, or a failure before the request, is no evidence about the service."""
    blue = mcp_tools(programs)
    guard = Guard(programs, blue.address, blue.path)
    unguarded = Guard(programs, blue.address, blue.path, name="unguarded", token=None)
    state = ["--state", str(watchdog.state)]
    good = guard.url + "/mcp"
    mistakes = [
        ("HTTP 403", [good], WRONG_TOKEN),
        ("HTTP 401", [good], None),
        ("HTTP 404", [guard.url + "/nowhere"], TOKEN),
        ("HTTP 404", [guard.url + "/mcp/x"], TOKEN),
        ("HTTP 405", [good, "--health-path", "/mcp"], TOKEN),
        ("HTTP 503", [unguarded.url + "/mcp"], TOKEN),
        ("HTTP 421", [good.replace("127.0.0.1", "ip6-localhost.example.invalid")], TOKEN),
        ("NOT_SET", [good, "--token-env", "NOT_SET"], TOKEN),
        ("token.txt", [good, "--token-file", str(watchdog.folder / "token.txt")], None),
        ("cannot connect", [good.replace("http:", "https:")], TOKEN),
        ("lookup", ["http://no-such-host.invalid/mcp"], TOKEN),
    ]
    for reported, arguments, token in mistakes:
        for _ in range(2):
            done = watchdog.run("--url", *arguments, *state, *ONE, token=token)
            assert done.returncode == 1, (arguments, done)
            if reported != "HTTP 421":  # not every machine has a name that resolves to itself; then it is a failed lookup
                assert reported in done.stderr, (arguments, done.stderr)
            assert "not counted toward a restart (hint: " in done.stderr, (arguments, done.stderr)
    assert watchdog.restarts() == 0
    report = watchdog.run("--report", *state)
    assert report.stdout.startswith("0 restarts") and "0 of 0 probes failed" in report.stdout, report.stdout
    done = watchdog.run(*state, *ONE, "--config", str(watchdog.folder / "none.toml"))
    assert done.returncode == 1 and "not counted toward a restart" in done.stderr, done.stderr
    # And the service's own failure still restarts it.
    blue.program.stop()
    done = watchdog.run("--url", good, *state, *ONE)
    assert "restarted mcp-tools@blue.service" in done.stderr and watchdog.restarts() == 1, done.stderr


def test_a_state_file_without_a_folder_is_used(watchdog):
    """`--state wd.json` beside nothing: the restart is made, and counted once."""
    for number in range(1, 4):
        dead = f"http://127.0.0.1:{free_port()}/mcp"
        env = {"PATH": f"{watchdog.folder}:/usr/bin:/bin"}
        argv = [str(GUARD), "watchdog", "--url", dead, "--restart", "mcp-tools@blue.service", "--state", "wd.json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, cwd=watchdog.folder)
        assert "cannot use the state file" not in done.stderr, done.stderr
    assert "restarted mcp-tools@blue.service (1 of 5)" in done.stderr and watchdog.restarts() == 1
    assert watchdog.run("--report", "--state", str(watchdog.folder / "wd.json")).stdout.startswith("1 restarts")


def test_a_restart_that_was_not_made_is_not_counted(watchdog):
    watchdog.unit(state="failed", entered=0, restart=1)
    assert watchdog.failing("--failures", "1").returncode == 2
    assert watchdog.run("--report", "--state", str(watchdog.state)).stdout.startswith("0 restarts")


def test_a_damaged_state_file_is_reported_and_kept(watchdog):
    watchdog.state.write_text('{"failures": 2, "rest')
    done = watchdog.failing()
    assert "could not be understood; it is kept as " in done.stderr and "failure 1 of 3" in done.stderr, done.stderr
    assert Path(f"{watchdog.state}.unreadable").read_text() == '{"failures": 2, "rest'
    assert "could not be understood" not in watchdog.failing().stderr

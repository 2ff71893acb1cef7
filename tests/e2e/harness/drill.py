"""The drill of the alerts: everything that conf/prometheus warns of befalls a guard, within a minute and a half.

Each step waits until Prometheus itself has seen what it is about. Prometheus evaluates the shipped rules with shortened times.
"""

import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness import prometheus as monitoring
from harness.drill_site import ENDED, HASTY, MORE, OPERATOR, SECOND, TOOL, Listener, LogReader, Pages, Requests, Slot, Strangers, certificate
from harness.grafana import Window
from harness.load import Load
from harness.operator import Operator
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.programs import Programs, free_port, wait_until

SCRAPE_SECONDS = 0.5
#: For an alert to fire or to end: the longest range and `for` of the shortened rules, and time to spare on a busy machine.
ALERT_SECONDS = 60

#: Copies, then a share; the candidate's first errors end it.
PLAN = """
[gate]
parity = false
[triggers.breaker_open]
window = "0s"
[triggers.error_rate]
action = "off"
[[step]]
stage = "shadow"
hold = "1s"
min_samples = 3
[[step]]
stage = "canary"
weight = 50
hold = "1h"
[[notify]]
name = "pager"
kind = "generic"
url = "http://127.0.0.1:{nobody}/"
"""
#: Every trigger reports and none acts, so that one rollout sets off all of them.
NOTING = """
critical = ["cache"]
[gate]
parity = false
[analysis]
on_fail = "notify"
[triggers]
candidate_health = {{ action = "notify" }}
critical_check = {{ action = "notify", min_samples = 1 }}
breaker_open = {{ action = "notify", window = "0s" }}
stage_stalled = {{ action = "notify", window = "1s" }}
error_rate = {{ action = "notify", window = "2s" }}
error_rate_sustained = {{ action = "notify", window = "2s", min_samples = 20 }}
latency_p95 = {{ action = "notify", threshold = "60ms", window = "2s" }}
memory = {{ action = "notify", threshold = "0.0001%", window = "1s", min_samples = 1 }}
[[step]]
stage = "canary"
weight = 50
hold = "1s"
min_samples = 20
[[step]]
stage = "bake"
hold = "1h"
[[critical_check]]
name = "file"
exec = ["test", "-e", "{file}"]
interval = "1s"
timeout = "1s"
[[notify]]
name = "pager"
kind = "generic"
url = "http://127.0.0.1:{nobody}/"
"""
#: A difference at the gate stops it, and it waits for an operator. The step is long enough to make the difference, which costs some calls.
GATED = """
[analysis]
max_error_rate = "50%"
error_margin = "50%"
[triggers]
candidate_health = {{ action = "off" }}
breaker_open = {{ action = "off" }}
error_rate = {{ action = "off" }}
protocol = {{ action = "notify", min_samples = 1 }}
[[step]]
stage = "canary"
weight = 50
hold = "5s"
min_samples = 20
[[step]]
stage = "bake"
hold = "1h"
"""


@dataclass
class Drilled:
    """What is left when the drill is over."""

    prometheus: monitoring.Prometheus
    receiver: monitoring.Receiver
    window: Window
    guard: str  # The instance label of the guard that it befell.
    second: str  # That of the other one.


class Drill:
    def __init__(self, programs: Programs, log: LogReader):
        self.programs, self.log, self.folder = programs, log, programs.folder
        self.database, self.cache = Listener(), Listener()
        self.blue, self.green = Slot(programs, "blue"), Slot(programs, "green")
        self.issuer, self.console, self.nobody = free_port(), free_port(), free_port()
        self.page = Pages(free_port())
        self.tokens()
        self.plan(PLAN)
        (self.folder / "critical").touch()
        more = MORE.format(
            green=self.green.address, issuer=self.issuer, console=self.console, page=self.page.server_port, database=self.database.port, cache=self.cache.port
        )
        env = {"DRILL_OPERATOR": OPERATOR}
        self.guard = Guard(programs, self.blue.address, "/mcp", more=more, env=env, stderr=log.write)
        certificate(self.folder, days=10)
        (self.folder / "second-tokens.toml").write_text("")
        self.second = Guard(programs, self.blue.tools.address, "/mcp", token=None, config=SECOND, name="second")
        self.operator = Operator(self.guard)
        self.requests = Requests(self.guard.address)
        self.receiver = monitoring.Receiver()
        self.prometheus = self._prometheus()
        self.started = time.time()

    def tokens(self) -> None:
        clients = {"hasty": (HASTY, 'rate = "1/s"\nburst = 1'), "ended": (ENDED, "not_after = 2020-01-01")}
        text = "".join(f'[clients.{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n{more}\n' for name, (token, more) in clients.items())
        (self.folder / "tokens.toml").write_text(text)

    def plan(self, plan: str) -> None:
        (self.folder / "plan.toml").write_text(plan.format(nobody=self.nobody, file=self.folder / "critical"))

    def _prometheus(self) -> monitoring.Prometheus:
        rules = []
        for file in monitoring.RULES:
            rules.append(self.folder / file.name)
            rules[-1].write_text(monitoring.hastened(file.read_text()))
        alertmanager = monitoring.alertmanager(self.programs, self.receiver)
        targets = [self.guard.metrics, self.second.metrics]
        config = monitoring.configuration(self.folder, targets, f"{round(SCRAPE_SECONDS * 1000)}ms", rules, alertmanager)
        return monitoring.Prometheus(self.programs, config)

    def until(self, expression: str, seconds: float = ALERT_SECONDS) -> None:
        """Waits until Prometheus finds something."""
        wait_until(f"Prometheus to find {expression}", lambda: self.prometheus.query(expression), seconds)

    def fires(self, *alerts: str) -> None:
        wait_until(f"alerts {alerts}, not {self.prometheus.firing()}", lambda: self.prometheus.firing() >= set(alerts), ALERT_SECONDS)

    def transition(self, kind: str, cause: str) -> None:
        self.until(f'mcp_guard_rollout_transitions_total{{kind="{kind}",cause="{cause}"}} > 0')

    # The steps.

    def rolls_back(self) -> None:
        """Copies that match, a share of the calls, errors, and back."""
        self.operator.both_healthy()
        self.operator.does("rollout start")
        self.until('mcp_guard_shadow_copies_total{result="matched"} > 0')
        self.until('mcp_guard_split_weight{slot="green"} == 0.5')
        self.green.mood("500")
        self.operator.rolled_back()
        self.transition("rolled_back", "breaker_open")
        self.green.mood("good")

    def notes_every_trigger(self) -> None:
        self.green.mood("flaky")  # From the first call on, so that the step never passes.
        self.start(NOTING)
        for cause in ["memory", "error_rate", "error_rate_sustained", "analysis", "stage_stalled"]:
            self.transition("noted", cause)
        wait_until("reads that stable responds to in place of the candidate", self._reads, ALERT_SECONDS)
        self.green.mood("500")
        self.transition("noted", "breaker_open")
        self.green.mood("slow 0.2")
        (self.folder / "critical").unlink()
        for cause in ["latency_p95", "critical_check"]:
            self.transition("noted", cause)
        self.state_is_not_saved()
        self.green.mood("good")
        self.fires("McpGuardRolloutOverdue")
        self.notifications_are_dropped()
        self.operator.does("rollout rollback")

    def _reads(self) -> bool:
        assert self.requests.call("tools/list") == 200
        # A series that appears as 1 has not increased yet.
        return bool(self.prometheus.query('rate(mcp_guard_retries_total{reason="stand_in"}[2s]) > 0'))

    def start(self, plan: str) -> None:
        self.plan(plan)
        self.operator.does("reload")
        # A reload begins to count the probes anew.
        wait_until("the rollout to start", lambda: self.operator.types("rollout start").returncode == 0)

    def state_is_not_saved(self) -> None:
        """The folder of the state is away while the candidate's death is to be noted."""
        state, away = self.folder / "guard.state", self.folder / "guard.state.away"
        state.rename(away)
        self.green.kill()
        self.transition("noted", "candidate_health")
        self.fires("McpGuardRolloutStateNotSaved")
        away.rename(state)
        self.until("mcp_guard_rollout_state_saved == 1")
        self.green.begin()

    def notifications_are_dropped(self) -> None:
        """More transitions than may wait for a receiver that is away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.console, timeout=20)
        fields = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
        for number in range(2 * 140):
            connection.request("POST", f"/api/v1/rollout/{'resume' if number % 2 else 'pause'}", json.dumps({"reason": "drill"}), fields)
            response = connection.getresponse()
            said = response.read()
            assert response.status == 200, said
        connection.close()
        self.until('mcp_guard_notifications_total{receiver="pager",result="dropped"} > 0')

    def waits_for_an_operator(self) -> None:
        """The candidate has other tools at the gate. While the rollout waits: everything that is not about slots."""
        self.start(GATED)
        self.green.replace_tools()
        self.transition("noted", "protocol")
        self.transition("paused", "parity")
        self.do(self.dependencies_are_down, self.connections_run_out, self.log_lines_are_lost)
        self.fires("McpGuardRolloutPaused")
        self.operator.does("rollout rollback")

    def dependencies_are_down(self) -> None:
        self.database.end()
        self.cache.end()
        self.fires("McpGuardRequiredDependencyDown", "McpGuardDependencyDown")
        self.database.begin()
        self.cache.begin()

    def connections_run_out(self) -> None:
        """Connections until one is refused: each has a request whose response does not come yet, so that in the end none can be closed for another."""
        with contextlib.ExitStack() as stack:

            def refused() -> object:
                connection = stack.enter_context(contextlib.closing(socket.create_connection(self.listener)))
                with contextlib.suppress(OSError):
                    connection.sendall(b"GET /page?waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return self.prometheus.query("mcp_guard_connections_refused_total > 0")

            wait_until("a connection to be refused", refused, ALERT_SECONDS)
            self.fires("McpGuardConnectionsRunOut")
            self.page.released.set()

    @property
    def listener(self) -> tuple[str, int]:
        host, _, port = self.guard.address.rpartition(":")
        return host, int(port)

    def log_lines_are_lost(self) -> None:
        """Requests without end while nothing reads the log."""
        self.log.reads.clear()
        request = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n"
        requests = (request + b"\r\n") * 1000 + request + b"Connection: close\r\n\r\n"

        def lost() -> bool:
            with socket.create_connection(self.listener, timeout=20) as connection:
                sender = threading.Thread(target=_send, args=(connection, requests), daemon=True)
                sender.start()
                with contextlib.suppress(OSError):
                    while connection.recv(65536):
                        pass
                sender.join(20)
            return bool(self.prometheus.query("mcp_guard_log_lines_dropped_total > 0"))

        wait_until("log lines to be lost", lost, ALERT_SECONDS)
        self.fires("McpGuardLosesLogLines")
        self.log.reads.set()

    def backend_is_slow(self) -> None:
        """Every call takes more than five seconds; then there are more calls than may wait."""
        self.blue.mood("slow 5.5")
        stop = threading.Event()

        def caller(after: float) -> None:
            """One after the other, so that some call ends in every second."""
            stop.wait(after)
            while not stop.is_set():
                self.requests.call(name=TOOL, arguments={})

        with concurrent.futures.ThreadPoolExecutor(24) as pool, contextlib.ExitStack() as last:
            last.callback(stop.set)
            last.callback(self.blue.mood, "good")
            _ = [pool.submit(caller, number * 0.7) for number in range(8)]
            self.fires("McpGuardSlow")
            _ = [pool.submit(caller, 0) for _ in range(16)]
            self.until("mcp_guard_waiting > 0")
            self.fires("McpGuardSaturated")

    def stable_is_killed(self) -> None:
        self.blue.kill()
        self.fires("McpGuardBackendUnreachable", "McpGuardSlotUnhealthy", "McpGuardUpstreamErrors")
        self.blue.begin()
        self.operator.both_healthy()

    def guard_restarts(self) -> None:
        for _ in range(3):
            before = self.prometheus.value(self._start_times)
            self.guard.program.stop()
            # The metric has whole seconds.
            wait_until("another second", lambda before=before: time.time() > before + 2)
            self.guard.start()
            self.until(f"{self._start_times} > {before}")
        self.fires("McpGuardRestarting")

    @property
    def _start_times(self) -> str:
        return f'process_start_time_seconds{{instance="{self.guard.metrics}"}}'

    def guard_is_down(self) -> None:
        self.guard.program.stop()
        self.fires("McpGuardDown")
        self.guard.start()

    def second_has_no_token(self) -> None:
        """The second guard: no client, a certificate of ten days. It gets both, as the actions of the alerts say."""
        url, alerts = f"https://{self.second.address}/mcp", {"McpGuardHasNoToken", "McpGuardCertificateExpires"}

        def fires() -> bool:
            assert _status(url) == 503
            return self.prometheus.firing() >= alerts

        wait_until(f"alerts {alerts}", fires, ALERT_SECONDS)
        certificate(self.folder, days=100)
        (self.folder / "second-tokens.toml").write_text((self.folder / "tokens.toml").read_text())
        done = self.second.command("reload")
        assert done.returncode == 0, done.stderr

    def run(self) -> None:
        with self._load():
            with Strangers(self.guard.address):
                self.fires("McpGuardIssuerUnreachable")
                issuer = Pages(self.issuer)
                self.do(self.rolls_back, self.second_has_no_token)
                self.fires("McpGuardAuthFailures", "McpGuardRateLimited")
                self.do(self.notes_every_trigger)
            self.do(self.waits_for_an_operator)
        self.do(self.backend_is_slow)
        with self._load():
            self.do(self.stable_is_killed, self.guard_restarts, self.guard_is_down, self.all_is_over)
        issuer.shutdown()

    def _load(self) -> Load:
        return Load(self.guard.address, TOOL, rate=60, connections=12, path="/mcp")

    def do(self, *steps: Callable[[], None]) -> None:
        for step in steps:
            began = time.monotonic()
            try:
                step()
            except AssertionError:
                print(self.operator.types("rollout history").stdout)
                raise
            print(f"{step.__name__}: {time.monotonic() - began:.1f} s")

    def all_is_over(self) -> None:
        over = lambda: not self.receiver.unresolved() and not self.prometheus.firing()  # noqa: E731
        wait_until(f"the end of {self.receiver.unresolved()}, {self.prometheus.firing()}", over, ALERT_SECONDS)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def _status(url: str) -> int:
    """Of a request with a token. The certificate is not verified."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, b"{}", {"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@contextlib.contextmanager
def held(programs: Programs) -> Iterator[Drilled]:
    with LogReader(programs.folder / "guard.stderr.log") as log:
        drill = Drill(programs, log)
        drill.run()
        window = Window(drill.started, time.time(), SCRAPE_SECONDS)
        yield Drilled(drill.prometheus, drill.receiver, window, drill.guard.metrics, drill.second.metrics)
        programs.stop_all()

"""Prometheus and Alertmanager of Debian with the shipped job, rules and routing, at the pace of a test, and a receiver of the alerts."""

import http.server
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import Programs, free_port, wait_until

CONF = ROOT / "conf" / "prometheus"
RULES = [CONF / "alerts.yml", CONF / "rollout-alerts.yml"]
SECONDS = {"s": 1, "m": 60, "h": 3600}
#: How much shorter the times of the rules are in a drill, and how long and short they are at most and at least.
FASTER, LONGEST_SECONDS, SHORTEST_RANGE_SECONDS = 60, 12.0, 1.0


def shortened(number: str, unit: str, least: float = 0.0) -> str:
    seconds = min(int(number) * SECONDS[unit] / FASTER, LONGEST_SECONDS)
    return f"{round(max(seconds, least) * 1000)}ms"


def hastened(rules: str) -> str:
    """The rules for a drill: every range and `for` is a 60th, at most 12 s; so is the time that a step may be overdue. Nothing else changes."""
    rules = re.sub(r"\[(\d+)([smh])\]", lambda found: f"[{shortened(*found.groups(), SHORTEST_RANGE_SECONDS)}]", rules)
    rules = re.sub(r"(?m)^(\s+for: )(\d+)([smh])$", lambda found: found[1] + shortened(found[2], found[3]), rules)
    rules, count = re.subn(r"(step_overdue_seconds > )1800\b", rf"\g<1>{LONGEST_SECONDS:g}", rules)
    assert count <= 1
    return rules


def job(targets: list[str], pace: str) -> str:
    """The shipped job; only its target and its pace are replaced."""
    text, count = re.subn(r'"127\.0\.0\.1:9464"', ", ".join(f'"{target}"' for target in targets), (CONF / "scrape.yml").read_text())
    assert count == 1, "conf/prometheus/scrape.yml no longer names 127.0.0.1:9464 once"
    return re.sub(r"(?m)^(\s+scrape_(interval|timeout)): .*$", rf"\1: {pace}", text)


def configuration(folder: Path, targets: list[str], pace: str, rules: list[Path], alertmanager: str = "") -> Path:
    """A Prometheus configuration around the shipped job."""
    head = f"global:\n  scrape_interval: {pace}\n  scrape_timeout: {pace}\n  evaluation_interval: {pace}\nrule_files:\n"
    head += "".join(f"  - {file}\n" for file in rules)
    if alertmanager:
        head += f'alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ["{alertmanager}"]\n'
    config = folder / "prometheus.yml"
    config.write_text(head + job(targets, pace))
    return config


class Prometheus:
    def __init__(self, programs: Programs, config: Path):
        self.address = f"127.0.0.1:{free_port()}"
        argv = [system("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={programs.folder}/tsdb", f"--web.listen-address={self.address}"]
        self.program = programs.start("prometheus", argv).wait_for(self.address)
        wait_until("Prometheus has its storage", self._is_ready)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            assert error.code == 503, error
            return False

    def get(self, path: str, **parameters: object):
        """`data` of a response of the HTTP API; Prometheus refuses what it does not understand."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str, at: float | None = None) -> list[dict]:
        return self.get("query", query=expression, **({} if at is None else {"time": at}))["result"]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict]:
        return self.get("query_range", query=expression, start=start, end=end, step=step)["result"]

    def value(self, expression: str) -> float:
        return sum(float(sample["value"][1]) for sample in self.query(expression))

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}


class Receiver(http.server.ThreadingHTTPServer):
    """Takes the webhooks of an Alertmanager, and keeps every alert in the order of arrival."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Webhook)
        self.alerts: list[dict] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"

    def delivered(self, status: str) -> list[dict]:
        return [alert for alert in list(self.alerts) if alert["status"] == status]

    def names(self, status: str) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.delivered(status)}

    def unresolved(self) -> set[str]:
        """Alerts whose latest delivery says that they are firing."""
        latest = {json.dumps(alert["labels"], sort_keys=True): alert for alert in list(self.alerts)}
        return {alert["labels"]["alertname"] for alert in latest.values() if alert["status"] == "firing"}


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert not message["truncatedAlerts"], message
        self.server.alerts += message["alerts"]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def alertmanager(programs: Programs, receiver: Receiver) -> str:
    """Alertmanager with the shipped routing; only the receiver's address and the times of groups are replaced. Returns its address."""
    text, count = re.subn(r"http://127\.0\.0\.1:9000/alerts", receiver.url, (CONF / "alertmanager.yml").read_text())
    assert count == 1, "conf/prometheus/alertmanager.yml no longer names its receiver once"
    text, count = re.subn(r"(?m)^(\s+group_(wait|interval)): .*$", r"\1: 200ms", text)
    assert count == 2
    config = programs.folder / "alertmanager.yml"
    config.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    flags = [f"--config.file={config}", f"--storage.path={programs.folder}/alertmanager", "--cluster.listen-address=", f"--web.listen-address={address}"]
    programs.start("alertmanager", [system("prometheus-alertmanager"), *flags]).wait_for(address)
    return address

"""Prometheus of Debian scrapes the guard with the shipped job; its own checker judges metrics, job and rules."""

import re
import subprocess

import pytest

from harness.curl import call, curl
from harness.grafana import Dashboard, Window
from harness.prometheus import CONF, RULES, Prometheus, configuration
from mcp_testkit.guard import WRONG_TOKEN
from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import wait_until

PACE = "200ms"


def promtool(*arguments: str, stdin: bytes | None = None) -> None:
    done = subprocess.run([system("promtool"), *arguments], input=stdin, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, f"promtool {' '.join(arguments)} found:\n{said}"


@pytest.fixture
def metrics(tools) -> str:
    """The text of /metrics after traffic of every sort."""
    call(tools.url, "tools/list")
    call(tools.url, "tools/call", {"name": "get_server_instructions", "arguments": {}})
    call(tools.url, "tools/call", {"name": "no-such-tool", "arguments": {}})
    call(tools.url, "no/such/method")
    curl(tools.url, data="{}", token=WRONG_TOKEN)
    curl(tools.url)
    response = curl(f"http://{tools.guard.metrics}/metrics")
    assert response.status == 200, response
    return response.body.decode()


def test_promtool_finds_nothing_to_say_of_the_metrics(metrics):
    promtool("check", "metrics", stdin=metrics.encode())


def test_promtool_accepts_job_and_rules(programs, tools):
    promtool("check", "rules", *map(str, RULES))
    promtool("check", "config", str(configuration(programs.folder, [tools.guard.metrics], PACE, RULES)))


def test_amtool_accepts_the_routing():
    done = subprocess.run([system("amtool"), "check-config", str(CONF / "alertmanager.yml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should():
    for rules in RULES:
        promtool("test", "rules", str(rules.with_suffix(".test.yml")))


def expressions() -> list[str]:
    """The queries of the dashboard, with its variables filled in."""
    dashboard, chosen = Dashboard(), {"job": ["mcp-guard"], "instance": ["127.0.0.1:9464"]}
    return [dashboard.filled(query.expression, chosen, Window(0, 3600, 15)) for query in dashboard.queries()]


@pytest.mark.parametrize("what, text", [("the alerts", "".join(rules.read_text() for rules in RULES)), ("the dashboard", "\n".join(expressions()))])
def test_every_metric_of_the_alerts_and_the_dashboard_exists(metrics, what, text):
    """A rule over a misspelt name never fires, a panel over one stays empty, and neither reports an error."""
    exposed = set(re.findall(r"(?m)^# TYPE (\S+)", metrics))
    # A family without a series yet is not exposed; tests/tidy/main.rs holds this page to the code.
    exposed |= set(re.findall(r"(?m)^\| `(mcp_\w+)` \|", (ROOT / "docs/metrics.md").read_text()))
    used = set(re.findall(r"\b((?:mcp|process)_[a-z0-9_]+)\b", text))
    used = {re.sub(r"_(bucket|count|sum)$", "", name) if name not in exposed else name for name in used}
    assert used, f"{what} in conf/ name no metric of ours"
    assert used <= exposed, f"{what} use {sorted(used - exposed)}, which the guard does not expose"


def test_every_label_of_the_dashboard_exists():
    """A legend or a grouping over a label that a family does not have shows nothing."""
    documented = re.findall(r"(?m)^\| `(mcp_\w+)` \| \w+ \| (.*?) \|", (ROOT / "docs/metrics.md").read_text())
    labels = {name: set(re.findall(r"`(\w+)`", said)) | {"job", "instance", "le"} for name, said in documented}
    checked = 0
    for query in Dashboard().queries():
        families = re.findall(r"\bmcp_[a-z0-9_]+", query.expression)
        known = set().union(*(labels.get(name.removesuffix("_bucket"), set()) for name in families), {"job"})
        known |= {"alertname"} if "ALERTS" in query.expression else set()
        used = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", query.expression) for label in group.split(",")}
        assert used <= known, f"{query}: {sorted(used - known)}"
        checked += len(used)
    assert checked > 20


def test_every_transition_of_an_alert_is_there_before_it_happens(metrics):
    """A counter that first appears as 1 has not increased: the first rollback would send no alert."""
    for cause, kinds in re.findall(r'transitions_total\{cause="(\w+)",kind=~"([\w|]+)"\}', "".join(rules.read_text() for rules in RULES)):
        for kind in kinds.split("|"):
            assert f'mcp_guard_rollout_transitions_total{{cause="{cause}",kind="{kind}"}} 0' in metrics


def test_every_denial_code_of_an_alert_exists(metrics):
    exposed = set(re.findall(r'mcp_guard_denials_total\{code="([a-z_]+)"', metrics))
    used = set(re.findall(r'code="([a-z_]+)"', "".join(rules.read_text() for rules in RULES)))
    assert used and used <= exposed, f"the rules use the codes {sorted(used - exposed)}, which the guard does not have"


def test_prometheus_scrapes_the_guard(programs, tools):
    prometheus = Prometheus(programs, configuration(programs.folder, [tools.guard.metrics], PACE, RULES))
    wait_until("Prometheus to see the guard up", lambda: prometheus.value('up{job="mcp-guard"}') == 1)
    before = prometheus.value("sum(mcp_guard_requests_total)")
    for _ in range(5):
        call(tools.url, "tools/list")
    wait_until("five more requests in mcp_guard_requests_total", lambda: prometheus.value("sum(mcp_guard_requests_total)") >= before + 5)
    ours = {sample["metric"]["__name__"] for sample in prometheus.query('{job="mcp-guard"}')}
    assert not [name for name in ours if not name.startswith(("mcp_", "process_", "up", "scrape_"))], ours

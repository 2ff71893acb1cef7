"""Prometheus of Debian scrapes the guard with the shipped job; its own checker judges metrics, job and rules."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from harness.curl import call, curl
from mcp_testkit.guard import WRONG_TOKEN
from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import Programs, free_port, wait_until

CONF = ROOT / "conf" / "prometheus"
RULES = [CONF / "alerts.yml", CONF / "rollout-alerts.yml"]
DASHBOARD = json.loads((ROOT / "conf" / "grafana" / "mcp-guard.json").read_text())


def promtool(*arguments: str, stdin: bytes | None = None) -> None:
    done = subprocess.run([system("promtool"), *arguments], input=stdin, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, f"promtool {' '.join(arguments)} found:\n{said}"


def rendered(programs: Programs, metrics: str) -> str:
    """A Prometheus configuration around the shipped job and rules; only the target's port is replaced, and the pace."""
    job, count = re.subn(r"127\.0\.0\.1:9464", metrics, (CONF / "scrape.yml").read_text())
    assert count == 1, "conf/prometheus/scrape.yml no longer names 127.0.0.1:9464 once"
    config = programs.folder / "prometheus.yml"
    head = "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  evaluation_interval: 200ms\nrule_files:\n"
    head += "".join(f"  - {rules}\n" for rules in RULES)
    config.write_text(head + re.sub(r"(?m)^(\s+scrape_(interval|timeout)): .*$", r"\1: 200ms", job))
    return str(config)


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
    promtool("check", "config", rendered(programs, tools.guard.metrics))


def test_the_alerts_fire_when_they_should():
    for rules in RULES:
        promtool("test", "rules", str(rules.with_suffix(".test.yml")))


def expressions() -> list[str]:
    """The queries of the dashboard, with its variables filled in."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    asked += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    return [expression.replace("$job", "mcp-guard").replace("$__rate_interval", "1m") for expression in asked]


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
    labels = {name: set(re.findall(r"`(\w+)`", said)) | {"job", "le"} for name, said in documented}
    checked = 0
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            families = re.findall(r"\bmcp_[a-z0-9_]+", target["expr"])
            known = set().union(*(labels.get(name.removesuffix("_bucket"), set()) for name in families), {"job"})
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")}
            assert used <= known, f"{panel['title']}: {sorted(used - known)}"
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
    port = free_port()
    config = rendered(programs, tools.guard.metrics)
    argv = [system("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={programs.folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    programs.start("prometheus", argv).wait_for(f"127.0.0.1:{port}")

    def query(expression: str) -> list:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)["data"]["result"]
        except urllib.error.HTTPError as error:
            assert error.code == 503, error  # It listens before its storage is ready.
            return []

    def value(expression: str) -> float:
        return sum(float(sample["value"][1]) for sample in query(expression))

    wait_until("Prometheus to see the guard up", lambda: value('up{job="mcp-guard"}') == 1)
    before = value("sum(mcp_guard_requests_total)")
    for _ in range(5):
        call(tools.url, "tools/list")
    wait_until("five more requests in mcp_guard_requests_total", lambda: value("sum(mcp_guard_requests_total)") >= before + 5)
    for expression in expressions():
        query(expression)  # Prometheus refuses what it does not understand.
    assert query(expressions()[0]), "the dashboard's first panel is empty"
    ours = {sample["metric"]["__name__"] for sample in query('{job="mcp-guard"}')}
    assert not [name for name in ours if not name.startswith(("mcp_", "process_", "up", "scrape_"))], ours

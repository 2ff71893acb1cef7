"""One drill, and what Prometheus, Alertmanager and Grafana's queries make of it: every panel shows it, every alert is delivered and ends."""

import math
import re
from collections import defaultdict

import pytest
import yaml

from harness import drill, prometheus
from harness.drill import Drilled
from harness.grafana import ALL, Dashboard, Query
from mcp_testkit.paths import ROOT
from mcp_testkit.programs import wait_until

#: The panels of fleets, with their queries.
FLEET = {"Guards of the fleet": "A", "Generation and holds": "AB", "Store, lead and candidate": "ABCD"}
#: Queries that stay empty in the drill, by panel and reference.
EMPTY = {(panel, ref): "the guards of the drill are in no fleet" for panel, refs in FLEET.items() for ref in refs}
#: Queries whose every value is 0 in the drill.
ZERO = {
    ("Protocol 2026-07-28", "A"): "both slots speak it",
    ("What got lost", "B"): "the analysis keeps up with this load",
}
#: Labels that are empty where they have no value, with the panel.
UNLABELLED = {("Busiest clients", "client"): "requests without a token have no client"}
#: Alerts that the drill does not provoke; the unit tests of the rules do.
ONLY_BY_PROMTOOL = {
    "McpGuardBackendMemory": "needs a backend in a control group that it nearly fills",
    "McpGuardFleetStoreAway": "needs a fleet",
    "McpGuardFleetNoLeader": "needs a fleet",
    "McpGuardFleetHolds": "needs a fleet",
    "McpGuardFleetMemberSilent": "needs a fleet",
}


@pytest.fixture(scope="module")
def drilled(module_programs) -> Drilled:
    with drill.held(module_programs) as drilled:
        yield drilled


def rules() -> dict[str, set[str]]:
    """The shipped alerts by name, with the labels that their texts speak of."""
    found = {}
    for file in prometheus.RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                found[rule["alert"]] = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    return found


def shown(drilled: Drilled, dashboard: Dashboard, query: Query, chosen: dict[str, list[str]]) -> list[dict]:
    expression = dashboard.filled(query.expression, chosen, drilled.window)
    return drilled.prometheus.query_range(expression, drilled.window.start, drilled.window.end, drilled.window.interval)


def numbers(series: list[dict]) -> list[float]:
    values = (float(value) for one in series for _, value in one["values"])
    return [value for value in values if math.isfinite(value)]


def test_every_query_of_the_dashboard_shows_the_drill(drilled):
    dashboard = Dashboard()
    chosen = dashboard.variables(drilled.prometheus)
    assert chosen == {"job": ["mcp-guard"], "instance": sorted([drilled.guard, drilled.second])}, chosen
    wrong, queries = [], dashboard.queries()
    for query in queries:
        values, key = numbers(shown(drilled, dashboard, query, chosen)), (query.panel, query.ref)
        if bool(values) == (key in EMPTY):
            wrong.append(f"{query} is {'not ' if values else ''}empty: {query.expression}")
        elif values and (max(values) > 0) == (key in ZERO):
            wrong.append(f"{query} has {max(values)} as its highest value: {query.expression}")
    assert not wrong, "\n".join(wrong)
    assert len(queries) > 40 and set(EMPTY) | set(ZERO) <= {(query.panel, query.ref) for query in queries}


def test_a_guard_that_is_down_stays_among_all_guards(drilled):
    """While a guard is away it has no series of its own, and where none is scraped an alert has no instance at all."""
    dashboard = Dashboard()
    [query] = [query for query in dashboard.queries() if query.panel == "Alerts firing"]
    chosen = {"job": ["mcp-guard"], "instance": ALL}
    assert 'instance=~".*"' in dashboard.filled(query.expression, chosen)
    assert "McpGuardDown" in {series["metric"]["alertname"] for series in shown(drilled, dashboard, query, chosen)}
    asked = {variable["name"]: variable["query"] for variable in dashboard.model["templating"]["list"]}
    assert all("mcp_guard" not in asked[name] for name in ("job", "instance")), "only `up` is there while a guard is down"


def test_every_legend_of_the_dashboard_has_its_words(drilled):
    """A label that the series lack would be an empty place in the legend."""
    dashboard = Dashboard()
    chosen, wrong = dashboard.variables(drilled.prometheus), []
    for query in dashboard.queries():
        for series in shown(drilled, dashboard, query, chosen):
            for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
                if not series["metric"].get(label) and (query.panel, label) not in UNLABELLED:
                    wrong.append(f"{query}: no {label} in {series['metric']}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_two_series_of_a_panel_for_one_guard_never_have_the_same_legend(drilled):
    dashboard = Dashboard()
    chosen = dashboard.variables(drilled.prometheus) | {"instance": [drilled.guard]}
    legends = defaultdict(list)
    for query in dashboard.queries():
        for series in shown(drilled, dashboard, query, chosen):
            legend = re.sub(r"\{\{(\w+)\}\}", lambda label, metric=series["metric"]: metric.get(label[1], ""), query.legend)
            legends[query.panel, legend].append(series["metric"])
    assert len(legends) > 60
    assert not {key: series for key, series in legends.items() if len(series) > 1}


def test_the_dashboard_shows_one_guard_alone(drilled):
    """The second guard has one slot, no rollout and few requests; nothing of the first is shown as its own."""
    dashboard = Dashboard()
    chosen = dashboard.variables(drilled.prometheus) | {"instance": [drilled.second]}
    for query in dashboard.queries():
        for series in shown(drilled, dashboard, query, chosen):
            metric = series["metric"]
            assert metric.get("instance", drilled.second) == drilled.second, f"{query}: {metric}"
            assert metric.get("slot") != "green" and metric.get("client") != "hasty", f"{query}: {metric}"


def test_every_alert_of_the_rules_is_provoked_here_or_by_promtool(drilled):
    unprovoked = set(rules()) - drilled.receiver.names("firing")
    assert unprovoked <= set(ONLY_BY_PROMTOOL), f"neither here nor in the table: {unprovoked - set(ONLY_BY_PROMTOOL)}"
    tests = "".join(file.with_suffix(".test.yml").read_text() for file in prometheus.RULES)
    for name in ONLY_BY_PROMTOOL:
        assert re.search(rf"""labels: '{{[^']*alertname="{name}"[^']*}}', value: [1-9]""", tests), f"no unit test in which {name} fires"


def test_every_delivered_alert_names_its_guard_and_has_its_text(drilled):
    spoken_of = rules()
    for alert in drilled.receiver.delivered("firing"):
        labels, annotations = alert["labels"], alert["annotations"]
        name = labels["alertname"]
        assert labels["severity"] in ("critical", "warning") and labels["job"] == "mcp-guard", alert
        expected = {drilled.second if name in ("McpGuardHasNoToken", "McpGuardCertificateExpires") else drilled.guard}
        if name == "McpGuardDown":
            # On a crowded machine a scrape of the other one may take too long, and the first evaluation may come before any scrape.
            expected |= {drilled.second, None}
        assert labels.get("instance") in expected, f"{name} is not about {expected}: {labels}"
        assert set(annotations) == {"summary", "action"} and all(annotations.values()), alert
        for text in annotations.values():
            assert not re.search(r"<no value>|<nil>|\{\{|\}\}|%!|NaN", text), f"{name}: {text}"
        assert all(labels.get(label) for label in spoken_of[name]), f"{name} speaks of {spoken_of[name]}, but has {labels}"


def test_every_delivered_alert_was_resolved(drilled):
    # The guards run on, and on a busy machine a scrape that takes too long begins another alert.
    names = drilled.receiver.names
    wait_until("every alert is resolved", lambda: not drilled.receiver.unresolved() and names("firing") == names("resolved"), 60)


def test_the_documentation_counts_the_alerts():
    page = (ROOT / "docs/operations.md").read_text()
    [count] = re.findall(r"(\d+) alert rules", page)
    assert int(count) == len(rules())

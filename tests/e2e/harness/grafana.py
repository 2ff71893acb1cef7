"""The shipped dashboard as Grafana would ask for it: variables, intervals, queries of panels and annotations."""

import json
import re
from dataclasses import dataclass

from harness.prometheus import Prometheus
from mcp_testkit.paths import ROOT

FILE = ROOT / "conf" / "grafana" / "mcp-guard.json"
#: What Grafana asks of a panel at most, and a third of an ordinary screen has points for.
POINTS_MAX = 600
#: In place of the values of a variable that takes several: what its entry "All" stands for.
ALL = ["$__all"]


@dataclass
class Query:
    panel: str
    ref: str
    expression: str  # With the dashboard's variables.
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel} [{self.ref}]"


@dataclass
class Window:
    """The time that is shown, and how often Prometheus scrapes: what the data source's settings say."""

    start: float
    end: float
    scrape_interval: float

    @property
    def interval(self) -> float:
        return max((self.end - self.start) / POINTS_MAX, self.scrape_interval)

    @property
    def rate_interval(self) -> float:
        """`$__rate_interval`, as the documentation of Grafana's Prometheus data source defines it."""
        return max(self.interval + self.scrape_interval, 4 * self.scrape_interval)


class Dashboard:
    def __init__(self):
        self.model = json.loads(FILE.read_text())

    def queries(self) -> list[Query]:
        """Of every panel, and of every annotation."""
        found = []
        for panel in self.model["panels"]:
            for target in panel.get("targets", []):
                found.append(Query(panel["title"], target["refId"], target["expr"], target["legendFormat"], target.get("instant", False)))
        for annotation in self.model["annotations"]["list"]:
            text = annotation["titleFormat"] + annotation["textFormat"]
            found.append(Query(f"annotation {annotation['name']}", "-", annotation["expr"], text, False))
        return found

    def variables(self, prometheus: Prometheus) -> dict[str, list[str]]:
        """The values that each variable offers, found by its own query: a later one may name earlier ones."""
        offered: dict[str, list[str]] = {}
        for variable in self.model["templating"]["list"]:
            if variable["type"] == "datasource":
                continue
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
            offered[variable["name"]] = prometheus.get(f"label/{label}/values", **{"match[]": self.filled(series, offered)})
        return offered

    def filled(self, expression: str, chosen: dict[str, list[str]], window: Window | None = None) -> str:
        """The expression with its variables: of one that takes several values, a regular expression. Nothing may be left."""
        if window:
            expression = expression.replace("$__rate_interval", f"{round(window.rate_interval * 1000)}ms")
        variables = self.model["templating"]["list"]
        several = {variable["name"]: variable.get("allValue") for variable in variables if variable.get("multi")}
        for name, values in chosen.items():
            if values == ALL:
                text = several[name]
            elif name in several:
                text = quoted(values[0]) if len(values) == 1 else "(" + "|".join(map(quoted, values)) + ")"
            else:
                [text] = values
            expression = re.sub(rf"\${name}\b", lambda _, text=text: text, expression)
        assert "$" not in expression, f"nothing fills {expression}"
        return expression


def quoted(value: str) -> str:
    """A value inside a regular expression inside a text of PromQL, as Grafana escapes it."""
    return re.sub(r"([$^*{}\[\]'+?.()|])", r"\\\\\1", value)

"""From the results of a run to its table and plots: on the terminal, and in docs/performance.md."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import plot
import quiet
from scenarios import FIGURES, POINTS, SHARED_POINTS, SWEEPS, Figure

BEGIN, END = "<!-- Written by benches/compare/compare.py --write; do not edit. -->", "<!-- End of what is written. -->"
COLUMNS = ["figure", "unit", "{build}", "nginx", "HAProxy", "byte relay", "reach", "seen: median (least to greatest round)", "result", "rounds x s"]
PEERS = ("nginx", "haproxy", "relay")
NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "relay": "relay", "toolbox": "Toolbox", "guard:single": "1 thread"}


@dataclass
class Spread:
    """The figure of each round, compared with what the row is beside."""

    values: list[float]

    figure: Figure

    @property
    def digits(self) -> int:
        return {"added": 1, "percent": 1, "value": self.figure.digits}.get(self.figure.how, 2)

    @property
    def median(self) -> float:
        """As it is shown: a ratio of 1.004 is one of 1.00."""
        return round(statistics.median(self.values), self.digits)

    def reaches(self) -> bool:
        return self.median >= self.figure.reach if self.figure.more_is_better else self.median <= self.figure.reach

    def shown(self) -> str:
        sign, unit = {"added": ("+", ""), "percent": ("+", " %")}.get(self.figure.how, ("", ""))
        number = lambda value: f"{value:{sign},.{self.digits}f}"  # noqa: E731
        return f"{number(self.median)}{unit} ({number(min(self.values))} to {number(max(self.values))})"


def medians(rounds: list[dict], side: str, key: str) -> float | None:
    values = [one[side][key] for one in rounds if key in one.get(side, {})]
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def of_build(side: str, build: str) -> str:
    return side.replace("guard", build, 1) if side.startswith("guard") else side


def peer_of(rounds: list[dict], figure: Figure, build: str) -> str:
    """The side that the row is beside: of several the better one, over all rounds."""
    sides = [(medians(rounds, of_build(side, build), figure.key), side) for side in figure.beside]
    present = [(value, side) for value, side in sides if value is not None]
    if not present:
        return ""
    return of_build((max if figure.more_is_better and figure.how == "ratio" else min)(present)[1], build)


def compared(rounds: list[dict], figure: Figure, ours: str, theirs: str) -> Spread:
    values = []
    for one in rounds:
        mine, other = one.get(ours, {}).get(figure.key), one.get(theirs, {}).get(figure.key) if theirs else None
        if mine is None or (figure.how != "value" and not other):
            continue
        match figure.how:
            case "ratio":
                values.append(mine / other)
            case "inverse":
                values.append(other / mine)
            case "added":
                values.append(mine - other)
            case "percent":
                values.append((mine / other - 1) * 100)
            case _:
                values.append(mine)
    return Spread(values, figure)


def reach(figure: Figure, rounds: list[dict], theirs: str) -> str:
    bound = f"at {'least' if figure.more_is_better else 'most'}"
    name = NAMES.get(theirs, theirs) or " or ".join(NAMES.get(side, side) for side in figure.beside)
    value = medians(rounds, theirs, figure.key)
    on = "" if value is None else f" on {shown(value, figure.digits)}"
    number = "" if value is None or theirs in PEERS else f" ({shown(value, figure.digits)})"
    match figure.how:
        case "ratio":
            return f"{bound} {figure.reach:g} x {name}{number}"
        case "inverse":
            return f"{bound} {figure.reach:g} x less than {name}{number}"
        case "added":
            return f"{bound} +{figure.reach:g}{on}"
        case "percent":
            return f"{bound} +{figure.reach:g} %{on}"
        case _:
            return f"{bound} {figure.reach:,g}"


def row(scenarios: dict, figure: Figure, build: str) -> list[str]:
    measured = scenarios.get(figure.scenario, {})
    rounds, side = measured.get("rounds", []), of_build(figure.side, build)
    theirs = peer_of(rounds, figure, build)
    spread = compared(rounds, figure, side, theirs)
    cells = [figure.title, figure.unit, shown(medians(rounds, side, figure.key), figure.digits)]
    cells += [shown(medians(rounds, peer, figure.key), figure.digits) for peer in PEERS]
    if not spread.values:
        return [*cells, reach(figure, rounds, theirs), "-", f"not measured: {measured.get('absent', 'not in this run')}", "-"]
    amount = f"{len(spread.values)} x {measured['seconds']:g}" if measured["seconds"] else "1"
    return [*cells, reach(figure, rounds, theirs), spread.shown(), "reached" if spread.reaches() else "missed", amount]


def lines(rows: list[list[str]]) -> list[str]:
    head, *rest = rows
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rest]]


def table(stored: dict, build: str = "guard") -> list[str]:
    """The rows of `make bench`, or those that --only chose."""
    scenarios = stored["scenarios"]
    rows = [row(scenarios, figure, build) for figure in FIGURES if figure.scenario in scenarios]
    return lines([[column.format(build=build) for column in COLUMNS], *rows])


def builds(stored: dict, names: list[str]) -> list[str]:
    """Each further build beside the first one, in the same rounds."""
    rows, done = [["figure", "unit", *names, *(f"{name} / {names[0]}: median (least to greatest round)" for name in names[1:])]], set()
    for figure in FIGURES:
        rounds = stored["scenarios"].get(figure.scenario, {}).get("rounds", [])
        sides = [of_build(figure.side, name) for name in names]
        spreads = [compared(rounds, Figure("", "", figure.key, "", 0), side, sides[0]) for side in sides[1:]]
        if not figure.side.startswith("guard") or (sides[0], figure.scenario, figure.key) in done or not all(each.values for each in spreads):
            continue
        done.add((sides[0], figure.scenario, figure.key))
        values = [shown(medians(rounds, side, figure.key), figure.digits) for side in sides]
        rows.append([figure.title, figure.unit, *values, *(each.shown() for each in spreads)])
    return lines(rows)


def about(stored: dict) -> list[str]:
    """The machine, how quiet it was, and how long it took."""
    watched = [one for measured in stored["scenarios"].values() for one in measured.get("quiet", [])]
    minutes = sum(one["seconds"] for one in watched) / 60
    return [f"{stored['machine']}. Measured for {minutes:.1f} minutes.", quiet.verdict(watched)]


def sweeps(stored: dict, folder: Path) -> list[str]:
    text = []
    for sweep, (x_title, y_title) in SWEEPS.items():
        names = {scenario.name: scenario.at for scenario in POINTS if scenario.sweep == sweep} | SHARED_POINTS.get(sweep, {})
        series: dict[str, list[tuple[float, float]]] = {}
        for name, at in names.items():
            rounds = stored["scenarios"].get(name, {}).get("rounds", [])
            for side in sorted({side for one in rounds for side in one}):
                if cost := medians(rounds, side, "cpu"):
                    series.setdefault(side, []).append((at, cost))
        if series and all(len(line) > 1 for line in series.values()):
            plot.draw(folder / f"{sweep}.svg", f"Cost against {x_title}", x_title, y_title, series)
            text += [f"![{y_title} against {x_title}](performance/{sweep}.svg)", ""]
            for side, line in series.items():
                text.append(f"* {NAMES.get(side, side)}, {y_title}: " + ", ".join(f"{cost:,.1f} at {at:,}" for at, cost in line))
            text.append("")
    return text


def write(stored: dict, root: Path) -> None:
    """Puts table and plots into docs/performance.md, between the two marks."""
    path = root / "docs" / "performance.md"
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    text = [BEGIN, "", *(part for line in about(stored) for part in (line, "")), *table(stored), "", *sweeps(stored, root / "docs" / "performance"), END]
    path.write_text(before + "\n".join(text) + after)


def one_line(name: str, number: int, result: dict[str, dict[str, float]]) -> str:
    """What a round gave, while the run goes on."""
    shown_keys = ("cpu", "rps", "p99", "memory", "rate", "call", "denied", "row", "rows", "ms")
    sides = []
    for side, figures in result.items():
        sides.append(f"{side} " + " ".join(f"{key} {figures[key]:,.1f}" for key in shown_keys if key in figures))
    return f"{name} {number}: " + "; ".join(sides)


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def save(path: Path, stored: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=1))

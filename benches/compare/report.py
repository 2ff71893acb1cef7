"""From the results of all runs so far to tables and plots: on the terminal, and in docs/performance.md."""

import json
import statistics
from pathlib import Path

import plot
from scenarios import FIGURES, POINTS, PROXIES, SWEEPS, TABLE, Figure

BEGIN, END = "<!-- Written by benches/compare/compare.py --write; do not edit. -->", "<!-- End of what is written. -->"


def median(runs: list[dict], key: str) -> float | None:
    values = [run[key] for run in runs if key in run]
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def terminal(title: str, runs: dict[str, list[dict]]) -> None:
    """What one scenario gave, in full."""
    keys = {"cpu": "CPU us", "rps": "req/s", "p50": "p50 us", "p99": "p99 us", "memory": "KiB/conn", "rss": "MiB"}
    present = [key for key in keys if any(key in run for one in runs.values() for run in one)]
    print(f"\n{title}\n  {'':8}" + "".join(f"{keys[key]:>12}" for key in present))
    for name, one in runs.items():
        print(f"  {name:8}" + "".join(f"{shown(median(one, key), 1):>12}" for key in present), flush=True)
    for peer in [name for name in runs if "guard" in runs and name != "guard"]:
        pairs = [(keys[key], median(runs["guard"], key), median(runs[peer], key)) for key in present]
        print(f"  guard / {peer}: " + ", ".join(f"{key} {ours / theirs:.2f}" for key, ours, theirs in pairs if ours and theirs))


def value(results: dict, figure: Figure, proxy: str) -> float | None:
    runs = results.get(figure.scenario, {})
    seen = median(runs.get(proxy, []), figure.key)
    bare = median(runs.get("none", []), figure.key) if figure.added else 0
    return None if seen is None or bare is None else seen - bare


def row(results: dict, figure: Figure) -> list[str]:
    ours, others = value(results, figure, "guard"), [value(results, figure, peer) for peer in ("nginx", "haproxy")]
    cells = [shown(ours, figure.digits), *(shown(other, figure.digits) for other in others)]
    if ours is None:
        return [figure.title, figure.unit, *cells, "-", "not measured"]
    if not figure.peer:
        return [figure.title, figure.unit, *cells, f"at most {figure.reach:g}", "reached" if ours <= figure.reach else "missed"]
    theirs = value(results, figure, figure.peer)
    if not theirs or theirs <= 0:
        return [figure.title, figure.unit, *cells, "-", "no peer"]
    ratio = ours / theirs
    good = ratio >= figure.reach if figure.more_is_better else ratio <= figure.reach
    bound = f"at {'least' if figure.more_is_better else 'most'} {figure.reach:g} x {figure.peer}"
    return [figure.title, figure.unit, *cells, bound, f"{ratio:.2f} x: {'reached' if good else 'missed'}"]


def table(results: dict) -> list[str]:
    rows = [["figure", "unit", "guard", "nginx", "HAProxy", "reach", "result"], ["---"] * 7, *(row(results, figure) for figure in FIGURES)]
    return ["| " + " | ".join(cells) + " |" for cells in rows]


def sweeps(results: dict, folder: Path) -> list[str]:
    lines = []
    for sweep, (x_title, y_title) in SWEEPS.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for point in (point for point in POINTS if point.sweep == sweep):
            for proxy in PROXIES:
                cost = median(results.get(point.name, {}).get(proxy, []), "cpu")
                if cost:
                    series.setdefault(proxy, []).append((point.at, cost))
        if series:
            plot.draw(folder / f"{sweep}.svg", f"Cost against {x_title}", x_title, y_title, series)
            lines += [f"![{y_title} against {x_title}](performance/{sweep}.svg)", ""]
            for proxy, line in series.items():
                lines.append(f"* {proxy}, {y_title}: " + ", ".join(f"{cost:,.1f} at {at:,}" for at, cost in line))
            lines.append("")
    return lines


def everything(stored: dict) -> list[str]:
    """The part of the document that a run writes."""
    results = stored["results"]
    rounds = [len(runs) for one in results.values() for runs in one.values()]
    detail = ["| scenario | proxy | CPU µs | requests/s | p50 µs | p99 µs | rounds | CPU: least, greatest |", "|---|---|---|---|---|---|---|---|"]
    for scenario in TABLE:
        for proxy, runs in results.get(scenario.name, {}).items():
            spread = sorted(run["cpu"] for run in runs if "cpu" in run)
            ends = f"{spread[0]:.1f}, {spread[-1]:.1f}" if spread else "-"
            cells = [shown(median(runs, key), digits) for key, digits in (("cpu", 1), ("rps", 0), ("p50", 0), ("p99", 0))]
            detail.append("| " + " | ".join([scenario.title, proxy, *cells, str(len(runs)), ends]) + " |")
    machine = "; ".join(sorted(set(stored["machines"])))
    about = f"{machine}. Medians of {min(rounds)} to {max(rounds)} interleaved rounds." if rounds else "Nothing measured."
    return [about, "", *table(results), "", *detail, ""]


def write(stored: dict, root: Path) -> None:
    """Puts tables and plots into docs/performance.md, between the two marks."""
    path = root / "docs" / "performance.md"
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    lines = [BEGIN, "", *everything(stored), *sweeps(stored["results"], root / "docs" / "performance"), END]
    path.write_text(before + "\n".join(lines) + after)


def load(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {"machines": [], "results": {}}


def save(path: Path, stored: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=1))

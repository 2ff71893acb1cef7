"""A line chart as SVG, drawn by hand: logarithmic axes, one line a series, values beside the last point."""

import math
from pathlib import Path

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 110, 40, 50
COLOURS = {"guard": "#c2410c", "nginx": "#15803d", "haproxy": "#1d4ed8", "none": "#6b7280"}
#: Of series without a colour of their own.
MORE = ["#111827", "#0f766e", "#7c3aed", "#be185d", "#a16207"]


def short(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten that lie in the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [tick for tick in found if low <= tick <= high]


def draw(path: Path, title: str, x_title: str, y_title: str, series: dict[str, list[tuple[float, float]]]) -> None:
    points = [point for line in series.values() for point in line]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    # At least a decade, from a round number: so that a flat line looks flat.
    y_low = 10 ** math.floor(math.log10(min(y for _, y in points)))
    y_high = max(10 * y_low, 1.2 * max(y for _, y in points))

    def place(value: float, low: float, high: float, start: float, end: float) -> float:
        return start + (end - start) * (math.log10(value / low) / math.log10(high / low))

    def x(value: float) -> float:
        return place(value, x_low, x_high, LEFT, WIDTH - RIGHT)

    def y(value: float) -> float:
        return place(value, y_low, y_high, HEIGHT - BOTTOM, TOP)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{title}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x_title}</text>',
        f'<text transform="translate(18 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>',
    ]
    for tick in ticks(y_low, y_high):
        out.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in sorted({x for x, _ in points}):
        out.append(f'<path d="M{x(tick):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#f3f4f6"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(tick)}</text>')
    labels: list[float] = []
    for number, (name, line) in enumerate(sorted(series.items(), key=lambda item: -item[1][-1][1])):
        colour = COLOURS.get(name, MORE[number % len(MORE)])
        way = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in line)
        out.append(f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for at, value in line]
        # Labels of lines that end close together are kept apart.
        label = max([y(line[-1][1]) + 4, *(above + 15 for above in labels)])
        labels.append(label)
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{label:.1f}" fill="{colour}">{name} {short(round(line[-1][1], 1))}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*out, "</svg>", ""]))

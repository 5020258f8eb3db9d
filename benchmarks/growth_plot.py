"""Draws figures over the length of the log as SVG: small panels, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS = 400, 270, 3
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 34, 30
LEGEND = 15  # height of a line of the legend
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#bf8700", "#8250df", "#768390")
INK, FAINT = "#768390", "#8c959f"
_STYLE = (
    f"text{{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:{INK}}}"
    ".t{font-size:13px;font-weight:bold}.e{text-anchor:end}.m{text-anchor:middle}"
)


class Panel(NamedTuple):
    """One picture: lines over the length of the log, each with a value per length."""

    title: str
    lines: dict[str, Sequence[float]]


class _Frame(NamedTuple):
    """Where a panel lies, and what its axes show: powers of ten."""

    x0: float
    y0: float
    x_span: tuple[float, float]
    y_span: tuple[int, int]
    height: float

    def x(self, value: float) -> float:
        low, high = self.x_span
        part = (math.log10(value) - low) / (high - low or 1)
        return self.x0 + LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_span
        part = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return self.y0 + TOP + (1 - part) * (self.height - TOP - BOTTOM)


def draw(lengths: Sequence[int], panels: Sequence[Panel]) -> str:
    """Return the panels as an SVG document without a background."""
    legend = LEGEND * max(len(panel.lines) for panel in panels)
    rows = math.ceil(len(panels) / COLUMNS)
    size = f"{WIDTH * COLUMNS} {(HEIGHT + legend) * rows}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">', f"<style>{_STYLE}</style>"]
    parts.append("<title>tagstack over the length of its log</title>")
    for number, panel in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        values = [value for line in panel.lines.values() for value in line if value > 0]
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        x_span = (math.log10(lengths[0]), math.log10(lengths[-1]))
        origin = (WIDTH * column, (HEIGHT + legend) * row)
        parts += _panel(_Frame(*origin, x_span, (low, max(high, low + 1)), HEIGHT), lengths, panel)
    return "\n".join([*parts, "</svg>", ""])


def _panel(frame: _Frame, lengths: Sequence[int], panel: Panel) -> Iterator[str]:
    yield _text(frame.x0 + 10, frame.y0 + 18, panel.title, "t")
    right = frame.x0 + WIDTH - RIGHT
    for power in range(frame.y_span[0], frame.y_span[1] + 1):
        y = frame.y(10.0**power)
        yield f'<path d="M{frame.x0 + LEFT:.0f} {y:.1f}H{right:.0f}" stroke="{FAINT}" stroke-opacity=".35"/>'
        yield _text(frame.x0 + LEFT - 6, y + 4, _short(10.0**power), "e")
    for length in lengths:
        yield _text(frame.x(length), frame.y0 + HEIGHT - 12, _short(length), "m")
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(frame.x(length), frame.y(value)) for length, value in zip(lengths, values, strict=True)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
        y = frame.y0 + HEIGHT + LEGEND * number
        yield f'<path d="M{frame.x0 + LEFT:.0f} {y - 4:.1f}h18" stroke="{colour}" stroke-width="2"/>'
        yield _text(frame.x0 + LEFT + 24, y, name)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{chosen}>{escape(text)}</text>'


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"

"""Draw bars and ranges as SVG, readable on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Final

from attrs import frozen

WIDTH: Final = 760
NAMES: Final = 160
"""Of the column on the left."""
NUMBERS: Final = 160
"""Of the column on the right."""
ROW: Final = 30
HEAD: Final = 52

_STYLE: Final = """
 text { font: 14px system-ui, sans-serif; fill: #1f2328; }
 .head { font-weight: 600; font-size: 15px; } .note, .tick { fill: #59636e; font-size: 12px; }
 .bar { fill: #8c959f; } .ours { fill: #0969da; } .line { stroke: #1f2328; stroke-width: 1.5; }
 .grid { stroke: #d1d9e0; } .dot { fill: #59636e; } .dot.ours { fill: #0969da; }
 @media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .note, .tick { fill: #9198a1; } .bar { fill: #656c76; } .ours { fill: #4493f8; }
  .line { stroke: #f0f6fc; } .grid { stroke: #3d444d; } .dot { fill: #9198a1; } .dot.ours { fill: #4493f8; }
 }
"""


@frozen
class Row:
    """One line of a picture: who, the figures from left to right, and whether it is ours."""

    name: str
    figures: Sequence[float]
    ours: bool = False


def bars(title: str, note: str, rows: Sequence[Row]) -> str:
    """Draw a bar for each row as long as its first figure, and a line from the second to the third, the spread."""
    most = max(max(row.figures) for row in rows) or 1.0
    room = WIDTH - NAMES - NUMBERS
    parts = []
    for at, row in enumerate(rows):
        middle, low, high = (figure / most * room for figure in row.figures)
        y = HEAD + at * ROW
        kind = "bar ours" if row.ours else "bar"
        parts.append(_name(row.name, y))
        parts.append(f'<rect class="{kind}" x="{NAMES}" y="{y + 5}" width="{middle:.1f}" height="{ROW - 10}" rx="2"/>')
        if high > low:
            line = f'x1="{NAMES + low:.1f}" x2="{NAMES + high:.1f}"'
            parts.append(f'<line class="line" {line} y1="{y + ROW / 2:g}" y2="{y + ROW / 2:g}"/>')
        parts.append(f'<text x="{NAMES + max(middle, high) + 8:.1f}" y="{y + 20}">{_number(row.figures[0])}</text>')
    return _svg(title, note, len(rows) * ROW, parts)


def ranges(title: str, note: str, rows: Sequence[Row]) -> str:
    """Draw the figures of each row, all above 0 and growing, as dots on a line, on a scale of powers of ten."""
    figures = [figure for row in rows for figure in row.figures]
    low, high = _power(min(figures)), _power(max(figures)) + 1
    room = WIDTH - NAMES - NUMBERS

    def place(figure: float) -> float:
        return NAMES + (log10(figure) - low) / (high - low) * room

    parts = []
    for power in range(low, high + 1):
        x = place(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{HEAD + len(rows) * ROW}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEAD + len(rows) * ROW + 16}" text-anchor="middle">')
        parts.append(f"{10.0**power:g}</text>")
    for at, row in enumerate(rows):
        y = HEAD + at * ROW + ROW / 2
        places = [place(figure) for figure in row.figures]
        parts.append(_name(row.name, y - ROW / 2))
        parts.append(f'<line class="line" x1="{places[0]:.1f}" x2="{places[-1]:.1f}" y1="{y:g}" y2="{y:g}"/>')
        kind = "dot ours" if row.ours else "dot"
        parts += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:g}" r="5"/>' for x in places]
        told = " / ".join(_number(figure) for figure in row.figures)
        parts.append(f'<text class="note" x="{WIDTH - 8}" y="{y + 4:g}" text-anchor="end">{told}</text>')
    return _svg(title, note, len(rows) * ROW + 20, parts)


def _power(figure: float) -> int:
    """Return the power of ten at or below a figure."""
    return int(log10(figure) // 1)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _name(text: str, y: float) -> str:
    return f'<text x="{NAMES - 10}" y="{y + 20:g}" text-anchor="end">{escape(text)}</text>'


def _svg(title: str, note: str, height: int, parts: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{HEAD + height + 12}" viewBox="0 0 {WIDTH} {HEAD + height + 12}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    texts = [
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="head" x="8" y="20">{escape(title)}</text>',
        f'<text class="note" x="8" y="40">{escape(note)}</text>',
    ]
    return "\n".join([head, *texts, *parts, "</svg>", ""])

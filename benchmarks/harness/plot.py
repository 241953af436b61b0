"""The table as a picture: an SVG, written by hand, with a mark for each library in each row, on a scale of ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from harness.ratios import OURS, figure

Row = Mapping[str, Any]
COLOURS = {
    "NumPy": "#7f7f7f",
    "Numba": "#2ca02c",
    "JAX jit": "#9467bd",
    "PyTorch": "#ff9896",
    "torch.compile": "#d62728",
    "tf.function": "#ffbb78",
    "tf XLA": "#ff7f0e",
    "PyTensor": "#17becf",
}
LEFT, RIGHT, TOP, STEP, WIDTH = 330, 30, 60, 18, 900
LEAST, MOST = 0.25, 256.0  # ratios at the edges; what lies beyond is drawn there


def _place(ratio: float) -> float:
    share = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def picture(rows: Sequence[Row], by: str = "median") -> str:
    """The SVG: further to the right is slower than treadle, which is the line at 1."""
    shown = [row for row in rows if figure(row, OURS, by)]
    height = TOP + STEP * len(shown) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    x = 10.0
    for name, colour in COLOURS.items():
        parts.append(f'<circle cx="{x}" cy="16" r="4" fill="{colour}"/>{_text(x + 8, 20, name)}')
        x += 30 + 6.5 * len(name)
    power = LEAST
    while power <= MOST:
        colour = "black" if power == 1 else "#dddddd"
        place = _place(power)
        parts.append(f'<path d="M{place:.1f} {TOP - 8}V{height - 24}" stroke="{colour}"/>')
        parts.append(_text(place, TOP - 14, f"{power:g}x", "middle"))
        power *= 4
    for k, row in enumerate(shown):
        y = TOP + STEP * k + 8
        parts.append(_text(LEFT - 10, y + 4, row["name"], "end"))
        ours = figure(row, OURS, by)
        assert ours is not None
        for variant, colour in COLOURS.items():
            theirs = figure(row, variant, by)
            if theirs is not None:
                parts.append(f'<circle cx="{_place(theirs / ours):.1f}" cy="{y}" r="4" fill="{colour}" opacity="0.8"/>')
    parts.append(_text(LEFT, height - 8, "time relative to treadle: right of the line is slower"))
    return "\n".join([*parts, "</svg>", ""])


def draw(path: Path, rows: Sequence[Row], by: str = "median") -> None:
    """Write the picture."""
    path.write_text(picture(rows, by))

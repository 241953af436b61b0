"""The table: a row for each case, a column for each variant; medians, and their ratio to treadle's."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import plot, ratios

Row = Mapping[str, Any]
ORDER = ("treadle", "treadle eager", "NumPy", "Numba", *ratios.PEERS)
BASE = ratios.OURS


def duration(seconds: float) -> str:
    """Three digits and a unit: 1.23 us, 45.6 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if seconds >= scale * 0.9995 or unit == "ns":
            value = seconds / scale
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    raise AssertionError("unreachable")


def cell(found: Mapping[str, Any] | None, base: float | None, unit: str = "", by: str = "median") -> str:
    """A figure with its ratio to treadle's, or why there is none."""
    if not found:
        return "-"
    value = found.get(by, found.get("median"))
    if value is None:
        return next(word for word in ("wrong", "failed", "unsupported") if word in found)
    text = f"{value:.0f} {unit}" if unit else duration(value)
    return f"{text} {value / base:5.2f}x" if base else text


def grid(rows: Sequence[Row], by: str = "median") -> tuple[list[str], list[list[str]]]:
    """Headers and cells as text; the last column is how many times treadle is faster than the best peer."""
    seen = {variant for row in rows for variant in row["cells"]}
    variants = [v for v in ORDER if v in seen] + sorted(seen - set(ORDER))
    compared = any(v in ratios.PEERS for v in variants)
    lines = []
    for row in rows:
        own = row["cells"].get(BASE, {})
        base, unit = own.get(by, own.get("median")), row.get("unit", "")
        cells = [cell(row["cells"].get(v), None if v == BASE else base, unit, by) for v in variants]
        ahead = ratios.ratio(row, by) or ratios.ratio(row)
        lines.append([row["name"], *cells, *([f"{ahead:.2f}" if ahead else "-"] if compared else [])])
    return ["case", *variants, *(["ahead"] if compared else [])], lines


def plain(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The table as aligned text."""
    widths = [max(len(line[i]) for line in [headers, *lines]) for i in range(len(headers))]

    def joined(line: Sequence[str]) -> str:
        rest = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        return "  ".join([line[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join([joined(headers), "-" * (sum(widths) + 2 * len(widths) - 2), *map(joined, lines)])


def notes(rows: Sequence[Row]) -> list[str]:
    """Counters of the cold rows, and what went wrong anywhere."""
    lines = []
    for row in rows:
        for variant, counts in row.get("counters", {}).items():
            if variant == BASE:
                lines.append(f"{row['name']}: {', '.join(f'{k} {v}' for k, v in counts.items())}")
        for variant, found in row["cells"].items():
            lines += [f"{row['name']}, {variant}: {word}: {why.splitlines()[0][:200]}" for word, why in _whys(found)]
    return lines


def _whys(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(word, found[word] or word) for word in ("wrong", "failed", "unsupported") if word in found]


def has_wrong(rows: Sequence[Row]) -> bool:
    """Whether any result disagreed with the reference."""
    return any("wrong" in found for row in rows for found in row["cells"].values())


def show(rows: Sequence[Row], missing: Sequence[str], by: str = "median") -> None:
    """Print the table, the means and the notes."""
    headers, lines = grid(rows, by)
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(plain(headers, lines))
    else:
        table = Table(*headers, title=f"{by}; x: time relative to {BASE}", caption_justify="left")
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for texts in lines:
            table.add_row(*texts)
        console = Console()
        needed = len(plain(headers, lines).splitlines()[1]) + len(headers) + 4
        console.width = max(console.width, needed)
        console.print(table)
    for line in ratios.lines(rows, by):
        print(line)
    for name in missing:
        print(f"{name}: not installed")
    for line in notes(rows):
        print(line)


def write(path: Path, rows: Sequence[Row], missing: Sequence[str], settings: Mapping[str, Any]) -> None:
    """All figures, in seconds (megabytes where a row says so), as JSON, and beside it the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"processor": platform.machine(), "python": platform.python_version(), **settings}
    means = ratios.lines(rows, str(settings.get("by", "median")))
    text = json.dumps({"about": about, "missing": list(missing), "means": means, "rows": list(rows)}, indent=1)
    path.write_text(text + "\n")
    plot.draw(path.with_suffix(".svg"), rows, str(settings.get("by", "median")))

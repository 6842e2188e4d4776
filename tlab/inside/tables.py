"""The table of a probe as people and programs read it."""

from __future__ import annotations

from typing import Any

from tlab.inside.probing import Rows


def cell(value: Any) -> str:
    """A number with four digits that mean something, a word as it is."""
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    return f"{value:.0f}" if size >= 10_000 else f"{value:.1e}" if 0 < size < 0.001 else f"{value:.3f}"


def as_text(rows: Rows, units: dict[str, str]) -> str:
    """Aligned columns under their names and units; numbers right-aligned, text left-aligned."""
    names = rows[0]._fields
    heads = [[name, units.get(name, "")] for name in names]
    columns = [[*head, *map(cell, column)] for head, column in zip(heads, zip(*rows, strict=True), strict=True)]
    numeric = [isinstance(value, (int, float)) for value in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for line in zip(*columns, strict=True):
        cells = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(line for i, line in enumerate(lines) if i != 1 or line)

"""The table of a probe as people and programs read it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pandas import DataFrame


class ProbeTable(list[Any]):
    """The rows of a probe, a NamedTuple each: a list of them that shows itself as a table, in a notebook too.

    Attributes:
        title: what was measured.
        units: column -> unit, of columns that have one.
    """

    def __init__(self, rows: Iterable[Any], title: str = "", units: Mapping[str, str] | None = None) -> None:
        super().__init__(rows)
        self.title, self.units = title, dict(units or {})

    def __repr__(self) -> str:
        return as_text(self, self.units) if self else "no rows"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        names = self[0]._fields if self else ()
        heads = [f"{name}<br><small>{html.escape(self.units.get(name, ''))}</small>" for name in names]
        body = "".join(tagged("td", (html.escape(cell(value)) for value in row)) for row in self)
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead>{tagged('th', heads)}</thead><tbody>{body}</tbody></table>"

    def to_pandas(self) -> DataFrame:
        """A row for each of these, a column for each field; units are in `attrs`."""
        import pandas

        frame = pandas.DataFrame.from_records(self, columns=list(self[0]._fields) if self else None)
        frame.attrs = {"title": self.title, "units": self.units}
        return frame


def tagged(tag: str, cells: Iterable[str]) -> str:
    """One row in HTML."""
    return f"<tr>{''.join(f'<{tag}>{text}</{tag}>' for text in cells)}</tr>"


def rows_as_json(rows: Iterable[Mapping[str, Any]], **about: Any) -> str:
    """An object with what is given, and the rows by the names of their fields; what is no number is null."""
    return json.dumps({**about, "rows": [{n: plain_value(v) for n, v in row.items()} for row in rows]}, indent=1)


def plain_value(value: Any) -> Any:
    """A value that JSON has."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: Any) -> str:
    """A number with four digits that mean something, a word as it is."""
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    return f"{value:.0f}" if size >= 10_000 else f"{value:.1e}" if 0 < size < 0.001 else f"{value:.3f}"


def as_text(rows: Sequence[NamedTuple], units: Mapping[str, str]) -> str:
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

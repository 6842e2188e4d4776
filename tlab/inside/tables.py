"""The table of a probe as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tlab.inside.pictures import PictureKind
from tlab.notebook.html import frame_of, picture_html, table_html
from tlab.wording import without_latex

if TYPE_CHECKING:
    from pandas import DataFrame

    from tlab.figures import ShownFigure

OF_EQUATIONS = ("equation", "what")
"""Columns that may have LaTeX; any other text, such as a token, is left as it is."""


class ProbeTable(list[Any]):
    """The rows of a probe, a NamedTuple each: a list that a notebook shows as a table, with the probe's picture.

    Attributes:
        title: what was measured.
        units: column -> unit, of columns that have one.
        picture: how the probe has its table drawn; None of a short one, or one of words.
    """

    def __init__(
        self,
        rows: Iterable[Any],
        title: str = "",
        units: Mapping[str, str] | None = None,
        picture: PictureKind | None = None,
    ) -> None:
        super().__init__(rows)
        self.title, self.units, self.picture = title, dict(units or {}), picture

    def __repr__(self) -> str:
        return as_text(self, self.units) if self else "no rows"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the fields of a row."""
        return self[0]._fields if self else ()

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, where there is something to see in it, and the table."""
        heads = [(name, self.units.get(name, "")) for name in self.columns]
        table = table_html(heads, [[cell(value) for value in row] for row in self], self.title)
        return (self.picture_html() if self.picture and len(self) > 1 else "") + table

    def picture_html(self) -> str:
        """The figure as a part of the page."""
        figure = self.figure()
        return picture_html(figure.png(), figure.width, f"{self.title}; the same numbers are in the table")

    def to_pandas(self) -> DataFrame:
        """A row for each of these, a column for each field; title and units are in `attrs`."""
        return frame_of(self, self.columns if self else None, {"title": self.title, "units": self.units})

    def figure(self) -> ShownFigure:
        """The table as a picture: the probe's own, or its first numbers row by row where it has none."""
        from tlab.inside.table_figure import table_figure

        return table_figure(self, self.picture, self.units, self.title)


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
    columns = [
        [*head, *(without_latex(cell(value)) if head[0] in OF_EQUATIONS else cell(value) for value in column)]
        for head, column in zip(heads, zip(*rows, strict=True), strict=True)
    ]
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

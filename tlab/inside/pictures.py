"""What kind of picture the table of a probe is. A probe declares one beside its columns; whoever shows it draws it.

Every field is the name of a column of the probe's rows, unless it says otherwise. `followed` is the column to draw over
the training, None where the picture has no one that stands out.
"""

from __future__ import annotations

from typing import NamedTuple

SHARE = "of 1"  # the unit of what lies between 0 and 1
WIDE_RATIO = 100.0  # times the smallest value: then it is their logarithms that are drawn


class Curves(NamedTuple):
    """One column of a table over time as lines to draw."""

    column: str
    lines: str  # what distinguishes them: "head", "layer", "head distance"
    steps: list[int]
    values: dict[str, list[float]]  # name of the line -> a value at each step


class Lines(NamedTuple):
    """Curves over `x`, one for each of the columns `y` and each value of `by`; heads have a panel for each layer."""

    x: str
    y: tuple[str, ...]
    by: str | None = None
    low: str | None = None  # of the interval of `y`, where it has one
    high: str | None = None
    x_name: str | None = None  # along the axis, in place of x
    doubling: bool = False  # whether x doubles from one row to the next, so that a logarithmic axis suits it

    @property
    def followed(self) -> str | None:
        return self.y[0]


class Histogram(NamedTuple):
    """Bars from `low` to `high`, with a curve over their middles on an axis of its own; a panel for each `panel`."""

    low: str
    high: str
    height: str
    curve: str
    panel: str

    @property
    def followed(self) -> str | None:
        return None


class Estimates(NamedTuple):
    """A forest plot: a row for each `name` with a point at `value`, its interval, and what it is compared with."""

    name: str
    value: str
    low: str | None = None
    high: str | None = None
    beside: str | None = None  # another value of the same row, such as before a change

    @property
    def followed(self) -> str | None:
        return self.value


class Map(NamedTuple):
    """Coloured cells at `x` and `y`."""

    x: str
    y: str
    colour: str
    text: str  # in the cell
    x_name: str  # along the axis, in place of x

    @property
    def followed(self) -> str | None:
        return None


class Matrix(NamedTuple):
    """Coloured cells: a row for each `name`, a column for each of the columns `values`, all of one scale."""

    name: str
    values: tuple[str, ...]

    @property
    def followed(self) -> str | None:
        return None


class LayerMap(NamedTuple):
    """Coloured cells: a column for each layer, a row for whatever else the keys in `name` say."""

    name: str
    colour: str

    @property
    def followed(self) -> str | None:
        return self.colour


class Points(NamedTuple):
    """A point with its name for each row."""

    name: str
    x: str
    y: str

    @property
    def followed(self) -> str | None:
        return self.y


PictureKind = Lines | Histogram | Estimates | Map | Matrix | LayerMap | Points

"""The table of a probe as a picture of the kind that the probe declares, for notebooks and files.

The app draws the same kinds in the browser; here they are in the manner of `tlab.figures`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm

from tlab.figures import BLUE, FAINT, GREY, LINE_STYLES, PALETTE, ShownFigure, escape, finish, new_figure, tidy
from tlab.inside.pictures import (
    SHARE,
    WIDE_RATIO,
    Estimates,
    Histogram,
    LayerMap,
    Lines,
    Map,
    Matrix,
    PictureKind,
    Points,
)
from tlab.wording import head_of, layer_name, part_name, several, short_head_name, sublayer_name

MAX_BARS = 40  # rows below each other that still fit a page
MAX_MARKED = 24  # places along an axis with a name each
OUTSIDE = "outside"  # the column of what is in no layer
COLOUR_MAP, SIGNED_COLOUR_MAP = "cividis", "PuOr"  # to be told apart with every kind of colour vision


class Drawn(NamedTuple):
    """What every picture needs of a table."""

    rows: Sequence[Any]
    units: Mapping[str, str]
    title: str

    def values(self, name: str) -> list[Any]:
        return [getattr(row, name) for row in self.rows]

    def axis_name(self, name: str) -> str:
        """A column as it is called along an axis, with its unit."""
        unit = self.units.get(name, "")
        return name.replace("_", " ") + (f" ({unit})" if unit and unit != SHARE else "")


def table_figure(rows: Sequence[Any], picture: PictureKind | None, units: Mapping[str, str], title: str) -> ShownFigure:
    """The rows of a probe as a picture; without a kind, their first column of numbers row by row.

    Args:
        rows: NamedTuples, of one kind.
        picture: how the probe has them drawn.
        units: column -> unit, of columns that have one.
        title: above everything.
    """
    if not rows:
        figure, axes = new_figure(7.0, 1.0)
        axes.set_axis_off()
        return finish(figure, axes, f"{title}: no rows")
    kind = picture or default_picture(rows)
    return FIGURES_BY_KIND[type(kind)](kind, Drawn(rows, units, title))


def default_picture(rows: Sequence[Any]) -> Estimates:
    """The first column of numbers, and the first of texts to name the rows by, where there is one."""
    fields = rows[0]._fields
    texts = [name for name in fields if isinstance(getattr(rows[0], name), str)]
    numbers = [name for name in fields if isinstance(getattr(rows[0], name), (int, float))]
    return Estimates(texts[0] if texts else "", numbers[0])


def shown_name(value: Any) -> str:
    """What a row is called: a part of the model as people say it, and anything else as it is."""
    return escape(part_name(value) if isinstance(value, str) else str(value))


def spans_widely(values: Sequence[float]) -> bool:
    """Whether the values suit a logarithmic scale: all above 0, and far from each other."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > WIDE_RATIO


def known_values(values: Sequence[float]) -> list[float]:
    """Those that can be drawn."""
    return [value for value in values if math.isfinite(value)]


# --- lines ---


def lines_figure(kind: Lines, drawn: Drawn) -> ShownFigure:
    """A line for each column, or for each value of `by`: heads have a panel for each layer."""
    first, others = kind.y[0], kind.y[1:]
    groups: dict[str, list[Any]] = {}
    for row in drawn.rows:
        groups.setdefault(part_name(str(getattr(row, kind.by))) if kind.by else "", []).append(row)
    panels: dict[str, dict[str, list[Any]]] = {}  # one for heads of a layer, "" for anything else
    for name, group in groups.items():
        line, _, panel = name.partition(" of ")
        panels.setdefault(panel, {})[line] = group
    figure, grid = new_figure(max(7.0, 3.4 * len(panels)), 3.8, ncols=len(panels), sharey=True, squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        lines = panels[panel]
        tidy(axes)
        for i, (line, column) in enumerate(itertools.product(lines, kind.y)):
            name = line or (column.replace("_", " ") if others else "")
            color, style = PALETTE[i % len(PALETTE)], LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)]
            draw_line(axes, kind, lines[line], column, linestyle=style, color=color, label=escape(name) or None)
        name_places(axes, kind, drawn)
        if kind.doubling:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(escape(panel), fontsize=10)
        axes.set_xlabel(drawn.axis_name(kind.x))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=9, framealpha=0.85, edgecolor="none")
    unit = drawn.units.get(first, "")
    grid[0][0].set_ylabel(drawn.axis_name(first) if not others else "share" if unit == SHARE else unit)
    return titled(figure, grid[0][0], drawn)


def draw_line(axes: Axes, kind: Lines, group: Sequence[Any], column: str, **style: Any) -> None:
    """One line, in the band of its interval where it has one."""
    x = [getattr(row, kind.x) for row in group]
    x = list(range(len(x))) if isinstance(x[0], str) else x
    axes.plot(x, [getattr(row, column) for row in group], marker="o", markersize=3, **style)
    if kind.low and kind.high:
        low, high = ([getattr(row, name) for row in group] for name in (kind.low, kind.high))
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def name_places(axes: Axes, kind: Lines, drawn: Drawn) -> None:
    """Along x the names of its places, where they have some."""
    names = drawn.values(kind.x_name or kind.x)
    if isinstance(names[0], str) and len(names) <= 3 * MAX_MARKED:
        few = len(names) <= MAX_MARKED
        axes.set_xticks(
            range(len(names)), [shown_name(name) for name in names], rotation=0 if few and kind.x_name else 90
        )
        axes.tick_params(axis="x", labelsize=8)


def histogram_figure(kind: Histogram, drawn: Drawn) -> ShownFigure:
    """Bars, and a curve over their middles on an axis of its own; a panel for each layer."""
    panels: dict[Any, list[Any]] = {}
    for row in drawn.rows:
        panels.setdefault(getattr(row, kind.panel), []).append(row)
    figure, grid = new_figure(max(7.0, 3.4 * len(panels)), 3.4, ncols=len(panels), sharey=True, squeeze=False)
    for axes, (panel, rows) in zip(grid[0], panels.items(), strict=True):
        low, high, height, curve = (
            np.array([getattr(row, name) for row in rows], float)
            for name in (kind.low, kind.high, kind.height, kind.curve)
        )
        axes.bar(low, height, high - low, align="edge", color=BLUE, alpha=0.6)
        tidy(axes)
        right = axes.twinx()
        right.plot((low + high) / 2, curve, color=PALETTE[1], label=kind.curve.replace("_", " "))
        right.spines[["top"]].set_visible(False)
        axes.set_title(escape(layer_name(panel) if isinstance(panel, int) else shown_name(panel)), fontsize=10)
        axes.set_xlabel(f"{drawn.axis_name(kind.low)} to {drawn.axis_name(kind.high)}")
    grid[0][0].set_ylabel(drawn.axis_name(kind.height))
    return titled(figure, grid[0][0], drawn)


# --- points ---


def estimates_figure(kind: Estimates, drawn: Drawn) -> ShownFigure:
    """A point for each row, with its interval and with what it is compared with; the first row at the top."""
    rows = drawn.rows[:MAX_BARS]
    beyond = f" (the first {len(rows)} of {several(len(drawn.rows), 'row')})" if len(drawn.rows) > len(rows) else ""
    figure, axes = new_figure(7.0, 1.0 + 0.26 * len(rows))
    places, values = range(len(rows)), [float(getattr(row, kind.value)) for row in rows]
    everything = known_values([*values, *([float(getattr(row, kind.beside)) for row in rows] if kind.beside else [])])
    if not kind.low and spans_widely(everything):
        axes.set_xscale("log")
    else:
        axes.axvline(0, color=GREY, linewidth=1)
    if kind.low and kind.high:
        axes.hlines(places, *([getattr(row, end) for row in rows] for end in (kind.low, kind.high)), color=BLUE)
    else:
        axes.hlines(places, axes.get_xlim()[0] if axes.get_xscale() == "log" else 0, values, color=FAINT)
    if kind.beside:
        beside = [getattr(row, kind.beside) for row in rows]
        axes.plot(beside, places, "o", color=GREY, markerfacecolor="white", label=kind.beside.replace("_", " "))
    named = kind.value.replace("_", " ") if kind.beside else None
    axes.plot(values, places, "o", color=BLUE, markersize=5, label=named)
    names = [shown_name(getattr(row, kind.name)) if kind.name else f"row {i + 1}" for i, row in enumerate(rows)]
    axes.set_yticks(places, names, fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_xlabel(drawn.axis_name(kind.value) + beyond)
    return titled(figure, axes, drawn)


def points_figure(kind: Points, drawn: Drawn) -> ShownFigure:
    """A point with its name for each row."""
    figure, axes = new_figure(6.4, 4.4)
    tidy(axes)
    x, y = drawn.values(kind.x), drawn.values(kind.y)
    axes.plot(x, y, "o", color=BLUE)
    for name, *place in zip(drawn.values(kind.name), x, y, strict=True):
        head = head_of(str(name))
        shown = short_head_name(*head) if head else shown_name(name)
        axes.annotate(escape(shown), place, xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(0.08)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.get_major_locator().set_params(integer=False)
    axes.set(xlabel=drawn.axis_name(kind.x), ylabel=drawn.axis_name(kind.y))
    return titled(figure, axes, drawn)


# --- coloured cells ---


def cells_figure(
    drawn: Drawn,
    across: Sequence[str],
    down: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[float, str]],
    colour: str,
    *,
    colour_name: str | None = None,
    axis_names: tuple[str, str] = ("", ""),
) -> ShownFigure:
    """Coloured cells with texts in them: `cells` has a value and a text for each place across and down."""
    values = np.full((len(down), len(across)), math.nan)
    for (column, line), (value, _) in cells.items():
        values[line, column] = value
    known = known_values(values.ravel().tolist()) or [0.0]
    signed = min(known) < 0
    width = max(6.0, 2.4 + max(0.55, 0.075 * max(len(text) for _, text in cells.values())) * len(across))
    figure, axes = new_figure(min(width, 18.0), 1.4 + 0.3 * len(down))
    norm = scale_of(known, drawn.units.get(colour) == SHARE)
    shown = np.ma.masked_invalid(values)
    if isinstance(norm, LogNorm):
        shown = np.ma.masked_less_equal(shown, 0)
    image = axes.imshow(shown, cmap=SIGNED_COLOUR_MAP if signed else COLOUR_MAP, norm=norm, aspect="auto")
    for (column, line), (value, text) in cells.items():
        level = float(np.ma.filled(norm(value), 0.0)) if math.isfinite(value) else 0.5
        dark = not 0.2 < level < 0.8 if signed else level < 0.55
        axes.text(column, line, escape(text), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(across)), [escape(name) for name in across], fontsize=9)
    axes.set_yticks(range(len(down)), [escape(name) for name in down], fontsize=9)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label=drawn.axis_name(colour) if colour_name is None else colour_name)
    return titled(figure, axes, drawn)


def scale_of(values: Sequence[float], is_share: bool) -> Normalize:
    """Colours from the lowest to the highest value: around 0 where some are below it, by powers where they are far."""
    low, high = min(values), max(values)
    if low < 0:
        size = max(abs(low), abs(high))
        return TwoSlopeNorm(0.0, -size, size)
    positive = [value for value in values if value > 0]
    if positive and not is_share and spans_widely(positive):
        return LogNorm(min(positive), high)
    low = 0.0 if is_share else low
    return Normalize(low, high if high > low else low + 1)


def map_figure(kind: Map, drawn: Drawn) -> ShownFigure:
    """Cells at x and y, with the text that stands there; the first layer at the bottom."""
    across = dict(zip(drawn.values(kind.x), drawn.values(kind.x_name), strict=True))
    down = sorted(set(drawn.values(kind.y)), reverse=True)
    places = {x: i for i, x in enumerate(across)}, {y: i for i, y in enumerate(down)}
    cells = {
        (places[0][getattr(row, kind.x)], places[1][getattr(row, kind.y)]): (
            getattr(row, kind.colour),
            str(getattr(row, kind.text)),
        )
        for row in drawn.rows
    }
    names, axis_names = [str(name) for name in across.values()], (drawn.axis_name(kind.x_name), drawn.axis_name(kind.y))
    return cells_figure(drawn, names, [str(y) for y in down], cells, kind.colour, axis_names=axis_names)


def matrix_figure(kind: Matrix, drawn: Drawn) -> ShownFigure:
    """A line of cells for each row, a column for each of the columns."""
    down = [part_name(str(name)) for name in drawn.values(kind.name)]
    cells = {
        (column, line): (value := getattr(row, name), f"{value:.2f}")
        for line, row in enumerate(drawn.rows)
        for column, name in enumerate(kind.values)
    }
    across, unit = [name.replace("_", " ") for name in kind.values], drawn.units.get(kind.values[0], "")
    return cells_figure(drawn, across, down, cells, kind.values[0], colour_name="share" if unit == SHARE else unit)


def layer_map_figure(kind: LayerMap, drawn: Drawn) -> ShownFigure:
    """A column of cells for each layer, and one for what is in no layer."""
    placed: dict[tuple[str, str], float] = {}
    for row in drawn.rows:
        key, value = str(getattr(row, kind.name)), getattr(row, kind.colour)
        what, of, layer = part_name(key).rpartition(" of ")
        in_layer = bool(of) and layer.startswith("layer ")
        placed[(layer, what) if in_layer else (OUTSIDE, sublayer_name(key))] = value
    across = sorted({x for x, _ in placed}, key=lambda name: (name == OUTSIDE, len(name), name))
    down = list(dict.fromkeys(y for _, y in placed))
    cells = {(across.index(x), down.index(y)): (value, f"{value:.2g}") for (x, y), value in placed.items()}
    return cells_figure(drawn, across, down, cells, kind.colour)


def titled(figure: ShownFigure, axes: Axes, drawn: Drawn) -> ShownFigure:
    """With the table's title above everything, and in the font of all figures."""
    figure.suptitle(escape(drawn.title), fontsize=11, x=0.01, ha="left")
    return finish(figure, axes, None)


FIGURES_BY_KIND: dict[type, Callable[[Any, Drawn], ShownFigure]] = {
    Lines: lines_figure,
    Histogram: histogram_figure,
    Estimates: estimates_figure,
    Points: points_figure,
    Map: map_figure,
    Matrix: matrix_figure,
    LayerMap: layer_map_figure,
}

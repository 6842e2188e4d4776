"""Figures of what a sweep found: the grid, effects of levels, interactions, loss against cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from sweeps.grid.fields import REPLICATE
from sweeps.report.run_figures import (
    CellCurves,
    draw_levels,
    draw_losses_across,
    finish_levels,
    level_styles,
    levels_of,
    step_label,
    write_beside,
)
from sweeps.results.effects import Effect, interaction_residuals
from sweeps.results.labels import axis_name, level_name, level_phrase
from sweeps.results.summary import Counts, configurations, count_statuses, has_value
from sweeps.results.table import UNCOMPARED, Table
from tlab.figures import BLUE, FONT, GREY, escape, finish, new_figure, tidy
from tlab.judging.few_seeds import MARGIN
from tlab.text.units import NATS_PER_TOKEN

GRID_COLOURS = "cividis"  # made to look the same with every kind of colour vision; pale is a high loss
RESIDUAL_COLOURS = "PuOr"  # two hues that can be told apart with every kind of colour vision
MAX_ROWS = 48  # of the heat map; further axes are averaged over
MAX_NUMBERED_COLUMNS = 14  # columns with numbers in the cells that can still be read
OUTLIER = 4.0  # losses farther above the median than this many times its distance to the lowest share a colour
DARK = 0.55  # of the colours: below it, what is written on them is white


# ------------------------------------------------------------------------------------------------ the grid


def grid_figure(table: Table) -> Figure:
    """Every cell of the grid as a coloured, numbered square: the mean over seeds, and how many did not end well.

    The axis with the most levels runs across. The others run down, nested; those that would make too many rows are
    averaged over, but no text is averaged with another. Of several texts, colours are of the distance to the lowest
    loss of the same text.
    """
    if not table.axes or not table.rows:
        return note_figure("no grid to show: no axis, or no cells yet")
    across = max(table.axes, key=lambda axis: len(levels_of(table, axis)))
    down = [axis for axis in table.axes if axis != across]
    down.sort(key=lambda axis: axis != UNCOMPARED)  # the text first, as the last ones may be averaged over
    while len(rows_of(table, down)) > MAX_ROWS:
        down.pop()
    columns, rows = levels_of(table, across), rows_of(table, down)
    cells: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in table.rows:
        cells.setdefault((tuple(row[axis] for axis in down), row[across]), []).append(row)
    means = np.full((len(rows), len(columns)), math.nan)
    for i, j in itertools.product(range(len(rows)), range(len(columns))):
        losses = [row["val_loss"] for row in cells.get((rows[i], columns[j]), ()) if has_value(row)]
        means[i, j] = np.mean(losses) if losses else math.nan
    names = [escape(" · ".join(map(level_phrase, down, row))) for row in rows]
    width = 1.6 + 0.075 * max(map(len, names), default=0) + min(9.0, 0.85 * len(columns))
    figure, axes = new_figure(max(4.6, width), 1.9 + 0.27 * len(rows))
    has_texts = UNCOMPARED in (*down, across)
    shades = above_best_of_text(means, rows, columns, (*down, across)) if has_texts else means.copy()
    limits = loss_limits(shades)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        if np.isfinite(means[i, j]) and count_statuses(cells[row, column]).lost:
            shades[i, j] = max(limits[1], shades[i, j])  # a lost run is a bad result, whatever the mean of the others
    colours = draw_squares(axes, shades, GRID_COLOURS, limits)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        counts = count_statuses(cells.get((row, column), ()))
        write_cell(axes, ink_on(colours, shades[i, j]), i, j, means[i, j], counts, len(columns))
    label_squares(axes, names, [escape(level_name(across, level)) for level in columns], 60)
    axes.set_xlabel(escape(axis_name(across)))
    extend = "max" if np.nanmax(shades, initial=0.0) > (colours.norm.vmax or 0.0) else "neither"
    what = "above the lowest of the same text" if has_texts else "final validation loss"
    draw_scale(figure, axes, colours, f"{what} ({table.unit})", extend)
    averaged = [axis_name(axis) for axis in table.axes if axis != across and axis not in down]
    title = "Final validation loss of the grid" + (f", mean over {', '.join(averaged)}" if averaged else "")
    return finish(figure, axes, title)


def above_best_of_text(
    means: np.ndarray, rows: Sequence[tuple[Any, ...]], columns: Sequence[Any], axes: Sequence[str]
) -> np.ndarray:
    """Each loss minus the lowest of its text: (rows, columns). `axes` are those of a row and, the last, of a column."""
    place = list(axes).index(UNCOMPARED)
    texts = np.array([[str((*row, column)[place]) for column in columns] for row in rows])
    above = means.copy()
    for text in np.unique(texts):
        above[texts == text] -= np.nanmin(means[texts == text], initial=math.inf)
    return above


def rows_of(table: Table, axes: Sequence[str]) -> list[tuple[Any, ...]]:
    places = [{level: i for i, level in enumerate(levels_of(table, axis))} for axis in axes]
    found = {tuple(row[axis] for axis in axes) for row in table.rows}
    return sorted(found, key=lambda row: [place[level] for place, level in zip(places, row, strict=True)])


def loss_limits(means: np.ndarray, margin: float = MARGIN) -> tuple[float, float]:
    """Lowest and highest loss that have a colour of their own: one wild cell must not make all others look alike.

    They are at least a margin apart: what is called equivalent looks so.
    """
    found = means[np.isfinite(means)]
    if not len(found):
        return 0.0, 1.0
    lowest, middle, highest = found.min(), np.median(found), found.max()
    return float(lowest), float(max(lowest + margin, min(highest, middle + OUTLIER * max(middle - lowest, 1e-3))))


def draw_squares(axes: Axes, values: np.ndarray, colours: str, limits: tuple[float, float]) -> ScalarMappable:
    """A square for each value, (rows, columns); grey where there is none."""
    axes.set_facecolor("#EEEEEE")
    axes.spines[:].set_visible(False)
    lowest, highest = limits
    norm = Normalize(lowest, highest if highest > lowest else lowest + 1e-9)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, values.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, values.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, labelsize=9)
    return image


def label_squares(axes: Axes, rows: Sequence[str], columns: Sequence[str], room: int) -> None:
    """room: characters that fit side by side below the squares."""
    axes.set_xticks(range(len(columns)), columns, rotation=0 if sum(map(len, columns)) < room else 60)
    axes.set_yticks(range(len(rows)), rows)


def write_cell(axes: Axes, ink: str, i: int, j: int, mean: float, counts: Counts, num_columns: int) -> None:
    remark = " ".join(f"{n} {w}" for n, w in ((counts.diverged, "div."), (counts.failed, "fail.")) if n)
    number = f"{mean:.3f}" if math.isfinite(mean) else ""
    text = remark if num_columns > MAX_NUMBERED_COLUMNS else " | ".join(filter(None, (number, remark)))
    size = 8 if not remark or num_columns <= 5 else 6.5
    axes.text(j, i, text, ha="center", va="center", fontsize=size, color=ink)


def ink_on(colours: ScalarMappable, value: float) -> str:
    if not math.isfinite(value):
        return "black"
    red, green, blue, _ = colours.to_rgba(np.array([value]))[0]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < DARK else "black"


def draw_scale(figure: Figure, axes: Axes, colours: ScalarMappable, label: str, extend: str = "neither") -> None:
    bar = figure.colorbar(colours, ax=axes, label=label, location="bottom", aspect=40, pad=0.03, extend=extend)
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


# ------------------------------------------------------------------------------------------------ effects


def main_effects_figure(effects: Sequence[Effect], unit: str = NATS_PER_TOKEN) -> Figure:
    """Each level's mean minus that of all levels of its axis, with its 95 % interval; left of the line is better.

    Args:
        effects: of one axis or of several, from `effects.main_effects`.
        unit: of their losses.
    """
    drawn = list(effects)
    num_rows = max(3, len(drawn) + len({one.axis for one in drawn}))
    figure, axes = new_figure(5.8, 1.3 + 0.29 * num_rows)
    draw_losses_across(axes)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=1)
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for axis, of_axis in itertools.groupby(drawn, key=lambda one: one.axis):
        across = axes.get_yaxis_transform()
        axes.text(0.015, y, escape(axis_name(axis)), transform=across, fontsize=9, color=GREY, va="center")
        for one in of_axis:
            y += 1
            ticks.append((y, escape(level_name(axis, one.level))))
            draw_effect(axes, one, y)
        y += 1.2
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks], fontsize=9)
    reach = axis_reach(drawn)
    axes.set(ylim=(max(y - 0.4, 1.0), -0.6), xlim=(-reach, reach))
    axes.set_xlabel(f"loss minus the mean of all levels ({unit}); lower is better")
    seeds = max((one.estimate.n for one in drawn), default=0)
    intervals = "one seed, so no intervals" if seeds < 2 else f"{seeds} seeds, 95 % intervals"
    return finish(figure, axes, f"Main effects ({intervals})")


def draw_effect(axes: Axes, effect: Effect, y: float) -> None:
    mean, low, high, n = effect.estimate
    if not n:
        write_beside(axes, y, "", effect.counts.caveat or "no complete combination")
        return
    if math.isfinite(low):
        axes.plot([low, high], [y, y], color=BLUE, linewidth=2.2, solid_capstyle="butt", alpha=0.6)
    axes.plot([mean], [y], "o", color=BLUE, markersize=6, mew=0)
    write_beside(axes, y, f"{mean:+.3f}", effect.counts.caveat)


def axis_reach(effects: Sequence[Effect]) -> float:
    """How far the axis goes: to the ends of the intervals, but for those that are much longer than any effect."""
    means = [abs(one.estimate.mean) for one in effects if one.estimate.n]
    ends = [max(-one.estimate.low, one.estimate.high) for one in effects if one.estimate.n > 1]
    largest = max(means, default=0.0)
    return max(MARGIN, 1.08 * (min(max(ends, default=largest), 4 * largest) if ends else largest))


def interaction_figure(table: Table, axes_pair: tuple[str, str]) -> Figure:
    """How far the loss of each pair of levels lies from the sum of their effects; all zero without interaction."""
    first, second, values = interaction_residuals(table, axes_pair)
    if len(second) > len(first):  # the longer one runs down, where a phone has room
        axes_pair, first, second, values = (axes_pair[1], axes_pair[0]), second, first, values.T
    figure, axes = new_figure(max(4.4, 2.0 + 0.75 * len(second)), 1.75 + 0.3 * len(first))
    largest = float(np.nanmax(np.abs(values), initial=MARGIN))  # what is within the margin is pale
    colours = draw_squares(axes, values, RESIDUAL_COLOURS, (-largest, largest))
    if len(second) <= MAX_NUMBERED_COLUMNS:
        for (i, j), value in np.ndenumerate(values):
            text = f"{value:+.3f}" if math.isfinite(value) else "none"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=ink_on(colours, value))
    down, across = (
        [escape(level_name(axis, one)) for one in levels]
        for axis, levels in zip(axes_pair, (first, second), strict=True)
    )
    label_squares(axes, down, across, 45)
    draw_scale(figure, axes, colours, f"deviation from the sum of effects ({table.unit})")
    return finish(figure, axes, " with ".join(map(axis_name, axes_pair)))


# ------------------------------------------------------------------------------------------------ cost


COSTS = {"cpu_seconds": "processor seconds per run", "n_params": "parameters"}
"""Column -> the label of its axis. Time is the processor's: by the clock, a cell that shared it looks slower."""


def cost_figure(table: Table, column: str) -> Figure:
    """A dot for each configuration: its loss against its cost; the line joins those that no other beats on both."""
    by_id = {row["cell_id"]: row for row in table.rows}
    shown = []
    for one in configurations(table):
        rows = [by_id[cell] for cell in one.ran if has_value(by_id[cell]) and by_id[cell].get(column)]
        if rows:
            shown.append((float(np.mean([row[column] for row in rows])), one))
    if not shown:
        return note_figure(f"no cell has a number of {COSTS[column]}")
    figure, axes = new_figure(5.2, 4.2)
    coloured = table.axes[0] if table.axes else REPLICATE
    colours = {level: style["color"] for level, style in level_styles(table, coloured).items()}
    for level, colour in colours.items() if table.axes else ():
        axes.plot([], [], "o", color=colour, markersize=6, label=escape(level_phrase(coloured, level)))
    for cost, one in shown:
        losses = list(one.losses.values())
        colour = colours[one.levels[coloured][0]] if table.axes else next(iter(colours.values()))
        axes.plot([cost, cost], [min(losses), max(losses)], color=colour, linewidth=1, alpha=0.5)
        inside = "none" if one.counts.lost else colour
        axes.plot([cost], [one.mean], "o", color=colour, markerfacecolor=inside, markersize=6, alpha=0.85)
    fewest = min(one.counts.lost for _, one in shown)
    for text in dict.fromkeys(one.text for _, one in shown):
        front = pareto([(cost, one.mean) for cost, one in shown if one.text == text and one.counts.lost == fewest])
        axes.plot(*zip(*front, strict=False), color=GREY, linewidth=1, linestyle="--", zorder=1)
    tidy(axes)
    axes.margins(x=0.06)
    axes.set_xlabel(COSTS[column] + (" (mean over seeds)" if column == "cpu_seconds" else ""))
    axes.set_ylabel(f"final validation loss ({table.unit})")
    if column == "cpu_seconds":
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    title = f"Loss against {'processor time' if column == 'cpu_seconds' else 'parameters'}"
    return finish_levels(figure, [axes], table, coloured, title) if table.axes else finish(figure, axes, title)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats on both, by cost."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


# ------------------------------------------------------------------------------------------------ gradients


def gradient_norm_figure(table: Table, norms: CellCurves, axis: str) -> Figure:
    """The norm of all gradients before clipping, by level, on a logarithmic axis; a band from seed to seed.

    Norms differ by factors, so it is their logarithms that are averaged over the other axes.
    """
    logarithms = {
        cell_id: [(step, math.log10(norm)) for step, norm in points if norm > 0] for cell_id, points in norms.items()
    }
    figure, axes = new_figure(4.9, 3.7)
    draw_levels(axes, table, logarithms, axis)
    low, high = axes.get_ylim()
    decades = range(math.floor(low), math.ceil(high) + 1)
    per_decade = (1,) if high - low > 4 else (1, 2, 5) if high - low > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    axes.yaxis.set_major_locator(FixedLocator([decade + math.log10(m) for decade in decades for m in per_decade]))
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:.2g}"))
    axes.set(ylabel="gradient norm", xlabel=step_label(norms))
    return finish_levels(figure, [axes], table, axis, axis_name(axis))


def note_figure(note: str) -> Figure:
    figure = Figure(figsize=(5.2, 0.8), layout="constrained")
    figure.text(0.02, 0.5, escape(note), va="center", color=GREY, fontsize=10, fontfamily=FONT)
    return figure

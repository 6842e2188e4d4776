"""Figures of single runs and levels: learning curves, and the final loss of every seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from sweeps.grid.fields import REPLICATE
from sweeps.results.effects import balanced_rows
from sweeps.results.labels import axis_name, configuration_name, level_name, level_phrase
from sweeps.results.summary import configurations
from sweeps.results.table import Table
from sweeps.store.record import OK
from tlab.figures import (
    FAINT,
    FONT,
    GREY,
    LINE_STYLES,
    MAX_NAMES_BELOW,
    PALETTE,
    escape,
    finish,
    moving_average,
    new_figure,
    smoothing_window,
    tidy,
)
from tlab.judging.few_seeds import MARGIN
from tlab.types import Array

CellCurves = Mapping[str, Sequence[tuple[int, float]]]
"""Id of a cell that ran -> (step, value) of one metric of its training."""

ORDERED_COLOURS = "cividis"  # for levels that are numbers: dark to light, with every kind of colour vision
MAX_INSIDE = 8  # levels whose names hide no curve
MAX_CONFIGURATIONS = 60  # rows that still fit a page
LEGEND_CHARACTERS = 110  # that fit into one line of the legend


# ------------------------------------------------------------------------------------------------ colours


def levels_of(table: Table, axis: str) -> list[Any]:
    levels = list(dict.fromkeys(row[axis] for row in table.rows))
    return sorted(levels) if are_numbers(levels) else levels


def are_numbers(levels: Sequence[Any]) -> bool:
    return all(isinstance(level, (int, float)) for level in levels)


def level_styles(table: Table, axis: str) -> dict[Any, dict[str, Any]]:
    """Colour and line style of each level: numbers have an order, and their colours show it."""
    levels = levels_of(table, axis)
    if len(levels) > 2 and are_numbers(levels):
        places = np.linspace(0.0, 0.85, len(levels))  # not to the end: its yellow is too pale on white
        colours, lines = colormaps[ORDERED_COLOURS](places), ["-"]
    else:
        colours, lines = PALETTE, LINE_STYLES
    return {
        level: {"color": colours[i % len(colours)], "linestyle": lines[i // len(colours) % len(lines)]}
        for i, level in enumerate(levels)
    }


def finish_levels(figure: Figure, panels: Sequence[Axes], table: Table, axis: str, title: str) -> Figure:
    """Title and names of the levels, of which the first panel has the curves; many of them beside it.

    Many numbers are named by a scale of colours, in which some are written.
    """
    levels = levels_of(table, axis)
    if len(levels) <= MAX_INSIDE:
        return finish(figure, panels[0], title)
    if not are_numbers(levels):
        longest = max(len(level_name(axis, level)) for level in levels)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + math.ceil(len(levels) / MAX_NAMES_BELOW) * (0.5 + 0.08 * longest), height)
        return finish(figure, panels[0], title, legend="beside")
    for line in panels[0].get_lines():
        line.set_label("_")  # named by the scale
    colours = ListedColormap([style["color"] for style in level_styles(table, axis).values()])
    norm = BoundaryNorm(np.arange(len(levels) + 1) - 0.5, len(levels))
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=list(panels), aspect=40, label=axis_name(axis))
    written = np.linspace(0, len(levels) - 1, MAX_INSIDE).round().astype(int).tolist()
    bar.set_ticks(written, labels=[escape(level_name(axis, levels[i])) for i in written], fontsize=9)
    bar.minorticks_off()
    return finish(figure, panels[0], title)


def draw_losses_across(axes: Axes) -> None:
    """For a figure with a row per configuration or level: losses run across, with a grid for them."""
    tidy(axes)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def write_beside(axes: Axes, row: float, number: str, remark: str) -> None:
    """Right of a row, outside the axes: its number and what the number leaves out."""
    text = "  ".join(filter(None, (number, remark)))
    axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)


# ------------------------------------------------------------------------------------------------ learning curves


def learning_curves_figure(table: Table, curves: CellCurves, axis: str | None) -> Figure:
    """The training loss of each level of an axis, and below it how far each level is from the mean of all.

    A level's curve is the mean over those levels of all other axes at which every level has a loss, for each seed by
    itself: else a level would look better for its cells that diverged. The line is the mean over seeds and the band
    reaches from the lowest seed to the highest. Where cells of a seed read the same batches, the difference within
    a seed is free of the batches' noise: the lower panel shows what the upper one hides. Without axes, seeds differ.
    """
    if axis is None:
        figure, axes = new_figure(6.4, 4.0)
        draw_levels(axes, table, curves, REPLICATE)
        axes.set_xlabel(step_label(curves))
        return finish(figure, axes, "Training loss of each seed")
    figure, (above, below) = new_figure(5.2, 5.6, nrows=2, height_ratios=(3, 2))
    drawn = draw_levels(above, table, curves, axis)
    seeds = sorted(set.intersection(*(set(of_level) for of_level, _ in drawn))) if drawn else []
    if len(drawn) > 1 and seeds and axis in table.compared_axes:
        grand_mean = {seed: mean_curve([of_level[seed] for of_level, _ in drawn]) for seed in seeds}
        for of_level, style in drawn:
            draw_band(below, [curve_difference(of_level[seed], grand_mean[seed]) for seed in seeds], style)
        tidy(below)
        focus(below)
        below.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        below.set(ylabel="minus the mean\nof all levels", xlabel=step_label(curves))
    else:
        below.set_visible(False)
        above.set_xlabel(step_label(curves))
    finish_levels(figure, [above, below], table, axis, axis_name(axis))
    num_seeds = len({row[REPLICATE] for row in table.rows})
    words = "one seed" if num_seeds == 1 else f"{num_seeds} seeds, band from the lowest to the highest"
    figure.suptitle(f"Training loss by level ({words})", fontsize=10, x=0.01, ha="left", fontfamily=FONT)
    return figure


def step_label(curves: CellCurves) -> str:
    """The label of the steps, which says how the curves above it are smoothed."""
    window = smoothing_window(max(map(len, curves.values()), default=0))
    return f"step (curves: mean of up to {window} steps)" if window > 1 else "step"


def draw_levels(
    axes: Axes, table: Table, curves: CellCurves, axis: str
) -> list[tuple[dict[int, Array], dict[str, Any]]]:
    """A curve for each level; -> for each level that has one, seed -> curve, and its style."""
    drawn = []
    comparable = {id(row) for row in balanced_rows(table, axis)}
    for level, style in level_styles(table, axis).items():
        rows = [row for row in table.rows if row[axis] == level]
        ended = Counter(row["status"] for row in rows if row["status"] != OK)
        remarks = [f"{count} of {len(rows)} {status}" for status, count in ended.items()]
        label = escape(level_name(axis, level)) + (f" ({', '.join(remarks)})" if remarks else "")
        of_level = seed_curves([row for row in rows if id(row) in comparable], curves)
        draw_band(axes, list(of_level.values()), style, label)
        if of_level:
            drawn.append((of_level, style))
    tidy(axes)
    axes.set_ylabel(f"loss ({table.unit})")
    return drawn


def seed_curves(rows: Sequence[Mapping[str, Any]], curves: CellCurves) -> dict[int, Array]:
    """Seed -> its mean smoothed curve over these rows, (number of steps, 2) with columns step and loss."""
    by_seed: dict[int, list[Array]] = {}
    for row in rows:
        points = curves.get(row["alias_of"] or row["cell_id"], ())
        if row["status"] == OK and len(points):
            steps, losses = zip(*points, strict=True)
            smooth = moving_average(losses, smoothing_window(len(losses)))
            by_seed.setdefault(row[REPLICATE], []).append(np.column_stack([steps, smooth]))
    return {seed: mean_curve(by_seed[seed]) for seed in sorted(by_seed)}


def mean_curve(curves: Sequence[Array]) -> Array:
    """The mean of curves that begin at the same step, as far as the shortest reaches."""
    shortest = min(len(curve) for curve in curves)
    return np.mean([curve[:shortest] for curve in curves], axis=0)


def curve_difference(curve: Array, reference: Array) -> Array:
    shortest = min(len(curve), len(reference))
    return np.column_stack([curve[:shortest, 0], curve[:shortest, 1] - reference[:shortest, 1]])


def draw_band(axes: Axes, by_seed: Sequence[Array], style: Mapping[str, Any], label: str | None = None) -> None:
    """The mean of the seeds' curves in a band from the lowest to the highest; a level without any has its name only."""
    if not by_seed:
        axes.plot([], [], label=label, **style)
        return
    steps, mean = mean_curve(by_seed).T
    axes.plot(steps, mean, label=label, linewidth=1.6, **style)
    if len(by_seed) > 1:
        values = np.array([curve[: len(steps), 1] for curve in by_seed])
        axes.fill_between(steps, values.min(0), values.max(0), color=style["color"], alpha=0.18, linewidth=0)


def focus(axes: Axes) -> None:
    """Fit the height to what comes after the first tenth of the steps: the fall of the first ones would hide it."""
    values = [y[len(y) // 10 :] for line in axes.get_lines() if len(y := np.asarray(line.get_ydata(), float)) > 2]
    if values:
        lowest, highest = min(y.min() for y in values), max(y.max() for y in values)
        room = max(0.25 * (highest - lowest), MARGIN / 2)  # for the bands; what is within the margin stays flat
        axes.set_ylim(lowest - room, highest + room)


# ------------------------------------------------------------------------------------------------ final losses


def final_losses_figure(table: Table) -> Figure:
    """A row for each configuration, the best one on top: every seed a dot, their mean a line."""
    shown = configurations(table)
    left_out = max(0, len(shown) - MAX_CONFIGURATIONS)
    shown = shown[:MAX_CONFIGURATIONS]
    figure, axes = new_figure(8.4, 1.5 + 0.27 * max(4, len(shown)))
    coloured = table.axes[0] if table.axes else ""  # without axes there is one row, and one colour
    colours = {level: style["color"] for level, style in level_styles(table, coloured).items()} if coloured else {}
    for y, configuration in enumerate(shown):
        colour = colours[configuration.levels[coloured][0]] if coloured else PALETTE[0]
        losses = list(configuration.losses.values())
        if losses:
            axes.plot(losses, [y] * len(losses), "o", color=colour, markersize=6, alpha=0.75, mew=0)
            axes.plot([configuration.mean] * 2, [y - 0.32, y + 0.32], color="black", linewidth=1.4, zorder=3)
        write_beside(axes, y, f"{configuration.mean:.3f}" if losses else "", configuration.caveat)
    draw_losses_across(axes)
    axes.set_yticks(range(len(shown)), [escape(configuration_name(one)) for one in shown], fontsize=9)
    axes.margins(x=0.04)
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"final validation loss ({table.unit})")
    finish(figure, axes, None)
    num_seeds = len({row[REPLICATE] for row in table.rows})
    words = [f"dots: {num_seeds} seeds; line and number: their mean"] if num_seeds > 1 else []
    words += [f"{left_out} more in cells.csv"] if left_out else []
    title = "Final validation loss" + (f" ({'; '.join(words)})" if words else "")
    if len(colours) > 1:  # above the rows, where it hides none of them
        dots = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=6) for colour in colours.values()]
        names = [escape(level_phrase(coloured, level)) for level in colours]
        across = max(1, LEGEND_CHARACTERS // (max(map(len, names)) + 6))
        font = FontProperties(family=FONT, size=9)
        legend = figure.legend(dots, names, loc="outside upper left", ncols=across, frameon=False, prop=font)
        legend.set_title(title, FontProperties(family=FONT, size=11))
        legend.set_alignment("left")
    else:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left", fontfamily=FONT)
    return figure

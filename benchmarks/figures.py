"""The figures of docs/performance.md, from measured rows. Colours tell apart for all eyes (Okabe & Ito 2008)."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.growth import NAMES, Growth
from benchmarks.race import Finish
from benchmarks.units import duration

Rows = list[dict[str, Any]]
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#BBBBBB"


def bare(axes: Axes) -> Axes:
    """Without the frame's upper and right line."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def step_figure(steps: dict[str, Rows]) -> Figure:
    """How many times as long as ours each peer's step takes, one panel a size."""
    figure = Figure(figsize=(4.4 * len(steps), 3.4), layout="constrained")
    panels = figure.subplots(1, len(steps), squeeze=False)[0]
    for axes, (title, rows) in zip(panels, steps.items(), strict=True):
        ours = rows[0]["median_seconds"]
        times = [row["median_seconds"] / ours for row in rows]
        places = np.arange(len(rows))[::-1]
        colours = [ORANGE if row["ours"] else BLUE for row in rows]
        bare(axes).barh(places, times, color=colours, height=0.65)
        axes.set_yticks(places, [row["side"].replace(", keeping freed memory", ",\nkeeping memory") for row in rows])
        for place, factor, row in zip(places, times, rows, strict=True):
            label = f" {factor:.2f}   {duration(row['median_seconds'])}"
            axes.text(factor, place, label, va="center", fontsize=8)
        axes.set_xlim(0, max(times) * 1.35)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("time of a training step, tlab = 1", fontsize=9)
        axes.tick_params(labelsize=8)
    return figure


def limit_figure(limits: dict[str, Rows]) -> Figure:
    """A step's time in three parts, as shares: at the full rate, lost in small products, everything else."""
    figure = Figure(figsize=(8.4, 0.7 * len(limits) + 1.4), layout="constrained")
    axes = bare(figure.subplots())
    places = np.arange(len(limits))[::-1]
    for place, (step, products, large) in zip(places, limits.values(), strict=True):
        whole = step["median_seconds"]
        full, real = large["median_seconds"] / whole, min(1.0, products["median_seconds"] / whole)
        parts = (full, max(0.0, real - full), 1 - real)
        left = 0.0
        for share, colour in zip(parts, (GREEN, BLUE, GREY), strict=True):
            axes.barh(place, share, left=left, color=colour, height=0.6)
            if share > 0.04:
                ink = "black" if colour == GREY else "white"
                axes.text(left + share / 2, place, f"{share:.0%}", ha="center", va="center", fontsize=9, color=ink)
            left += share
    axes.set_yticks(places, list(limits), fontsize=9)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of a training step, one thread", fontsize=9)
    handles = [Patch(color=colour) for colour in (GREEN, BLUE, GREY)]
    words = (
        "the operations at the full sgemm rate",
        "lost: products are small",
        "no product: norms, softmax, GELU, Adam ...",
    )
    figure.legend(handles, words, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def growth_figure(growths: list[Growth]) -> Figure:
    """Time of a step over each quantity on log axes, beside the line of theory; the bars are least and largest turn."""
    figure = Figure(figsize=(3.1 * len(growths), 3.4), layout="constrained")
    panels = figure.subplots(1, len(growths), sharey=True, squeeze=False)[0]
    for axes, growth in zip(panels, growths, strict=True):
        medians = np.array(growth.medians)
        bars = [medians - np.min(growth.seconds, axis=1), np.max(growth.seconds, axis=1) - medians]
        bare(axes).plot(growth.values, growth.line, color=BLUE, linewidth=1.5, label="operations")
        axes.errorbar(growth.values, medians, bars, fmt="o", color=ORANGE, markersize=5, capsize=2, label="measured")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(growth.values, [f"{value:,}" for value in growth.values], rotation=30)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: duration(value))
        axes.set_xlabel(NAMES[growth.quantity], fontsize=9)
        axes.set_title(f"exponent {growth.measured:.2f}, of the operations {growth.theory:.2f}", fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel("time of a training step", fontsize=9)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def race_figure(finishes: list[Finish], target: float) -> Figure:
    """Validation loss over the processor time of training, a line a seed."""
    figure = Figure(figsize=(7.6, 4), layout="constrained")
    axes = bare(figure.subplots())
    named: set[str] = set()
    for finish in finishes:
        ours = finish.contestant == "tlab"
        label = None if finish.contestant in named else finish.contestant
        named.add(finish.contestant)
        seconds, losses = zip(*((look.cpu, look.loss) for look in finish.looks), strict=True)
        colour, style = (ORANGE, "-") if ours else (BLUE, "--")
        axes.plot(seconds, losses, style, color=colour, linewidth=1.5, label=label)
    axes.axhline(target, color="black", linewidth=0.8, linestyle=":")
    axes.text(axes.get_xlim()[1], target, f"{target} ", ha="right", va="top", fontsize=9)
    axes.set_ylim(None, 2.6)
    axes.set_xlim(0, None)
    axes.set_xlabel("seconds of training, one thread, processor time", fontsize=9)
    axes.set_ylabel("validation loss, nats per character", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    return figure

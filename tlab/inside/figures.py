"""Tables of probes over training time as pictures, in the manner of `tlab.figures`."""

from __future__ import annotations

import math

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tlab.figures import LINE_STYLES, PALETTE, ShownFigure, choose_loss_axis, escape, finish, new_figure, tidy
from tlab.inside.pictures import SHARE, Curves
from tlab.inside.probing import ProbeError

MAX_CURVES = len(PALETTE) * len(LINE_STYLES)  # distinguishable by colour and line style
NEXT_TICK = 3  # times the last power of ten: the last step has a tick of its own where there is room


def over_time_figure(curves: Curves, *, unit: str = "", title: str | None = None) -> ShownFigure:
    """One line for each row of a probe, by training step on a logarithmic scale that begins with 0.

    Args:
        curves: the lines.
        unit: of their values; shares ("of 1") are drawn from 0 to 1.
        title: above everything.

    Raises:
        ProbeError: more lines than can be distinguished.
    """
    if len(curves.values) > MAX_CURVES:
        raise ProbeError(f"{len(curves.values)} lines cannot be distinguished, {MAX_CURVES} can; ask for fewer rows")
    beside = len(curves.values) > 5
    figure, axes = new_figure(9.0 if beside else 7.0, 4.4)
    for i, (name, values) in enumerate(curves.values.items()):
        style = LINE_STYLES[i // len(PALETTE)]
        finite = [value if math.isfinite(value) else math.nan for value in values]
        axes.plot(curves.steps, finite, label=escape(name), color=PALETTE[i % len(PALETTE)], linestyle=style,
                  marker="o", markersize=3)  # fmt: skip
    tidy(axes)
    last = max(curves.steps[-1], 1)
    axes.set_xscale("symlog", linthresh=1.0)  # step 0, the model before any training, belongs to the picture
    ticks = [0, *(10**k for k in range(1 + math.floor(math.log10(last))))]
    axes.xaxis.set_major_locator(FixedLocator(ticks if last < NEXT_TICK * ticks[-1] else [*ticks, last]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if unit == SHARE:
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(1.0, axes.get_ylim()[1]))
    else:
        choose_loss_axis(axes, [value for values in curves.values.values() for value in values if math.isfinite(value)])
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{curves.column} ({unit})" if unit and unit != SHARE else curves.column)
    return finish(figure, axes, title, legend="beside" if beside else "best", legend_title=curves.lines or None)

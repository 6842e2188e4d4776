"""Tables in, `matplotlib.figure.Figure` out, of a kind that a notebook shows. Nothing here has ever seen a model.

pyplot and rcParams are global, and one visitor's change would be every visitor's. So figures are made by their class,
and whatever is not to matplotlib's default is set on the figure itself.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from tlab.files import PICTURE_KINDS, replaced
from tlab.text.units import BITS_PER_BYTE, bits_per_byte
from tlab.training.moving_average import next_average, place_of_average
from tlab.training.records import StepRecord
from tlab.types import Array

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008, distinguishable with every kind of colour vision; without their yellow, invisible on white."""
LINE_STYLES = ("-", "--", ":", "-.")  # for curves beyond the palette's end
GREY, FAINT = "#666666", "#D9D9D9"

FONT = "DejaVu Sans"  # comes with matplotlib, so a figure looks the same everywhere
MISSING = "\N{REPLACEMENT CHARACTER}"
LOSS_LABEL = "loss (nats per token)"
LOG_RATIO = 8.0  # losses that differ by more than this are drawn on a logarithmic axis
MAX_NAMES_BELOW = 20  # each other, in a legend beside the axes
DOTS_PER_INCH = 150
PIXELS_PER_INCH = 96  # of CSS
AnyFigure = TypeVar("AnyFigure", bound=Figure)
SAME_IDS: Any = {"svg.hashsalt": "tlab"}
"""Settings with which the ids in an SVG are those of its content, instead of random ones."""


# --- training ---


def loss_figure(
    records: Sequence[StepRecord],
    *,
    uniform_loss: float | None = None,
    bytes_per_token: float | None = None,
    title: str | None = None,
) -> ShownFigure:
    """Training and validation loss by step, and the learning rate below them.

    Args:
        records: of one run; may be empty.
        uniform_loss: log V, what a model that knows nothing loses; drawn as a line of reference.
        bytes_per_token: of the validation text: with it, the right of the picture reads its loss in bits per byte.
        title: above everything.
    """
    figure, (axes, below) = new_figure(7.0, 4.8, nrows=2, sharex=True, height_ratios=(4, 1))
    shown = [record for record in records if math.isfinite(record.loss)]
    steps, losses = [record.step for record in shown], [record.loss for record in shown]
    validated = [record for record in records if record.validation_loss is not None]
    validation = [record.validation_loss for record in validated]

    if uniform_loss is not None:
        axes.axhline(uniform_loss, color=GREY, linewidth=1, linestyle=":", label=f"uniform guess, {uniform_loss:.2f}")
    if len(losses) > 1:
        averages: list[float] = []
        for step, loss in zip(steps, losses, strict=True):
            averages.append(next_average(averages[-1] if averages else None, step, loss))
        axes.plot(steps, losses, color=BLUE, linewidth=0.6, alpha=0.35)
        axes.plot([place_of_average(step) for step in steps], averages, color=BLUE, label="training, moving average")
    else:
        axes.plot(steps, losses, color=BLUE, label="training" if losses else None, marker=".")
    if validated:
        style = {"color": VERMILLION, "marker": "o", "markersize": 5, "markeredgecolor": "white"}
        axes.plot([r.step for r in validated], validation, label=f"validation, last {validation[-1]:.3f}", **style)
    if records and records[-1].divergence:
        axes.axvline(records[-1].step, color="black", linewidth=1, label=f"diverged at step {records[-1].step}")
    below.plot([record.step for record in records], [record.learning_rate for record in records], color=GREEN)

    choose_loss_axis(axes, [*losses, *(value for value in validation if value is not None)])
    axes.set_ylabel(LOSS_LABEL)
    peak = max((record.learning_rate for record in records), default=1.0)
    below.set(ylabel="learning\nrate", xlabel="step", ylim=(0, 1.1 * peak))
    below.set_yticks([0, peak], ["0", f"{peak:.3g}"])
    for ax in (axes, below):
        tidy(ax)
    if bytes_per_token is not None:
        add_bits_per_byte(axes, bytes_per_token)
    if not records:
        axes.set_xlim(0, 1)
    rises = len(losses) > 1 and losses[-1] > losses[0]
    return finish(figure, axes, title, legend="upper left" if rises else "upper right")


def add_bits_per_byte(axes: Axes, bytes_per_token: float) -> None:
    """A second axis on the right: losses of a text in the unit in which those of all tokenizers are compared."""
    bits_of_a_nat = bits_per_byte(1.0, bytes_per_token)

    def in_bits(nats: ArrayLike) -> ArrayLike:
        return np.multiply(nats, bits_of_a_nat)

    def in_nats(bits: ArrayLike) -> ArrayLike:
        return np.divide(bits, bits_of_a_nat)

    right = axes.secondary_yaxis("right", functions=(in_bits, in_nats))
    right.set_ylabel(f"validation: {BITS_PER_BYTE}")
    right.spines["right"].set_visible(False)
    if axes.get_yscale() == "log":
        write_out_powers(right.yaxis)


def smoothing_window(num_values: int) -> int:
    """Over how many steps a training loss is averaged: a fiftieth of the run, and not at all in a very short one."""
    return 1 if num_values < 20 else min(100, max(5, num_values // 50))


def moving_average(values: Sequence[float], window: int) -> Array:
    """Mean of each value and up to `window` - 1 before it, (N,) -> (N,): nothing is taken from the future.

    The window grows to its width with the run: at the start, where the loss falls fast, a wide one would lag behind.
    """
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    end = np.arange(1, len(total))
    start = end - np.minimum(window, 1 + end // 5)
    return (total[end] - total[start]) / (end - start)


def comparison_figure(rows: Iterable[tuple[str, int, float, float]], *, title: str | None = None) -> ShownFigure:
    """Several kinds of runs, one curve each: the mean over seeds, in a band from the lowest to the highest.

    Args:
        rows: label, seed, step, validation loss; in any order. A step that some seed never reached has the mean of the
            others.
        title: above everything.
    """
    curves: dict[str, dict[float, list[float]]] = {}
    seeds: dict[str, set[int]] = {}
    for label, seed, step, value in rows:
        if math.isfinite(value):
            curves.setdefault(label, {}).setdefault(step, []).append(value)
            seeds.setdefault(label, set()).add(seed)
    beside = len(curves) > 5  # then the legend would cover too much
    figure, axes = new_figure(9.0 if beside else 7.0, 4.4)
    everything: list[float] = []
    for i, (label, curve) in enumerate(curves.items()):
        steps = sorted(curve)
        means = [sum(curve[step]) / len(curve[step]) for step in steps]
        everything += means
        color, line_style = PALETTE[i % len(PALETTE)], LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)]
        count = len(seeds[label])
        name = escape(label) if count == 1 else f"{escape(label)} ({count} seeds)"
        marker = "o" if len(steps) < 12 else ""
        axes.plot(steps, means, label=name, color=color, linestyle=line_style, marker=marker, markersize=4)
        if count > 1:
            lowest, highest = [min(curve[step]) for step in steps], [max(curve[step]) for step in steps]
            axes.fill_between(steps, lowest, highest, color=color, alpha=0.18, linewidth=0)
    choose_loss_axis(axes, everything)
    axes.set(ylabel=f"validation {LOSS_LABEL}", xlabel="step")
    tidy(axes)
    several_seeds = any(len(of_one) > 1 for of_one in seeds.values())
    names_are = "mean and range over seeds" if several_seeds else None
    return finish(figure, axes, title, legend="beside" if beside else "best", legend_title=names_are)


def choose_loss_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic where the values span a large ratio, with plain numbers along it; otherwise linear."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > LOG_RATIO:
        axes.set_yscale("log")
        write_out_powers(axes.yaxis)


def write_out_powers(axis: Axis) -> None:
    """Plain numbers along a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


# --- time ---


def flame_figure(rows: Sequence[tuple[tuple[str, ...], float]], *, title: str | None = None) -> ShownFigure:
    """Where time goes: a bar for each part, as wide as its time, standing on the part that called it.

    Args:
        rows: path and seconds, such as (("step", "forward", "blocks"), 0.01); a part before those inside it. What is
            left of a bar free above it is its own time.
        title: above everything.
    """
    depth = max((len(path) for path, _ in rows), default=1)
    figure, axes = new_figure(9.0, 0.9 + 0.6 * depth)
    callers = dict.fromkeys(path[1] for path, _ in rows if len(path) > 1)
    colours = dict(zip(callers, itertools.cycle(PALETTE[:-1]), strict=False))  # forward, loss, backward ...
    total = max((seconds for _, seconds in rows), default=1.0)
    left: dict[tuple[str, ...], float] = {}  # where the next part inside begins
    for path, seconds in rows:
        begin, height = left.get(path[:-1], 0.0), len(path) - 1
        left[path[:-1]], left[path] = begin + seconds, begin
        colour = colours[path[1]] if height else GREY
        axes.barh(height, seconds * 1e3, 0.94, begin * 1e3, color=colour, alpha=0.3, edgecolor="white")
        share, place = seconds / total, ((begin + seconds / 2) * 1e3, height)
        if share > 0.013:  # room for a line; the label is horizontal where it fits
            upright = share > 0.0125 * len(path[-1])
            label = f"{escape(path[-1])}\n{seconds * 1e3:.2g}" if upright else escape(path[-1])
            axes.annotate(label, place, ha="center", va="center", fontsize=8, rotation=0 if upright else 90)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_yticks([])
    axes.margins(x=0.005)
    axes.set_xlabel("milliseconds")
    return finish(figure, axes, title)


# --- common ---


class ShownFigure(Figure):
    """A figure that shows itself in a notebook, which would otherwise show those of pyplot only."""

    @property
    def width(self) -> int:
        """In pixels of CSS."""
        return round(PIXELS_PER_INCH * self.get_figwidth())

    def png(self) -> bytes:
        """The picture as a PNG, which holds no names but as dots."""
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=DOTS_PER_INCH)
        return content.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png(), {"width": self.width}


def new_figure(width: float, height: float, **panels: Any) -> tuple[ShownFigure, Any]:
    """An empty figure in inches, and its axes: one, or those that `Figure.subplots` makes of `panels`."""
    figure = ShownFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**panels)


def escape(text: str) -> str:
    """`text` as matplotlib shows it literally: no formula between dollars, no character that the font lacks."""
    font = get_font(findfont(FONT))
    visible = "".join(c if font.get_char_index(ord(c)) else MISSING for c in text.replace("\n", " "))
    return visible.replace("$", r"\$")


def tidy(axes: Axes) -> None:
    """No frame, a faint grid across, whole numbers along the steps."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def finish(
    figure: AnyFigure, axes: Axes, title: str | None, legend: str = "best", legend_title: str | None = None
) -> AnyFigure:
    """Title, legend where something is named, and the font; -> the figure."""
    if title:
        axes.set_title(escape(title), fontsize=11, loc="left")
    if axes.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": legend}
        if legend == "beside":
            columns = math.ceil(len(axes.get_legend_handles_labels()[0]) / MAX_NAMES_BELOW)
            place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "ncols": columns}
        look = {"framealpha": 0.85, "edgecolor": "none", "fontsize": 9, "title_fontsize": 9, "alignment": "left"}
        axes.legend(title=legend_title, **look, **place)
    for text in figure.findobj(match=lambda artist: hasattr(artist, "set_fontfamily")):
        text.set_fontfamily(FONT)  # pyright: ignore[reportAttributeAccessIssue]
    return figure


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write the figure; -> the files written.

    `path` is "loss.png" or "loss.svg" for the one, "loss" for both. Its folder must exist.
    """
    path = Path(path)
    files = [path] if path.suffix else [path.with_name(f"{path.name}.{kind}") for kind in PICTURE_KINDS]
    for file in reversed(files):  # where the first one is, all are
        # Without a date and with the same ids, the same figure is the same picture today and tomorrow.
        kind = file.suffix[1:]
        metadata = {"Date": None} if kind == "svg" else None
        with replaced(file) as picture, rc_context(SAME_IDS):
            figure.savefig(picture, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return files

"""The figures of docs/findings.md, one per claim: the results of all seeds in, a `Figure` out.

Every seed is shown, as a thin line, a dot, or the width of a band. Colours are the lab's; where there are several
lines, their markers or dashes differ as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from sweeps.findings.claim import difference, loss, per_byte_difference
from sweeps.findings.contested import Contested, ContestedPair, ContestedRuns
from sweeps.findings.measures import LENGTH_FACTORS, UNIGRAM
from sweeps.findings.setups import BASELINE, DEPTHS
from sweeps.findings.verdicts import EQUIVALENCE_CONFIDENCE, SeedResults, contrasts, finite_values
from tlab.figures import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    LINE_STYLES,
    PALETTE,
    VERMILLION,
    finish,
    moving_average,
    new_figure,
    tidy,
)
from tlab.judging.few_seeds import CONFIDENCE, MARGIN, Estimate, estimate

MARKERS = "os^D"
WIDE, NARROW = (8.4, 3.6), (7.0, 3.8)  # inches
SMOOTHED = 20  # steps, so that the noise of batches does not hide a curve


def plain_ticks(axis: Axis, places: Sequence[float] | None = None) -> None:
    """Plain numbers, also where the axis is logarithmic; at these places only, if they are given."""
    if places is not None:
        axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


# ------------------------------------------------------------------------------------------------ by depth, by length


def draw_mean(axes: Axes, x: Sequence[float], values: Any, i: int, label: str) -> None:
    """The i-th kind of run: the mean over seeds in a band of all seeds; values: (seeds, len(x))."""
    values = np.array(values)
    style: dict[str, Any] = {"color": PALETTE[i], "marker": MARKERS[i], "linestyle": LINE_STYLES[i]}
    axes.plot(x, values.mean(0), label=label, markersize=5, **style)
    axes.fill_between(x, values.min(0), values.max(0), color=PALETTE[i], alpha=0.18, linewidth=0)


def draw_depths(
    axes: Axes, seeds: Sequence[SeedResults], kinds: Mapping[str, str], number: Callable[[Any], float]
) -> None:
    """A line for each of `kinds` (kind -> its name in the legend); its runs are called "<kind> <number of layers>"."""
    for i, (kind, label) in enumerate(kinds.items()):
        draw_mean(axes, DEPTHS, [[number(results[f"{kind} {L}"]) for L in DEPTHS] for results in seeds], i, label)
    tidy(axes)
    plain_ticks(axes.xaxis, DEPTHS)
    axes.set_xlabel("layers")


def logarithmic_depths(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    plain_ticks(axes.xaxis, DEPTHS)
    plain_ticks(axes.yaxis)


def gradient_depth(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(*NARROW)
    draw_depths(axes, seeds, {"post": "Post-LN", "pre": "Pre-LN"}, lambda outcome: outcome["last_down_gradient"])
    shallowest = float(np.mean([results[f"pre {DEPTHS[0]}"]["last_down_gradient"] for results in seeds]))
    guide = [shallowest * (DEPTHS[0] / L) ** 0.5 for L in DEPTHS]
    axes.plot(DEPTHS, guide, color=GREY, linewidth=1, linestyle=":", label="1 / sqrt(layers)")
    logarithmic_depths(axes)
    plain_ticks(axes.yaxis, [0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3])
    axes.set_ylabel("gradient norm of the last MLP matrix")
    return finish(figure, axes, f"At the start; mean and range of {len(seeds)} seeds", legend="lower left")


def residual_growth(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(*NARROW)
    lowest, highest = [1 + L / 2 for L in DEPTHS], [1 + 3 * L / 2 for L in DEPTHS]
    axes.fill_between(DEPTHS, lowest, highest, color=FAINT, alpha=0.6, linewidth=0, label="the lemma's bounds")
    kinds = {"plain": "Pre-LN", "scaled": "residual matrices / sqrt(2 layers)"}
    draw_depths(axes, seeds, kinds, lambda outcome: outcome["stream"][-1])
    axes.set_ylim(0)
    axes.set_ylabel("mean of x² after the last block")
    return finish(figure, axes, f"At the start; mean and range of {len(seeds)} seeds", legend="upper left")


def no_norm(seeds: Sequence[SeedResults]) -> Figure:
    figure, (left, right) = new_figure(*WIDE, ncols=2)
    kinds = {"layernorm": "LayerNorm", "none": "no norm"}
    draw_depths(left, seeds, kinds, lambda outcome: outcome["last_layer_gradient"])
    logarithmic_depths(left)
    left.set_ylabel("gradient norm of the last block")
    draw_losses(right, seeds, {"LayerNorm, 20 steps": "LayerNorm", "no norm, 20 steps": "no norm"}, smoothed=1)
    right.set_yscale("log")
    plain_ticks(right.yaxis, [3, 5, 10, 20, 50, 100])
    finish(figure, left, f"At the start; {len(seeds)} seeds", legend="upper left")
    return finish(figure, right, "8 layers, first 20 steps", legend="upper right")


def extrapolation(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(*NARROW)
    for i, label in enumerate(seeds[0]):
        losses = np.array([results[label]["longer_losses"] for results in seeds])  # (seeds, lengths)
        draw_mean(axes, LENGTH_FACTORS, losses - losses[:, :1], i, label)
    axes.set_xscale("log")
    tidy(axes)
    plain_ticks(axes.xaxis, LENGTH_FACTORS)
    axes.set(xlabel="length of the text over the trained length", ylabel="D: added loss (nats per token)")
    return finish(figure, axes, f"Mean and range of {len(seeds)} seeds", legend="upper left")


# ------------------------------------------------------------------------------------------------ against steps


def draw_lines(
    axes: Axes, seeds: Sequence[SeedResults], labels: Mapping[str, str], curve: Callable[[Any], tuple[Any, Any]]
) -> None:
    """A thin line for each seed of each configuration; `labels`: configuration -> what the legend calls it."""
    for i, (key, label) in enumerate(labels.items()):
        for j, results in enumerate(seeds):
            steps, values = curve(results[key])
            style: dict[str, Any] = {"color": PALETTE[i], "linestyle": LINE_STYLES[i]}
            axes.plot(steps, values, label=label if j == 0 else None, linewidth=1.1, alpha=0.75, **style)
    tidy(axes)
    axes.set_xlabel("step")


def draw_losses(axes: Axes, seeds: Sequence[SeedResults], labels: Mapping[str, str], smoothed: int = SMOOTHED) -> None:
    """Training losses by step, each the mean of up to `smoothed` steps."""

    def curve(outcome: Any) -> tuple[Any, Any]:
        losses = outcome["losses"]
        return np.arange(1, len(losses) + 1), moving_average(losses, smoothed)

    draw_lines(axes, seeds, labels, curve)
    axes.set_ylabel("training loss (nats per token)")


def warmup_layout(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(*NARROW)
    draw_losses(axes, seeds, {label: label for label in seeds[0]})
    axes.axhline(UNIGRAM, color=GREY, linewidth=1, linestyle=":", label=f"unigram entropy, {UNIGRAM}")
    axes.set_ylim(top=4)
    return finish(figure, axes, f"Each of {len(seeds)} seeds, mean of {SMOOTHED} steps", legend="beside")


def induction(seeds: Sequence[SeedResults]) -> Figure:
    figure, panels = new_figure(*WIDE, ncols=2)
    names = {"accuracy": "copy accuracy", "prefix_matching": "prefix matching of the best head"}
    for axes, (name, ylabel) in zip(panels, names.items(), strict=True):
        shown = axes is panels[0]  # in the other one a legend would lie on a curve; "_" keeps a name out of it
        labels = {label: label if shown else f"_{label}" for label in ("2 layers", "1 layer")}
        draw_lines(axes, seeds, labels, lambda outcome, name=name: (outcome["steps"], outcome[name]))
        axes.set(ylim=(-0.02, 1.02), ylabel=ylabel)
        finish(figure, axes, f"Each of {len(seeds)} seeds", legend="center right")
    return figure


def nanogpt_anchor(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(*NARROW)
    (label,) = seeds[0]
    draw_losses(axes, seeds, {label: "training"}, smoothed=50)
    last = [len(results[label]["losses"]) for results in seeds]
    ends = [results[label]["val_loss"] for results in seeds]
    axes.plot(last, ends, "D", color=VERMILLION, markeredgecolor="white", label="whole validation split, at the end")
    axes.axhline(1.88, color=GREY, linewidth=1, linestyle=":", label="nanoGPT's README, 1.88")
    axes.set(ylim=(1.5, 3.5), ylabel="loss (nats per token)")
    return finish(figure, axes, f"Each of {len(seeds)} seeds, mean of 50 steps", legend="upper right")


# ------------------------------------------------------------------------------------------------ differences


def draw_estimates(axes: Axes, rows: Sequence[tuple[str, Estimate, Sequence[float], str]]) -> None:
    """Differences from zero, the first on top: every seed a dot, the mean with its interval below.

    A row is a label, the estimate, the values that it was made of, and a colour.
    """
    for i, (_, found, values, color) in enumerate(rows):
        axes.plot(values, [i - 0.2] * len(values), "o", color=color, alpha=0.45, markersize=4, markeredgewidth=0)
        axes.plot([found.low, found.high], [i + 0.1] * 2, color=color, linewidth=2)
        axes.plot([found.mean], [i + 0.1], "D", color=color, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def one_difference(
    seeds: Sequence[SeedResults], label: str, baseline: str, confidence: float = CONFIDENCE
) -> tuple[Figure, Axes]:
    figure, axes = new_figure(7.0, 1.9)
    values = finite_values(map(difference(label, baseline), seeds))
    draw_estimates(axes, [(f"{label} - {baseline}", estimate(values, confidence=confidence), values, BLUE)])
    axes.set_xlabel("difference of the validation loss (nats per token)")
    return figure, axes


def tokenizers(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(7.0, 2.4)
    rows = []
    for other in ("characters", "bytes"):
        values = finite_values(map(per_byte_difference("BPE", other), seeds))
        rows.append((f"BPE - {other}", estimate(values), values, BLUE))
    draw_estimates(axes, rows)
    axes.set_xlabel("difference of the validation loss (bits per byte)")
    return finish(figure, axes, f"{len(seeds)} seeds, mean and 95 % interval, at equal compute")


def swiglu(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = one_difference(seeds, "SwiGLU", "GELU")
    axes.axvline(-0.02, color=GREY, linewidth=1, linestyle=":")
    return finish(figure, axes, f"{len(seeds)} seeds, mean and 95 % interval; dotted: it has to be left of this")


def rmsnorm_parity(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = one_difference(seeds, "RMSNorm", "LayerNorm", EQUIVALENCE_CONFIDENCE)
    axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    return finish(figure, axes, f"{len(seeds)} seeds, mean and 90 % interval; grey: what counts as equivalent")


def noise_floor(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = new_figure(7.4, 4.6)
    rows = []
    for found in sorted(contrasts(seeds, loss, BASELINE), key=lambda contrast: contrast.estimate.mean):
        color = (GREEN if found.estimate.mean < 0 else VERMILLION) if found.survives else GREY
        rows.append((found.label, found.estimate, found.values, color))
    draw_estimates(axes, rows)
    for color, label in ((GREEN, "real: better"), (VERMILLION, "real: worse"), (GREY, "within the noise")):
        axes.plot([], [], "D-", color=color, label=label)
    axes.set_xlabel("validation loss minus that of the baseline (nats per token)")
    title = f"{len(seeds)} seeds, mean and 95 % interval; real: p < 0.05 after Holm"
    return finish(figure, axes, title, legend="lower left")


# ------------------------------------------------------------------------------------------------ contested claims


def contested_differences(judged: Mapping[str, Sequence[ContestedPair]]) -> Figure:
    """Each pair of the contested claims: at the same rate, hollow, and each setting at its best."""
    pairs = [pair for of_claim in judged.values() for pair in of_claim]
    figure, axes = new_figure(7.4, 0.9 + 0.42 * len(pairs))
    for i, pair in enumerate(pairs):
        for found, place, fill in ((pair.found.at_rate, i - 0.15, "white"), (pair.found.at_best, i + 0.15, BLUE)):
            if found is not None and found.estimate.n > 1:
                one = found.estimate
                axes.plot([one.low, one.high], [place] * 2, color=BLUE, linewidth=1.6)
                axes.plot([one.mean], [place], "o", color=BLUE, markerfacecolor=fill, markersize=6)
    axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    draw_estimates(axes, [(pair.label, Estimate(np.nan, np.nan, np.nan, 0), [], BLUE) for pair in pairs])
    axes.set_xlabel("difference of the validation loss, B - A (nats per token); grey: within the margin")
    for label, fill in (("at the same rate", "white"), ("each at its best", BLUE)):
        axes.plot([], [], "o-", color=BLUE, markerfacecolor=fill, label=label)
    seeds = max(pair.found.at_best.estimate.n for pair in pairs)
    return finish(figure, axes, f"{seeds} seeds, mean and 95 % interval", legend="beside")


def contested_valleys(claim: Contested, runs: ContestedRuns, pairs: Sequence[ContestedPair]) -> Figure:
    """The losses of a claim's settings at each rate, every seed a dot, with the mean as a line."""
    figure, axes = new_figure(*NARROW)
    for i, setting in enumerate(claim.settings):
        losses = {
            rate: [run.loss for run in of_rate.values() if run.loss is not None]
            for rate, of_rate in sorted(runs[setting].items())
        }
        style: dict[str, Any] = {"color": PALETTE[i], "marker": MARKERS[i]}
        points = [(rate, loss) for rate, some in losses.items() for loss in some]
        axes.plot(*zip(*points, strict=True), linestyle="", alpha=0.4, markersize=4, markeredgewidth=0, **style)
        means = [(rate, float(np.mean(some))) for rate, some in losses.items() if some]
        axes.plot(*zip(*means, strict=True), label=claim.name(setting), markersize=5, linestyle=LINE_STYLES[i], **style)
    axes.set_xscale("log")
    tidy(axes)
    plain_ticks(axes.xaxis, sorted({rate for setting in claim.settings for rate in runs[setting]}))
    axes.set(xlabel="learning rate", ylabel="validation loss (nats per token)")
    return finish(
        figure, axes, f"Every run of {pairs[0].found.at_best.estimate.n} seeds, and the mean", legend="upper center"
    )

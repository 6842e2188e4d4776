"""The figures of docs/findings.md, one per claim: the results of all seeds in, a `Figure` out.

Every seed is shown, as a thin line, a dot, or the width of a band. Colours are the lab's; where there are several
lines, their markers or dashes differ as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sweeps.findings.measures import LENGTH_FACTORS, UNIGRAM
from sweeps.findings.setups import BASELINE, DEPTHS
from sweeps.findings.verdicts import EQUIVALENCE_CONFIDENCE, SeedResults, contrasts
from sweeps.results.stats import CONFIDENCE, MARGIN, Estimate, estimate
from tlab.figures import BLUE, FAINT, GREEN, GREY, LINE_STYLES, PALETTE, VERMILLION, finish, moving_average, tidy

MARKERS = "os^D"
WIDE, NARROW = (8.4, 3.6), (7.0, 3.8)  # inches
SMOOTHED = 20  # steps, so that the noise of batches does not hide a curve


def new_figure(size: tuple[float, float] = NARROW, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


# ------------------------------------------------------------------------------------------------ against depth


def draw_depths(
    axes: Axes, seeds: Sequence[SeedResults], kinds: Mapping[str, str], number: Callable[[Any], float]
) -> None:
    """A line for each kind of model: the mean over seeds by number of layers, in a band of all seeds.

    Args:
        axes: where.
        seeds: the results, with labels "<kind> <number of layers>".
        kinds: kind -> what the legend calls it.
        number: takes the number from one outcome.
    """
    for i, (kind, label) in enumerate(kinds.items()):
        values = np.array([[number(results[f"{kind} {L}"]) for L in DEPTHS] for results in seeds])  # (seeds, depths)
        style: dict[str, Any] = {"color": PALETTE[i], "marker": MARKERS[i], "linestyle": LINE_STYLES[i]}
        axes.plot(DEPTHS, values.mean(0), label=label, markersize=5, **style)
        axes.fill_between(DEPTHS, values.min(0), values.max(0), color=PALETTE[i], alpha=0.18, linewidth=0)


def logarithmic_depths(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    depth_ticks(axes)


def depth_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(FixedLocator(DEPTHS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("layers")


def gradient_depth(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure()
    draw_depths(axes, seeds, {"post": "Post-LN", "pre": "Pre-LN"}, lambda outcome: outcome["last_down_gradient"])
    shallowest = float(np.mean([results[f"pre {DEPTHS[0]}"]["last_down_gradient"] for results in seeds]))
    guide = [shallowest * (DEPTHS[0] / L) ** 0.5 for L in DEPTHS]
    axes.plot(DEPTHS, guide, color=GREY, linewidth=1, linestyle=":", label="1 / sqrt(layers)")
    tidy(axes)
    logarithmic_depths(axes)
    axes.yaxis.set_major_locator(FixedLocator([0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3]))
    axes.set_ylabel("gradient norm of the last MLP matrix")
    finish(figure, axes, f"At the start; mean and range of {len(seeds)} seeds", legend="lower left")
    return figure


def residual_growth(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure()
    lowest, highest = [1 + L / 2 for L in DEPTHS], [1 + 3 * L / 2 + 0.5 for L in DEPTHS]
    axes.fill_between(DEPTHS, lowest, highest, color=FAINT, alpha=0.6, linewidth=0, label="the lemma's bounds")
    kinds = {"plain": "Pre-LN", "scaled": "residual matrices / sqrt(2 layers)"}
    draw_depths(axes, seeds, kinds, lambda outcome: outcome["stream"][-1])
    tidy(axes)
    depth_ticks(axes)
    axes.set_ylim(0)
    axes.set_ylabel("mean of x² after the last block")
    finish(figure, axes, f"At the start; mean and range of {len(seeds)} seeds", legend="upper left")
    return figure


def no_norm(seeds: Sequence[SeedResults]) -> Figure:
    figure, (left, right) = new_figure(WIDE, columns=2)
    kinds = {"layernorm": "LayerNorm", "none": "no norm"}
    draw_depths(left, seeds, kinds, lambda outcome: outcome["last_layer_gradient"])
    tidy(left)
    logarithmic_depths(left)
    left.set_ylabel("gradient norm of the last block")
    draw_losses(right, seeds, {"LayerNorm, 20 steps": "LayerNorm", "no norm, 20 steps": "no norm"}, smoothed=1)
    tidy(right)
    right.set_yscale("log")
    right.yaxis.set_major_locator(FixedLocator([3, 5, 10, 20, 50, 100]))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.yaxis.set_minor_locator(NullLocator())
    right.set_xlabel("step")
    right.set_ylabel("training loss (nats per token)")
    finish(figure, left, f"At the start; {len(seeds)} seeds", legend="upper left")
    finish(figure, right, "8 layers, first 20 steps", legend="upper right")
    return figure


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


def draw_losses(axes: Axes, seeds: Sequence[SeedResults], labels: Mapping[str, str], smoothed: int = SMOOTHED) -> None:
    """Training losses by step, each the mean of up to `smoothed` steps."""

    def curve(outcome: Any) -> tuple[Any, Any]:
        losses = outcome["losses"]
        return np.arange(1, len(losses) + 1), moving_average(losses, smoothed)

    draw_lines(axes, seeds, labels, curve)


def warmup_layout(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure()
    draw_losses(axes, seeds, {label: label for label in seeds[0]})
    axes.axhline(UNIGRAM, color=GREY, linewidth=1, linestyle=":", label=f"unigram entropy, {UNIGRAM}")
    tidy(axes)
    axes.set_ylim(top=4)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats per token)")
    finish(figure, axes, f"Each of {len(seeds)} seeds, mean of {SMOOTHED} steps", legend="beside")
    return figure


def induction(seeds: Sequence[SeedResults]) -> Figure:
    figure, panels = new_figure(WIDE, columns=2)
    names = {"accuracy": "copy accuracy", "prefix_matching": "prefix matching of the best head"}
    for axes, (name, ylabel) in zip(panels, names.items(), strict=True):
        shown = axes is panels[0]  # in the other one a legend would lie on a curve; "_" keeps a name out of it
        labels = {label: label if shown else f"_{label}" for label in ("2 layers", "1 layer")}
        draw_lines(axes, seeds, labels, lambda outcome, name=name: (outcome["steps"], outcome[name]))
        tidy(axes)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("step")
        axes.set_ylabel(ylabel)
        finish(figure, axes, f"Each of {len(seeds)} seeds", legend="center right")
    return figure


def nanogpt_anchor(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure()
    (label,) = seeds[0]
    draw_losses(axes, seeds, {label: "training"}, smoothed=50)
    last = [len(results[label]["losses"]) for results in seeds]
    ends = [results[label]["val_loss"] for results in seeds]
    axes.plot(last, ends, "D", color=VERMILLION, markeredgecolor="white", label="whole validation split, at the end")
    axes.axhline(1.88, color=GREY, linewidth=1, linestyle=":", label="nanoGPT's README, 1.88")
    tidy(axes)
    axes.set_ylim(1.5, 3.5)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    finish(figure, axes, f"Each of {len(seeds)} seeds, mean of 50 steps", legend="upper right")
    return figure


# ------------------------------------------------------------------------------------------------ differences


def extrapolation(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure()
    for i, label in enumerate(seeds[0]):
        losses = np.array([results[label]["longer_losses"] for results in seeds])  # (seeds, lengths)
        rises = losses - losses[:, :1]
        style: dict[str, Any] = {"color": PALETTE[i], "marker": MARKERS[i], "linestyle": LINE_STYLES[i]}
        axes.plot(LENGTH_FACTORS, rises.mean(0), label=label, markersize=5, **style)
        axes.fill_between(LENGTH_FACTORS, rises.min(0), rises.max(0), color=PALETTE[i], alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    tidy(axes)
    axes.xaxis.set_major_locator(FixedLocator(LENGTH_FACTORS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("length of the text over the trained length")
    axes.set_ylabel("D: added loss (nats per token)")
    finish(figure, axes, f"Mean and range of {len(seeds)} seeds", legend="upper left")
    return figure


def draw_estimates(axes: Axes, rows: Sequence[tuple[str, Estimate, str]], seeds: Sequence[Sequence[float]]) -> None:
    """Differences from zero, one row each, the first on top: every seed a dot, the mean with its interval below.

    Args:
        axes: where.
        rows: label, estimate and colour.
        seeds: the values that each estimate was made of.
    """
    for i, ((_, found, color), values) in enumerate(zip(rows, seeds, strict=True)):
        axes.plot(values, [i - 0.2] * len(values), "o", color=color, alpha=0.45, markersize=4, markeredgewidth=0)
        axes.plot([found.low, found.high], [i + 0.1] * 2, color=color, linewidth=2)
        axes.plot([found.mean], [i + 0.1], "D", color=color, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def paired_losses(seeds: Sequence[SeedResults], label: str, baseline: str) -> list[float]:
    pairs = [(results[label]["val_loss"], results[baseline]["val_loss"]) for results in seeds]
    return [first - second for first, second in pairs if first is not None and second is not None]


def one_difference(
    seeds: Sequence[SeedResults], label: str, baseline: str, confidence: float = CONFIDENCE
) -> tuple[Figure, Axes]:
    figure, (axes,) = new_figure((7.0, 1.9))
    values = paired_losses(seeds, label, baseline)
    draw_estimates(axes, [(f"{label} - {baseline}", estimate(values, confidence=confidence), BLUE)], [values])
    axes.set_xlabel("difference of the validation loss (nats per token)")
    return figure, axes


def swiglu(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = one_difference(seeds, "SwiGLU", "GELU")
    axes.axvline(-0.02, color=GREY, linewidth=1, linestyle=":")
    finish(figure, axes, f"{len(seeds)} seeds, mean and 95 % interval; dotted: the mean has to be left of it")
    return figure


def rmsnorm_parity(seeds: Sequence[SeedResults]) -> Figure:
    figure, axes = one_difference(seeds, "RMSNorm", "LayerNorm", EQUIVALENCE_CONFIDENCE)
    axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    finish(figure, axes, f"{len(seeds)} seeds, mean and 90 % interval; grey: what counts as equivalent")
    return figure


def noise_floor(seeds: Sequence[SeedResults]) -> Figure:
    figure, (axes,) = new_figure((7.4, 4.6))
    found = contrasts(seeds, final_loss, BASELINE)
    found.sort(key=lambda contrast: contrast.estimate.mean)
    rows = [
        (contrast.label, contrast.estimate, (GREEN if contrast.estimate.mean < 0 else VERMILLION)
         if contrast.survives else GREY)
        for contrast in found
    ]  # fmt: skip
    draw_estimates(axes, rows, [paired_losses(seeds, label, BASELINE) for label, _, _ in rows])
    for color, label in ((GREEN, "real: better"), (VERMILLION, "real: worse"), (GREY, "within the noise")):
        axes.plot([], [], "D-", color=color, label=label)
    axes.set_xlabel("validation loss minus that of the baseline (nats per token)")
    finish(figure, axes, f"{len(seeds)} seeds, mean and 95 % interval; real: p < 0.05 after Holm", legend="lower left")
    return figure


def final_loss(outcome: Mapping[str, Any]) -> float:
    return float("nan") if outcome["val_loss"] is None else outcome["val_loss"]

"""`python -m benchmarks.null_sweeps`: how often does a sweep's report say what is false, and how often does it see?

Sweeps in which nothing differs are made up and judged as real ones are: five shapes of grid, normal and heavy-tailed
noise, of one size or larger in one level, all runs ending well or the worst of one level diverging. Counted are the
sweeps in which a kind of sentence appears at all, as each of them would be false. Then one level is made worse: by just
the margin, and counted is how often it is called equivalent all the same; by more, and counted is how often that is
found.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tyro
from scipy.stats import norm, t

from benchmarks.statistics import SPREAD
from benchmarks.units import verdict
from sweeps.grid.fields import RATE
from sweeps.report.analysis import Analysis
from sweeps.report.result_sections import rates_section
from sweeps.report.sentences import outlier_sentence
from sweeps.results.effects import LevelComparison, effects_frame
from sweeps.results.summary import Summary
from sweeps.results.table import Table
from tlab.judging.few_seeds import BELOW_MARGIN, EQUIVALENT, MARGIN, REAL
from tlab.types import Array
from tlab.ui.tabs.sweeps.results import apart_words

SWEEPS = 400
REPEATS = 5
SEEDS = (3, 5, 10)
POWER_SEEDS = 5
MAX_FALSE, MIN_FOUND = 0.05, 0.8
EFFECT = 2.0
"""Standard deviations of one run over seeds."""
SHARE_LOST = 0.3
UNEVEN = 4.0
"""Times the noise of the other levels, where one is noisier."""
DEGREES = 3  # of freedom of the heavy-tailed noise: a run in a hundred is 4.5 of its standard deviations out

SHAPES: dict[str, dict[str, int]] = {
    "2": {"num_layers": 2},
    "6": {"num_layers": 6},
    "3 x 4": {"num_layers": 3, "num_heads": 4},
    "3 x 4 x 3": {"num_layers": 3, "num_heads": 4, "hidden_dim": 3},
    "3 x 4 rates": {"num_layers": 3, "learning_rate": 4},
}
"""Axis -> its number of levels."""


class Noise(NamedTuple):
    """A distribution of standard deviation 1."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], Array]
    quantile: Callable[[float], float]


NOISES = {
    "normal": Noise(lambda rng, shape: rng.standard_normal(shape), lambda p: float(norm.ppf(p))),
    "heavy tails": Noise(
        lambda rng, shape: rng.standard_t(DEGREES, shape) / math.sqrt(DEGREES / (DEGREES - 2)),
        lambda p: float(t.ppf(p, DEGREES)) / math.sqrt(DEGREES / (DEGREES - 2)),
    ),
}


def made_up_table(
    levels: dict[str, int],
    num_seeds: int,
    noise: Noise,
    rng: np.random.Generator,
    lost: float = 0.0,
    effect: float = 0.0,
    effect_axes: int = 1,
    spread: float = SPREAD,
    uneven: float = 1.0,
) -> Table:
    """The table of a sweep in which the first level of the first axis may differ, and nothing else does.

    Each seed has a level of its own, which all runs share. Every run has noise, by itself of the spread of a small
    model.

    Args:
        levels: axis -> its number of levels.
        num_seeds: runs of each configuration.
        noise: of every run.
        rng: where it comes from.
        lost: share of the first level's runs, those that would have ended highest, that diverge.
        effect: nats per token that the first level is worse by.
        effect_axes: of how many axes it has to be the first level for that: 2 make an interaction.
        spread: standard deviation of the noise.
        uneven: how many times as noisy the first level of the first axis is.
    """
    deviations = noise.draw(rng, (num_seeds, *levels.values()))
    deviations[:, 0] *= uneven
    seeds = 2.0 + 0.05 * rng.standard_normal(num_seeds)
    highest = uneven * noise.quantile(1 - lost) if lost else math.inf
    rows = []
    for at in np.ndindex(*deviations.shape):
        ended = at[1] > 0 or deviations[at] < highest
        loss = float(seeds[at[0]] + spread * deviations[at]) + effect * (not any(at[1 : 1 + effect_axes]))
        rows.append(
            {
                "cell_id": str(at),
                "alias_of": None,
                "status": "ok" if ended else "diverged",
                **{axis: place + (axis == RATE) for axis, place in zip(levels, at[1:], strict=True)},  # no rate is 0
                "seed": at[0],
                "val_loss": loss if ended else None,
            }
        )
    return Table(tuple(levels), rows)


# ------------------------------------------------------------------------------------------------ what is false


def is_real(verdict: str) -> bool:
    """Whether a verdict claims a difference."""
    return verdict in (REAL, BELOW_MARGIN)


def is_small(verdict: str) -> bool:
    """Whether a verdict claims that a difference, if there is any, is below the margin."""
    return verdict in (EQUIVALENT, BELOW_MARGIN)


def some_rate_differs(analysis: Analysis) -> bool:
    """Whether the table of learning rates claims a difference."""
    rates = rates_section(analysis)
    return rates is not None and any(one is not None and is_real(one.verdict) for _, row in rates.pairs for one in row)


def app_tells_apart(analysis: Analysis) -> bool:
    """Whether the app's Sweeps tab names a level that differs from the mean of its axis."""
    return apart_words(effects_frame(analysis.table), 0).startswith("Told")


class Kind(NamedTuple):
    """A kind of sentence, and whether a report has one that is false."""

    words: str
    appears: Callable[[Analysis], bool]
    most: float = MAX_FALSE  # share of sweeps that is promised


DIFFERENT = (
    Kind("a configuration differs from the best", lambda analysis: any(is_real(o.verdict) for o in analysis.ranked)),
    Kind("a difference of two levels is real", lambda analysis: any(is_real(o.verdict) for o in analysis.comparisons)),
    Kind(
        "a difference depends on another axis", lambda analysis: any(is_real(o.verdict) for o in analysis.interactions)
    ),
    Kind("a difference is real at some rate", some_rate_differs),
    Kind("a level is told from the mean of its axis", app_tells_apart),
)
"""False where nothing differs."""
SKEWED = Kind("seeds look skewed or stuck", lambda analysis: bool(outlier_sentence(analysis.ranked)))
"""False where noise is normal, and true where it has heavy tails."""
EQUAL = (
    Kind(
        "a configuration is equivalent to the best",
        lambda analysis: any(is_small(o.verdict) and has_the_level(o) for o in analysis.ranked),
    ),
    Kind(
        "two levels are equivalent",
        lambda analysis: any(is_small(o.verdict) and 0 in changed(o) for o in analysis.comparisons),
    ),
)
"""False where the first level of the first axis is worse by the margin."""
THE_SAME = (
    Kind(
        "a difference is the same at two levels",
        lambda analysis: any(is_small(o.verdict) and differs_by_corner(o) for o in analysis.interactions),
    ),
)
"""False where the first level of the first axis is worse by the margin at the first level of the second axis alone."""


def changed(one: LevelComparison) -> tuple[int, ...]:
    """The levels that are compared, where they are of the axis that differs."""
    return one.first if one.axes == ("num_layers",) else ()


def differs_by_corner(one: LevelComparison) -> bool:
    """Whether an interaction has the configuration that differs in it, and its axes are the two that make it differ."""
    return one.axes == ("num_layers", "num_heads") and 0 in one.first and 0 in (one.second or ())


def false_shares(kinds: Sequence[Kind], sweeps: int, make: Callable[[], Table]) -> list[float]:
    """Of each kind the share of sweeps whose report has such a sentence."""
    found = np.zeros(len(kinds))
    for _ in range(sweeps):
        analysis = Analysis(make())
        found += [kind.appears(analysis) for kind in kinds]
    return (found / sweeps).tolist()


def print_shares(kinds: Sequence[Kind], sweeps: int, makes: Sequence[Callable[[], Table]]) -> list[list[float]]:
    """A line for each kind, with its share of each maker of tables, and whether that is at most 5 %; -> the shares.

    Among so many shares some lie more than two standard errors above the truth. So each that does is found once more,
    of `REPEATS` times as many new sweeps, and that one counts.
    """
    by_kind = np.transpose([false_shares(kinds, sweeps, make) for make in makes]).tolist()
    for kind, shares in zip(kinds, by_kind, strict=True):
        again = [
            (share, false_shares([kind], REPEATS * sweeps, make)[0])
            for share, make in zip(shares, makes, strict=True)
            if share > highest_by_chance(sweeps) and kind.most < 1
        ]
        judged = verdict(max((new for _, new in again), default=0.0), most=highest_by_chance(REPEATS * sweeps))
        remarks = [f"{share:.1%} is {new:.1%} of {REPEATS * sweeps:,} new ones" for share, new in again]
        words = "  ".join(f"{100 * share:5.1f} %" for share in shares)
        print(
            f"  {kind.words:<42} {words}   {', '.join([judged if kind.most < 1 else '', *remarks])}".rstrip(),
            flush=True,
        )
    return by_kind


def highest_by_chance(sweeps: int) -> float:
    """The share of so many sweeps that is two standard errors above 5 %."""
    return MAX_FALSE + 2 * math.sqrt(MAX_FALSE * (1 - MAX_FALSE) / sweeps)


# ------------------------------------------------------------------------------------------------ what is found


def found_shares(
    shape: str, noise: str, sweeps: int, rng: np.random.Generator, effect: float = EFFECT
) -> tuple[float, float]:
    """What is found of a level that is worse by `effect` standard deviations of a run.

    Returns:
        of its comparisons with other levels the share that is called real, and of the configurations that have it the
        share that is told from the best one.
    """
    levels: list[bool] = []
    configurations: list[bool] = []
    for _ in range(sweeps):
        analysis = Analysis(made_up_table(SHAPES[shape], POWER_SEEDS, NOISES[noise], rng, effect=effect * SPREAD))
        levels += [is_real(one.verdict) and better(one) == 1 for one in analysis.comparisons if 0 in changed(one)]
        configurations += [is_real(one.verdict) for one in analysis.ranked if has_the_level(one)]
    return float(np.mean(levels)), float(np.mean(configurations))


def has_the_level(one: Summary) -> bool:
    """Whether a configuration has the level that differs."""
    return one.configuration.levels["num_layers"] == [0]


def better(one: LevelComparison) -> int:
    """1 where the second level is better, else 0."""
    return int(one.estimate.mean > 0)


# ------------------------------------------------------------------------------------------------ the command


def main(sweeps: int = SWEEPS, seed: int = 0, only: str = "") -> None:
    """Make sweeps up, judge them, and say whether what is false is said in at most 5 % of them.

    Args:
        sweeps: of each shape, noise, share of lost runs and number of seeds. 400 tell 5 % to +/- 2 %.
        seed: of all noise.
        only: count the kinds of sentences that have this in their words.
    """
    rng = np.random.default_rng(seed)

    def makers(shape: str, noise: str, **options: Any) -> list[Callable[[], Table]]:
        return [partial(made_up_table, SHAPES[shape], n, NOISES[noise], rng, **options) for n in SEEDS]

    shares: dict[
        tuple[str, str], list[float]
    ] = {}  # of what was made up and a kind, over shapes that can have it and seeds

    def count(what: str, shape: str, kinds: Sequence[Kind], makes: Sequence[Callable[[], Table]]) -> None:
        kinds = [kind for kind in kinds if only in kind.words]
        if not kinds:
            return
        print(f"{shape}, {what}")
        for kind, found in zip(kinds, print_shares(kinds, sweeps, makes), strict=True):
            if any(found):  # else it cannot be in a sweep of this shape
                shares.setdefault((what, kind.words), []).extend(found)

    print(f"{sweeps} sweeps each; a sentence is false in (3, 5 and 10 seeds; at most 5 %)\n")
    for uneven, lost, noise, shape in itertools.product((1.0, UNEVEN), (0.0, SHARE_LOST), NOISES, SHAPES):
        words = "nothing differs" if uneven == 1 else f"nothing differs, but one level is {uneven:g} times as noisy"
        words += f", {lost:.0%} of the first level diverge" if lost else ", all runs end well"
        kinds = (*DIFFERENT, SKEWED if (noise, uneven) == ("normal", 1.0) else SKEWED._replace(most=1.0))
        count(f"{noise}, {words}", shape, kinds, makers(shape, noise, lost=lost, uneven=uneven))
    quiet = {"effect": MARGIN, "spread": SPREAD / 4}  # else three seeds are too few for any claim of equivalence
    for noise, shape in itertools.product(NOISES, SHAPES):
        count(f"{noise}, one level is worse by the margin", shape, EQUAL, makers(shape, noise, **quiet))
        if "num_heads" in SHAPES[shape]:
            makes = makers(shape, noise, effect_axes=2, **quiet)
            count(f"{noise}, one pair of levels is worse by the margin", shape, THE_SAME, makes)
    print("\nmean of the shares above, and the largest")
    for (what, words), found in shares.items():
        print(f"  {what:<100} {words:<42} {100 * np.mean(found):5.1f} % ({100 * max(found):.1f} %)")
    for effect, of in ((EFFECT, "a run"), (EFFECT * math.sqrt(2), "a paired difference")):
        print(f"\none level worse by {EFFECT:g} standard deviations of {of}, {POWER_SEEDS} seeds: found in (80 %)")
        for noise, shape in itertools.product(NOISES, SHAPES):
            levels, configurations = found_shares(shape, noise, sweeps, rng, effect)
            judged = verdict(min(levels, configurations), least=MIN_FOUND)
            words = f"{100 * levels:5.1f} % of comparisons, {100 * configurations:5.1f} % of configurations"
            print(f"  {shape:<12} {noise:<12} {words}   {judged}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

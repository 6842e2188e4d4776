"""`python -m benchmarks.null_sweeps`: how often does a sweep's report say what is false, and how often does it see?

Sweeps in which nothing differs are made up and judged as real ones are: five shapes of grid, normal and heavy-tailed
noise, all runs ending well or the worst of one level diverging. Counted are the sweeps in which a kind of sentence
appears at all, as each of them would be false. Then one level is made worse, and counted is how often that is found.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tyro
from scipy.stats import norm, t

from benchmarks.statistics import SPREAD
from benchmarks.units import verdict
from sweeps.report.analysis import Analysis
from sweeps.report.result_sections import rates_section
from sweeps.report.sentences import outlier_sentence
from sweeps.results.effects import Comparison
from sweeps.results.stats import BELOW_MARGIN, REAL
from sweeps.results.table import Table
from tlab.types import Array

SWEEPS = 400
SEEDS = (3, 5, 10)
POWER_SEEDS = 5
MAX_FALSE, MIN_FOUND = 0.05, 0.8
EFFECT = 2.0
"""Standard deviations of one run over seeds."""
SHARE_LOST = 0.3
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
) -> Table:
    """The table of a sweep in which the first axis may differ, and nothing else does.

    Each seed has a level of its own, which all runs share. Every run has noise, of the spread of a small model.

    Args:
        levels: axis -> its number of levels.
        num_seeds: runs of each configuration.
        noise: of every run.
        rng: where it comes from.
        lost: share of the first level's runs, those that would have ended highest, that diverge.
        effect: nats per token that the first level is worse by.
    """
    deviations = noise.draw(rng, (num_seeds, *levels.values()))
    seeds = 2.0 + 0.05 * rng.standard_normal(num_seeds)
    highest = noise.quantile(1 - lost) if lost else math.inf
    rows = []
    for at in np.ndindex(*deviations.shape):
        ended = at[1] > 0 or deviations[at] < highest
        rows.append(
            {
                "cell_id": str(at),
                "alias_of": None,
                "status": "ok" if ended else "diverged",
                **dict(zip(levels, at[1:], strict=True)),
                "seed": at[0],
                "val_loss": float(seeds[at[0]] + SPREAD * deviations[at]) + effect * (at[1] == 0) if ended else None,
            }
        )
    return Table(tuple(levels), rows)


# ------------------------------------------------------------------------------------------------ what is false


def is_real(verdict: str) -> bool:
    """Whether a verdict claims a difference."""
    return verdict in (REAL, BELOW_MARGIN)


def some_rate_differs(analysis: Analysis) -> bool:
    """Whether the table of learning rates claims a difference."""
    rates = rates_section(analysis)
    return rates is not None and any(one is not None and is_real(one.verdict) for _, row in rates.pairs for one in row)


KINDS: dict[str, Callable[[Analysis], bool]] = {
    "a configuration differs from the best": lambda analysis: any(is_real(one.verdict) for one in analysis.ranked),
    "a difference of two levels is real": lambda analysis: any(is_real(one.verdict) for one in analysis.comparisons),
    "a difference depends on another axis": lambda analysis: any(is_real(one.verdict) for one in analysis.interactions),
    "a difference is real at some rate": some_rate_differs,
    "seeds look skewed or stuck": lambda analysis: bool(outlier_sentence(analysis.ranked)),
}
"""Every sentence of a report that claims something and is not a count, and whether a report has it.

That two levels are equivalent is true where nothing differs; `benchmarks.statistics` tests it a margin apart.
"""


def false_shares(
    shape: str, noise: str, lost: float, num_seeds: int, sweeps: int, rng: np.random.Generator
) -> dict[str, float]:
    """Kind -> share of sweeps without any difference whose report has such a sentence."""
    found = dict.fromkeys(KINDS, 0)
    for _ in range(sweeps):
        analysis = Analysis(made_up_table(SHAPES[shape], num_seeds, NOISES[noise], rng, lost))
        for kind, appears in KINDS.items():
            found[kind] += appears(analysis)
    return {kind: count / sweeps for kind, count in found.items()}


# ------------------------------------------------------------------------------------------------ what is found


def found_share(shape: str, noise: str, sweeps: int, rng: np.random.Generator, effect: float = EFFECT) -> float:
    """Share of the comparisons with a level that is worse by `effect` standard deviations which are called real."""
    found: list[bool] = []
    for _ in range(sweeps):
        table = made_up_table(SHAPES[shape], POWER_SEEDS, NOISES[noise], rng, effect=effect * SPREAD)
        found += [is_real(one.verdict) and better(one) == 1 for one in Analysis(table).comparisons if 0 in changed(one)]
    return float(np.mean(found))


def changed(one: Comparison) -> tuple[int, ...]:
    """The levels that are compared, where they are of the axis that differs."""
    return one.first if one.axes == ("num_layers",) else ()


def better(one: Comparison) -> int:
    """1 where the second level is better, else 0."""
    return int(one.estimate.mean > 0)


# ------------------------------------------------------------------------------------------------ the command


def main(sweeps: int = SWEEPS, seed: int = 0) -> None:
    """Make sweeps up, judge them, and say whether what is false is said in at most 5 % of them.

    Args:
        sweeps: of each shape, noise, share of lost runs and number of seeds. 400 tell 5 % to +/- 2 %.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    chance = 3 * math.sqrt(MAX_FALSE * (1 - MAX_FALSE) / sweeps)  # three standard errors, as there are some 200 shares
    print(f"{sweeps} sweeps without any difference each; a sentence is false in (3, 5 and 10 seeds; at most 5 %)\n")
    for lost, noise, shape in itertools.product((0.0, SHARE_LOST), NOISES, SHAPES):
        print(f"{shape}, {noise}, {f'{lost:.0%} of the first level diverge' if lost else 'all runs end well'}")
        shares = [false_shares(shape, noise, lost, n, sweeps, rng) for n in SEEDS]
        for kind in KINDS:
            of_kind = [share[kind] for share in shares]
            promised = kind != "seeds look skewed or stuck" or noise == "normal"  # heavy tails are what it warns of
            words = "  ".join(f"{100 * share:5.1f} %" for share in of_kind)
            judged = verdict(max(of_kind), most=MAX_FALSE + chance) if promised else ""
            print(f"  {kind:<40} {words}   {judged}".rstrip(), flush=True)
    print(
        f"\none level worse by {EFFECT:g} standard deviations of a run, {POWER_SEEDS} seeds: found in (at least 80 %)"
    )
    for noise, shape in itertools.product(NOISES, SHAPES):
        share = found_share(shape, noise, sweeps, rng)
        print(f"  {shape:<12} {noise:<12} {100 * share:5.1f} %   {verdict(share, least=MIN_FOUND)}", flush=True)
    share = found_share("2", "normal", sweeps, rng, EFFECT * math.sqrt(2))
    print(
        f"  {'2':<12} {'normal':<12} {100 * share:5.1f} %   {verdict(share, least=MIN_FOUND)}   of a paired difference"
    )


if __name__ == "__main__":
    tyro.cli(main)

"""`python -m benchmarks.level_power`: what could be found between many levels of one axis, and at which price?

Five seeds of six levels are made up, with noise of one size, with heavy tails, and with levels that are noisier than
others. Every pair is tested by several procedures: counted is how often one calls a difference real where there is none
at all, and how many comparisons it finds of a level that is worse by twice the spread of a paired difference, or of a
run. The oracle knows the true noise, so no procedure that keeps 5 % finds much more.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tyro
from scipy.special import stdtr
from scipy.stats import studentized_range

from benchmarks.null_sweeps import NOISES, POWER_SEEDS
from tlab.judging.few_seeds import ALPHA, holm
from tlab.types import Array

SIMULATIONS = 2000
LEVELS = 6
FIRST, SECOND = np.array(list(itertools.combinations(range(LEVELS), 2))).T  # of each pair
DEGREES = (POWER_SEEDS - 1) * (LEVELS - 1)

SPREADS: dict[str, tuple[float, ...]] = {
    "one size": (1, 1, 1, 1, 1, 1),
    "one level 5 times": (5, 1, 1, 1, 1, 1),
    "two levels 3 times": (3, 3, 1, 1, 1, 1),
    "1 to 6 times": (6, 4, 3, 2, 1.5, 1),
}
"""Standard deviations of a run of each level; the last one is what an effect is measured in."""

Told = npt.NDArray[np.bool_]
Procedure = Callable[[Array, Array], Told]
"""(simulations, seeds, levels), (levels,) true spreads -> which pairs are called real: (simulations, pairs)."""


def pair_p(values: Array) -> Array:
    """P-values of the paired t-tests: (simulations, pairs)."""
    differences = values[:, :, FIRST] - values[:, :, SECOND]
    errors = differences.std(axis=1, ddof=1) / math.sqrt(POWER_SEEDS)
    return 2 * stdtr(POWER_SEEDS - 1, -np.abs(differences.mean(axis=1)) / errors)


def gaps(values: Array) -> Array:
    """How far the means of each pair are apart: (simulations, pairs)."""
    means = values.mean(axis=1)
    return np.abs(means[:, FIRST] - means[:, SECOND])


def pooled_variance(values: Array) -> Array:
    """Of a run, without what its seed and its level do, from all levels together: (simulations, 1)."""
    by_seed, by_level = values.mean(axis=2, keepdims=True), values.mean(axis=1, keepdims=True)
    rest = values - by_seed - by_level + values.mean(axis=(1, 2), keepdims=True)
    return (rest**2).sum(axis=(1, 2))[:, None] / DEGREES


@functools.cache
def range_limit(degrees: float) -> float:
    """How many standard errors the highest of equal means is above the lowest in but 5 % of cases; SciPy is slow."""
    return float(studentized_range.isf(ALPHA, LEVELS, degrees))


def by_holm(values: Array, _: Array) -> Told:
    """As the sweeps judge: each pair has the noise of its own five seeds."""
    return np.array([holm(of_one) for of_one in pair_p(values)]) <= ALPHA


def by_range(values: Array, _: Array) -> Told:
    """Tukey's range, which takes the noise of all levels for one."""
    return gaps(values) > range_limit(DEGREES) * np.sqrt(pooled_variance(values) / POWER_SEEDS)


def by_careful_range(values: Array, _: Array) -> Told:
    """The same, but noisier pairs have to be farther apart, and to differ in their own t-test: as `confidence_set`."""
    noise = (values - np.median(values, axis=2, keepdims=True)).var(axis=1, ddof=1)
    variances = np.maximum(pooled_variance(values), (noise[:, FIRST] + noise[:, SECOND]) / 2)
    return (gaps(values) > range_limit(DEGREES) * np.sqrt(variances / POWER_SEEDS)) & (pair_p(values) <= ALPHA)


def by_oracle(values: Array, spreads: Array) -> Told:
    """By the true noise of every level."""
    errors = np.sqrt((spreads[FIRST] ** 2 + spreads[SECOND] ** 2) / 2 / POWER_SEEDS)
    return gaps(values) > range_limit(math.inf) * errors


PROCEDURES: dict[str, Procedure] = {
    "Holm": by_holm, "Tukey's range": by_range, "careful range": by_careful_range, "oracle": by_oracle,
}  # fmt: skip


def shares(noise: str, spreads: str, simulations: int, rng: np.random.Generator) -> dict[str, tuple[float, ...]]:
    """Of each procedure, in how many simulations it claims what is not, and what it finds of two sizes of effect.

    The level that is worse is the calmest one, and it is compared with all others.
    """
    sizes = np.array(SPREADS[spreads])
    values = sizes * NOISES[noise].draw(rng, (simulations, POWER_SEEDS, LEVELS))
    found: dict[str, tuple[float, ...]] = {}
    for name, procedure in PROCEDURES.items():
        told = [float(procedure(values, sizes).any(axis=1).mean())]
        for effect in (2.0, 2 * math.sqrt(2)):
            worse = values + effect * sizes[-1] * (np.arange(LEVELS) == LEVELS - 1)
            told.append(float(procedure(worse, sizes)[:, SECOND == LEVELS - 1].mean()))
        found[name] = tuple(told)
    return found


def main(simulations: int = SIMULATIONS, seed: int = 0) -> None:
    """Simulate, and print what each procedure claims falsely and what it finds.

    Args:
        simulations: of each noise. 2,000 tell 5 % to +/- 1 %.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    print(
        f"{LEVELS} levels, {POWER_SEEDS} seeds; in %: something false is said; found of a level that is worse by twice"
    )
    print("the spread of a run; that is worse by twice that of a paired difference")
    for noise, spreads in itertools.product(NOISES, SPREADS):
        print(f"{noise}, noise of {spreads}")
        for name, told in shares(noise, spreads, simulations, rng).items():
            print(f"  {name:<16} {'  '.join(f'{100 * share:5.1f}' for share in told)}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

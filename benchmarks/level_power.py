"""`python -m benchmarks.level_power`: what can be found between the levels of one axis, and how often is it false?

Seeds of several levels are made up, with noise of one size, with heavy tails, with levels that are noisier than others,
and with two that have nearly all of their noise in common. Every pair is tested by the procedure in use and by others:
counted is how often one calls a difference real where there is none at all, and how many comparisons it finds of a
level that is worse by twice the spread of a paired difference, or of a run. The oracle knows the true noise, so no
procedure that keeps 5 % finds much more.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tyro
from scipy.stats import studentized_range

from benchmarks.null_sweeps import MIN_FOUND, NOISES, POWER_SEEDS, REPEATS, highest_by_chance
from benchmarks.units import verdict
from tlab.judging.few_seeds import ALPHA, holm
from tlab.judging.level_pairs import index_pairs, moderated, numbers_of_equal_pairs, pair_p_values, t_p_values
from tlab.types import Array

SIMULATIONS = 2000
LEVELS = 6
SIZES = ((2, 5), (3, 5), (4, 5), (6, 5), (10, 5), (6, 3), (6, 10))
"""Numbers of levels and of seeds."""
EQUAL, TWINS = "one size", "two nearly the same"
IN_USE = "in use"

SPREADS: dict[str, Callable[[int], Array]] = {
    EQUAL: np.ones,
    "one level 2 times": lambda levels: np.r_[2, np.ones(levels - 1)],
    "one level 3 times": lambda levels: np.r_[3, np.ones(levels - 1)],
    "one level 4 times": lambda levels: np.r_[4, np.ones(levels - 1)],
    "half of them 3 times": lambda levels: np.r_[np.full(levels // 2, 3), np.ones(levels - levels // 2)],
    "6 to 1 times": lambda levels: np.geomspace(6, 1, levels),
    TWINS: np.ones,
}
"""Standard deviations of a run of so many levels; the last one is what an effect is measured in."""
OWN_NOISE = 0.1  # of the one of two that are nearly the same, in standard deviations of what they have in common

Told = npt.NDArray[np.bool_]
Procedure = Callable[[Array, Array], Told]
"""(simulations, seeds, levels), true spreads of differences (pairs,) -> pairs called real: (simulations, pairs)."""


def differences_of(values: Array) -> Array:
    """(simulations, seeds, pairs)."""
    first, second = index_pairs(values.shape[2])
    return values[:, :, first] - values[:, :, second]


def own_p(values: Array) -> Array:
    """P-values of the paired t-tests: (simulations, pairs)."""
    differences = differences_of(values)
    num_seeds = values.shape[1]
    return t_p_values(differences.mean(axis=1), differences.var(axis=1, ddof=1) / num_seeds, num_seeds - 1)


def gaps(values: Array) -> Array:
    """How far the means of each pair are apart: (simulations, pairs)."""
    return np.abs(differences_of(values).mean(axis=1))


def pooled_variance(values: Array) -> Array:
    """Of a run, without what its seed and its level do, from all levels together: (simulations, 1)."""
    by_seed, by_level = values.mean(axis=2, keepdims=True), values.mean(axis=1, keepdims=True)
    rest = values - by_seed - by_level + values.mean(axis=(1, 2), keepdims=True)
    return (rest**2).sum(axis=(1, 2))[:, None] / degrees_of(values)


def degrees_of(values: Array) -> int:
    """Of freedom, of all levels together."""
    return (values.shape[1] - 1) * (values.shape[2] - 1)


@functools.cache
def range_limit(num_levels: int, degrees: float) -> float:
    """How many standard errors the highest of equal means is above the lowest in but 5 % of cases; SciPy is slow."""
    return float(studentized_range.isf(ALPHA, num_levels, degrees))


def by_holm(values: Array, _: Array) -> Told:
    """Each pair has the noise of its own seeds."""
    return np.array([holm(of_one) for of_one in own_p(values)]) <= ALPHA


def by_shaffer(values: Array, _: Array) -> Told:
    """The same, and it is known how many pairs can be equal."""
    possible = numbers_of_equal_pairs(values.shape[2])
    return np.array([holm(of_one, possible) for of_one in own_p(values)]) <= ALPHA


def by_moderated_alone(values: Array, _: Array) -> Told:
    """The same by the moderated variances, without regard to levels that are noisier or to pairs that are calmer."""
    num_seeds, num_levels = values.shape[1:]
    if num_levels < 3:
        return by_holm(values, _)  # there is nothing to learn from
    differences = differences_of(values)
    drawn, degrees = moderated(differences.var(axis=1, ddof=1), num_seeds - 1, num_levels)
    p_values = t_p_values(differences.mean(axis=1), drawn / num_seeds, degrees)
    return np.array([holm(of_one, numbers_of_equal_pairs(num_levels)) for of_one in p_values]) <= ALPHA


def as_in_use(values: Array, _: Array) -> Told:
    """As the sweeps judge the levels of one axis."""
    possible = numbers_of_equal_pairs(values.shape[2])
    judged = np.array([holm(of_one, possible) for of_one in pair_p_values(values)])
    return (judged <= ALPHA) & (own_p(values) <= ALPHA)


def by_range(values: Array, _: Array) -> Told:
    """Tukey's range, which takes the noise of all levels for one."""
    limit = range_limit(values.shape[2], degrees_of(values))
    return gaps(values) > limit * np.sqrt(pooled_variance(values) / values.shape[1])


def by_careful_range(values: Array, _: Array) -> Told:
    """The same, but noisier pairs have to be farther apart, and to differ in their own t-test: as `confidence_set`."""
    noise = (values - np.median(values, axis=2, keepdims=True)).var(axis=1, ddof=1)
    first, second = index_pairs(values.shape[2])
    variances = np.maximum(pooled_variance(values), (noise[:, first] + noise[:, second]) / 2)
    limit = range_limit(values.shape[2], degrees_of(values))
    return (gaps(values) > limit * np.sqrt(variances / values.shape[1])) & (own_p(values) <= ALPHA)


def by_oracle(values: Array, spreads: Array) -> Told:
    """By the true noise of every pair."""
    return gaps(values) > range_limit(values.shape[2], math.inf) * spreads / math.sqrt(2 * values.shape[1])


PROCEDURES: dict[str, Procedure] = {
    "Holm": by_holm, "Holm and Shaffer": by_shaffer, "Tukey's range": by_range, "careful range": by_careful_range,
    "moderated alone": by_moderated_alone, IN_USE: as_in_use, "oracle": by_oracle,
}  # fmt: skip


def made_up(
    noise: str, spreads: str, simulations: int, rng: np.random.Generator, num_levels: int, num_seeds: int
) -> tuple[Array, Array]:
    """Values without any difference, (simulations, seeds, levels), and the true spreads of differences, (pairs,)."""
    sizes = SPREADS[spreads](num_levels)
    values = sizes * NOISES[noise].draw(rng, (simulations, num_seeds, num_levels))
    first, second = index_pairs(num_levels)
    of_pairs = np.sqrt(sizes[first] ** 2 + sizes[second] ** 2)
    if spreads == TWINS:
        values[:, :, -1] = values[:, :, -2] + OWN_NOISE * values[:, :, -1]
        of_pairs[-1] = OWN_NOISE
    return values, of_pairs


def shares(
    noise: str,
    spreads: str,
    simulations: int,
    rng: np.random.Generator,
    num_levels: int = LEVELS,
    num_seeds: int = POWER_SEEDS,
) -> dict[str, tuple[float, ...]]:
    """Of each procedure, in how many simulations it claims what is not, and what it finds of two sizes of effect.

    The level that is worse is the last and calmest one, and it is compared with all others; of two that are nearly the
    same, one with the other, in units of the spread of their difference.
    """
    values, of_pairs = made_up(noise, spreads, simulations, rng, num_levels, num_seeds)
    _, second = index_pairs(num_levels)
    asked = second == num_levels - 1 if spreads != TWINS else np.arange(len(second)) == len(second) - 1
    unit = of_pairs[-1] / math.sqrt(2)
    found: dict[str, tuple[float, ...]] = {}
    for name, procedure in PROCEDURES.items():
        told = [float(procedure(values, of_pairs).any(axis=1).mean())]
        for effect in (2.0, 2 * math.sqrt(2)):
            worse = values + effect * unit * (np.arange(num_levels) == num_levels - 1)
            told.append(float(procedure(worse, of_pairs)[:, asked].mean()))
        found[name] = tuple(told)
    return found


def main(simulations: int = SIMULATIONS, seed: int = 0) -> None:
    """Simulate, and print what each procedure claims falsely and what it finds.

    Args:
        simulations: of each noise. 2,000 tell 5 % to +/- 1 %.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    print("in %: something false is said; found of a level that is worse by twice the spread of a run; by twice that")
    print("of a paired difference")
    false: list[float] = []
    for (num_levels, num_seeds), noise, spreads in itertools.product(SIZES, NOISES, SPREADS):
        if num_levels == 2 and spreads == TWINS:
            continue
        print(f"{num_levels} levels, {num_seeds} seeds, {noise}, noise of {spreads}")
        for name, told in shares(noise, spreads, simulations, rng, num_levels, num_seeds).items():
            wanted = name == IN_USE and (noise, spreads, num_seeds) == ("normal", EQUAL, POWER_SEEDS)
            remark = verdict(told[2], least=MIN_FOUND) if wanted and num_levels <= LEVELS else ""
            if name == IN_USE:
                false.append(told[0])
                if told[0] > highest_by_chance(simulations):
                    values, of_pairs = made_up(noise, spreads, REPEATS * simulations, rng, num_levels, num_seeds)
                    false[-1] = float(as_in_use(values, of_pairs).any(axis=1).mean())
                    remark = f"false in {false[-1]:.1%} of {len(values):,} new ones"
            print(f"  {name:<18} {'  '.join(f'{100 * share:5.1f}' for share in told)}   {remark}".rstrip(), flush=True)
    judged = verdict(max(false), most=highest_by_chance(simulations))
    print(f"in use, something false is said in {np.mean(false):.1%}, most often in {max(false):.1%}   {judged}")


if __name__ == "__main__":
    tyro.cli(main)

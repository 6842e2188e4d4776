"""Which of several levels differ: p-values for all pairs of them from few seeds.

**What the others tell of the noise.** A paired t-test of five seeds knows the noise of its pair from five numbers, and
for the fifteen pairs of six levels that is too little. Mostly their noise is alike, so each pair learns from all: its
variance is moderated (Smyth 2004), drawn towards what is usual, by as much as the variances of the pairs agree. Where
they do not agree, little is left but each pair's own.

**Where levels are not alike.** A noisy level that is drawn towards the calm ones would look different too often. So no
pair is taken for calmer than the noise of its two levels allows, which counts the more the fewer the seeds. And a pair
that is much calmer than all others, such as two activations that are nearly one function, is asked for by its own
t-test as well, for a sixth of the error.

**How many may be equal.** If one of six levels differs from another, it is not true of some further pairs that they are
equal: of fifteen, ten at most are (Shaffer 1986). `numbers_of_equal_pairs` counts what `holm` then pays for.

All of it is measured, and compared with what else was tried: `python -m benchmarks.level_power`, docs/sweeps.md.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.special import digamma, polygamma, stdtr

from tlab.judging.few_seeds import MAX_ROUNDING
from tlab.types import Array, Ids

OWN_SHARE = 1 / 6
"""Of the error that is allowed, what a pair's own t-test has; the moderated one has the rest."""
MIN_LEVELS, MIN_SEEDS = 4, 3  # of less, the pairs tell each other too little
MANY_SEEDS = 4  # from here on, the noise of two levels counts less and less beside the moderated variance
NEARLY_NO_SPREAD = 1e-3  # of true log-variances over pairs: then all are of one size
NEWTON_STEPS = 8


def pair_p_values(values: Array) -> Array:
    """P-values that two levels have the same mean, for every pair: (..., seeds, levels) -> (..., pairs).

    The pairs are in the order of `itertools.combinations`. As many as there are, they are still to be adjusted for
    their number. Of less than four levels, or of two seeds, they are those of the paired t-tests.
    """
    num_seeds, num_levels = values.shape[-2:]
    first, second = index_pairs(num_levels)
    differences = values[..., first] - values[..., second]
    means, variances = differences.mean(axis=-2), differences.var(axis=-2, ddof=1)
    own = t_p_values(means, variances / num_seeds, num_seeds - 1)
    if num_levels < MIN_LEVELS or num_seeds < MIN_SEEDS:
        return own
    noise = (values - np.median(values, axis=-1, keepdims=True)).var(axis=-2, ddof=1)
    least = min(1.0, MANY_SEEDS / num_seeds) * (noise[..., first] + noise[..., second])
    drawn, degrees = moderated(variances, num_seeds - 1, num_levels)
    together = t_p_values(means, np.maximum(drawn, least) / num_seeds, degrees)
    return np.minimum(1.0, np.minimum(together / (1 - OWN_SHARE), own / OWN_SHARE))


@functools.cache
def index_pairs(num_levels: int) -> tuple[Ids, Ids]:
    """The first and the second level of each pair, by number: (pairs,) each."""
    return np.triu_indices(num_levels, 1)


def t_p_values(means: Array, squared_errors: Array, degrees: Array | float) -> Array:
    """Of two-sided t-tests that true means are 0, for means that are known to within some error."""
    return 2 * stdtr(degrees, -np.abs(means) / np.maximum(np.sqrt(squared_errors), MAX_ROUNDING))


def moderated(variances: Array, degrees: int, num_levels: int) -> tuple[Array, Array]:
    """Variances of all pairs of so many levels, drawn towards what is usual, and their degrees of freedom (Smyth 2004).

    The logarithms of true variances are taken for a sample of one distribution. What they vary by beyond the luck of
    few seeds says how much a pair learns from the others: as much as so many `prior` degrees of freedom. Pairs that
    share a level have their luck in common, so they vary less than others would, by a share of 1 / (levels + 1).

    Args:
        variances: over seeds, of the differences of the pairs: (..., pairs).
        degrees: of freedom of each.
        num_levels: from 3 on.
    """
    luck = digamma(degrees / 2) - math.log(degrees / 2)  # the mean logarithm of an estimated variance of 1
    logs = np.log(np.maximum(variances, MAX_ROUNDING**2)) - luck
    spread = logs.var(axis=-1, ddof=1, keepdims=True) * (num_levels + 1) / num_levels - polygamma(1, degrees / 2)
    half = inverse_trigamma(np.maximum(spread, NEARLY_NO_SPREAD))
    usual = np.exp(logs.mean(axis=-1, keepdims=True) + digamma(half) - np.log(half))
    prior = np.minimum(2 * half, degrees * (num_levels - 2))  # all pairs together have degrees * (levels - 1)
    return (prior * usual + degrees * variances) / (prior + degrees), prior + degrees


def inverse_trigamma(values: Array) -> Array:
    """The numbers whose trigamma is that, by Newton's method on its reciprocal, which is nearly straight."""
    found = 0.5 + 1 / values
    for _ in range(NEWTON_STEPS):
        trigamma = polygamma(1, found)
        found = found + trigamma * (1 - trigamma / values) / polygamma(2, found)
    return found


@functools.cache
def numbers_of_equal_pairs(num_levels: int) -> frozenset[int]:
    """How many pairs of so many levels can be equal: where some are of one mean, all pairs among them are."""
    if num_levels < 2:
        return frozenset({0})
    return frozenset(
        size * (size - 1) // 2 + others
        for size in range(1, num_levels + 1)
        for others in numbers_of_equal_pairs(num_levels - size)
    )

"""The statistics of few seeds: numbers in, estimates with intervals and p-values out. Nothing here knows about tables.

**Paired by seed.** The configurations of a seed share batches and first weights (`tlab.training.shared_start`). What
is compared is therefore the difference within a seed, one number per seed; the noise that both sides share is gone.

**Intervals** are Student's t over the seeds' values. The textbook bootstrap is for tens of runs: three seeds have ten
different resamples, and its nominal 95 % interval holds the truth in about 75 % of cases. Student's t is exact for
normal noise at any number of seeds from 2 on. `python -m benchmarks.statistics` measures both, and how little t suffers
from noise that is skewed or has heavy tails. One-sided tests suffer more: where the noise is strongly skewed, TOST at
5 % errs in some 9 %.

**Judging.** `verdict_of` calls a difference real where t says that it is not 0 (`difference_p`, after `holm` for all
that are compared at once), equivalent where TOST says that it lies within the margin (`equality_p`, after `holm`, too),
a real one below the margin where both hold, and inconclusive where neither does.

**Skewed seeds.** Where 15 % of runs are stuck, or the noise is as skewed as a lognormal one, Student's interval of a
few seeds holds the truth in 70 to 80 %. No other interval of so few does well; a report warns of seeds that look so.

**The best of many.** A configuration that was picked for its low loss is low by luck, too; to test the others against
it as if it had been named before is wrong in a third of sweeps of 28. `confidence_set` pays for the choice.

**Few seeds.** One seed says nothing about chance: its interval is the whole line, its p-value 1. With two, Student's
t has one degree of freedom, and only a difference of some thirteen times its standard error is significant.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit  # of Student's t: the integral up to a value, and its inverse

from tlab.types import Array
from tlab.wording import written

Mask: TypeAlias = npt.NDArray[np.bool_]

CONFIDENCE = 0.95
ALPHA = 0.05  # A claim is made where its p-value is at most this
MAX_ROUNDING = 1e-12  # what differs by no more than this differs by the order in which it was added up
MUCH_NOISIER = 25.0  # times the usual variance over seeds: of normal noise hardly any is that by chance
OUTLYING = 10.0
"""Typical distances. In at most 5 % of sweeps of normal noise some run is that far out, whatever the grid and the
seeds; of 15 % of stuck runs, ten standard deviations away, most are."""
WIDE_GAP = 0.3
"""Nats per token between runs that are stuck and runs that learned, at least. Of nine models six have all of their
seeds within 0.13 (`python -m benchmarks.seed_noise`)."""
DOUBTFUL = (
    "Where seeds are skewed or some are stuck, a 95 % interval may hold the truth in 70 % of cases only (measured: "
    "docs/sweeps.md)"
)
SAME_WITHOUT_SEED = (
    "All seeds ended with the same loss, to the last digit, which runs of different seeds do not. So these are one run "
    "several times, and say nothing about chance."
)
RANGES = 4000  # simulated: they tell 5 % to +/- 0.4 %
MOST_DIGITS = 12  # of a difference: beyond is rounding
MARGIN = 0.02
"""Nats per token. Losses that differ by less are equivalent: about what five seeds of a small model can resolve."""

REAL, BELOW_MARGIN, EQUIVALENT, INCONCLUSIVE = VERDICTS = (
    "different",
    "different, by less than the margin",
    "equal within the margin",
    "cannot tell",
)
"""All that can be said of two means, in the words of the tables, which stay so that old tables can be read.

That neither test could show anything says only that one cannot tell.
"""


class Estimate(NamedTuple):
    """A mean with the interval that holds the true one in 95 % of cases."""

    mean: float  # nan if there is no value
    low: float
    high: float
    n: int  # seeds that it rests on

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval, by more than rounding."""
        return self.low > MAX_ROUNDING or self.high < -MAX_ROUNDING

    def times(self, factor: float) -> Estimate:
        """The same in another unit, or with -1 the other way round."""
        low, high = sorted((factor * self.low, factor * self.high))
        return Estimate(factor * self.mean, low, high, self.n)

    def specification(self, digits: int, sign: str = "") -> str:
        """A format of so many decimal places, or of more: an end is not to seem zero where that is left out."""
        ends = (self.low, self.high) if self.excludes_zero else ()
        while digits < MOST_DIGITS and not all(round(end, digits) for end in ends):
            digits += 1
        return f"{sign}.{digits}f"

    def interval_words(self, specification: str) -> str:
        """From end to end: "−0.12 to +0.05"."""
        return f"{written(self.low, specification)} to {written(self.high, specification)}"

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:+.4f} (n={self.n}, no interval)"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] (n={self.n})"


# ------------------------------------------------------------------------------------------------ seeds


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Array:
    """first - second for every seed that both have, in the order of the seeds: (n,)."""
    seeds = sorted(first.keys() & second.keys())
    return np.array([first[seed] - second[seed] for seed in seeds], dtype=np.float64)


def has_no_seed(values: Iterable[float | None]) -> bool:
    """Whether runs of several seeds all ended with the same loss, but for rounding: then the seeds did not reach them.

    No interval may be made of such values: it would be one of width zero, however few there are.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    return len(known) > 1 and max(known) - min(known) <= MAX_ROUNDING


# ------------------------------------------------------------------------------------------------ one mean


def estimate(values: Sequence[float] | Array, *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of one value a seed, with Student's interval.

    Args:
        values: (n,), finite: the caller counts what diverged, which is not part of a mean.
        confidence: how often the interval is to hold the truth.

    Raises:
        ValueError: a value is not finite.
    """
    mean, error, n = mean_and_error(values)
    if n < 2:
        return Estimate(mean, -math.inf, math.inf, n)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Estimate(mean, mean - half, mean + half, n)


def mean_and_error(values: Sequence[float] | Array) -> tuple[float, float, int]:
    """Mean, its standard error and the number of values; nan and inf where there are too few."""
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{values} are not all finite; leave out what diverged, and say how many did")
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else math.nan), math.inf, n
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n), n


def tail(distance: float, error: float, n: int) -> float:
    """P(a mean this far above, or farther | its expectation is 0): one side of Student's t.

    Without any spread, as among numbers that no seed can move, what is above is above, but for rounding.
    """
    if n < 2:
        return 1.0
    if error <= MAX_ROUNDING:
        return 0.0 if distance > MAX_ROUNDING else 1.0
    return float(stdtr(n - 1, -distance / error))


def difference_p(values: Sequence[float] | Array) -> float:
    """P-value of the two-sided t-test that the true mean is 0; 1 where there are fewer than two values."""
    mean, error, n = mean_and_error(values)
    return min(1.0, 2 * tail(abs(mean), error, n))


def interval_p(found: Estimate) -> float:
    """The same of values that are known by the interval of their mean alone, as a table shows it."""
    if found.n < 2 or math.isinf(found.low):
        return 1.0
    error = (found.high - found.low) / 2 / float(stdtrit(found.n - 1, (1 + CONFIDENCE) / 2))
    return min(1.0, 2 * tail(abs(found.mean), error, found.n))


def above_p(values: Sequence[float] | Array, bound: float) -> float:
    """P-value of the one-sided t-test whose claim is that the true mean lies above `bound`."""
    mean, error, n = mean_and_error(values)
    return tail(mean - bound, error, n)


def equality_p(values: Sequence[float] | Array, margin: float = MARGIN) -> float:
    """P-value of the claim that the true mean lies within +/- margin: two one-sided tests (TOST, Schuirmann 1987).

    That a difference is not significant never says that there is none; this test can say so, up to the margin.

    Raises:
        ValueError: the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin} must be above 0: no finite sample shows that two means are exactly equal")
    values = np.asarray(values, dtype=np.float64)
    return max(above_p(values, -margin), above_p(-values, -margin))


def is_flattered(difference: float, lost: tuple[int, int]) -> bool:
    """Whether the lower one of two lost more runs than the other, and so may be lower for that alone.

    Args:
        difference: the first one's mean less the other's, over the runs that are left.
        lost: runs of the first and of the other that diverged or failed.
    """
    first, other = lost
    return first > other if difference < 0 else other > first


def seeds_needed(difference: float, spread: float, alpha: float = ALPHA, most: int = 100) -> int | None:
    """How many seeds would make this difference significant, if further seeds are like these; None above `most`.

    A guess to plan with: the mean difference and its spread over seeds come from the few seeds that there are. `alpha`
    is what the p-value has to come down to: 5 %, divided by the number of tests.
    """
    n = np.arange(2, most + 1)
    enough = 2 * stdtr(n - 1, -abs(difference) * np.sqrt(n) / spread) <= alpha if spread > 0 else n == n[0]
    return int(n[enough][0]) if enough.any() else None


def far_from_others(losses: Array) -> Mask:
    """Which runs ended far from the others, stuck perhaps: (configurations, seeds), nan where there is none -> of bool.

    They are `outlying`, or make the interval of the mean `reach_below_zero`. Each row and each column has a number.
    """
    return outlying(losses) | np.array([reach_below_zero(row) for row in losses], bool).reshape(losses.shape)


def reach_below_zero(losses: Array) -> Mask:
    """Which runs of one configuration make the interval of its mean hold what no loss can be, by more than `MARGIN`.

    It reaches below zero where seeds are at that bound while others are stuck, at the loss of a guess perhaps: the
    latter are those above the mean.

    Args:
        losses: (seeds,), nan where there is none.
    """
    mean, low, _, n = estimate(losses[np.isfinite(losses)])
    return (losses > mean) & (n > 2 and low < -MARGIN)


def outlying(values: Array) -> Mask:
    """Which values are far from the others of their row: (configurations, seeds), nan where there is none -> of bool.

    What a seed does to all configurations is taken off, and then what a configuration has in all seeds; far is
    `OUTLYING` times as far from there as the typical run. Of one or two configurations what a seed does to all cannot
    be told, nor what is typical where several runs are stuck, so there those that are `set_apart` are far as well.
    """
    if values.size == 0:
        return np.zeros(values.shape, bool)
    rest = values - seed_effects(values) if len(values) > 2 else values
    distances = np.abs(rest - np.nanmedian(rest, axis=1, keepdims=True))
    usual = distances[distances > MAX_ROUNDING]
    far = distances > OUTLYING * (np.median(usual) if len(usual) else math.inf)
    return far if len(values) > 2 else far | np.array([set_apart(row) for row in values])


def seed_effects(values: Array) -> Array:
    """What each seed does to all configurations: (configurations, seeds) -> (seeds,).

    Where runs are missing seeds have different configurations, and medians that differ for that alone: there the level
    of each configuration is taken off first.
    """
    levels = np.nanmedian(values, axis=1, keepdims=True) if np.isnan(values).any() else 0.0
    return np.nanmedian(values - levels, axis=0)


def set_apart(losses: Array) -> Mask:
    """Which runs of one configuration a wide gap parts from most of the others: those stuck while these learned.

    Or those that learned while most were stuck; of two groups as large as each other, the one with the higher losses.

    Args:
        losses: (seeds,), nan where there is none.
    """
    order = np.argsort(losses)[: np.isfinite(losses).sum()]  # nan comes last
    apart = np.zeros(losses.shape, bool)
    if len(order) < 3:
        return apart
    ranked = losses[order]
    place = int(np.diff(ranked).argmax()) + 1
    lower, upper = ranked[:place], ranked[place:]
    if upper[0] - lower[-1] > max(WIDE_GAP, OUTLYING * max(np.ptp(lower), np.ptp(upper))):
        apart[order[:place] if len(lower) < len(upper) else order[place:]] = True
    return apart


# ------------------------------------------------------------------------------------------------ many tests


def holm(p_values: Sequence[float], possible: Iterable[int] | None = None) -> list[float]:
    """P-values adjusted for their number (Holm 1979), in the order given.

    To claim what has an adjusted p of at most 5 % makes any false claim at all in at most 5 % of sweeps, whatever the
    tests' dependence: the smallest p is multiplied by the number of tests, the next one by one less, and so on. A nan
    is not a test: it does not count, and comes back as 1.

    Args:
        p_values: of the tests.
        possible: how many of the differences that are tested can all be zero, where not any number can. Of three pairs
            of three levels it is 3, 1 or none, and so after the first claim there is no more to be multiplied (Shaffer
            1986).
    """
    adjusted = [1.0] * len(p_values)
    tested = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    numbers = range(len(tested) + 1) if possible is None else sorted(possible)
    highest = 0.0
    for rank, i in enumerate(sorted(tested, key=p_values.__getitem__)):
        number = numbers[bisect.bisect_right(numbers, len(tested) - rank) - 1]
        highest = max(highest, min(1.0, number * p_values[i]))
        adjusted[i] = highest
    return adjusted


def confidence_set(values: Array, best: int, alpha: float = ALPHA) -> Array:
    """Which columns may have the lowest true mean: (seeds, columns) -> (columns,) of bool.

    A model confidence set (Hansen, Lunde & Nason 2011) with Tukey's range for its test: as long as the means of the
    columns that are left lie farther apart than equal ones would by chance, those too far above the best one are
    dropped. So in at most 5 % of sweeps one is dropped that is as good as the best, although `best` was picked by the
    same values.

    Tukey's range is for noise of one size. Where it is not so, a pair that is noisier than usual has to be farther
    apart, and what is dropped has to differ in its own paired t-test, too. A column that is much noisier than most
    would hide all others: it is judged by the t-test alone, and each column has its share of `alpha`. Beside a best one
    like that, all columns are.

    Args:
        values: finite.
        best: the column that was picked.
        alpha: how often something as good as the best may be dropped.
    """
    num_seeds, num_columns = values.shape
    distances = values.mean(axis=0) - values[:, best].mean()
    p_values = np.array([difference_p(values[:, column] - values[:, best]) for column in range(num_columns)])
    noise = (values - np.median(values, axis=1, keepdims=True)).var(axis=0, ddof=1)
    apart = noise > max(MUCH_NOISIER * np.median(noise), MAX_ROUNDING**2)
    apart |= apart[best]
    left = ~apart
    alpha_together = alpha * left.mean()
    dropped = left.any()
    while dropped:
        limits = np.zeros(num_columns)  # of two, the t-test alone is as good
        if left.sum() > 2:
            among = values[:, left]
            rest = among - among.mean(axis=0) - among.mean(axis=1, keepdims=True) + among.mean()
            degrees = (num_seeds - 1) * (int(left.sum()) - 1)
            variances = np.maximum((rest**2).sum() / degrees, (noise + noise[best]) / 2)
            limits = studentized_range(int(left.sum()), degrees, alpha_together) * np.sqrt(variances / num_seeds)
        dropped = np.flatnonzero(left & (distances > limits) & (p_values <= alpha_together)).tolist()
        left[dropped] = False
    left[apart] = p_values[apart] > alpha / num_columns
    return left


@functools.cache
def studentized_range(count: int, degrees: int, alpha: float) -> float:
    """How many standard errors the highest of so many equal means is above the lowest in but `alpha` of cases.

    The standard error is estimated with so many degrees of freedom. By simulation, as SciPy's takes seconds to load.
    """
    rng = np.random.default_rng(0)
    ranges = np.ptp(rng.standard_normal((RANGES, count)), axis=1)
    return float(np.quantile(ranges / np.sqrt(rng.chisquare(degrees, RANGES) / degrees), 1 - alpha))


def verdict_of(p_different: float, p_equal: float, alpha: float = ALPHA) -> str:
    """What `difference_p` and `equality_p`, each after `holm` where it is one of many, allow to say: of `VERDICTS`."""
    equal = p_equal <= alpha
    if p_different <= alpha:
        return BELOW_MARGIN if equal else REAL
    return EQUIVALENT if equal else INCONCLUSIVE


def verdict_with_lost(p_different: float, p_equal: float, difference: float, lost: tuple[int, int]) -> str:
    """`verdict_of`, where runs were lost: that speaks against who lost more, and against equivalence.

    Args:
        p_different: as `verdict_of` takes it.
        p_equal: likewise.
        difference: the first one's mean less the other's.
        lost: runs of the first and of the other that diverged or failed.
    """
    return verdict_of(1.0 if is_flattered(difference, lost) else p_different, 1.0 if any(lost) else p_equal)


def beside_interval(
    verdict: str, shown: Estimate, lost: tuple[int, int] = (0, 0), margin: float = MARGIN, otherwise: str = ""
) -> str:
    """Why a verdict is not the one that the 95 % interval beside it suggests, as a clause; empty where it is.

    Args:
        verdict: of `VERDICTS`.
        shown: the first one's mean less the other's, with the interval that is shown.
        lost: runs of the first and of the other that diverged or failed, as `verdict_with_lost` took them.
        margin: within which the two are called equivalent.
        otherwise: the reason where no lost run is one.
    """
    is_within = max(abs(shown.low), abs(shown.high)) <= margin
    if verdict == EQUIVALENT:
        beyond = f"the interval reaches beyond {margin:g}, but equality is judged by that of 90 %, which does not"
        return "" if is_within else beyond
    if verdict != INCONCLUSIVE or shown.n < 2:
        return ""
    if shown.excludes_zero:
        reason = "the lower one lost more runs" if is_flattered(shown.mean, lost) else otherwise
        return f"the interval leaves out zero, but {reason}"
    return (
        f"the interval lies within {margin:g}, but {'runs were lost' if any(lost) else otherwise}" if is_within else ""
    )

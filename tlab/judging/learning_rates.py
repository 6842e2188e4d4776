"""Which learning rate suits a model: a curve through its losses, and how well they tell where its lowest point is.

**The valley.** The final validation loss of a model falls with the learning rate, and rises again. Its bottom is close
to a parabola over log rate (`fit_valley`): through the tried rate with the lowest mean, its two neighbours, and further
rates that are about as good. Each seed has a parabola of its own, and so a slope at every rate. The optimum is above
the rates at which Student's t says that the slope is negative, and below those at which it is positive: what lies
between is an interval of the optimum. Where a slope does not leave zero within the rates that were tried, the optimum
may be beyond them.

Valleys are lopsided: steep towards rates at which runs diverge, sometimes a cliff. A parabola that misses this is wrong
by more than the seeds show, and a test that looks for it may miss it, too. So the interval spans those of two curves:
the parabola, and a cubic through one rate more. Each is of 82 %, the two together and the test hold the optimum in 93
to 97 %. Where an F-test doubts that the losses lie on a parabola, the interval reaches as far as any valley allows
(`bounds_of_any_valley`): mostly about a step of the grid to each side. Then it holds the optimum more often than that.
`python -m benchmarks.valleys` measures how often all this is right.

**How wide.** `valley_width` says how many times apart rates are whose loss is close to the best.

**Between two rates.** Where the losses lie on no parabola and the best rate's neighbours are more than a factor
`FAR_APART` away, no curve tells how low the loss gets between them. It is no higher than at the best rate
tried, and no lower than where flanks meet that go on straight (`floor_of`).

**Lost runs.** A run that diverged or failed is a bad result. Only the rates that lost the fewest runs have a place on
the curve, and the optimum is never beyond a rate that lost more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.polynomial.polynomial import polyder, polyfit, polyval
from scipy.special import fdtrc, stdtrit  # of F: the integral from a value on; of Student's t: the inverse

from tlab.judging.few_seeds import CONFIDENCE, MAX_ROUNDING, estimate
from tlab.judging.valley_width import ValleyWidth, width_of
from tlab.types import Array
from tlab.wording import several

RATES_TO_TRY, FACTOR_TO_TRY = 5, 2.5  # that are tried around a rate, and from one to the next
MIN_RATES = 3  # of a parabola
MAX_DEPTH = 0.15  # nats per token above the lowest mean: the bottom of a valley is a parabola, its flanks are not
CURVE_CONFIDENCE = 0.82  # of the interval of one of two curves
NO_PARABOLA, NO_PARABOLA_FAR_APART = 0.2, 0.25  # p-values at and below which the losses are taken to lie on no parabola
SAME_RATE = 1e-9  # relative: a logarithm and back
FAR_APART = 2.6  # a little above the usual one: rates farther apart show less of a valley
SLOPE_PLACES = 201  # rates, evenly over log rate, at which slopes are looked at; between them they are straight

LossesByRate = Mapping[float, Mapping[int, float | None]]
"""Rate -> seed -> final validation loss in nats; None of a run that diverged or failed."""


class RateError(ValueError):
    """Learning rates to which no curve can be fitted, in words."""


def rates_around(centre: float) -> tuple[float, ...]:
    """The rates to try around one: far enough apart to span a valley, close enough for its bottom to be a parabola."""
    steps = range(-(RATES_TO_TRY // 2), RATES_TO_TRY // 2 + 1)
    return tuple(rate_beside(centre, step) if step else centre for step in steps)


def rate_beside(rate: float, steps: int) -> float:
    """The rate so many steps of the grid above this one, or below it where negative; in three digits."""
    return float(f"{rate * FACTOR_TO_TRY**steps:.3g}")


# ------------------------------------------------------------------------------------------------ one model


@dataclass(frozen=True)
class Valley:
    """How the final loss of one model depends on the learning rate."""

    rates: tuple[float, ...]  # all that were tried, the lowest first
    means: tuple[float, ...]  # of each, over the seeds that ended well; nan where there is none
    lost: tuple[int, ...]  # of each, the runs that diverged or failed
    best_tried: float  # the rate with the lowest mean of those that lost the fewest runs; nan where all runs were lost
    losses: Mapping[int, float] = field(default_factory=dict)
    """Seed -> its loss at the optimum, on its curve; without a curve that at the best rate tried."""
    losses_tried: Mapping[int, float] = field(default_factory=dict)  # seed -> its loss at the best rate tried
    lowest_losses: Mapping[int, float] = field(default_factory=dict)
    """Seed -> the least that its loss at the optimum may be: `losses` where the curve can tell."""
    highest_losses: Mapping[int, float] = field(default_factory=dict)  # and the most
    optimum: float = math.nan  # the rate of the lowest point of the mean curve; nan where there is no curve
    low: float = 0.0  # 95 % interval of the optimum: 0 where it may lie below all rates that were tried
    high: float = math.inf  # and infinite where it may lie above them
    curve: tuple[tuple[float, float], ...] = ()  # (rate, mean loss) of the parabola over the rates it was fitted to
    is_lopsided: bool = False
    is_coarse: bool = False  # whether rates are too far apart for the curve to tell what the loss is between them
    width: ValleyWidth | None = (
        None  # how many times apart the rates are whose loss is close to the best; None where that is not inside
    )
    problem: str = ""  # why there is no interval, as a sentence; else empty

    def was_tried(self, rate: float) -> bool:
        """Whether there are runs at this rate."""
        return any(math.isclose(rate, tried, rel_tol=SAME_RATE) for tried in self.rates)

    def rate_words(self, rate: float) -> str:
        """A rate that was tried, in all its digits; one that was found, in the two that its interval can tell."""
        return rate_words(rate) if self.was_tried(rate) else f"{rate:.2g}"

    @property
    def may_be_below(self) -> bool:
        """Whether the optimum may lie below all rates that were tried."""
        return not self.problem and self.low == 0

    @property
    def may_be_above(self) -> bool:
        """Whether the optimum may lie above all rates that were tried."""
        return not self.problem and self.high == math.inf

    @property
    def is_inside(self) -> bool:
        """Whether the optimum lies within the rates that were tried, as far as one can tell."""
        return not self.problem and self.low > 0 and self.high < math.inf


def fit_valley(losses: LossesByRate) -> Valley:
    """The curve of one model's losses, its optimum with an interval, or why there is none.

    Raises:
        RateError: there are no runs, or a rate is not a positive number.
    """
    rates = tuple(sorted(rate for rate, of_rate in losses.items() if of_rate))  # the others are still to come
    if not rates:
        raise RateError("There are no runs to compare learning rates by.")
    wrong = [rate for rate in rates if not 0 < rate < math.inf]
    if wrong:
        raise RateError(f"A learning rate has to be above 0, and {wrong[0]:g} is not: it has no place on a log axis.")
    ended = {rate: ended_well(losses[rate]) for rate in rates}
    lost = tuple(len(losses[rate]) - len(ended[rate]) for rate in rates)
    means = tuple(float(np.mean(list(ended[rate].values()))) if ended[rate] else math.nan for rate in rates)
    kept = [rate for rate, count in zip(rates, lost, strict=True) if count == min(lost) and ended[rate]]
    if not kept:
        return Valley(rates, means, lost, math.nan, problem="Every run diverged or failed; try lower learning rates.")
    best = min(kept, key=lambda rate: means[rates.index(rate)])
    at_best = ended[best]
    found = Valley(
        rates, means, lost, best, losses=at_best, losses_tried=at_best, lowest_losses=at_best, highest_losses=at_best
    )
    if len(rates) < MIN_RATES:
        words = f"With {several(len(rates), 'learning rate')} there is no curve; it takes {MIN_RATES} or more."
        return replace(found, problem=words)
    if len(kept) < MIN_RATES:
        words = f"At only {len(kept)} of {len(rates)} learning rates did no more runs diverge or fail than elsewhere"
        return replace(found, problem=f"{words}; a curve takes {MIN_RATES}, so try some nearby.")
    seeds = sorted(set.intersection(*(set(ended[rate]) for rate in kept)))
    if not seeds:
        return replace(found, problem="No seed ended well at all of these learning rates, so there is no curve.")
    values = np.array([[ended[rate][seed] for rate in kept] for seed in seeds], dtype=np.float64)
    return with_curve(found, kept, seeds, values)


def ended_well(losses: Mapping[int, float | None]) -> dict[int, float]:
    """Seed -> loss of the runs that have one."""
    return {seed: loss for seed, loss in losses.items() if loss is not None and math.isfinite(loss)}


def with_curve(valley: Valley, kept: Sequence[float], seeds: Sequence[int], values: Array) -> Valley:
    """The valley with a parabola through its bottom.

    Args:
        valley: without one.
        kept: the rates that the curve may go through, the lowest first.
        seeds: those that have a loss at each of them.
        values: their losses, (seeds, rates).
    """
    logs = np.log(kept) - math.log(valley.best_tried)
    means = values.mean(axis=0)
    first, last = bottom(means)
    places = np.linspace(logs[0], logs[-1], SLOPE_PLACES)
    inside = (places >= logs[first] - MAX_ROUNDING) & (places <= logs[last] + MAX_ROUNDING)
    polynomials = fitted(logs[first : last + 1], values[:, first : last + 1], 2)
    wider = wider_windows(means, first, last)
    low, high = optimum_bounds(polynomials, places, CURVE_CONFIDENCE if wider else CONFIDENCE)
    best = list(kept).index(valley.best_tried)
    far_apart = float(np.diff(logs[max(best - 1, 0) : best + 2]).max()) > math.log(FAR_APART)
    doubtful = NO_PARABOLA_FAR_APART if far_apart else NO_PARABOLA
    is_lopsided = any(parabola_p(logs[start:stop], values[:, start:stop]) <= doubtful for start, stop in wider)
    any_low, any_high = bounds_of_any_valley(logs, values)
    if wider:
        start, stop = wider[0]
        cubics = fitted(logs[start:stop], values[:, start:stop], 3)
        spanned = [optimum_bounds(cubics, places, CURVE_CONFIDENCE)]
        if is_lopsided:
            spanned.append((any_low, any_high))
            polynomials = cubics
        low, high = min(low, *(one for one, _ in spanned)), max(high, *(one for _, one in spanned))
    else:  # three rates lie on a parabola whatever the valley's shape
        low, high = min(low, any_low), max(high, any_high)
    low, high = (low if low > -math.inf else any_low), (high if high < math.inf else any_high)
    curves = heights(polynomials, places[inside])  # (seeds, places)
    lowest = int(curves.mean(axis=0).argmin())
    curve = tuple(
        (valley.best_tried * math.exp(place), loss)
        for place, loss in zip(places[inside].tolist(), curves.mean(axis=0).tolist(), strict=True)
    )
    is_coarse = is_lopsided and far_apart
    of_curve, tried = curves[:, lowest], values[:, best]

    def by_seed(losses: Array) -> dict[int, float]:
        return dict(zip(seeds, losses.tolist(), strict=True))

    valley = replace(
        valley,
        losses=by_seed(of_curve),
        losses_tried=by_seed(tried),
        lowest_losses=by_seed(floor_of(logs, values) if is_coarse else of_curve),
        highest_losses=by_seed(tried if is_coarse else of_curve),
        optimum=curve[lowest][0],
        curve=curve,
        is_lopsided=is_lopsided,
        is_coarse=is_coarse,
    )
    if len(seeds) < 2:
        return replace(valley, problem="One seed says nothing about chance; an interval takes two or more.")
    if low > high:
        return replace(valley, problem="The losses do not fall and then rise again, so there is no best rate to find.")
    low, high = (valley.best_tried * math.exp(bound) for bound in (low, high))
    below = max((rate for rate in valley.rates if rate < kept[0]), default=0.0)  # these rates lost more runs
    above = min((rate for rate in valley.rates if rate > kept[-1]), default=math.inf)
    valley = replace(valley, low=max(low, below), high=min(high, above))
    if not valley.is_inside:
        return valley
    with np.errstate(divide="ignore"):
        ends = np.log([below, above]) - math.log(valley.best_tried)
    return replace(valley, width=width_of(logs, values, (of_curve, tried), best, *ends.tolist()))


def bottom(means: Array) -> tuple[int, int]:
    """The first and the last index of the lowest mean, its two neighbours, and what is about as low beside them."""
    lowest = int(means.argmin())
    middle = min(max(lowest, 1), len(means) - 2)
    first, last = middle - 1, middle + 1
    while first > 0 and means[first - 1] <= means[lowest] + MAX_DEPTH:
        first -= 1
    while last < len(means) - 1 and means[last + 1] <= means[lowest] + MAX_DEPTH:
        last += 1
    return first, last


def wider_windows(means: Array, first: int, last: int) -> list[tuple[int, int]]:
    """Where to look whether a parabola through some rates is one: there and at one more, the better one first.

    Args:
        means: of all rates.
        first: the first rate of the parabola.
        last: its last one.

    Returns:
        the first index and the one after the last, of four rates or more; empty where there are not so many.
    """
    beside = [
        (start, stop) for start, stop in ((first - 1, last), (first, last + 1)) if start >= 0 and stop < len(means)
    ]
    beside.sort(key=lambda ends: means[ends[0]] + means[ends[1]])  # a rate that is not much worse tells more
    both = [(first - 1, last + 1)] if len(beside) == 2 else []
    found = [*beside, *both, (first, last)]
    return [(start, stop + 1) for start, stop in found if stop - start >= MIN_RATES]


def parabola_p(places: Array, values: Array) -> float:
    """P-value of the F-test that the mean losses lie on a parabola; noise is what the rates of a seed do not share."""
    num_seeds, num_places = values.shape
    if num_seeds < 2:
        return 1.0
    means = values.mean(axis=0, keepdims=True)
    missed = means - heights(fitted(places, means, 2), places)
    noise = values - values.mean(axis=1, keepdims=True) - means + means.mean()
    missed_freedom, noise_freedom = num_places - 3, (num_seeds - 1) * (num_places - 1)
    missed_variance = num_seeds * float((missed**2).sum()) / missed_freedom
    noise_variance = float((noise**2).sum()) / noise_freedom
    if missed_variance <= MAX_ROUNDING**2:
        return 1.0
    if noise_variance <= MAX_ROUNDING**2:
        return 0.0
    return float(fdtrc(missed_freedom, noise_freedom, missed_variance / noise_variance))


def bounds_of_any_valley(places: Array, values: Array) -> tuple[float, float]:
    """Where the lowest point of a loss is that falls and then rises, whatever its shape; infinite where none is known.

    Args:
        places: of the rates, ascending.
        values: the losses, (seeds, rates).
    """
    return -turned_before(-places[::-1], values[:, ::-1]), turned_before(places, values)


def turned_before(places: Array, values: Array) -> float:
    """The place below which a loss that falls and then rises has its lowest point.

    The first rate above the best one that is worse beyond chance, than it or than one between them, is such a place.
    Where the loss rises ever more steeply, it is above the line through this rate and the next one: where that line is
    worse than the best rate, too, the lowest point is not.
    """
    means = values.mean(axis=0)
    best = int(means.argmin())
    above_best = values - values[:, [best]]
    worse = [at for at in range(best + 1, len(places)) if estimate(above_best[:, at]).low > MAX_ROUNDING]
    between = [(one, at) for at in range(best + 2, len(places)) for one in range(best + 1, at)]
    worse += [at for one, at in between if estimate(values[:, at] - values[:, one]).low > MAX_ROUNDING]
    if not worse:
        return math.inf
    first = min(worse)
    if first + 1 == len(places):
        return float(places[first])
    slopes = (values[:, first + 1] - values[:, first]) / (places[first + 1] - places[first])
    if slopes.mean() < above_best[:, first].mean() / (places[first] - places[best]):
        return float(places[first])
    lines = np.stack([above_best[:, first] - slopes * places[first], slopes], axis=1)
    turned = sign_bounds(lines, np.linspace(places[first - 1], places[first], SLOPE_PLACES), CONFIDENCE)[1]
    return min(turned, float(places[first]))


def floor_of(places: Array, values: Array) -> Array:
    """The least that the lowest loss beside the best rate may be, of a loss that falls ever less and rises ever more.

    Between two rates it lies above the lines through the two before and the two after them.

    Args:
        places: of the rates, ascending, four or more.
        values: the losses, (seeds, rates).

    Returns:
        of each seed, (seeds,).
    """
    best = int(values.mean(axis=0).argmin())
    found = [values[:, best]]
    for left in range(max(best - 1, 0), min(best + 1, len(places) - 1)):
        between = np.linspace(places[left], places[left + 1], SLOPE_PLACES)
        lines = [
            heights(fitted(places[start : start + 2], values[:, start : start + 2], 1), between)
            for start in (left - 1, left + 1)
            if 0 <= start < len(places) - 1
        ]
        means = np.stack([line.mean(axis=0) for line in lines])  # (lines, places)
        at = int(means.max(axis=0).argmin())
        found.append(lines[int(means[:, at].argmax())][:, at])
    return min(found, key=np.mean)


def fitted(places: Array, values: Array, degree: int) -> Array:
    """A polynomial for each row by least squares: (seeds, places) -> (seeds, degree + 1), the constant first."""
    return polyfit(places, values.T, degree).T


def heights(polynomials: Array, places: Array) -> Array:
    """The values of some polynomials: (seeds, coefficients), (places,) -> (seeds, places)."""
    return polyval(places, polynomials.T)


def optimum_bounds(polynomials: Array, places: Array, confidence: float) -> tuple[float, float]:
    """Where the lowest point of some polynomials, one for each seed, is: from where they fall to where they rise."""
    return sign_bounds(polyder(polynomials, axis=1), places, confidence)


def sign_bounds(polynomials: Array, places: Array, confidence: float) -> tuple[float, float]:
    """The last place at which the mean of some polynomials is negative, and the first at which it is positive.

    Args:
        polynomials: (seeds, coefficients); their mean is negative or positive where its interval is.
        places: ascending.
        confidence: of the interval at each place.

    Returns:
        the bounds; infinite where no value says so.
    """
    values = heights(polynomials, places)
    num_seeds = len(values)
    if num_seeds < 2:
        return -math.inf, math.inf
    means = values.mean(axis=0)
    reach = float(stdtrit(num_seeds - 1, (1 + confidence) / 2)) * values.std(axis=0, ddof=1) / math.sqrt(num_seeds)
    lower, upper = means - reach, means + reach
    falling, rising = np.flatnonzero(upper < 0), np.flatnonzero(lower > 0)
    low, high = -math.inf, math.inf
    if len(falling):
        at = int(falling[-1])
        low = float(places[at] if at == len(places) - 1 else crossing(places[at : at + 2], upper[at : at + 2]))
    if len(rising):
        at = int(rising[0])
        high = float(places[at] if at == 0 else crossing(places[at - 1 : at + 1], lower[at - 1 : at + 1]))
    return low, high


def crossing(places: Array, values: Array) -> float:
    """Where the line through two points is zero."""
    return float(places[0] - values[0] * (places[1] - places[0]) / (values[1] - values[0]))


# ------------------------------------------------------------------------------------------------ in words


def rate_words(rate: float) -> str:
    """A learning rate at which something is trained, in all its digits."""
    return f"{rate:.10g}"


def optimum_words(valley: Valley, name: str) -> str:
    """Which rate suits the model called `name` and how well that is known; how wide its valley is; lost runs."""
    lowest, highest = (rate_words(rate) for rate in (valley.rates[0], valley.rates[-1]))
    optimum, low, high = map(valley.rate_words, (valley.optimum, valley.low, valley.high))
    if valley.problem:
        words = valley.problem
    elif valley.is_inside and valley.is_lopsided:
        words = (
            f"The best learning rate of {name} is somewhere between {low} and {high}, perhaps about {optimum}: its "
            "losses lie on no parabola over log rate, so these bounds are wide."
        )
    elif valley.is_inside:
        words = f"The best learning rate of {name} is about {optimum} (95 % interval {low} to {high})."
    elif valley.may_be_below and valley.may_be_above:
        words = f"These runs cannot tell which learning rate suits {name}: take more seeds, or rates farther apart."
    elif valley.may_be_above and valley.low >= valley.rates[-1]:
        words = f"The best learning rate of {name} is above {highest}, the highest that was tried: try higher ones."
    elif valley.may_be_below and valley.high <= valley.rates[0]:
        words = f"The best learning rate of {name} is below {lowest}, the lowest that was tried: try lower ones."
    elif valley.may_be_above:
        words = (
            f"The best learning rate of {name} is above {low}, and may be above {highest}, the "
            "highest that was tried: try higher ones."
        )
    else:
        words = (
            f"The best learning rate of {name} is below {high}, and may be below {lowest}, the "
            "lowest that was tried: try lower ones."
        )
    width = [valley.width.words(name)] if valley.width else []
    return " ".join([words, *width, *lost_runs_words(valley, name)])


def lost_runs_words(valley: Valley, name: str) -> list[str]:
    """Where runs were lost, as a sentence in a list; an empty list where none was."""
    if not any(valley.lost):
        return []
    places = [f"{count} at {rate_words(rate)}" for rate, count in zip(valley.rates, valley.lost, strict=True) if count]
    return [f"Runs of {name} that diverged or failed: {', '.join(places)}."]

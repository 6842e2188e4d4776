"""Which of two models is better: at the same learning rate, and each at its best, as `fit_valley` finds it.

They are compared by Student's t, paired by seed. Holm's method pays for asking twice: of two models that are alike, one
is called better in at most 5 % of cases, whether in one sentence or the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tlab.judging.few_seeds import (
    ALPHA,
    BELOW_MARGIN,
    EQUIVALENT,
    INCONCLUSIVE,
    MARGIN,
    REAL,
    Estimate,
    beside_interval,
    difference_p,
    equality_p,
    estimate,
    holm,
    paired,
    verdict_with_lost,
)
from tlab.judging.learning_rates import LossesByRate, Valley, ended_well, fit_valley, rate_words
from tlab.types import Array
from tlab.wording import several, written

EVERY_READING = "not every reading agrees: curves, best rates tried, gaps between rates"
LOSS_DIGITS = 3  # decimal places of a loss
TWO_TESTS = "two comparisons are made at once, so each has to be surer than 95 %"


class Difference(NamedTuple):
    """One model against another, each at a rate: the loss of B minus that of A, paired by seed."""

    rates: tuple[float, float]  # of A and B; nan where there is none
    estimate: Estimate
    lost: tuple[int, int]  # runs of A and of B, at these rates, that diverged or failed
    p: float = 1.0  # of the two-sided test that there is no difference, after Holm's correction where there are several
    p_equal: float = 1.0  # of the claim that the difference is within the margin, likewise
    alone: tuple[float, float] = (1.0, 1.0)  # both before that correction

    @property
    def lost_more(self) -> tuple[int, int]:
        """Runs that B lost beyond those that both did, and A."""
        a, b = self.lost
        return max(0, b - a), max(0, a - b)

    @property
    def verdict(self) -> str:
        """One of `few_seeds.VERDICTS`: who lost more runs is never better, and then nothing is equivalent."""
        return verdict_with_lost(self.p, self.p_equal, self.estimate.mean, self.lost_more)

    def reason(self, margin: float = MARGIN) -> str:
        """Why the verdict is not the one that the estimate's interval suggests, as a clause; empty where it is."""
        is_clear_alone = self.alone[0 if self.estimate.excludes_zero else 1] <= ALPHA
        otherwise = TWO_TESTS if is_clear_alone else EVERY_READING
        return beside_interval(self.verdict, self.estimate, self.lost_more, margin, otherwise)


class Comparison(NamedTuple):
    """Two models: at one rate, where both were trained at it, and each at its best."""

    at_rate: Difference | None
    at_best: Difference
    valleys: tuple[Valley, Valley]


def compare(a: LossesByRate, b: LossesByRate, rate: float | None = None, margin: float = MARGIN) -> Comparison:
    """Which of two models is better at `rate`, and which is, each at its best.

    Pairs are of the same seed; of models whose seeds have nothing in common, any numbers may pair them.

    Raises:
        RateError: of `fit_valley`.
    """
    valleys = fit_valley(a), fit_valley(b)
    at_best = differences_at_best(*valleys)
    agree = len({np.sign(one.mean()) for one in at_best if len(one)}) == 1
    tests = [
        (
            max(map(difference_p, at_best)) if agree else 1.0,
            max(equality_p(one, margin) for one in at_best),
        )
    ]
    found = [
        Difference(
            (rate_at_best(valleys[0]), rate_at_best(valleys[1])),
            estimate(at_best[0]),
            (lost_at_best(valleys[0]), lost_at_best(valleys[1])),
        )
    ]
    if rate is not None and a.get(rate) and b.get(rate):
        of_a, of_b = ended_well(a[rate]), ended_well(b[rate])
        differences = paired(of_b, of_a)
        tests.append((difference_p(differences), equality_p(differences, margin)))
        lost = len(a[rate]) - len(of_a), len(b[rate]) - len(of_b)
        found.append(Difference((rate, rate), estimate(differences), lost))
    different, equal = (holm(p_values) for p_values in zip(*tests, strict=True))
    found = [
        one._replace(p=p, p_equal=q, alone=alone)
        for one, p, q, alone in zip(found, different, equal, tests, strict=True)
    ]
    return Comparison(found[1] if len(found) > 1 else None, found[0], valleys)


def differences_at_best(a: Valley, b: Valley) -> list[Array]:
    """B - A by seed, each at its best: by their curves, by the best rates tried, and as small and large as may be.

    What is said of two models has to be true of all of them.
    """
    return [
        paired(b.losses, a.losses),
        paired(b.losses_tried, a.losses_tried),
        paired(b.lowest_losses, a.highest_losses),
        paired(b.highest_losses, a.lowest_losses),
    ]


def rate_at_best(valley: Valley) -> float:
    """The rate of `Valley.losses`: the optimum, without a curve the best rate tried; nan where all runs were lost."""
    return valley.best_tried if math.isnan(valley.optimum) else valley.optimum


def lost_at_best(valley: Valley) -> int:
    """How many runs were lost at the best rate tried; all of them where no run ended well at any."""
    if math.isnan(valley.best_tried):
        return sum(valley.lost)
    return valley.lost[valley.rates.index(valley.best_tried)]


# ------------------------------------------------------------------------------------------------ in words


class SecondUnit(NamedTuple):
    """Another unit in which losses are told as well."""

    name: str
    per_first: float  # how many of it one of the first unit is

    def words(self, difference: Estimate, sign: str, margin: float | None = None) -> str:
        """A difference with its interval, to stand after the same in the first unit; with a margin in its place."""
        also = difference.times(self.per_first)
        specification = also.specification(LOSS_DIGITS, sign)
        size = written(also.mean, specification) if margin is None else f"{margin * self.per_first:.2g}"
        interval = f" ({also.interval_words(specification)})" if also.n > 1 else ""
        return f", or {size} {self.name}{interval}"


def winner_words(
    one: Difference,
    names: tuple[str, str],
    unit: str,
    margin: float = MARGIN,
    second_unit: SecondUnit | None = None,
) -> str:
    """Who is better, or that nobody can tell, with the interval; the middle of a sentence.

    Where the interval alone would suggest another verdict, it says why this one is given.

    Args:
        one: B minus A.
        names: of A and B.
        unit: of the losses.
        margin: within which they are called equivalent.
        second_unit: in which the difference is said as well, where there is one.
    """
    found = one.estimate
    a, b = one.lost
    lost = f", and {names[0]} lost {several(a, 'run')}, {names[1]} {b}" if a or b else ""
    if not found.n:
        return f"{names[0]} and {names[1]} cannot be compared: no seed ended well in both{lost}"
    seeds = several(found.n, "seed")

    def also(difference: Estimate, sign: str, margin: float | None = None) -> str:
        return "" if second_unit is None else second_unit.words(difference, sign, margin)

    plus, plain = (found.specification(LOSS_DIGITS, sign) for sign in ("+", ""))
    signed = f"{names[1]} minus {names[0]} is {written(found.mean, plus)} {unit}"
    if found.n < 2:
        return f"{signed}{also(found, '+')} with one seed, which names no winner{lost}"
    (better, worse), gap = (names, found) if found.mean > 0 else (names[::-1], found.times(-1))
    size = f"{gap.mean:{plain}} {unit} (95 % interval {gap.interval_words(plain)}, {seeds}){also(gap, '')}"
    interval = f"95 % interval {found.interval_words(plus)}"
    equal = f"equivalent within {margin:g} {unit} ({interval}, {seeds}){also(found, '+', margin)}"
    words = {
        REAL: f"{better} is better than {worse} by {size}",
        BELOW_MARGIN: f"{better} is better than {worse}, but only by {size}, which is less than {margin:g} {unit}",
        EQUIVALENT: f"{names[0]} and {names[1]} are {equal}",
        INCONCLUSIVE: f"{seeds} cannot tell: {signed} ({interval}){also(found, '+')}",
    }
    return "; ".join(filter(None, [words[one.verdict] + lost, one.reason(margin)]))


def comparison_words(
    found: Comparison,
    names: tuple[str, str],
    unit: str = "nats per token",
    margin: float = MARGIN,
    second_unit: SecondUnit | None = None,
) -> list[str]:
    """The verdict in sentences: at the same rate, where both were trained at one; and each at its best."""
    sentences = []
    if found.at_rate is not None:
        words = winner_words(found.at_rate, names, unit, margin, second_unit)
        sentences.append(f"At the same learning rate, {rate_words(found.at_rate.rates[0])}: {words}.")
    words = winner_words(found.at_best, names, unit, margin, second_unit)
    sentences.append(f"{best_rates_words(found, names)}: {words}.")
    coarse = [name for name, valley in zip(names, found.valleys, strict=True) if valley.is_coarse]
    if coarse and found.at_best.verdict == INCONCLUSIVE:
        sentences.append(
            f"The rates are too far apart to tell how low the loss of {' and of '.join(coarse)} is between them: try "
            "some between."
        )
    return sentences


def best_rates_words(found: Comparison, names: tuple[str, str]) -> str:
    """At which rates the two are compared at their best, and where these come from; the beginning of a sentence."""
    sides = list(zip(names, found.valleys, found.at_best.rates, strict=True))
    at = [f"{name} at {valley.rate_words(rate)}" for name, valley, rate in sides if not math.isnan(rate)]
    fitted = [name for name, valley, rate in sides if not math.isnan(rate) and not valley.was_tried(rate)]
    which = "these are the lowest points" if len(fitted) > 1 else f"that of {''.join(fitted)} is the lowest point"
    curves = "curves through their losses" if len(fitted) > 1 else "a curve through its losses"
    untrained = f"; {which} of {curves}, and nothing was trained there" if fitted else ""
    place = f" ({', '.join(at)}{untrained})" if at else ""
    unsure = [name for name, valley, _ in sides if not valley.is_inside]
    if unsure:
        return (
            f"The best learning rate of {' and of '.join(unsure)} was not found within the rates that were tried, so "
            f"each at the best that is known{place}"
        )
    return f"Each at its best{place}"

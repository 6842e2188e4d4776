"""From numbers to verdicts: the criteria of a claim, and whether its runs meet them, refute them, or leave them open.

A claim is a set of checks. Each takes one number from every seed and requires it to lie between two bounds, by one of
the rules below. Only when all checks hold is the claim reproduced; one that fails is enough for "not reproduced"; where
the seeds leave both open, the verdict is "inconclusive", which is reported like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from sweeps.results.stats import ALPHA, CONFIDENCE, Estimate, difference_p, equality_p, estimate, holm

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = ("reproduced", "not reproduced", "inconclusive")
ANYTHING = math.inf
EQUIVALENCE_CONFIDENCE = 1 - 2 * ALPHA  # confidence of the interval that corresponds to two one-sided tests at 5 %

Outcome = Mapping[str, Any]  # what a measure returned for one run
SeedResults = Mapping[str, Outcome]  # of one seed: the label of each configuration -> its outcome
Number = Callable[[SeedResults], float]  # computes it from one seed's results; nan where a run has none


def finite_values(numbers: Iterable[float]) -> tuple[float, ...]:
    """What is left without the seeds that have no number."""
    return tuple(float(number) for number in numbers if math.isfinite(number))


# ------------------------------------------------------------------------------------------------ rules


class Rule(NamedTuple):
    """How the numbers of all seeds are compared with two bounds."""

    words: str  # what has to lie between the bounds
    confidence: float  # of the interval that is shown and, by most rules, judged
    holds: Callable[[Sequence[float], Estimate, float, float], bool]
    fails: Callable[[Sequence[float], Estimate, float, float], bool]


def interval_is_outside(_: Sequence[float], found: Estimate, low: float, high: float) -> bool:
    return found.high < low or found.low > high


MEAN = Rule(
    "the mean", CONFIDENCE, holds=lambda _, found, low, high: low <= found.mean <= high, fails=interval_is_outside
)
INTERVAL = Rule(
    "the whole 95 % interval",
    CONFIDENCE,
    holds=lambda _, found, low, high: low <= found.low and found.high <= high,
    fails=interval_is_outside,
)
EVERY_SEED = Rule(
    "every seed",
    CONFIDENCE,
    holds=lambda values, _, low, high: all(low <= value <= high for value in values),
    fails=lambda values, _, low, high: not any(low <= value <= high for value in values),
)
EQUIVALENCE = Rule(
    "the whole 90 % interval (two one-sided tests at 5 %)",
    EQUIVALENCE_CONFIDENCE,
    holds=lambda values, _, low, high: equality_p(values, high) <= ALPHA,
    fails=interval_is_outside,
)


# ------------------------------------------------------------------------------------------------ checks


class Judged(NamedTuple):
    """The result of a check."""

    what: str
    unit: str
    criterion: str
    values: tuple[float, ...]  # one per seed, in the order of the seeds; seeds without a number are left out
    missing: int  # seeds without a number, because a run diverged
    estimate: Estimate
    verdict: str
    moved: str = ""
    details: tuple[str, ...] = ()  # further remarks, one sentence each


@dataclass(frozen=True)
class Check:
    """A number of each seed, and the bounds that it has to lie between."""

    what: str  # the number, in words
    number: Number
    low: float = -ANYTHING
    high: float = ANYTHING
    rule: Rule = INTERVAL  # how the seeds are compared with the bounds
    unit: str = ""
    moved: str = ""  # where the threshold is not the published or planned one: what it was, and why

    @property
    def criterion(self) -> str:
        return f"{self.rule.words} {bounds_in_words(self.low, self.high)}"

    def judge(self, seeds: Sequence[SeedResults]) -> Judged:
        values = finite_values(map(self.number, seeds))
        missing = len(seeds) - len(values)
        found = estimate(values, confidence=self.rule.confidence)
        verdict = INCONCLUSIVE
        if len(values) >= 2:  # one seed says nothing about noise
            if self.rule.fails(values, found, self.low, self.high):
                verdict = NOT_REPRODUCED
            elif not missing and self.rule.holds(values, found, self.low, self.high):
                verdict = REPRODUCED
        narrow = verdict == REPRODUCED and not (self.low <= found.low and found.high <= self.high)
        details = (
            f"A narrow result: the mean of {self.what} meets the criterion, but its interval extends beyond the bound.",
        )
        return Judged(
            self.what, self.unit, self.criterion, values, missing, found, verdict, self.moved, details if narrow else ()
        )


def bounds_in_words(low: float, high: float) -> str:
    if low == -ANYTHING:
        return f"below {high:g}"
    if high == ANYTHING:
        return f"above {low:g}"
    return f"within ±{high:g}" if low == -high else f"between {low:g} and {high:g}"


class Contrast(NamedTuple):
    """A modification against the baseline, over the seeds that have both."""

    label: str
    values: tuple[float, ...]  # one per seed
    estimate: Estimate
    p: float  # after Holm's correction for the number of modifications

    @property
    def survives(self) -> bool:
        return self.p <= ALPHA


def contrasts(seeds: Sequence[SeedResults], number: Callable[[Outcome], float], baseline: str) -> list[Contrast]:
    labels = [label for label in seeds[0] if label != baseline]
    differences = [
        finite_values(number(results[label]) - number(results[baseline]) for results in seeds) for label in labels
    ]
    adjusted = holm([difference_p(values) for values in differences])
    compared = zip(labels, differences, adjusted, strict=True)
    return [Contrast(label, values, estimate(values), p) for label, values, p in compared]


@dataclass(frozen=True)
class NotReal:
    """A check that one modification's difference from the baseline does not survive Holm's correction over all."""

    what: str  # the difference, in words
    number: Callable[[Outcome], float]  # takes the number from one run
    baseline: str  # the label of what is compared with
    label: str  # the modification that must not be called real
    unit: str = ""
    criterion: ClassVar[str] = f"p after Holm's correction above {ALPHA:g}"

    def judge(self, seeds: Sequence[SeedResults]) -> Judged:
        found = {contrast.label: contrast for contrast in contrasts(seeds, self.number, self.baseline)}
        mine = found[self.label]
        missing = len(seeds) - len(mine.values)
        verdict = INCONCLUSIVE
        if len(mine.values) >= 2 and not missing:
            verdict = NOT_REPRODUCED if mine.survives else REPRODUCED
        criterion = f"{self.criterion}; it is {mine.p:.2g}"
        real, noise = [c for c in found.values() if c.survives], [c for c in found.values() if not c.survives]
        details = (
            summary_line("Real after Holm's correction", real, len(found)),
            summary_line("Within the noise", noise, len(found)),
        )
        return Judged(self.what, self.unit, criterion, mine.values, missing, mine.estimate, verdict, details=details)


def summary_line(what: str, some: Sequence[Contrast], number: int) -> str:
    ranked = sorted(some, key=lambda contrast: contrast.estimate.mean)
    listed = ", ".join(f"{c.label} {c.estimate.mean:+.3f} (p = {c.p:.2g})" for c in ranked)
    return f"{what}: {len(ranked)} of {number}{': ' if listed else ''}{listed}."


def verdict_of_all(judged: Iterable[Judged]) -> str:
    verdicts = {check.verdict for check in judged}
    if NOT_REPRODUCED in verdicts:
        return NOT_REPRODUCED
    return REPRODUCED if verdicts == {REPRODUCED} else INCONCLUSIVE

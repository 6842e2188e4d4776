"""From numbers to verdicts: the criteria of a claim, and whether its runs meet them, refute them, or leave them open.

A claim is a set of checks. Each takes one number from every seed and requires it to lie between two bounds, by one of
the rules below. Only when all checks hold is the claim reproduced; one that fails is enough for "not reproduced"; where
the seeds leave both open, the verdict is "inconclusive", which is reported like any other. A claim that says several
things has a verdict for each of these parts, and is partly reproduced where they differ.

**Chance.** Each rule gives two p-values, one for the statement that the check holds and one for the statement that it
fails. Those of all checks of a claim are adjusted by Holm's method, the ones for holding and the ones for failing each
(`judge_checks`). So in at most 5 % of findings any check, any part, or the claim itself is said to hold although it
does not, and in at most 5 % to fail although it holds: a claim of seven checks that all are just true would otherwise
be refuted in one case of six. `python -m benchmarks.null_findings` counts it.

**Lost seeds.** A seed that has no number, because a run diverged, leaves a check open. Nobody knows on which side of
the bounds it would have been, and those that are left may be on their side for that alone.

No rule judges the mean alone: near a bound, which seeds were run would decide.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import nct
from scipy.stats import t as student

from tlab.judging.few_seeds import (
    ALPHA,
    CONFIDENCE,
    Estimate,
    above_p,
    difference_p,
    estimate,
    holm,
    is_flattered,
)
from tlab.types import Array

REPRODUCED, PARTLY_REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_GRADED = (
    "reproduced",
    "partly reproduced",
    "not reproduced",
    "inconclusive",
    "not graded",
)
ANYTHING = math.inf
POWER = 0.8  # the share of cases in which a test is asked to find what is there
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
    confidence: float  # of the interval that is shown; of one check alone, it is what is judged
    holds: Callable[[Array, float, float], float]  # values, low, high -> p-value of the claim that it holds
    fails: Callable[[Array, float, float], float]  # likewise, that it fails


def between_p(values: Array, low: float, high: float) -> float:
    """P-value of the claim that the true mean lies between the bounds: each by a one-sided test."""
    return max(above_p(values, low), above_p(-values, -high))


def outside_p(values: Array, low: float, high: float) -> float:
    """P-value of the claim that the true mean lies beyond one of them."""
    return min(1.0, 2 * min(above_p(values, high), above_p(-values, -low)))


INTERVAL = Rule(
    "the whole 95 % interval",
    CONFIDENCE,
    holds=lambda values, low, high: min(1.0, 2 * between_p(values, low, high)),
    fails=outside_p,
)
EVERY_SEED = Rule(  # for numbers without noise: of three seeds at the bound, all lie within in one case of eight
    "every seed",
    CONFIDENCE,
    holds=lambda values, low, high: 0.0 if np.all((low <= values) & (values <= high)) else 1.0,
    fails=lambda values, low, high: 1.0 if np.any((low <= values) & (values <= high)) else 0.0,
)
EQUIVALENCE = Rule(
    "the whole 90 % interval (two one-sided tests at 5 %)", EQUIVALENCE_CONFIDENCE, holds=between_p, fails=outside_p
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
    part: str = ""
    moved: str = ""
    details: tuple[str, ...] = ()  # further remarks, one sentence each
    p_holds: float = math.nan  # p-value of the claim that the check holds; nan for what is no test
    p_fails: float = math.nan

    @property
    def is_graded(self) -> bool:
        return self.verdict != NOT_GRADED


@dataclass(frozen=True)
class Check:
    """A number of each seed, and the bounds that it has to lie between."""

    what: str  # the number, in words
    number: Number
    low: float = -ANYTHING
    high: float = ANYTHING
    rule: Rule = INTERVAL  # how the seeds are compared with the bounds
    unit: str = ""
    part: str = ""  # which part of the claim it tests, where the claim says more than one thing
    moved: str = ""  # where the threshold is not the published or planned one: what it was, and why

    @property
    def criterion(self) -> str:
        return f"{self.rule.words} {bounds_in_words(self.low, self.high)}"

    def judge(self, seeds: Sequence[SeedResults]) -> Judged:
        values = finite_values(map(self.number, seeds))
        missing = len(seeds) - len(values)
        found = estimate(values, confidence=self.rule.confidence)
        p_holds, p_fails = 1.0, 1.0
        if not missing and len(values) >= 2:  # one seed says nothing about noise
            p_holds, p_fails = (
                test(np.array(values), self.low, self.high) for test in (self.rule.holds, self.rule.fails)
            )
        return Judged(
            *(self.what, self.unit, self.criterion, values, missing, found, verdict_of_check(p_holds, p_fails)),
            *(self.part, self.moved),
            p_holds=p_holds,
            p_fails=p_fails,
        )


def verdict_of_check(p_holds: float, p_fails: float) -> str:
    """What the p-values of the claims that it holds, and that it fails, allow to say."""
    if p_fails <= ALPHA:
        return NOT_REPRODUCED
    return REPRODUCED if p_holds <= ALPHA else INCONCLUSIVE


def judge_checks(checks: Iterable[Check | Noise], seeds: Sequence[SeedResults]) -> list[Judged]:
    """The verdicts on all checks of a claim, which share the 5 % for what holds, and the 5 % for what fails."""
    judged = [check.judge(seeds) for check in checks]
    holds, fails = holm([one.p_holds for one in judged]), holm([one.p_fails for one in judged])
    return [
        one._replace(verdict=verdict_of_check(p_holds, p_fails), p_holds=p_holds, p_fails=p_fails)
        if one.is_graded
        else one
        for one, p_holds, p_fails in zip(judged, holds, fails, strict=True)
    ]


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
    lost: tuple[int, int]  # runs of the modification, and of the baseline, that have no number where the other has one

    @property
    def survives(self) -> bool:
        """Whether it is real: a side that lost more runs is never the better one."""
        return self.p <= ALPHA and not is_flattered(self.estimate.mean, self.lost)


def contrasts(seeds: Sequence[SeedResults], number: Callable[[Outcome], float], baseline: str) -> list[Contrast]:
    labels = [label for label in seeds[0] if label != baseline]
    numbers = {label: np.array([number(results[label]) for results in seeds]) for label in seeds[0]}
    missing = {label: np.isnan(values) for label, values in numbers.items()}
    differences = [finite_values(numbers[label] - numbers[baseline]) for label in labels]
    lost = [
        (int((missing[label] & ~missing[baseline]).sum()), int((missing[baseline] & ~missing[label]).sum()))
        for label in labels
    ]
    adjusted = holm([difference_p(values) for values in differences])
    compared = zip(labels, differences, adjusted, lost, strict=True)
    return [Contrast(label, values, estimate(values), p, of_label) for label, values, p, of_label in compared]


@dataclass(frozen=True)
class Noise:
    """The noise that modifications have to rise above, by one that has no effect; shown, never graded.

    That no difference was found is no finding: with few seeds hardly any would be.
    """

    what: str  # the difference, in words
    number: Callable[[Outcome], float]  # takes the number from one run
    baseline: str  # the label of what is compared with
    label: str  # the modification
    unit: str = ""
    criterion: str = "none"

    def judge(self, seeds: Sequence[SeedResults]) -> Judged:
        found = {contrast.label: contrast for contrast in contrasts(seeds, self.number, self.baseline)}
        mine = found[self.label]
        real, noise = [c for c in found.values() if c.survives], [c for c in found.values() if not c.survives]
        details = (
            noise_in_words(mine, len(found), self.unit),
            summary_line("Real after Holm's correction", real, len(found)),
            summary_line("Within the noise", noise, len(found)),
        )
        missing = len(seeds) - len(mine.values)
        return Judged(
            self.what, self.unit, self.criterion, mine.values, missing, mine.estimate, NOT_GRADED, details=details
        )


def noise_in_words(contrast: Contrast, num_tests: int, unit: str) -> str:
    """How much one modification's difference varies, and how large one would have to be to be found."""
    n = len(contrast.values)
    if n < 2:
        return "Fewer than two seeds say nothing about the noise."
    spread = statistics.stdev(contrast.values)
    found = [detectable(spread, n, alpha) for alpha in (ALPHA, ALPHA / num_tests)]
    return (
        f"The difference of {contrast.label} has a standard deviation of {spread:.3f} {unit} over the seeds. With so "
        f"much noise, {n} seeds find a true difference of {found[0]:.3f} {unit} in {POWER * 100:.0f} % of cases if it "
        f"alone is tested, and one of {found[1]:.3f} {unit} at Holm's strictest level for {num_tests} tests."
    )


def detectable(spread: float, n: int, alpha: float) -> float:
    """The true difference that a paired t-test finds with probability `POWER`.

    Args:
        spread: standard deviation of the difference over seeds.
        n: seeds.
        alpha: the level of the test.
    """
    bound = student.ppf(1 - alpha / 2, n - 1)

    def excess(effect: float) -> float:  # of the power to find an effect in units of the spread
        return float(nct.sf(bound, n - 1, effect * math.sqrt(n))) - POWER

    return spread * root_scalar(excess, bracket=(0.0, 4 * bound)).root


def summary_line(what: str, some: Sequence[Contrast], number: int) -> str:
    ranked = sorted(some, key=lambda contrast: contrast.estimate.mean)
    listed = ", ".join(f"{c.label} {c.estimate.mean:+.3f} (p = {c.p:.2g})" for c in ranked)
    return f"{what}: {len(ranked)} of {number}{': ' if listed else ''}{listed}."


def verdicts_of_parts(judged: Iterable[Judged]) -> dict[str, str]:
    """The parts of a claim -> their verdicts; a claim that says one thing has one part without a name."""
    found: dict[str, list[str]] = {}
    for check in judged:
        found.setdefault(check.part, []).append(check.verdict)
    return {part: verdict_of_all(verdicts) for part, verdicts in found.items()}


def verdict_of_claim(judged: Iterable[Judged]) -> str:
    verdicts = verdicts_of_parts(judged).values()
    return PARTLY_REPRODUCED if {REPRODUCED, NOT_REPRODUCED} <= set(verdicts) else verdict_of_all(verdicts)


def verdict_of_all(verdicts: Iterable[str]) -> str:
    """What holds only if all of these hold."""
    different = set(verdicts)
    if NOT_REPRODUCED in different:
        return NOT_REPRODUCED
    return different.pop() if len(different) == 1 else INCONCLUSIVE

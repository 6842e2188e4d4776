"""`python -m benchmarks.null_findings`: how often is a verdict of the findings false?

The seeds of every claim are made up: of each check, the true value lies just within its bounds or just beyond them,
where a verdict is most easily wrong, or far from them. They are judged as real ones are, and counted is how often a
finding says what is not so: of a check, of a part, or of the whole claim. So are the modifications of which none
differs, and the open questions.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tyro

from benchmarks.null_sweeps import MAX_FALSE, NOISES, REPEATS, SHARE_LOST, Noise, highest_by_chance, is_real, is_small
from benchmarks.units import verdict
from sweeps.findings.claim import Claim, loss
from sweeps.findings.claims import CLAIMS, NOISE_FLOOR, QUESTIONS
from sweeps.findings.page import verdicts_of_questions
from sweeps.findings.verdicts import (
    EVERY_SEED,
    NOT_REPRODUCED,
    PARTLY_REPRODUCED,
    REPRODUCED,
    Check,
    Judged,
    contrasts,
    judge_checks,
    verdict_of_claim,
    verdicts_of_parts,
)
from tlab.judging.few_seeds import MARGIN
from tlab.types import Array

FINDINGS = 400
FAR = 5.0  # standard deviations of a seed from the bound
WIDTH = 20.0  # likewise, from bound to bound


class Truth(NamedTuple):
    """Where the true value of a check lies."""

    holds: bool
    far: bool  # from the bound, so that a few seeds tell


JUST_TRUE, JUST_FALSE = Truth(True, False), Truth(False, False)
CLEARLY_TRUE, CLEARLY_FALSE = Truth(True, True), Truth(False, True)


def graded(claim: Claim) -> list[Check]:
    """The checks of numbers with noise; one of numbers without is never wrong by chance."""
    return [check for check in claim.checks if isinstance(check, Check) and check.rule is not EVERY_SEED]


def patterns(claim: Claim) -> list[list[Truth]]:
    """What may be so of a claim's checks, one list per case: each case is where one of the verdicts is hard."""
    checks = graded(claim)
    parts = list(dict.fromkeys(check.part for check in checks))
    cases = [[JUST_TRUE] * len(checks), [JUST_FALSE] * len(checks)]
    for i in range(len(checks)):
        cases.append([JUST_FALSE if i == k else CLEARLY_TRUE for k in range(len(checks))])
    for part in parts if len(parts) > 1 else []:
        cases.append([CLEARLY_FALSE if check.part == part else JUST_FALSE for check in checks])
        cases.append([CLEARLY_TRUE if check.part == part else JUST_TRUE for check in checks])
    return cases


def made_up_values(check: Check, truth: Truth, deviations: Array, rng: np.random.Generator) -> Array:
    """A number per seed, so that the check has this truth; at one of its bounds, where it has two.

    Args:
        check: whose bounds they are.
        truth: where the true value is.
        deviations: (seeds,), of mean 0 and standard deviation 1.
        rng: chooses the bound.
    """
    bounds = [(bound, inward) for bound, inward in ((check.low, 1), (check.high, -1)) if math.isfinite(bound)]
    bound, inward = bounds[rng.integers(len(bounds))]
    spread = (check.high - check.low) / WIDTH if len(bounds) > 1 else 1.0
    direction = inward if truth.holds else -inward
    return bound + spread * (direction * FAR * truth.far + deviations)


def judged_made_up(
    claim: Claim, truths: Sequence[Truth], noise: Noise, lost: float, rng: np.random.Generator
) -> list[Judged]:
    """The verdicts on the checks of a claim whose seeds are made up.

    Args:
        claim: whose checks and number of seeds they are.
        truths: of each check.
        noise: of every number.
        lost: share of each check's seeds, those farthest on one side, that have no number.
        rng: where all chance comes from.
    """
    checks = graded(claim)
    deviations = noise.draw(rng, (len(checks), claim.seeds))
    values = np.array([made_up_values(*each, rng) for each in zip(checks, truths, deviations, strict=True)])
    if lost:
        values[deviations > noise.quantile(1 - lost)] = math.nan
    seeds = [{str(i): {"value": value} for i, value in enumerate(column)} for column in values.T]
    numbered = [
        dataclasses.replace(check, number=lambda results, i=i: results[str(i)]["value"])
        for i, check in enumerate(checks)
    ]
    return judge_checks(numbered, seeds)


# ------------------------------------------------------------------------------------------------ what is false


def false_statements(judged: Sequence[Judged], truths: Sequence[Truth]) -> dict[str, bool]:
    """Kind of statement -> whether this finding makes one that is false."""
    hold = [truth.holds for truth in truths]
    of_parts = {
        part: all(truth for one, truth in zip(judged, hold, strict=True) if one.part == part)
        for part in verdicts_of_parts(judged)
    }
    of_claim = verdict_of_claim(judged)
    parts = verdicts_of_parts(judged)
    return {
        "the claim is reproduced": of_claim == REPRODUCED and not all(hold),
        "the claim is not reproduced": of_claim == NOT_REPRODUCED and all(hold),
        "the claim is partly reproduced": of_claim == PARTLY_REPRODUCED and len(set(of_parts.values())) == 1,
        "a part is reproduced": any(parts[part] == REPRODUCED and not true for part, true in of_parts.items()),
        "a part is not reproduced": any(parts[part] == NOT_REPRODUCED and true for part, true in of_parts.items()),
        "a check holds": any(o.verdict == REPRODUCED and not true for o, true in zip(judged, hold, strict=True)),
        "a check fails": any(o.verdict == NOT_REPRODUCED and true for o, true in zip(judged, hold, strict=True)),
    }


def false_shares(
    claim: Claim, truths: Sequence[Truth], noise: str, lost: float, findings: int, rng: np.random.Generator
) -> dict[str, float]:
    """Kind -> share of findings that make such a statement although it is false."""
    made = [judged_made_up(claim, truths, NOISES[noise], lost, rng) for _ in range(findings)]
    statements = [false_statements(judged, truths) for judged in made]
    return {kind: float(np.mean([each[kind] for each in statements])) for kind in statements[0]}


def print_shares(noise: str, lost: float, findings: int, rng: np.random.Generator) -> None:
    """A line for each kind: the mean over all claims and cases, the highest, and that case made up anew."""
    claims = {key: claim for key, claim in CLAIMS.items() if graded(claim)}
    cases = [(key, truths) for key, claim in claims.items() for truths in patterns(claim)]
    shares = [false_shares(claims[key], truths, noise, lost, findings, rng) for key, truths in cases]
    for kind in shares[0]:
        of_kind = [share[kind] for share in shares]
        key, truths = cases[int(np.argmax(of_kind))]
        new = REPEATS * findings  # the highest of so many is so by luck, too
        again = false_shares(claims[key], truths, noise, lost, new, rng)[kind]
        words = (
            f"{100 * np.mean(of_kind):5.1f} %   {100 * max(of_kind):5.1f} %, of new ones {100 * again:.1f} % ({key})"
        )
        print(f"  {kind:<32} {words:<60} {verdict(again, most=highest_by_chance(new))}", flush=True)


def false_modification(noise: Noise, lost: float, rng: np.random.Generator) -> bool:
    """Whether one modification of several, none of which differs, is called real.

    Args:
        noise: of every run.
        lost: share of one modification's runs, those that would have ended highest, that diverge.
        rng: where it comes from.
    """
    labels = list(NOISE_FLOOR.runs)
    deviations = noise.draw(rng, (NOISE_FLOOR.seeds, len(labels)))
    values = np.where((np.arange(len(labels)) == 1) & (deviations > noise.quantile(1 - lost)), math.nan, deviations)
    seeds = [{label: {"val_loss": value} for label, value in zip(labels, row, strict=True)} for row in values]
    return any(contrast.survives for contrast in contrasts(seeds, loss, labels[0]))


def false_answer(noise: Noise, difference: float, rng: np.random.Generator) -> bool:
    """Whether an open question is answered wrongly.

    Args:
        noise: of every number.
        difference: the true one of all questions, in margins: 0, of which "different" is false, or 1, of which that
            the two are equivalent is false.
        rng: where it comes from.
    """
    seeds = [question.claim.seeds for question in QUESTIONS]
    spread = MARGIN / 4  # with more noise nothing would ever be called equivalent
    numbers = [(difference * MARGIN + spread * noise.draw(rng, (count,))).tolist() for count in seeds]
    found = verdicts_of_questions(numbers, seeds, [MARGIN] * len(seeds))
    if difference:
        return any(is_small(one) for one in found)
    return any(is_real(one) for one in found)


# ------------------------------------------------------------------------------------------------ the command


def main(findings: int = FINDINGS, seed: int = 0) -> None:
    """Make findings up, judge them, and say whether what is false is said in at most 5 % of them.

    Args:
        findings: of each claim, case and noise. 400 tell 5 % to +/- 2 %, and five times as many the highest to +/- 1 %.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    print(f"{findings} findings of each claim and case; false in (mean, and worst case; at most {MAX_FALSE:.0%})")
    for lost, noise in itertools.product((0.0, SHARE_LOST), NOISES):
        print(f"\n{noise}, {f'the highest {lost:.0%} of seeds lost' if lost else 'no seed lost'}")
        print_shares(noise, lost, findings, rng)
    print("\nof modifications and questions")
    for noise, drawn in NOISES.items():
        cases: dict[str, Callable[[Noise, np.random.Generator], bool]] = {
            "a modification is real": lambda noise, rng: false_modification(noise, 0.0, rng),
            "the same, one of them loses runs": lambda noise, rng: false_modification(noise, SHARE_LOST, rng),
            "a question is answered by 'different'": lambda noise, rng: false_answer(noise, 0.0, rng),
            "a question is answered by 'equivalent'": lambda noise, rng: false_answer(noise, 1.0, rng),
        }
        for words, appears in cases.items():
            new = REPEATS * findings
            share = float(np.mean([appears(drawn, rng) for _ in range(new)]))
            reached = verdict(share, most=highest_by_chance(new))
            print(f"  {noise:<12} {words:<40} {100 * share:5.1f} %   {reached}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

"""The same comparison from five seeds: which trials that takes, and what may be said of their losses.

The statistics are those of the sweeps (`tlab.judging.few_seeds`): what is judged is the difference of B and A within
each seed, and the interval is Student's t. No winner is named before all five seeds are there: who looks after each one
and stops when it suits finds winners that are none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlab.judging.few_seeds import (
    BELOW_MARGIN,
    DOUBTFUL,
    EQUIVALENT,
    INCONCLUSIVE,
    MARGIN,
    MAX_ROUNDING,
    REAL,
    SAME_WITHOUT_SEED,
    Estimate,
    beside_interval,
    difference_p,
    equality_p,
    estimate,
    far_from_others,
    has_no_seed,
    outlying,
    verdict_with_lost,
)
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_byte
from tlab.ui.runs.messages import Job, SidePlan, later_seed
from tlab.ui.runs.run import SIDE_LETTERS
from tlab.ui.studies.study import SEEDS, Ended, Study, Trial, losses_by_seed, trial_of
from tlab.wording import listed, written

NUM_SEEDS = 5


def seeds_study(session: str, job: Job, known: Mapping[Trial, Ended]) -> Study:
    """Both sides from five seeds: that of the comparison itself, of which something may be known, and the next four."""
    trials = [
        trial_of(side, plan)._replace(seed=later_seed(plan.training.seed, more))
        for more in range(NUM_SEEDS)
        for side, plan in enumerate(job.plans)
    ]
    return Study(session, SEEDS, job, trials, known)


def why_not(job: Job) -> str:
    """Why seeds would not tell anything about a comparison; nothing where they would."""
    if len(job.plans) < 2:
        return "There is nothing to compare: this run has one side."
    if any(plan.bug for plan in job.plans):
        return "A side has a bug that was planted, so its loss is not to be compared."
    a, b = map(without_seed, job.plans)
    if a == b:
        return (
            "A and B differ in their seed alone: they are one model trained twice. What is between them is what a seed "
            "does, and more seeds cannot tell which of the two is better."
        )
    return ""


def without_seed(plan: SidePlan) -> tuple[object, object]:
    return (plan.model, plan.start_from), dataclasses.replace(plan.training, seed=0, data_seed=None)


class SeedPair(NamedTuple):
    """Both losses of a seed; None where the run diverged."""

    seed: int
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """B - A, where both are known."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def is_same(self) -> bool:
        """Whether both ended alike, but for rounding."""
        return self.a == self.b or (self.difference is not None and abs(self.difference) <= MAX_ROUNDING)

    @property
    def lower(self) -> str:
        """The side that did better; a run that diverged did worse than one that did not. Neither: empty."""
        a, b = (math.inf if loss is None else loss for loss in (self.a, self.b))
        return "" if a == b else "A" if a < b else "B"


def pairs_of(study: Study) -> list[SeedPair]:
    """Of every seed of which both runs have ended, in the order of the trials."""
    a, b = (losses_by_seed(study.outcomes, [t for t in study.trials if t.side == side]) for side in (0, 1))
    seeds = dict.fromkeys(trial.seed for trial in study.trials)
    return [SeedPair(seed, a[seed], b[seed]) for seed in seeds if seed in a and seed in b]


class Judgement(NamedTuple):
    """What the pairs say."""

    pairs: list[SeedPair]
    difference: Estimate  # B - A over the seeds where neither diverged
    lost: tuple[int, int]  # runs of A and of B that diverged
    verdict: str  # one of `tlab.judging.few_seeds.VERDICTS`

    @property
    def winner(self) -> str:
        """The letter of the side that is better, or nothing where that cannot be told."""
        if self.verdict not in (REAL, BELOW_MARGIN):
            return ""
        return "B" if self.difference.mean < 0 else "A"

    @property
    def without_seed(self) -> bool:
        """Whether a side has the same loss at every seed, so that its runs are one run."""
        return any(has_no_seed([pair[side] for pair in self.pairs]) for side in (1, 2))

    @property
    def far_seeds(self) -> dict[int, list[str]]:
        """Seeds of which something ended far from that of the others, and what: "A", "B" or "B − A"."""
        columns = [(pair.a, pair.b, pair.difference) for pair in self.pairs]
        losses = np.array(columns, dtype=np.float64).reshape(-1, 3).T  # of None it makes nan
        kinds = (("A", far_from_others), ("B", far_from_others), ("B − A", outlying))
        far: dict[int, list[str]] = {}
        for (name, is_far), values in zip(kinds, losses, strict=True):
            for place in np.flatnonzero(is_far(values[None])) if np.isfinite(values).any() else ():
                far.setdefault(self.pairs[place].seed, []).append(name)
        return far


def judge(pairs: Sequence[SeedPair]) -> Judgement:
    """By the paired t-test of the sweeps, to which a run that diverged is a bad result and not a missing one."""
    differences = [pair.difference for pair in pairs if pair.difference is not None]
    difference = estimate(differences)
    lost = sum(pair.a is None for pair in pairs), sum(pair.b is None for pair in pairs)
    p, p_equal = difference_p(differences), equality_p(differences)
    verdict = verdict_with_lost(p, p_equal, difference.mean, (lost[1], lost[0]))
    found = Judgement(list(pairs), difference, lost, verdict)
    if found.without_seed:
        return found._replace(difference=estimate(differences[:1]), verdict=INCONCLUSIVE)
    return found


def words_of(judgement: Judgement, labels: Sequence[str], bytes_per_token: float | None = None) -> str:
    """The verdict over all seeds, in a sentence or two; with the bytes of a token in bits per byte as well."""
    count = len(judgement.pairs)
    if count and judgement.lost == (count, count):
        return "Every run of both sides diverged, so there is nothing to compare. A lower learning rate may help."
    sentences = [diverged_words(judgement.lost, count)] if any(judgement.lost) else []
    difference = judgement.difference
    if judgement.without_seed:
        return SAME_WITHOUT_SEED
    if difference.n < 2:
        sentences.append("There are too few pairs of losses to compare.")
        return " ".join(sentences)
    if all(pair.is_same for pair in judgement.pairs):
        sentences.append(
            f"A and B have the same loss on {difference.n} of {count} seeds: what they differ in changed nothing."
        )
        return " ".join(sentences)

    def told(estimate: Estimate, sign: str) -> str:
        in_bits = estimate.times(bits_per_byte(1.0, bytes_per_token)) if bytes_per_token is not None else None
        also = "" if in_bits is None else f", or {with_interval(in_bits, BITS_PER_BYTE, sign)}"
        return with_interval(estimate, NATS_PER_TOKEN, sign, "95 % interval ") + also

    signed = f"the mean difference B − A is {told(difference, '+')}"
    if judgement.winner:
        wins = sum(pair.lower == judgement.winner for pair in judgement.pairs)
        label = labels[SIDE_LETTERS.index(judgement.winner)]
        gap = told(difference if difference.mean > 0 else difference.times(-1), "")
        sentences.append(f"{judgement.winner} ({label}) is lower on {wins} of {count} seeds, by a mean of {gap}.")
        if judgement.verdict == BELOW_MARGIN:
            sentences.append(f"That is less than the {MARGIN:g} which the lab calls equal.")
    else:
        verdict = (
            f"A and B are equal, but for less than {MARGIN:g}"
            if judgement.verdict == EQUIVALENT
            else f"These {count} seeds cannot tell A and B apart"
        )
        reason = beside_interval(judgement.verdict, difference, (judgement.lost[1], judgement.lost[0]))
        sentences.append(f"{verdict}: {'; '.join(filter(None, [signed, reason]))}.")
    if far := judgement.far_seeds:
        names = listed([f"{seed} ({', '.join(what)})" for seed, what in sorted(far.items())])
        sentences.append(
            f"Seed{'s' * (len(far) > 1)} {names} ended far from the others. {DOUBTFUL}; more seeds would tell."
        )
    return " ".join(sentences)


def with_interval(difference: Estimate, unit: str, sign: str, name: str = "") -> str:
    """A mean with its interval, in the digits that the interval allows; `sign` is that of a format."""
    specification = difference.specification(digits_for((difference.high - difference.low) / 2), sign)
    return f"{written(difference.mean, specification)} {unit} ({name}{difference.interval_words(specification)})"


def diverged_words(lost: tuple[int, int], count: int) -> str:
    """How many runs diverged, each of which counts against its side."""
    each = [
        f"{letter} on {number} of {count} seeds" for letter, number in zip(SIDE_LETTERS, lost, strict=True) if number
    ]
    return f"Diverged, which counts as higher: {listed(each)}."


def digits_for(half: float) -> int:
    """Decimal places that show an interval of this half width with one or two digits."""
    return 2 if half >= 0.01 or half == 0 else min(6, 1 - math.floor(math.log10(half)))

"""Both sides at several learning rates: which runs that takes, and what may be said of their losses.

A comparison at one rate may say no more than that the rate suits one side better. So each side is trained at the same
grid of rates around its own, with a few seeds, in runs of half the steps; the curve through the losses, the interval of
its lowest point and the words are those of the sweeps (`tlab.judging`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from tlab.judging.few_seeds import DOUBTFUL, SAME_WITHOUT_SEED, far_from_others, has_no_seed
from tlab.judging.learning_rates import (
    LossesByRate,
    Valley,
    ended_well,
    optimum_words,
    rate_beside,
    rate_words,
    rates_around,
)
from tlab.judging.two_models import Comparison, compare, comparison_words
from tlab.ui.runs.comparison import few_tokens_words
from tlab.ui.runs.messages import Job, SidePlan, later_seed
from tlab.ui.runs.run import SIDE_LETTERS
from tlab.ui.studies.five_seeds import without_seed
from tlab.ui.studies.loss_units import bits_unit, brackets
from tlab.ui.studies.study import RATES, Study, Trial, with_rate
from tlab.wording import listed, several, written

NUM_SEEDS_TUNED = 3
MOST_RATES = 11  # of a grid that was made wider
SHORTER = 2  # times fewer steps than the comparison has


class CannotTuneError(ValueError):
    """Learning rates would not tell anything about this comparison; the message says why."""


def tuning_study(session: str, job: Job) -> Study:
    """Each side at a grid of rates around its own.

    Seed by seed, so that there is something of every rate after the first one.

    Raises:
        CannotTuneError: there is nothing to compare, or no rate would be reached.
    """
    reason = why_not_tuned(job)
    if reason:
        raise CannotTuneError(reason)
    shorter = short_job(job)
    return Study(session, RATES, shorter, trials_at(shorter, rates_around(own_rate(job))))


def why_not_tuned(job: Job) -> str:
    """Why there are no two sides that differ in more than their rate or seed; nothing where there are."""
    if len(job.plans) < 2:
        return "There is nothing to compare: choose in what B differs from A."
    a, b = map(without_seed, job.plans)
    if a == b:
        return "A and B differ in their seed alone: they are one model, so both have the same best rate."
    if without_rate(job.plans[0]) == without_rate(job.plans[1]):
        return (
            "A and B differ in their learning rate alone, so each at its best they are the same. Choose another "
            "difference; both sides are then trained at several rates."
        )
    for plan in short_job(job).plans:
        if plan.training.ends_in_warmup:
            return (
                f"Its runs would have {several(plan.training.steps, 'step')}, half of the setting's, and the warm-up "
                f"has {plan.training.warmup_steps}: no learning rate would be reached. Take more steps or less warm-up."
            )
    return ""


def without_rate(plan: SidePlan) -> tuple[object, object]:
    return (plan.model, plan.start_from), with_rate(plan.training, 1.0)


def short_job(job: Job) -> Job:
    """The comparison that is trained at several rates."""
    return job._replace(plans=tuple(map(short_plan, job.plans)))


def short_plan(plan: SidePlan) -> SidePlan:
    """With fewer steps, and a validation after the last one alone."""
    steps = max(1, plan.training.steps // SHORTER)
    return plan._replace(training=dataclasses.replace(plan.training, steps=steps, validation_every=0))


def own_rate(job: Job) -> float:
    """The learning rate of the settings."""
    return job.plans[0].training.learning_rate


def trials_at(job: Job, rates: Sequence[float]) -> list[Trial]:
    seeds = [later_seed(job.plans[0].training.seed, more) for more in range(NUM_SEEDS_TUNED)]
    nearest = sorted(rates, key=lambda rate: abs(math.log(rate / own_rate(job))))  # the setting's own first
    return [Trial(side, seed, rate) for seed in seeds for rate in nearest for side in range(len(job.plans))]


def rates_of(study: Study) -> list[float]:
    """The grid, the lowest first."""
    return sorted({trial.learning_rate for trial in study.trials})


# ------------------------------------------------------------------------------------------------ what is known


class Tuned(NamedTuple):
    """What the runs of a study say, as far as they have ended."""

    seeds: list[int]  # of which every run has ended
    losses: tuple[LossesByRate, LossesByRate]  # of A and B, of these seeds
    found: Comparison


JUDGED: WeakKeyDictionary[Study, tuple[tuple[int, int], Tuned | None]] = WeakKeyDictionary()
"""What was found last, and of how many outcomes and trials."""


def judge_tuning(study: Study) -> Tuned | None:
    """Of the seeds that are complete; None before the first one is. Found once for each state of a study."""
    known = len(study.outcomes), len(study.trials)
    if study not in JUDGED or JUDGED[study][0] != known:
        JUDGED[study] = known, judge_complete_seeds(study)
    return JUDGED[study][1]


def judge_complete_seeds(study: Study) -> Tuned | None:
    seeds = dict.fromkeys(trial.seed for trial in study.trials)
    ended = study.outcomes.keys()
    complete = [seed for seed in seeds if all(trial in ended for trial in study.trials if trial.seed == seed)]
    if not complete:
        return None
    a, b = (losses_of(study, side, complete) for side in (0, 1))
    return Tuned(complete, (a, b), compare(a, b, own_rate(study.job)))


def losses_of(study: Study, side: int, seeds: list[int]) -> dict[float, dict[int, float | None]]:
    """Rate -> seed -> loss of a side, None where it diverged."""
    return {rate: {seed: study.outcomes[Trial(side, seed, rate)].loss for seed in seeds} for rate in rates_of(study)}


def verdict_words(study: Study) -> list[str]:
    """What may be said now, a sentence each; a winner only when all runs have ended."""
    tuned = judge_tuning(study)
    count = several(NUM_SEEDS_TUNED, "seed")
    if tuned is None:
        comes = "comes" if study.active else "would come"
        return [f"The first comparison {comes} when each rate has been tried with one seed."]
    if len(tuned.seeds) < NUM_SEEDS_TUNED:
        at_rate, at_best = tuned.found.at_rate, tuned.found.at_best
        bits = bits_unit(study)
        in_bits = "" if bits is None else f", or {bits.name} in brackets"
        both = [
            f"{written(one.estimate.mean, '+.3f')}{brackets(one.estimate.mean, bits, '+.3f')} {where}"
            for one, where in ((at_rate, "at the same rate"), (at_best, "each at its best"))
            if one is not None and one.estimate.n
        ]
        so_far = (
            f"After {len(tuned.seeds)} of {count}, B − A is {' and '.join(both)}, in nats per token{in_bits}. "
            if both
            else ""
        )
        return [f"{so_far}No winner is named before all {count} are there."]
    if any(has_no_seed(of_rate.values()) for losses in tuned.losses for of_rate in losses.values()):
        return [SAME_WITHOUT_SEED]
    sides = zip(SIDE_LETTERS, study.job.plans, strict=False)
    a, b = (f"{letter} ({plan.label})" for letter, plan in sides)
    words = comparison_words(tuned.found, (a, b), second_unit=bits_unit(study))
    few = few_tokens_words(study.job, study.bytes_per_token)
    return [*words, *doubts(tuned, own_rate(study.job)), *filter(None, [few])]


def doubts(tuned: Tuned, own: float) -> list[str]:
    """That seeds ended far from each other where the sides are compared, as a sentence in a list; else an empty one."""
    places = [
        f"{letter} at {rate_words(rate)}"
        for letter, losses, valley in zip(SIDE_LETTERS, tuned.losses, tuned.found.valleys, strict=True)
        for rate in dict.fromkeys((own, valley.best_tried))
        if far_from_others(np.array([list(ended_well(losses.get(rate, {})).values())])).any()
    ]
    return [f"Some seeds ended far from the others: {listed(places)}. {DOUBTFUL}."] if places else []


def valley_words(tuned: Tuned) -> list[str]:
    """Where the best rate of each side is, with its interval."""
    return [optimum_words(valley, letter) for letter, valley in zip(SIDE_LETTERS, tuned.found.valleys, strict=True)]


# ------------------------------------------------------------------------------------------------ a wider grid


def missing_rates(study: Study) -> list[float]:
    """The rates by which the grid has to grow: where a best rate may lie beyond its edge."""
    tuned = judge_tuning(study)
    rates = rates_of(study)
    if tuned is None or len(tuned.seeds) < NUM_SEEDS_TUNED:
        return []
    valleys: tuple[Valley, ...] = tuned.found.valleys
    below = [rate_beside(rates[0], -1)] if any(valley.may_be_below for valley in valleys) else []
    above = [rate_beside(rates[-1], 1)] if any(valley.may_be_above for valley in valleys) else []
    return [*below, *above] if len(rates) < MOST_RATES else []


def widen(study: Study) -> None:
    """Add the rates that are missing to both sides."""
    study.trials = trials_at(study.job, [*rates_of(study), *missing_rates(study)])

"""A study: runs of one side each, which differ in their seed and their learning rate, and what has come of them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tlab.training.config import TrainConfig
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.messages import Job, SidePlan
from tlab.ui.runs.run import DIVERGED, DONE, RUNNING, WAITING, Run, Side

SEEDS, RATES = "seeds", "rates"  # what a study is over


class Trial(NamedTuple):
    """One run of a study."""

    side: int  # 0 for A, 1 for B
    seed: int
    learning_rate: float  # at its peak


class Ended(NamedTuple):
    """What has come of a trial that has ended by itself."""

    loss: float | None  # on the validation text after the last step, in nats per token; None if it diverged
    diverged_at: int | None  # the step
    curve: Curve
    bytes_per_token: float | None = None  # of the validation text, by which the loss becomes bits per byte


class Study:
    """The trials of one question. Its attributes are written by the thread that sees it through, and read by pages.

    Args:
        session: that owns it.
        kind: SEEDS or RATES.
        job: the comparison that it repeats; every trial is one side of it with another seed or rate.
        trials: in the order in which they are to train.
        known: outcomes of some of them, from a run that was made before.
    """

    def __init__(
        self, session: str, kind: str, job: Job, trials: Sequence[Trial], known: Mapping[Trial, Ended] | None = None
    ) -> None:
        self.session, self.kind, self.trials = session, kind, list(trials)
        self.job = experiment_of(job)  # a state to go on from, which a run that paused has, is that of one seed
        self.outcomes: dict[Trial, Ended] = {trial: one for trial, one in (known or {}).items() if trial in trials}
        self.training: dict[Trial, Run] = {}  # those that wait or train now
        self.thread: threading.Thread | None = None  # that sees it through, or did last
        self.end: str | None = None  # DONE, STOPPED or FAILED; None as long as it goes on
        self.words = ""  # why it ended, for the visitor, where it did not by itself
        self.seconds_expected: float | None = None  # of all trials on all cores; None where the pace is unknown
        self.begun_at = time.monotonic()  # or gone on
        self.steps_before = self.steps_made  # then

    @property
    def active(self) -> bool:
        return self.end is None

    @property
    def state(self) -> str:
        """WAITING until a worker is free for the first time, RUNNING, DONE, STOPPED or FAILED."""
        if self.end is not None:
            return self.end
        begun = self.steps_made > self.steps_before or any(run.state != WAITING for run in self.training.values())
        return RUNNING if begun else WAITING

    @property
    def labels(self) -> list[str]:
        """Of its sides."""
        return [plan.label for plan in self.job.plans]

    @property
    def bytes_per_token(self) -> float | None:
        """Of the validation text that all trials share; None before the first has ended."""
        return next((outcome.bytes_per_token for outcome in self.outcomes.values()), None)

    @property
    def missing(self) -> list[Trial]:
        """The trials without an outcome that do not train, in order."""
        return [trial for trial in self.trials if trial not in self.outcomes and trial not in self.training]

    @property
    def one_of_each_side(self) -> list[Trial]:
        """A trial of A, and one of B."""
        return list({trial.side: trial for trial in self.trials}.values())

    @property
    def steps(self) -> int:
        """Updates of all trials."""
        return sum(self.steps_of(trial) for trial in self.trials)

    @property
    def steps_made(self) -> int:
        """Updates of the trials that have ended, where a divergence saves the rest, and of those that train."""
        return sum(map(self.steps_of, self.outcomes)) + sum(run.step for run in list(self.training.values()))

    @property
    def seconds_left(self) -> float | None:
        """An estimate: by its pace once it has made a twentieth of its steps, and before by that of the machine."""
        made, left = self.steps_made - self.steps_before, self.steps - self.steps_made
        if made > 0.05 * (self.steps - self.steps_before):
            return (time.monotonic() - self.begun_at) / made * left
        return None if self.seconds_expected is None else self.seconds_expected * left / self.steps

    def steps_of(self, trial: Trial) -> int:
        return self.job.plans[trial.side].training.steps

    def job_of(self, trial: Trial) -> Job:
        """The run that this trial is: exactly the side of the comparison, with this seed and rate."""
        plan = self.job.plans[trial.side]
        training = with_rate(dataclasses.replace(plan.training, seed=trial.seed), trial.learning_rate)
        return self.job._replace(plans=(plan._replace(training=training),), losses_only=True)

    def go_on(self) -> None:
        """Count the time from now on."""
        self.end, self.words = None, ""
        self.begun_at, self.steps_before = time.monotonic(), self.steps_made


def with_rate(training: TrainConfig, rate: float) -> TrainConfig:
    """The same schedule with another peak: a lowest rate that was given keeps its ratio to the peak."""
    if rate == training.learning_rate:
        return training
    lowest = training.min_learning_rate
    scaled = None if lowest is None else lowest * rate / training.learning_rate
    return dataclasses.replace(training, learning_rate=rate, min_learning_rate=scaled)


def experiment_of(job: Job) -> Job:
    """What a run or a study is about, without what only its progress has: equal for the same settings."""
    return Job(job.corpus, job.text, job.tokenizer, job.anew().plans)


def outcome_of(run: Run, side: Side) -> Ended:
    """Of a side of a run that has ended by itself."""
    diverged_at = side.divergence.step if side.divergence else None
    loss = None if side.divergence else side.validation_loss
    return Ended(loss, diverged_at, side.curve, run.bytes_per_token.validation if run.bytes_per_token else None)


def known_trials(run: Run) -> dict[Trial, Ended]:
    """What a finished run tells of its own seed and rate; nothing if it did not end by itself."""
    if run.state not in (DONE, DIVERGED):
        return {}
    return {trial_of(number, plan): outcome_of(run, run.sides[number]) for number, plan in enumerate(run.job.plans)}


def trial_of(side: int, plan: SidePlan) -> Trial:
    return Trial(side, plan.training.seed, plan.training.learning_rate)


def losses_by_seed(outcomes: Mapping[Trial, Ended], trials: Iterable[Trial]) -> dict[int, float | None]:
    """Seed -> loss of those trials that have ended, None where one diverged."""
    return {trial.seed: outcomes[trial].loss for trial in trials if trial in outcomes}

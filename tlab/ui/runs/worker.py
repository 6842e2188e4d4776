"""Training in a process of its own: it reads one job, sends what happens, and ends.

A process serves one run only, so nothing of one visitor can be left for the next, and all of its memory is given back.
It never imports Gradio, so it starts in a third of a second.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import cast

from tlab.inside.bugs import planted
from tlab.text import Corpus
from tlab.text.baselines import baseline_losses, training_pair_loss
from tlab.training.checkpoint import Checkpoint
from tlab.ui.runs.limits import check_limits
from tlab.ui.runs.live_trainer import LiveTrainer, generate_sample
from tlab.ui.runs.messages import (
    MEASURE_PACE,
    NO_WEIGHTS,
    PAUSE,
    STOP,
    FirstWeights,
    Job,
    Kept,
    Message,
    RunEnded,
    RunFailed,
    RunStarted,
    Sample,
    Snapshot,
    job_corpus,
)
from tlab.ui.runs.time_estimate import measure_pace

SECONDS_BETWEEN_RECORDS = 0.125  # no one can follow more than eight pictures per second
SECONDS_BETWEEN_SAMPLES = 1.5  # a text that changes faster cannot be read
SAMPLE_SHARE = 0.05  # of the time at most goes into samples, however slow the model is
EXCERPT_CHARACTERS = 64
MIN_STEPS = 40  # of a run whose start is compared over several seeds: that takes as long as some three of them
NICENESS = 10  # the server goes first: people notice a slow page, and a run takes no longer where cores are idle


def serve(connection: Connection) -> None:
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers itself
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # so does the end of a terminal
    threadpool_limits(limits=1)  # as many workers as cores: more threads would only compete with each other
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        while (job := connection.recv()) == MEASURE_PACE:
            connection.send(measure_pace())
        weights: dict[str, Checkpoint] = connection.recv() if job.first_weights else {}
        try:
            for message in run_job(job, connection, weights):
                connection.send(message)
                weights.clear()  # by now the models have them
        except (ValueError, MemoryError) as error:  # all errors of the core that come from the settings
            connection.send(RunFailed(str(error) or "This model needs more memory than there is; make it smaller."))
    except (EOFError, OSError):  # the server is gone, and no one waits for the rest
        return


def run_job(job: Job, connection: Connection, weights: FirstWeights = NO_WEIGHTS) -> Iterator[Message]:
    """Train all sides in turns, and yield what there is to report. An order on the connection ends it after the round.

    One process trains both sides: they never compete for a core, so their seconds can be compared.
    """
    corpus = job_corpus(job)
    trainers = make_trainers(job, corpus, weights)
    excerpt = corpus.tokenizer.decode(corpus.validation[: EXCERPT_CHARACTERS * 4])[:EXCERPT_CHARACTERS]
    sizes = [t.model.num_parameters for t in trainers]
    baselines = baseline_losses(corpus), training_pair_loss(corpus)
    yield RunStarted(sizes, corpus.tokenizer.vocab_size, excerpt, *baselines, corpus.bytes_per_token, corpus.sha256)
    for trainer in trainers:
        if trainer.step == 0:
            yield from trainer.snapshot(keep=True)
    if are_starts_compared(job, trainers):
        for trainer in trainers:
            trainer.starts = trainer.starts_of_other_seeds(trainer.step)

    order, rounds = None, 0
    samples = SampleClock(trainers)
    began = time.perf_counter()
    send_at, keep_at = began + SECONDS_BETWEEN_RECORDS, began + job.seconds_between_kept
    while order is None and any(trainer.unfinished for trainer in trainers):
        for trainer in trainers:
            yield from trainer.tick()
        rounds += 1
        if (now := time.perf_counter()) >= send_at:
            send_at = now + SECONDS_BETWEEN_RECORDS
            for trainer in trainers:
                yield from trainer.new_records()
        if not job.losses_only:
            yield from samples.begin_if_due(now)
        if now >= keep_at:
            keep_at = now + job.seconds_between_kept
            yield from keep(trainers)
        if connection.poll():
            order = connection.recv()
        elif rounds == job.pause_after:
            order = PAUSE

    for trainer in trainers:
        yield from trainer.new_records()
        if order == PAUSE:  # a run that goes on has no gap
            yield from trainer.finish_background()
        if trainer.divergence is None and order != STOP and not job.losses_only:
            yield Sample(trainer.side, trainer.step, generate_sample(trainer.copy_model(), corpus))
    goes_on = order == PAUSE
    yield RunEnded(order, [t.checkpoint() if goes_on else t.light_checkpoint(records=True) for t in trainers])


def are_starts_compared(job: Job, trainers: list[LiveTrainer]) -> bool:
    """Whether the sides are to be compared at their first step over several seeds.

    Not where the seed decides about too little, a bug would have to be planted, or another model is too large to have
    beside those that train.
    """
    a, *others = trainers
    return (
        bool(others)
        and not job.losses_only
        and not any(plan.bug or plan.start_from for plan in job.plans)
        and all(other.train_config.seed == a.train_config.seed for other in others)
        and all(trainer.train_config.steps >= MIN_STEPS and trainer.is_small for trainer in trainers)
    )


def keep(trainers: list[LiveTrainer]) -> Iterator[Message]:
    """What a run could go on from, with nothing started that is not complete."""
    for trainer in trainers:
        yield from trainer.new_records()
        yield from trainer.finish_validations()
    yield Kept([trainer.checkpoint() for trainer in trainers])


class SampleClock:
    """Decides when a side generates its next sample: one side after the other, and rarely where samples are slow."""

    def __init__(self, trainers: list[LiveTrainer]) -> None:
        self.trainers = trainers
        self.count = 0
        self.due_at = time.perf_counter() + SECONDS_BETWEEN_SAMPLES / 2

    def begin_if_due(self, now: float) -> Iterator[Snapshot]:
        """Start a sample if it is time, and send the model as it is then."""
        training = [trainer for trainer in self.trainers if not trainer.finished]
        if now < self.due_at or not training:
            return
        trainer = training[self.count % len(training)]
        if trainer.sample is None:
            trainer.begin_sample()
            yield from trainer.snapshot(keep=False)
            self.count += 1
            slowest = max(trainer.sample_seconds for trainer in self.trainers)
            self.due_at = now + max(SECONDS_BETWEEN_SAMPLES / len(training), slowest / SAMPLE_SHARE)


def make_trainers(job: Job, corpus: Corpus, weights: FirstWeights = NO_WEIGHTS) -> list[LiveTrainer]:
    """A new trainer for each side, with random weights or some of `weights`, or one that goes on from a checkpoint."""
    configs = [plan.configs(corpus.tokenizer.vocab_size) for plan in job.plans]
    if job.limits is not None:
        check_limits(job.limits, configs)
    trainers = []
    for side, (plan, config) in enumerate(zip(job.plans, configs, strict=True)):
        if plan.checkpoint:
            trainer = cast(LiveTrainer, LiveTrainer.resume(plan.checkpoint, corpus))
        elif start := plan.start_from:
            first = weights[start.sha256]
            trainer = cast(LiveTrainer, LiveTrainer.start_from(first, plan.training, corpus, name=start.name))
        else:
            trainer = LiveTrainer(*config, corpus)
        trainer.side, trainer.losses_only = side, job.losses_only
        if plan.bug:
            trainer.apply_bug = planted(plan.bug, trainer.config)
            trainer.apply_bug(trainer.model)
        trainers.append(trainer)
    return trainers

"""Training in a process of its own: it reads one job, sends what happens, and ends.

A process serves one run and no other, so nothing of one visitor can be left for the next, and its memory goes back
whole. It never imports Gradio: it is there in a third of a second.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, cast

from tlab.inside.bugs import planted
from tlab.text import Corpus
from tlab.training.checkpoint import Checkpoint
from tlab.training.records import StepRecord
from tlab.training.trainer import Trainer
from tlab.ui.runs.limits import check_limits
from tlab.ui.runs.live_trainer import BackgroundResult, LiveTrainer, SampleDone, write_sample
from tlab.ui.runs.messages import (
    MEASURE,
    PAUSE,
    STOP,
    Insight,
    Job,
    NewRecords,
    Rewound,
    RunEnded,
    RunFailed,
    RunStarted,
    Sample,
    Snapshot,
    Validated,
    read_corpus,
)
from tlab.ui.runs.time_estimate import measure_pace

SECONDS_BETWEEN_RECORDS = 0.125  # eight pictures a second are all that anybody sees
SECONDS_BETWEEN_SAMPLES = 1.5  # a text that changes faster cannot be read
SAMPLE_SHARE = 0.05  # of the time at most goes into samples, however slow the model is
EXCERPT_CHARACTERS = 64
SNAPSHOTS = 13  # weights kept of each side, for sliders over the training
MAX_SNAPSHOT_BYTES = 8 * 2**20  # bytes of weights that are worth sending while the training runs


NICENESS = 10  # than the server: who waits for a page notices it, and a run takes no longer where cores are idle


def serve(connection: Connection) -> None:
    """The life of a worker process."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers itself
    threadpool_limits(limits=1)  # as many workers as cores: more threads would only stand in each other's way
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        while (job := connection.recv()) == MEASURE:
            connection.send(measure_pace())
        try:
            for message in work(job, connection):
                connection.send(message)
        except (ValueError, MemoryError) as error:  # all errors of the core that are the settings' fault
            connection.send(RunFailed(str(error) or "This model needs more memory than there is; make it smaller."))
    except (EOFError, OSError):  # the server is gone: nobody waits for the rest
        return


@functools.cache
def snapshot_steps(steps: int) -> frozenset[int]:
    """The steps of which the weights are kept: the start, and then in equal ratios up to the end."""
    between = (round(steps ** (i / (SNAPSHOTS - 2))) for i in range(SNAPSHOTS - 1))
    return frozenset({0, *between})


def work(job: Job, connection: Connection) -> Iterator[Any]:
    """Train all sides in turns, and yield what there is to tell. An order on the connection ends it after the round.

    One process for both: they never compete for a core, so their seconds can be compared.
    """
    corpus = read_corpus(job)
    trainers = make_trainers(job, corpus)
    excerpt = corpus.tokenizer.decode(corpus.validation[: EXCERPT_CHARACTERS * 4])[:EXCERPT_CHARACTERS]
    yield RunStarted([t.model.num_parameters for t in trainers], corpus.tokenizer.vocab_size, excerpt)
    for side, trainer in enumerate(trainers):
        if trainer.step == 0:
            yield from kept_snapshot(side, trainer)

    order, rounds, samples = None, 0, 0
    fresh: list[list[StepRecord]] = [[] for _ in trainers]
    sent_at = time.perf_counter()
    sample_at = sent_at + SECONDS_BETWEEN_SAMPLES / 2
    loops = [iter(trainer) for trainer in trainers]
    while any(trainer.unfinished for trainer in trainers) and order is None:
        for side, trainer in enumerate(trainers):
            if not trainer.finished and (record := next(loops[side], None)):
                fresh[side].append(record)
                if layers := trainer.take_insights():
                    yield Insight(side, record.step, layers)
                if record.step in snapshot_steps(trainer.train_config.steps):
                    yield from kept_snapshot(side, trainer)
            yield from messages_of(side, trainer, trainer.run_background(), fresh[side])
        rounds += 1
        now = time.perf_counter()
        if now - sent_at >= SECONDS_BETWEEN_RECORDS:
            yield from progress(fresh)
            sent_at = now
        going = [side for side, trainer in enumerate(trainers) if not trainer.finished]
        if now >= sample_at and going:
            side = going[samples % len(going)]  # one after the other
            if trainers[side].sample is None:
                trainers[side].begin_sample(corpus)
                if not too_large(trainers[side]):
                    yield Snapshot(side, light_checkpoint(trainers[side]), keep=False)
                samples += 1
                spent = max(trainer.sample_seconds for trainer in trainers)
                sample_at = now + max(SECONDS_BETWEEN_SAMPLES / len(going), spent / SAMPLE_SHARE)
        if connection.poll():
            order = connection.recv()
        elif rounds == job.rounds:
            order = PAUSE
    yield from progress(fresh)
    for side, trainer in enumerate(trainers):
        if order == PAUSE:  # a run that goes on has no gap
            yield from messages_of(side, trainer, trainer.finish_background(), fresh[side])
        if trainer.divergence is None and order != STOP:
            yield Sample(side, trainer.step, write_sample(trainer.model, corpus))
    to_go_on = order == PAUSE
    yield RunEnded(order, [t.checkpoint() if to_go_on else light_checkpoint(t, records=True) for t in trainers])


def messages_of(
    side: int, trainer: LiveTrainer, found: list[BackgroundResult], fresh: list[StepRecord]
) -> Iterator[NewRecords | Validated | Rewound | Sample]:
    """What has come of a side's work between the steps."""
    for thing in found:
        if isinstance(thing, SampleDone):
            yield Sample(side, thing.step, thing.text)
        elif thing.rewound:
            fresh.clear()
            yield Rewound(side, list(trainer.records))
        else:
            yield from progress_of(side, fresh)  # the record comes before what completes it
            yield Validated(side, thing.step, thing.loss)


def progress(fresh: list[list[StepRecord]]) -> Iterator[NewRecords]:
    """What there is of records, which are sent once."""
    for side, records in enumerate(fresh):
        yield from progress_of(side, records)


def progress_of(side: int, records: list[StepRecord]) -> Iterator[NewRecords]:
    """The same, of one side."""
    if records:
        yield NewRecords(side, list(records))
        records.clear()


def too_large(trainer: Trainer) -> bool:
    """Whether sending the weights would hold up the training."""
    return trainer.model.parameters.data.nbytes > MAX_SNAPSHOT_BYTES


def kept_snapshot(side: int, trainer: Trainer) -> Iterator[Snapshot]:
    """The weights for the slider, unless they are too many."""
    if not too_large(trainer):
        yield Snapshot(side, light_checkpoint(trainer), keep=True)


def light_checkpoint(trainer: Trainer, *, records: bool = False) -> Checkpoint:
    """The model without the optimizer's vectors, and without the records unless they are asked for."""
    whole = trainer.checkpoint()
    return dataclasses.replace(whole, optimizer_state={}, records=whole.records if records else [])


def make_trainers(job: Job, corpus: Corpus) -> list[LiveTrainer]:
    """New ones, or those of a run that goes on."""
    configs = [plan.configs(corpus.tokenizer.vocab_size) for plan in job.plans]
    if job.limits is not None:
        check_limits(job.limits, configs)
    trainers = []
    for plan, config in zip(job.plans, configs, strict=True):
        trainer = (
            cast(LiveTrainer, LiveTrainer.resume(plan.checkpoint, corpus))
            if plan.checkpoint
            else LiveTrainer(*config, corpus)
        )
        if plan.bug:
            trainer.apply_bug = planted(plan.bug, trainer.config)
            trainer.apply_bug(trainer.model)
        trainers.append(trainer)
    return trainers

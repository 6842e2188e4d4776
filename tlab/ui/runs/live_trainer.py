"""A trainer that people watch: it reports what happens, looks inside its model, and never pauses long between steps.

Reading the whole validation text, or generating a sample, takes as long as many steps, and the curves would stand still
meanwhile. So the model is copied at that step, and the copy reads or generates a piece after each of the next steps. It
is the same evaluation of the same weights in the same pieces, so its loss equals that of any other trainer to the last
digit; only when it is reported differs. A validation loss that is not finite ends the run when it is known.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tlab.generate import Token, generate_tokens
from tlab.inside.layers import LayerInsight, layer_insights
from tlab.nn.model import Trace, Transformer
from tlab.text import Corpus, default_prompt
from tlab.training.answers import answer_accuracy
from tlab.training.checkpoint import Checkpoint
from tlab.training.records import StepRecord
from tlab.training.snapshots import snapshot_steps
from tlab.training.trainer import Batch, Trainer, evaluation_batches, mean_loss, total_loss
from tlab.types import Array
from tlab.ui.runs.messages import Insight, Message, NewRecords, Sample, SeedStart, Snapshot, Validated, later_seed

SAMPLE_TOKENS = 160
SAMPLE_PIECE = 10  # tokens generated after a step
MIN_STEPS_BETWEEN_INSIGHTS = 10  # looking inside then costs a few hundredths of the training
MAX_INSIGHTS = 100  # of one side; a slider has no more positions
SNAPSHOTS = 13  # weights kept of each side, for sliders over the training
MAX_SNAPSHOT_BYTES = 8 * 2**20  # of weights that are worth sending while the training runs
OTHER_SEEDS = 4  # whose first step is looked at as well: with the run's own seed there are five


class LiveTrainer(Trainer):
    """A trainer that yields messages: what `layer_insights` needs at some steps, snapshots, validation in pieces.

    Call `tick` as long as it is `unfinished`, and send what it yields.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.side = 0  # its number, which its messages carry
        self.losses_only = False  # whether nobody looks inside
        self.unsent: list[StepRecord] = []
        self.observed: tuple[Array, Array, Trace, float] | None = None  # weights before, gradient, trace, clipped by
        self.evaluations: deque[Iterator[Validated | None]] = deque()  # started and not complete, oldest first
        self.sample: Iterator[Sample | None] | None = None
        self.sample_seconds = 0.0  # that the latest one took
        self.starts: Iterator[SeedStart] = iter(())  # one of which is looked at after each step
        self.apply_bug: Callable[[Transformer], None] | None = None  # to the model and each copy of it

    @functools.cached_property
    def loop(self) -> Iterator[StepRecord]:
        """The iteration over this trainer that `tick` advances."""
        return iter(self)

    # -------------------------------------------------------------------------------- what there is to report

    @property
    def unfinished(self) -> bool:
        """Whether there is a step to make or a validation to complete; no one waits for a sample alone."""
        return not self.finished or bool(self.evaluations)

    def tick(self) -> Iterator[Message]:
        """Make a step and do a piece of the background work; -> what has come of it. Records wait in `unsent`."""
        if not self.finished and (record := next(self.loop, None)):
            self.unsent.append(record)
            if layers := self.take_insights():
                yield Insight(self.side, record.step, layers)
            if record.step in kept_steps(self.train_config.steps):
                yield from self.snapshot(keep=True)
        yield from itertools.islice(self.starts, 1)
        yield from self.run_background()

    @property
    def is_small(self) -> bool:
        """Whether another set of its weights is nothing to speak of."""
        return self.model.parameters.data.nbytes <= MAX_SNAPSHOT_BYTES

    def new_records(self) -> Iterator[NewRecords]:
        """The records that have not been sent yet, once."""
        if self.unsent:
            yield NewRecords(self.side, self.unsent)
            self.unsent = []

    def run_background(self) -> Iterator[Message]:
        """Do a piece of what is started; -> what has been completed by it."""
        if self.evaluations and (validated := next(self.evaluations[0])):
            self.evaluations.popleft()
            if validated.divergence:  # what came after it is of no interest
                self.evaluations.clear()
                self.sample = None
            yield from self.new_records()  # a record is sent before the loss that completes it
            yield validated
        if self.sample and (sample := next(self.sample)):
            self.sample = None
            yield sample

    def finish_background(self) -> Iterator[Message]:
        """Complete all validations at once; a sample that is not done is given up."""
        self.sample = None
        yield from self.finish_validations()

    def finish_validations(self) -> Iterator[Message]:
        while self.evaluations:
            yield from self.run_background()

    def snapshot(self, *, keep: bool) -> Iterator[Snapshot]:
        """The weights of now, unless there are so many that sending them would delay the training."""
        if not self.losses_only and self.is_small:
            yield Snapshot(self.side, self.light_checkpoint(), keep)

    def light_checkpoint(self, *, records: bool = False) -> Checkpoint:
        """The model without the optimizer's vectors, and without the records unless they are asked for."""
        full = self.checkpoint()
        return replace(full, optimizer_state={}, records=full.records if records else [])

    # -------------------------------------------------------------------------------- work between the steps

    def copy_model(self) -> Transformer:
        """The result as it is now, its bug included."""
        copy = self.result.frozen_copy()
        if self.apply_bug is not None:
            self.apply_bug(copy)
        return copy

    def validate(self) -> None:
        """Start to read the validation text, where that is due; `run_background` completes the record."""
        if self.validation_is_due:
            self.evaluations.append(self.evaluate_in_pieces(self.step, self.copy_model()))

    def begin_sample(self) -> None:
        self.sample = self.generate_in_pieces(self.step, self.copy_model())

    def evaluate_in_pieces(self, step: int, model: Transformer) -> Iterator[Validated | None]:
        """`Trainer.validate` on a copy as of `step`, which is done before the next one is due; then its answers."""
        tokens = self.corpus.validation
        batches = evaluation_batches(tokens, self.config.context_length)
        at_once = math.ceil(len(batches) / max(1, self.train_config.validation_every))
        losses: list[float] = []
        while len(losses) < len(batches):
            some = batches[len(losses) : len(losses) + at_once]
            with np.errstate(all="ignore"):  # as in a step: what is not finite ends the run, with its place
                losses += [total_loss(model, batch) for batch in some]
            if len(losses) < len(batches):
                yield None
        loss = mean_loss(losses, tokens)
        self.complete_record(step, loss, model)
        if not math.isfinite(loss):
            yield Validated(self.side, step, loss, self.divergence)
            return
        accuracy = None if self.losses_only else answer_accuracy(model, self.corpus)
        yield Validated(self.side, step, loss, accuracy=accuracy)

    def generate_in_pieces(self, step: int, model: Transformer) -> Iterator[Sample | None]:
        """`generate_sample` on a copy as of `step`."""
        tokens, text = sample_tokens(model, self.corpus), ""
        self.sample_seconds = 0.0
        while True:
            began = time.perf_counter()
            piece = [str(token) for token in itertools.islice(tokens, SAMPLE_PIECE)]
            self.sample_seconds += time.perf_counter() - began
            text += "".join(piece)
            if len(piece) < SAMPLE_PIECE:
                yield Sample(self.side, step, text)
            yield None

    # -------------------------------------------------------------------------------- inside a step

    def observe(self, step: int, gradient_norm: float, batch: Batch) -> None:
        """Copy what the update is about to change, and run the model forward again, as a step keeps no trace."""
        if not self.losses_only and step in insight_steps(self.train_config.steps) and self.divergence is None:
            space = self.model.parameters
            clip = self.train_config.gradient_clip
            clipped = gradient_norm / clip if 0 < clip < gradient_norm else 1.0
            _, trace = self.model.forward(batch.ids)
            self.observed = (space.data.copy(), space.grad.copy(), trace, clipped)

    def starts_of_other_seeds(self, done: int = 0) -> Iterator[SeedStart]:
        """The first step of the same training with each of the next seeds: forward, backward, and no update.

        Nothing of a seed with which that step diverges, nor of the first `done`: one was looked at after each step that
        was made before a pause.
        """
        for more in range(1 + done, OTHER_SEEDS + 1):
            seed = later_seed(self.train_config.seed, more)
            other = LiveTrainer(self.config, replace(self.train_config, seed=seed), self.corpus)
            with np.errstate(all="ignore"):  # as in a step
                other.compute_gradients(1)
            if layers := other.take_insights():
                yield SeedStart(self.side, seed, layers)

    def take_insights(self) -> list[LayerInsight]:
        """What was observed at the last step; empty if it was not one of `insight_steps`."""
        if self.observed is None:
            return []
        (before, gradient, trace, clipped), self.observed = self.observed, None
        return layer_insights(self.model, trace, gradient, before, clipped_by=clipped)


@functools.cache
def insight_steps(steps: int) -> frozenset[int]:
    """The steps at which to look inside: the first ones, where most is decided, and then every tenth or hundredth."""
    every = max(MIN_STEPS_BETWEEN_INSIGHTS, math.ceil(steps / MAX_INSIGHTS))
    return frozenset({1, 2, 5, *range(every, steps + 1, every), steps})


@functools.cache
def kept_steps(steps: int) -> frozenset[int]:
    """The steps of which the weights are kept for the sliders: 0, and then in equal ratios up to the last one."""
    return frozenset(snapshot_steps(steps, SNAPSHOTS))


def generate_sample(model: Transformer, corpus: Corpus) -> str:
    """What a model generates: always from the same seed, so that a difference comes from the training."""
    return "".join(map(str, sample_tokens(model, corpus)))


def sample_tokens(model: Transformer, corpus: Corpus) -> Iterator[Token]:
    """`generate_sample`, token by token."""
    prompt = default_prompt(corpus.tokenizer)
    return generate_tokens(model, corpus.tokenizer, prompt, max_new_tokens=SAMPLE_TOKENS, seed=0)

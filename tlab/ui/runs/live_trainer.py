"""A trainer that people watch: it looks inside itself, and is never long between two steps.

To read the whole validation text, or to write a sample, takes as long as many steps, and the curves would stand still
meanwhile. So the model is copied at that step, and the copy reads or writes a piece after each of the next steps. It is
the same evaluation of the same weights in the same pieces, so its loss is that of any other trainer to the last digit;
only the hour at which it is known differs.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Union

import numpy as np

from tlab.generate import Token, generate_tokens
from tlab.inside.layers import LayerInsight, layer_insights
from tlab.nn.model import Trace, Transformer
from tlab.text import Corpus, default_prompt
from tlab.training.trainer import Batch, Trainer, evaluation_batches, mean_loss, total_loss
from tlab.types import Array

SAMPLE_TOKENS = 160
SAMPLE_PIECE = 10  # tokens written after a step
MIN_STEPS_BETWEEN_INSIGHTS = 10  # looking inside then costs a few hundredths of the training
MAX_INSIGHTS = 100  # of one side; a slider has not more places


class ValidationDone(NamedTuple):
    """The validation text has been read."""

    step: int
    loss: float
    rewound: bool  # the loss is no number: the run ended at `step`, and what was done since then is undone


class SampleDone(NamedTuple):
    """A sample has been written."""

    step: int
    text: str


BackgroundResult = Union[ValidationDone, SampleDone]  # noqa: UP007, for Python 3.10 at run time


class LiveTrainer(Trainer):
    """A trainer that keeps of some of its steps what `layer_insights` needs, and validates in pieces between steps.

    Whoever iterates over it calls `run_background` after each step, and goes on as long as it `unfinished`.

    Attributes:
        sample_seconds: that the latest sample took.
        plant: of the bug lab: what makes the mistake, in the model and in each copy of it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.observed: tuple[Array, Array, Trace, float] | None = None  # weights before, gradient, trace, clipped by
        self.evaluations: deque[Iterator[ValidationDone | None]] = deque()  # begun and not complete, oldest first
        self.sample: Iterator[SampleDone | None] | None = None
        self.sample_seconds = 0.0
        self.apply_bug: Callable[[Transformer], None] | None = None

    # -------------------------------------------------------------------------------- between the steps

    @property
    def unfinished(self) -> bool:
        """Whether there is a step to make or a validation to complete; for a sample alone nobody waits."""
        return not self.finished or bool(self.evaluations)

    def copy_model(self) -> Transformer:
        """The model as it is now, its mistake included."""
        copy = self.model.frozen_copy()
        if self.apply_bug is not None:
            self.apply_bug(copy)
        return copy

    def validate(self) -> None:
        """Begin to read the validation text, where that is due; `run_background` completes the record."""
        if self.validation_is_due:
            self.evaluations.append(self.evaluate_in_pieces(self.step, self.copy_model()))

    def begin_sample(self, corpus: Corpus) -> None:
        """Begin to write a sample with the weights of now."""
        self.sample = self.write_in_pieces(self.step, self.copy_model(), corpus)

    def run_background(self) -> list[BackgroundResult]:
        """A piece of what is begun, and what has been completed by it."""
        found: list[BackgroundResult] = []
        if self.evaluations and (evaluated := next(self.evaluations[0])):
            self.evaluations.popleft()
            found.append(evaluated)
        if self.sample and (wrote := next(self.sample)):
            self.sample = None
            found.append(wrote)
        return found

    def finish_background(self) -> list[BackgroundResult]:
        """The rest of all validations at once; a sample that is not done is given up."""
        self.sample = None
        found: list[BackgroundResult] = []
        while self.evaluations:
            found += self.run_background()
        return found

    def evaluate_in_pieces(self, step: int, still: Transformer) -> Iterator[ValidationDone | None]:
        """`Trainer.validate` on a copy as of `step`; it is through before the next one is due."""
        tokens = self.corpus.validation
        batches = evaluation_batches(tokens, self.config.context_length)
        at_once = math.ceil(len(batches) / max(1, self.train_config.validation_every))
        losses: list[float] = []
        while len(losses) < len(batches):
            some = batches[len(losses) : len(losses) + at_once]
            with np.errstate(all="ignore"):  # as in a step: what is not finite ends the run, with its place
                losses += [total_loss(still, batch) for batch in some]
            if len(losses) < len(batches):
                yield None
        loss = mean_loss(losses, tokens)
        rewound = not math.isfinite(loss)
        if rewound:
            self.rewind(step, still)
        self.complete_record(step, loss)
        yield ValidationDone(step, loss, rewound)

    def rewind(self, step: int, still: Transformer) -> None:
        """Be as after `step` updates, but for the optimizer: the run ends here."""
        self.model.parameters.data[...] = still.parameters.data
        del self.records[step:]
        self.step, self.divergence, self.observed, self.sample = step, None, None, None
        while len(self.evaluations) > 1:  # the first is the one that is being completed
            self.evaluations.pop()

    def write_in_pieces(self, step: int, still: Transformer, corpus: Corpus) -> Iterator[SampleDone | None]:
        """`write_sample` on a copy."""
        tokens, text = sample_tokens(still, corpus), ""
        self.sample_seconds = 0.0
        while True:
            began = time.perf_counter()
            piece = [str(token) for token in itertools.islice(tokens, SAMPLE_PIECE)]
            self.sample_seconds += time.perf_counter() - began
            text += "".join(piece)
            if len(piece) < SAMPLE_PIECE:
                yield SampleDone(step, text)
            yield None

    # -------------------------------------------------------------------------------- inside a step

    def observe(self, step: int, gradient_norm: float, batch: Batch) -> None:
        """Copy what the update is about to change, and pass through the model once more, as a step keeps no trace."""
        if step in insight_steps(self.train_config.steps) and self.divergence is None:
            space = self.model.parameters
            clip = self.train_config.gradient_clip
            clipped = gradient_norm / clip if 0 < clip < gradient_norm else 1.0
            _, trace = self.model.forward(batch.ids)
            self.observed = (space.data.copy(), space.grad.copy(), trace, clipped)

    def take_insights(self) -> list[LayerInsight]:
        """What was seen at the last step; empty where it was none of those."""
        if self.observed is None:
            return []
        (before, gradient, trace, clipped), self.observed = self.observed, None
        return layer_insights(self.model, trace, gradient, before, clipped_by=clipped)


@functools.cache
def insight_steps(steps: int) -> frozenset[int]:
    """The steps at which to look inside: the first ones, where most is decided, and then every tenth or hundredth."""
    every = max(MIN_STEPS_BETWEEN_INSIGHTS, math.ceil(steps / MAX_INSIGHTS))
    return frozenset({1, 2, 5, *range(every, steps + 1, every), steps})


def write_sample(model: Transformer, corpus: Corpus) -> str:
    """What a model writes: always from the same seed, so that a difference is the training's."""
    return "".join(map(str, sample_tokens(model, corpus)))


def sample_tokens(model: Transformer, corpus: Corpus) -> Iterator[Token]:
    """The same, token by token."""
    prompt = default_prompt(corpus.tokenizer)
    return generate_tokens(model, corpus.tokenizer, prompt, max_new_tokens=SAMPLE_TOKENS, seed=0)

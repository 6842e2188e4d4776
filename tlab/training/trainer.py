"""The training loop: an iterator that makes one update and yields one record at a time.

The caller who iterates decides when to draw, save or stop. Nothing happens between two records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tlab.config import ConfigError
from tlab.cost import rough_forward_flops
from tlab.files import refuse_place
from tlab.nn.config import ModelConfig
from tlab.nn.loss import CrossEntropy, LabelSmoothing, ZLoss
from tlab.nn.model import Transformer, first_nonfinite
from tlab.nn.params import ParamSpace
from tlab.notebook.html import bar_html, frame_of, picture_html
from tlab.text import Corpus
from tlab.training.checkpoint import LIVE_WEIGHTS, Checkpoint, CheckpointError
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.dropout import Dropout
from tlab.training.optimizers import OPTIMIZERS, Optimizer, clip_gradient, in_pieces
from tlab.training.parallel import BatchThreads, decide_threads, defer_interrupt
from tlab.training.records import Divergence, StepRecord
from tlab.types import Array, Ids
from tlab.wording import duration

if TYPE_CHECKING:
    from pandas import DataFrame

    from tlab.figures import ShownFigure

VALIDATION_TOKENS = 4096  # read at once: enough for large matrix products, small enough for the caches


class Batch(NamedTuple):
    """Token ids and, for each, the id that follows it: both (B, T)."""

    ids: Ids
    targets: Ids


def draw_batch(tokens: Ids, batch_size: int, context_length: int, seed: int, step: int) -> Batch:
    """The batch of update number `step`: sequences from random places of `tokens`. It depends on these values alone."""
    rng = np.random.default_rng([seed, step])
    starts = rng.integers(0, len(tokens) - context_length, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)]  # (B, T + 1)
    return Batch(windows[:, :-1], windows[:, 1:])


def evaluate(
    model: Transformer, tokens: Ids, context_length: int | None = None, *, threads: BatchThreads | None = None
) -> float:
    """Mean loss over a whole text, in nats per token.

    The text is cut into windows of `context_length` (by default the model's), each read on its own; every token but
    the very first is predicted once. `tokens` (N,), at least two. Where there are `threads`, they share
    the work, with the same bits as one alone.

    Raises:
        ValueError: fewer than two tokens.
    """
    batches = evaluation_batches(tokens, context_length or model.config.context_length)

    def task(batch: Batch) -> float:
        return total_loss(model, batch)

    return mean_loss(threads.map(task, batches) if threads else map(task, batches), tokens)


def evaluation_batches(tokens: Ids, context_length: int) -> list[Batch]:
    """What `evaluate` reads, in the order in which it adds up the losses.

    Raises:
        ValueError: fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"a text of {len(tokens)} tokens has nothing to predict; give at least 2")
    T = context_length
    num_predicted = len(tokens) - 1
    num_whole = num_predicted // T
    whole = num_whole * T
    ids, targets = tokens[:whole].reshape(-1, T), tokens[1 : whole + 1].reshape(-1, T)
    at_once = max(1, VALIDATION_TOKENS // T)
    batches = [Batch(ids[i : i + at_once], targets[i : i + at_once]) for i in range(0, num_whole, at_once)]
    if whole < num_predicted:
        batches.append(Batch(tokens[None, whole:-1], tokens[None, whole + 1 :]))
    return batches


def total_loss(model: Transformer, batch: Batch) -> float:
    """Loss of one batch in nats, summed over its tokens."""
    return CrossEntropy.forward(model.score(batch.ids), batch.targets)[0] * batch.ids.size


def mean_loss(totals: Iterable[float], tokens: Ids) -> float:
    """Nats per token, from the `total_loss` of all `evaluation_batches` of the text, in their order."""
    return sum(totals) / (len(tokens) - 1)


class Trainer:
    """Trains a new model; iterate over it for a `StepRecord` an update.

    The same configs, corpus, machine and number of threads give the same bits, also with a checkpoint and `resume` in
    between. By default that number depends on the cores that the process may use; name it to be sure of the last bits.
    Iterating may stop and go on at will.

    Args:
        config: the model. Its vocab_size must be that of the corpus.
        train_config: the training.
        corpus: the text.
        compute: how the work is spread over threads and pieces.
        dtype: of weights and arithmetic.

    Attributes:
        model: the live model; its weights are those after `step` updates.
        result: the model that is validated, generates and goes into a checkpoint: the live one, or with ema_decay one
            that has the average of its weights.
        compute: as given, with the number of threads decided.
        records: every record so far.
        divergence: why the run ended early, or None.
        started_from: name, step and sha256 of the weights it began with, or None where they were random.

    Raises:
        ConfigError: the configs do not fit the corpus.
    """

    def __init__(
        self,
        config: ModelConfig,
        train_config: TrainConfig,
        corpus: Corpus,
        *,
        compute: ComputeConfig = ComputeConfig(),  # noqa: B008, frozen
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        refuse_place("corpus", corpus, "load_corpus")
        check_fit(config, corpus)
        self.config = config
        self.train_config = train_config
        self.corpus = corpus
        self.model = Transformer(config, train_config.seed, dtype)
        self.model.loss = make_loss(train_config)
        self.result = self.model.frozen_copy() if train_config.ema_decay else self.model
        operations = rough_forward_flops(self.config, train_config.batch_size)
        self.compute = decide_threads(compute, train_config.batch_size, operations)
        self.batch_threads = BatchThreads(self.model, self.compute)
        self.optimizer = make_optimizer(train_config, self.model.parameters)
        self.step = 0
        self.records: list[StepRecord] = []
        self.divergence: Divergence | None = None
        self.started_from: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: all steps are made, or the run diverged."""
        return self.divergence is not None or self.step >= self.train_config.steps

    def __iter__(self) -> Iterator[StepRecord]:
        """Continue training from the current step."""
        self.validate()  # where Ctrl-C came between an update and its validation
        while not self.finished:
            yield self.train_step()

    def train_step(self) -> StepRecord:
        """Make one update; a step whose loss or gradient is not finite makes none and ends the run.

        `compute_gradients` draws a batch, runs it forward and backward, and clips the gradient. The optimizer, one of
        optimizers.py, changes the weights by it at the schedule's learning rate. `validate` measures what came of it.
        """
        began = time.perf_counter()
        step = self.step + 1
        learning_rate = self.train_config.learning_rate_at(step)
        with np.errstate(all="ignore"):  # an overflow is no warning here: it ends the run, with its place
            loss, gradient_norm = self.compute_gradients(step)
            # Ctrl-C must not leave new weights beside old moments, nor an update without its record.
            with defer_interrupt():
                if self.divergence is None:
                    self.optimizer.step(self.model.parameters, learning_rate)
                    self.step = step
                    self.update_average()
                before = self.records[-1] if self.records else None
                record = StepRecord(
                    step=step,
                    loss=loss,
                    validation_loss=None,
                    learning_rate=learning_rate,
                    gradient_norm=gradient_norm,
                    tokens=(before.tokens if before else 0) + self.tokens_per_step,
                    seconds=(before.seconds if before else 0.0) + time.perf_counter() - began,
                    divergence=self.divergence,
                )
                self.records.append(record)
            self.validate()
        return self.records[-1]

    def compute_gradients(self, step: int) -> tuple[float, float]:
        """Leave the step's gradient, clipped, in the model; -> its loss, and the norm before clipping.

        Each thread runs `Transformer.accumulate_gradients`, forward, loss and backward, on its share of the batch.
        """
        config, space = self.train_config, self.model.parameters
        batch = draw_batch(self.corpus.train, config.batch_size, self.config.context_length, config.batch_seed, step)
        space.grad[...] = 0
        dropout = Dropout(config.dropout, config.seed, step) if config.dropout else None
        loss = self.batch_threads.accumulate_gradients(*batch, dropout)
        gradient_norm = clip_gradient(space.grad, config.gradient_clip)
        self.divergence = self.find_divergence(step, loss, gradient_norm, batch)
        self.observe(step, gradient_norm, batch)
        return loss, gradient_norm

    def observe(self, step: int, gradient_norm: float, batch: Batch) -> None:
        """Nothing; a subclass may look at the model here, between the gradient, clipped by now, and the update."""

    def update_average(self) -> None:
        """Let the result follow the live weights; it begins with those after the first step."""
        if self.result is not self.model:
            share = 1 - self.train_config.ema_decay if self.step > 1 else 1
            for average, weights in in_pieces(self.result.parameters.data, self.model.parameters.data):
                average += share * (weights - average)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one update learns from."""
        return self.train_config.batch_size * self.config.context_length

    def validate(self) -> None:
        """Complete the last record with the loss on the whole validation split, where it is due and missing.

        A loss that is not finite is a divergence: the batch's loss was fine, so the last update went too far.
        """
        if self.validation_is_due:
            loss = evaluate(self.result, self.corpus.validation, threads=self.batch_threads)
            self.complete_record(self.step, loss, self.result)

    @property
    def validation_is_due(self) -> bool:
        """Whether the last record is to have a validation loss and has none yet."""
        step, every = self.step, self.train_config.validation_every
        is_due = step == self.train_config.steps or (every > 0 and step % every == 0)
        return bool(is_due and self.records) and not self.divergence and self.records[-1].validation_loss is None

    def complete_record(self, step: int, loss: float, model: Transformer) -> None:
        """Write the validation loss of `model`, which has made `step` updates, into its record, or end the run."""
        if math.isfinite(loss):
            self.records[step - 1] = self.records[step - 1]._replace(validation_loss=loss)
            return
        bad = [name for name, param in model.parameters.items() if not np.isfinite(param.data).all()]
        self.divergence = Divergence(step, bad[0] if bad else "the validation loss", f"the validation loss is {loss}")
        self.records[-1] = self.records[-1]._replace(divergence=self.divergence)

    def find_divergence(self, step: int, loss: float, gradient_norm: float, batch: Batch) -> Divergence | None:
        """What went wrong at this step, and where it is seen first."""
        if not math.isfinite(loss):
            # The weights are still the same: look once more, at one sequence after the other to need little memory.
            places = (first_nonfinite(self.model.forward(ids[None])[1]) for ids in batch.ids)
            return Divergence(step, next(filter(None, places), "loss"), f"the loss is {loss}")
        if not math.isfinite(gradient_norm):
            # Backward runs from the head down, so the last of the reading order is the first to be reached.
            bad = [name for name, param in self.model.parameters.items() if not np.isfinite(param.grad).all()]
            where = f"gradient of {bad[-1]}" if bad else "gradient norm"
            return Divergence(step, where, f"the gradient norm is {gradient_norm}")
        if loss > self.train_config.max_loss:
            limit = self.train_config.max_loss
            return Divergence(step, "loss", f"the loss of {loss:.4g} nats per token is above max_loss = {limit:g}")
        return None

    @property
    def state(self) -> dict[str, Array]:
        """What the next step needs besides the result's weights: flat vectors, which a step changes in place."""
        live = {LIVE_WEIGHTS: self.model.parameters.data} if self.result is not self.model else {}
        return {**self.optimizer.state, **live}

    def checkpoint(self, copy: bool = True) -> Checkpoint:
        """Everything needed to generate, probe, or go on training: a copy that later steps do not change.

        Without `copy` its vectors are the trainer's own, for whoever saves it at once.
        """
        weights = {name: param.data for name, param in self.result.parameters.items()}
        state = self.state
        if copy:
            weights, state = ({name: array.copy() for name, array in arrays.items()} for arrays in (weights, state))
        return Checkpoint(
            model_config=self.config,
            train_config=self.train_config,
            corpus=self.corpus.describe(),
            step=self.step,
            weights=weights,
            optimizer_state=state,
            records=list(self.records),
            compute=self.compute,
            started_from=self.started_from,
        )

    def to_pandas(self) -> DataFrame:
        """A row for each update so far, as `StepRecord` has it, with the divergence in words."""
        rows = [record._replace(divergence=str(record.divergence or "")) for record in self.records]  # pyright: ignore[reportArgumentType]
        return frame_of(
            rows, StepRecord._fields, {"units": {"loss": "nats per token", "validation_loss": "nats per token"}}
        )

    def figure(self, title: str | None = None) -> ShownFigure:
        """The loss by step beside what a uniform guess has, and the learning rate below."""
        from tlab.figures import loss_figure

        uniform_loss = math.log(self.config.vocab_size)
        bytes_per_token = self.corpus.bytes_per_token.validation
        return loss_figure(self.records, uniform_loss=uniform_loss, bytes_per_token=bytes_per_token, title=title)

    def progress_html(self) -> str:
        """How far the training is: a bar, and the last losses in words."""
        steps = self.train_config.steps
        words = [f"step {self.step:,} of {steps:,}"]
        if self.records:
            last = self.records[-1]
            words += [f"training loss {last.loss:.3f}", f"after {duration(last.seconds)}"]
        validated = [record.validation_loss for record in self.records if record.validation_loss is not None]
        if validated:
            words.insert(2, f"validation loss {validated[-1]:.3f}")
        uniform = f"a uniform guess has {math.log(self.config.vocab_size):.3f} nats per token"
        words = [*words, uniform, *([str(self.divergence)] if self.divergence else [])]
        return bar_html(self.step / max(steps, 1), "; ".join(words))

    def _repr_html_(self) -> str:
        """What a notebook shows: how far it is, and the loss."""
        if not self.records:
            return self.progress_html()
        figure = self.figure()
        return self.progress_html() + picture_html(figure.png(), figure.width, "the loss by step")

    @classmethod
    def start_from(
        cls,
        checkpoint: Checkpoint,
        train_config: TrainConfig,
        corpus: Corpus,
        *,
        name: str = "a checkpoint",
        compute: ComputeConfig = ComputeConfig(),  # noqa: B008, frozen
    ) -> Trainer:
        """A trainer of a new run whose model begins as the checkpoint's: with its settings, tokenizer and weights.

        Everything else begins anew: steps, schedule, optimizer and records.

        Args:
            checkpoint: of a run, or of a model that was imported.
            train_config: the training.
            corpus: the text, of the checkpoint's tokenizer: `load_corpus(name, checkpoint.tokenizer)`.
            name: of the checkpoint, for the record.
            compute: how the work is spread over threads and pieces.

        Raises:
            CheckpointError: the corpus has another tokenizer.
            ConfigError: the text is too short.
        """
        if corpus.tokenizer != checkpoint.tokenizer:
            raise CheckpointError(
                f"corpus {corpus.name!r} has another tokenizer than the model; load the text with that of the "
                "checkpoint: load_corpus(name, checkpoint.tokenizer)"
            )
        trainer = cls(checkpoint.model_config, train_config, corpus, compute=compute, dtype=checkpoint.dtype)
        trainer.model.load(checkpoint.weights)
        trainer.result.load(checkpoint.weights)
        trainer.started_from = {"name": name, "step": checkpoint.step, "sha256": checkpoint.weights_sha256}
        return trainer

    @classmethod
    def resume(cls, checkpoint: Checkpoint, corpus: Corpus, *, compute: ComputeConfig | None = None) -> Trainer:
        """A trainer that goes on where the checkpoint was made, bit by bit as if it had never stopped.

        With `compute` it goes on in another way than before, which other last bits may come of.

        Raises:
            TypeError: a folder or a name where a checkpoint or a corpus is wanted.
            CheckpointError: the corpus is not the text that the checkpoint was trained on, or the checkpoint was
                saved without its optimizer state.
        """
        refuse_place("checkpoint", checkpoint, "Checkpoint.load")
        refuse_place("corpus", corpus, "load_corpus")
        trained_on = checkpoint.corpus
        if corpus.sha256 != trained_on["sha256"] or corpus.tokenizer != checkpoint.tokenizer:
            raise CheckpointError(
                f"this run was trained on corpus {trained_on['name']!r} (sha256 {trained_on['sha256'][:12]}...), "
                f"not on {corpus.name!r} (sha256 {corpus.sha256[:12]}...) with its tokenizer; load the same text"
            )
        compute = compute or checkpoint.compute
        trainer = cls(checkpoint.model_config, checkpoint.train_config, corpus, compute=compute, dtype=checkpoint.dtype)
        trainer.result.load(checkpoint.weights)
        if trainer.state.keys() != checkpoint.optimizer_state.keys():
            raise CheckpointError("this checkpoint holds no optimizer state: it can be used, but not trained on")
        for name, vector in trainer.state.items():
            vector[...] = checkpoint.optimizer_state[name]
        trainer.optimizer.num_updates = trainer.step = checkpoint.step
        trainer.records = list(checkpoint.records)
        trainer.divergence = checkpoint.divergence
        trainer.started_from = checkpoint.started_from
        return trainer


def make_optimizer(config: TrainConfig, space: ParamSpace) -> Optimizer:
    """The config's optimizer, with the options that it reads."""
    optimizer = OPTIMIZERS[config.optimizer]
    return optimizer(space, **{name: getattr(config, name) for name in optimizer.options})


def make_loss(config: TrainConfig) -> CrossEntropy:
    """What the config's training makes gradients of."""
    loss = LabelSmoothing(config.label_smoothing) if config.label_smoothing else CrossEntropy()
    return ZLoss(config.z_loss, loss) if config.z_loss else loss


def check_fit(config: ModelConfig, corpus: Corpus) -> None:
    """Refuse a model that this corpus cannot train."""
    if config.vocab_size != corpus.tokenizer.vocab_size:
        raise ConfigError(
            f"vocab_size = {config.vocab_size}: corpus {corpus.name!r} has a vocabulary of "
            f"{corpus.tokenizer.vocab_size}; use vocab_size=corpus.tokenizer.vocab_size"
        )
    shortest = config.context_length + 1
    if len(corpus.train) < shortest:
        raise ConfigError(
            f"corpus {corpus.name!r} has {len(corpus.train)} tokens to train on, too few for one sequence of "
            f"context_length = {config.context_length}; take a longer text, or a context of at most "
            f"{len(corpus.train) - 1}"
        )

"""What is measured for a finding: one configuration and one seed in, a few numbers out.

A measure takes the two configs and the corpus and returns plain numbers and lists, ready for JSON. What they mean for a
claim is declared in `sweeps.findings.claims`; nothing here refers to claims.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlab.inside.attention import settled_from
from tlab.nn.config import ModelConfig
from tlab.nn.model import Trace, Transformer
from tlab.text.corpora import Corpus
from tlab.training.config import TrainConfig
from tlab.training.trainer import Trainer, draw_batch, evaluate
from tlab.types import Array, Ids

LENGTH_FACTORS = (1, 2, 4, 8)  # texts to evaluate on, in trained context lengths
MEASURE_EVERY = 50  # steps; a jump within 300 steps spans six measurements of the heads
NUM_WINDOWS = 64  # of validation text, to look at attention in
FIRST_STEPS = 20  # in which training without norms shows its spike
MAX_LINES_PER_LENGTH = 20  # of repeated blocks; 9 lengths make 180 lines, some 2,000 letters to copy
UNIGRAM = 3.347  # nats: the entropy of single characters on tiny Shakespeare, which counting alone can reach


# ------------------------------------------------------------------------------------------------ before training


def at_start(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """The untrained model on its first batch: gradients of the last layer, and the size of the stream by depth.

    Returns:
        last_down_gradient: norm of the gradient of the last block's second MLP matrix (Xiong et al.: W2 of layer L);
        last_layer_gradient: norm over all parameters of the last block;
        stream: the mean of x^2 over tokens and channels, before the first block and after each.
    """
    model = Transformer(config, train_config.seed)
    batch = draw_batch(corpus.train, train_config.batch_size, config.context_length, train_config.batch_seed, step=1)
    _, trace = model.accumulate_gradients(*batch)
    last = f"blocks.{config.num_layers - 1}."
    gradients = {name: param.grad for name, param in model.parameters.items() if name.startswith(last)}
    stream = (trace.embedded, *(block.y for block in trace.blocks))
    return {
        "last_down_gradient": gradient_norm([gradients[f"{last}mlp.down.weight"]]),
        "last_layer_gradient": gradient_norm(gradients.values()),
        "stream": [float(np.square(x, dtype=np.float64).mean()) for x in stream],
    }


def gradient_norm(arrays: Any) -> float:
    return math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))


def first_steps(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """The first 20 steps of a run, without validation.

    Returns:
        losses: of every step's batch, before its update; a run that diverged has fewer.
    """
    trainer = Trainer(config, train_config, corpus)
    records = itertools.islice(trainer, FIRST_STEPS)
    return {"losses": [record.loss for record in records if math.isfinite(record.loss)]}


# ------------------------------------------------------------------------------------------------ after training


def train_to_end(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """Train to the end.

    Returns:
        what `final_outcome` returns, and step_seconds: the median step in processor time of this process, which
        other programs disturb less than wall time.
    """
    return trained(Trainer(config, train_config, corpus))


def trained(trainer: Trainer) -> dict[str, Any]:
    """Train to the end; -> as `train_to_end`."""
    seconds = []
    while not trainer.finished:
        began = time.process_time()
        record = trainer.train_step()
        if record.validation_loss is None:
            seconds.append(time.process_time() - began)
    return {**final_outcome(trainer), "step_seconds": statistics.median(seconds) if seconds else None}


def final_outcome(trainer: Trainer) -> dict[str, Any]:
    """What became of a run.

    Returns:
        val_loss: on the whole validation split, nats per token; None where the run diverged;
        losses: of every step's batch, before its update;
        diverged: why, or None;
        n_params: number of weights;
        val_bytes_per_token: of the validation split, by which its loss becomes bits per byte.
    """
    return {
        "val_loss": trainer.records[-1].validation_loss if trainer.divergence is None else None,
        "losses": [record.loss for record in trainer.records if math.isfinite(record.loss)],
        "diverged": None if trainer.divergence is None else str(trainer.divergence),
        "n_params": trainer.model.num_parameters,
        "val_bytes_per_token": trainer.corpus.bytes_per_token.validation,
    }


def attended(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """Train to the end, then look where attention goes.

    Returns:
        what `train_to_end` returns, and first_token: the attention weight on the first token of a text, the mean over
        windows of the validation split, their places but the first four, heads and blocks; None where the run diverged.
    """
    trainer = Trainer(config, train_config, corpus)
    outcome = trained(trainer)
    first_token = first_token_weight(trainer.result, corpus) if trainer.divergence is None else None
    return {**outcome, "first_token": first_token}


def first_token_weight(model: Transformer, corpus: Corpus) -> float:
    T = model.config.context_length
    _, trace = model.forward(corpus.validation[: NUM_WINDOWS * T].reshape(-1, T))
    return float(np.mean([block.attention.weights[:, :, settled_from(T) :, 0].mean() for block in trace.blocks]))


def extrapolated(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """Train, then read texts longer than any that was trained on.

    Returns:
        what `final_outcome` returns, and longer_losses: the validation loss with windows of 1, 2, 4 and 8 context
        lengths.
    """
    trainer = Trainer(config, train_config, corpus)
    for _ in trainer:
        pass
    T = config.context_length
    losses = [evaluate(trainer.model, corpus.validation, k * T) for k in LENGTH_FACTORS]
    return {**final_outcome(trainer), "longer_losses": losses}


# ------------------------------------------------------------------------------------------------ induction


def train_on_repeats(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> dict[str, Any]:
    """Train on repeated blocks, and measure every few steps how well the second copy is predicted, and by which head.

    Returns:
        what `final_outcome` returns; steps: of each measurement; accuracy: share of the second copy's letters that
        are predicted; prefix_matching: the best head's score.
    """
    trainer = Trainer(config, train_config, corpus)
    batches = repeated_lines(corpus)
    measured = [(0, *copying(trainer.model, batches))]
    for record in trainer:
        if record.step % MEASURE_EVERY == 0 and trainer.divergence is None:
            measured.append((record.step, *copying(trainer.model, batches)))
    steps, accuracy, prefix_matching = (list(column) for column in zip(*measured, strict=True))
    return {**final_outcome(trainer), "steps": steps, "accuracy": accuracy, "prefix_matching": prefix_matching}


def repeated_lines(corpus: Corpus) -> list[Ids]:
    """Lines "block block" from the validation split, an array (lines, 2 n + 2) for each length n of a block.

    Each begins with the end of the line before, as in the middle of the text.
    """
    lines = corpus.tokenizer.decode(corpus.validation).split("\n")[1:-1]  # the first and last may be cut
    by_length: dict[int, list[str]] = {}
    for line in lines:
        by_length.setdefault(len(line), []).append("\n" + line)
    return [
        np.array([corpus.tokenizer.encode(line) for line in same[:MAX_LINES_PER_LENGTH]])
        for _, same in sorted(by_length.items())
    ]


def copying(model: Transformer, batches: Sequence[Ids]) -> tuple[float, float]:
    """How well the second copies are predicted: share of correct letters, and the best head's prefix-matching score."""
    correct, letters = 0, 0
    scores, lines = 0.0, 0
    for ids in batches:
        logits, trace = model.forward(ids[:, :-1])
        predicted, actual = copied_letters(logits, ids)
        correct += int((predicted == actual).sum())
        letters += actual.size
        scores = scores + prefix_matching(trace) * len(ids)
        lines += len(ids)
    return correct / letters, float(np.max(scores / lines))


def copied_letters(logits: Array, ids: Ids) -> tuple[Ids, Ids]:
    """The predicted letters of the second copy and the actual ones, (lines, n - 1) each.

    Args:
        logits: (lines, 2 n + 1, V), of every token of `ids` but the last.
        ids: (lines, 2 n + 2): an end of line, the block, a space, the block. The second copy's first letter is left
            out, since nothing before it predicts it.
    """
    n = block_length(ids.shape[1])
    first = n + 3  # the second letter of the second copy
    return logits[:, first - 1 :].argmax(-1), ids[:, first:]


def prefix_matching(trace: Trace) -> Array:
    """(L, H): how much of its weight each head puts on what followed the same letter in the first copy.

    Olsson et al. 2022. The mean over the second copy's letters of the attention from the letter at n + 2 + j to
    position j + 2, which follows the same letter in the first copy.
    """
    scores = []
    for block in trace.blocks:
        weights = block.attention.weights  # (lines, H, 2 n + 1, 2 n + 1): the last letter is not read
        n = block_length(weights.shape[-1] + 1)
        j = np.arange(n - 1)
        scores.append(weights[:, :, n + 2 + j, j + 2].mean((0, 2)))
    return np.array(scores)


def block_length(line_length: int) -> int:
    return (line_length - 2) // 2


class Measure(NamedTuple):
    """A function that measures, and how much it trains."""

    run: Callable[[ModelConfig, TrainConfig, Corpus], dict[str, Any]]
    steps: int | None = None
    """Training steps that it takes, or their equivalent in cost; None for as many as the config says."""


MEASURES = {
    "at_start": Measure(at_start, steps=1),
    "beginning": Measure(first_steps, steps=FIRST_STEPS),
    "trained": Measure(train_to_end),
    "attended": Measure(attended),
    "extrapolated": Measure(extrapolated),
    "induction": Measure(train_on_repeats),
}
"""Every measure by its key, which decides the ids of its results."""

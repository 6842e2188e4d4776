"""A learner's own part at work beside the lab's: in training to the same curve, in generation to the same text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise
from tlab.generate import draw
from tlab.nn.config import ModelConfig
from tlab.nn.loss import softmax
from tlab.nn.model import Transformer
from tlab.text import default_prompt
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer

SAME_CURVE = 3e-6  # nats per token: an epsilon may differ; in float64, sums in another order end many times nearer
TOP_P = 0.9
SHAPE = {"hidden_dim": 32, "context_length": 32}  # a step of both takes some hundredths of a second


class LossPair(NamedTuple):
    """One step of both runs: the batch's loss in nats per token."""

    step: int
    reference: float
    own: float


class TextPair(NamedTuple):
    """What one trained model generates with the lab's part and with the learner's."""

    prompt: str
    reference: str
    own: str


def small_trainer(exercise: Exercise, answer: Attempt, corpus: str, steps: int) -> Trainer:
    """A small model that has the part, in float64, so that rounding hides no difference."""
    text = exercise.corpus(corpus, answer)
    config = ModelConfig(vocab_size=text.tokenizer.vocab_size, **{**SHAPE, **exercise.model})
    warmup_steps = min(50, steps // 2)
    training = TrainConfig(steps=steps, validation_every=0, warmup_steps=warmup_steps, **exercise.training)
    return Trainer(config, training, text, compute=ComputeConfig(threads=1), dtype=np.float64)


def train_beside(name: str, answer: Attempt, corpus: str, steps: int) -> Iterator[LossPair]:
    """Train the same model twice, with the lab's part and with an answer; one pair of losses per step.

    Raises:
        UnknownKeyError: there is no such exercise or corpus.
    """
    exercise = EXERCISES[name]()
    reference, own = (small_trainer(exercise, part, corpus, steps) for part in (exercise.solution, answer))
    exercise.plant(own, answer)
    for one, other in zip(reference, own, strict=False):
        yield LossPair(one.step, one.loss, other.loss)


def generate_beside(name: str, answer: Attempt, corpus: str, steps: int) -> TextPair:
    """Train one model, and let it generate with the lab's part and with an answer, with the same random numbers."""
    exercise = EXERCISES[name]()
    trainer = small_trainer(exercise, exercise.solution, corpus, steps)
    for _ in trainer:
        pass
    tokenizer = trainer.corpus.tokenizer
    prompt = default_prompt(tokenizer)
    texts = []
    for part in (None, answer):
        if part is not None:
            exercise.plant(trainer, part)
        keep = exercise.keep(part or exercise.solution)
        texts.append(tokenizer.decode(generated_ids(trainer.model, tokenizer.encode(prompt), keep)))
    return TextPair(prompt, *texts)


def generated_ids(model: Transformer, prompt_ids: np.ndarray, keep: Attempt) -> np.ndarray:
    """The tokens that fill the model's context."""
    rng, cache = np.random.default_rng(0), model.new_cache()
    new, ids = prompt_ids[None, :], []
    for _ in range(model.config.context_length - len(prompt_ids)):
        logits, _ = model.forward(new, cache)
        ids.append(draw(np.asarray(keep(softmax(logits[0, -1]), TOP_P)), rng))
        new = np.array([[ids[-1]]])
    return np.array(ids)

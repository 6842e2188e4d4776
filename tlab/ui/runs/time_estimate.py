"""How long a run will take, estimated before it starts from the time of a few small models on this machine.

The time of a step is modelled as a sum of three terms: a fixed cost per block for its calls, a cost per operation of
its matrix products, and a cost per number that it writes. The three prices are measured once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tlab.cost import FORWARD_SHARE, kept_numbers, step_flops
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.training.config import TrainConfig

# Three that spend their time as differently as possible: on calls, on products, and on numbers written.
CALIBRATION_MODELS = (
    (ModelConfig(vocab_size=16, context_length=8, hidden_dim=8, num_layers=4, num_heads=2), 1),
    (ModelConfig(vocab_size=64, context_length=64, hidden_dim=192, num_layers=1, num_heads=4), 8),
    (ModelConfig(vocab_size=64, context_length=128, hidden_dim=32, num_layers=1, num_heads=8), 8),
)
ROUNDS = 4  # of a step of each, after one for warm-up
OVERHEAD = 1.1  # samples, insights and messages


class Pace(NamedTuple):
    """Prices on this machine, in seconds."""

    block: float  # a block's forward and backward pass, however small
    operation: float
    number: float  # per number that is kept between forward and backward


def cost_terms(config: ModelConfig, batch_size: int) -> tuple[float, float, float]:
    """Blocks, operations and kept numbers of one step: the amounts to multiply with the prices of a `Pace`."""
    return config.num_layers + 1, step_flops(config, batch_size), kept_numbers(config, batch_size)


def measure_pace() -> Pace:
    """Time some steps of each model, and solve for the prices; about half a second.

    The fastest step of each counts, since disturbances only slow it down; and the models take turns, so that one
    disturbance does not meet all steps of the same model, whose price alone would then be too high.
    """
    matrix = np.array([cost_terms(config, batch_size) for config, batch_size in CALIBRATION_MODELS])
    steps = [step_of(config, batch_size) for config, batch_size in CALIBRATION_MODELS]
    seconds = np.array([[time_call(step) for step in steps] for _ in range(ROUNDS + 1)])[1:].min(0)
    # Fit relative errors, with no negative price: a term whose price would be negative is left out.
    rows = matrix / seconds[:, None]
    prices = np.zeros(3)
    used = np.ones(3, bool)
    while used.any():
        prices[:] = 0
        prices[used] = np.linalg.lstsq(rows[:, used], np.ones(3), rcond=None)[0]
        if (prices >= 0).all():
            break
        used &= prices > 0
    return Pace(*prices.tolist())


def step_of(config: ModelConfig, batch_size: int) -> Callable[[], object]:
    """One forward and backward pass of a new model."""
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (batch_size, config.context_length))
    return functools.partial(Transformer(config).accumulate_gradients, ids, ids)


def time_call(call: Callable[[], object]) -> float:
    """Its seconds on a processor, so that what other programs do meanwhile does not count."""
    began = time.process_time()
    call()
    return time.process_time() - began


def update_pace(pace: Pace, sides: Sequence[tuple[ModelConfig, int, int, float]]) -> Pace:
    """The pace after a run of (config, batch size, steps, seconds): that by which it would have been foreseen."""
    thought = sum(step * float(np.dot(pace, cost_terms(config, batch_size))) for config, batch_size, step, _ in sides)
    seen = sum(seconds for *_, seconds in sides)
    ratio = seen / thought if thought > 0 and seen > 0 else 1.0
    return Pace(*(price * ratio for price in pace))


def estimated_seconds(pace: Pace, sides: Sequence[tuple[ModelConfig, TrainConfig]], validation_tokens: int) -> float:
    """Seconds of a whole run: the steps of all its sides, and the validations in between."""
    total = 0.0
    for config, training in sides:
        step = float(np.dot(pace, cost_terms(config, training.batch_size)))
        tokens = training.batch_size * config.context_length
        validations = training.steps // training.validation_every if training.validation_every else 0
        validations += not training.validation_every or training.steps % training.validation_every > 0
        total += step * (training.steps + FORWARD_SHARE * validations * validation_tokens / tokens)
    return OVERHEAD * total

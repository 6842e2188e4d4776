"""What a run may cost: nearly anything on one's own machine; on a public page what two cores can afford.

A run that will be refused must not be built first, so costs are those that `tlab.cost` counts from shapes alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from tlab.cost import kept_numbers, num_parameters, step_flops
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig


class TooLargeError(ValueError):
    """A run that this server will not start; the message says what is allowed and what to do."""


@dataclass(frozen=True)
class Limits:
    """What a run may cost. Operations are floating-point operations of the whole training."""

    steps: int
    operations: float
    study_operations: float  # of all runs of a study together
    memory: int  # bytes of the worker's arrays
    text: int  # characters of a visitor's own text
    seconds: float  # by the clock, after which a run is stopped
    waiting: int  # runs that may wait for a free worker
    store: int  # bytes of models that the server keeps for all visitors
    public: bool


GB = 2**30
LOCAL = Limits(
    steps=1_000_000, operations=1e18, study_operations=1e19, memory=8 * GB, text=50_000_000, seconds=7 * 86400,
    waiting=30, store=4 * GB, public=False,
)  # fmt: skip
# A core of a hosted machine does about 3e10 operations per second, so the longest run takes under three minutes.
PUBLIC = Limits(
    steps=5_000, operations=5e12, study_operations=1e13, memory=GB // 2, text=300_000, seconds=180, waiting=30,
    store=GB // 2, public=True,
)  # fmt: skip


def limits_here() -> Limits:
    """Those of a public page on a hosted Space, else those of one's own machine."""
    return PUBLIC if os.environ.get("SPACE_ID") else LOCAL


def estimated_memory(config: ModelConfig, training: TrainConfig) -> float:
    """Bytes in float32: weights, gradient, two moments, and what one step keeps for its backward pass."""
    return 4.0 * (4 * num_parameters(config) + kept_numbers(config, training.batch_size))


def check_limits(limits: Limits, sides: Sequence[tuple[ModelConfig, TrainConfig]]) -> None:
    """Refuse a run that costs too much, judged by the whole cost of all its sides.

    Raises:
        TooLargeError: it costs too much.
    """
    here = "this public page" if limits.public else "this app"
    advice = " On your own machine the lab has no such limit." if limits.public else ""
    steps = max(training.steps for _, training in sides)
    if steps > limits.steps:
        raise TooLargeError(f"{steps:,} steps; {here} allows {limits.steps:,} in one run.{advice}")
    memory = sum(estimated_memory(config, training) for config, training in sides)
    if memory > limits.memory:
        raise TooLargeError(
            f"This run needs about {memory / GB:.1f} GB of memory; {here} allows {limits.memory / GB:.1f} GB. "
            f"Take a smaller batch, a shorter context, or fewer and narrower layers.{advice}"
        )
    operations = sum(training.steps * step_flops(config, training.batch_size) for config, training in sides)
    if operations > limits.operations:
        allowed = int(steps * limits.operations / operations)
        raise TooLargeError(
            f"This run would take {operations / limits.operations:.1f} times the arithmetic that {here} allows in one "
            f"run. At this size that is {allowed:,} steps; take fewer steps or a smaller model.{advice}"
        )


def check_study_limits(limits: Limits, runs: Sequence[tuple[ModelConfig, TrainConfig]]) -> None:
    """Refuse a study whose runs, each allowed by itself, cost too much together.

    Raises:
        TooLargeError: they do.
    """
    operations = sum(training.steps * step_flops(config, training.batch_size) for config, training in runs)
    if operations > limits.study_operations:
        here = "this public page" if limits.public else "this app"
        advice = " On your own machine the lab has no such limit." if limits.public else ""
        raise TooLargeError(
            f"These {len(runs)} runs would take {operations / limits.study_operations:.1f} times the arithmetic that "
            f"{here} allows for one comparison. Take fewer steps or a smaller model.{advice}"
        )

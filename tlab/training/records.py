"""What a training run says of itself, step by step."""

from __future__ import annotations

from typing import NamedTuple


class Divergence(NamedTuple):
    """A run that ended because its numbers did."""

    step: int  # of the update that could not be made
    where: str  # the first array, in the order of computation, that holds NaN or infinity
    what: str

    def __str__(self) -> str:
        return f"diverged at step {self.step}: {self.what}; first seen in {self.where}"


class StepRecord(NamedTuple):
    """One update."""

    step: int  # 1 for the first update
    loss: float  # nats per token on this step's batch, before the update
    validation_loss: float | None  # nats per token on the whole validation split, after the update; mostly None
    learning_rate: float
    gradient_norm: float  # over all parameters, before clipping
    tokens: int  # read so far
    seconds: float  # spent on updates so far, without validation and whatever the caller does in between
    divergence: Divergence | None = None  # set in the last record of a run that diverged

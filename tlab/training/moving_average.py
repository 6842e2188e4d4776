"""The moving average of a training loss, as the charts and figures of runs draw it: its value, and where it stands."""

from __future__ import annotations

AVERAGE_OVER = 20  # steps that it looks back, on average
STEEP = 5  # at first it looks back a fifth of all steps, so that it follows the fall


def next_average(average: float | None, step: int, loss: float) -> float:
    """The average after this step, from the one before it; at first there is none."""
    return loss if average is None else average + share_of(step) * (loss - average)


def place_of_average(step: int) -> float:
    """The middle of the steps that the average after this one is of, where its loss is that of the curve."""
    return step + 1 - 1 / share_of(step)


def share_of(step: int) -> float:
    """How much of the average after this step is the loss of this step."""
    return max(1 / AVERAGE_OVER, min(1, STEEP / step))

"""A loss curve of any length in at most 300 points: what a chart can show and a frame can carry."""

from __future__ import annotations

import math
from typing import Any

from tlab.training.records import StepRecord

MAX_BINS = 300  # points that a chart of that many pixels can tell apart
AVERAGE_OVER = 20  # steps that the moving average looks back on, in the mean


class Curve:
    """Collects records into bins of equal width in steps; when there are too many, each two become one.

    A bin is [mean, lowest, highest, moving average at its end] of the training loss in nats a token.
    """

    def __init__(self) -> None:
        self.width = 1
        self.bins: list[list[float]] = []
        self.filled = 0  # steps in the last bin
        self.average: float | None = None
        self.validation: list[list[float]] = []

    def add(self, record: StepRecord) -> None:
        """One more step; a loss that is not finite has no place in a chart and is left out."""
        if record.validation_loss is not None:
            self.add_validation(record.step, record.validation_loss)
        loss = record.loss
        if not math.isfinite(loss):
            return
        # At first a mean of all steps that leans to the latest, later one that forgets: so it keeps up with the fall.
        share = max(1 / AVERAGE_OVER, 2 / (record.step + 1))
        self.average = loss if self.average is None else self.average + share * (loss - self.average)
        if not self.bins or self.filled == self.width:
            if len(self.bins) == MAX_BINS:
                self.halve()
            self.bins.append([0.0, loss, loss, 0.0])
            self.filled = 0
        bin = self.bins[-1]
        self.filled += 1
        bin[0] += (loss - bin[0]) / self.filled
        bin[1:] = min(bin[1], loss), max(bin[2], loss), self.average

    def add_validation(self, step: int, loss: float) -> None:
        """A point of the validation loss; the step itself may have been added long before."""
        if math.isfinite(loss):
            self.validation.append([step, shown(loss)])

    def halve(self) -> None:
        """Twice as wide bins, half as many."""
        pairs = zip(self.bins[::2], self.bins[1::2], strict=True)
        self.bins = [[(a[0] + b[0]) / 2, min(a[1], b[1]), max(a[2], b[2]), b[3]] for a, b in pairs]
        self.width *= 2

    def to_json(self) -> dict[str, Any]:
        """What the chart draws: the bins as one text, "mean,lowest,highest,average;" each, and the last by itself.

        `filled` is how many steps the last one has so far.

        Gradio sends of a frame what differs from the one before. A text that only grows costs what it grew by; and of
        a list inside a list, Gradio 6.31 removes the wrong members when it becomes shorter, as it does in `halve`.
        """
        texts = [",".join(f"{shown(value)}" for value in bin) for bin in self.bins]
        return {
            "width": self.width,
            "bins": "".join(f"{text};" for text in texts[:-1]),
            "last": texts[-1] if texts else "",
            "filled": self.filled,
            "validation": list(self.validation),
        }


def shown(value: float) -> float:
    """Four digits behind the point are more than a chart shows."""
    return round(value, 4)

"""A loss curve of any length in at most 300 points, which is what a chart can show."""

from __future__ import annotations

import math
from typing import Any

from tlab.training.moving_average import AVERAGE_OVER, STEEP, next_average, place_of_average
from tlab.training.records import StepRecord

MAX_BINS = 300  # points that can be distinguished in a chart


class Curve:
    """Collects records into bins of equal width in steps; when there are too many, pairs of bins are merged.

    A bin is [mean, lowest, highest, moving average at its end] of the training loss in nats per token.
    """

    def __init__(self) -> None:
        self.width = 1
        self.bins: list[list[float]] = []
        self.filled = 0  # steps in the last bin
        self.average: float | None = None
        self.validation: list[list[float]] = []

    def add(self, record: StepRecord) -> None:
        """Add a step; a loss that is not finite cannot be drawn and is left out."""
        if record.validation_loss is not None:
            self.add_validation(record.step, record.validation_loss)
        loss = record.loss
        if not math.isfinite(loss):
            return
        self.average = next_average(self.average, record.step, loss)
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
        """Add a validation loss; its step may have been added long before."""
        if math.isfinite(loss):
            self.validation.append([step, loss])

    def placed_bins(self) -> list[tuple[float, list[float]]]:
        """The step at which the moving average of each bin is drawn, and the bin, as they are at this moment.

        Another thread adds to them while a run trains, so whoever pairs them takes both from here.
        """
        bins = list(self.bins)
        ends = [(i + 1) * self.width for i in range(len(bins))]
        ends[-1:] = [end - self.width + self.filled for end in ends[-1:]]  # the last may be filled in part
        return [(round(place_of_average(end), 1), bin) for end, bin in zip(ends, bins, strict=True)]

    def training_at(self, step: int) -> float:
        """The moving average of the training loss over the steps around this one, as far as they were made."""
        end = step + min(AVERAGE_OVER, max(1, step // STEEP)) - 1  # its loss is that of the middle of what it averages
        return self.bins[min(math.ceil(end / self.width), len(self.bins)) - 1][3]

    def halve(self) -> None:
        pairs = zip(self.bins[::2], self.bins[1::2], strict=True)
        self.bins = [[(a[0] + b[0]) / 2, min(a[1], b[1]), max(a[2], b[2]), b[3]] for a, b in pairs]
        self.width *= 2

    def to_json(self) -> dict[str, Any]:
        """What the chart draws: the bins as one text, and the last one by itself.

        A bin is "mean,lowest,highest,average,its place;" and `filled` is how many steps the last one has so far.

        Gradio sends only what differs from the frame before, so a text that grows costs what it grew by. Nested lists
        would not do: Gradio 6.31 removes the wrong members when one becomes shorter, as it does in `halve`.
        """
        texts = [",".join(map(str, [*map(shown, bin), place])) for place, bin in self.placed_bins()]
        return {
            "width": self.width,
            "bins": "".join(f"{text};" for text in texts[:-1]),
            "last": texts[-1] if texts else "",
            "filled": self.filled,
            "validation": list(self.validation),
        }


def shown(value: float) -> float:
    """A loss to four decimal places, more than a chart shows."""
    return round(value, 4)

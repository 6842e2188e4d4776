"""How wide the valley of good learning rates is: how many times apart rates are whose loss is close to the best.

Each seed has a width of its own: from the rate below the best one at which its loss is `NEAR_BEST` above its loss at
the best, to the rate above it. Between two rates that were tried a loss that falls ever less and rises ever more is
below the line through both, and above the line through the two before them. So each end has bounds, whatever the shape,
and the interval reaches from Student's lower end of the least widths to his upper end of the largest.

Where a seed is still close to its best at the last rate on one side, its width has no upper bound; where runs were lost
at the next rate, it ends before that one. `python -m benchmarks.valleys` measures how often the interval holds the
width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlab.judging.few_seeds import estimate
from tlab.types import Array

NEAR_BEST = 0.1  # nats per token above the loss at the best rate: what is close to it

TELLING_WIDTH = 1.05  # times: that a valley is at least narrower than this says nothing


class ValleyWidth(NamedTuple):
    """How many times the lowest good learning rate the highest one is."""

    factor: float  # in the middle of the bounds; nan where the valley may reach beyond the rates that were tried
    low: float  # of the 95 % interval
    high: float  # likewise; infinite where the valley may reach beyond the rates that were tried

    def __str__(self) -> str:
        """In a table: "8.2 (6.1 to 11)", or what it is at least."""
        if math.isinf(self.high):
            return f"at least {self.low:.2g}"
        return f"{self.factor:.2g} ({self.low:.2g} to {self.high:.2g})"

    def words(self, name: str) -> str:
        """Of the model called `name`, in a sentence."""
        lead = f"The highest learning rate within {NEAR_BEST:g} nats per token of the best of {name} is"
        if math.isinf(self.high) and self.low < TELLING_WIDTH:
            return f"How wide the valley of {name} is, these rates cannot tell."
        if math.isinf(self.high):
            return f"{lead} at least {self.low:.2g} times the lowest, as far as these rates reach."
        return f"{lead} {self.factor:.2g} times the lowest (95 % interval {self.low:.2g} to {self.high:.2g})."


def width_of(
    places: Array, values: Array, at_best: tuple[Array, Array], best: int, below: float, above: float
) -> ValleyWidth:
    """The width of a valley.

    Args:
        places: logarithms of the rates that have a place on the curve, ascending, (rates,).
        values: the losses, (seeds, rates), of two seeds or more.
        at_best: the loss of each seed at the best rate, on its curve and at the best rate tried, (seeds,) each.
        best: the index of the rate with the lowest mean.
        below: the place of the next rate below these, where more runs were lost; minus infinity where there is none.
        above: likewise, above them.
    """
    ends = np.array(
        [
            np.add(
                end_above(places[best:], losses[best:], levels, above),
                end_above(-places[best::-1], losses[best::-1], levels, -below),
            )
            for losses, *levels in zip(values, *(one + NEAR_BEST for one in at_best), strict=True)
        ]
    )  # (seeds, 3)
    least, middle, most = ends.T
    low = math.exp(max(0.0, estimate(least).low))
    if not np.isfinite(most).all():
        return ValleyWidth(math.nan, low, math.inf)
    return ValleyWidth(math.exp(float(middle.mean())), low, math.exp(estimate(most).high))


def end_above(places: Array, losses: Array, levels: Sequence[float], beyond: float) -> tuple[float, float, float]:
    """Where a seed's loss rises above a level: the least that this place may be, a good guess, and the most.

    Args:
        places: from that of the best rate on, ascending.
        losses: at these places.
        levels: the loss that is looked for, by two readings.
        beyond: the next place, of a rate at which more runs were lost; infinite where there is none.
    """
    low, high = sorted(levels)
    least, guess, _ = crossing_bounds(places, losses, low, beyond)
    return (least, guess, crossing_bounds(places, losses, high, beyond)[2])


def crossing_bounds(places: Array, losses: Array, level: float, beyond: float) -> tuple[float, float, float]:
    """The same of one level."""
    higher = np.flatnonzero(losses > level)
    if not len(higher):
        last = float(places[-1])
        return last, (last + beyond) / 2, beyond
    at = int(higher[0])
    if at == 0:
        first = float(places[0])
        return first, first, first
    place = float(places[at - 1])
    gap, missing = places[at] - place, level - losses[at - 1]
    rise = (losses[at] - losses[at - 1]) / gap
    least = missing / rise
    if at == 1:
        return place + least, place + gap * math.sqrt(least / gap), place + gap
    gap_before = place - places[at - 2]
    rise_before = (losses[at - 1] - losses[at - 2]) / gap_before
    most = min(gap, max(least, missing / rise_before)) if rise_before > 0 else gap
    bend = max(0.0, (rise - rise_before) / (gap + gap_before))  # of the parabola through the three
    slope = rise - bend * gap  # of it, at the second of them
    guess = 2 * missing / (slope + math.sqrt(slope**2 + 4 * bend * missing))
    return place + least, place + min(max(guess, least), most), place + most

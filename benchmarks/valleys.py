"""`python -m benchmarks.valleys`: how often is right what is said of learning rates?

Valleys with a known optimum are made up: parabolas, lopsided ones, two with a cliff, and the one of a sweep over ten
rates with six seeds (width 32, context 32, RoPE, 400 steps), whose noise they all have. Counted is how often the
interval of the optimum holds it, and that of the valley's width the width; how often an optimum beyond the rates that
were tried is called so; how often one of two models that are equally good is called better; and how often one that is
worse is found.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tyro
from scipy.interpolate import CubicSpline

from benchmarks.null_sweeps import highest_by_chance
from benchmarks.units import verdict
from tlab.judging.learning_rates import fit_valley
from tlab.judging.two_models import compare, comparison_words
from tlab.judging.valley_width import NEAR_BEST
from tlab.types import Array

SIMULATIONS = 2_000
COMPARISONS = 400
SEEDS = (3, 5)
NUM_RATES = 5
GRIDS = ((2.0, 5), (2.5, 5), (3.0, 5), (2.5, 7))  # the factor from one rate to the next, and how many there are
CENTRE = 3e-3
SEED_SPREAD = 0.016  # nats: standard deviation of what a seed does to all rates
RUN_SPREAD = 0.02  # and of what is left of a run
GROWTH = 0.3  # further spread for each nat that a rate above the optimum is worse: near divergence runs vary more
MIN_COVERED, MAX_COVERED, MIN_CALLED = 0.93, 0.97, 0.95
NAMES = ("A", "B")
WORSE = 0.1  # nats per token

MEASURED = {
    0.000333: 3.164, 0.000577: 2.971, 0.001: 2.710, 0.00173: 2.525, 0.003: 2.268, 0.0052: 2.107, 0.009: 1.956,
    0.0156: 1.887, 0.027: 1.968, 0.0468: 2.126,
}  # fmt: skip
"""Rate -> mean loss of six seeds, without norms. With LayerNorm it is much the same."""


class Shape(NamedTuple):
    """A valley: the loss that is added at a distance in log rate from the optimum."""

    above: Callable[[Array], Array]
    is_parabola: bool = True


def steeper_and_steeper(x: Array) -> Array:
    """A slow fall, and a rise that soon breaks every run; with its lowest point, 0 nats, at 0."""
    broken = np.minimum(np.exp(4 * (x - 1.2)), 20.0)
    return 0.06 * x**2 + broken - math.exp(-4.8) * (1 + 4 * np.minimum(x, 2.0))


def measured_shape() -> Shape:
    """The measured valley, moved so that its lowest point is at 0; its ends go on as they were."""
    rates = np.log(list(MEASURED))
    losses = list(MEASURED.values())
    spline = CubicSpline(rates, losses, bc_type="natural")
    fine = np.linspace(rates[0], rates[-1], 10_001)
    lowest = float(fine[spline(fine).argmin()])
    ends = [(rates[0], spline(rates[0], 1)), (rates[-1], spline(rates[-1], 1))]

    def above(distance: Array) -> Array:
        at = distance + lowest
        inside = np.clip(at, rates[0], rates[-1])
        beyond = np.where(at < rates[0], (at - rates[0]) * ends[0][1], (at - inside) * ends[1][1])
        return spline(inside) + beyond - spline(lowest)

    return Shape(above, is_parabola=False)


SHAPES = {
    "parabola, flat": Shape(lambda x: 0.05 * x**2),
    "parabola": Shape(lambda x: 0.1 * x**2),
    "parabola, steep": Shape(lambda x: 0.3 * x**2),
    "lopsided": Shape(lambda x: 0.25 * (np.exp(0.9 * x) - 1 - 0.9 * x), is_parabola=False),
    "lopsided, more": Shape(lambda x: 0.1 * (np.exp(1.5 * x) - 1 - 1.5 * x), is_parabola=False),
    "cliff, rounded": Shape(steeper_and_steeper, is_parabola=False),
    "cliff, sharp": Shape(lambda x: 0.1 * x**2 + (x > 0.9), is_parabola=False),
    "measured": measured_shape(),
}


class Look(NamedTuple):
    """A valley, and how it is looked at."""

    shape: str
    factor: float  # from one rate to the next
    num_seeds: int
    num_rates: int = NUM_RATES

    @property
    def rates(self) -> Array:
        """Those that are tried, around `CENTRE`."""
        return CENTRE * self.factor ** np.arange(-(self.num_rates // 2), self.num_rates // 2 + 1)

    def optimum(self, rng: np.random.Generator) -> float:
        """One that is within a step of the centre."""
        return CENTRE * self.factor ** rng.uniform(-1, 1)

    @property
    def width(self) -> float:
        """How many times apart the rates are between which the loss is at most `NEAR_BEST` above the lowest."""
        distances = np.linspace(-10, 10, 100_001)
        near = distances[SHAPES[self.shape].above(distances) <= NEAR_BEST]
        return math.exp(near[-1] - near[0])

    def runs(self, optimum: float, rng: np.random.Generator) -> dict[float, dict[int, float]]:
        """The losses of one model whose valley has its lowest point, 2 nats, at `optimum`."""
        shape = SHAPES[self.shape]
        distances = np.log(self.rates) - math.log(optimum)
        above = shape.above(distances)
        spread = RUN_SPREAD + (0.0 if shape.is_parabola else GROWTH) * above * (distances > 0)
        of_seeds = SEED_SPREAD * rng.standard_normal((self.num_seeds, 1))
        losses = 2 + above + (of_seeds + spread * rng.standard_normal((self.num_seeds, self.num_rates)))
        by_rate = zip(self.rates.tolist(), losses.T.tolist(), strict=True)
        return {rate: dict(enumerate(of_rate)) for rate, of_rate in by_rate}

    def __str__(self) -> str:
        """In a column."""
        return f"{self.shape:<16} {self.num_rates} rates x{self.factor:<3g} {self.num_seeds} seeds"


def covered_share(look: Look, simulations: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """How often the interval holds the optimum, which is within a step of the centre, and how often it is bounded.

    The last of the three is the median of the bounded ones' widths: how many times the lower end the upper one is.
    """
    held = 0
    widths = []
    for _ in range(simulations):
        optimum = look.optimum(rng)
        valley = fit_valley(look.runs(optimum, rng))
        held += valley.low <= optimum <= valley.high
        if valley.is_inside:
            widths.append(valley.high / valley.low)
    return held / simulations, len(widths) / simulations, statistics.median(widths) if widths else math.nan


def width_share(look: Look, simulations: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """How often the interval of the width holds it, how often that is bounded, and the median of bounded ones' widths.

    All of the valleys whose optimum was found within the rates, of which alone there is a width.
    """
    found = [fit_valley(look.runs(look.optimum(rng), rng)).width for _ in range(simulations)]
    widths = [width for width in found if width is not None]
    bounded = [width.high / width.low for width in widths if math.isfinite(width.high)]
    held = sum(width.low <= look.width <= width.high for width in widths)
    count = max(1, len(widths))
    return held / count, len(bounded) / count, statistics.median(bounded) if bounded else math.nan


def called_share(look: Look, simulations: int, rng: np.random.Generator) -> float:
    """How often an optimum up to two steps beyond the rates is said to be, or perhaps to be, on that side of them."""
    called = 0
    for _ in range(simulations):
        side = rng.choice([-1, 1])
        optimum = CENTRE * look.factor ** (side * (look.num_rates // 2 + rng.uniform(0, 2)))
        valley = fit_valley(look.runs(optimum, rng))
        called += valley.may_be_above if side > 0 else valley.may_be_below
    return called / simulations


def false_winner_shares(look: Look, shift: float, comparisons: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often one of two models that are equally good at their best is called better: at the centre, at their best.

    `shift` is how many times the best rate of B is that of A. At one rate the two are equal only where it is 1.
    """
    said = np.zeros(2)
    for _ in range(comparisons):
        optimum = look.optimum(rng)
        found = compare(look.runs(optimum, rng), look.runs(shift * optimum, rng), rate=CENTRE)
        said += [" is better than " in words for words in comparison_words(found, NAMES)[:2]]
    at_rate, at_best = (said / comparisons).tolist()
    return at_rate, at_best


def found_share(look: Look, shift: float, comparisons: int, rng: np.random.Generator) -> float:
    """How often B, which is worse by `WORSE` at its best and has it at `shift` times the rate of A, is called so."""
    found = 0
    for _ in range(comparisons):
        optimum = look.optimum(rng)
        b = look.runs(shift * optimum, rng)
        b = {rate: {seed: loss + WORSE for seed, loss in of_rate.items()} for rate, of_rate in b.items()}
        found += "A is better than B" in comparison_words(compare(look.runs(optimum, rng), b, rate=CENTRE), NAMES)[1]
    return found / comparisons


def main(simulations: int = SIMULATIONS, comparisons: int = COMPARISONS, seed: int = 0) -> None:
    """Make valleys up, judge them, and say how often that was right.

    Args:
        simulations: of each shape, distance of rates and number of seeds.
        comparisons: of two models, likewise.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    looks = [
        Look(shape, factor, num_seeds, num_rates)
        for shape, (factor, num_rates), num_seeds in itertools.product(SHAPES, GRIDS, SEEDS)
    ]
    print(
        f"{simulations:,} valleys each: the interval holds the optimum (93 to 97 %), how often it is bounded, its width"
    )
    for look in looks:
        held, bounded, width = covered_share(look, simulations, rng)
        judged = verdict(held, least=MIN_COVERED)
        if SHAPES[look.shape].is_parabola:
            judged = verdict(held, least=MIN_COVERED, most=MAX_COVERED)
        print(f"  {look} {held:7.1%} {bounded:7.1%}   x{width:.2f}   {judged}", flush=True)
    print(f"\n{simulations:,} valleys each: an optimum beyond the rates is called so (95 %)")
    for look in looks:
        called = called_share(look, simulations, rng)
        print(f"  {look} {called:7.1%}   {verdict(called, least=MIN_CALLED)}", flush=True)
    for shift, words in ((1.0, "two models that are the same"), (2.0, "B as good at twice the rate")):
        print(f"\n{comparisons:,} pairs each, {words}: one is called better at one rate, at their best (at most 5 %)")
        for look in looks:
            at_rate, at_best = false_winner_shares(look, shift, comparisons, rng)
            worst = max(at_rate, at_best) if shift == 1 else at_best
            judged = verdict(worst, most=highest_by_chance(comparisons))
            shown = f"{at_rate:7.1%}" if shift == 1 else "      -"
            print(f"  {look} {shown} {at_best:7.1%}   {judged}", flush=True)
    print(
        f"\n{comparisons:,} pairs each, B worse by {WORSE:g} nats, with its best at twice the rate: found at its best"
    )
    for look in looks:
        print(f"  {look} {found_share(look, 2.0, comparisons, rng):7.1%}", flush=True)
    print(f"\n{simulations:,} valleys each: the interval of the width holds it (93 % or more), is bounded, its width")
    for look in looks:
        held, bounded, width = width_share(look, simulations, rng)
        print(f"  {look} {held:7.1%} {bounded:7.1%}   x{width:.2f}   {verdict(held, least=MIN_COVERED)}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)

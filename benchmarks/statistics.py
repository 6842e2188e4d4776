"""`python -m benchmarks.statistics`: do the sweeps' statistics keep their promises? Simulated sweeps of known truth.

Of every kind of noise, number of seeds and method: how many of 2,000 intervals hold the true difference, how often
Holm's tests claim anything where nothing is, and how often TOST claims equality for two that are not equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import tyro

from benchmarks.units import verdict
from sweeps.results.effects import comparisons, main_effects
from sweeps.results.table import Table
from tlab.judging.few_seeds import ALPHA, MARGIN, Estimate, difference_p, equality_p, estimate, holm
from tlab.types import Array

SIMULATIONS = 2000
SEEDS = (3, 5, 10)
SPREAD = 0.013
"""Nats per token: the standard deviation over seeds at 62k weights and 1,000 steps, as it was measured."""
TRUE_DIFFERENCE = 0.02
LEVELS, BLOCKS = (3, 4, 3), ("first", "second", "third")
MIN_COVERAGE, MAX_COVERAGE, MAX_ERROR = 0.93, 0.97, 0.05

Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(5, shape) / np.sqrt(5 / 3),
    "skewed": lambda rng, shape: rng.gamma(4.0, 0.5, shape) - 2.0,
}
"""Each of mean 0 and standard deviation 1."""


# ------------------------------------------------------------------------------------------------ intervals


def percentile_interval(values: Array, rng: np.random.Generator) -> Estimate:
    """The textbook bootstrap of a mean: what the sweeps do not use, and why."""
    drawn = values[rng.integers(len(values), size=(1000, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def studentized_interval(values: Array, rng: np.random.Generator) -> Estimate:
    """The bootstrap of t: better with ten, wild with three, where resamples without any spread are common."""
    n, error = len(values), values.std(ddof=1) / np.sqrt(len(values))
    resamples = values[rng.integers(n, size=(1000, n))]
    spreads = resamples.std(axis=1, ddof=1)
    t = ((resamples.mean(axis=1) - values.mean()) * np.sqrt(n) / np.where(spreads > 0, spreads, np.nan))[spreads > 0]
    low, high = np.quantile(t, [0.025, 0.975])
    return Estimate(float(values.mean()), float(values.mean() - high * error), float(values.mean() - low * error), n)


METHODS: dict[str, Callable[[Array, np.random.Generator], Estimate]] = {
    "Student's t": lambda values, rng: estimate(values),
    "percentile bootstrap": percentile_interval,
    "studentized bootstrap": studentized_interval,
}


def coverage(method: str, noise: str, num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """Share of simulated paired differences whose interval holds the true one."""
    differences = TRUE_DIFFERENCE + SPREAD * NOISES[noise](rng, (simulations, num_seeds))
    found = [METHODS[method](values, rng) for values in differences]
    return float(np.mean([one.low <= TRUE_DIFFERENCE <= one.high for one in found]))


# ------------------------------------------------------------------------------------------------ whole sweeps


def simulated_table(num_seeds: int, rng: np.random.Generator, effects: tuple[Array, ...] | None = None) -> Table:
    """A sweep's table of 3 x 4 x 3 levels: effects, what each seed shares, and noise of every level and every cell."""
    shape = (num_seeds, *LEVELS)
    values = 2.0 + 0.05 * rng.standard_normal((num_seeds, 1, 1, 1)) + SPREAD * rng.standard_normal(shape)
    for place, count in enumerate(LEVELS):
        along = [num_seeds, 1, 1, 1]
        along[place + 1] = count
        values = values + SPREAD / 2 * rng.standard_normal(along)  # a seed may suit a level: it does not average out
        if effects is not None:
            values = values + effects[place].reshape([-1 if i == place + 1 else 1 for i in range(4)])
    rows = [
        {
            "cell_id": str(at),
            "alias_of": None,
            "status": "ok",
            **dict(zip(BLOCKS, map(int, at[1:]), strict=True)),
            "seed": int(at[0]),
            "val_loss": float(values[at]),
        }
        for at in np.ndindex(*shape)
    ]
    return Table(BLOCKS, rows)


def effect_coverage(num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """Share of the main effects and comparisons of whole sweeps whose interval holds the true one."""
    effects = tuple(0.05 * rng.standard_normal(count) for count in LEVELS)
    centred = {name: values - values.mean() for name, values in zip(BLOCKS, effects, strict=True)}
    held = []
    for _ in range(simulations):
        table = simulated_table(num_seeds, rng, effects)
        for name in BLOCKS:
            for effect in main_effects(table, name):
                held.append(effect.estimate.low <= centred[name][effect.level] <= effect.estimate.high)
        for one in comparisons(table):
            truth = centred[one.axes[0]][one.first[0]] - centred[one.axes[0]][one.first[1]]
            held.append(one.estimate.low <= truth <= one.estimate.high)
    return float(np.mean(held))


def family_error(num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """Share of sweeps without any difference in which Holm's tests claim one all the same."""
    tables = (simulated_table(num_seeds, rng) for _ in range(simulations))
    return float(np.mean([any(one.p_holm <= ALPHA for one in comparisons(table)) for table in tables]))


def uncorrected_error(num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """The same without Holm: what looking at each test by itself would claim."""
    tables = (simulated_table(num_seeds, rng) for _ in range(simulations))
    return float(np.mean([any(one.p <= ALPHA for one in comparisons(table)) for table in tables]))


def partial_family_error(num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """Share of families of 12 tests, six of them of real differences, in which one of the others is claimed."""
    truth = np.repeat([2 * TRUE_DIFFERENCE, 0.0], 6)
    wrong = []
    for _ in range(simulations):
        values = truth + SPREAD * rng.standard_normal((num_seeds, len(truth)))
        adjusted = holm([difference_p(column) for column in values.T])
        wrong.append(any(p <= ALPHA for p, true in zip(adjusted, truth, strict=True) if true == 0))
    return float(np.mean(wrong))


def equality_error(noise: str, num_seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """Share of pairs which differ by just the margin, and are called equal within it; the worst case."""
    # A small spread: with a large one TOST never claims anything, and its error says nothing.
    differences = MARGIN + SPREAD / 4 * NOISES[noise](rng, (simulations, num_seeds))
    return float(np.mean([equality_p(values) <= ALPHA for values in differences]))


# ------------------------------------------------------------------------------------------------ the command


def main(simulations: int = SIMULATIONS, seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0) -> None:
    """Simulate, print each figure, and say whether it is what the reports promise.

    Args:
        simulations: of each kind. With 2,000, a share of 95 % is known to about +/- 1 %.
        seed: of all noise.
    """
    rng = np.random.default_rng(seed)
    print(f"{simulations} simulations each, seeds of a sweep: {', '.join(map(str, SEEDS))}\n")
    print("95 % intervals of a paired difference hold the true one in (93 to 97 % wanted, of normal noise)")
    for noise in NOISES:
        for method in METHODS:
            shares = [coverage(method, noise, n, simulations, rng) for n in SEEDS]
            words = "  ".join(f"{100 * share:5.1f} %" for share in shares)
            promised = method == "Student's t" and noise == "normal"
            reported = (
                ", ".join(dict.fromkeys(verdict(share, least=MIN_COVERAGE, most=MAX_COVERAGE) for share in shares))
                if promised
                else ""
            )
            print(f"  {noise:<12} {method:<22} {words}   {reported}".rstrip(), flush=True)
    few = max(1, simulations // 20)  # each has 12 comparisons and 10 effects
    shares = [effect_coverage(n, few, rng) for n in SEEDS]
    words = "  ".join(f"{100 * share:5.1f} %" for share in shares)
    reported = ", ".join(dict.fromkeys(verdict(share, least=MIN_COVERAGE, most=MAX_COVERAGE) for share in shares))
    print(f"\nintervals of effects and comparisons of {few} whole sweeps hold the true ones in")
    print(f"  {words}   {reported}", flush=True)
    print("\nsomething false is claimed (at most 5 % wanted; the last digit may be chance)")
    rows = {
        "in sweeps without any difference, without Holm": uncorrected_error,
        "in sweeps without any difference, with Holm": family_error,
        "in families where half of the differences are real, with Holm": partial_family_error,
    }
    for name, error_of in rows.items():
        show_errors(name, [error_of(n, simulations, rng) for n in SEEDS], simulations, "without Holm" not in name)
    for noise in NOISES:
        shares = [equality_error(noise, n, simulations, rng) for n in SEEDS]
        show_errors(f"equality of two a margin apart, {noise} noise (TOST)", shares, simulations, noise == "normal")


def show_errors(name: str, shares: list[float], simulations: int, promised: bool) -> None:
    """A line: the share of false claims at each number of seeds."""
    chance = 2 * np.sqrt(MAX_ERROR * (1 - MAX_ERROR) / simulations)  # two standard errors of a share of 5 %
    words = "  ".join(f"{100 * share:5.2f} %" for share in shares)
    reported = ", ".join(dict.fromkeys(verdict(share, most=MAX_ERROR + chance) for share in shares)) if promised else ""
    print(f"  {name:<66} {words}   {reported}".rstrip(), flush=True)


if __name__ == "__main__":
    tyro.cli(main)

"""How the time of a training step grows with context, width, depth and vocabulary, beside what theory says.

Every model is ours, on one thread, in one process, and all have their turn one after another. Theory is the operations
of a step's matrix products (`tlab.cost`): its line goes through the usual model, which every quantity has among its
values, and rises as the operations do.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from benchmarks.cases import Size
from benchmarks.jobs import make_trainer, random_corpus
from benchmarks.units import duration
from tlab.cost import step_flops
from tlab.nn.config import ModelConfig

USUAL = Size(
    ModelConfig(
        vocab_size=512, context_length=128, hidden_dim=128, num_layers=4, num_heads=4, mlp_ratio=4, position="learned",
        bias=False,
    ),
    batch_size=4,
)  # fmt: skip
VALUES = {
    "context_length": (64, 128, 256, 512, 1024),
    "hidden_dim": (64, 128, 256, 512),
    "num_layers": (2, 4, 8, 16),
    "vocab_size": (512, 2048, 8192, 32768),
}
NAMES = {"context_length": "context T", "hidden_dim": "width C", "num_layers": "depth L", "vocab_size": "vocabulary V"}
OPERATIONS = 1e10  # of a model in a turn, at least: about a tenth of a second


class Growth(NamedTuple):
    """How one quantity was varied, and what came of it."""

    quantity: str  # a field of the model
    usual: int  # its value in the usual model
    values: list[int]
    operations: list[int]  # of a step at each value
    seconds: list[list[float]]  # of a step at each value, one entry a turn

    @property
    def medians(self) -> list[float]:
        """Seconds of a step at each value."""
        return [statistics.median(turns) for turns in self.seconds]

    @property
    def line(self) -> list[float]:
        """Seconds at each value if time grew as the operations do, from the usual model's on."""
        place = self.values.index(self.usual)
        return [self.medians[place] * operations / self.operations[place] for operations in self.operations]

    @property
    def theory(self) -> float:
        """The exponent of the operations over these values."""
        return exponent(self.values, self.operations)

    @property
    def measured(self) -> float:
        """The exponent of the median times."""
        return exponent(self.values, self.medians)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the largest exponent of any one turn."""
        each = [exponent(self.values, turn) for turn in zip(*self.seconds, strict=True)]
        return min(each), max(each)


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """k of the power law cost = a value^k that fits best: the slope of a straight line on log axes."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def section(turns: int, usual: Size = USUAL, values: Mapping[str, Sequence[int]] = VALUES) -> list[dict[str, Any]]:
    """Every quantity, varied while the others stay as the usual model has them."""
    sizes = {
        (quantity, value): usual._replace(config=dataclasses.replace(usual.config, **{quantity: value}))
        for quantity, of_quantity in values.items()
        for value in of_quantity
    }
    seconds = measure(list(dict.fromkeys(sizes.values())), turns)
    found = []
    for quantity, of_quantity in values.items():
        own = [sizes[quantity, value] for value in of_quantity]
        growth = Growth(
            quantity,
            getattr(usual.config, quantity),
            list(of_quantity),
            [step_flops(*size) for size in own],
            [seconds[size] for size in own],
        )
        print(line(growth), flush=True)
        found.append(growth._asdict())
    return found


def measure(sizes: list[Size], turns: int) -> dict[Size, list[float]]:
    """Seconds of a step of each model, an entry a turn, after a turn that is not counted."""
    corpora = {V: random_corpus(V) for V in {size.config.vocab_size for size in sizes}}
    trainers = {size: make_trainer(*size, corpora[size.config.vocab_size]) for size in sizes}
    seconds: dict[Size, list[float]] = {size: [] for size in sizes}
    with threadpoolctl.threadpool_limits(1, "blas"):
        for _ in range(1 + turns):
            for size, trainer in trainers.items():
                steps = max(1, round(OPERATIONS / step_flops(*size)))
                began = time.perf_counter()
                for _ in range(steps):
                    trainer.train_step()
                seconds[size].append((time.perf_counter() - began) / steps)
    return {size: of_size[1:] for size, of_size in seconds.items()}


def line(growth: Growth) -> str:
    """One quantity: the times at its values, and the exponents."""
    times = ", ".join(f"{v:,}: {duration(t)}" for v, t in zip(growth.values, growth.medians, strict=True))
    least, most = growth.spread
    words = f"exponent {growth.measured:.2f} ({least:.2f} to {most:.2f}), of the operations {growth.theory:.2f}"
    return f"  {NAMES[growth.quantity]:<16}{times}\n  {'':<16}{words}"

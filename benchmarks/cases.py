"""What is measured: one table of cases, each with its sides.

To add a peer, write a job (see `benchmarks.worker`) and name it as one more `Side` of a case.
"""

from __future__ import annotations

from typing import NamedTuple

from tlab.config import ModelConfig

NANO = ModelConfig(
    vocab_size=65, context_length=64, hidden_dim=128, num_layers=4, num_heads=4,
    mlp_ratio=4, position="learned", bias=False, embedding_scale=1,
)  # fmt: skip
DEFAULT = ModelConfig(vocab_size=65)
LONG = ModelConfig(vocab_size=65, context_length=256)


class Size(NamedTuple):
    """A model and how many sequences it reads at once."""

    config: ModelConfig
    batch_size: int


SIZES = {"nano": Size(NANO, 12), "default": Size(DEFAULT, 16), "long": Size(LONG, 1)}


class Side(NamedTuple):
    """One program of a comparison, in a process of its own."""

    label: str
    job: str  # "module:function", which makes a callable that does n units of work
    arguments: tuple[str, ...] = ()
    target: float | None = None  # our time over this side's time must not be more
    modules: tuple[str, ...] = ()  # what must be installed


class Case(NamedTuple):
    """Sides that do the same work; the first one is ours, and every other one is compared with it."""

    name: str  # what it is selected by
    title: str
    unit: str  # of the work
    units: int  # of work in one turn: enough for a turn of about half a second
    sides: tuple[Side, ...]
    most_seconds: float | None = None  # a unit of our work must not take longer


def step_case(size: str, title: str, units: int, target: float) -> Case:
    """A training step: batch, forward, backward, clipping, AdamW."""
    torch_job = "benchmarks.torch_peer:training"
    return Case(
        "step",
        title,
        "training step",
        units,
        (
            Side("tlab", "benchmarks.jobs:training", (size,)),
            Side("PyTorch eager", torch_job, (size, "usual"), target, ("torch",)),
            # Ours keeps freed memory (tlab.memory), so PyTorch may as well.
            Side("PyTorch eager, keeping freed memory", torch_job, (size, "keep"), target, ("torch",)),
        ),
    )


CASES = (
    step_case("nano", "4 layers, 4 heads, 128 wide, batch 12 x 64", 10, target=0.85),
    step_case("default", "the default model, batch 16 x 64", 40, target=0.9),
    Case(
        "decode",
        "the last 64 tokens of a context of 256, default width and depth, a prompt of 192 read first",
        "token",
        8 * 64,  # eight texts a turn: a turn of milliseconds would measure how a core wakes up
        (
            Side("cached", "benchmarks.jobs:generation", ("long", "cached", "192", "64")),
            Side("uncached", "benchmarks.jobs:generation", ("long", "uncached", "192", "64"), target=0.2),
        ),
    ),
    Case(
        "decode",
        "all of a context of 256 from its first token on: the gain grows with the length, this is its mean",
        "token",
        4 * 255,
        (
            Side("cached", "benchmarks.jobs:generation", ("long", "cached", "1", "255")),
            Side("uncached", "benchmarks.jobs:generation", ("long", "uncached", "1", "255")),
        ),
    ),
    Case(
        "decode",
        "the default model, the window sliding on",
        "token",
        2000,
        (Side("cached", "benchmarks.jobs:generation", ("default", "cached", "1", "2000")),),
        most_seconds=0.2e-3,
    ),
    Case(
        "import",
        "the import statement alone, each in a fresh process",
        "import",
        1,
        (
            Side("import tlab", "benchmarks.jobs:importing", ("tlab", "statement")),
            Side("import numpy", "benchmarks.jobs:importing", ("numpy", "statement"), target=1.5),
        ),
    ),
    Case(
        "import",
        "the whole process, from its start to its end",
        "process",
        1,
        (
            Side("import tlab", "benchmarks.jobs:importing", ("tlab", "process")),
            Side("import numpy", "benchmarks.jobs:importing", ("numpy", "process"), target=1.5),
        ),
    ),
)

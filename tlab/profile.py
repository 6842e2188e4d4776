"""Where a training step's time goes: part by part, forward and backward, against what the processor can do.

No kernel knows of it. For the time of a profile the methods of a live model's components are covered by ones that look
at the clock, and uncovered afterwards: an attribute of an object hides the method of its class.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tlab.cost import PartFlops, flops_by_part
from tlab.machine import one_blas_thread
from tlab.nn.config import ModelConfig
from tlab.nn.model import Block, walk
from tlab.text import Corpus
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.trainer import Trainer

Path = tuple[str, ...]  # where a part is called from: ("step", "backward", "blocks", "attention", "qkv")

STEP, FORWARD, BACKWARD = "step", "forward", "backward"
# Time of the processor that this thread had, in which other programs do not count; where it is too coarse, of the wall.
CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter
MORE_THAN_ANY_PROFILE = 1_000_000  # steps
WARM_UP = 3  # steps, until the caches and the allocator have settled
GEMM_SIDE = 640  # of the square matrices whose product measures the processor's rate: large enough to reach it, 5 MB


class PartProfile(NamedTuple):
    """One part at one place of the step, in all blocks together. Times are medians over the steps, of one step."""

    path: Path
    calls: int
    seconds: float  # with the parts inside it
    own_seconds: float  # without them
    flops: int  # of its own matrix products, a multiply and an add are two
    bytes: int  # of the arrays that go in and come out, its weights included: the least that has to be moved

    @property
    def rate(self) -> float:
        """Floating-point operations a second of the part itself."""
        return self.flops / self.own_seconds if self.own_seconds > 0 else 0.0


class Profile(NamedTuple):
    """A profiled step. Seconds are medians over the steps, taken in turn: plain, profiled, products."""

    rows: list[PartProfile]  # each part before those inside it
    steps: int
    plain_seconds: float  # of a step without timers
    profiled_seconds: float
    gemm_rate: float  # float32 operations a second of a large product of matrices, in the same minute

    @property
    def own_cost(self) -> float:
        """What looking adds to a step: 0.05 for a twentieth."""
        return self.profiled_seconds / self.plain_seconds - 1

    @property
    def share_of_peak(self) -> float:
        """The step's matrix products at the processor's rate, over the time that a plain step takes."""
        return sum(row.flops for row in self.rows) / self.plain_seconds / self.gemm_rate

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        rows = [{**row._asdict(), "share_of_peak": row.rate / self.gemm_rate} for row in self.rows]
        return {**self._asdict(), "own_cost": self.own_cost, "share_of_peak": self.share_of_peak, "rows": rows}


def profile(config: ModelConfig, train_config: TrainConfig, corpus: Corpus, *, steps: int = 20) -> Profile:
    """Train a new model for a few steps, on one thread, and measure where the time of a step goes.

    Every step is made plain, and another one like it watched, so that the cost of watching is known. The rate of the
    processor is taken between them, as other programs may slow it down at any time.

    Raises:
        ValueError: less than one step.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: must be at least 1")
    return profile_of(warm_trainer(config, train_config, corpus), steps)


def profile_of(trainer: Trainer, steps: int) -> Profile:
    """The profile of a trainer of `warm_trainer`, of one step or more."""
    plain, gemm, watches = [], [], []
    with one_blas_thread():
        for _ in range(steps):
            plain.append(seconds_of(trainer.train_step))
            watches.append(Watch())
            with watched(trainer, watches[-1]):
                trainer.train_step()
            gemm.append(gemm_seconds())
        weigh = Watch(weighs=True)
        with watched(trainer, weigh):
            trainer.train_step()
    rows = summarize(watches, weigh, flops_by_part(trainer.config, trainer.train_config.batch_size))
    return Profile(
        rows,
        steps,
        statistics.median(plain),
        statistics.median(watch.seconds[(STEP,)] for watch in watches),
        2 * GEMM_SIDE**3 / statistics.median(gemm),
    )


def warm_trainer(config: ModelConfig, train_config: TrainConfig, corpus: Corpus) -> Trainer:
    """A trainer on one thread that has its first steps behind it, which take longer, and does not come to its end."""
    endless = dataclasses.replace(train_config, steps=MORE_THAN_ANY_PROFILE, validation_every=0)
    trainer = Trainer(config, endless, corpus, compute=ComputeConfig(threads=1))
    for _ in range(WARM_UP):
        trainer.train_step()
    return trainer


def seconds_of_step(trainer: Trainer) -> float:
    """The time of one training step of a trainer of `warm_trainer`: the best of three."""
    with one_blas_thread():
        return min(seconds_of(trainer.train_step) for _ in range(3))


def gemm_rate() -> float:
    """Operations per second of large products in float32, now: the best of three."""
    return 2 * GEMM_SIDE**3 / min(gemm_seconds() for _ in range(3))


def seconds_of(task: Callable[[], object]) -> float:
    """The time that `task` takes."""
    began = CLOCK()
    task()
    return CLOCK() - began


def gemm_seconds() -> float:
    """The time of one large product in float32."""
    a = np.ones((GEMM_SIDE, GEMM_SIDE), np.float32)
    return seconds_of(lambda: a @ a)


# --- watching ---


class Watch:
    """What was seen in one step, by path. One that `weighs` counts bytes too, which takes time: a step of its own."""

    def __init__(self, weighs: bool = False) -> None:
        self.weighs = weighs
        self.path: Path = ()
        self.calls: Counter[Path] = Counter()
        self.seconds: defaultdict[Path, float] = defaultdict(float)
        self.bytes: Counter[Path] = Counter()

    def over(self, owner: Any, method: str, part: str) -> Callable[..., Any]:
        """The method of this object, with its time noted under `part` of whatever called it."""
        call = getattr(owner, method)
        weights = sum(param.data.nbytes for param in vars(owner).values() if hasattr(param, "grad"))

        def watched_call(*args: Any) -> Any:
            before = self.path
            path = self.path = (*before, part)
            self.calls[path] += 1  # at the beginning, so that each part comes before those inside it
            began = CLOCK()
            try:
                result = call(*args)
            finally:
                seconds = CLOCK() - began
                self.path = before
            self.seconds[path] += seconds
            if self.weighs:
                arrays = {id(array): array.nbytes for _, array in walk((args, result), part)}  # each counted once
                self.bytes[path] += weights + sum(arrays.values())
            return result

        return watched_call


@contextlib.contextmanager
def watched(trainer: Trainer, watch: Watch) -> Iterator[None]:
    """Cover the methods of everything that takes part in a step, and uncover them at the end."""
    covered: list[tuple[Any, str]] = []
    try:
        for owner, method, part in step_parts(trainer):
            if method not in vars(owner):  # the positions belong to all blocks, and are covered once
                setattr(owner, method, watch.over(owner, method, part))
                covered.append((owner, method))
        yield
    finally:
        for owner, method in covered:
            delattr(owner, method)


def step_parts(trainer: Trainer) -> Iterator[tuple[Any, str, str]]:
    """Every object of a step, its method, and the part's name."""
    model = trainer.model
    yield trainer, "train_step", STEP
    yield trainer.optimizer, "step", "update"
    yield model, FORWARD, FORWARD
    yield model, BACKWARD, BACKWARD
    yield model.position, "embed", "positions"
    yield model.position, "embed_backward", "positions"
    yield model.position, "rotate", "positions"
    yield model.position, "rotate_backward", "positions"
    yield model.embedding, "unembed", "head"
    yield model.embedding, "unembed_backward", "head"
    pairs: list[tuple[Any, str]] = [(model.embedding, "embedding"), (model.loss, "loss")]
    for block in model.blocks:
        pairs += block_parts(block)
    pairs += [(model.final_norm, "norms"), (model.head, "head")]
    for owner, part in pairs:
        if owner is not None:
            yield owner, FORWARD, part
            yield owner, BACKWARD, part


def block_parts(block: Block) -> list[tuple[Any, str]]:
    """The components of a block."""
    gate = [block.attention.gate.linear] if block.attention.gate else []
    linears = [block.attention.qkv, *gate, block.attention.out, *block.mlp.inputs, block.mlp.down]
    return [
        (block, "blocks"),
        (block.attention, "attention"),
        (block.mlp, "mlp"),
        (block.mlp.activation, "activation"),
        *((norm, "norms") for norm in block.norms),
        *((linear, linear.weight.name.split(".")[-2]) for linear in linears),
    ]


# --- the table ---


def summarize(watches: list[Watch], weigh: Watch, parts: list[PartFlops]) -> list[PartProfile]:
    """One row for each path."""
    rows = []
    for path, calls in weigh.calls.items():
        inside = [other for other in weigh.calls if other[:-1] == path]
        seconds = [watch.seconds[path] for watch in watches]
        own = [watch.seconds[path] - sum(watch.seconds[other] for other in inside) for watch in watches]
        medians = statistics.median(seconds), statistics.median(own)
        rows.append(PartProfile(path, calls, *medians, own_flops(path, parts), weigh.bytes[path]))
    return rows


def own_flops(path: Path, parts: list[PartFlops]) -> int:
    """Operations of the products that the part itself makes, without those of the parts inside it."""
    names = (".".join(path[-2:]), path[-1])  # attention.qkv, head
    if path[-1] == "attention":
        names = ("attention.scores", "attention.mixing")
    if FORWARD in path:
        return sum(row.forward for row in parts if row.part in names)
    return sum(row.training - row.forward for row in parts if row.part in names) if BACKWARD in path else 0


def table_lines(profile: Profile) -> list[str]:
    """The table for a terminal. Times are of all blocks together; the share is of the whole step."""
    lines = [
        f"{'part':<26}{'calls':>6}{'ms':>9}{'own ms':>9}{'share':>7}{'MFLOP':>10}{'GFLOP/s':>9}{'of peak':>9}{'MB':>8}"
    ]
    for row in profile.rows:
        name = "  " * (len(row.path) - 1) + row.path[-1]
        products = f"{'':>10}{'':>9}{'':>9}"
        if row.flops:
            products = f"{row.flops / 1e6:>10,.1f}{row.rate / 1e9:>9,.1f}{row.rate / profile.gemm_rate:>9.0%}"
        share = row.own_seconds / profile.profiled_seconds
        lines.append(
            f"{name:<26}{row.calls:>6}{row.seconds * 1e3:>9.3f}{row.own_seconds * 1e3:>9.3f}{share:>7.1%}{products}"
            f"{row.bytes / 1e6:>8.2f}"
        )
    return [
        *lines,
        "",
        f"a plain step    {profile.plain_seconds * 1e3:.2f} ms of one core, {profile.steps} steps, medians; being "
        f"watched adds {profile.own_cost:.1%}",
        f"the core        {profile.gemm_rate / 1e9:,.0f} GFLOP/s in a product of {GEMM_SIDE} x {GEMM_SIDE} matrices; "
        f"the step's products at that rate are {profile.share_of_peak:.0%} of its time",
        "own ms, share: without the parts inside. MB: arrays that go in and come out, the least that has to be moved.",
    ]

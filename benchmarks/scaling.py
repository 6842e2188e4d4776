"""What four and eight threads would make of a training step, simulated from what its parts take on one thread.

A step of k threads is run with its k parts one after another on one thread, each of them timed. On k processors the
parts would run at the same time, so the rule is Amdahl's (1967): the step takes all that is outside of the parts, and
the longest part. Replicas, shares of the batch and the sum of the gradients are those of a real step with k threads.
What the rule leaves out is that threads share a memory, and have to be woken: so where the machine has processors
enough, real threads have their turn as well, and say how far off the rule is.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import threadpoolctl

from benchmarks.cases import UNITS, Size, size_of
from benchmarks.jobs import make_trainer, random_corpus
from benchmarks.units import duration, ratio
from tlab.machine import one_blas_thread
from tlab.training.parallel import BatchThreads, Item, Result
from tlab.training.trainer import Trainer

THREADS = (1, 2, 4, 8)


class Scaling(NamedTuple):
    """A step with so many threads, an entry a turn, in seconds."""

    size: str
    threads: int
    serial: list[float]  # all that is outside of the parts
    part: list[float]  # the longest part
    measured: list[float]  # of real threads; empty where the machine has too few processors

    @property
    def simulated(self) -> float:
        """Seconds of a step by the rule."""
        return statistics.median(self.serial) + statistics.median(self.part)

    @property
    def serial_share(self) -> float:
        """How much of the step no further thread makes shorter."""
        return statistics.median(self.serial) / self.simulated

    @property
    def miss(self) -> float | None:
        """Measured time over simulated time."""
        return statistics.median(self.measured) / self.simulated if self.measured else None


class OneAfterAnother(BatchThreads):
    """The parts of a step with several threads, worked on by one, each of them timed."""

    seconds: list[float]  # of each part of the last batch

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`task` of each item, in order."""
        self.seconds, results = [], []
        with one_blas_thread():
            for item in items:
                began = time.perf_counter()
                results.append(task(item))
                self.seconds.append(time.perf_counter() - began)
        return results


def section(sizes: tuple[str, ...], turns: int) -> list[dict[str, Any]]:
    """Every number of threads, for each of these sizes."""
    found = []
    for size in sizes:
        rows = measure(size, size_of(size), turns, UNITS[size])
        print(f"  {size}:", *(line(row, rows[0]) for row in rows), sep="\n    ", flush=True)
        found += [row._asdict() for row in rows]
    return found


def measure(name: str, size: Size, turns: int, steps: int, threads: tuple[int, ...] = THREADS) -> list[Scaling]:
    """A size with each number of threads, simulated and real, in turn, after a turn that is not counted."""
    corpus = random_corpus(size.config.vocab_size)
    found = [Scaling(name, k, [], [], []) for k in threads]
    split, real = ([make_trainer(*size, corpus, k) for k in threads] for _ in range(2))
    for trainer in split:
        trainer.batch_threads = OneAfterAnother(trainer.model, trainer.compute)
    with threadpoolctl.threadpool_limits(1, "blas"):
        for _ in range(1 + turns):
            for row, parts, whole in zip(found, split, real, strict=True):
                serial, part = simulate(parts, steps)
                row.serial.append(serial)
                row.part.append(part)
                if row.threads <= (os.cpu_count() or 1):
                    row.measured.append(statistics.median(step_seconds(whole) for _ in range(steps)))
    return [row._replace(serial=row.serial[1:], part=row.part[1:], measured=row.measured[1:]) for row in found]


def simulate(trainer: Trainer, steps: int) -> tuple[float, float]:
    """Seconds of a step outside of its parts, and of its longest part: medians of some steps."""
    assert isinstance(trainer.batch_threads, OneAfterAnother)
    serial, parts = [], []
    for _ in range(steps):
        whole = step_seconds(trainer)
        parts.append(trainer.batch_threads.seconds)
        serial.append(whole - sum(parts[-1]))
    return statistics.median(serial), max(statistics.median(part) for part in zip(*parts, strict=True))


def step_seconds(trainer: Trainer) -> float:
    """Of one step."""
    began = time.perf_counter()
    trainer.train_step()
    return time.perf_counter() - began


def line(row: Scaling, single: Scaling) -> str:
    """One number of threads."""
    words = (
        f"threads {row.threads}, simulated: {duration(row.simulated)}, {single.simulated / row.simulated:.2f} times "
    )
    words += f"as fast as one, {row.serial_share:.0%} of it serial"
    if row.miss is None:
        return words
    return f"{words}; measured {duration(statistics.median(row.measured))}, {ratio(row.miss)} of that"

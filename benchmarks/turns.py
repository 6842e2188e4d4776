"""Measuring sides in turn (A B A B ...), so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

from benchmarks.cases import Case, Side
from benchmarks.machine import PerKind, kind
from benchmarks.worker import Worker


class Result(NamedTuple):
    """One side of one case, measured."""

    case: Case
    side: Side
    seconds: list[float]  # of one unit of work, one entry a turn
    ours: list[float]  # our seconds in the same turns
    clock: str = "wall"
    rate: float | None = None  # GFLOP/s of large products on one core of this machine

    @property
    def target(self) -> float | None:
        """What our time over this side's must not be more than, on this kind of processor."""
        target = self.side.target
        if not isinstance(target, PerKind):
            return target
        return None if self.rate is None else getattr(target, kind(self.rate), None)

    @property
    def floor(self) -> float | None:
        """What our time over this side's would be if all our operations ran as fast as large products do."""
        if self.rate is None or self.case.operations is None:
            return None
        return self.case.operations / (self.rate * 1e9 * self.case.threads) / self.median

    @property
    def median(self) -> float:
        """Seconds of one unit of work."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median of our time over median of this side's."""
        return statistics.median(self.ours) / self.median

    @property
    def turn_ratios(self) -> list[float]:
        """Our time over this side's in each turn, sorted."""
        return sorted(ours / theirs for ours, theirs in zip(self.ours, self.seconds, strict=True))

    @property
    def is_ours(self) -> bool:
        """Whether this is the side that the others are compared with."""
        return self.side is self.case.sides[0]

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        if self.is_ours:
            return None if self.case.most_seconds is None else self.median <= self.case.most_seconds
        return None if self.target is None else self.ratio <= self.target

    def to_json(self) -> dict[str, Any]:
        """Everything that was measured, and what follows from it."""
        found = {
            "case": self.case.name,
            "title": self.case.title,
            "unit": self.case.unit,
            "size": self.case.size,
            "threads": self.side.threads,
            "clock": self.clock,
            "ours": self.is_ours,
            "side": self.side.label,
            "median_seconds": self.median,
            "seconds": self.seconds,
            "met": self.met,
        }
        if self.is_ours:
            return found | {"most_seconds": self.case.most_seconds}
        ratios = {"ratio": self.ratio, "turn_ratios": self.turn_ratios, "floor": self.floor}
        return found | ratios | {"target": self.target}


def missing_modules(side: Side) -> list[str]:
    """What would have to be installed for this side."""
    return [name for name in side.modules if importlib.util.find_spec(name) is None]


def measure(case: Case, turns: int, clock: str = "wall", rate: float | None = None) -> Iterator[Result]:
    """Every side that can run, `turns` times in turn, after one turn that is not counted.

    With two threads the time on the wall is what counts, whatever the clock.
    """
    clock = clock if case.threads == 1 else "wall"
    sides = [side for side in case.sides if not missing_modules(side)]
    seconds: dict[Side, list[float]] = {side: [] for side in sides}
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(side))) for side in sides]
        for worker in workers:
            worker.seconds(case.units)
        for _ in range(turns):
            for worker in workers:
                seconds[worker.side].append(worker.seconds(case.units, clock) / case.units)
    for side in sides:
        yield Result(case, side, seconds[side], seconds[case.sides[0]], clock, rate)

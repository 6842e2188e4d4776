"""Where the server keeps its visitors' models: within a budget of bytes, and the least recently used goes first."""

from __future__ import annotations

from typing import NamedTuple

from tlab.training.checkpoint import Checkpoint
from tlab.ui.runs.byte_budget_cache import ByteBudgetCache

RECORD_BYTES = 400  # a StepRecord with its numbers, as Python objects

SideKey = tuple[str, int]
"""A run's id and the number of one of its sides."""


class Stored(NamedTuple):
    """A checkpoint in the store."""

    checkpoint: Checkpoint
    keep: bool  # whether it stays when a later one of its side comes


def checkpoint_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that a checkpoint holds in memory, approximately."""
    arrays = [*checkpoint.weights.values(), *checkpoint.optimizer_state.values()]
    return sum(array.nbytes for array in arrays) + RECORD_BYTES * len(checkpoint.records)


class CheckpointStore:
    """Checkpoints by run, side and step, within a budget of bytes; safe to use from many threads.

    Of each side it holds the latest one, and those that were put in with `keep`: the steps of a slider.

    Args:
        budget: bytes that all checkpoints together may take.
        share: bytes that those of one owner may take; by default all.
    """

    def __init__(self, budget: int, share: int | None = None) -> None:
        self.cache: ByteBudgetCache[tuple[SideKey, int], Stored] = ByteBudgetCache(budget, share)  # by side and step

    def put(self, owner: str, side: SideKey, checkpoint: Checkpoint, *, keep: bool = False) -> None:
        """Add `checkpoint` as the latest of its side. It replaces the one before, unless that is to be kept."""
        with self.cache.lock:
            stored = {step: self.cache.entries[side, step].value for step in self.steps(side)}
            for step, old in stored.items():
                if not old.keep:
                    self.cache.drop((side, step))
            step = checkpoint.step
            keep = keep or (step in stored and stored[step].keep)
            self.cache.put((side, step), Stored(checkpoint, keep), checkpoint_bytes(checkpoint), owner)

    def get(self, side: SideKey, step: int | None = None) -> Checkpoint | None:
        """The checkpoint nearest to `step`, by default the latest; None if there is none left."""
        with self.cache.lock:
            steps = self.steps(side)
            if not steps:
                return None
            nearest = steps[-1] if step is None else min(steps, key=lambda have: abs(have - step))
            stored = self.cache.get((side, nearest))
            return stored and stored.checkpoint

    def steps(self, side: SideKey) -> list[int]:
        """The steps that there are checkpoints of, in order. This does not count as a use."""
        with self.cache.lock:
            return sorted(step for of, step in self.cache.entries if of == side)

    def __contains__(self, side: SideKey) -> bool:
        """Whether `get` would find one. This does not count as a use."""
        return bool(self.steps(side))

    def discard(self, run_id: str) -> None:
        with self.cache.lock:
            for key in [key for key in self.cache.entries if key[0][0] == run_id]:
                self.cache.drop(key)

"""Where the server keeps the models of its visitors: so many bytes, and the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from tlab.training.checkpoint import Checkpoint

RECORD_BYTES = 400  # a StepRecord with its numbers, as Python objects

SideKey = tuple[str, int]
"""A run's id and the number of one of its sides."""


class Kept(NamedTuple):
    """A checkpoint in the store."""

    checkpoint: Checkpoint
    size: int  # bytes
    owner: str
    keep: bool  # whether it stays when a later one of its place comes


def checkpoint_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that a checkpoint holds in memory, near enough."""
    arrays = [*checkpoint.weights.values(), *checkpoint.optimizer_state.values()]
    return sum(array.nbytes for array in arrays) + RECORD_BYTES * len(checkpoint.records)


class CheckpointStore:
    """Checkpoints by run, side and step, within a budget of bytes; safe to use from many threads.

    Of each side it holds the latest, and those that were put to be kept: the steps of a slider over the training.

    Args:
        budget: bytes that all checkpoints together may take. One that is larger than all of it is not kept.
        share: bytes that one owner's may take; by default all.
    """

    def __init__(self, budget: int, share: int | None = None) -> None:
        self.budget = budget
        self.share = budget if share is None else share
        self.lock = threading.Lock()
        self.kept: OrderedDict[tuple[SideKey, int], Kept] = OrderedDict()  # least recently used first
        self.used = 0
        self.used_by: dict[str, int] = {}

    def put(self, owner: str, place: SideKey, checkpoint: Checkpoint, *, keep: bool = False) -> None:
        """Add `checkpoint` as the latest of its side, in the place of the latest before it unless that is to be kept.

        Args:
            owner: the session that it counts for.
            place: run id and side.
            checkpoint: whose step is its key.
            keep: whether it stays when the next one comes.
        """
        with self.lock:
            for key in [key for key, kept in self.kept.items() if key[0] == place and not kept.keep]:
                self.drop(key)
            key = (place, checkpoint.step)
            keep = keep or (key in self.kept and self.kept[key].keep)
            self.drop(key)
            size = checkpoint_bytes(checkpoint)
            self.kept[key] = Kept(checkpoint, size, owner, keep)
            self.used += size
            self.used_by[owner] = self.used_by.get(owner, 0) + size
            while self.used_by.get(owner, 0) > self.share:
                self.drop(next(key for key, kept in self.kept.items() if kept.owner == owner))
            while self.used > self.budget:
                self.drop(next(iter(self.kept)))

    def get(self, place: SideKey, step: int | None = None) -> Checkpoint | None:
        """The checkpoint nearest to `step`, by default the latest; None where none is left."""
        with self.lock:
            steps = self.steps_of(place)
            if not steps:
                return None
            nearest = steps[-1] if step is None else min(steps, key=lambda have: abs(have - step))
            self.kept.move_to_end((place, nearest))
            return self.kept[place, nearest].checkpoint

    def steps(self, place: SideKey) -> list[int]:
        """The steps of which there is a checkpoint, in order. It does not count as a use."""
        with self.lock:
            return self.steps_of(place)

    def __contains__(self, place: SideKey) -> bool:
        """Whether `get` would find one; it does not count as a use."""
        return bool(self.steps(place))

    def discard(self, run_id: str) -> None:
        """Forget all sides of a run."""
        with self.lock:
            for key in [key for key in self.kept if key[0][0] == run_id]:
                self.drop(key)

    def steps_of(self, place: SideKey) -> list[int]:
        """The same as `steps`; the lock is held."""
        return sorted(step for of, step in self.kept if of == place)

    def drop(self, key: tuple[SideKey, int]) -> None:
        """Take a checkpoint out, if it is in; the lock is held."""
        if key in self.kept:
            gone = self.kept.pop(key)
            self.used -= gone.size
            self.used_by[gone.owner] -= gone.size
            if not self.used_by[gone.owner]:
                del self.used_by[gone.owner]

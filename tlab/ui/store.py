"""Where the server keeps the models of its visitors: so many bytes, and the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict

from tlab.checkpoint import Checkpoint

RECORD_BYTES = 400  # a StepRecord with its numbers, as Python objects


def size_of(checkpoint: Checkpoint) -> int:
    """Bytes that a checkpoint holds in memory, near enough."""
    arrays = [*checkpoint.weights.values(), *checkpoint.optimizer_state.values()]
    return sum(array.nbytes for array in arrays) + RECORD_BYTES * len(checkpoint.records)


class Store:
    """Checkpoints by run id, within a budget of bytes; safe to use from many threads.

    Args:
        budget: bytes that all checkpoints together may take. One that is larger than all of it is not kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.lock = threading.Lock()
        self.kept: OrderedDict[str, tuple[Checkpoint, int]] = OrderedDict()
        self.used = 0

    def put(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint` as the latest of its run."""
        with self.lock:
            self.drop(run_id)
            size = size_of(checkpoint)
            self.kept[run_id] = (checkpoint, size)
            self.used += size
            while self.used > self.budget:
                self.drop(next(iter(self.kept)))

    def get(self, run_id: str | None) -> Checkpoint | None:
        """The latest checkpoint of a run, or None where there is none or it had to go."""
        with self.lock:
            if run_id is None or run_id not in self.kept:
                return None
            self.kept.move_to_end(run_id)
            return self.kept[run_id][0]

    def __contains__(self, run_id: str) -> bool:
        """Whether `get` would find one; it does not count as a use."""
        with self.lock:
            return run_id in self.kept

    def discard(self, run_id: str) -> None:
        """Forget a run."""
        with self.lock:
            self.drop(run_id)

    def drop(self, run_id: str) -> None:
        """Take a run out, if it is in; the lock is held."""
        if run_id in self.kept:
            self.used -= self.kept.pop(run_id)[1]

"""Snapshots of a run: its weights at steps that are evenly spread on a logarithmic scale, in the folder of the run.

At the start a model changes within a step or two, later in hundreds; so each doubling of the steps gets as many looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tlab.training.checkpoint import FILE_NAME, Checkpoint, CheckpointError

SNAPSHOTS_NAME = "snapshots"


def snapshot_steps(steps: int, count: int) -> list[int]:
    """The steps of at most `count` snapshots of a run: 0, `steps`, and what is between; fewer where two fall together.

    >>> snapshot_steps(1000, 5)
    [0, 1, 10, 100, 1000]
    """
    if count < 1:
        return []
    spread = np.geomspace(1, steps, count - 1).round().astype(int).tolist() if count > 2 else [steps] * (count - 1)
    return sorted({0, *spread})


def save_snapshot(folder: str | Path, checkpoint: Checkpoint) -> Path:
    """Write the weights of a run at one step into `folder`/snapshots; -> the file's path.

    Without the optimizer's vectors, and with the last record alone: to be looked at, not to be trained on.
    """
    small = dataclasses.replace(checkpoint, optimizer_state={}, records=checkpoint.records[-1:])
    return small.save(Path(folder) / SNAPSHOTS_NAME / f"{checkpoint.step:07}")


def load_snapshots(folder: str | Path) -> Iterator[Checkpoint]:
    """The snapshots of a run from the first step to the last, one at a time.

    Raises:
        CheckpointError: it has none, or one is damaged.
    """
    files = sorted(Path(folder).glob(f"{SNAPSHOTS_NAME}/*/{FILE_NAME}"), key=lambda path: int(path.parent.name))
    if not files:
        raise CheckpointError(f"{folder} has no snapshots; train with --snapshots 24, for example, to keep some")
    yield from map(Checkpoint.load, files)

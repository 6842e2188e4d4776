"""The runs that the lab of false winners judges: a few hundred tiny models, trained once and read from one file.

All are of one model on one text. A group is what they were trained with; within a group only seeds differ.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlab.types import Array

FILE = Path(__file__).with_name("runs.npz")
ABOUT = "about"  # the entry that is no group: JSON in bytes
STORED_STEP = 1e-4  # nats: losses are stored as whole numbers of these
DIVERGED_BY_THEN = np.uint16(65535)  # of a run that had diverged by then

SOUND = "sound"  # the group at a good rate, with which nothing is wrong
UNSTABLE, TWICE_AS_WIDE, LONG, LEAKED = "unstable", "wide", "long schedule", "leaked"
TRIED_RATES = (0.003, 0.0075, 0.0187, 0.0468, 0.117)  # the default rate of the lab, and what `--tune` tries above it
DEFAULT_RATE, SOUND_RATE, HIGH_RATE = 0.003, 0.0187, 0.117
SEEDS_PER_ORDER = 14  # consecutive runs of `SOUND` that read the same batches, and start from other weights


class Group(NamedTuple):
    """The losses of runs that differ in their seeds alone, in nats per character; nan where a run had diverged."""

    validation: Array  # (runs, steps)
    training: Array  # of the batch at that step, likewise


class StoredRuns(NamedTuple):
    """All groups, and what they have in common."""

    steps: tuple[int, ...]  # at which losses are known; the last one is the last step
    groups: dict[str, Group]
    guess: float  # loss of a uniform guess: the logarithm of the vocabulary
    characters: int  # of the validation text
    tokens: int  # of the same text, where frequent pairs of characters were merged
    parameters: dict[str, int]  # of the models of `SOUND` and of `TWICE_AS_WIDE`
    text: str  # what was trained on, its last tenth for validation


def group_at(rate: float) -> str:
    """The name of the group that was trained at this rate, and is like `SOUND` but for that."""
    return SOUND if rate == SOUND_RATE else f"rate {rate:g}"


def packed(losses: Array) -> np.ndarray:
    """Losses as they are stored."""
    whole = np.rint(np.nan_to_num(losses, nan=0.0) / STORED_STEP)
    return np.where(np.isnan(losses), DIVERGED_BY_THEN, whole).astype(np.uint16)


def unpacked(stored: np.ndarray) -> Array:
    """Losses as they were."""
    return np.where(stored == DIVERGED_BY_THEN, np.nan, stored * STORED_STEP)


@functools.cache
def stored_runs() -> StoredRuns:
    """The runs that come with the lab."""
    with np.load(FILE) as file:
        about = json.loads(file[ABOUT].tobytes())
        names = sorted({name.rpartition("/")[0] for name in file} - {""})
        groups = {
            name: Group(unpacked(file[f"{name}/validation"]), unpacked(file[f"{name}/training"])) for name in names
        }
    return StoredRuns(groups=groups, **{**about, "steps": tuple(about["steps"])})

"""What people read in place of the names of columns, and of the keys in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tlab.wording import layer_name, part_name

SHOWN_AS = {
    "behind": "after",
    "depth": "blocks passed",
    "deviation": "standard deviation",
    "last": "up to place",
    "logprob": "log probability",
    "now_share": "gradient over weights",
    "of_trained": "times the trained length",
    "product": "gradient times input",
    "read": "token read",
    "rms": "size (RMS)",
    "then": "what follows",
    "turn": "cosine to the stream",
}
KEY_COLUMNS: dict[str, Callable[[Any], str]] = {
    "part": part_name,
    "head": part_name,
    "name": part_name,
    "layer": layer_name,
}
"""Columns of keys and indices -> what turns them into words."""

CUT = 3.0  # times what nine of ten values reach: beyond it, one value would leave nothing of the others
FAR = 20.0  # likewise, of a picture: an arrow says less than a short bar, so it is for what would hide all the rest
ENOUGH = 10  # values, to tell which are far beyond the others


def column_name(column: str) -> str:
    """Names of columns stay for programs; some of them say little."""
    return SHOWN_AS.get(column, column).replace("_", " ")


def usual_size(sizes: Sequence[float]) -> float:
    """The size of a full bar for these sizes, in order: the largest, or CUT times what nine of ten reach; 0 of none."""
    return min(sizes[-1], CUT * nine_of_ten(sizes)) if sizes else 0.0


def largest_in_sight(sizes: Sequence[float]) -> float:
    """The largest of these sizes, in order, that is not FAR beyond the others; 0 of none."""
    return max((size for size in sizes if size <= FAR * nine_of_ten(sizes)), default=0.0)


def nine_of_ten(sizes: Sequence[float]) -> float:
    """What nine of ten of these sizes reach, in order; infinite where they are too few or too many of them are 0."""
    usual = sizes[int(0.9 * (len(sizes) - 1))] if len(sizes) >= ENOUGH else 0.0
    return usual or math.inf

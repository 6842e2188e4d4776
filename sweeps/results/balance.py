"""Which part of a table with gaps is complete and leaves the most numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
"""Any array: of values, of indices, or of bool."""

MAX_BLOCK_SETS = 4096
"""Sets of blocks that are looked at: all there are of up to 12 seeds, whatever their gaps."""


class Balanced(NamedTuple):
    """The part of a table that is complete: every chosen block is there in every chosen seed."""

    seeds: Numbers
    """(number chosen,) indices."""
    blocks: Numbers

    @property
    def size(self) -> int:
        """How many numbers that are for each level."""
        return len(self.seeds) * len(self.blocks)


def balance(present: Numbers) -> Balanced:
    """The seeds and blocks that are complete and leave the most numbers; more seeds where it is the same.

    The blocks of the best choice are those that its seeds have in common. So every set that some seeds have in common
    is tried, each with all seeds that have it whole: there are few, as most gaps are alike. Of more than
    `MAX_BLOCK_SETS` the largest are tried.

    Args:
        present: (seeds, blocks) of bool.
    """
    if present.all():  # by far the most tables
        seeds, blocks = present.shape
        return Balanced(np.arange(seeds if blocks else 0), np.arange(blocks if seeds else 0))
    rows = [sum(1 << int(block) for block in np.flatnonzero(row)) for row in present]  # a set as the bits of a number
    common: set[int] = set()
    for row in dict.fromkeys(rows):
        common |= {row, *(row & other for other in common)}
        if len(common) > MAX_BLOCK_SETS:
            common = set(sorted(common, key=int.bit_count, reverse=True)[:MAX_BLOCK_SETS])

    def holders(blocks: int) -> list[int]:
        return [seed for seed, row in enumerate(rows) if row & blocks == blocks]

    def quality(blocks: int) -> tuple[int, int, int]:
        num_seeds = len(holders(blocks))
        return num_seeds * blocks.bit_count(), num_seeds, blocks  # the last one for a choice that is always the same

    best = max(common, key=quality)
    chosen = [block for block in range(present.shape[1]) if best >> block & 1]
    return Balanced(np.array(holders(best) if chosen else [], int), np.array(chosen, int))

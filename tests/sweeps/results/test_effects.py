"""Which part of a table with gaps is compared, by hand."""

import numpy as np

from sweeps.results.effects import Cube, balanced_levels


def cube(values):
    """Values (seeds, levels, blocks), each trained on its own."""
    values = np.array(values, dtype=np.float64)
    return Cube([], [], values, np.arange(values.size).reshape(values.shape), [])


def test_a_level_with_gaps_stays_where_that_leaves_more_numbers_in_all():
    nan = np.nan
    # Two levels with four blocks are 8 numbers, three levels with three blocks 9.
    levels, kept = balanced_levels(cube([[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, nan]]]))
    assert (levels.tolist(), kept.blocks.tolist(), kept.seeds.tolist()) == ([0, 1, 2], [0, 1, 2], [0])


def test_a_level_with_more_gaps_is_left_out():
    nan = np.nan
    # With the third level two blocks are left, 6 numbers; without it 8.
    levels, kept = balanced_levels(cube([[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, nan, nan]]]))
    assert (levels.tolist(), kept.blocks.tolist()) == ([0, 1], [0, 1, 2, 3])

"""The complete part of a table with gaps: none with more numbers is to be found."""

import itertools

import numpy as np
import pytest

from sweeps.results.balance import balance


def largest(present):
    """How many numbers the best choice has, of all there are."""
    seeds = range(len(present))
    chosen = itertools.chain.from_iterable(itertools.combinations(seeds, count + 1) for count in seeds)
    return max((len(some) * int(present[list(some)].all(axis=0).sum()) for some in chosen), default=0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_no_choice_has_more_numbers_and_none_has_a_gap(share):
    rng = np.random.default_rng(0)
    for _ in range(60):
        present = rng.random((rng.integers(1, 7), rng.integers(1, 9))) > share
        kept = balance(present)
        assert present[np.ix_(kept.seeds, kept.blocks)].all()
        assert kept.size == largest(present)


def test_a_table_with_gaps_everywhere_is_balanced_in_no_time():
    present = np.random.default_rng(0).random((30, 200)) > 0.1
    kept = balance(present)
    assert present[np.ix_(kept.seeds, kept.blocks)].all() and kept.size > 300

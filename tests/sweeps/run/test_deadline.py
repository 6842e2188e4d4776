"""The time limit of a cell: it ends what takes too long, and leaves what ends in time alone."""

import contextlib
import time

import pytest

from sweeps.run.deadline import CellTimeout, deadline


def test_a_block_that_takes_too_long_is_ended_where_it_is():
    reached = []

    def never_ends():
        with deadline(0.05):
            reached.append("begun")
            while True:
                time.sleep(0.001)

    with pytest.raises(CellTimeout):
        never_ends()
    assert reached == ["begun"]


def test_a_block_that_ends_at_the_limit_lets_nothing_out_behind_it():
    rounds = 0
    for _ in range(100):
        with contextlib.suppress(CellTimeout), deadline(0.002):
            time.sleep(0.002)
        time.sleep(0.0005)  # where a late one would come
        rounds += 1
    assert rounds == 100


def test_no_limit_is_no_limit():
    with deadline(None):
        time.sleep(0.01)

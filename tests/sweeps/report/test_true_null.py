"""Two levels that are the same: how often the words at the top of a report say that they are not."""

import numpy as np
import pytest

from benchmarks.null_sweeps import NOISES, SHAPES, highest_by_chance, made_up_table
from sweeps.report.analysis import Analysis
from sweeps.report.sentences import headline

SWEEPS = 400


def named_share(num_seeds: int, effect: float = 0.0, sweeps: int = SWEEPS) -> float:
    """How often one of two levels is called better, or a configuration different from the best."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(sweeps):
        words = " ".join(
            headline(Analysis(made_up_table(SHAPES["2"], num_seeds, NOISES["normal"], rng, effect=effect)))
        )
        named += " is better than " in words or "It differs from" in words
    return named / sweeps


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_of_two_levels_that_are_the_same_the_report_hardly_ever_names_a_better_one(num_seeds):
    assert named_share(num_seeds) <= highest_by_chance(SWEEPS), "5 %, and two standard errors of so many sweeps"


def test_of_two_levels_that_differ_the_report_names_the_better_one():
    assert named_share(5, effect=0.5, sweeps=20) == 1

"""A small run of `python -m benchmarks.level_power`: which procedures keep their promise, and what could be found."""

import numpy as np
import pytest

from benchmarks.level_power import LEVELS, POWER_SEEDS, SPREADS, by_holm, by_oracle, by_range, shares
from tlab.judging.few_seeds import difference_p, holm


@pytest.mark.parametrize("spreads", SPREADS)
def test_holm_and_the_careful_range_claim_nothing_where_nothing_is_whatever_the_noise(spreads):
    found = shares("normal", spreads, 400, np.random.default_rng(0))
    assert max(found["Holm"][0], found["careful range"][0]) <= 0.08  # 5 %, and three of its errors


def test_one_noise_for_all_levels_is_false_where_one_is_noisier():
    assert shares("normal", "one level 5 times", 400, np.random.default_rng(0))["Tukey's range"][0] > 0.08


def test_nothing_finds_more_than_who_knows_the_noise():
    found = shares("normal", "one size", 400, np.random.default_rng(0))
    for size in (1, 2):
        assert found["oracle"][size] == max(told[size] for told in found.values())


def test_each_pair_is_judged_by_its_own_seeds_and_holm():
    values = np.random.default_rng(0).standard_normal((1, POWER_SEEDS, LEVELS)) + np.arange(LEVELS)
    pairs = [(i, j) for i in range(LEVELS) for j in range(i + 1, LEVELS)]
    expected = [p <= 0.05 for p in holm([difference_p(values[0, :, i] - values[0, :, j]) for i, j in pairs])]
    assert by_holm(values, np.ones(LEVELS))[0].tolist() == expected
    assert any(expected) and not all(expected)


def test_what_is_far_apart_is_found_by_the_range_and_by_who_knows_the_noise():
    values = np.random.default_rng(0).standard_normal((1, POWER_SEEDS, LEVELS)) + 9 * (np.arange(LEVELS) == 0)
    for procedure in (by_range, by_oracle):
        told = procedure(values, np.ones(LEVELS))[0]
        assert told[: LEVELS - 1].all() and not told[LEVELS - 1 :].any()

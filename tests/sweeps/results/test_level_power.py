"""A small run of `python -m benchmarks.level_power`: which procedures keep their promise, and what could be found."""

import itertools

import numpy as np
import pytest

from benchmarks.level_power import (
    EQUAL,
    IN_USE,
    LEVELS,
    POWER_SEEDS,
    SPREADS,
    TWINS,
    as_in_use,
    by_holm,
    by_oracle,
    by_range,
    made_up,
    shares,
)
from tlab.judging.few_seeds import difference_p, holm


@pytest.mark.parametrize("noise", ["normal", "heavy tails"])
@pytest.mark.parametrize("spreads", SPREADS)
@pytest.mark.parametrize("seeds", [3, 5])
def test_what_is_in_use_claims_nothing_where_nothing_is_whatever_the_noise(noise, spreads, seeds):
    values, of_pairs = made_up(noise, spreads, 1000, np.random.default_rng(0), LEVELS, seeds)
    assert as_in_use(values, of_pairs).any(axis=1).mean() <= 0.07  # 5 %, and three of its errors


@pytest.mark.parametrize("levels", [2, 3, 4, 6])
def test_with_five_seeds_a_level_worse_by_twice_the_noise_is_found_in_80_percent(levels):
    found = shares("normal", EQUAL, 1000, np.random.default_rng(0), levels)
    assert found[IN_USE][2] >= 0.78  # 80 %, and two of its errors


def test_holm_finds_much_less_of_six_levels():
    found = shares("normal", EQUAL, 400, np.random.default_rng(0))
    assert found["Holm"][2] < 0.4 < 0.75 < found[IN_USE][2]


def test_one_noise_for_all_levels_is_false_where_one_is_noisier_and_blind_where_two_are_nearly_the_same():
    assert shares("normal", "one level 4 times", 400, np.random.default_rng(0))["Tukey's range"][0] > 0.08
    assert shares("normal", TWINS, 400, np.random.default_rng(0))["Tukey's range"][2] < 0.01


def test_nothing_finds_more_than_who_knows_the_noise():
    found = shares("normal", EQUAL, 400, np.random.default_rng(0))
    for size in (1, 2):
        assert found["oracle"][size] == max(told[size] for told in found.values())


def test_each_pair_is_judged_by_its_own_seeds_and_holm():
    values = np.random.default_rng(0).standard_normal((1, POWER_SEEDS, LEVELS)) + np.arange(LEVELS)
    pairs = list(itertools.combinations(range(LEVELS), 2))
    expected = [p <= 0.05 for p in holm([difference_p(values[0, :, i] - values[0, :, j]) for i, j in pairs])]
    assert by_holm(values, np.ones(len(pairs)))[0].tolist() == expected
    assert any(expected) and not all(expected)


def test_what_is_far_apart_is_found_by_the_range_by_what_is_in_use_and_by_who_knows_the_noise():
    values = np.random.default_rng(0).standard_normal((1, POWER_SEEDS, LEVELS)) + 9 * (np.arange(LEVELS) == 0)
    for procedure in (by_range, as_in_use, by_oracle):
        told = procedure(values, np.full(15, np.sqrt(2)))[0]
        assert told[: LEVELS - 1].all() and not told[LEVELS - 1 :].any()

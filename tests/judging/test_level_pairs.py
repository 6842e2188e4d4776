"""Which of several levels differ: what pairs learn of the noise from each other, and how many of them can be equal."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import polygamma

from tlab.judging.few_seeds import difference_p, holm
from tlab.judging.level_pairs import inverse_trigamma, moderated, numbers_of_equal_pairs, pair_p_values


def paired(values):
    return [difference_p(values[:, i] - values[:, j]) for i, j in itertools.combinations(range(values.shape[1]), 2)]


@pytest.mark.parametrize("shape", [(5, 2), (5, 3), (2, 6)])
def test_of_few_levels_or_of_two_seeds_each_pair_is_judged_by_its_own_t_test(shape):
    values = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(pair_p_values(values), paired(values))


def test_pairs_of_one_noise_learn_it_from_each_other():
    variances, degrees = moderated(np.full(15, 2.0), 4, 6)
    np.testing.assert_allclose(variances, 2 / np.exp(polygamma(0, 2) - math.log(2)) * 16 / 20 + 2 * 4 / 20, rtol=2e-3)
    assert degrees == 20  # of all six levels together: 4 times 5


def test_pairs_of_very_different_noise_keep_their_own():
    own = np.geomspace(1e-8, 1e8, 15)
    variances, degrees = moderated(own, 4, 6)
    assert degrees < 4.5 and np.all(variances[5:] < 1.1 * own[5:]) and np.all(variances[5:] > 0.9 * own[5:])


def test_a_level_that_is_noisier_is_not_taken_for_a_calm_one():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 6)) * [50, 1, 1, 1, 1, 1] + 50 * rng.standard_normal((5, 1)) + [30, 0, 0, 0, 0, 9]
    p_values = dict(zip(itertools.combinations(range(6), 2), pair_p_values(values), strict=True))
    assert min(p_values[0, other] for other in range(1, 5)) > 0.05 > 15 * p_values[1, 5]


def test_a_pair_that_is_much_calmer_than_the_others_is_asked_by_itself():
    values = np.random.default_rng(0).standard_normal((5, 6))
    values[:, 5] = values[:, 4] + 1e-3 + 1e-5 * values[:, 5]
    assert pair_p_values(values)[-1] == pytest.approx(6 * paired(values)[-1])


def test_sweeps_are_judged_at_once_as_each_by_itself():
    values = np.random.default_rng(0).standard_normal((3, 5, 4))
    np.testing.assert_allclose(pair_p_values(values), [pair_p_values(one) for one in values])


def test_levels_that_never_differ_claim_nothing():
    assert pair_p_values(np.ones((5, 4))).tolist() == [1.0] * 6


@pytest.mark.parametrize("x", [0.025, 0.05, 0.5, 1, 2.5, 40, 900, 1e6])
def test_the_inverse_of_the_trigamma_function_is_its_inverse(x):
    assert inverse_trigamma(np.array([float(polygamma(1, x))])) == pytest.approx(x, rel=1e-8)


@pytest.mark.parametrize(
    ("num_levels", "numbers"),
    [(1, {0}), (2, {0, 1}), (3, {0, 1, 3}), (4, {0, 1, 2, 3, 6}), (6, {0, 1, 2, 3, 4, 6, 7, 10, 15})],
)
def test_as_many_pairs_can_be_equal_as_groups_of_levels_have(num_levels, numbers):
    assert numbers_of_equal_pairs(num_levels) == numbers


def test_after_the_first_claim_holm_pays_for_what_can_still_be_equal():
    assert holm([0.01, 0.02, 0.03], {0, 1, 3}) == pytest.approx([0.03, 0.03, 0.03])
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.03, math.nan, 0.01], {0, 1, 2}) == pytest.approx([0.03, 1.0, 0.02])

"""The curve of losses over learning rates: its optimum, what bounds it, and what cannot be told."""

import math

import numpy as np
import pytest

from benchmarks.valleys import Look, called_share, covered_share, main, width_share
from support import RATES, parabola
from tlab.judging.learning_rates import RateError, fit_valley, optimum_words, parabola_p, turned_before


def test_without_noise_the_optimum_is_found_to_the_digit_and_so_is_the_loss_of_each_seed():
    valley = fit_valley(parabola(3e-3))
    assert valley.optimum == pytest.approx(3e-3, rel=0.01) and valley.is_inside
    assert (valley.low, valley.high) == pytest.approx((3e-3, 3e-3), rel=1e-6)
    assert [valley.losses[seed] for seed in range(3)] == pytest.approx([2.0, 2.1, 2.2], abs=1e-4)
    assert valley.best_tried == 4e-3 and valley.losses_tried[0] == pytest.approx(2 + 0.1 * math.log(4 / 3) ** 2)


def test_the_curve_goes_over_the_rates_about_as_good_as_the_best_and_has_its_lowest_point_at_the_optimum():
    valley = fit_valley(parabola(4e-3, curvature=0.25))
    rates, losses = zip(*valley.curve, strict=True)
    assert (rates[0], rates[-1]) == pytest.approx((2e-3, 8e-3)), "the outer ones are 0.48 nats above the lowest"
    assert rates[losses.index(min(losses))] == valley.optimum
    assert min(losses) == pytest.approx(2.1, abs=1e-6), "the mean of the seeds"


@pytest.mark.parametrize(("shape", "num_seeds"), [("parabola", 5), ("parabola, steep", 3)])
def test_the_interval_holds_the_optimum_in_95_of_100_valleys(shape, num_seeds):
    held, bounded, width = covered_share(Look(shape, 2.0, num_seeds), 1_000, np.random.default_rng(0))
    assert 0.93 <= held <= 0.97
    assert bounded > 0.9, "and is no interval without ends"
    assert width < 1.4, "and a narrow one"


@pytest.mark.parametrize("shape", ["lopsided", "lopsided, more", "cliff, rounded", "cliff, sharp"])
def test_the_interval_holds_the_optimum_of_valleys_that_are_no_parabolas(shape):
    held, bounded, width = covered_share(Look(shape, 2.5, 5), 300, np.random.default_rng(0))
    assert held >= 0.93
    assert bounded > 0.9
    assert width < 2.5**2, "no more than a step of the rates to each side"


@pytest.mark.parametrize("shape", ["parabola, flat", "lopsided", "measured"])
def test_an_optimum_beyond_the_rates_is_called_so(shape):
    assert called_share(Look(shape, 2.0, 3), 400, np.random.default_rng(0)) >= 0.95


def test_a_cliff_beside_the_best_rate_bounds_the_optimum_and_moves_it_no_farther():
    losses = {1e-3: 2.30, 2e-3: 2.07, 4e-3: 2.0, 8e-3: 3.2, 16e-3: 3.3}
    noise = np.random.default_rng(0).normal(0, 0.005, (len(losses), 3))
    valley = fit_valley({rate: dict(enumerate(loss + noise[i])) for i, (rate, loss) in enumerate(losses.items())})
    assert valley.is_lopsided and valley.low <= 4e-3 and valley.high == pytest.approx(8e-3)


def straight_flanks(optimum, apart=(3, 3, 3, 3)):
    """Losses of three seeds that fall and rise along straight lines, at 3e-3 and two rates on each side of it."""
    far_below, below, above, far_above = apart
    rates = [3e-3 / below / far_below, 3e-3 / below, 3e-3, 3e-3 * above, 3e-3 * above * far_above]
    return {rate: {seed: 2 + 0.1 * seed + 0.3 * abs(math.log(rate / optimum)) for seed in range(3)} for rate in rates}


@pytest.mark.parametrize("optimum", [3e-3, 4.5e-3, 2e-3])
def test_between_rates_that_are_far_apart_the_loss_may_be_what_straight_flanks_have(optimum):
    valley = fit_valley(straight_flanks(optimum))
    assert valley.is_coarse
    assert valley.highest_losses == valley.losses_tried
    at_most = [2 + 0.1 * seed for seed in range(3)]
    assert all(low <= true + 0.002 for low, true in zip(valley.lowest_losses.values(), at_most, strict=True))
    if optimum != 3e-3:  # at a rate that was tried, lines on one side of it say nothing of the other
        assert list(valley.lowest_losses.values()) == pytest.approx(at_most, abs=0.01)


def test_the_lowest_point_lies_before_the_line_through_two_worse_rates_is_as_low_as_the_best():
    values = np.array([[2.0, 2.2, 3.2, 9.0]] * 3)
    assert turned_before(np.array([0.0, 1, 3, 5]), values) == pytest.approx(0.6, abs=0.02), "2.2 less 0.5 for each 1"
    assert turned_before(np.array([0.0, 1]), values[:, :2]) == 1, "there is no next one"
    assert turned_before(np.array([0.0, 1, 3]), values[:, ::-1][:, :3]) == math.inf, "it only falls"
    flatter = np.array([[2.0, 2.2, 2.3]] * 3)
    assert turned_before(np.array([0.0, 1, 3]), flatter) == 1, "it rises ever less steeply"


def test_between_rates_that_are_close_or_on_a_parabola_the_curve_tells_the_loss():
    close = {rate**0.8: of_rate for rate, of_rate in straight_flanks(4.5e-3).items()}
    for losses in (close, parabola(3e-3, rates=[3e-3 * 4.0**step for step in range(-2, 3)])):
        valley = fit_valley(losses)
        assert not valley.is_coarse
        assert valley.losses == valley.lowest_losses == valley.highest_losses


@pytest.mark.parametrize(
    ("apart", "is_open"),
    [((9, 2, 2, 2), False), ((2, 3, 2, 2), True), ((2, 2, 3, 2), True), ((2, 2, 2, 9), False)],
)
def test_only_a_wide_gap_beside_the_best_rate_leaves_its_loss_open(apart, is_open):
    valley = fit_valley(straight_flanks(3.2e-3, apart))
    assert valley.best_tried == 3e-3 and valley.is_lopsided
    assert valley.is_coarse == is_open


def test_where_the_valley_is_lopsided_the_interval_is_wider_and_holds_the_optimum_still():
    rng = np.random.default_rng(0)
    runs = Look("lopsided", 3.0, 5).runs(3e-3, rng)
    valley = fit_valley(runs)
    assert valley.is_lopsided and valley.low <= 3e-3 <= valley.high
    words = optimum_words(valley, "A")
    assert "no parabola" in words and "somewhere between" in words and "95 %" not in words.partition(" The highest")[0]
    assert not fit_valley(parabola(3e-3, noise=0.01)).is_lopsided


@pytest.mark.parametrize(
    ("optimum", "words", "is_above"),
    [
        (0.1, "is above 0.016, the highest that was tried: try higher ones", True),
        (1e-5, "is below 0.001, the lowest that was tried: try lower ones", False),
    ],
)
def test_a_loss_that_only_falls_or_only_rises_says_on_which_side_the_optimum_is(optimum, words, is_above):
    valley = fit_valley(parabola(optimum))
    assert not valley.is_inside
    assert (valley.may_be_above, valley.may_be_below) == (is_above, not is_above)
    assert words in optimum_words(valley, "A")


def test_the_best_of_three_rates_that_are_far_apart_may_lie_below_the_highest_that_is_best():
    means = {1e-3: 2.2, 4e-3: 1.45, 16e-3: 1.201}  # of a model whose best rate turned out to be 0.014
    noise = np.random.default_rng(0).normal(0, 0.02, (len(means), 4))
    valley = fit_valley({rate: dict(enumerate(mean + noise[i])) for i, (rate, mean) in enumerate(means.items())})
    assert valley.low < 14e-3 and valley.may_be_above
    assert "and may be above 0.016" in optimum_words(valley, "A")


def test_the_optimum_is_not_below_a_rate_at_which_every_seed_is_worse_than_at_the_next():
    losses = {
        1e-3: (3.05, 3.02, 3.1, 3.03), 4e-3: (1.90, 1.9, 2.19, 1.87), 16e-3: (1.2, 1.2, 1.2, 3.4),
        32e-3: (1.5, 3.4, 1.6, 3.4), 64e-3: (3.4, 2.0, 3.4, 3.4),
    }  # fmt: skip
    valley = fit_valley({rate: dict(enumerate(of_rate)) for rate, of_rate in losses.items()})
    assert not valley.may_be_below


def test_an_optimum_that_may_be_beyond_the_rates_is_said_to_be_perhaps_there():
    losses = parabola(14e-3, noise=0.01, seeds=3)
    valley = fit_valley(losses)
    assert valley.may_be_above and valley.low < 16e-3
    assert "may be above 0.016, the highest that was tried: try higher ones" in optimum_words(valley, "A")
    downwards = {1 / rate: of_rate for rate, of_rate in losses.items()}
    assert "may be below 62.5, the lowest that was tried: try lower ones" in optimum_words(fit_valley(downwards), "A")


def test_a_rate_that_was_tried_has_all_its_digits_and_one_that_was_found_has_two():
    valley = fit_valley({rate: {0: 2.0 + place, 1: 2.1 + place} for place, rate in enumerate((0.125, 0.3125, 0.78125))})
    assert [valley.rate_words(rate) for rate in (math.exp(math.log(0.3125)), 0.0123456)] == ["0.3125", "0.012"]


def test_losses_that_hardly_differ_tell_nothing():
    apart = dict(zip(RATES, (0.01, -0.02, 0.015, 0.0, -0.01), strict=True))  # one seed says the opposite of the other
    valley = fit_valley({rate: {0: 2 + distance, 1: 2 - distance} for rate, distance in apart.items()})
    assert valley.may_be_above and valley.may_be_below
    assert "These runs cannot tell which learning rate suits A" in optimum_words(valley, "A")


def test_losses_that_rise_and_then_fall_have_no_best_rate():
    valley = fit_valley(parabola(4e-3, curvature=-0.01))
    assert "no best rate to find" in valley.problem and not valley.is_inside


def test_the_optimum_is_never_beyond_a_rate_that_lost_more_runs_and_they_are_counted():
    losses = parabola(14e-3, noise=0.01)
    losses[32e-3] = {0: 5.0, 1: None, 2: math.nan}
    valley = fit_valley(losses)
    assert valley.is_inside and valley.high == 32e-3 and valley.lost == (0, 0, 0, 0, 0, 2)
    assert "Runs of A that diverged or failed: 2 at 0.032." in optimum_words(valley, "A")
    assert valley.means[-1] == 5.0, "which is no reason to call the rate a good one"
    losses[1e-4] = {0: None, 1: None, 2: None}
    assert fit_valley(losses).low >= 1e-4


def test_a_rate_that_lost_a_run_is_never_the_best_one():
    losses = parabola(4e-3)
    losses[4e-3] = {0: None, 1: 1.0, 2: 1.0}
    valley = fit_valley(losses)
    assert valley.best_tried in (2e-3, 8e-3)
    assert valley.optimum == pytest.approx(4e-3, rel=0.01), "the others are still on their parabola"


def test_where_all_rates_lost_a_run_the_seeds_count_that_all_of_them_have():
    losses = {rate: {**of_rate, 0: None} for rate, of_rate in parabola(3e-3, seeds=4).items()}
    assert sorted(fit_valley(losses).losses) == [1, 2, 3]


def test_rates_without_runs_so_far_do_not_count():
    losses = {**parabola(3e-3), 1.0: {}}
    assert fit_valley(losses) == fit_valley(parabola(3e-3))


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.inf, math.nan])
def test_a_rate_that_is_not_positive_is_refused_in_words(rate):
    with pytest.raises(RateError, match="has to be above 0"):
        fit_valley({**parabola(3e-3), rate: {0: 2.0}})


def test_no_runs_at_all_are_refused_in_words():
    with pytest.raises(RateError, match="no runs"):
        fit_valley({})


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ({1e-3: {0: 2.0, 1: 2.1}}, "With 1 learning rate there is no curve"),
        ({1e-3: {0: 2.0}, 2e-3: {0: 2.0}}, "With 2 learning rates there is no curve"),
        ({rate: {0: None, 1: math.nan} for rate in RATES}, "Every run diverged or failed"),
        ({rate: {0: 2.0 if rate < 3e-3 else None} for rate in RATES}, "At only 2 of 5 learning rates"),
        (parabola(3e-3, seeds=1), "One seed says nothing about chance"),
        ({rate: {seed: None if seed == place else 2.0 for seed in range(3)} for place, rate in enumerate(RATES[:3])},
         "No seed ended well at all of these"),
    ],
)  # fmt: skip
def test_what_has_no_interval_says_why(losses, words):
    valley = fit_valley(losses)
    assert words in valley.problem and optimum_words(valley, "A").startswith(valley.problem)
    assert not valley.is_inside and not valley.may_be_above and not valley.may_be_below


def test_how_well_a_parabola_fits_does_not_depend_on_how_large_the_losses_are():
    places, noise = np.arange(5.0), np.random.default_rng(0).normal(0, 0.01, (4, 5))
    losses = (places - 2) ** 2 + 0.002 * places**3 + noise
    assert 0.01 < parabola_p(places, losses) < 0.99
    assert parabola_p(places, 1e-6 * losses) == pytest.approx(parabola_p(places, losses))


def test_one_seed_has_a_curve_all_the_same():
    valley = fit_valley(parabola(3e-3, seeds=1))
    assert valley.optimum == pytest.approx(3e-3, rel=0.01) and (valley.low, valley.high) == (0, math.inf)


def test_the_benchmark_says_what_was_reached(capsys):
    main(simulations=2, comparisons=2)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 6 * (1 + 8 * 4 * 2) + 5 and printed.count("reached") > 40


# ------------------------------------------------------------------------------------------------ the valley's width


def wide_parabola(curvature, **cases):
    """Losses at rates from 0.0005 to 0.032, of a valley within 0.1 nats of its best from exp(-x) to exp(x) times it."""
    rates = [5e-4 * 2.0**step for step in range(7)]
    return {
        rate: {seed: 2.0 + 0.1 * seed + curvature * math.log(rate / 4e-3) ** 2 for seed in range(3)} for rate in rates
    } | cases


def test_the_width_is_how_many_times_apart_the_rates_are_that_are_close_to_the_best():
    width = fit_valley(wide_parabola(0.1)).width
    assert width is not None
    assert width.factor == pytest.approx(math.exp(2), rel=0.01)
    assert (width.low, width.high) == pytest.approx((6.59, 16), rel=0.01), "as any valley allows between these rates"


def test_a_valley_that_goes_on_beyond_the_rates_is_so_wide_at_least():
    width = fit_valley(wide_parabola(0.02)).width
    assert width is not None
    assert width.high == math.inf and width.low == pytest.approx(64)
    assert width.words("A").endswith("of A is at least 64 times the lowest, as far as these rates reach.")


def test_a_valley_ends_before_the_rate_at_which_runs_were_lost():
    losses = wide_parabola(0.02)
    losses[32e-3] = losses[0.5e-3] = {0: None, 1: None, 2: 2.5}
    width = fit_valley(losses).width
    assert width is not None
    assert (width.low, width.high) == pytest.approx((16, 64))


def test_without_a_best_rate_inside_there_is_no_width():
    assert fit_valley({rate: {0: 3 - rate, 1: 3.1 - rate} for rate in (0.1, 0.2, 0.3, 0.4, 0.5)}).width is None


@pytest.mark.parametrize("shape", ["parabola", "lopsided, more", "cliff, rounded", "measured"])
def test_the_interval_of_the_width_holds_it_in_95_of_100_valleys_whatever_their_shape(shape):
    held, bounded, width = width_share(Look(shape, 2.5, 5, 7), 200, np.random.default_rng(0))
    assert held >= 0.93
    assert bounded > 0.9
    assert width < 2.5**2, "no more than a step of the rates to each side"

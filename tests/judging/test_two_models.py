"""Two models over learning rates: which is better at one rate, which at its best, and when nobody can tell."""

import math
import re
from collections import Counter

import numpy as np
import pytest

from benchmarks.null_sweeps import highest_by_chance
from benchmarks.valleys import Look, false_winner_shares
from support import RATES, parabola
from tlab.judging.few_seeds import EQUIVALENT, INCONCLUSIVE, REAL, Estimate
from tlab.judging.two_models import Difference, SecondUnit, compare, comparison_words, winner_words

NAMES = ("ReLU", "GELU")


def words_of(a, b, rate=4e-3):
    return comparison_words(compare(a, b, rate), NAMES)


def test_a_difference_at_one_rate_may_be_none_at_the_best_one():
    a, b = parabola(2e-3, noise=1e-3), parabola(8e-3, noise=1e-3, curvature=0.1)
    at_rate, at_best = compare(a, b, 8e-3)[:2]
    assert at_rate.verdict == REAL and at_rate.rates == (8e-3, 8e-3)
    assert at_rate.estimate.mean == pytest.approx(-0.1 * math.log(4) ** 2, abs=0.005)
    assert at_best.verdict == EQUIVALENT and at_best.rates == pytest.approx((2e-3, 8e-3), rel=0.05)


def test_what_is_better_at_its_best_is_said_with_its_interval_and_rates():
    worse = {rate: {seed: loss + 0.1 for seed, loss in of_rate.items()} for rate, of_rate in parabola(3e-3).items()}
    noise = np.random.default_rng(1)
    worse = {
        rate: {seed: loss + 0.01 * noise.standard_normal() for seed, loss in s.items()} for rate, s in worse.items()
    }
    at_rate, at_best = words_of(worse, parabola(3e-3))
    assert at_rate.startswith("At the same learning rate, 0.004: GELU is better than ReLU by 0.")
    assert at_best.startswith("Each at its best (ReLU at 0.003, GELU at 0.003; these are the lowest points of curves")
    assert "nothing was trained there): GELU is better than ReLU by 0." in at_best
    assert at_best.endswith(", 3 seeds).")


def test_few_noisy_seeds_cannot_tell():
    a = parabola(3e-3, noise=0.05)
    b = {rate: {seed: loss + 0.01 * (-1) ** seed for seed, loss in of_rate.items()} for rate, of_rate in a.items()}
    assert compare(a, b, 4e-3).at_rate.verdict == INCONCLUSIVE
    assert "3 seeds cannot tell: GELU minus ReLU is +0.003 nats per token" in words_of(a, b)[0]


def test_the_side_that_lost_more_runs_is_never_better_and_the_runs_are_counted():
    a, b = parabola(3e-3), parabola(3e-3, lowest=1.0)
    b[4e-3][0] = None
    found = compare(a, b, 4e-3)
    assert found.at_rate.lost == (0, 1) and found.at_rate.verdict == INCONCLUSIVE
    every = {rate: {**of_rate, 0: None} for rate, of_rate in a.items()}
    assert (compare(a, every).at_best.lost, compare(every, a).at_best.lost) == ((0, 1), (1, 0))
    assert ", and ReLU lost 0 runs, GELU 1; the interval leaves out zero, but the lower one lost" in words_of(a, b)[0]
    assert compare(b, a, 4e-3).at_rate.verdict == INCONCLUSIVE
    assert compare(a, {r: {s: x and x + 3 for s, x in of.items()} for r, of in b.items()}, 4e-3).at_rate.verdict == REAL


def test_models_that_are_the_same_are_equivalent_and_a_best_rate_that_was_not_found_is_said_before_the_verdict():
    same, at_best = words_of(parabola(1.0), parabola(1.0))
    assert "equivalent within 0.02" in same and "equivalent within 0.02" in at_best
    edge = "The best learning rate of ReLU and of GELU was not found within the rates that were tried, so each at the"
    assert at_best.startswith(edge) and "Each at its best" not in at_best


def test_a_curve_and_the_best_rates_tried_have_to_agree():
    a, b = parabola(4e-3), parabola(math.sqrt(2) * 4e-3, lowest=1.995)
    tried = compare(a, b).valleys[1].losses_tried[0] - compare(a, b).valleys[0].losses_tried[0]
    assert tried > 0 > compare(a, b).at_best.estimate.mean
    assert compare(a, b).at_best.verdict == EQUIVALENT, "within the margin by either, and better by none"


def test_where_every_run_of_a_side_was_lost_there_is_nothing_to_compare():
    lost = {rate: {0: None, 1: None} for rate in RATES}
    at_rate, at_best = words_of(lost, parabola(3e-3))
    assert "cannot be compared: no seed ended well in both, and ReLU lost 2 runs, GELU 0" in at_rate
    assert compare(lost, parabola(3e-3)).at_best.lost == (2 * len(RATES), 0)
    assert at_best.startswith("The best learning rate of ReLU was not found") and "(GELU at 0.003; that of" in at_best
    assert "): ReLU and GELU cannot be compared" in at_best


def test_an_interval_that_leaves_out_zero_never_seems_to_end_there():
    found = Difference((4e-3, 4e-3), Estimate(0.0121, 0.0002, 0.024, 3), (0, 0), p=0.04)
    assert "by 0.0121 nats per token (95 % interval 0.0002 to 0.0240, 3 seeds)" in winner_words(
        found, NAMES, "nats per token"
    )


def random_losses(rng, spread):
    """Of one model: three seeds at five rates, a valley with noise, of which now and then a run is lost."""
    optimum, lowest = 4e-3 * math.exp(rng.normal()), 2 + spread * rng.normal()
    return {
        rate: {
            seed: None
            if rng.random() < 0.02
            else lowest + 0.1 * abs(math.log(rate / optimum)) ** 1.5 + rng.normal() * 0.01
            for seed in range(3)
        }
        for rate in RATES
    }


def test_words_never_stand_beside_an_interval_that_says_otherwise_without_a_reason():
    rng, reasons = np.random.default_rng(0), Counter()
    for _ in range(1500):
        spread = rng.choice([0.003, 0.03])
        found = compare(random_losses(rng, spread), random_losses(rng, spread), 4e-3)
        for one in (found.at_rate, found.at_best):
            words = winner_words(one, NAMES, "nats per token")
            if one.estimate.n < 2:
                continue
            ends = [float(end.replace("−", "-")) for end in re.search(r"interval (\S+) to ([^)\s,]+)", words).groups()]
            leaves_out_zero, is_within = ends[0] * ends[1] > 0, max(map(abs, ends)) <= 0.0199
            if "cannot tell" in words and (leaves_out_zero or is_within):
                reason = re.search(r"; the interval (leaves out zero|lies within 0.02), but (\w+)", words)
                assert reason, words
                reasons[reason[0]] += 1
            if "equivalent" in words and max(map(abs, ends)) > 0.0201:
                assert "; the interval reaches beyond 0.02, but equality is judged by that of 90 %" in words
                reasons["90 %"] += 1
            if "better" in words:
                assert leaves_out_zero and ";" not in words
    assert len(reasons) >= 5, reasons


def test_an_interval_that_ends_at_the_margin_is_within_it():
    at_margin = Difference((0.01, 0.01), Estimate(0.0, -0.01, 0.01, 3), (0, 0), p_equal=0.01)
    assert at_margin.verdict == EQUIVALENT and at_margin.reason(0.01) == ""
    assert "beyond 0.009" in at_margin.reason(0.009)


def test_one_seed_names_no_winner():
    at_rate = words_of(parabola(3e-3, seeds=1), parabola(3e-3, seeds=1, lowest=1.0))[0]
    assert at_rate.endswith(": GELU minus ReLU is −1.000 nats per token with one seed, which names no winner.")


def test_a_second_unit_has_an_interval_where_the_first_one_has():
    bits = SecondUnit("bits", 1 / math.log(2))
    assert bits.words(Estimate(math.log(2), -math.inf, math.inf, 1), "+") == ", or +1.000 bits"
    assert bits.words(Estimate(math.log(2), 0.5, 0.9, 3), "+") == ", or +1.000 bits (+0.721 to +1.298)"
    assert bits.words(Estimate(0.001, 0.0005, 0.0015, 3), "+", margin=0.01) == ", or 0.014 bits (+0.001 to +0.002)"


def test_a_rate_that_one_side_was_not_trained_at_has_no_comparison():
    found = compare(parabola(3e-3), parabola(3e-3, rates=RATES[1:]), 1e-3)
    assert found.at_rate is None and compare(parabola(3e-3), parabola(3e-3)).at_rate is None


@pytest.mark.parametrize(("shape", "factor", "num_seeds"), [("parabola", 2.0, 3), ("measured", 3.0, 5)])
def test_two_models_that_are_the_same_seldom_have_a_winner(shape, factor, num_seeds):
    shares = false_winner_shares(Look(shape, factor, num_seeds), 1.0, 400, np.random.default_rng(0))
    assert max(shares) <= 0.05


def test_of_two_that_are_as_good_at_different_rates_none_is_better_at_its_best():
    at_best = false_winner_shares(Look("parabola, steep", 2.0, 5), 2.0, 400, np.random.default_rng(0))[1]
    assert at_best <= highest_by_chance(400)


def test_between_rates_that_are_far_apart_none_of_two_equal_models_is_better_at_its_best():
    at_best = false_winner_shares(Look("measured", 3.0, 5), 2.0, 400, np.random.default_rng(0))[1]
    assert at_best <= highest_by_chance(400)


def test_what_rates_far_apart_leave_open_is_said_with_a_way_on_and_what_they_show_is_told():
    rates = [3e-3 * 3.0**step for step in range(-2, 3)]

    def losses(optimum, lowest):
        return {
            rate: {seed: lowest + 0.1 * seed + 0.3 * abs(math.log(rate / optimum)) for seed in range(3)}
            for rate in rates
        }

    open_question = comparison_words(compare(losses(3e-3, 2.0), losses(5e-3, 1.99)), NAMES)
    assert open_question[-1] == (
        "The rates are too far apart to tell how low the loss of ReLU and of GELU is between them: try some between."
    )
    assert " is better than " not in " ".join(open_question)
    far_apart = comparison_words(compare(losses(3e-3, 2.0), losses(5e-3, 3.0)), NAMES)
    assert "ReLU is better than GELU" in far_apart[0] and len(far_apart) == 1


def test_the_reason_is_two_comparisons_only_where_one_alone_would_have_been_clear():
    beside = Difference((0.01, 0.01), Estimate(0.3, 0.1, 0.5, 3), (0, 0), p=0.08, alone=(0.04, 1.0))
    assert beside.verdict == INCONCLUSIVE and "two comparisons" in beside.reason()
    reading = beside._replace(alone=(0.08, 1.0))
    assert "not every reading agrees" in reading.reason()
    within = Difference((0.01, 0.01), Estimate(0.001, -0.003, 0.005, 3), (0, 0), p_equal=0.08, alone=(1.0, 0.04))
    assert within.verdict == INCONCLUSIVE and "two comparisons" in within.reason(0.01)
    assert "not every reading agrees" in within._replace(alone=(0.04, 0.08)).reason(0.01)

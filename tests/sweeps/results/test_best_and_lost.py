"""Comparison with the best, runs that were lost, and numbers that are equal but for rounding: what may be claimed."""

import itertools
import math

import numpy as np
import pytest

from sweeps.report.analysis import Analysis, comparison_frame
from sweeps.report.result_sections import oriented
from sweeps.report.sentences import (
    basis_sentence,
    best_sentence,
    comparison_sentence,
    headline,
    lost_sentence,
    outlier_sentence,
)
from sweeps.results.effects import LevelComparison, comparisons, effects_frame, interactions
from sweeps.results.summary import (
    BEST,
    LOST_MORE,
    at_best_rate,
    configurations,
    outlying_runs,
    summaries,
    summary_frame,
)
from sweeps.results.table import Table
from tlab.judging.few_seeds import (
    EQUIVALENT,
    INCONCLUSIVE,
    REAL,
    Estimate,
    confidence_set,
    difference_p,
    equality_p,
    estimate,
    outlying,
    seeds_needed,
    studentized_range,
)

CHANCE = 2 * math.sqrt(0.05 * 0.95 / 400)


def table(losses, axis="residual"):
    """Level -> its loss in each seed, None where the run diverged."""
    return Table(
        (axis,),
        [
            {"cell_id": f"{level}-{seed}", "alias_of": None, "status": "ok" if loss is not None else "diverged",
             axis: level, "seed": seed, "val_loss": loss}
            for level, of_level in losses.items() for seed, loss in enumerate(of_level)
        ],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ the best of many


@pytest.mark.parametrize(("num_configurations", "num_seeds"), [(3, 5), (12, 3), (28, 5)])
def test_of_configurations_that_are_all_alike_none_is_told_from_the_best_in_more_than_5_percent(
    num_configurations, num_seeds
):
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        found = summaries(table(dict(enumerate(2 + 0.03 * rng.standard_normal((num_configurations, num_seeds))))))
        wrong += any(one.verdict not in (BEST, INCONCLUSIVE, EQUIVALENT) for one in found)
    assert wrong / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


def test_what_is_clearly_worse_than_the_best_is_told_from_it_step_by_step():
    rng = np.random.default_rng(1)
    means = np.array([0.0, 0.01, 0.5, 5.0, 5.1])  # the last two alone make the others look alike
    values = means + 0.03 * rng.standard_normal((5, 5))
    assert confidence_set(values, 0).tolist() == [True, True, False, False, False]


def test_two_are_judged_by_the_t_test():
    values = np.array([[1.0, 1.2], [1.0, 1.25], [1.0, 1.18]])
    assert difference_p(values[:, 0] - values[:, 1]) < 0.05
    assert confidence_set(values, 0).tolist() == [True, False]
    assert confidence_set(values[:, ::-1], 1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("factor", "number"), [(3, 1), (3, 4), (5, 1), (5, 4), (30, 1), (30, 4)], ids=lambda value: f"{value}"
)
def test_however_much_noisier_some_configurations_are_few_sweeps_tell_one_apart(factor, number):
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        values = rng.standard_normal((5, 12)) * np.where(np.arange(12) < number, factor, 1)
        wrong += not confidence_set(values, int(values.mean(axis=0).argmin())).all()
    assert wrong / 400 <= 0.07 + CHANCE


def test_what_is_five_times_the_noise_above_the_best_is_found_with_three_seeds():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        values = rng.standard_normal((3, 12)) + np.r_[np.zeros(6), 5 * np.ones(6)]
        found.append(1 - confidence_set(values, int(values.mean(axis=0).argmin()))[6:].mean())
    assert np.mean(found) > 0.8


@pytest.mark.parametrize(("count", "degrees", "known"), [(3, 10, 3.877), (12, 22, 5.12), (28, 108, 5.40)])
def test_the_range_of_equal_means_is_that_of_the_tables(count, degrees, known):
    assert studentized_range(count, degrees, 0.05) == pytest.approx(known, rel=0.02)


def test_a_configuration_that_nearly_diverged_hides_no_difference_among_the_others():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        values = rng.standard_normal((5, 12)) * np.r_[100, np.ones(11)] + np.r_[50, 10 * np.ones(5), np.zeros(6)]
        found.append(1 - confidence_set(values, 6 + int(values[:, 6:].mean(axis=0).argmin()))[1:6].mean())
    assert np.mean(found) > 0.6


def test_next_to_a_best_one_that_nearly_diverged_all_are_judged_by_the_t_test():
    values = np.random.default_rng(0).standard_normal((5, 12)) * np.r_[100, np.ones(11)]
    values[:, 0] -= values[:, 0].mean() + 5
    assert confidence_set(values, 0).all()
    values[:, 3] += 1e6
    assert confidence_set(values, 0).tolist() == [True] * 3 + [False] + [True] * 8


def test_the_same_values_have_the_same_verdict():
    values = np.random.default_rng(0).standard_normal((4, 9))
    assert confidence_set(values, 0).tolist() == confidence_set(values, 0).tolist()


# ------------------------------------------------------------------------------------------------ lost runs


def test_a_level_that_lost_more_runs_is_never_called_better():
    (one,) = comparisons(table({"pre": [2.1, 2.2, 2.15, 2.3, 2.4], "post": [2.0, 2.1, 2.05, None, 2.3]}))
    assert one.lost == (0, 1) and one.p_holm <= 0.05 and one.estimate.mean > 0
    assert (one.verdict, one.is_hint, one.is_flattered) == (INCONCLUSIVE, False, True)
    assert comparison_sentence(one, 0.02) == (
        "Post-LN lost more runs than Pre-LN, and where both ended well it is lower by 0.100: inconclusive"
    )
    assert "runs lost on one side only: Pre-LN 0 and Post-LN 1" in basis_sentence(one, 1)


def test_the_number_of_seeds_that_a_hint_names_is_that_of_a_t_test_of_its_own():
    estimate = Estimate(0.02, 0.01, 0.03, 3)
    one = LevelComparison(("norm",), ("layernorm", "none"), None, estimate, 0.03, 0.06, 0.01, 0.5, 1, 1, 0.01)
    assert one.is_hint
    for num_tests in (1, 15):
        needed = seeds_needed(0.02, 0.01, 0.05 / num_tests)
        assert f"about {needed} seeds would show it in a t-test of its own" in basis_sentence(one, num_tests)


def test_a_level_may_be_better_than_one_that_lost_more():
    (one,) = comparisons(table({"pre": [2.0, 2.1, 2.05, 2.2, 2.3], "post": [2.1, 2.2, 2.15, None, 2.4]}))
    assert (one.verdict, one.is_flattered) == (REAL, False)
    turned = oriented(one, one._replace(first=one.first[::-1]))
    assert (turned.lost, turned.is_flattered, turned.verdict) == ((1, 0), False, REAL)


def test_two_levels_of_which_one_lost_a_run_are_not_equivalent():
    (one,) = comparisons(table({"pre": [2.0, 2.1, 2.05, 2.2], "post": [2.0, 2.1001, 2.05, None]}))
    assert one.p_equal <= 0.05 and one.verdict == INCONCLUSIVE


def test_runs_that_both_lost_are_no_difference():
    (one,) = comparisons(table({"pre": [2.0, 2.1, 2.05, None], "post": [2.0, 2.1001, 2.05, None]}))
    assert one.lost == (0, 0) and one.verdict == EQUIVALENT


def test_a_level_that_loses_its_worst_runs_is_called_better_in_no_more_than_5_percent():
    for num_seeds in (5, 10, 20):
        rng = np.random.default_rng(0)
        wrong = 0
        for _ in range(400):
            pre, post = 2 + 0.03 * rng.standard_normal((2, num_seeds))
            kept = [loss if loss < 2 + 0.03 * 0.5244 else None for loss in post]  # but for its worst 30 %
            found = table({"pre": pre.tolist(), "post": kept})
            wrong += comparisons(found)[0].verdict == REAL or summaries(found)[1].verdict == REAL
        assert wrong / 400 <= 0.05 + CHANCE


def test_an_interaction_is_not_claimed_for_runs_that_were_lost():
    rows = []
    for norm, residual, shift in (("a", "c", 0), ("b", "c", 0), ("a", "d", 0), ("b", "d", -0.5)):
        for seed in range(5):
            lost = (norm, residual, seed) == ("b", "d", 4)
            rows.append({"cell_id": f"{norm}{residual}{seed}", "alias_of": None, "norm": norm, "residual": residual,
                         "status": "diverged" if lost else "ok", "seed": seed,
                         "val_loss": None if lost else 2.0 + shift + 0.01 * (seed % 2) * (norm == "b")})  # fmt: skip
    (one,) = interactions(Table(("norm", "residual"), rows))
    assert one.p_holm < 0.05 and one.lost == (1, 0) and one.estimate.mean == pytest.approx(-0.5)
    assert one.verdict == INCONCLUSIVE  # the run that was lost might have been the worst of them


def test_a_configuration_that_lost_more_seeds_ranks_behind_and_is_called_so():
    found = summaries(table({"pre": [2.1, 2.2, 2.15], "post": [2.0, 2.1, None], "sandwich": [2.5, 2.61, 2.53]}))
    assert [one.configuration.levels["residual"][0] for one in found] == ["pre", "sandwich", "post"]
    assert [one.verdict for one in found] == [BEST, REAL, LOST_MORE]
    assert best_sentence(found).endswith(
        "1 configuration lost more seeds. It differs from every other configuration that lost no more."
    )


def test_a_configuration_that_lost_every_seed_is_counted_among_those_that_lost_more():
    found = summaries(table({"pre": [2.1, 2.2, 2.15], "post": [None, None, None], "sandwich": [2.1, 2.21, 2.14]}))
    assert best_sentence(found).endswith(
        "1 configuration lost more seeds. It cannot be distinguished from any other configuration that lost no more."
    )


def test_lost_runs_are_counted_by_level():
    found = table({"pre": [2.1, 2.2], "post": [2.0, None]})
    assert lost_sentence(found) == "Runs lost, by level: Pre-LN 0 of 2, Post-LN 1 of 2."
    assert lost_sentence(found) in headline(Analysis(found))
    assert lost_sentence(table({"pre": [2.1, None], "post": [2.0, None]})) == ""
    assert effects_frame(found)["n_lost"].tolist() == [0, 1]


def test_where_no_run_was_lost_none_is_counted():
    assert lost_sentence(table({"pre": [2.1, 2.2], "post": [2.0]})) == ""


def test_an_alias_keeps_its_row_where_the_other_one_has_another_best_rate():
    rows = [
        {"cell_id": f"{name}-{rate}", "alias_of": f"a-{rate}" if (name, rate) == ("b", 0.1) else None, "status": "ok",
         "norm": name, "learning_rate": rate, "seed": 0, "val_loss": loss}
        for name, rate, loss in (("a", 0.1, 2.0), ("a", 1.0, 1.9), ("b", 0.1, 2.0), ("b", 1.0, 2.2))
    ]  # fmt: skip
    best = at_best_rate(Table(("norm", "learning_rate"), rows))
    assert [(row["cell_id"], row["alias_of"]) for row in best.rows] == [("a-1.0", None), ("b-0.1", None)]
    assert len(summaries(best)) == 2


# ------------------------------------------------------------------------------------------------ rounding


def test_what_differs_by_rounding_alone_does_not_differ():
    values = [5.6e-17] * 5
    assert difference_p(values) == 1.0 and not estimate(values).excludes_zero
    assert difference_p([5e-17, 4e-17, 6e-17]) == 1.0
    assert equality_p(values) == 0.0
    first = [2.1, 2.2, 2.3]
    (one,) = comparisons(table({"pre": first, "post": [np.nextafter(loss, 3) for loss in first]}))
    assert one.verdict == EQUIVALENT
    assert summaries(table({"pre": first, "post": [np.nextafter(loss, 3) for loss in first]}))[1].verdict == EQUIVALENT


# ------------------------------------------------------------------------------------------------ skewed or stuck seeds


def test_a_stuck_run_is_warned_of():
    rng = np.random.default_rng(0)
    losses = 2 + 0.01 * rng.standard_normal((4, 5)) + 0.1 * rng.standard_normal(5)  # seeds differ: that is no outlier
    assert outlier_sentence(summaries(table(dict(enumerate(losses.tolist()), pre=losses[0].tolist()), "norm"))) == ""
    losses[2, 3] += 0.5
    found = summaries(table(dict(zip(("pre", "post", "sandwich", "other"), losses.tolist(), strict=True))))
    assert [(one.levels["residual"], seed) for one, seed in outlying_runs([one.configuration for one in found])] == [
        (["sandwich"], 3)
    ]
    words = f"1 run ended far from the other seeds, such as seed 3 of Sandwich-LN with {losses[2, 3]:.3f}."
    assert outlier_sentence(found).startswith(words)


@pytest.mark.parametrize("levels", [(2.82, 2.82, 3.04, 3.04), (2.0, 2.0, 2.0, 2.4, 2.4, 2.4), (2.0, 2.2, 2.5)])
@pytest.mark.parametrize("num_seeds", [3, 5])
def test_a_lost_run_makes_no_others_look_far_from_their_seeds(levels, num_seeds):
    rng, warned, seen = np.random.default_rng(0), 0, 0
    for _ in range(200):
        losses = np.array(levels)[:, None] + 0.02 * rng.standard_normal(num_seeds)
        losses += 0.01 * rng.standard_normal(losses.shape)
        losses[-1, 0] = np.nan
        warned += bool(outlying(losses).any())
        losses[0, 1] += 0.5
        seen += bool(outlying(losses)[0, 1])
    assert warned <= 0.08 * 200, "of three configurations with three seeds 4 to 6 %"
    assert seen > (0.9 if len(levels) > 3 else 0.5) * 200


def test_the_table_counts_the_seeds_that_ended_far_from_the_others():
    losses = 2 + 0.01 * np.random.default_rng(0).standard_normal((3, 5))
    losses[2, [1, 3]] += 0.5
    sweep = table(dict(zip(("pre", "post", "sandwich"), losses.tolist(), strict=True)))
    frame = summary_frame(sweep, summaries(sweep))
    assert dict(zip(frame["residual"], frame["n_far"], strict=True)) == {"pre": 0, "post": 0, "sandwich": 2}


def test_effects_and_comparisons_count_the_runs_of_their_levels_that_ended_far_from_the_others():
    losses = 2 + 0.01 * np.random.default_rng(0).standard_normal((4, 5))
    losses[3, [1, 3]] += 0.5
    rows = [
        {"cell_id": f"{norm}-{layout}-{seed}", "alias_of": None, "status": "ok",
         "norm": norm, "residual": layout, "seed": seed, "val_loss": losses[i, seed]}
        for i, (norm, layout) in enumerate(itertools.product(("none", "rmsnorm"), ("pre", "post"))) for seed in range(5)
    ]  # fmt: skip
    sweep = Table(("norm", "residual"), rows)
    effects = effects_frame(sweep)
    assert dict(zip(effects["level"], effects["n_far"], strict=True)) == {"none": 0, "rmsnorm": 2, "pre": 0, "post": 2}
    frame = comparison_frame(Analysis(sweep))
    assert dict(zip(frame["other_axis"] + frame["axis"], frame["n_far"], strict=True)) == {
        "norm": 2, "residual": 2, "residualnorm": 2,
    }  # fmt: skip
    three = table({"pre": losses[0].tolist(), "post": losses[1].tolist(), "sandwich": [2.0, 2.5, 2.01, 2.51, 2.0]})
    frame = comparison_frame(Analysis(three))
    assert [(one.first, one.minus, one.n_far) for one in frame.itertuples()] == [
        ("pre", "post", 0), ("pre", "sandwich", 2), ("post", "sandwich", 2),
    ]  # fmt: skip


def test_normal_seeds_are_seldom_warned_of_and_stuck_ones_mostly():
    rng = np.random.default_rng(0)
    warned = {0.0: 0, 0.15: 0}
    for share in warned:
        for _ in range(200):
            losses = 20 + rng.standard_normal((6, 5)) + 10 * (rng.random((6, 5)) < share)
            warned[share] += bool(outlying_runs(configurations(table(dict(enumerate(losses.tolist()))))))
    assert warned[0.0] / 200 <= 0.05 and warned[0.15] / 200 > 0.5


def test_without_a_loss_nothing_is_outlying():
    assert outlying_runs(configurations(table({"pre": [None, None]}))) == []
    assert outlying_runs(configurations(table({"pre": [2.0, 2.0], "post": [2.0, 2.0]}))) == []

"""The statistics of sweeps: against SciPy and rliable, against known answers, and on simulations of known truth."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmarks.statistics import (
    SEEDS,
    coverage,
    effect_coverage,
    equality_error,
    family_error,
    partial_family_error,
    simulated_table,
)
from sweeps.results.effects import balance, comparisons, interaction_residuals, interactions, main_effects
from sweeps.results.summary import BEST, at_best_rate, at_rate, count_statuses, summaries, summary_frame
from sweeps.results.table import Table
from tlab.judging.few_seeds import (
    BELOW_MARGIN,
    EQUIVALENT,
    INCONCLUSIVE,
    REAL,
    Estimate,
    above_p,
    difference_p,
    equality_p,
    estimate,
    far_from_others,
    has_no_seed,
    holm,
    interval_p,
    paired,
    reach_below_zero,
    seeds_needed,
    set_apart,
    verdict_of,
)

VALUES = np.array([0.01, 0.03, 0.02, 0.05])


# ------------------------------------------------------------------------------------------------ against others


@pytest.mark.parametrize(
    ("low", "high", "excluded"), [(0.1, 1, True), (0, 1, False), (-1, 1, False), (-1, 0, False), (-1, -0.1, True)]
)
def test_an_interval_that_touches_zero_does_not_exclude_it(low, high, excluded):
    assert Estimate((low + high) / 2, low, high, 3).excludes_zero == excluded


def test_an_estimate_is_written_with_its_sign_its_interval_and_its_seeds():
    assert str(Estimate(0.0275, 0.001, 0.054, 4)) == "+0.0275 [+0.0010, +0.0540] (n=4)"
    assert str(Estimate(-0.5, -math.inf, math.inf, 1)) == "-0.5000 (n=1, no interval)"


def test_an_interval_of_another_confidence_is_wider_or_narrower():
    low, high = scipy_stats.ttest_1samp(VALUES, 0).confidence_interval(0.8)
    assert estimate(VALUES, confidence=0.8)[1:3] == pytest.approx((low, high))


def test_intervals_and_p_values_are_those_of_scipy():
    theirs = scipy_stats.ttest_1samp(VALUES, 0)
    low, high = theirs.confidence_interval(0.95)
    assert estimate(VALUES) == pytest.approx((0.0275, low, high, 4))
    assert difference_p(VALUES) == pytest.approx(theirs.pvalue)
    assert above_p(VALUES, 0.02) == pytest.approx(scipy_stats.ttest_1samp(VALUES, 0.02, alternative="greater").pvalue)


def test_tost_is_the_worse_of_its_two_tests():
    one_sided = [
        scipy_stats.ttest_1samp(VALUES, -0.05, alternative="greater").pvalue,
        scipy_stats.ttest_1samp(VALUES, 0.05, alternative="less").pvalue,
    ]
    assert equality_p(VALUES, 0.05) == pytest.approx(max(one_sided))
    assert equality_p(VALUES, 0.02) > 0.5  # the mean itself is outside
    with pytest.raises(ValueError, match="must be above 0"):
        equality_p(VALUES, 0.0)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([0.02, math.nan, 0.03]) == pytest.approx([0.04, 1.0, 0.04])  # what was not tested does not count
    assert holm([]) == [] and holm([0.7, 0.8]) == [1.0, 1.0]


# ------------------------------------------------------------------------------------------------ few seeds


def test_no_or_one_seed_can_tell_nothing():
    assert estimate([0.3]) == (0.3, -math.inf, math.inf, 1)
    assert math.isnan(estimate([]).mean) and estimate([]).n == 0
    assert difference_p([5.0]) == equality_p([0.0]) == above_p([5.0], 0.0) == difference_p([]) == 1.0


def test_values_without_any_spread_need_no_chance():
    assert difference_p([0.5, 0.5]) == 0.0 and difference_p([0.0, 0.0]) == 1.0
    assert equality_p([0.001, 0.001]) == 0.0 and equality_p([0.02, 0.02], 0.02) == 1.0
    assert estimate([0.5, 0.5]) == (0.5, 0.5, 0.5, 2)


def test_a_diverged_seed_cannot_slip_into_a_mean():
    with pytest.raises(ValueError, match="not all finite"):
        estimate([1.0, math.nan])


def test_pairs_are_those_seeds_that_both_have():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0}, {1: 1.5, 2: 3.0, 3: 9.0}
    assert paired(first, second).tolist() == [0.5, 1.0]
    assert estimate(paired(first, second)).mean == 0.75


def test_what_the_seeds_share_is_gone_from_a_paired_difference():
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=10.0, size=5)
    first = dict(enumerate(shared + 0.02 + 0.001 * rng.normal(size=5)))
    assert estimate(paired(first, dict(enumerate(shared)))).low > 0.015


def test_seeds_needed_are_those_at_which_the_test_would_succeed():
    n = seeds_needed(0.02, 0.013)
    t = [0.02 / 0.013 * math.sqrt(k) for k in (n - 1, n)]
    p = [2 * scipy_stats.t.sf(value, k - 1) for value, k in zip(t, (n - 1, n), strict=True)]
    assert p[0] > 0.05 >= p[1]
    assert seeds_needed(0.0001, 1.0) is None
    assert seeds_needed(1.0, 0.0) == seeds_needed(100.0, 1.0) == 2
    assert seeds_needed(0.02, 0.013, most=n) == n and seeds_needed(0.02, 0.013, most=n - 1) is None
    assert seeds_needed(0.02, 0.1) == 99 and seeds_needed(0.02, 0.101) is None  # a hundred are given up at
    assert seeds_needed(-0.02, 0.013) == n < seeds_needed(0.02, 0.013, alpha=0.05 / 10)


def test_verdicts_tell_real_equal_and_unknown_apart():
    assert verdict_of(0.01, 0.5) == REAL
    assert verdict_of(0.01, 0.01) == BELOW_MARGIN
    assert verdict_of(0.5, 0.01) == EQUIVALENT
    assert verdict_of(0.5, 0.5) == INCONCLUSIVE
    # A claim is made up to 5 %, and by default two losses are equal within 0.02 nats: what every report says.
    assert verdict_of(0.05, 0.0501) == REAL and verdict_of(0.0501, 0.05) == EQUIVALENT
    assert equality_p(VALUES) == equality_p(VALUES, 0.02) and estimate(VALUES) == estimate(VALUES, confidence=0.95)


# ------------------------------------------------------------------------------------------------ known truth


def test_intervals_hold_the_truth_in_93_to_97_percent():
    rng = np.random.default_rng(0)
    for num_seeds in SEEDS:
        assert 0.93 <= coverage("Student's t", "normal", num_seeds, 2000, rng) <= 0.97
    assert coverage("percentile bootstrap", "normal", 3, 300, rng) < 0.85  # which is why it is not used


def test_intervals_of_whole_sweeps_hold_the_truth_in_93_to_97_percent():
    assert 0.93 <= effect_coverage(3, 40, np.random.default_rng(3)) <= 0.97


def test_holm_and_tost_are_wrong_in_at_most_5_percent():
    rng = np.random.default_rng(0)
    chance = 2 * math.sqrt(0.05 * 0.95 / 1000)
    assert partial_family_error(5, 400, rng) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    assert 0.02 <= equality_error("normal", 5, 1000, rng) <= 0.05 + chance  # it does claim, and seldom wrongly
    assert family_error(3, 60, rng) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 60)


def test_real_effects_are_found_and_no_others():
    effects = (np.array([0.0, 0.0, 0.3]), np.zeros(4), np.zeros(3))
    found = comparisons(simulated_table(10, np.random.default_rng(0), effects))
    real = {(one.axes[0], one.first) for one in found if one.verdict == REAL}
    assert real == {("first", (0, 2)), ("first", (1, 2))}


# ------------------------------------------------------------------------------------------------ tables


def row(norm, residual, seed, loss, status="ok", alias_of=None, **more):
    cell_id = f"{norm}-{residual}-{seed}" + "".join(map(str, more.values()))
    return {"cell_id": cell_id, "alias_of": alias_of, "status": status, "norm": norm, "residual": residual,
            "seed": seed, "val_loss": loss, **more}  # fmt: skip


def grid(loss, seeds=3, lost=()):
    """A 2 x 2 grid whose loss is a function; what is lost has diverged."""
    return Table(
        ("norm", "residual"),
        [
            row(a, b, seed, None, "diverged") if (a, b, seed) in lost else row(a, b, seed, loss(a, b, seed))
            for a in ("layernorm", "rmsnorm")
            for b in ("pre", "post")
            for seed in range(seeds)
        ],
    )


def additive(a, b, seed):
    return 2.0 + 0.1 * (a == "rmsnorm") + 0.4 * (b == "post") + seed


def test_an_effect_is_a_levels_mean_minus_that_of_all_within_each_seed():
    first, second = main_effects(grid(additive), "norm")
    assert first.estimate[:3] == pytest.approx((-0.05, -0.05, -0.05), abs=1e-12)  # the seeds' own level is gone
    assert second.estimate.mean == pytest.approx(0.05)
    assert (first.blocks, first.all_blocks, first.counts) == (2, 2, (6, 0, 0))


def test_a_cell_that_diverged_is_left_out_for_both_sides():
    """The lost cell has the worst losses: without balance its level would look better for having lost it."""
    lost = {("rmsnorm", "post", seed) for seed in range(3)}
    first, second = main_effects(grid(additive, lost=lost), "norm")
    assert second.estimate.mean - first.estimate.mean == pytest.approx(0.1)
    assert (second.blocks, second.all_blocks) == (1, 2)
    assert second.counts == (3, 3, 0) and second.counts.caveat == "3 of 6 diverged"
    one = next(one for one in comparisons(grid(additive, lost=lost)) if one.axes == ("norm",))
    assert one.estimate.mean == pytest.approx(-0.1) and (one.blocks, one.all_blocks) == (1, 2)


def test_a_level_that_never_ended_well_leaves_the_others_their_effects():
    rows = grid(additive).rows + [row("none", b, seed, None, "diverged") for b in ("pre", "post") for seed in range(3)]
    effects = {one.level: one for one in main_effects(Table(("norm", "residual"), rows), "norm")}
    assert effects["layernorm"].estimate.mean == pytest.approx(-0.05)
    assert effects["none"].estimate.n == 0 and effects["none"].counts.diverged == 6


def test_balance_keeps_the_most_numbers_and_never_an_incomplete_block():
    present = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], bool)
    kept = balance(present)
    assert (kept.seeds.tolist(), kept.blocks.tolist()) == ([0, 1], [0, 1, 2])
    assert balance(np.zeros((2, 2), bool)).size == 0


def test_levels_that_are_one_function_are_not_compared():
    rows = [row("none", "pre", seed, 3.0 + 0.1 * seed) for seed in range(3)]
    rows += [row("none", "post", seed, 3.0 + 0.1 * seed, alias_of=f"none-pre-{seed}") for seed in range(3)]
    rows += [row("layernorm", b, seed, 2.0 + 0.1 * seed + (b == "post")) for b in ("pre", "post") for seed in range(3)]
    found = {one.axes[0]: one for one in comparisons(Table(("norm", "residual"), rows))}
    assert found["residual"].estimate.mean == pytest.approx(-1.0)  # and not -0.5, averaged with a zero
    assert (found["residual"].blocks, found["residual"].all_blocks) == (1, 1)
    assert found["norm"].blocks == 2
    assert len(summaries(Table(("norm", "residual"), rows))) == 3


def test_an_alias_without_a_loss_is_no_combination_that_could_have_been_compared():
    rows = [row("none", "pre", seed, None, "diverged") for seed in range(3)]
    rows += [row("none", "post", seed, None, "diverged", alias_of=f"none-pre-{seed}") for seed in range(3)]
    rows += [row("layernorm", b, seed, 2.0 + 0.1 * seed + (b == "post")) for b in ("pre", "post") for seed in range(3)]
    found = {one.axes[0]: one for one in comparisons(Table(("norm", "residual"), rows))}
    assert (found["residual"].blocks, found["residual"].all_blocks) == (1, 1)


@pytest.mark.parametrize("axes", [("activation", "residual", "norm"), ("residual", "activation", "norm")])
def test_an_interaction_that_aliases_make_zero_is_left_out_whatever_the_order_of_the_axes(axes):
    """Without a norm the layouts are one function, so there their difference cannot depend on the activation."""
    rows = []
    for activation in ("relu", "gelu"):
        for b in ("pre", "post"):
            for seed in range(3):
                loss = 2.0 + 0.01 * seed + 0.3 * (activation == "gelu" and b == "post")
                rows.append(row("layernorm", b, seed, loss, activation=activation))
                alias = f"none-pre-{seed}{activation}" if b == "post" else None
                rows.append(row("none", b, seed, 3.0 + 0.01 * seed, activation=activation, alias_of=alias))
    found = {frozenset(one.axes): one for one in interactions(Table(axes, rows))}
    one = found[frozenset(("activation", "residual"))]
    assert abs(one.estimate.mean) == pytest.approx(0.3)  # and not 0.15, averaged with a zero
    assert (one.blocks, one.all_blocks) == (1, 1)


def test_interactions_are_differences_of_differences():
    def crossed(a, b, seed):
        return additive(a, b, seed) + 0.25 * (a == "rmsnorm" and b == "post") + 1e-4 * seed * (b == "post")

    (one,) = interactions(grid(crossed))
    assert one.axes == ("norm", "residual") and one.verdict == REAL
    assert one.estimate.mean == pytest.approx(0.25)  # (layernorm - rmsnorm) at pre, minus that at post
    (none,) = interactions(grid(additive))
    assert none.estimate.mean == pytest.approx(0.0, abs=1e-12)
    _, _, values = interaction_residuals(grid(crossed), ("norm", "residual"))
    assert values == pytest.approx(np.array([[0.0625, -0.0625], [-0.0625, 0.0625]]))


def test_holm_counts_only_what_was_tested():
    table = grid(lambda a, b, seed: additive(a, b, seed) + 0.01 * seed * (a == "rmsnorm"))
    rows = table.rows + [row("none", b, 0, None, "failed") for b in ("pre", "post")]
    for one in comparisons(Table(table.axes, rows)):
        if one.estimate.n == 0:
            assert (one.p_holm, one.verdict) == (1.0, INCONCLUSIVE)
        else:
            assert one.p_holm <= 2 * one.p + 1e-15


def test_summaries_rank_count_and_compare_with_the_best():
    def loss(a, b, seed):
        return additive(a, b, seed / 100) + 1e-3 * seed * (b == "post")

    table = grid(loss, lost={("rmsnorm", "post", 2)})
    found = summaries(table)
    assert [one.verdict for one in found][:2] == [BEST, REAL]
    assert found[1].minus_best.mean == pytest.approx(0.1)
    frame = summary_frame(table, found)
    lost = frame[(frame["norm"] == "rmsnorm") & (frame["residual"] == "post")].iloc[0]
    assert (lost["n_ok"], lost["n_diverged"], lost["n_failed"]) == (2, 1, 0)
    assert lost["sd"] == pytest.approx(np.std([2.5, 2.511], ddof=1))
    assert list(frame["rank"]) == [1, 2, 3, 4]


def test_a_row_that_is_ok_without_a_loss_counts_as_failed():
    assert count_statuses([row("none", "pre", 0, math.nan), row("none", "pre", 1, None, "killed")]) == (0, 0, 2)


def test_each_configuration_gets_the_rate_that_suits_it():
    rows = [
        row("layernorm", b, seed, loss + 0.01 * seed, learning_rate=rate)
        for b, losses in {"pre": (2.0, 1.0), "post": (2.2, 3.0)}.items()
        for rate, loss in zip((0.1, 1.0), losses, strict=True)
        for seed in range(3)
    ]
    rows[4] = row("layernorm", "pre", 1, None, "diverged", learning_rate=1.0)
    table = Table(("residual", "learning_rate"), rows)
    best = at_best_rate(table)
    assert best.axes == ("residual",)
    # The lower mean of Pre-LN at 1.0 rests on two of three seeds, so 0.1 is better for it.
    assert {row["residual"]: row["learning_rate"] for row in best.rows} == {"pre": 0.1, "post": 0.1}
    assert len(at_rate(table, 1.0).rows) == 6


def test_a_rate_whose_seeds_have_not_all_ended_is_not_yet_the_best():
    rows = [row("layernorm", "pre", seed, 2.0, learning_rate=0.1) for seed in range(3)]
    rows += [row("layernorm", "pre", 0, 1.0, learning_rate=1.0)]
    assert at_best_rate(Table(("learning_rate",), rows)).rows == rows[:3]


def test_the_p_value_of_an_interval_is_that_of_its_values():
    assert interval_p(estimate(VALUES)) == pytest.approx(difference_p(VALUES))
    assert interval_p(estimate(VALUES[:1])) == 1.0 == interval_p(Estimate(0.3, 0.1, 0.5, 1))


def test_a_stuck_run_is_far_from_the_others_and_what_a_seed_does_to_all_is_not():
    losses = np.array([[2.0, 2.11, 2.2], [2.01, 2.1, 2.21], [2.5, 2.61, 4.0]])
    assert np.argwhere(far_from_others(losses)).tolist() == [[2, 2]]
    losses[2, 2] = np.nan
    assert not far_from_others(losses).any()
    assert far_from_others(np.zeros((0, 3))).shape == (0, 3)
    assert not far_from_others(np.ones((2, 3))).any()


@pytest.mark.parametrize(("loss", "is_far"), [(2.095, False), (2.105, True)])
def test_a_run_is_far_from_ten_times_the_typical_distance_on(loss, is_far):
    losses = np.array([[1.99, 1.99, 2.0, 2.01, loss]])  # the typical distance is 0.01
    assert far_from_others(losses).tolist() == [[False, False, False, False, is_far]]


@pytest.mark.parametrize(
    ("losses", "apart"),
    [
        ([2.0, 2.02, 3.0], [2]),  # one of three is stuck
        ([2.0, 3.3, 3.31], [0]),  # or two are, and one learned
        ([2.0, 3.3, 2.01, 3.31, 2.02], [1, 3]),
        ([3.3, 2.0, 3.31, 2.01], [0, 2]),
        ([2.0, 2.01, 2.29], []),  # as far apart as seeds of some models are
        ([2.0, 2.1, 2.5], []),  # noisy, not parted
        ([2.0, 3.3], []),  # of two, neither is the usual one
        ([2.0, math.nan, 2.02, 3.0], [3]),
        ([math.nan] * 3, []),
    ],
)
def test_runs_that_a_wide_gap_sets_apart_are_seen_among_few_seeds(losses, apart):
    assert np.flatnonzero(set_apart(np.array(losses))).tolist() == apart


@pytest.mark.parametrize("others", [[], [[0.0001] * 5], [[0.0001] * 5, [0.0002] * 5]])
def test_runs_that_are_stuck_while_others_reach_the_lowest_loss_there_is_are_far(others):
    stuck = [0.0003, 0.2971, 0.6931, 0.6932, 0.0014]  # at that of a guess; Student's interval is -0.09 to 0.77
    assert np.argwhere(far_from_others(np.array([*others, stuck]))).tolist() == [[len(others), 2], [len(others), 3]]


@pytest.mark.parametrize(
    "losses", [[0.0001, 0.0002, 0.0001, 0.0061], [0.3, 0.32, 0.31, 0.33], [0.02, math.nan], [2.0, 2.35]]
)
def test_an_interval_that_reaches_below_zero_by_nothing_that_matters_is_left_alone(losses):
    assert not reach_below_zero(np.array(losses)).any()


def test_of_two_configurations_the_one_whose_run_is_stuck_is_named():
    losses = np.array([[2.0, 2.1, 2.2, 2.15, 2.05], [2.01, 2.1, 2.21, 4.0, 2.06]])
    assert np.argwhere(far_from_others(losses)).tolist() == [[1, 3]]


def test_normal_seeds_of_one_or_two_models_are_seldom_set_apart():
    rng = np.random.default_rng(0)
    for shape in ((1, 5), (2, 3), (2, 5)):
        found = [far_from_others(2 + 0.02 * rng.standard_normal(shape)).any() for _ in range(400)]
        assert np.mean(found) <= 0.05


def test_seeds_that_all_ended_alike_are_told_from_those_that_did_not():
    assert has_no_seed([2.5, 2.5, None, math.nan]) is True
    assert has_no_seed([2.5, 2.5 + 1e-13]) is True
    assert has_no_seed([2.5, 2.5001]) is False
    assert has_no_seed([2.5]) is False and has_no_seed([]) is False

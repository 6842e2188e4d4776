"""Which part of a table with gaps is compared, and what comes out of it, by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sweeps.report.sentences import comparison_sentences, interactions_sentence
from sweeps.results.effects import (
    Cube,
    LevelComparison,
    balance,
    balanced_levels,
    balanced_rows,
    comparisons,
    comparisons_of,
    cube_of,
    effects_frame,
    interaction_residuals,
    interactions,
    main_effects,
    trivially_zero,
)
from sweeps.results.table import Table
from tlab.judging.few_seeds import BELOW_MARGIN, EQUIVALENT, INCONCLUSIVE, REAL, Estimate, difference_p, holm
from tlab.judging.level_pairs import numbers_of_equal_pairs, pair_p_values


def cube(values):
    """Values (seeds, levels, blocks), each trained on its own."""
    values = np.array(values, dtype=np.float64)
    return Cube([], [], values, np.arange(values.size).reshape(values.shape), [])


def test_a_level_with_gaps_stays_where_that_leaves_more_numbers_in_all():
    nan = np.nan
    # Two levels with four blocks are 8 numbers, three levels with three blocks 9.
    levels, kept = balanced_levels(cube([[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, nan]]]))
    assert (levels.tolist(), kept.blocks.tolist(), kept.seeds.tolist()) == ([0, 1, 2], [0, 1, 2], [0])


def test_a_level_with_more_gaps_is_left_out():
    nan = np.nan
    # With the third level two blocks are left, 6 numbers; without it 8.
    levels, kept = balanced_levels(cube([[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, nan, nan]]]))
    assert (levels.tolist(), kept.blocks.tolist()) == ([0, 1], [0, 1, 2, 3])


def row(norm, residual, seed, loss, alias_of=None, **more):
    """A row of a table with these two axes; without a loss it has diverged."""
    status = "diverged" if loss is None else "ok"
    return {"cell_id": f"{norm}-{residual}-{seed}", "alias_of": alias_of, "status": status, "norm": norm,
            "residual": residual, "seed": seed, "val_loss": loss, **more}  # fmt: skip


def table(losses):
    """Of (norm, residual) -> the losses of its seeds 0, 1 ..., None for one that diverged."""
    rows = [row(*setting, seed, loss) for setting, by_seed in losses.items() for seed, loss in enumerate(by_seed)]
    return Table(("norm", "residual"), rows)


SMALL = {("layernorm", "pre"): [2.0, 2.1], ("layernorm", "post"): [2.4, 2.5], ("rmsnorm", "pre"): [2.1, 2.4],
         ("rmsnorm", "post"): [2.5, 2.6]}  # fmt: skip


# ------------------------------------------------------------------------------------------------ balance


def test_a_cube_has_each_value_at_its_seed_level_and_block():
    found = cube_of(table(SMALL), ["norm"])
    assert (found.seeds, found.levels) == ([0, 1], ["layernorm", "rmsnorm"])
    assert found.values.tolist() == [[[2.0, 2.4], [2.1, 2.5]], [[2.1, 2.5], [2.4, 2.6]]]
    assert found.places == [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    assert sorted(found.functions.ravel().tolist()) == list(range(8))


def test_a_cube_of_two_axes_has_the_pairs_of_their_levels_and_one_block():
    found = cube_of(table(SMALL), ("norm", "residual"))
    assert found.levels == [("layernorm", "pre"), ("layernorm", "post"), ("rmsnorm", "pre"), ("rmsnorm", "post")]
    assert found.values[..., 0].tolist() == [[2.0, 2.4, 2.1, 2.5], [2.1, 2.5, 2.4, 2.6]]


def test_cells_that_are_missing_have_no_value_and_no_function_and_aliases_share_theirs():
    rows = [
        row("none", "pre", 0, 3.0),
        row("none", "post", 0, 3.0, alias_of="none-pre-0"),
        row("layernorm", "pre", 0, None),
    ]
    found = cube_of(Table(("norm", "residual"), rows), ["residual"])
    np.testing.assert_array_equal(found.values, [[[3.0, np.nan], [3.0, np.nan]]])
    assert found.functions.tolist() == [[[0, 1], [0, -1]]]
    assert cube_of(Table(("norm",), []), ["norm"]).values.shape == (0, 0, 0)


def test_of_equally_many_numbers_those_of_more_seeds_are_kept():
    present = np.array([[1, 1], [1, 0]], bool)  # one seed with two blocks, or two seeds with one
    kept = balance(present)
    assert (kept.seeds.tolist(), kept.blocks.tolist(), kept.size) == ([0, 1], [0], 2)


def test_of_nothing_nothing_is_kept():
    for present in (np.zeros((2, 2), bool), np.zeros((0, 0), bool)):
        kept = balance(present)
        assert (kept.seeds.tolist(), kept.blocks.tolist()) == ([], [])


def test_without_two_levels_to_compare_none_is_chosen():
    levels, kept = balanced_levels(cube([[[1, 2]]]))
    assert (levels.tolist(), kept.seeds.tolist(), kept.blocks.tolist()) == ([], [], [])


def test_where_no_block_has_both_levels_none_is_chosen_and_none_has_an_effect():
    nan = np.nan
    levels, kept = balanced_levels(cube([[[1, nan], [nan, 2]]]))
    assert (levels.tolist(), kept.seeds.tolist(), kept.blocks.tolist()) == ([], [], [])
    apart = {("layernorm", "pre"): [2.0, 2.1], ("rmsnorm", "post"): [2.4, 2.5]}
    effects = main_effects(table(apart), "norm")
    assert [(effect.estimate.n, effect.blocks, effect.all_blocks) for effect in effects] == [(0, 0, 2), (0, 0, 2)]


def test_of_equally_many_numbers_those_of_more_levels_are_kept():
    nan = np.nan
    # Two levels with three blocks are 6 numbers, and so are three levels with two.
    levels, kept = balanced_levels(cube([[[1, 2, 3], [1, 2, 3], [1, 2, nan]]]))
    assert (levels.tolist(), kept.blocks.tolist()) == ([0, 1, 2], [0, 1])


def test_a_block_in_which_all_levels_are_one_function_is_left_out():
    functions = np.array([[[0, 1], [0, 2], [0, 1]]])  # in the second block two of three levels are the same
    values = np.array([[[3.0, 1], [3, 2], [3, 1]]])
    levels, kept = balanced_levels(Cube([], [], values, functions, []))
    assert (levels.tolist(), kept.blocks.tolist()) == ([0, 1, 2], [1])


def test_the_rows_whose_means_can_be_compared_are_those_of_the_balanced_part():
    lost = table({**SMALL, ("rmsnorm", "post"): [2.5, None], ("none", "pre"): [None, None]})
    kept = {(r["norm"], r["residual"], r["seed"]) for r in balanced_rows(lost, "norm")}
    # Both blocks of the first seed are as many numbers as one block of both seeds: those of more seeds.
    assert kept == {(norm, "pre", seed) for norm in ("layernorm", "rmsnorm") for seed in (0, 1)}
    alone = table({("none", "pre"): [3.0], ("layernorm", "pre"): [None]})
    assert balanced_rows(alone, "norm") == alone.rows  # nothing to compare


# ------------------------------------------------------------------------------------------------ effects


def test_the_frame_of_effects_has_a_row_for_each_level_of_what_differs():
    frame = effects_frame(table(SMALL))
    numbers = ["effect", "ci_low", "ci_high", "n_seeds", "n_blocks", "n_lost", "n_far"]
    assert list(frame.columns) == ["axis", "level", *numbers]
    assert [*zip(frame["axis"], frame["level"], strict=True)] == [
        ("norm", "layernorm"), ("norm", "rmsnorm"), ("residual", "pre"), ("residual", "post"),
    ]  # fmt: skip
    # Within seed 0 the norms differ by 0.1, within seed 1 by 0.2: 0.075 to either side of their mean.
    assert frame["effect"].tolist() == pytest.approx([-0.075, 0.075, -0.175, 0.175])
    assert frame["n_seeds"].tolist() == [2] * 4 and frame["n_blocks"].tolist() == [2] * 4
    reach = 12.7062 * 0.025  # Student's t of one degree of freedom, times the standard error of -0.05 and -0.1
    assert (frame["ci_low"][0], frame["ci_high"][0]) == pytest.approx((-0.075 - reach, -0.075 + reach), abs=1e-5)


def test_the_frame_has_no_interval_of_one_seed_and_no_axis_of_one_level():
    frame = effects_frame(table({("layernorm", "pre"): [2.0], ("none", "pre"): [3.0]}))
    assert frame["axis"].tolist() == ["norm", "norm"] and frame["effect"].tolist() == [-0.5, 0.5]
    assert frame["ci_low"].isna().all() and frame["ci_high"].isna().all()


def test_an_effect_says_what_it_rests_on():
    first, second, lost = main_effects(
        table({**SMALL, ("none", "pre"): [None, None], ("none", "post"): [None, None]}), "norm"
    )
    assert (first.estimate.n, first.blocks, first.all_blocks, first.counts) == (2, 2, 2, (2 * 2, 0, 0))
    assert second.estimate.mean == pytest.approx(0.075)
    assert (lost.estimate.n, lost.counts) == (0, (0, 4, 0)) and math.isnan(lost.estimate.mean)


# ------------------------------------------------------------------------------------------------ comparisons


def test_a_comparison_is_of_the_seeds_differences_with_its_spread():
    norms, layouts = comparisons(table(SMALL))
    assert (norms.axes, norms.first, norms.second) == (("norm",), ("layernorm", "rmsnorm"), None)
    differences = [-0.1, -0.2]  # of the means over both layouts
    assert norms.estimate.mean == pytest.approx(-0.15) and norms.estimate.n == 2
    assert norms.spread == pytest.approx(np.std(differences, ddof=1))
    assert (norms.blocks, norms.all_blocks) == (2, 2)
    assert norms.p == pytest.approx(difference_p(differences))
    assert [norms.p_holm, layouts.p_holm] == holm([norms.p, layouts.p])
    assert layouts.first == ("pre", "post")


def test_one_seed_has_no_spread_and_claims_nothing():
    for one in comparisons(table({setting: losses[:1] for setting, losses in SMALL.items()})):
        assert math.isnan(one.spread) and (one.p, one.p_holm, one.verdict) == (1.0, 1.0, INCONCLUSIVE)


def test_a_test_that_has_no_numbers_does_not_count_against_the_others():
    alone = {setting: losses for setting, losses in SMALL.items() if setting[1] == "pre"}
    one, *others = comparisons(table({**alone, ("none", "pre"): [None, 3.0]}))
    assert one.first == ("layernorm", "rmsnorm") and [other.estimate.n for other in others] == [1, 1]
    assert one.p_holm == one.p < 1 and [other.p_holm for other in others] == [1.0, 1.0]


def noisy(levels, seeds=5):
    """A table of one axis whose last level is worse by about twice the noise."""
    losses = 2 + 0.01 * np.random.default_rng(0).standard_normal((len(levels), seeds))
    losses[-1] += 0.03
    return {(level, "pre"): losses[i].tolist() for i, level in enumerate(levels)}


NORMS = ("layernorm", "rmsnorm", "dyt", "none")


def test_levels_of_one_axis_are_judged_by_the_noise_of_all_and_by_how_many_pairs_can_be_equal():
    losses = noisy(NORMS)
    found = comparisons(table(losses))
    values = np.array(list(losses.values())).T
    expected = holm(pair_p_values(values).tolist(), numbers_of_equal_pairs(4))
    assert [one.p_holm for one in found] == pytest.approx(
        [max(one.p, p) for one, p in zip(found, expected, strict=True)]
    )
    assert sum(p <= 0.05 for p in holm([one.p for one in found])) < sum(one.p_holm <= 0.05 for one in found)


def test_a_level_with_a_lost_run_is_judged_by_itself_and_the_others_together():
    losses = noisy(NORMS)
    losses["layernorm", "pre"][1] = None
    found = comparisons(table(losses))
    together = pair_p_values(np.array(list(losses.values())[1:], float).T).tolist()
    p_values = [one.p for one in found[:3]] + together  # the first three are the pairs of the first level
    expected = holm(p_values, {equal + more for equal in (0, 1, 3) for more in range(4)})
    assert [one.p_holm for one in found] == pytest.approx(
        [max(one.p, p) for one, p in zip(found, expected, strict=True)]
    )


def test_several_tables_share_the_error_of_all():
    first, second = comparisons_of([table(noisy(NORMS[:2])), table(noisy(NORMS[1:3]))])
    assert [first[0].p_holm, second[0].p_holm] == holm([first[0].p, second[0].p])


@pytest.mark.parametrize(
    ("p_holm", "p_equal", "low", "verdict", "is_hint"),
    [
        (0.06, 0.5, 0.01, INCONCLUSIVE, True),
        (0.06, 0.5, -0.01, INCONCLUSIVE, False),
        (0.04, 0.5, 0.01, REAL, False),
        (0.06, 0.04, 0.01, EQUIVALENT, False),
        (0.04, 0.04, 0.01, BELOW_MARGIN, False),
    ],
)
def test_a_hint_is_an_interval_without_zero_that_is_not_enough_for_a_claim(p_holm, p_equal, low, verdict, is_hint):
    one = LevelComparison(
        ("norm",), ("a", "b"), None, Estimate(0.02, low, 0.03, 3), 0.03, p_holm, 0.01, p_equal, 1, 1, 0.01
    )
    assert (one.verdict, one.is_hint) == (verdict, is_hint)


def made_up(low, p_holm, axes=("norm",), second=None):
    return LevelComparison(axes, ("a", "b"), second, Estimate(0.02, low, 0.03, 3), 0.03, p_holm, 0.5, 0.5, 1, 1, 0.01)


def test_what_would_be_real_by_itself_is_told_with_how_often_chance_does_that():
    found = [made_up(0.01, 0.04), made_up(0.01, 0.2), made_up(-0.01, 0.2)]
    real, inconclusive, hints = comparison_sentences(found, 0.01)
    assert real.startswith("Real differences, after Holm's correction, in 1 of 3 comparisons of levels: ")
    assert inconclusive == "In 2 the sweep is inconclusive."
    assert hints.startswith(
        "Had each of them been the only comparison, 1 would be called real; but of equal levels 5% would be, too, by "
        "chance: "
    )
    assert len(comparison_sentences([made_up(-0.01, 0.2)], 0.01)) == 2, "nothing would be real by itself"


def test_the_same_is_told_of_questions_about_two_axes():
    def told(*found):
        about = SimpleNamespace(interactions=found, margin=0.01, table=SimpleNamespace(unit="nats per token"))
        return interactions_sentence(about)

    both, levels = ("norm", "residual"), ("c", "d")
    hint, unsure = made_up(0.01, 0.2, both, levels), made_up(-0.01, 0.2, both, levels)
    assert told(hint, unsure).endswith(
        "and inconclusive for 2. Had each of these been the only question, the answer would be yes for 1; but where "
        "nothing depends on another axis it would be yes for 5%, too, by chance. All are in comparisons.csv."
    )
    assert told(unsure).endswith("and inconclusive for 1. All are in comparisons.csv.")


def test_a_difference_is_trivial_where_both_levels_are_one_function():
    functions = np.array([[[0, 1], [0, 2], [-1, -1], [-1, 3]]])  # one seed, four levels, two blocks
    assert trivially_zero(functions, [(0, 1)]).tolist() == [[True, False]]
    assert trivially_zero(functions, [(2, 3)]).tolist() == [[False, False]]  # what was not trained is no alias
    assert trivially_zero(functions, [(0, 1), (0, 1)]).tolist() == [[True, True]]
    assert trivially_zero(functions, [(0, 1), (1, 0)]).tolist() == [[True, False]]


def test_a_difference_of_differences_needs_all_four_corners():
    three = {setting: losses for setting, losses in SMALL.items() if setting != ("rmsnorm", "post")}
    assert interactions(table(three)) == []
    (one,) = interactions(table(SMALL))
    assert (one.axes, one.first, one.second) == (("norm", "residual"), ("layernorm", "rmsnorm"), ("pre", "post"))
    # At pre -0.1 and -0.3, at post -0.1 and -0.1.
    assert one.estimate.mean == pytest.approx(-0.1) and one.spread == pytest.approx(np.std([0, -0.2], ddof=1))


def test_residuals_are_what_two_additive_effects_leave_and_a_pair_without_a_value_has_none():
    firsts, seconds, values = interaction_residuals(
        table({**SMALL, ("none", "pre"): [3.0, 3.0], ("none", "post"): [None, None]}), ("norm", "residual")
    )
    assert (firsts, seconds) == (["layernorm", "rmsnorm", "none"], ["pre", "post"])
    # The means of the four whole pairs are 2.05, 2.45, 2.25, 2.55: what is left is a quarter of their -0.1.
    np.testing.assert_allclose(values, [[-0.025, 0.025], [0.025, -0.025], [0, np.nan]], atol=1e-12)
    _, _, values = interaction_residuals(table({("none", "pre"): [None]}), ("norm", "residual"))
    assert np.isnan(values).all()

"""A table by configuration: how its seeds ended, how it ranks, and which learning rate suits it."""

import math

import pytest

from sweeps.results.summary import BEST, Counts, at_best_rate, at_rate, configurations, summaries, summary_frame
from sweeps.results.table import Table
from tlab.judging.few_seeds import INCONCLUSIVE, REAL, difference_p


def row(norm, seed, loss, status="ok", alias_of=None, **more):
    rate = "".join(map(str, more.values()))
    return {"cell_id": f"{norm}{rate}-{seed}", "alias_of": alias_of, "status": status, "norm": norm, "seed": seed,
            "val_loss": loss, **more}  # fmt: skip


def table(losses):
    """Of norm -> the losses of its seeds 0, 1 ...; a word for one that ended in this way."""
    return Table(
        ("norm",),
        [
            row(norm, seed, None, loss) if isinstance(loss, str) else row(norm, seed, loss)
            for norm, by_seed in losses.items()
            for seed, loss in enumerate(by_seed)
        ],
    )


@pytest.mark.parametrize(
    ("counts", "caveat"),
    [((3, 0, 0), ""), ((2, 1, 0), "1 of 3 diverged"), ((1, 1, 2), "1 of 4 diverged, 2 of 4 failed")],
)
def test_a_mean_says_what_it_leaves_out(counts, caveat):
    assert Counts(*counts).caveat == caveat


def test_fewer_seeds_lost_are_better_than_a_lower_mean_and_no_loss_comes_last():
    found = configurations(
        table(
            {
                "a": [1.0, "diverged"],
                "b": [3.0, 3.1],
                "c": ["failed", "diverged"],
                "d": [2.0, 2.2],
                "e": [0.5, "killed"],
            }
        )
    )
    assert [one.levels["norm"] for one in found] == [["d"], ["b"], ["e"], ["a"], ["c"]]
    assert found[0].mean == pytest.approx(2.1) and math.isinf(found[-1].mean)
    assert [one.counts for one in found] == [(2, 0, 0), (2, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 1)]
    assert found[-1].caveat == "1 of 2 diverged, 1 of 2 failed"


def test_aliases_are_one_configuration_whichever_of_them_was_trained_with_a_seed():
    rows = [
        row("pre", 0, 3.0),
        row("post", 0, 3.0, alias_of="pre-0"),
        row("post", 1, 3.1),
        row("sandwich", 1, 3.1, alias_of="post-1"),
        row("other", 0, 2.0),
    ]
    other, one = configurations(Table(("norm",), rows))
    assert other.levels == {"norm": ["other"]} and other.ran == ["other-0"]
    assert one.levels == {"norm": ["pre", "post", "sandwich"]} and one.losses == {0: 3.0, 1: 3.1}
    assert one.ran == ["pre-0", "post-1"]


def test_each_configuration_is_compared_with_the_best_by_its_seeds():
    best, second, third = summaries(table({"b": [2.5, 2.4, 2.6], "a": [2.0, 2.1, 2.2], "c": [4.0, "failed", "failed"]}))
    assert [one.configuration.levels["norm"] for one in (best, second, third)] == [["a"], ["b"], ["c"]]
    assert best.verdict == BEST and best.minus_best.mean == 0
    assert second.minus_best.mean == pytest.approx(0.4) and second.minus_best.n == 3
    assert third.minus_best == (2.0, -math.inf, math.inf, 1)
    assert second.deviation == pytest.approx(0.1) and math.isnan(third.deviation)


def test_what_one_seed_has_is_no_test_and_takes_nothing_from_the_others():
    losses = {"a": [2.0, 2.0, 2.0], "b": [2.3, 2.4, 2.6]}
    assert 0.025 < difference_p([0.3, 0.4, 0.6]) <= 0.05  # enough for one test, and not for one of two
    _, second, _ = summaries(table({**losses, "c": [4.0, "failed", "failed"]}))
    assert second.verdict == REAL
    _, second, _ = summaries(table({**losses, "c": [4.0, 3.0, 5.0]}))
    assert second.verdict == INCONCLUSIVE


def test_the_frame_has_a_rank_where_there_is_a_loss_and_an_interval_where_there_are_two():
    given = table({"b": [2.5, 2.4], "a": [2.0, 2.1], "c": [4.0, "failed"], "d": ["diverged", "failed"]})
    frame = summary_frame(given, summaries(given))
    assert list(frame.columns) == [
        "norm", "rank", "n_ok", "n_diverged", "n_failed", "mean", "sd", "ci_low", "ci_high", "minus_best",
        "against_best", "bits_per_byte", "n_far",
    ]  # fmt: skip
    assert frame["norm"].tolist() == ["a", "b", "c", "d"]
    assert frame["rank"].tolist()[:3] == [1, 2, 3] and math.isnan(frame["rank"][3])
    reach = 12.7062 * 0.05  # Student's t of one degree of freedom, times the standard error
    assert (frame["ci_low"][0], frame["ci_high"][0]) == pytest.approx((2.05 - reach, 2.05 + reach), abs=1e-4)
    assert frame["ci_low"].isna().tolist() == frame["ci_high"].isna().tolist() == [False, False, True, True]
    assert frame["minus_best"].tolist()[:3] == pytest.approx([0, 0.4, 2.0])


def test_aliases_are_named_together_in_the_frame():
    given = Table(("norm",), [row("pre", 0, 3.0), row("post", 0, 3.0, alias_of="pre-0")])
    assert summary_frame(given, summaries(given))["norm"].tolist() == ["pre = post"]


# ------------------------------------------------------------------------------------------------ the rate


def test_of_two_rates_that_do_alike_the_first_is_taken_and_none_without_a_loss():
    rows = [row("a", seed, loss, learning_rate=rate) for rate, loss in ((0.1, 2.0), (1.0, 2.0)) for seed in range(2)]
    rows += [row("b", seed, None, "diverged", learning_rate=0.1) for seed in range(2)]
    rows += [row("b", 0, 9.0, learning_rate=1.0), row("b", 1, None, "failed", learning_rate=1.0)]
    best = at_best_rate(Table(("norm", "learning_rate"), rows))
    assert [(r["norm"], r["learning_rate"]) for r in best.rows] == [("a", 0.1), ("a", 0.1), ("b", 1.0), ("b", 1.0)]


def test_the_best_rate_may_be_that_of_another_measure():
    rows = [row("a", 0, loss, learning_rate=rate, train_loss=3 - loss) for rate, loss in ((0.1, 1.0), (1.0, 2.0))]
    given = Table(("norm", "learning_rate"), rows)
    assert at_best_rate(given).rows == rows[:1]


def test_the_part_with_one_rate_has_no_axis_for_it():
    rows = [row("a", 0, 1.0, learning_rate=rate) for rate in (0.1, 1.0)]
    part = at_rate(Table(("norm", "learning_rate"), rows), 1.0)
    assert (part.axes, part.rows) == (("norm",), rows[1:])

"""A small run of `python -m benchmarks.null_sweeps`: seldom says a report what is false, and mostly does it see."""

import math

import numpy as np
import pytest

from benchmarks.null_sweeps import (
    DIFFERENT,
    EQUAL,
    NOISES,
    SHAPES,
    SKEWED,
    THE_SAME,
    Kind,
    false_shares,
    found_shares,
    made_up_table,
    main,
    print_shares,
)
from benchmarks.statistics import SPREAD
from tlab.judging.few_seeds import MARGIN

SWEEPS = 60
HIGHEST = 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / SWEEPS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("noise", "lost"), [("normal", 0.0), ("heavy tails", 0.3)])
def test_where_nothing_differs_no_kind_of_sentence_says_that_something_does(shape, noise, lost):
    rng = np.random.default_rng(0)
    kinds = (*DIFFERENT, SKEWED) if noise == "normal" else DIFFERENT
    shares = false_shares(kinds, SWEEPS, lambda: made_up_table(SHAPES[shape], 5, NOISES[noise], rng, lost))
    assert max(shares) <= HIGHEST, shares


@pytest.mark.parametrize("shape", SHAPES)
def test_what_differs_by_the_margin_is_seldom_called_equivalent_whatever_the_number_of_levels(shape):
    rng = np.random.default_rng(0)
    quiet = {"effect": MARGIN, "spread": SPREAD / 4}
    shares = false_shares(EQUAL, SWEEPS, lambda: made_up_table(SHAPES[shape], 5, NOISES["normal"], rng, **quiet))
    if "num_heads" in SHAPES[shape]:
        quiet["effect_axes"] = 2
        shares += false_shares(
            THE_SAME, SWEEPS, lambda: made_up_table(SHAPES[shape], 5, NOISES["normal"], rng, **quiet)
        )
    assert max(shares) <= HIGHEST, shares


def test_a_share_that_is_high_by_chance_is_found_once_more_and_one_that_is_high_is_missed(capsys):
    appearances = iter([True] * 10 + [False] * 50 + [True] * 60)
    unlucky = Kind("unlucky", lambda analysis: next(appearances))
    table = made_up_table(SHAPES["2"], 2, NOISES["normal"], np.random.default_rng(0))
    print_shares([unlucky], 10, [lambda: table])
    print_shares([unlucky], 10, [lambda: table])
    first, second = capsys.readouterr().out.splitlines()
    assert "100.0 %   reached, 100.0% is 0.0% of 50 new ones" in first
    assert "100.0 %   MISSED, 100.0% is 100.0% of 50 new ones" in second


def test_an_effect_of_twice_the_noise_is_found_with_five_seeds():
    assert min(found_shares("3 x 4 x 3", "normal", 20, np.random.default_rng(0))) >= 0.5
    assert found_shares("3 x 4 x 3", "normal", 20, np.random.default_rng(0))[0] >= 0.8
    of_a_pair = 2 * math.sqrt(2)
    assert min(found_shares("2", "normal", 100, np.random.default_rng(0), of_a_pair)) >= 0.8
    assert min(found_shares("3 x 4", "normal", 50, np.random.default_rng(0), of_a_pair)) >= 0.8


def test_a_made_up_sweep_is_what_it_is_said_to_be():
    rng = np.random.default_rng(0)
    rows = made_up_table(SHAPES["3 x 4"], 50, NOISES["heavy tails"], rng, lost=0.3, effect=5.0).rows
    lost = [row for row in rows if row["status"] == "diverged"]
    assert len(rows) == 600 and {row["num_layers"] for row in lost} == {0}
    assert 0.2 < len(lost) / 200 < 0.4 and all(row["val_loss"] is None for row in lost)
    assert min(row["val_loss"] for row in rows if row["num_layers"] == 0 and row not in lost) > 6
    for noise in NOISES.values():
        drawn = noise.draw(rng, (40_000,))
        assert abs(float(np.mean(drawn > noise.quantile(0.7))) - 0.3) < 0.01


def test_every_kind_is_printed_with_its_shares(capsys):
    main(sweeps=1)
    printed = capsys.readouterr().out
    assert all(kind.words in printed for kind in (*DIFFERENT, SKEWED, *EQUAL, *THE_SAME))
    assert printed.count("found in") == 2

"""A small run of `python -m benchmarks.null_sweeps`: seldom says a report what is false, and mostly does it see."""

import math

import numpy as np
import pytest

from benchmarks.null_sweeps import KINDS, NOISES, SHAPES, false_shares, found_share, made_up_table, main

SWEEPS = 60


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("noise", "lost"), [("normal", 0.0), ("heavy tails", 0.3)])
def test_where_nothing_differs_no_kind_of_sentence_says_that_something_does(shape, noise, lost):
    shares = false_shares(shape, noise, lost, 5, SWEEPS, np.random.default_rng(0))
    if noise != "normal":
        del shares["seeds look skewed or stuck"]  # they are
    assert max(shares.values()) <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / SWEEPS), shares


def test_an_effect_of_twice_the_noise_is_found_with_five_seeds():
    assert found_share("3 x 4 x 3", "normal", 20, np.random.default_rng(0)) >= 0.8
    assert found_share("2", "normal", 100, np.random.default_rng(0), 2 * math.sqrt(2)) >= 0.8  # of a paired difference


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
    assert all(kind in printed for kind in KINDS) and printed.count("found in") == 1

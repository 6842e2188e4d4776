"""A sweep that tunes the learning rate survives kills, goes on elsewhere as any other, and says what it cannot."""

import importlib.util
import sys

import pandas as pd
import pytest

import kill_sweeps
from sweeps.__main__ import main

TUNED = [
    "--tune", "learning_rate", "--seeds", "2", "--steps", "200", "--corpus", "brackets", "--set", "hidden_dim=16",
    "--set", "num_layers=1", "--set", "context_length=16", "--set", "batch_size=4",
]  # fmt: skip
SHORT = [*TUNED, "--steps", "2"]


def records(folder):
    return {path.name: path.read_bytes() for path in folder.glob("cells/*.json")}


def tuned(folder, *flags):
    assert main(["run", *SHORT, "--jobs", "1", *flags, "--out", str(folder)]) == 0
    (row,) = pd.read_csv(folder / "rates.csv").to_dict("records")
    return row


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs dask[distributed]")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # as in test_backends.py
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tuned_sweep_that_was_killed_goes_on_under_dask_and_trains_no_cell_twice(tmp_path):
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    assert main(["run", *TUNED, "--jobs", "1", "--out", str(quiet)]) == 0
    assert kill_sweeps.kill_driver(killed, after=0.0, cells=2, grid=[*TUNED, "--jobs", "2"])
    before = records(killed)
    assert 2 <= len(before) < 10
    assert main(["run", *TUNED, "--backend", "dask", "--jobs", "2", "--out", str(killed)]) == 0
    after = records(killed)
    assert len(after) == 10 and {name: after[name] for name in before} == before
    assert kill_sweeps.numbers(killed) == kill_sweeps.numbers(quiet)
    assert (killed / "rates.csv").read_bytes() == (quiet / "rates.csv").read_bytes()


def test_more_seeds_are_added_to_a_tuned_sweep_and_the_first_ones_stay(tmp_path):
    tuned(tmp_path)
    before = records(tmp_path)
    assert tuned(tmp_path, "--seeds", "3")["n_seeds"] == 3
    assert len(records(tmp_path)) == 15 and before.items() <= records(tmp_path).items()


def test_with_one_seed_the_table_says_why_there_is_no_interval(tmp_path):
    row = tuned(tmp_path, "--seeds", "1")
    assert row["problem"] == "One seed says nothing about chance; an interval takes two or more."
    assert pd.isna(row["optimum_low"]) and pd.isna(row["optimum_high"])


def test_where_every_run_diverged_the_table_says_so(tmp_path):
    row = tuned(tmp_path, "--set", "max_loss=0.01")
    assert row["problem"] == "Every run diverged or failed; try lower learning rates."
    assert row["n_lost"] == 10 and pd.isna(row["best_tried"])


@pytest.mark.parametrize("rates", ["0", "-0.1", "inf"])
def test_a_rate_that_is_not_positive_is_refused_in_words_before_anything_is_trained(tmp_path, capsys, rates):
    folder = tmp_path / "results"
    assert main(["run", *SHORT, "--set", f"learning_rate={rates}", "--out", str(folder)]) != 0
    assert "has to be a number above 0" in capsys.readouterr().err and not folder.exists()

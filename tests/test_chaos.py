"""Damage at random: a small sample of what `python -m benchmarks.chaos` does, and that it sees what is wrong."""

import random

import pytest

import benchmarks.chaos
import tlab.ui.tabs.sweeps.results
from benchmarks.chaos import KINDS, READERS, REPORTED, SAME, TRAINING, WRONG, Answer, Place, drawn, flip_bytes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, a sweep and an export that nobody disturbed."""
    place = Place(tmp_path_factory.mktemp("chaos"), quick=True)
    place.make()
    return place


@pytest.mark.parametrize(("name", "times"), [("run", 6), ("half", 2), ("zip", 12), ("sweep", 8)])
def test_changed_bytes_of_any_file_are_reported_or_without_effect(place, name, times):
    for seed in range(times):
        outcome = flip_bytes(name)(place, random.Random(seed))
        assert outcome.verdict in (SAME, REPORTED), outcome.what


def test_a_number_that_changed_without_a_word_is_wrong(place, monkeypatch):
    with place.copy("sweep") as folder:
        path = folder / "cells.csv"
        content = path.read_bytes()
        place_of_loss = content.index(b",3.") + 1
        path.write_bytes(content[:place_of_loss] + b"1" + content[place_of_loss + 1 :])
        assert place.compared("sweep", folder, "a loss", only=("the app",)).verdict == REPORTED
        monkeypatch.setattr(tlab.ui.tabs.sweeps.results, "check_file", lambda path: None)
        assert place.compared("sweep", folder, "a loss", only=("the app",)).verdict == WRONG


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer("text"), SAME),
        (Answer("text", "warning: damaged"), REPORTED),
        (Answer(None, "error: damaged", failed=True), REPORTED),
        (Answer("other text"), WRONG),
        (Answer(None, failed=True), WRONG),
        (Answer(None, "Traceback (most recent call last):", failed=True), WRONG),
    ],
)
def test_a_failure_needs_words_and_a_traceback_is_none(place, monkeypatch, answer, verdict):
    monkeypatch.setitem(READERS, "run", {"generate": lambda place, folder: answer})
    monkeypatch.setitem(place.undisturbed, "run", {"generate": Answer("text")})
    assert place.compared("run", place.folder / "run", "nothing").verdict == verdict


def test_what_a_kill_left_of_a_picture_is_no_damage_if_it_goes_when_the_run_is_gone_on_with(place):
    with place.copy("run") as folder:
        (folder / "loss.png").unlink()
        (folder / ".loss.svg.a1b2c3d4").touch()
        assert TRAINING.outcome(place, folder, "killed while it drew").verdict == SAME
        assert (folder / "loss.png").exists()


def test_of_200_trials_each_kind_has_its_share_and_a_seed_repeats_them():
    kinds = drawn(200, seed=1)
    assert {kind.label: kinds.count(kind) for kind in KINDS} == {kind.label: kind.share for kind in KINDS}
    assert kinds == drawn(200, seed=1) != drawn(200, seed=2)


def test_the_table_counts_every_trial_and_a_failure_can_be_repeated(monkeypatch, capsys):
    def play(place, rng):
        wrong = rng.random() < 0.5
        return benchmarks.chaos.Outcome(WRONG if wrong else SAME, "a trial")

    monkeypatch.setattr(benchmarks.chaos, "KINDS", (benchmarks.chaos.Kind("a kind", 4, play),))
    monkeypatch.setattr(Place, "make", lambda place: None)
    code = benchmarks.chaos.main(trials=4, seed=3)
    lines = capsys.readouterr().out.splitlines()
    failed = [line.split()[0] for line in lines[:4] if WRONG in line]
    assert 0 < len(failed) < 4 and code == 1
    assert f"| all | 4 | {4 - len(failed)} | 0 | {len(failed)} |" in lines
    assert lines[-1] == f"repeat with --seed 3 --only {' '.join(failed)}"
    benchmarks.chaos.main(trials=4, seed=3, only=(int(failed[0]),))
    assert f"   {failed[0]}  {WRONG}" in capsys.readouterr().out

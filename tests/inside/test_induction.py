"""A trained model's induction head is found, and is what the copying hangs on.

The weights in tests/inside/induction were made by `python -m benchmarks.induction`, which trains for half a minute.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.induction import CORPUS, FOUND, IDLE, NEEDED, NONE, configs, look
from tlab import Checkpoint, load_corpus
from tlab.inside import ProbeError, probe
from tlab.inside.held_out import SLICES, window_losses

FOLDER = Path(__file__).parent / "induction"


@pytest.fixture(scope="module")
def repeat():
    return load_corpus(CORPUS)


@pytest.fixture(scope="module")
def findings(repeat):
    return {num_layers: look(Checkpoint.load(FOLDER / str(num_layers)), repeat) for num_layers in (1, 2)}


def test_the_weights_are_those_that_the_script_makes(repeat):
    for num_layers in (1, 2):
        checkpoint = Checkpoint.load(FOLDER / str(num_layers))
        model, training = configs(num_layers, repeat.tokenizer.vocab_size)
        assert (checkpoint.model_config, checkpoint.train_config) == (model, training)
        assert checkpoint.step == training.steps and checkpoint.corpus["sha256"] == repeat.sha256


def test_with_two_layers_one_head_is_found_and_no_other(findings):
    scores = dict(findings[2].scores)
    assert scores.pop(findings[2].best) > FOUND and max(scores.values()) < NONE
    assert findings[2].best.startswith("1.")  # it needs a layer before it


def test_with_one_layer_none_is_found(findings):
    assert max(findings[1].scores.values()) < NONE


def test_without_the_head_the_second_copy_is_lost_and_without_one_outside_the_mechanism_little(findings):
    found = findings[2]
    assert found.costs[found.best] > NEEDED
    assert found.previous[found.feeder] > 0.5 and found.costs[found.feeder] > NEEDED  # it tells what came before
    assert len(found.costs) == 8 and found.others < IDLE


def test_letters_that_no_copy_predicts_lose_far_less_by_it(repeat, findings):
    checkpoint = Checkpoint.load(FOLDER / "2")
    head = findings[2].best
    part = f"attention.{head.replace('.', '.head.')}"
    (new,) = probe("effect", checkpoint, "abcd", repeat, part=part, change="zero", on="new")
    assert new.loss < findings[2].costs[head] / 5


# --- which tokens count ---


def test_repeated_tokens_are_those_that_followed_the_same_token_before():
    text = "abcxabcabz"
    ids = np.array([[ord(c) for c in text]])
    chosen = SLICES["repeated"]().chosen(ids[:, :-1], ids[:, 1:])[0]
    assert [text[t + 1] for t in np.flatnonzero(chosen)] == ["b", "c", "b"]
    assert np.flatnonzero(chosen).tolist() == [4, 5, 7]
    new = SLICES["new"]().chosen(ids[:, :-1], ids[:, 1:])[0]
    assert (new != chosen).all() and SLICES["all"]().chosen(ids[:, :-1], ids[:, 1:]).all()


def test_a_windows_loss_is_the_mean_over_its_chosen_tokens():
    losses, chosen = np.array([[1.0, 2.0, 4.0], [5.0, 6.0, 7.0]]), np.array([[True, False, True], [False] * 3])
    np.testing.assert_array_equal(window_losses(losses, chosen), [2.5])
    with pytest.raises(ProbeError, match="no such token"):
        window_losses(losses, np.zeros((2, 3), bool))

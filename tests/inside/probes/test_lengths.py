"""Which lengths and positions are measured, and over how much text."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import Subject, probe
from tlab.inside.held_out import windows
from tlab.nn.loss import CrossEntropy
from tlab.text import corpus_from_text


@pytest.fixture
def checkpoint(rng):
    """Makes an untrained model of this context, and a text whose held-out part has so many tokens."""

    def make(context_length, held_out, position="rope"):
        corpus = corpus_from_text("abcdefghi " * held_out)
        config = tiny(vocab_size=10, context_length=context_length, hidden_dim=4, num_heads=2, num_layers=1,
                      position=position)  # fmt: skip
        model = random_model(config, rng)
        weights = {name: param.data for name, param in model.parameters.items()}
        return Checkpoint(config, TrainConfig(), corpus.describe(), 0, weights), corpus

    return make


def test_positions_are_grouped_by_powers_of_two(checkpoint):
    rows = probe("places", *arguments(checkpoint(12, 100)), count=3)
    assert [(row.first, row.last) for row in rows] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 11)]


def arguments(made):
    given, corpus = made
    return given, "abc", corpus


@pytest.mark.parametrize(
    ("context_length", "held_out", "lengths"),
    [
        (8, 129, [2, 4, 8, 16, 32, 64]),
        (8, 128, [2, 4, 8, 16, 32]),  # two windows of 64 and what follows would be 129
        (6, 1000, [3, 6, 12, 24, 48]),  # a window has two tokens at least
    ],
)
def test_lengths_go_from_a_quarter_to_eight_times_as_far_as_two_windows_fit(
    checkpoint, context_length, held_out, lengths
):
    rows = probe("lengths", *arguments(checkpoint(context_length, held_out)), tokens=256)
    assert [row.length for row in rows] == lengths
    assert [row.of_trained for row in rows] == [length / context_length for length in lengths]


def test_about_the_same_number_of_tokens_is_read_at_each_length(checkpoint):
    given, corpus = checkpoint(8, 1000)
    row = {row.length: row for row in probe("lengths", given, "abc", corpus, tokens=256)}[16]
    ids, targets = windows(Subject(given, "abc", corpus), 256 // 16, 16)
    loss, _ = CrossEntropy.forward(given.model().forward(ids)[0], targets)
    assert len(ids) == 16 and row.loss == pytest.approx(loss)


def test_two_windows_are_read_however_few_tokens_are_asked_for(checkpoint):
    given, corpus = checkpoint(200, 4000)
    rows = probe("lengths", given, "abc", corpus, tokens=256)
    assert [row.length for row in rows] == [50, 100, 200, 400, 800, 1600]
    assert all(np.isfinite([row.low, row.high]).all() for row in rows)  # of one there would be no interval


def test_no_window_is_longer_than_2048_tokens(checkpoint):
    given, corpus = checkpoint(512, 9000)
    assert [row.length for row in probe("lengths", given, "abc", corpus, tokens=256)] == [128, 256, 512, 1024, 2048]

"""The counts of hidden units, on a layer whose units are known."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.inside import ProbeError, probe
from tlab.text import corpus_from_text


@pytest.fixture
def units(verse):
    """The probe's row of a layer with a ReLU that gives these numbers, whatever comes in."""

    def row(values):
        config = tiny(vocab_size=verse.tokenizer.vocab_size, activation="relu", num_layers=1)
        model = Transformer(config)
        model.parameters["blocks.0.mlp.up.weight"].data[...] = 0
        model.parameters["blocks.0.mlp.up.bias"].data[...] = np.resize(values, config.mlp_dim)
        weights = {name: param.data for name, param in model.parameters.items()}
        (found,) = probe("units", Checkpoint(config, TrainConfig(), verse.describe(), 0, weights), "the", verse)
        return found

    return row


def test_a_unit_is_dead_below_one_percent_of_the_layers_size(units):
    # 30 units: three tenths at 0.5 %, three at 5 % and 24 at 1; their root mean square is 0.89.
    found = units([0.005, 0.05, *[1.0] * 8])
    assert (found.units, found.dead) == (30, pytest.approx(0.1))
    assert found.rms == pytest.approx(np.sqrt(0.8 + 0.1 * (0.005**2 + 0.05**2)), rel=1e-5)


def test_a_unit_is_unbent_where_it_never_comes_below_three(units):
    found = units([2.9, 3.1, -4.0, 5.0, 1.0])
    assert (found.unbent, found.active, found.dead) == pytest.approx((0.4, 0.8, 0.2))


# ------------------------------------------------------------------------------------------------ where a unit speaks


@pytest.fixture
def alphabet():
    """A text of the letters in order, and a model whose unit 5 gets as far as the letter's number says."""
    corpus = corpus_from_text("abcdefghijklmnopqrstuvwxyz0123456789" * 40)
    size = corpus.tokenizer.vocab_size
    config = tiny(vocab_size=size, context_length=36, hidden_dim=36, num_heads=2, num_layers=1, activation="relu",
                  position="none", norm="none", tied=False)  # fmt: skip
    model = Transformer(config, dtype=np.float64)
    model.parameters.data[...] = 0
    model.parameters["embedding.weight"].data[...] = np.eye(size) / config.embedding_scale

    def checkpoint(values):
        """`values` by letter; what is not named has 0."""
        up = model.parameters["blocks.0.mlp.up.weight"].data
        up[...] = 0
        for letter, value in values.items():
            up[corpus.tokenizer.encode(letter)[0], 5] = value
        weights = {name: param.data.copy() for name, param in model.parameters.items()}
        return Checkpoint(config, TrainConfig(), corpus.describe(), 0, weights)

    return corpus, checkpoint


def test_a_place_is_shown_with_24_tokens_before_it_and_6_after_it(alphabet):
    corpus, checkpoint = alphabet
    (row,) = probe("neuron", checkpoint({"1": 2.0}), "ab", corpus, neuron=5, count=1)
    assert (row.activation, row.context, row.then) == (2.0, "defghijklmnopqrstuvwxyz0⟦1⟧234567", "2")


def test_a_place_at_the_beginning_or_end_of_its_window_has_less_around_it(alphabet):
    corpus, checkpoint = alphabet
    window = corpus.tokenizer.decode(corpus.validation[:36])
    for letter, context in ((window[0], f"⟦{window[0]}⟧{window[1:7]}"), (window[-1], f"{window[11:35]}⟦{window[-1]}⟧")):
        (row,) = probe("neuron", checkpoint({letter: 1.0}), "ab", corpus, neuron=5, count=1)
        assert row.context == context


def test_each_window_gives_one_place_and_the_highest_come_first(alphabet):
    corpus, checkpoint = alphabet
    rows = probe("neuron", checkpoint({"t": 2.0, "u": 1.0}), "ab", corpus, neuron=5, top=2, count=3)
    assert [row.activation for row in rows] == [2.0, 2.0]
    assert len(probe("neuron", checkpoint({"t": 2.0}), "ab", corpus, neuron=5, top=10, count=3)) == 3


@pytest.mark.parametrize(("layer", "neuron", "is_there"), [(0, 89, True), (0, 90, False), (1, 0, False)])
def test_a_unit_that_is_not_there_is_told(alphabet, layer, neuron, is_there):
    _, checkpoint = alphabet
    if is_there:
        assert probe("says", checkpoint({}), "ab", layer=layer, neuron=neuron)
    else:
        with pytest.raises(ProbeError, match="layers go from 0 to 0, neurons from 0 to 89"):
            probe("says", checkpoint({}), "ab", layer=layer, neuron=neuron)


def test_a_unit_says_most_and_least_and_no_token_twice(alphabet):
    corpus, checkpoint = alphabet
    given = checkpoint({})
    given.weights["blocks.0.mlp.down.weight"][5] = np.arange(36)
    given.weights["head.weight"][...] = np.eye(36)
    rows = probe("says", given, "ab", neuron=5, top=2)
    assert [row.token for row in rows] == [corpus.tokenizer.tokens[i] for i in (35, 34, 1, 0)]
    assert [row.logit for row in rows] == [17.5, 16.5, -16.5, -17.5]  # less the mean over all tokens
    assert len(probe("says", given, "ab", neuron=5, top=20)) == 36


# ------------------------------------------------------------------------------------------------ what comes in


def test_a_histogram_holds_what_lies_beyond_in_its_outermost_bins(alphabet):
    corpus, checkpoint = alphabet
    given = checkpoint({})
    given.weights["blocks.0.mlp.up.bias"][:] = np.resize([-9.0, -1.5, 0.5, 1.9, 7.0], 90)
    rows = probe("activations", given, "ab", corpus, reach=2.0, bins=4, count=2)
    assert [(row.low, row.high) for row in rows] == [(-2, -1), (-1, 0), (0, 1), (1, 2)]
    assert [row.share for row in rows] == pytest.approx([0.4, 0, 0.2, 0.4])
    assert [row.curve for row in rows] == [0, 0, 0.5, 1.5]  # ReLU in the middle of each
    assert len(probe("activations", given, "ab", corpus)) == 16

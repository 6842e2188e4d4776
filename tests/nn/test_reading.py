"""Reading without a way back: the same logits, and next to no memory besides weights, cache and what is returned."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, ModelConfig, TrainConfig, Transformer
from tlab.checks import random_model
from tlab.generate import next_token_logits
from tlab.nn import decoder as decoding
from tlab.nn.decoder import Decoder
from tlab.nn.params import all_finite
from tlab.nn.positions import table_length
from tlab.text import IdsTokenizer

WIDE = ModelConfig(vocab_size=600, context_length=64, hidden_dim=512, num_layers=4, num_heads=8, bias=False)
"""Its matrices are large, so a decoder reads them where they lie."""


@pytest.fixture(scope="module")
def wide():
    return Transformer(WIDE)


def peak_of(work):
    """Bytes that were in use at most while it ran, besides those before."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


SWITCHES = [{}, {"value_residual": True}, {"residual": "parallel", "logit_cap": 5.0}, {"norm": "none", "tied": False}]


@pytest.mark.parametrize("switches", SWITCHES)
def test_scores_are_the_logits_of_forward_to_the_bit(switches, rng):
    model = random_model(tiny(**switches), rng)
    ids = rng.integers(0, 11, (3, 8))
    assert (model.score(ids) == model.forward(ids)[0]).all()


def test_scores_with_a_past_fill_the_cache_as_forward_does(rng):
    model = random_model(tiny(position="rope"), rng)
    one, other = model.new_cache(), model.new_cache()
    for part in (rng.integers(0, 11, (1, 5)), rng.integers(0, 11, (1, 3))):
        assert (model.score(part, one) == model.forward(part, other)[0]).all()
    assert (one.both == other.both).all() and len(one) == len(other) == 8


def test_scores_refuse_what_forward_refuses(rng):
    model = random_model(tiny(), rng)
    with pytest.raises(ValueError, match="allowed: 0 to 10"):
        model.score(np.array([[11]]))


def test_memory_of_reading_does_not_grow_with_the_depth(rng):
    ids = rng.integers(0, 11, (4, 64))
    shallow, deep = (Transformer(tiny(num_layers=layers, context_length=64, hidden_dim=48)) for layers in (2, 12))
    read = [peak_of(lambda model=model: model.score(ids)) for model in (shallow, deep)]
    kept = [peak_of(lambda model=model: model.forward(ids)) for model in (shallow, deep)]
    assert read[1] < 1.1 * read[0]
    assert kept[1] > 3 * kept[0]  # so there is something to save


def test_a_short_text_takes_no_room_for_keys_and_values_of_a_long_context():
    window = 1 << 15
    config = tiny(position="rope", context_length=window)
    model = Transformer(config)
    whole = 2 * config.num_layers * 2 * window * config.hidden_dim * model.dtype.itemsize  # twice the window
    assert peak_of(lambda: next(next_token_logits(model, np.array([1, 2])))) < 0.1 * whole


def test_a_decoder_holds_no_copy_of_large_matrices(wide):
    cache = wide.new_cache()
    assert peak_of(lambda: Decoder(wide, cache)) < 0.02 * wide.parameters.data.nbytes


SWITCHED = [
    {}, {"norm": "rmsnorm", "bias": False}, {"norm": "none"}, {"residual": "post"}, {"residual": "sandwich"},
    {"qk_norm": "rmsnorm"}, {"attention_gate": True}, {"tied": False, "embedding_scale": 3.0}, {"num_kv_heads": 1},
    {"attention_softmax": "sink"}, {"activation": "swiglu", "position": "rope"}, {"value_residual": True},
]  # fmt: skip


@pytest.mark.parametrize("switches", SWITCHED)
def test_a_decoder_that_folds_nothing_gives_the_scores_of_a_full_forward_pass(switches, rng, monkeypatch):
    monkeypatch.setattr(decoding, "LARGE_MATRIX", 0)
    model = random_model(dataclasses.replace(tiny(), **switches), rng)
    tokens = rng.integers(0, 11, 8).tolist()
    decoder = Decoder(model, model.new_cache())
    found = np.array([decoder.logits(token) for token in tokens])
    assert found == pytest.approx(model.forward(np.array([tokens]))[0][0], rel=1e-10, abs=1e-10)


def test_an_untrained_model_of_given_weights_has_written_to_no_gradient(wide):
    """Memory that nobody wrote to takes no room: so a model that only reads has its weights, and no more."""
    weights = {name: param.data for name, param in wide.parameters.items()}
    model = Transformer.of_weights(WIDE, weights, np.float32)
    assert not model.parameters.grad.any()
    assert model.parameters.grad.flags.owndata


def test_the_weights_of_a_loaded_checkpoint_lie_in_one_piece(tmp_path, wide):
    weights = {name: param.data for name, param in wide.parameters.items()}
    corpus = {"name": "x", "sha256": "", "size": 0, "tokenizer": IdsTokenizer(600).to_json()}
    Checkpoint(WIDE, TrainConfig(), corpus, 0, weights).save(tmp_path)
    loaded = Checkpoint.load(tmp_path).weights
    assert len({id(base_of(array)) for array in loaded.values()}) == 1
    assert all((loaded[name] == weights[name]).all() for name in weights)


def test_a_checkpoint_is_written_with_one_tensor_at_a_time_in_memory_twice(tmp_path, wide):
    weights = {name: param.data for name, param in wide.parameters.items()}
    corpus = {"name": "x", "sha256": "", "size": 0, "tokenizer": IdsTokenizer(600).to_json()}
    checkpoint = Checkpoint(WIDE, TrainConfig(), corpus, 0, weights)
    largest = max(array.nbytes for array in weights.values())
    assert peak_of(lambda: checkpoint.save(tmp_path)) < 1.5 * largest < 0.2 * wide.parameters.data.nbytes


def base_of(array):
    """What a view is a part of."""
    return base_of(array.base) if isinstance(array.base, np.ndarray) else array


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_bad_number_is_found(bad):
    array = np.linspace(-3e38, 3e38, 50, dtype=np.float32)
    assert all_finite(array) and all_finite(array[:0])
    array[17] = bad
    assert not all_finite(array)


def test_a_table_for_a_short_text_is_not_as_long_as_the_context():
    assert table_length(100, 2048) == 256
    assert table_length(300, 2048) == 512
    assert [table_length(n, 64) for n in (1, 64, 65)] == [64, 64, 256]
    assert [table_length(n, 1000) for n in (600, 1000, 1001)] == [1000, 1000, 1024]

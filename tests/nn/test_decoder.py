"""The decoder writes what the model would: every switch, every kind of window, and parts that offer no short form."""

import dataclasses

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab import Transformer
from tlab.checks import random_model
from tlab.generate import next_token_logits
from tlab.nn.decoder import SHORT_TEXT, Decoder, fold, normalizer
from tlab.nn.norms import NORMS, LayerNorm, Norm
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import NO_MAX_SHIFT_BELOW

LONG = 20  # tokens: two and a half windows of a tiny model


def decoded(model, tokens, prompt_length=1):
    """(number of tokens, V): logits for the token after each, those after the prompt from a decoder."""
    cache = model.new_cache()
    prompt, _ = model.forward(np.array([tokens[:prompt_length]]), cache)
    decoder = Decoder(model, cache)
    return np.vstack([prompt[0], *(decoder.logits(token) for token in tokens[prompt_length:])])


def in_float32(model):
    """The same weights in the type that is used."""
    other = Transformer(model.config, dtype=np.float32)
    other.load({name: param.data for name, param in model.parameters.items()})
    return other


def read_with_the_model(model, tokens):
    """What `next_token_logits` yields for `tokens` when it writes two texts at once, for which it asks the model."""
    source = next_token_logits(model, np.array(tokens[:1]), samples=2)
    return np.array([next(source)[0]] + [source.send([token, token])[0] for token in tokens[1:]])


def read_with_the_decoder(model, tokens):
    """The same for one text, for which it asks a decoder."""
    source = next_token_logits(model, np.array(tokens[:1]))
    return np.array([next(source)[0]] + [source.send([token])[0] for token in tokens[1:]])


@pytest.mark.parametrize(("tied", "bias"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("config", all_combinations())
def test_the_decoder_gives_the_scores_of_a_full_forward_pass(config, tied, bias, rng):
    model = random_model(dataclasses.replace(config, tied=tied, bias=bias), rng)
    tokens = rng.integers(0, 11, 8).tolist()
    full = model.forward(np.array([tokens]))[0][0]
    assert decoded(model, tokens) == pytest.approx(full, rel=1e-10, abs=1e-10)
    single = decoded(in_float32(model), tokens)
    assert single.dtype == np.float32
    assert abs(single - full).max() <= 1e-4 * abs(full).max()


@pytest.mark.parametrize("config", all_combinations())
def test_and_goes_on_with_them_past_the_window(config, rng):
    """Kinds of position that know distances only slide on, the others are read again."""
    model = random_model(config, rng)
    tokens = rng.integers(0, 11, LONG).tolist()
    expected = read_with_the_model(model, tokens)
    assert read_with_the_decoder(model, tokens) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("position", POSITIONS)
def test_scores_too_large_for_a_bare_exp_are_no_trouble(position, rng):
    model = random_model(tiny(position=position), rng)
    for block in model.blocks:
        block.attention.qkv.weight.data *= 30
    tokens = rng.integers(0, 11, 8).tolist()
    full, trace = model.forward(np.array([tokens]))
    queries, keys = trace.blocks[0].attention.queries, trace.blocks[0].attention.keys
    assert (queries @ keys.swapaxes(2, 3)).max() > 10 * NO_MAX_SHIFT_BELOW  # so the case is one
    assert decoded(model, tokens) == pytest.approx(full[0], rel=1e-9, abs=1e-9)
    assert np.isfinite(decoded(in_float32(model), tokens)).all()


def test_the_largest_score_may_be_one_that_a_penalty_hides(rng):
    """A far key that would have weight 1 without ALiBi's penalty has none with it, and the others all the more."""
    config = tiny(vocab_size=2, context_length=500, hidden_dim=16, num_layers=1, num_heads=8, norm="none",
                  position="alibi", activation="relu", embedding_scale=1.0, bias=False, tied=False)  # fmt: skip
    model = Transformer(config)
    for param in model.parameters.values():
        param.data[...] = 0.01
    embedding, qkv = (model.parameters[name].data for name in ("embedding.weight", "blocks.0.attention.qkv.weight"))
    embedding[...] = np.eye(2, 16)
    qkv[...] = 0
    root = 2**0.25
    qkv[1, 0:16:2] = 12 * root  # what the second token asks for
    qkv[0, 16:32:2] = 12 * root  # the first one has much of,
    qkv[1, 16:32:2] = -8 * root  # and it has little itself
    qkv[:, 32:] = 1
    tokens = [0] + [1] * 490
    full, _ = model.forward(np.array([tokens]))
    assert decoded(model, tokens)[-1] == pytest.approx(full[0, -1], rel=1e-5)


class PlainNorm(Norm):
    """LayerNorm as somebody would write it who never heard of decoding."""

    def __init__(self, space, name, hidden_dim, epsilon):
        super().__init__(space, name, hidden_dim, epsilon)
        self.usual = LayerNorm(space, name, hidden_dim, epsilon)

    def forward(self, x):
        return self.usual.forward(x)


@pytest.fixture
def plain():
    """The key of `PlainNorm`, for as long as a test runs."""
    NORMS.add("plain", label="plain")(PlainNorm)
    yield "plain"
    NORMS.remove("plain")


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_a_norm_or_a_layout_that_states_nothing_is_used_as_it_is(residual, plain, rng, monkeypatch):
    tokens = rng.integers(0, 11, 8).tolist()
    usual = random_model(tiny(residual=residual), rng)
    full = usual.forward(np.array([tokens]))[0][0]
    model = Transformer(dataclasses.replace(usual.config, norm=plain), dtype=np.float64)
    model.load({name: param.data for name, param in usual.parameters.items()})
    assert decoded(model, tokens) == pytest.approx(full, rel=1e-10, abs=1e-10)
    monkeypatch.setattr(RESIDUALS[residual], "only_norms_differ", False)
    assert decoded(model, tokens) == pytest.approx(full, rel=1e-10, abs=1e-10)
    assert decoded(usual, tokens) == pytest.approx(full, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", "none"])
def test_a_folded_norm_leaves_the_layer_after_it_as_it_was(norm, bias, rng):
    norm = random_model(tiny(norm=norm), rng).final_norm
    x, weight, shift = rng.normal(3, 2, 12), rng.normal(size=(12, 5)), rng.normal(size=5)
    expected = norm.forward(x)[0] @ weight + (shift if bias else 0)
    folded = fold(norm, weight, shift if bias else None)
    assert folded(normalizer(norm)(x)) == pytest.approx(expected, rel=1e-12)


def test_the_decoder_writes_nothing_but_the_cache(rng):
    model = random_model(tiny(position="rope"), rng)
    model.parameters.data.setflags(write=False)
    for param in model.parameters.values():
        param.data.setflags(write=False)
    first, again = (decoded(model, [1, 2, 3, 4]) for _ in range(2))
    assert (first == again).all()


def test_a_model_that_was_trained_on_needs_a_new_decoder_only(rng):
    model = random_model(tiny(), rng)
    model.parameters.data *= 1.5
    full = model.forward(np.array([[1, 2, 3]]))[0][0]
    assert decoded(model, [1, 2, 3]) == pytest.approx(full, rel=1e-10)


def test_a_row_of_another_type_than_the_weights_is_averaged_in_its_own(rng):
    """As in a model with the bug "float64": 1/12 in float32 would be another number."""
    norm = in_float32(random_model(tiny(), rng)).final_norm
    x = rng.normal(3, 2, 12)
    deviation = normalizer(norm)(x)
    assert deviation.dtype == np.float64 and abs(deviation.mean()) < 1e-15


@pytest.mark.parametrize("position", list(POSITIONS))
@pytest.mark.parametrize("length", [1, SHORT_TEXT, SHORT_TEXT + 1])
def test_it_reads_the_beginning_of_a_text_as_the_model_would_and_goes_on_from_there(length, position, rng):
    model = random_model(tiny(position=position, value_residual=True), rng)
    tokens = rng.integers(0, model.config.vocab_size, length + 1)
    decoder = Decoder(model, model.new_cache())
    expected = model.score(tokens[None])[0]
    assert decoder.read(tokens[:-1]) == pytest.approx(expected[-2], rel=1e-10)
    assert decoder.cache.position == length
    assert decoder.logits(tokens[-1]) == pytest.approx(expected[-1], rel=1e-10)


@pytest.mark.parametrize("length", [1, SHORT_TEXT + 1])
def test_it_refuses_a_token_that_the_model_does_not_have(length):
    model = Transformer(tiny())
    decoder = Decoder(model, model.new_cache())
    with pytest.raises(ValueError, match="allowed: 0 to 10"):
        decoder.read(np.full(length, 11))
    with pytest.raises(ValueError, match="hold no token"):
        decoder.read(np.array([], int))

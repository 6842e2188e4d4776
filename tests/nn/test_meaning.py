"""What each part is supposed to mean, which no gradient check can see."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import ndtr

from support import all_combinations, tiny
from tlab import ModelConfig, TrainConfig, Trainer, Transformer
from tlab.checks import check_meaning, random_model
from tlab.nn.activations import ACTIVATIONS, ExactGelu, GeGlu, Gelu, ReGlu, Relu, ReluSquared, SwiGlu, Swish
from tlab.nn.attention import causal_mask
from tlab.nn.inits import INITS
from tlab.nn.loss import CrossEntropy, softmax
from tlab.nn.norms import NORMS, DyT, LayerNorm, NoNorm, Norm, RmsNorm
from tlab.nn.params import ParamSpace
from tlab.nn.positions import POSITIONS, Alibi, Rope, Sinusoidal, T5Bias
from tlab.nn.residuals import RESIDUALS
from tlab.nn.scores.softmaxes import NO_MAX_SHIFT_BELOW, UsualSoftmax, masked_softmax


def packed(norm_class, hidden_dim=16, epsilon=1e-5, dtype=np.float64):
    space = ParamSpace()
    norm = norm_class(space, "norm", hidden_dim, epsilon)
    space.pack(0, np.dtype(dtype))
    return norm


ALWAYS_CHECKED = {
    "norm computes its definition, token by token",
    "activation computes its definition",
    "attention computes its definition",
    "a silent block lets the stream through",
    "training asks what validation asks",
    "no token sees a later one",
    "no text sees another in its batch",
    "attention weights sum to 1",
    "one token at a time gives the same as all at once",
    "same seed, same bits",
    "float32 stays float32",
}


class ForgetsWhatItCached(Transformer):
    """Wrong wherever a single token follows others."""

    def forward(self, ids, cache=None, *others):
        logits, trace = super().forward(ids, cache, *others)
        return logits + (cache is not None and ids.shape[1] == 1), trace


def test_a_model_that_decodes_wrongly_is_found():
    wrong = [check.name for check in check_meaning(tiny(), build=ForgetsWhatItCached) if not check.passed]
    assert wrong == ["one token at a time gives the same as all at once"]


@pytest.mark.parametrize("config", all_combinations())
def test_every_combination_keeps_what_all_of_them_promise(config):
    checks = list(check_meaning(config))
    names = {check.name for check in checks}
    assert names >= ALWAYS_CHECKED
    starts_near_uniform = NORMS[config.norm].has_parameters and INITS[config.init].starts_near_uniform
    assert ("first loss is that of a guess" in names) == starts_near_uniform
    wrong = [f"{check.name}: {check.error:.1e} > {check.limit:.0e}" for check in checks if not check.passed]
    assert not wrong


# --- norms ---


def test_layernorm_gives_each_token_mean_0_and_variance_1(rng):
    y, _ = packed(LayerNorm).forward(rng.normal(3, 5, (2, 4, 16)))
    assert y.mean(-1) == pytest.approx(np.zeros((2, 4)), abs=1e-12)
    assert y.var(-1) == pytest.approx(np.ones((2, 4)), rel=1e-5)


def test_rmsnorm_gives_each_token_root_mean_square_1_and_keeps_its_direction(rng):
    x = rng.normal(3, 5, (2, 4, 16))
    y, _ = packed(RmsNorm).forward(x)
    assert np.sqrt((y * y).mean(-1)) == pytest.approx(np.ones((2, 4)), rel=1e-5)
    ratio = y / x
    assert ratio == pytest.approx(np.broadcast_to(ratio[..., :1], x.shape))


@pytest.mark.parametrize("norm_class", [LayerNorm, RmsNorm])
def test_a_norm_looks_at_one_token_at_a_time(norm_class, rng):
    x = rng.standard_normal((2, 4, 16))
    norm = packed(norm_class)
    assert norm.forward(x)[0][1, 2] == pytest.approx(norm.forward(x[1:2, 2:3])[0][0, 0], rel=1e-12)


@pytest.mark.parametrize("norm_class", [LayerNorm, RmsNorm])
def test_epsilon_stands_under_the_root_beside_the_mean_square(norm_class):
    x = np.array([[1.0, -1.0]])
    y, _ = packed(norm_class, hidden_dim=2, epsilon=3.0).forward(x)
    assert y == pytest.approx(x / 2)  # sqrt(1 + 3)


def test_scale_and_shift_start_as_if_they_were_not_there_and_act_per_channel(rng):
    norm, x = packed(LayerNorm), rng.standard_normal((3, 16))
    assert norm.forward(x)[0] == pytest.approx(norm.reference(x, 1e-5))
    norm.scale.data[:], norm.shift.data[:] = np.arange(16), -np.arange(16)
    assert norm.forward(x)[0] == pytest.approx(norm.reference(x, 1e-5) * np.arange(16) - np.arange(16))


def test_dyt_passes_small_numbers_times_alpha_and_holds_large_ones_each_by_itself(rng):
    norm = packed(DyT, hidden_dim=4)
    y, _ = norm.forward(np.array([[1e-6, -3e-6, 50.0, -1e9], [0.0, 0.0, 0.0, 2.0]]))
    assert y == pytest.approx(np.array([[0.5e-6, -1.5e-6, 1, -1], [0, 0, 0, np.tanh(1)]]), rel=1e-9)
    norm.alpha.data[:], norm.scale.data[:], norm.shift.data[:] = 2, np.arange(4), -np.arange(4)
    x = rng.standard_normal((3, 4))
    assert norm.forward(x)[0] == pytest.approx(norm.reference(x, alpha=2) * np.arange(4) - np.arange(4))


def test_no_norm_changes_nothing_and_has_no_parameters(rng):
    x = rng.standard_normal((3, 16))
    space = ParamSpace()
    assert NoNorm(space, "norm", 16, 1e-5).forward(x)[0] is x
    assert len(space) == 0


# --- activations ---


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (Relu, {-2.0: 0.0, 0.0: 0.0, 1.5: 1.5}),
        (Gelu, {-1.0: -0.158808, 0.0: 0.0, 1.0: 0.841192, 3.0: 2.996363}),  # of the tanh form
        (Swish, {-1.0: -0.268941, 0.0: 0.0, 1.0: 0.731059}),
        (ExactGelu, {-1.0: -0.158655, 0.0: 0.0, 1.0: 0.841345, 3.0: 2.995950}),
        (ReluSquared, {-2.0: 0.0, 0.0: 0.0, 0.5: 0.25, 3.0: 9.0}),
    ],
)
def test_activations_have_their_known_values(activation, expected):
    y, _ = activation().forward(np.array(list(expected)))
    assert y == pytest.approx(list(expected.values()), abs=1e-6)


def test_the_exact_gelu_weights_by_the_normal_distribution_to_the_last_digits():
    x = np.linspace(-45, 45, 100_001)
    _, cache = ExactGelu().forward(x)
    assert np.abs(cache.cdf - ndtr(x)).max() <= 1e-15


def test_the_tanh_of_gelu_is_as_near_to_the_exact_one_as_its_page_says():
    x = np.linspace(-8, 8, 100_001)
    assert 0.0004 < np.abs(ExactGelu().forward(x)[0] - Gelu().forward(x)[0]).max() < 0.0005


@pytest.mark.parametrize(("gated", "plain"), [(SwiGlu, Swish), (GeGlu, Gelu), (ReGlu, Relu)])
def test_a_gated_unit_is_its_activation_of_the_gate_times_the_other_input(gated, plain, rng):
    x, gate = rng.standard_normal((2, 5)), rng.standard_normal((2, 5))
    assert gated().forward(x, gate)[0] == pytest.approx(plain().forward(gate)[0] * x)


def test_a_closed_gate_of_reglu_leaves_both_projections_without_a_gradient(rng):
    x, gate = rng.standard_normal((2, 5)), -rng.random((2, 5))
    y, cache = ReGlu().forward(x, gate)
    assert not np.any([y, *ReGlu().backward(x, cache)])


@pytest.mark.parametrize(("gated", "deepest"), [(GeGlu, -0.17), (SwiGlu, -0.28)])
def test_a_negative_gate_lets_as_much_pass_as_its_page_says(gated, deepest):
    gate = np.linspace(-6, 0, 10_001)
    assert gated().forward(np.ones_like(gate), gate)[0].min() == pytest.approx(deepest, abs=0.005)


@pytest.mark.parametrize("key", ACTIVATIONS)
def test_activations_stay_finite_for_huge_inputs(key):
    activation = ACTIVATIONS[key]()
    x = np.array([-1e4, 1e4], np.float32)
    y, cache = activation.forward(*[x] * (2 if activation.gated else 1))
    assert np.isfinite(y).all()
    assert np.isfinite(activation.backward(x * 0 + 1, cache)).all()


@pytest.mark.parametrize("hidden_dim", [16, 32, 64, 128, 512])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [key for key, activation in ACTIVATIONS.items() if activation.gated])
def test_a_gated_model_has_the_parameters_of_one_without_gate_within_1_percent(activation, hidden_dim, bias):
    config = ModelConfig(65, hidden_dim=hidden_dim, bias=bias, num_layers=2)
    gelu = Transformer(dataclasses.replace(config, activation="gelu")).num_parameters
    gated = Transformer(dataclasses.replace(config, activation=activation)).num_parameters
    assert gated == pytest.approx(gelu, rel=0.01)


# --- attention ---


def test_attention_is_softmax_of_scaled_products_over_the_past(rng, ids):
    """Against the definition, written as loops."""
    model = random_model(tiny(position="none"), rng)
    trace = model.forward(ids)[1].blocks[1].attention
    B, H, T, D = trace.queries.shape
    for b in range(B):
        for h in range(H):
            for t in range(T):
                scores = [trace.queries[b, h, t] @ trace.keys[b, h, s] / math.sqrt(D) for s in range(t + 1)]
                weights = np.exp(scores) / np.sum(np.exp(scores))
                assert trace.weights[b, h, t, : t + 1] == pytest.approx(weights, rel=1e-9)
                assert (trace.weights[b, h, t, t + 1 :] == 0).all()
                attended = weights @ trace.values[b, h, : t + 1]
                assert trace.attended[b, t, h * D : (h + 1) * D] == pytest.approx(attended, rel=1e-9)


def test_queries_keys_and_values_are_the_thirds_of_one_product_head_by_head(rng, ids):
    model = random_model(tiny(position="none", residual="post"), rng)  # Post-LN: attention reads the stream itself
    trace = model.forward(ids)[1]
    weight = model.parameters["blocks.0.attention.qkv.weight"].data
    bias = model.parameters["blocks.0.attention.qkv.bias"].data
    product = trace.embedded @ weight + bias  # (B, T, 3C)
    attention = trace.blocks[0].attention
    for i, heads in enumerate([attention.queries, attention.keys, attention.values]):
        for h in range(3):
            place = slice(12 * i + 4 * h, 12 * i + 4 * h + 4)
            assert heads[:, h] == pytest.approx(product[:, :, place])


SIZES_OF_SCORES = {1.0: 1e-6, 20.0: 1e-6, 0.99 * NO_MAX_SHIFT_BELOW: 1e-6, 1.01 * NO_MAX_SHIFT_BELOW: 1e-5, 300.0: 5e-5}
"""And how exact the weights are in float32: where scores are shifted, what is left of them is rounded once more."""


@pytest.mark.parametrize(("size", "exactness"), SIZES_OF_SCORES.items())
@pytest.mark.parametrize("bias", [0.0, 50.0, -50.0])
def test_attention_weights_of_scores_of_any_size_are_those_of_float64(size, exactness, bias, rng):
    mask = causal_mask(16, 16, 16, np.dtype(np.float32)) + np.float32(bias)
    scores = (rng.uniform(0, size, (2, 2, 16, 16)) * np.sign(bias or 1)).astype(np.float32)
    exact = UsualSoftmax.reference((scores + mask).astype(np.float64))
    assert masked_softmax(scores, mask) == pytest.approx(exact, rel=exactness, abs=1e-30)


def test_softmax_of_large_scores_does_not_overflow():
    assert softmax(np.array([[1e4, 0.0, -math.inf]], np.float32))[0] == pytest.approx([1, 0, 0])


# --- residual layouts ---


@pytest.mark.parametrize("key", RESIDUALS)
def test_a_layout_is_what_its_reference_says(key, rng):
    """For attention, and then for the MLP on what has come of it; where that is not the order, for both at once."""
    layout = RESIDUALS[key]
    block, x = random_model(tiny(residual=key), rng).blocks[0], rng.standard_normal((2, 5, 12))
    y, trace = block.forward(x)
    if not layout.only_norms_differ:
        own = [
            lambda x, norm=norm: norm.forward(x)[0] for norm in vars(block.layout).values() if isinstance(norm, Norm)
        ]
        both = [*pieces(block.attention_branch), *pieces(block.mlp_branch)]
        assert y == pytest.approx(layout.reference(x, *both, *own))
        return
    between = layout.reference(x, *pieces(block.attention_branch))
    assert trace.attention_residual.y == pytest.approx(between)
    assert y == pytest.approx(layout.reference(between, *pieces(block.mlp_branch)))


def pieces(branch):
    """The sublayer and the norms around it, as functions x -> y."""
    parts = [branch.sublayer, branch.norm_in, branch.norm_out, branch.norm_sum]
    return [lambda x, part=part: part.forward(x)[0] for part in parts if part is not None]


REFERENCES = {
    "pre": lambda x, f, norm: x + f(norm(x)),  # Radford et al. 2019
    "post": lambda x, f, norm: norm(x + f(x)),  # Vaswani et al. 2017
    "sandwich": lambda x, f, norm, norm_out: x + norm_out(f(norm(x))),  # Ding et al. 2021
    "inside": lambda x, f, norm: x + norm(f(x)),  # Liu et al. 2021
}


@pytest.mark.parametrize("key", REFERENCES)
def test_the_references_of_the_layouts_are_those_of_the_papers(key):
    x, parts = 3.0, [lambda x: 2 * x + 1, lambda x: x * x, lambda x: 5 - x]
    parts = parts[: 1 + len(RESIDUALS[key].norm_places)]
    assert RESIDUALS[key].reference(x, *parts) == REFERENCES[key](x, *parts)


@pytest.mark.parametrize("key", RESIDUALS)
def test_only_post_ln_has_no_final_norm(key):
    names = set(Transformer(tiny(residual=key)).parameters)
    assert ("final_norm.scale" in names) == (key != "post")


# --- positions ---


def test_sinusoids_have_their_known_values():
    table = Sinusoidal.reference(3, 4)
    assert table[0] == pytest.approx([0, 1, 0, 1])
    assert table[2] == pytest.approx([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)])


def test_the_embedding_is_scaled_before_positions_are_added(ids):
    model = Transformer(tiny(position="sinusoidal", embedding_scale=3.0), dtype=np.float64)
    embedded = model.forward(ids)[1].embedded
    tokens = model.parameters["embedding.weight"].data[ids]
    assert embedded == pytest.approx(3.0 * tokens + Sinusoidal.reference(6, 12))


def test_rope_computes_its_definition(rng):
    heads = rng.standard_normal((7, 10))
    position = Rope(ParamSpace(), "position", 8, 20, 2, INITS["gpt2"](1, False))
    for rotated in position.rotate(heads, heads, 0):
        assert rotated == pytest.approx(Rope.reference(heads))


def test_rope_scores_depend_on_distance_only(rng):
    position = Rope(ParamSpace(), "position", 8, 20, 2, INITS["gpt2"](1, False))
    query, key = rng.standard_normal((2, 1, 10))

    def score(t, s):
        rotated, _ = position.rotate(query, key, t)
        _, other = position.rotate(query, key, s)
        return (rotated @ other.T).item()

    scores = [score(t + 5, t) for t in (0, 1, 40, 500)]
    assert scores == pytest.approx([scores[0]] * 4)
    assert scores[0] != pytest.approx(score(4, 0))


def test_alibi_slopes_are_the_papers():
    assert Alibi.reference(8) == pytest.approx([2.0**-i for i in range(1, 9)])
    assert Alibi.reference(16)[:3] == pytest.approx([2**-0.5, 2**-1, 2**-1.5])


def test_alibi_slopes_of_12_heads_are_those_of_8_and_every_other_one_of_16():
    expected = [2.0**-i for i in range(1, 9)] + [2 ** -(0.5 + i) for i in range(4)]
    assert Alibi.reference(12) == pytest.approx(expected)


def test_alibi_takes_slope_times_distance_from_each_score():
    position = Alibi(ParamSpace(), "position", 8, 16, 8, INITS["gpt2"](1, False))
    bias = position.score_bias(2, 5, np.dtype(np.float64))  # the last 2 of 5 tokens
    assert bias.shape == (8, 2, 5)
    assert bias[0, 1] == pytest.approx([-2, -1.5, -1, -0.5, 0])
    assert bias[1, 0, :4] == pytest.approx([-0.75, -0.5, -0.25, 0])


def test_the_buckets_of_t5_are_the_papers():
    position = T5Bias(ParamSpace(), "position", 8, 16, 4, INITS["gpt2"](1, False))
    last = position.buckets(1, 200)[0, ::-1]  # by distance
    assert list(last[:17]) == list(range(17))
    assert [last[d] for d in (18, 20, 31, 32, 63, 64, 112, 113, 127, 128, 199)] == [
        16, 17, 21, 21, 26, 26, 30, 31, 31, 31, 31
    ]  # fmt: skip
    assert (np.diff(last) >= 0).all()


@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (1, 5), (3, 40), (40, 40), (300, 300)])
def test_t5_sums_the_gradient_of_the_scores_over_each_bucket_later_keys_among_them(num_queries, num_keys, rng):
    space = ParamSpace()
    position = T5Bias(space, "position", 64, 16, 4, INITS["gpt2"](1, False))
    space.pack(0, np.dtype(np.float64))
    dscores = rng.standard_normal((2, 4, num_queries, num_keys))
    expected = np.zeros((32, 4))
    np.add.at(expected, position.buckets(num_queries, num_keys), dscores.sum(0).transpose(1, 2, 0))
    for times in (1, 2):  # it adds to what is there
        position.score_bias_backward(dscores)
        np.testing.assert_allclose(position.bias.grad, times * expected, rtol=1e-9, atol=1e-9)


def test_t5_adds_to_each_score_the_number_of_its_head_and_bucket(rng):
    space = ParamSpace()
    position = T5Bias(space, "position", 8, 16, 4, INITS["gpt2"](1, False))
    space.pack(0, np.dtype(np.float64))
    assert not position.bias.data.any()  # at the start no head has a preference
    position.bias.data[...] = rng.standard_normal((32, 4))
    bias = position.score_bias(2, 5, np.dtype(np.float64))  # the last 2 of 5 tokens
    assert bias.shape == (4, 2, 5)
    assert (bias[1, 1] == position.bias.data[[4, 3, 2, 1, 0], 1]).all()
    assert (bias[2, 0, :4] == position.bias.data[[3, 2, 1, 0], 2]).all()


def test_without_positions_the_last_token_sees_a_bag_of_tokens(rng):
    """And with any of them it does not: one layer, the tokens before the last one swapped."""
    ids = np.array([[1, 2, 3, 4, 5]])
    swapped = np.array([[3, 1, 2, 4, 5]])
    for key in POSITIONS:
        model = random_model(tiny(num_layers=1, position=key), rng)
        difference = np.abs(model.forward(ids)[0][0, -1] - model.forward(swapped)[0][0, -1]).max()
        assert (difference < 1e-12) == (key == "none"), key


@pytest.mark.parametrize("key", [key for key, position in POSITIONS.items() if position.unbounded])
def test_positions_that_know_no_end_go_on_past_the_context(key, rng):
    model = random_model(tiny(position=key), rng)
    logits, _ = model.forward(rng.integers(0, 11, (1, 19)))
    assert logits.shape == (1, 19, 11)
    assert np.isfinite(logits).all()


# --- initial weights ---


def test_gpt2_init_has_its_spreads():
    model = Transformer(ModelConfig(65, num_layers=8, hidden_dim=128))
    spread = {name: param.data.std() for name, param in model.parameters.items()}
    for name in ("embedding.weight", "blocks.3.attention.qkv.weight", "blocks.0.mlp.up.weight"):
        assert spread[name] == pytest.approx(0.02, rel=0.05), name
    for name in ("blocks.3.attention.out.weight", "blocks.7.mlp.down.weight"):
        assert spread[name] == pytest.approx(0.02 / math.sqrt(16), rel=0.05), name


@pytest.mark.parametrize(("scale_residual", "factor"), [(False, 1.0), (True, 1 / 4)])
def test_xavier_init_is_uniform_with_glorots_limit(scale_residual, factor):
    config = ModelConfig(65, num_layers=8, hidden_dim=128, init="xavier", scale_residual=scale_residual)
    params = Transformer(config).parameters
    limit = math.sqrt(6 / (128 + 384))
    assert np.abs(params["blocks.0.attention.qkv.weight"].data).max() == pytest.approx(limit, rel=0.01)
    assert params["blocks.0.attention.qkv.weight"].data.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    limit = math.sqrt(6 / (128 + 128)) * factor
    assert np.abs(params["blocks.0.attention.out.weight"].data).max() == pytest.approx(limit, rel=0.01)
    assert params["embedding.weight"].data.std() == pytest.approx(1 / math.sqrt(128), rel=0.05)


@pytest.mark.parametrize("init", INITS)
def test_biases_and_shifts_start_at_0_and_scales_at_1(init):
    for name, param in Transformer(tiny(init=init)).parameters.items():
        if not param.is_decayed:
            assert (param.data == (1 if name.endswith("scale") else 0)).all(), name


@pytest.mark.parametrize("norm", [key for key, norm in NORMS.items() if norm.has_parameters])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_first_loss_is_that_of_a_guess(norm, residual, rng):
    model = Transformer(ModelConfig(65, norm=norm, residual=residual))
    ids, targets = rng.integers(0, 65, (2, 8, 64))
    loss, _ = CrossEntropy.forward(model.forward(ids)[0], targets)
    assert loss == pytest.approx(math.log(65), rel=0.05)


# --- learning ---


@pytest.mark.parametrize("config", all_combinations())
def test_every_combination_learns_one_batch_by_heart(config, verse):
    init = "xavier" if config.norm == "dyt" else config.init  # DyT makes nothing larger that starts small
    config = dataclasses.replace(config, vocab_size=verse.tokenizer.vocab_size, hidden_dim=24, init=init)
    one_batch = dataclasses.replace(verse, train=verse.train[: config.context_length + 1])
    train_config = TrainConfig(steps=60, batch_size=2, learning_rate=1e-2, warmup_steps=5, validation_every=0)
    losses = [record.loss for record in Trainer(config, train_config, one_batch)]
    assert losses[-1] < 0.25 * losses[0]


def test_cross_entropy_computes_its_definition(rng):
    logits, targets = rng.normal(0, 3, (2, 3, 5)), rng.integers(0, 5, (2, 3))
    assert CrossEntropy.forward(logits, targets)[0] == pytest.approx(CrossEntropy.reference(logits, targets))


def test_cross_entropy_of_equal_logits_is_log_v():
    assert CrossEntropy.forward(np.zeros((1, 2, 65)), np.array([[3, 4]]))[0] == pytest.approx(math.log(65))

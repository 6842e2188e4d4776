"""What a field of the model switches on: its gradients, its decoding, and what it means.

Any two of their values, and of the classic slots, meet in the rows of one covering array; test_further_parity.py
has their judge in PyTorch.
"""

import dataclasses

import numpy as np
import pytest

from support import FURTHER, further_combinations, tiny
from tlab import ConfigError, ModelConfig, TrainConfig, Trainer, Transformer
from tlab.checks import GRADIENT_LIMIT, check_gradients, check_meaning, directional_error, random_model
from tlab.inside.contributions import stream_contributions
from tlab.inside.interventions import INTERVENTIONS, Part, run_changed
from tlab.nn.attention import AttentionGate, ValueMix
from tlab.nn.decoder import Decoder
from tlab.nn.loss import CrossEntropy, LabelSmoothing, ZLoss
from tlab.nn.positions import Rope, rotations
from tlab.nn.scores.caps import SoftCap
from tlab.training.config import ComputeConfig
from tlab.training.trainer import evaluate

ROWS = further_combinations()


@pytest.mark.parametrize("config", ROWS)
def test_gradients_are_the_slopes_of_the_loss_and_every_part_means_what_it_says(config):
    results = [*check_gradients(config), *check_meaning(config)]
    assert not [f"{check.name}: {check.error:.1e}" for check in results if not check.passed]


@pytest.mark.parametrize("config", ROWS)
def test_the_decoder_gives_the_scores_of_a_full_forward_pass(config, rng):
    model = random_model(config, rng)
    tokens = rng.integers(0, config.vocab_size, 8)
    full, _ = model.forward(tokens[None])
    decoder = Decoder(model, model.new_cache())
    assert np.array([decoder.logits(int(token)) for token in tokens]) == pytest.approx(full[0], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("config", ROWS)
def test_contributions_add_up_to_what_the_head_reads(config, rng):
    model = random_model(config, rng)
    _, trace = model.forward(rng.integers(0, config.vocab_size, (2, 6)))
    total = np.sum([part.value for part in stream_contributions(model, trace)], axis=0)
    assert total == pytest.approx(trace.output, rel=1e-9, abs=1e-9)


# ------------------------------------------------------------------------------------------------ soft caps


def test_a_soft_cap_lets_small_scores_pass_and_holds_large_ones():
    x = np.array([-1e30, -3.0, 0.0, 1e-4, 3.0, 1e30])
    y, _ = SoftCap(2.0).forward(x)
    assert y == pytest.approx([-2, -2 * np.tanh(1.5), 0, 1e-4, 2 * np.tanh(1.5), 2], rel=1e-8)


def test_no_logit_passes_its_cap_however_large_the_weights(rng):
    model = random_model(tiny(logit_cap=1.5), rng)
    model.parameters.data *= 10
    logits, _ = model.forward(rng.integers(0, 11, (2, 8)))
    assert 1.4 < np.abs(logits).max() <= 1.5


def test_no_two_weights_of_a_head_are_further_apart_than_the_cap_of_scores_allows(rng):
    model = random_model(tiny(score_cap=0.7, position="none"), rng)
    for block in model.blocks:
        block.attention.qkv.weight.data *= 30
    _, trace = model.forward(rng.integers(0, 11, (2, 8)))
    for block in trace.blocks:
        last = block.attention.weights[:, :, -1]
        assert (last.max(-1) / last.min(-1)).max() <= np.exp(2 * 0.7) * (1 + 1e-9)


# ------------------------------------------------------------------------------------------------ queries and keys


@pytest.mark.parametrize("qk_norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("position", ["rope", "none"])
def test_queries_and_keys_have_one_length_however_large_the_weights(position, qk_norm, rng):
    model = Transformer(tiny(qk_norm=qk_norm, position=position, norm_epsilon=1e-12), dtype=np.float64)
    model.parameters.data *= 30
    for name, param in model.parameters.items():
        param.data[...] = 1 if name.endswith("scale") else param.data
    _, trace = model.forward(rng.integers(0, 11, (2, 8)))
    for block in trace.blocks:
        for heads in (block.attention.queries, block.attention.keys):
            assert np.linalg.norm(heads, axis=-1) == pytest.approx(np.full(heads.shape[:3], 2.0))  # sqrt(D)


def test_a_norm_over_all_heads_gives_them_one_length_together_and_not_each(rng):
    model = random_model(tiny(qk_norm="rmsnorm", qk_norm_all_heads=True, norm_epsilon=1e-12, num_heads=6,
                              num_kv_heads=2), rng)  # fmt: skip
    for name, param in model.parameters.items():
        param.data[...] = 1 if name.endswith("scale") else param.data
    _, trace = model.forward(rng.integers(0, 11, (2, 8)))
    for block in trace.blocks:
        for heads, width in ((block.attention.queries, 12), (block.attention.keys[:, ::3], 4)):
            lengths = np.linalg.norm(heads, axis=-1)  # (B, H, T)
            together = np.linalg.norm(lengths, axis=1)
            assert together == pytest.approx(np.full(together.shape, width**0.5))
            assert lengths.max() > 1.2 * lengths.min()


def test_a_norm_over_all_heads_of_one_head_is_the_norm_of_that_head(rng):
    each, together = (
        random_model(tiny(qk_norm="layernorm", qk_norm_all_heads=together, num_heads=1), np.random.default_rng(0))
        for together in (False, True)
    )
    ids = rng.integers(0, 11, (2, 8))
    assert np.array_equal(each.forward(ids)[0], together.forward(ids)[0])


def test_channels_that_rope_does_not_rotate_are_as_the_matrix_made_them(rng):
    model = random_model(tiny(position="rope", rope_fraction=0.5, rope_base=50.0), rng)
    _, trace = model.forward(rng.integers(0, 11, (1, 8)))
    attention = trace.blocks[0].attention
    plain, _, _ = model.blocks[0].attention.split_qkv(model.blocks[0].attention.qkv.forward(attention.x)[0])
    assert attention.queries[..., 2:] == pytest.approx(plain[..., 2:], rel=1e-12)
    for head in range(3):
        expected = Rope.reference(plain[0, head], base=50.0, fraction=0.5)
        assert attention.queries[0, head] == pytest.approx(expected, rel=1e-12)


def test_a_larger_base_turns_the_last_pair_less_and_the_first_as_before():
    small, large = (rotations(9, 8, "d", base, 8)[0] for base in (100.0, 1e6))
    assert (small[:, 0] == large[:, 0]).all()
    assert (large[1:, 3] > small[1:, 3]).all()


@pytest.mark.parametrize(("fraction", "words"), [(0.3, "rotates 1 channel"), (0.1, "rotates 0 channels")])
def test_a_share_that_rotates_no_whole_pairs_is_refused_with_those_that_do(fraction, words):
    with pytest.raises(ConfigError, match=f"{words}, and has to rotate pairs; allowed: 0.5, 1$"):
        tiny(position="rope", rope_fraction=fraction)
    assert tiny(position="alibi", rope_fraction=fraction).rope_fraction == fraction  # nobody reads it


# ------------------------------------------------------------------------------------------------ shared keys


def test_as_many_keys_and_values_as_heads_are_the_model_of_none_to_the_bit(rng):
    ids, targets = rng.integers(0, 11, (2, 2, 8))
    plain, grouped = Transformer(tiny(position="rope")), Transformer(tiny(position="rope", num_kv_heads=3))
    assert plain.loss_and_gradients(ids, targets)[0] == grouped.loss_and_gradients(ids, targets)[0]
    assert (plain.parameters.grad == grouped.parameters.grad).all()


def test_heads_that_share_a_key_and_a_value_are_heads_with_copies_of_them(rng):
    model = random_model(tiny(num_heads=6, num_kv_heads=2, position="alibi"), rng)
    copied = Transformer(tiny(num_heads=6, position="alibi"), dtype=np.float64)
    weights = {name: param.data for name, param in model.parameters.items()}
    columns = np.arange(20).reshape(10, 2)  # of the heads: six of queries, two of keys, two of values
    columns = columns[[*range(6), 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9]].ravel()
    for name, array in weights.items():
        if ".qkv." in name:
            weights[name] = array[..., columns]
    copied.load(weights)
    ids = rng.integers(0, 11, (2, 8))
    assert model.forward(ids)[0] == pytest.approx(copied.forward(ids)[0], rel=1e-12)


def test_the_cache_holds_shared_keys_and_values_once():
    model = Transformer(tiny(num_heads=6, num_kv_heads=2))
    assert model.new_cache().keys.shape[2] == 2
    assert model.new_cache().both.nbytes * 3 == Transformer(tiny(num_heads=6)).new_cache().both.nbytes


def test_keys_and_values_that_heads_cannot_share_are_refused_with_those_that_they_can():
    with pytest.raises(ConfigError, match=r"num_kv_heads = 4: must divide num_heads = 6; allowed: 1, 2, 3, 6$"):
        tiny(num_heads=6, num_kv_heads=4)


# ------------------------------------------------------------------------------------------------ softmax with a rest


@pytest.mark.parametrize("key", ["plus_one", "sink"])
def test_a_token_can_attend_to_nothing(key):
    weighting = Transformer(tiny(attention_softmax=key)).blocks[0].attention.weighting
    scores = np.full((1, 3, 1, 4), -50.0)
    assert weighting.forward(scores, np.zeros((1, 4))).sum(-1).max() < 1e-20
    scores = np.full((1, 3, 1, 4), 50.0)
    assert weighting.forward(scores, np.zeros((1, 4))).sum(-1) == pytest.approx(np.ones((1, 3, 1)))


@pytest.mark.parametrize("size", [1.0, 500.0])
def test_the_one_of_plus_one_is_shifted_with_the_scores(size, rng):
    scores = -size * np.abs(rng.standard_normal((2, 3, 4, 4)))
    weighting = Transformer(tiny(attention_softmax="plus_one")).blocks[0].attention.weighting
    weights = weighting.forward(scores.copy(), np.zeros((4, 4)))
    assert weights == pytest.approx(np.exp(scores) / (1 + np.exp(scores).sum(-1, keepdims=True)), abs=1e-15)


def test_a_sink_starts_as_the_softmax_plus_one(rng):
    ids = rng.integers(0, 11, (2, 8))
    one, sink = (Transformer(tiny(attention_softmax=key)).forward(ids)[0] for key in ("plus_one", "sink"))
    assert (one == sink).all()


# ------------------------------------------------------------------------------------------------ gate


def test_the_gate_computes_its_definition(rng):
    attention = random_model(tiny(attention_gate=True), rng).blocks[0].attention
    attended, h = rng.normal(0, 2, (2, 2, 4, 12))
    gated, gate = attention.gate.forward(attended, h)
    assert gated == pytest.approx(AttentionGate.reference(attended, h, attention.gate.linear.weight.data), rel=1e-12)
    assert (gate > 0).all() and (gate < 1).all()


def test_a_gate_of_weights_0_is_half_open_in_every_channel(rng):
    model, ids = random_model(tiny(attention_gate=True), rng), rng.integers(0, 11, (2, 8))
    plain = Transformer(tiny(), dtype=np.float64)
    weights = {name: param.data.copy() for name, param in model.parameters.items() if ".gate." not in name}
    for block in model.blocks:
        block.attention.gate.linear.weight.data[...] = 0
    plain.load({name: array / 2 if name.endswith("attention.out.weight") else array for name, array in weights.items()})
    assert model.forward(ids)[0] == pytest.approx(plain.forward(ids)[0], rel=1e-12)


def test_a_shut_gate_lets_nothing_of_what_a_head_has_collected_through(rng):
    attention = random_model(tiny(attention_gate=True, bias=False), rng).blocks[0].attention
    x = np.abs(rng.normal(1, 1, (2, 4, 12)))
    attention.gate.linear.weight.data[...] = -100
    y, trace = attention.forward(x)
    assert np.abs(trace.attended).max() > 0.1 and np.abs(y).max() < 1e-20


def test_attention_that_is_made_uniform_passes_the_gate_that_there_is(rng):
    model, ids = random_model(tiny(attention_gate=True, num_layers=1), rng), rng.integers(0, 11, (2, 8))
    _, changed = run_changed(model, ids, {Part(0, "attention"): INTERVENTIONS["uniform"]()})
    block = model.blocks[0]
    block.attention.qkv.weight.data[:, :12] = 0  # no query, so every score is 0
    block.attention.qkv.bias.data[:12] = 0
    assert changed.logits == pytest.approx(model.forward(ids)[0], rel=1e-9, abs=1e-9)


# ------------------------------------------------------------------------------------------------ value residual


def test_from_the_second_block_on_half_of_each_value_is_the_first_blocks_at_the_start(rng):
    model, ids = Transformer(tiny(value_residual=True, num_layers=3), dtype=np.float64), rng.integers(0, 11, (2, 8))
    shares = {name: param.data for name, param in model.parameters.items() if name.endswith("value_mix")}
    assert shares == {"blocks.1.attention.value_mix": [0.5], "blocks.2.attention.value_mix": [0.5]}
    _, trace = model.forward(ids)
    first = trace.blocks[0].attention.values
    for block, seen in zip(model.blocks[1:], trace.blocks[1:], strict=True):
        _, _, own = block.attention.split_qkv(block.attention.qkv.forward(seen.attention.x)[0])
        assert seen.attention.values == pytest.approx(ValueMix.reference(own, first, 0.5), rel=1e-12)


def test_with_a_share_of_0_it_is_the_model_without_and_with_1_the_blocks_own_values_count_for_nothing(rng):
    model, ids = random_model(tiny(value_residual=True), rng), rng.integers(0, 11, (2, 8))
    share, qkv = model.blocks[1].attention.value_mix.share.data, model.blocks[1].attention.qkv
    plain = Transformer(tiny(), dtype=np.float64)
    plain.load({name: param.data for name, param in model.parameters.items() if not name.endswith("value_mix")})
    share[:] = 0
    assert (model.forward(ids)[0] == plain.forward(ids)[0]).all()
    share[:] = 1
    before = model.forward(ids)[0]
    qkv.weight.data[:, 24:] += 1
    assert model.forward(ids)[0] == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("residual", ["pre", "parallel"])
def test_recomputed_blocks_have_the_gradients_of_the_others_where_they_share_values(residual, rng):
    model = random_model(tiny(value_residual=True, num_layers=3, residual=residual), rng)
    ids, targets = rng.integers(0, 11, (2, 2, 8))
    _, expected = model.loss_and_gradients(ids, targets)
    replica = model.replica(np.zeros_like(model.parameters.grad), recompute=True)
    replica.accumulate_gradients(ids, targets)
    assert all((replica.parameters[name].grad == gradient).all() for name, gradient in expected.items())


def test_no_function_overwrites_the_values_that_blocks_share(rng, monkeypatch):
    model, ids = random_model(tiny(value_residual=True, num_layers=3), rng), rng.integers(0, 11, (2, 8))
    forward = model.blocks[0].forward

    def frozen(*args):
        y, trace = forward(*args)
        trace.first_values.base.setflags(write=False)
        return y, trace

    monkeypatch.setattr(model.blocks[0], "forward", frozen)
    assert model.loss_and_gradients(ids, ids)[0] > 0


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize(("kind", "option"), [(ZLoss, 0.3), (LabelSmoothing, 0.2)])
def test_the_gradient_of_a_loss_is_the_slope_of_its_definition_and_its_loss_the_cross_entropy(kind, option, rng):
    logits, targets = rng.normal(1, 3, (2, 3, 5)), rng.integers(0, 5, (2, 3))
    loss, cache = kind(option).forward(logits, targets)
    assert loss == CrossEntropy.forward(logits, targets)[0]
    gradient = kind(option).backward(cache, logits.shape)
    error = directional_error(lambda x: float(kind.reference(x, targets, option)), logits, gradient, rng)
    assert error < GRADIENT_LIMIT


def test_the_z_loss_alone_brings_log_z_to_0_and_leaves_what_is_predicted(rng):
    logits, targets = rng.normal(20, 1, (1, 4, 5)), rng.integers(0, 5, (1, 4))
    _, cache = ZLoss(1.0).forward(logits, targets)
    pull = ZLoss(1.0).backward(cache, logits.shape) - CrossEntropy.backward(cache.cross_entropy, logits.shape)
    assert (pull > 0).all()  # all logits go down together
    assert pull.sum(-1) == pytest.approx(2 * np.log(np.exp(logits).sum(-1)) / 4)


def test_logits_beyond_the_range_of_exp_have_a_z_loss():
    logits = np.array([[[1000.0, 0.0], [-1000.0, -1000.0]]], np.float32)
    _, cache = ZLoss(1.0).forward(logits, np.array([[1, 0]]))
    assert cache.log_partition == pytest.approx([1000, np.log(2) - 1000])
    assert ZLoss(1.0).backward(cache, logits.shape).dtype == np.float32


@pytest.mark.parametrize(
    "changes", [{"z_loss": 0.1}, {"label_smoothing": 0.3}], ids=lambda changes: next(iter(changes))
)
@pytest.mark.parametrize("compute", [{"threads": 2}, {"threads": 1, "micro_batches": 4}])
def test_every_thread_and_piece_has_the_loss_of_its_share(compute, changes, verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    plain = TrainConfig(steps=3, batch_size=8, warmup_steps=0)
    training = dataclasses.replace(plain, **changes)
    weights = []
    for how, one in (({"threads": 1}, training), (compute, training), ({"threads": 1}, plain)):
        trainer = Trainer(config, one, verse, compute=ComputeConfig(**how), dtype="float64")
        list(trainer)
        weights.append(trainer.model.parameters.data)
    whole, parts, without = weights
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-9)
    assert np.abs(without - whole).max() > 1e-4


def test_label_smoothing_and_the_z_loss_add_up(rng):
    logits, targets = rng.normal(1, 3, (2, 3, 5)), rng.integers(0, 5, (2, 3))

    def gradient(loss):
        return loss.backward(loss.forward(logits, targets)[1], logits.shape)

    plain, smoothed, pulled = map(gradient, (CrossEntropy(), LabelSmoothing(0.2), ZLoss(0.3)))
    assert gradient(ZLoss(0.3, LabelSmoothing(0.2))) == pytest.approx(smoothed + pulled - plain)


def test_a_prediction_of_the_smoothed_targets_is_the_best_and_a_surer_one_is_pulled_back():
    smoothing, V = 0.2, 4
    best = np.log([[[1 - smoothing + smoothing / V, *[smoothing / V] * (V - 1)]]])
    for logits, sign in ((best, 0), (3 * best, 1)):
        _, cache = LabelSmoothing(smoothing).forward(logits, np.array([[0]]))
        gradient = LabelSmoothing(smoothing).backward(cache, logits.shape)
        assert np.sign(gradient[0, 0, 0].round(12)) == sign  # what training subtracts from the target's logit


def test_label_smoothing_keeps_float32(rng):
    logits = rng.normal(size=(1, 2, 5)).astype(np.float32)
    _, cache = LabelSmoothing(0.1).forward(logits, np.array([[1, 0]]))
    assert LabelSmoothing(0.1).backward(cache, logits.shape).dtype == np.float32


def test_validation_is_without_label_smoothing(verse):
    training = TrainConfig(steps=2, batch_size=4, warmup_steps=0, label_smoothing=0.5)
    trainer = Trainer(tiny(vocab_size=verse.tokenizer.vocab_size), training, verse)
    last = list(trainer)[-1]
    assert last.validation_loss == evaluate(trainer.checkpoint().model(), verse.validation)


# ------------------------------------------------------------------------------------------------ defaults


def test_switched_off_they_leave_no_trace_in_the_default_model():
    off = {name: values[0] for name, values in FURTHER.items()}
    assert tiny(**off) == tiny()
    assert not FURTHER.keys() & tiny(**off).to_json().keys()  # what earlier versions wrote, they wrote without them


def test_switched_on_they_are_in_the_json_and_come_back():
    on = tiny(**{name: values[-1] for name, values in FURTHER.items()})
    assert on.to_json().keys() >= FURTHER.keys()
    assert ModelConfig.from_json(on.to_json()) == on

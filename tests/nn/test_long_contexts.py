"""A text in blocks of queries gives what it gives as a whole, for every switch of attention, and keeps less of it."""

import tracemalloc

import numpy as np
import pytest

from support import tiny
from tlab import Transformer
from tlab.checks import random_model
from tlab.cost import activation_bytes_by_part, kept_numbers
from tlab.inside.probes.trace import full_trace
from tlab.nn import attention
from tlab.nn.loss import CrossEntropy
from tlab.nn.model import named_arrays
from tlab.nn.positions import Alibi, T5Bias, alibi_bias, bucket_table

T = 11  # three blocks of four queries, the last one not full
SWITCHES = [
    {}, {"num_kv_heads": 1, "position": "rope"}, {"position": "alibi"}, {"position": "t5"}, {"position": "learned"},
    {"score_cap": 2.0}, {"attention_softmax": "sink"}, {"attention_softmax": "plus_one"},
    {"qk_norm": "rmsnorm", "qk_norm_all_heads": True}, {"attention_gate": True}, {"value_residual": True},
    {"residual": "parallel", "position": "t5", "attention_softmax": "sink", "score_cap": 3.0, "num_kv_heads": 1},
]  # fmt: skip


@pytest.fixture(params=["weights kept", "weights made twice"])
def in_blocks(monkeypatch, request):
    """Makes texts long, or very long: from the next call on, four queries at once."""

    def shorten():
        monkeypatch.setattr(attention, "LONGEST_WHOLE", 4)
        monkeypatch.setattr(attention, "QUERIES_AT_ONCE", 4)
        if request.param == "weights made twice":
            monkeypatch.setattr(attention, "LONGEST_KEPT", 4)

    return shorten


def a_model(switches, rng):
    model = random_model(tiny(**{"context_length": T, **switches}), rng)
    for name, param in model.parameters.items():
        if name.endswith((".sink", "position.bias")):  # they start at 0
            param.data[...] = rng.normal(size=param.shape)
    return model


def a_batch(rng):
    return rng.integers(0, 11, (2, 3, T))


@pytest.mark.parametrize("switches", SWITCHES)
def test_loss_and_gradients_are_those_of_the_whole(switches, in_blocks, rng):
    model, (ids, targets) = a_model(switches, rng), a_batch(rng)
    loss, gradients = model.loss_and_gradients(ids, targets)
    in_blocks()
    again, others = model.loss_and_gradients(ids, targets)
    assert again == pytest.approx(loss, rel=1e-12)
    for name, gradient in gradients.items():
        assert others[name] == pytest.approx(gradient, rel=1e-12, abs=1e-12 * max(1, abs(gradient).max())), name


@pytest.mark.parametrize("switches", [{}, {"position": "t5", "attention_softmax": "sink", "num_kv_heads": 1}])
def test_gradients_are_those_of_finite_differences(switches, in_blocks, rng):
    model, (ids, targets) = a_model(switches, rng), a_batch(rng)
    in_blocks()
    _, gradients = model.loss_and_gradients(ids, targets)
    direction = {name: rng.normal(size=gradient.shape) for name, gradient in gradients.items()}

    def loss_at(step):
        for name, param in model.parameters.items():
            param.data += step * direction[name]
        loss = CrossEntropy.forward(model.score(ids), targets)[0]
        for name, param in model.parameters.items():
            param.data -= step * direction[name]
        return loss

    slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6
    assert sum((gradients[name] * direction[name]).sum() for name in gradients) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("switches", SWITCHES)
def test_pytorch_has_the_same_loss_and_gradients(switches, in_blocks, rng):
    pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")
    from judge import cannot_judge, loss_and_gradients

    model, (ids, targets) = a_model(switches, rng), a_batch(rng)
    if why := cannot_judge(model.config):
        pytest.skip(why)
    in_blocks()
    loss, gradients = model.loss_and_gradients(ids, targets)
    weights = {name: param.data.copy() for name, param in model.parameters.items()}
    theirs, their_gradients = loss_and_gradients(model.config, weights, ids, targets)
    assert loss == pytest.approx(float(theirs), rel=1e-9)
    for name, gradient in gradients.items():
        expected = np.asarray(their_gradients[name])
        assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(1, abs(expected).max())), name


def test_whoever_looks_finds_the_weights_of_the_whole(in_blocks, rng):
    model, (ids, _) = a_model({"score_cap": 2.0}, rng), a_batch(rng)
    usual = dict(named_arrays(model.forward(ids)[1]))
    in_blocks()
    trace = model.forward(ids)[1]
    assert trace.blocks[0].attention_residual.branch.sublayer.weights is None  # so the case is one
    found = dict(named_arrays(trace))
    assert found.keys() == usual.keys()
    for name, array in usual.items():
        assert found[name] == pytest.approx(array, rel=1e-12, abs=1e-12), name


def test_a_probe_of_every_gradient_has_them_of_the_whole(in_blocks, rng):
    model, ids = a_model({"position": "t5"}, rng), rng.integers(0, 11, T + 1)
    usual = full_trace(model, ids).arrays
    in_blocks()
    found = full_trace(model, ids).arrays
    assert found.keys() == usual.keys()
    for name, array in usual.items():
        assert found[name] == pytest.approx(array, rel=1e-11, abs=1e-11), name


def test_a_prompt_that_goes_on_from_a_past_is_scored_like_the_whole(in_blocks, rng):
    model, (ids, _) = a_model({"position": "alibi"}, rng), a_batch(rng)
    usual = model.score(ids)
    in_blocks()
    cache = model.new_cache(len(ids))
    parts = [model.score(ids[:, :5], cache), model.score(ids[:, 5:], cache)]
    assert np.concatenate(parts, axis=1) == pytest.approx(usual, rel=1e-12, abs=1e-12)


def squares_of_a_step(length, rng):
    """A step's peak of memory, in that of one layer's weights for all pairs of tokens, and the model's config."""
    model = Transformer(tiny(context_length=length, num_layers=4, hidden_dim=24, num_heads=3, bias=False))
    ids = rng.integers(0, 11, (1, length))
    tracemalloc.start()
    model.accumulate_gradients(ids, ids)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (model.dtype.itemsize * 3 * length * length), model.config


def test_what_is_read_after_a_past_keeps_no_weights_as_nothing_follows_it_backwards(in_blocks, rng):
    model, (ids, _) = a_model({}, rng), a_batch(rng)
    in_blocks()
    trace = model.forward(ids, model.new_cache(len(ids)))[1].blocks[0].attention_residual.branch.sublayer
    assert trace.weights is None and not trace.kept
    assert trace.whole.weights.shape == (3, 3, T, T)


def test_a_step_on_a_very_long_text_needs_no_room_for_a_square(rng):
    squares, config = squares_of_a_step(attention.LONGEST_KEPT + 64, rng)
    assert squares < 2.5  # where the whole is kept the four layers take four of these, and backward two more
    assert "attention weights" not in {row.part for row in activation_bytes_by_part(config, 1)}


def test_a_step_on_a_long_text_keeps_half_of_the_square(rng):
    squares, config = squares_of_a_step(768, rng)
    assert squares < 3.5
    (weights,) = (row.bytes for row in activation_bytes_by_part(config, 1) if row.part == "attention weights")
    blocks = 768 // attention.QUERIES_AT_ONCE
    assert weights == 4 * 3 * 4 * 768 * 768 * (blocks + 1) / (2 * blocks)  # bytes, layers, heads, and who sees whom


@pytest.mark.parametrize("length", [attention.LONGEST_WHOLE + 1, attention.LONGEST_KEPT + 1])
def test_each_text_of_a_batch_of_long_ones_has_the_gradients_that_it_has_alone(length, rng):
    model = random_model(tiny(context_length=length), rng)
    ids, targets = rng.integers(0, 11, (2, 2, length))
    _, together = model.loss_and_gradients(ids, targets)
    alone = [model.loss_and_gradients(ids[b : b + 1], targets[b : b + 1])[1] for b in (0, 1)]
    for name, gradient in together.items():
        expected = (alone[0][name] + alone[1][name]) / 2
        assert gradient == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_what_is_compared_at_once_is_a_whole_batch_of_short_texts_or_a_block_of_one_long_text():
    assert attention.blocks_by_text(3, 20) == [(slice(3), slice(0, 20))]
    long = attention.LONGEST_WHOLE + 1
    blocks = attention.blocks_by_text(2, long)
    assert blocks == [(slice(b, b + 1), rows) for b in (0, 1) for rows in attention.query_blocks(long)]


def test_a_text_is_cut_by_its_length_alone():
    assert attention.query_blocks(attention.LONGEST_WHOLE) == [slice(0, attention.LONGEST_WHOLE)]
    blocks = attention.query_blocks(1000)
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, 1000)
    assert all(block.stop - block.start == attention.QUERIES_AT_ONCE for block in blocks[:-1])


@pytest.mark.parametrize("length", [1, 7, 256, 300])
def test_what_depends_on_a_distance_stands_at_every_pair_and_a_long_text_has_no_square_of_it(length):
    after = np.arange(length)[None, :] - np.arange(length)[:, None]  # s - t
    tables = {
        "mask": (attention.square_mask(length, "d"), np.where(after > 0, -np.inf, 0)),
        "alibi": (alibi_bias(2, length, "d"), Alibi.reference(2)[:, None, None] * after),
        "t5": (bucket_table(length), np.vectorize(T5Bias.reference)((-after).clip(0))),
    }
    for name, (table, expected) in tables.items():
        assert np.array_equal(table, expected) and not table.flags.writeable, name
        held = np.lib.array_utils.byte_bounds(table)
        assert held[1] - held[0] == table.nbytes if length <= 256 else held[1] - held[0] < 5 * 8 * length, name


def test_a_long_context_needs_the_room_that_somebody_who_looks_inside_would_take():
    rows = [kept_numbers(tiny(context_length=length), 1) for length in (2048, 4096)]
    assert rows[1] > 3.5 * rows[0]

"""Probes, on traces whose answer is known."""

import numpy as np
import pytest

from conftest import tiny
from tlab import Transformer
from tlab.probes import attention_statistics, attention_targets, first_nonfinite, layer_statistics, named_arrays


@pytest.fixture
def model():
    return Transformer(tiny(position="none"), dtype=np.float64)


def test_arrays_are_named_in_the_order_of_computation(model, ids):
    names = [name for name, _ in named_arrays(model.forward(ids)[1])]
    wanted = [
        "embedded",
        "blocks.0.attention.x",
        "blocks.0.attention.weights",
        "blocks.0.attention.added",
        "blocks.0.attention.stream",
        "blocks.0.mlp.up",
        "blocks.0.mlp.hidden",
        "blocks.1.attention.x",
        "output",
        "logits",
    ]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places)
    assert len(names) == len(set(names))


def test_a_finite_pass_has_no_first_nonfinite_array(model, ids):
    assert first_nonfinite(model.forward(ids)[1]) is None


@pytest.mark.parametrize(
    ("parameter", "where"),
    [
        ("embedding.weight", "embedded"),
        ("blocks.1.attention.qkv.weight", "blocks.1.attention.queries"),
        ("blocks.0.mlp.down.weight", "blocks.0.mlp.added"),
        ("final_norm.scale", "output"),
    ],
)
def test_the_first_nonfinite_array_is_where_the_nan_came_in(model, parameter, where):
    model.parameters[parameter].data.flat[0] = np.nan
    assert first_nonfinite(model.forward(np.array([[0, 1, 2]]))[1]) == where


def test_a_head_of_equal_scores_looks_at_all_of_the_past_alike(model, ids):
    for block in model.blocks:
        block.attention.qkv.weight.data[...] = 0
    T = ids.shape[1]
    entropy = np.mean([np.log(t + 1) for t in range(T)])
    distance = np.mean([t / 2 for t in range(T)])
    rows = attention_statistics(model.forward(ids)[1])
    assert [(row.layer, row.head) for row in rows] == [(layer, head) for layer in (0, 1) for head in (0, 1, 2)]
    for row in rows:
        assert row.entropy == pytest.approx(entropy)
        assert row.distance == pytest.approx(distance)


def test_a_head_that_sees_one_token_has_no_entropy_and_no_distance(model):
    for row in attention_statistics(model.forward(np.array([[3]]))[1]):
        assert (row.entropy, row.distance) == (0, 0)


def test_layer_statistics_are_the_streams_rms_and_the_blocks_gradient_norm(model, ids):
    model.parameters.grad[...] = 0
    _, trace = model.accumulate_gradients(ids, ids)
    rows = layer_statistics(model, trace)
    assert [row.layer for row in rows] == [0, 1]
    stream = trace.blocks[1].second.y
    assert rows[1].stream_rms == pytest.approx(np.sqrt((stream**2).mean()))
    squares = [(p.grad**2).sum() for name, p in model.parameters.items() if name.startswith("blocks.1.")]
    assert rows[1].gradient_norm == pytest.approx(np.sqrt(sum(squares)))


@pytest.mark.parametrize(
    ("name", "target_of"),
    [
        ("previous", {4: 3, 5: 4, 6: 5}),
        ("itself", {4: 4, 5: 5, 6: 6}),
        ("first", {4: 0, 5: 0, 6: 0}),
        ("same", {4: 1, 5: 2, 6: 3}),
        ("induction", {4: 2, 5: 3, 6: 4}),
        ("near", {4: 1, 5: 0, 6: 3}),
    ],
)
def test_a_head_that_looks_at_one_kind_of_place_gives_all_its_weight_to_it(name, target_of):
    ids = np.array([0, 1, 2, 3, 1, 2, 3])
    weights = np.eye(7)
    for query, key in target_of.items():
        weights[query] = np.arange(7) == key
    assert attention_targets(weights, ids)[name] == pytest.approx(1.0)
    weights[4:] = np.eye(7)[4:, ::-1]  # the last three look ahead or elsewhere
    assert attention_targets(weights, ids)[name] < 1

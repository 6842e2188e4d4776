"""Probes, on traces whose answer is known."""

import numpy as np
import pytest

from support import tiny
from tlab import Transformer
from tlab.inside.attention import attention_statistics, attention_targets, target_masks
from tlab.inside.layers import dead_share, layer_insights, norm_of
from tlab.nn.model import first_nonfinite, named_arrays


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


# ------------------------------------------------------------------------------------------------ insights


def insights_after(model, ids, change=None, clipped_by=1.0):
    """Of one forward and backward pass on `ids`, and of an update that `change` makes."""
    space = model.parameters
    space.grad[...] = 0
    _, trace = model.accumulate_gradients(ids, ids)
    gradient, before = space.grad.copy(), space.data.copy()
    if change:
        change(space)
    return trace, layer_insights(model, trace, gradient, before, clipped_by=clipped_by)


def test_insights_have_the_rms_of_the_stream_and_the_norm_of_the_blocks_gradient(model, ids):
    trace, rows = insights_after(model, ids)
    for layer, row in enumerate(rows):
        stream = trace.blocks[layer].y
        assert row.stream_rms == pytest.approx(np.sqrt((stream**2).mean()))
        squares = [(p.grad**2).sum() for name, p in model.parameters.items() if name.startswith(f"blocks.{layer}.")]
        assert row.gradient_norm == pytest.approx(np.sqrt(sum(squares)))


def test_the_gradient_norm_is_that_before_clipping(model, ids):
    _, plain = insights_after(model, ids)
    _, clipped = insights_after(model, ids, clipped_by=3.0)
    assert clipped[1].gradient_norm == pytest.approx(3 * plain[1].gradient_norm)


def test_an_update_by_a_hundredth_of_each_matrix_has_the_ratio_of_a_hundredth(model, ids):
    def shrink_second_block(space):
        for name, param in space.items():
            if name.startswith("blocks.1."):
                param.data *= 1.01

    _, rows = insights_after(model, ids, shrink_second_block)
    assert [row.update_ratio for row in rows] == pytest.approx([0, 0.01])


def test_a_step_that_moves_scales_and_shifts_only_has_no_update_of_matrices(model, ids):
    def move_vectors(space):
        for param in space.values():
            if not param.is_decayed:
                param.data += 1.0

    _, rows = insights_after(model, ids, move_vectors)
    assert [row.update_ratio for row in rows] == [0, 0]


def test_a_relu_unit_with_a_large_negative_bias_is_dead(ids):
    model = Transformer(tiny(activation="relu"), dtype=np.float64)
    F = model.config.mlp_dim
    for param in (model.parameters[f"blocks.{layer}.mlp.up.bias"] for layer in (0, 1)):
        param.data[...] = 100.0  # all others speak
    model.parameters["blocks.1.mlp.up.bias"].data[:3] = -100.0
    _, rows = insights_after(model, ids)
    assert [row.dead_share for row in rows] == [0, 3 / F]


def test_a_unit_is_alive_if_it_speaks_on_one_token_and_dead_if_it_only_whispers():
    hidden = np.zeros((2, 3, 4))
    hidden[..., 0] = 1.0
    hidden[1, 2, 1] = -0.2  # on one token, and negative
    hidden[..., 2] = 1e-4
    assert dead_share(hidden) == 0.5  # the third and the fourth


def test_the_entropy_of_a_layer_that_looks_at_all_alike_is_the_mean_of_log_t(model, ids):
    model.blocks[0].attention.qkv.weight.data[...] = 0
    T = ids.shape[1]
    _, rows = insights_after(model, ids)
    assert rows[0].entropy == pytest.approx(np.mean([np.log(t + 1) for t in range(T)]))
    assert rows[1].entropy < rows[0].entropy


def test_the_norm_of_several_arrays_is_that_of_all_their_entries():
    assert norm_of([np.array([[3.0]]), np.array([0.0, 4.0])]) == 5.0


def test_matrices_of_zeros_have_no_ratio_to_be_moved_by(model, ids):
    for name, param in model.parameters.items():
        if name.startswith("blocks.1.") and param.role == "matrix":
            param.data[...] = 0
    _, rows = insights_after(model, ids)
    assert rows[1].update_ratio == 0


def test_the_entropy_is_that_of_the_first_four_texts_of_a_batch(model):
    model.blocks[0].attention.qkv.weight.data *= 50  # else all texts are looked at much alike
    texts = np.array([[1, 2, 3, 4, 5, 6]] * 4 + [[7, 7, 7, 7, 7, 7]] * 4)
    _, all_of_them = insights_after(model, texts)
    _, the_first = insights_after(model, texts[:4])
    assert [row.entropy for row in all_of_them] == pytest.approx([row.entropy for row in the_first])
    _, three = insights_after(model, np.concatenate([texts[:3], texts[4:]]))
    assert three[0].entropy != pytest.approx(the_first[0].entropy)


def test_near_are_the_tokens_from_three_to_eight_places_before():
    near = target_masks(np.arange(12))["near"]
    assert np.flatnonzero(near[11]).tolist() == [3, 4, 5, 6, 7, 8]
    assert np.flatnonzero(near[3]).tolist() == [0] and not near[2].any()

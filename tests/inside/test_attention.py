"""Probes of attention and of positions, on models and texts whose answer is known."""

import math

import numpy as np
import pytest

from support import tiny
from tlab import Transformer
from tlab.inside.attention import (
    AttentionData,
    ScoreStatistics,
    attention_statistics,
    attention_targets,
    by_distance,
    favourite_token,
    head_roles,
    next_tokens,
    pair,
    read,
    score_statistics,
    scores,
    target_masks,
    thumbnail,
)
from tlab.inside.positions import (
    contentless_scores,
    fits,
    pattern,
    portrait,
    position_of,
    reach_by_length,
    score_by_distance,
)
from tlab.nn.loss import softmax
from tlab.nn.positions import POSITIONS, Alibi, Position, Rope, Sinusoidal

IDS = np.array([0, 1, 2, 3, 1, 2, 3, 4])


def model_of(position: str, **changes) -> Transformer:
    return Transformer(tiny(**{"position": position, "hidden_dim": 12, "num_heads": 2, **changes}), dtype=np.float64)


@pytest.fixture(params=POSITIONS)
def reading(request):
    return read(model_of(request.param), IDS)


# --- one forward pass ---


def test_a_reading_is_the_trace_of_a_forward_pass():
    model = model_of("rope")
    logits, trace = model.forward(IDS[None])
    reading = read(model, IDS)
    for layer, block in enumerate(trace.blocks):
        np.testing.assert_array_equal(reading.weights[layer], block.attention.weights[0])
        np.testing.assert_array_equal(reading.queries[layer], block.attention.queries[0])
    np.testing.assert_array_equal(reading.logits, logits[0])
    assert [(h.layer, h.head, h.entropy, h.distance) for h in reading.heads] == [
        tuple(r) for r in attention_statistics(trace)
    ]
    assert reading.nbytes == sum(a.nbytes for a in reading if isinstance(a, np.ndarray))


def test_scores_with_the_bias_go_through_the_softmax_to_the_weights(reading: AttentionData):
    for layer, head in np.ndindex(*reading.weights.shape[:2]):
        whole = scores(reading, layer, head) + reading.bias[head]
        np.testing.assert_allclose(softmax(whole), reading.weights[layer, head], atol=1e-12)


def test_the_bias_of_a_reading_is_what_the_positions_add_and_minus_infinity_at_later_tokens():
    reading = read(model_of("alibi", num_layers=1), IDS)
    distance = np.arange(8)[:, None] - np.arange(8)[None, :]
    expected = np.where(distance < 0, -np.inf, -Alibi.reference(2)[:, None, None] * distance)
    np.testing.assert_allclose(reading.bias, expected, atol=1e-12)


def test_a_model_that_is_not_finite_is_refused_in_words():
    model = model_of("none")
    model.parameters.data[...] = np.nan
    with pytest.raises(ValueError, match="train it again"):
        read(model, IDS)


def test_the_role_of_a_head_is_the_place_that_gets_most_beyond_its_fair_share():
    T = 12
    alike = np.tri(T) / np.arange(1, T + 1)[:, None]
    previous = np.eye(T, k=-1)
    previous[0, 0] = 1
    weights = np.stack([alike, previous])[None]  # one layer of two heads
    ids = np.arange(T)
    rows = head_roles(weights, ids)
    assert rows[1][:2] == ("previous", pytest.approx(1.0))
    assert rows[0][1] == pytest.approx(rows[0][2])  # who looks at all alike has no favourite
    for (name, share, fair), head in zip(rows, weights[0], strict=True):
        assert share == pytest.approx(attention_targets(head, ids)[name])
        assert fair == pytest.approx(attention_targets(alike, ids)[name])


def test_the_first_four_tokens_tell_nothing_of_a_heads_role_where_there_are_more():
    T = 8
    weights = np.eye(T)
    weights[:4] = np.eye(T, k=-1)[:4]  # the first four look at the token before, the others at themselves
    weights[0, 0] = 1
    assert head_roles(weights[None, None], np.arange(T))[0][:2] == ("itself", pytest.approx(1.0))
    short = weights[:3, :3]  # of three tokens the last one alone tells
    assert head_roles(short[None, None], np.arange(3))[0][:2] == ("previous", pytest.approx(1.0))
    assert attention_targets(short, np.arange(3))["previous"] == pytest.approx(1.0)


def test_a_fair_share_is_that_of_a_head_that_looks_at_all_alike():
    (row,) = head_roles(np.eye(6)[None, None], np.arange(6))
    assert row == ("itself", pytest.approx(1.0), pytest.approx((1 / 5 + 1 / 6) / 2))


# --- one pair ---


def test_the_products_of_a_pair_add_up_to_its_score_and_weight(reading: AttentionData):
    of = pair(reading, 1, 1, 5, 2)
    np.testing.assert_array_equal(of.products, reading.queries[1, 1, 5] * reading.keys[1, 1, 2])
    assert of.dot == pytest.approx(of.products.sum())
    assert of.score == pytest.approx(scores(reading, 1, 1)[5, 2])
    row = scores(reading, 1, 1)[5] + reading.bias[1, 5]
    assert of.weight == pytest.approx(math.exp(of.score + of.bias) / np.exp(row).sum())


def test_a_pair_of_alibi_has_its_penalty_and_one_ahead_has_none_to_add():
    reading = read(model_of("alibi"), IDS)
    assert pair(reading, 0, 0, 5, 2).bias == pytest.approx(-3 * Alibi.reference(2)[0])
    ahead = pair(reading, 0, 0, 2, 5)
    assert (ahead.bias, ahead.weight) == (-math.inf, 0)


def made(queries, keys, bias=None) -> AttentionData:
    """A reading of one head with these queries and keys (T, D), without positions."""
    T = len(queries)
    bias = np.triu(np.full((T, T), -math.inf), k=1)[None] if bias is None else bias
    weights = softmax(queries @ keys.T / math.sqrt(queries.shape[1]) + bias[0])
    return AttentionData(
        np.arange(T), queries[None, None], keys[None, None], weights[None, None], bias, np.zeros((T, 3)), []
    )


def statistics_of(reading: AttentionData) -> ScoreStatistics:
    return score_statistics(reading.queries[0, 0], reading.keys[0, 0], reading.bias[0])


def test_statistics_of_scores_are_those_of_the_pairs_that_the_mask_allows():
    queries = np.array([[3.0, 0, 0, 4], [0, 0, 2, 0]])
    keys = np.array([[3.0, 0, 0, 4], [0, 0, -6, 0]])
    of = statistics_of(made(queries, keys))
    assert (of.query_norm, of.key_norm) == (3.5, 5.5)
    # Allowed are (0, 0): 25 / 2, (1, 0): 0, (1, 1): -12 / 2. The pair (0, 1) is ahead.
    assert of.cosine == pytest.approx((1 + 0 - 1) / 3)
    assert of.size == pytest.approx(math.sqrt((12.5**2 + 0 + 36) / 3))
    assert of.largest == 12.5
    assert of.spread == pytest.approx(3.0)  # of the row (0, -6); the first row has no choice


def test_a_head_of_zero_queries_has_no_direction_and_no_size():
    of = statistics_of(made(np.zeros((3, 4)), np.ones((3, 4))))
    assert (of.query_norm, of.cosine, of.size, of.largest, of.spread) == (0, 0, 0, 0, 0)


def test_one_token_alone_has_no_spread():
    of = statistics_of(made(np.ones((1, 4)), np.ones((1, 4))))
    assert (of.size, of.spread) == (2.0, 0.0)


def test_means_by_distance_are_those_of_the_diagonals():
    queries, keys = np.array([[1.0], [2], [3]]), np.array([[1.0], [10], [100]])
    reading = made(queries, keys)
    of = by_distance(reading, 0, 0)
    np.testing.assert_allclose(of.score, [(1 + 20 + 300) / 3, (2 + 30) / 2, 3])
    weights = reading.weights[0, 0]
    np.testing.assert_allclose(of.weight, [np.trace(weights) / 3, (weights[1, 0] + weights[2, 1]) / 2, weights[2, 0]])


def test_a_thumbnail_keeps_the_largest_weight_of_each_tile():
    weights = np.zeros((2, 6, 6))
    weights[0, 5, 0], weights[1, 2, 3] = 0.9, 0.4
    uneven = thumbnail(np.arange(25).reshape(1, 5, 5), 2)
    assert uneven.tolist() == [[[6, 9], [21, 24]]]  # tiles of two and three tokens
    small = thumbnail(weights, 3)
    assert small.shape == (2, 3, 3)
    assert (small[0, 2, 0], small[1, 1, 1]) == (0.9, 0.4)
    assert small.sum() == pytest.approx(1.3)
    np.testing.assert_array_equal(thumbnail(weights, 40), weights)  # a short text is not blown up


def test_the_likeliest_next_tokens_come_first_with_their_chance():
    reading = made(np.zeros((2, 4)), np.zeros((2, 4)))._replace(logits=np.log([[1, 1, 1], [0.2, 0.5, 0.3]]))
    assert [tuple(row) for row in next_tokens(reading, 2)] == [(1, pytest.approx(0.5)), (2, pytest.approx(0.3))]


def test_scores_by_distance_are_those_with_what_the_positions_add():
    reading = read(model_of("alibi"), IDS)
    silent = reading._replace(queries=np.zeros_like(reading.queries))  # then the scores are the positions' part alone
    np.testing.assert_allclose(by_distance(silent, 1, 1).score, -Alibi.reference(2)[1] * np.arange(8), atol=1e-12)


def test_an_earlier_copy_is_at_least_one_token_back_and_induction_looks_at_what_followed_it():
    masks = target_masks(np.array([5, 5, 5]))
    assert masks["same"].astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert masks["induction"].astype(int).tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]


# --- positions ---

CONFIG = tiny(hidden_dim=12, num_heads=2, context_length=8)


def test_the_pattern_of_sinusoids_is_what_is_added_to_the_tokens():
    made = pattern(model_of("sinusoidal").position, CONFIG, 8)
    assert made.where == "embedding"
    np.testing.assert_allclose(made.values, Sinusoidal.reference(8, 12), atol=1e-6)


def test_the_pattern_of_rope_is_the_turned_vector():
    made = pattern(model_of("rope").position, CONFIG, 8)
    vectors = np.tile([1.0, 1, 1, 0, 0, 0], (8, 1))
    np.testing.assert_allclose(made.values, Rope.reference(vectors), atol=1e-6)


def test_the_pattern_of_alibi_is_the_penalty_of_each_head():
    made = pattern(model_of("alibi").position, CONFIG, 5)
    np.testing.assert_allclose(made.values, -np.arange(5)[::-1, None] * Alibi.reference(2)[None, :], atol=1e-7)


def test_learned_positions_are_the_models_own_and_end_with_the_context():
    model = model_of("learned")
    made = pattern(position_of(model, "learned"), CONFIG, 100)
    np.testing.assert_allclose(made.values, model.parameters["position.weight"].data, atol=1e-7)
    reach = reach_by_length(model.position, CONFIG, [4, 8, 16])
    assert np.isfinite(reach[:, :2]).all() and np.isnan(reach[:, 2]).all()


@pytest.mark.parametrize("kind", POSITIONS)
def test_every_kind_can_be_shown_at_the_sizes_of_any_model(kind):
    model = model_of("none")
    made = portrait(model, kind)
    assert made.pattern.values.shape[0] == 8
    assert made.by_distance.shape == (2, 8)
    assert made.lengths == [2, 4, 8, 16, 32]  # up to four times the context
    assert made.reach.shape == (2, len(made.lengths))
    assert np.all(made.by_distance[:, 0] == 0)


@pytest.mark.parametrize(
    ("context", "rows", "distances", "farthest"),
    [(8, 8, 8, 32), (13, 13, 13, 32), (100, 96, 100, 256), (600, 96, 512, 512)],
)
def test_a_portrait_is_no_larger_than_can_be_seen_and_computed(context, rows, distances, farthest):
    made = portrait(model_of("none", context_length=context, hidden_dim=4, num_layers=1), "alibi")
    assert (len(made.pattern.values), made.by_distance.shape) == (rows, (2, distances))
    assert made.lengths == [2**n for n in range(1, 10) if 2**n <= farthest]
    assert made.nbytes == made.pattern.values.nbytes + made.by_distance.nbytes + made.reach.nbytes


def test_a_kind_that_is_not_the_models_own_is_shown_as_it_is_before_any_training():
    model = model_of("learned")
    assert position_of(model, "learned") is model.position
    other = position_of(model_of("none"), "learned")
    values = pattern(other, CONFIG, 8).values
    assert values.dtype == np.float64 and 0 < np.abs(values).max() < 0.2


def test_a_kind_that_acts_nowhere_has_a_column_of_zeros():
    made = pattern(model_of("none").position, CONFIG, 8)
    assert (made.where, made.values.tolist()) == ("nowhere", [[0.0]] * 8)


def test_what_is_added_to_embeddings_counts_as_query_and_key():
    position = model_of("sinusoidal").position
    added = Sinusoidal.reference(8, 12)
    expected = math.sqrt(6) + added @ added[-1] / math.sqrt(12)
    np.testing.assert_allclose(contentless_scores(position, CONFIG, 8), np.tile(expected, (2, 1)), rtol=1e-5)


def test_a_text_longer_than_all_positions_ends_with_them():
    position = model_of("learned").position
    assert contentless_scores(position, CONFIG, 20).shape == score_by_distance(position, CONFIG, 20).shape == (2, 8)
    assert pattern(model_of("alibi").position, CONFIG, 20).values.shape == (20, 2)


def test_without_positions_equal_content_is_looked_at_alike():
    position = model_of("none").position
    assert np.ptp(contentless_scores(position, CONFIG, 16)) == 0
    np.testing.assert_allclose(reach_by_length(position, CONFIG, [2, 16])[0], [0.5, 7.5])


def test_the_score_of_alibi_falls_in_proportion_to_the_distance():
    falls = score_by_distance(model_of("alibi").position, CONFIG, 32)
    np.testing.assert_allclose(falls, -Alibi.reference(2)[:, None] * np.arange(32), atol=1e-5)


def test_the_reach_of_alibi_stops_growing_with_the_text():
    reach = reach_by_length(model_of("alibi").position, CONFIG, [256, 512])
    ratio = math.exp(-Alibi.reference(2)[0])  # weights of a geometric series: mean distance r / (1 - r)
    assert reach[0, 1] == pytest.approx(ratio / (1 - ratio), rel=1e-3)
    assert reach[0, 1] - reach[0, 0] < 0.01


def test_scores_of_rope_depend_on_the_distance_alone():
    position = model_of("rope").position
    short, long = score_by_distance(position, CONFIG, 8), score_by_distance(position, CONFIG, 32)
    np.testing.assert_allclose(short, long[:, :8], atol=1e-5)
    angles = 10_000 ** (-np.arange(3) / 3)
    expected = 2 * np.cos(5 * angles).sum() / math.sqrt(6) - math.sqrt(6)
    assert long[0, 5] == pytest.approx(expected, abs=1e-5)


def test_a_kind_that_needs_even_heads_is_not_offered_to_odd_ones():
    odd = tiny(hidden_dim=6, num_heads=2, position="none")
    assert [kind for kind in POSITIONS if not fits(odd, kind)] == [k for k in POSITIONS if POSITIONS[k].even_head_dim]
    assert all(fits(CONFIG, kind) for kind in POSITIONS)


def test_a_kind_that_is_registered_at_run_time_is_shown_too():
    @POSITIONS.add("kerple", label="of this test")
    class Kerple(Position):
        """Takes the logarithm of the distance from each score."""

        acts_on = frozenset({"scores"})

        def score_bias(self, num_queries, num_keys, dtype):
            distance = np.arange(num_keys - num_queries, num_keys)[:, None] - np.arange(num_keys)[None, :]
            return -np.log1p(np.maximum(distance, 0)).astype(dtype)

    try:
        made = portrait(model_of("none"), "kerple")
        np.testing.assert_allclose(made.by_distance[1], -np.log1p(np.arange(8)), atol=1e-6)
    finally:
        POSITIONS.remove("kerple")


@pytest.mark.parametrize(("T", "place", "favourite"), [(24, 9, 9), (24, 15, 15), (80, 69, 69), (80, 70, 0)])
def test_the_favourite_token_is_the_one_with_the_largest_mean_weight_of_enough_queries_after_it(T, place, favourite):
    """Enough are eight, and an eighth of the text."""
    weights = 0.5 * np.tri(T) / np.arange(1, T + 1)[:, None]
    weights[:place] *= 2
    weights[place:, place] += 0.5
    found, share = favourite_token(weights)
    assert found == favourite
    if found == place:
        assert share == pytest.approx(0.5 + 0.5 * np.mean([1 / t for t in range(place + 2, T + 1)]))

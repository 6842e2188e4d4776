"""What attention does with a text, head by head and pair by pair: pure functions from one forward pass to small tables.

L, H, T, D, V = layers, heads, tokens of the text, head width, vocabulary. Layers, heads and tokens count from 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tlab.nn.loss import softmax
from tlab.nn.model import Trace, Transformer
from tlab.nn.scores.caps import capped
from tlab.types import Array, Ids

MIN_FOLLOWERS = 8  # queries that a token needs behind it to be called the favourite of a head
SETTLED_ROWS = 4  # the first tokens have hardly a choice whom to look at: the others show habits


class AttentionData(NamedTuple):
    """One forward pass over one text: all that pictures of attention need, and nothing else of the trace."""

    ids: Ids  # (T,)
    queries: Array  # (L, H, T, D), rotated where the position rotates
    keys: Array  # (L, H, T, D), likewise
    weights: Array  # (L, H, T, T), each row sums to 1, or to less where the softmax has a rest
    bias: Array  # (H, T, T), what positions and mask add to the scores: -inf where a query may not look
    logits: Array  # (T, V), for the token after each; or the last row of it
    heads: list[HeadPortrait]  # layer by layer
    score_cap: float = 0.0  # the soft limit of the scores; 0 for none

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self if isinstance(array, np.ndarray))


class HeadPortrait(NamedTuple):
    """What one head does with a text, in four numbers and a word."""

    layer: int
    head: int
    entropy: float  # nats, mean over the queries; 0 for a head that looks at one token only
    distance: float  # tokens back, mean over the queries
    role: str  # the place of `attention_targets` that gets most beyond its fair share of the weight
    share: float  # how much it gets, of 1
    fair: float  # how much it would get of a head that looks at all alike
    settled: int  # the token from which on `share` and `fair` are means
    token: int  # the place in this text that gets most from the queries after it,
    token_share: float  # and how much of their weight, of 1


def read(model: Transformer, ids: Ids) -> AttentionData:
    """Let the model read ids (T,), and keep what attention made of them.

    Raises:
        ValueError: ids that the model cannot read, or a model whose numbers are not finite.
    """
    logits, trace = model.forward(np.asarray(ids)[None])
    if not np.isfinite(logits).all():
        raise ValueError("the model's scores are not finite: its weights are too large to look into; train it again")
    attention = [block.attention for block in trace.blocks]
    weights = np.stack([a.weights[0] for a in attention])
    H, T = weights.shape[1:3]
    bias = np.broadcast_to(model.blocks[0].attention.mask(T, T, weights.dtype), (H, T, T))
    statistics = attention_statistics(trace)
    heads = [
        HeadPortrait(row.layer, row.head, row.entropy, row.distance, *role, settled_from(T), *token)
        for row, role, token in zip(
            statistics, head_roles(weights, trace.ids[0]), map(favourite_token, weights.reshape(-1, T, T)), strict=True
        )
    ]
    queries = np.stack([a.queries[0] for a in attention])
    keys = np.stack([a.keys[0] for a in attention])
    return AttentionData(trace.ids[0], queries, keys, weights, bias, logits[0], heads, model.config.score_cap)


def settled_from(T: int) -> int:
    """The first token of a text whose look shows a habit: of a short text, the last."""
    return min(SETTLED_ROWS, T - 1)


def head_roles(weights: Array, ids: Ids) -> list[tuple[str, float, float]]:
    """The favourite place of every head: weights (L, H, T, T), ids (T,) -> L * H rows of place, share and fair share.

    The places are those of `tlab.inside.layers.attention_targets`, and overlap. The favourite is the one that gets most
    beyond what a head would give it that looks at all alike: else the largest place would always win.
    """
    T = len(ids)
    masks = target_masks(ids)
    rows = slice(settled_from(T), None)
    places = np.stack([mask[rows].ravel() for mask in masks.values()], axis=1).astype(weights.dtype)
    alike = np.tri(T, dtype=weights.dtype) / np.arange(1, T + 1, dtype=weights.dtype)[:, None]
    heads = weights[:, :, rows].reshape(-1, len(places))  # (L * H, rows * T)
    num_rows = len(range(T)[rows])
    shares = heads @ places / num_rows  # (L * H, places)
    fair = alike[rows].ravel() @ places / num_rows  # (places,)
    names = list(masks)
    return [(names[i], float(row[i]), float(fair[i])) for row, i in zip(shares, (shares - fair).argmax(1), strict=True)]


def favourite_token(weights: Array) -> tuple[int, float]:
    """The key that gets most from the queries after it: weights (T, T) of one head -> its place, and their mean weight.

    Only keys count that enough queries come after: as many as in an eighth of the text, and MIN_FOLLOWERS at least.
    """
    T = len(weights)
    followers = T - 1 - np.arange(T)  # queries after each key
    means = np.tril(weights, -1).sum(0) / np.maximum(followers, 1)
    means[followers < max(MIN_FOLLOWERS, T // 8)] = 0
    place = int(means.argmax())
    return place, float(means[place])


def scores(reading: AttentionData, layer: int, head: int) -> Array:
    """(T, T): q k^T / sqrt(D) of one head, capped where the model caps, before positions are added and the mask.

    Above the diagonal is what the head would have said of tokens that it may not see.
    """
    queries, keys = reading.queries[layer, head], reading.keys[layer, head]
    return capped(queries @ keys.T / math.sqrt(queries.shape[1]), reading.score_cap)


class Pair(NamedTuple):
    """How one query comes to its weight for one key."""

    query: Array  # (D,)
    key: Array  # (D,)
    products: Array  # (D,), channel by channel; they add up to `dot`
    dot: float
    score: float  # dot / sqrt(D), capped where the model caps
    bias: float  # what the positions add to the score; -inf where the mask forbids
    weight: float  # after the softmax over all keys


def pair(reading: AttentionData, layer: int, head: int, query: int, key: int) -> Pair:
    """The whole way from q_t and k_s to the weight, for t = `query` and s = `key`."""
    q, k = reading.queries[layer, head, query], reading.keys[layer, head, key]
    products = q * k
    dot = float(products.sum())
    bias = float(reading.bias[head, query, key])
    weight = float(reading.weights[layer, head, query, key])
    score = float(capped(np.float64(dot / math.sqrt(len(q))), reading.score_cap))  # pyright: ignore[reportArgumentType]
    return Pair(q, k, products, dot, score, bias, weight)


class ScoreStatistics(NamedTuple):
    """How large one head's queries, keys and scores are, over the pairs that the mask allows."""

    query_norm: float  # mean length of the queries
    key_norm: float  # mean length of the keys
    cosine: float  # mean of q k / (|q| |k|): how far they point the same way
    size: float  # root mean square of the scores, after the division by sqrt(D), any cap, and with the positions' part
    largest: float  # the largest of them in absolute value
    spread: float  # standard deviation of the scores in one row, mean over the rows: what the softmax goes by


def score_statistics(queries: Array, keys: Array, bias: Array, cap: float = 0.0) -> ScoreStatistics:
    """Sizes of Q, K and Q K^T / sqrt(D) of one head: queries and keys (T, D), bias (T, T) as `AttentionData` has them.

    Notice: a softmax over scores of spread far below 1 looks at all alike, over one far above 1 at one token only. So
    scores that grow without bound in training freeze a head (Zhai et al. 2023).
    """
    seen = np.isfinite(bias)
    lengths, key_lengths = np.linalg.norm(queries, axis=1), np.linalg.norm(keys, axis=1)
    size = lengths[:, None] * key_lengths[None, :]
    products = queries @ keys.T
    cosines = np.divide(products, size, out=np.zeros_like(size), where=size > 0)
    whole = capped(products / math.sqrt(queries.shape[1]), cap) + np.where(seen, bias, 0)
    visible = whole[seen]
    spreads = [row[mask].std() for row, mask in zip(whole, seen, strict=True) if mask.sum() > 1]
    return ScoreStatistics(
        query_norm=float(lengths.mean()),
        key_norm=float(key_lengths.mean()),
        cosine=float(cosines[seen].mean()),
        size=float(np.sqrt(np.mean(visible * visible))),
        largest=float(np.abs(visible).max()),
        spread=float(np.mean(spreads)) if spreads else 0.0,
    )


class ByDistance(NamedTuple):
    """One head's scores and weights against the distance t - s, each (T,): mean over all pairs so far apart."""

    score: Array  # with the positions' part, before the softmax
    weight: Array  # after it


def by_distance(reading: AttentionData, layer: int, head: int) -> ByDistance:
    """How one head's scores and weights change with the distance, measured in this text."""
    T = len(reading.ids)
    whole = scores(reading, layer, head) + np.where(np.isfinite(reading.bias[head]), reading.bias[head], 0)
    weights = reading.weights[layer, head]

    def means(table: Array) -> Array:
        return np.array([np.diagonal(table, -distance).mean() for distance in range(T)])

    return ByDistance(means(whole), means(weights))


def thumbnail(weights: Array, side: int) -> Array:
    """Attention weights (..., T, T) in at most `side` x `side` tiles, each the largest weight in it.

    The largest and not the mean: a head that looks at one token only would fade away the longer the text.
    """
    T = weights.shape[-1]
    starts = np.unique(np.arange(min(side, T)) * T // min(side, T))
    return np.maximum.reduceat(np.maximum.reduceat(weights, starts, axis=-1), starts, axis=-2)


class Likely(NamedTuple):
    """One token that may come next."""

    id: int
    probability: float


def next_tokens(reading: AttentionData, count: int) -> list[Likely]:
    """The `count` likeliest tokens after the text, the likeliest first, at temperature 1."""
    probabilities = softmax(reading.logits[-1])
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Likely(int(i), float(probabilities[i])) for i in order]


class HeadStatistics(NamedTuple):
    """What one attention head looks at, on average over the tokens of a text."""

    layer: int
    head: int
    entropy: float  # nats; 0 for a head that looks at one token only
    distance: float  # tokens back


def attention_statistics(trace: Trace) -> list[HeadStatistics]:
    """Entropy and mean distance of every head.

    The entropy of a row of weights w is -sum w log w; the distance is sum w (t - s). Both are averaged over the
    batch and all queries.
    """
    rows = []
    for layer, block in enumerate(trace.blocks):
        weights = block.attention.weights  # (B, H, T, S)
        T, S = weights.shape[2:]
        distance = np.arange(S - T, S)[:, None] - np.arange(S)[None, :]  # (T, S)
        entropies = row_entropies(weights).mean((0, 2))  # (H,)
        distances = (weights * distance).sum(-1).mean((0, 2))  # (H,)
        rows += [HeadStatistics(layer, h, float(entropies[h]), float(distances[h])) for h in range(len(entropies))]
    return rows


def row_entropies(weights: Array) -> Array:
    """(..., S) -> (...), in nats: -sum w log w of each row of attention weights."""
    return -(weights * np.log(np.where(weights > 0, weights, 1))).sum(-1)


def attention_targets(weights: Array, ids: Ids) -> dict[str, float]:
    """How much of one head's weight goes where, as shares of 1; the places overlap.

    Args:
        weights: (T, T), of one head over one text. The first `SETTLED_ROWS` are left out
            where there are more.
        ids: (T,), the text.

    Returns:
        "previous" (the token before), "itself", "first" (of the text), "same" (earlier copies of the token),
        "induction" (what followed an earlier copy; Olsson et al. 2022), "near" (three to eight tokens before).
    """
    rows = slice(settled_from(len(ids)), None)
    return {name: float((weights * mask)[rows].sum(-1).mean()) for name, mask in target_masks(ids).items()}


def target_masks(ids: Ids) -> dict[str, npt.NDArray[np.bool_]]:
    """The places of `attention_targets` as masks (T, T), query by key, for a text of ids (T,)."""
    T = len(ids)
    earlier = np.tri(T, k=-1, dtype=bool)
    same = (ids[:, None] == ids[None, :]) & earlier
    after_same = np.zeros((T, T), bool)
    after_same[:, 1:] = same[:, :-1]
    return {
        "previous": np.eye(T, k=-1, dtype=bool),
        "itself": np.eye(T, dtype=bool),
        "first": np.arange(T)[None, :] == np.zeros((T, 1)),
        "same": same,
        "induction": after_same,
        "near": np.tri(T, k=-3, dtype=bool) & ~np.tri(T, k=-9, dtype=bool),
    }

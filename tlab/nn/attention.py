"""Causal self-attention: each token's query is compared with its own key and those of earlier tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tlab.nn.activations import sigmoid
from tlab.nn.inits import Init
from tlab.nn.linear import Linear
from tlab.nn.norms import Norm
from tlab.nn.params import NO_RECORD, GradientRecord, ParamSpace, halves
from tlab.nn.positions import Position, offsets, table_length, table_of_pairs
from tlab.nn.scores.caps import soft_cap
from tlab.nn.scores.softmaxes import ATTENTION_SOFTMAXES
from tlab.types import Array

LONGEST_WHOLE = 256  # tokens: up to here all queries of a batch are compared with all keys at once
QUERIES_AT_ONCE = 64  # of a longer text: few enough for the caches, as many as a quick product needs
LONGEST_KEPT = 1024  # tokens: up to here the weights are kept for backward; of a longer text they are made twice


class AttentionTrace(NamedTuple):
    """Everything one attention layer made of its input. S = T in training; in decoding S counts past tokens too."""

    x: Array  # (B, T, C)
    queries: Array  # (B, H, T, D), rotated where the position rotates
    keys: Array  # (B, H, S, D), likewise; keys and values are those that each query head reads, shared or its own
    values: Array  # (B, H, S, D)
    weights: Any  # (B, H, T, S), each row sums to 1, or to less where the softmax has a rest; None for a long text
    attended: Array  # (B, T, C), the heads' results side by side
    start: int  # position of the first of the T tokens
    cap: Any  # (B, H, T, S), what the cap keeps of the scores, where there is one and the weights are kept
    norms: Any  # what the norms of queries and keys keep, where there are some
    gate: Any = None  # (B, T, C), what `attended` is multiplied with, where there is a gate
    first_values: Any = None  # (B, Hk, T, D), those of the first block, where later blocks mix them in
    value_gap: Any = None  # (B, Hk, T, D), by how much they differ from the block's own, where it mixes them in
    kept: Sequence[tuple[Any, Any]] = ()  # weights and the cap's of each block of queries, of a long text
    weigh: Any = None  # makes both again, for all queries, where they were not kept as a whole

    @property
    def whole(self) -> AttentionTrace:
        """With its weights as one array: of a long text they are made again, all at once, for who looks at them."""
        if self.weights is not None:
            return self
        weights, cap = self.weigh(self.queries, self.keys)
        return self._replace(weights=weights, cap=cap, kept=())

    @property
    def gated(self) -> Array:
        """(B, T, C), what the output matrix reads."""
        return self.attended if self.gate is None else self.attended * self.gate


class AttentionGate:
    """Multiplies each channel of what the heads have collected by a number from 0 to 1 that the reading token chooses.

    Notice: a weighted mean of values is never nothing. Through the gate a token can refuse what it was brought, channel
    by channel, so no head needs a first token as a place to look at in vain. At the start the gates
    are half open on average.
    """

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, init: Init) -> None:
        self.linear = Linear(space, name, (hidden_dim, hidden_dim), init.matrix, False)

    @staticmethod
    def reference(attended: Array, h: Array, weight: Array) -> Array:
        return attended / (1 + np.exp(-h @ weight))

    def forward(self, attended: Array, h: Array) -> tuple[Array, Array]:
        """What the heads have collected and what the sublayer reads, (B, T, C) each -> gated, and the gate."""
        gate = sigmoid(self.linear.forward(h)[0])  # (B, T, C)
        return attended * gate, gate

    def backward(self, dgated: Array, attended: Array, h: Array, gate: Array) -> tuple[Array, Array, Array]:
        """-> the gradients of `attended`, of `gate` and, by way of the gate, of h; (B, T, C) each."""
        dgate = dgated * attended
        dlinear = 1 - gate  # sigmoid' = sigmoid (1 - sigmoid)
        dlinear *= gate
        dlinear *= dgate
        return dgated * gate, dgate, self.linear.backward(dlinear, h)


class ValueMix:
    """Mixes the values of the first block into those of a later one, by a learned share.

    Notice: a shortcut from the tokens' first values to every block, beside the residual stream. What a token is stays
    in view however far the stream has moved on, and a deep block need not carry it. The share starts at one half.
    """

    def __init__(self, space: ParamSpace, name: str) -> None:
        self.share = space.declare(name, (1,), halves)

    @staticmethod
    def reference(values: Array, first_values: Array, share: float) -> Array:
        return (1 - share) * values + share * first_values

    def forward(self, values: Array, first_values: Array) -> tuple[Array, Array]:
        """A block's own values and the first block's, (B, Hk, T, D) each -> mixed, and by how much they differ."""
        gap = first_values - values
        return values + self.share.data * gap, gap

    def backward(self, dmixed: Array, gap: Array) -> tuple[Array, Array]:
        """-> the gradients of the block's own values and of the first block's."""
        self.share.grad += np.sum(dmixed * gap)
        dfirst = dmixed * self.share.data
        return dmixed - dfirst, dfirst


class FirstValuesGradient:
    """Adds up, through the later blocks, the gradient of the first block's values, which come to it last."""

    def __init__(self) -> None:
        self.total: Array | float = 0.0

    def add(self, dfirst: Array) -> None:
        """What one block makes of it, (B, Hk, T, D)."""
        self.total = self.total + dfirst


class Attention:
    """y = softmax(Q K^T / sqrt(D) + mask) V W_out, per head, with Q, K, V = x W_qkv.

    Notice: the division by sqrt(D) keeps the scores of random queries and keys at variance 1. Without it a wide
    head's softmax starts out as a hard choice, and its gradient is nearly zero (Vaswani et al. 2017).

    A long text is read a block of queries after another, each with the keys up to its last query: half of the square of
    scores is never made. Of a very long one nothing of it is kept, so memory grows with the length and not with its
    square: backward makes each block's weights once more (Rabe & Staats 2021; Dao et al. 2022). A short text is one
    block.
    """

    def __init__(
        self,
        space: ParamSpace,
        name: str,
        hidden_dim: int,
        num_heads: int,
        position: Position,
        init: Init,
        bias: bool,
        score_cap: float = 0.0,
        make_norm: Callable[[ParamSpace, str, int], Norm] | None = None,
        num_kv_heads: int | None = None,
        softmax: str = "softmax",
        gated: bool = False,
        value_residual: bool = False,
        is_first: bool = True,
        norms_together: bool = False,
    ) -> None:
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads or num_heads
        self.group_size = num_heads // self.num_kv_heads  # query heads that read one key and value head
        self.head_dim = hidden_dim // num_heads
        self.scale = 1.0 / math.sqrt(self.head_dim)
        self.position = position
        self.score_cap = soft_cap(score_cap)
        self.weighting = ATTENTION_SOFTMAXES[softmax](space, name, num_heads)
        self.softmax: Callable[[Array, Array], Array] = self.weighting.forward
        self.softmax_backward: Callable[[Array, Array], Array] = self.weighting.backward
        width = (num_heads + 2 * self.num_kv_heads) * self.head_dim  # of queries, keys and values: 3 C, or less
        self.qkv = Linear(space, f"{name}.qkv", (hidden_dim, width), init.matrix, bias)
        self.norms_together = norms_together  # of all heads of a token, or of each by itself
        of_queries, of_keys = (num_heads, self.num_kv_heads) if norms_together else (1, 1)
        self.q_norm = make_norm(space, f"{name}.q_norm", of_queries * self.head_dim) if make_norm else None
        self.k_norm = make_norm(space, f"{name}.k_norm", of_keys * self.head_dim) if make_norm else None
        self.is_source = value_residual and is_first  # of the values that later blocks mix in
        self.value_mix = ValueMix(space, f"{name}.value_mix") if value_residual and not is_first else None
        self.gate = AttentionGate(space, f"{name}.gate", hidden_dim, init) if gated else None
        self.out = Linear(space, f"{name}.out", (hidden_dim, hidden_dim), init.residual, bias)

    def forward(
        self, x: Array, past: LayerCache | None = None, first_values: Array | None = None
    ) -> tuple[Array, AttentionTrace]:
        """x (B, T, C) -> (B, T, C). The same lines serve training, reading a prompt, and one token at a time.

        `first_values` (B, Hk, T, D) are those of the first block, for a later one that mixes them in.
        """
        start = past.cache.position if past else 0

        qkv, _ = self.qkv.forward(x)  # (B, T, 3 C), or less where heads share keys and values
        queries, keys, values = self.split_qkv(qkv)  # (B, H, T, D) each
        queries, keys, norms = self.normalize(queries, keys)  # (B, H, T, D) each
        queries, keys = self.position.rotate(queries, keys, start)  # (B, H, T, D) each
        values, first_values, gap = self.mix_values(values, first_values)  # (B, Hk, T, D) each
        if past:
            keys, values = past.cache.extend(past.layer, keys, values)  # (B, H, S, D), those of past tokens first
        keys, values = self.per_query_head(keys), self.per_query_head(values)

        attended = np.empty(x.shape, x.dtype)  # (B, T, C)
        by_head = split_heads(attended, self.head_dim)  # a view, (B, H, T, D)
        B, _, T, _ = queries.shape
        blocks = blocks_by_text(B, T)
        are_kept = len(blocks) == 1 or (T <= LONGEST_KEPT and not past)  # with a past, no backward follows
        kept: list[tuple[Any, Any]] = []  # weights and the cap's of each block
        for texts, rows in blocks:
            seen = slice(keys.shape[2] - T + rows.stop)  # keys up to the block's last query
            weights, cap = self.weigh(queries[texts, :, rows], keys[texts, :, seen])
            np.matmul(weights, values[texts, :, seen], out=by_head[texts, :, rows])
            if are_kept:
                kept.append((weights, cap))
        weights, cap = kept.pop() if len(kept) == 1 else (None, None)
        gated, gate = self.gate.forward(attended, x) if self.gate else (attended, None)
        y, _ = self.out.forward(gated)  # (B, T, C)
        return y, AttentionTrace(
            x, queries, keys, values, weights, attended, start, cap, norms, gate, first_values, gap, kept, self.weigh
        )

    def weigh(self, queries: Array, keys: Array) -> tuple[Array, Any]:
        """The weights (B, H, T, S) of the last T of S tokens, and what the cap keeps of their scores."""
        scores = queries @ keys.swapaxes(-1, -2)  # (B, H, T, S)
        scores *= self.scale  # 1 / sqrt(D)
        scores, cap = self.score_cap.forward(scores) if self.score_cap else (scores, None)
        mask = self.mask(queries.shape[2], keys.shape[2], scores.dtype)  # (T, S) or (H, T, S): -inf hides a key
        weights = self.softmax(scores, mask)  # softmax(scores + mask): (B, H, T, S)
        return weights, cap

    def mix_values(self, values: Array, first_values: Array | None) -> tuple[Array, Array | None, Array | None]:
        """A block's own values (B, Hk, T, D) with the first block's mixed in, these, and the gap between both."""
        if self.value_mix and first_values is not None:
            mixed, gap = self.value_mix.forward(values, first_values)
            return mixed, first_values, gap
        return values, values if self.is_source else None, None

    def normalize(self, queries: Array, keys: Array) -> tuple[Array, Array, Any]:
        """Queries and keys (..., H, T, D) through their norms, where there are norms."""
        if not (self.q_norm and self.k_norm):
            return queries, keys, None
        queries, q_cache = self.q_norm.forward(self.as_normed(queries))
        keys, k_cache = self.k_norm.forward(self.as_normed(keys))
        return self.as_heads(queries), self.as_heads(keys), (q_cache, k_cache)

    def as_normed(self, heads: Array) -> Array:
        """Queries or keys as their norm reads them: (..., H, T, D), or of all heads together (..., T, H D); a view."""
        return join_heads(heads) if self.norms_together else heads

    def as_heads(self, normed: Array) -> Array:
        """And back: (..., H, T, D)."""
        return split_heads(normed, self.head_dim) if self.norms_together else normed

    def scores(self, queries: Array, keys: Array) -> Array:
        """What is compared, (..., T, S), before position biases and the mask are added: for those who look inside."""
        scores = queries @ keys.swapaxes(-1, -2) * self.scale
        return self.score_cap.forward(scores)[0] if self.score_cap else scores

    def split_qkv(self, qkv: Array) -> tuple[Array, Array, Array]:
        """(B, T, 3 C) -> queries, keys and values, (B, H, T, D) each: views, to read and to write through.

        Where heads share keys and values, there are as many fewer of these.
        """
        H, Hk, heads = self.num_heads, self.num_kv_heads, split_heads(qkv, self.head_dim)  # (B, H + 2 Hk, T, D)
        return heads[:, :H], heads[:, H : H + Hk], heads[:, H + Hk :]

    def per_query_head(self, heads: Array) -> Array:
        """Keys or values (B, Hk, S, D) -> those that each query head reads, (B, H, S, D): head h those of h // G."""
        return heads if self.group_size == 1 else np.repeat(heads, self.group_size, axis=1)

    def sum_over_readers(self, dheads: Array) -> Array:
        """Gradients of what each query head read, (B, H, S, D) -> those of the shared keys or values (B, Hk, S, D)."""
        B, _, S, D = dheads.shape
        return dheads.reshape(B, self.num_kv_heads, self.group_size, S, D).sum(axis=2)

    def mask(self, num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
        """(T, S) or (H, T, S), to be added to the scores: the position's bias, and -inf where a query may not look."""
        mask = causal_mask(num_queries, num_keys, self.position.context_length, dtype)
        if "scores" in self.position.acts_on:
            mask = mask + self.position.score_bias(num_queries, num_keys, dtype)
        return mask

    def backward(
        self,
        dy: Array,
        trace: AttentionTrace,
        record: GradientRecord = NO_RECORD,
        dfirst_values: FirstValuesGradient | None = None,
    ) -> Array:
        """Dy (B, T, C) -> dx (B, T, C), for a forward pass without a past."""
        trace = trace if record is NO_RECORD else trace.whole
        x, queries, keys, values, weights, attended, start, cap, norms, gate, _, gap, kept, _ = trace

        dattended = self.out.backward(dy, trace.gated)  # (B, T, C)
        dx_of_gate = None
        if self.gate:
            dattended, dgate, dx_of_gate = self.gate.backward(dattended, attended, x, gate)
            record(gate=dgate)
        record(attended=dattended)
        dattended = split_heads(dattended, self.head_dim)  # (B, H, T, D)
        dqkv = np.empty((*x.shape[:2], self.qkv.weight.shape[1]), x.dtype)  # (B, T, 3 C)
        dqueries, dkeys, dvalues = dshared = self.split_qkv(dqkv)  # (B, H, T, D) each
        if self.group_size > 1:
            dkeys, dvalues = np.empty_like(keys), np.empty_like(values)  # of each reader, before they are summed
        B, _, T, _ = queries.shape
        is_whole = weights is not None
        blocks = [(slice(B), slice(T))] if is_whole else blocks_by_text(B, T)
        kept = [(weights, cap)] if is_whole else list(kept)
        for texts, rows in reversed(blocks):  # the last queries first: they have seen all keys
            asked, given = (texts, slice(None), rows), (texts, slice(None), slice(rows.stop))
            weights, cap = kept.pop() if kept else self.weigh(queries[asked], keys[given])
            add = rows.stop < T
            put_product(weights.swapaxes(-1, -2), dattended[asked], dvalues[given], add)  # (B, H, S, D)
            dweights = dattended[asked] @ values[given].swapaxes(-1, -2)  # (B, H, T, S)
            record(weights=dweights)
            dscores = self.softmax_backward(dweights, weights)  # (B, H, T, S)
            record(masked=dscores)
            self.position.score_bias_backward(dscores)
            if self.score_cap:
                dscores = self.score_cap.backward(dscores, cap)
            record(scores=dscores)
            dscores *= self.scale  # (B, H, T, S)
            np.matmul(dscores, keys[given], out=dqueries[asked])  # (B, H, T, D)
            put_product(dscores.swapaxes(-1, -2), queries[asked], dkeys[given], add)  # (B, H, S, D)
        record(values=dvalues, keys=dkeys, queries=dqueries)
        if self.group_size > 1:
            dshared[1][...], dshared[2][...] = self.sum_over_readers(dkeys), self.sum_over_readers(dvalues)
            dkeys, dvalues = dshared[1:]  # (B, Hk, S, D) each
        if dfirst_values and self.value_mix:
            dvalues[...], dfirst = self.value_mix.backward(dvalues, gap)
            dfirst_values.add(dfirst)
        elif dfirst_values:
            dvalues += dfirst_values.total
        if "heads" in self.position.acts_on:
            dqueries[...], dkeys[...] = self.position.rotate_backward(dqueries, dkeys, start)
        if self.q_norm and self.k_norm:
            dqueries[...] = self.as_heads(self.q_norm.backward(self.as_normed(dqueries), norms[0]))
            dkeys[...] = self.as_heads(self.k_norm.backward(self.as_normed(dkeys), norms[1]))
        dx = self.qkv.backward(dqkv, x)  # (B, T, C)
        if dx_of_gate is not None:
            dx = dx + dx_of_gate
        record(x=dx)
        return dx


def query_blocks(num_queries: int) -> list[slice]:
    """The queries that are compared at once: all of a short text, and of a longer one a block after another."""
    at_once = num_queries if num_queries <= LONGEST_WHOLE else QUERIES_AT_ONCE
    return [slice(begin, min(begin + at_once, num_queries)) for begin in range(0, num_queries, at_once)]


def blocks_by_text(B: int, T: int) -> list[tuple[slice, slice]]:
    """The texts of a batch and the queries of each that are compared at once: those of all texts, or of one long one.

    So the scores of a block of queries are still in the processor's caches when they become weights.
    """
    blocks = query_blocks(T)
    texts = [slice(B)] if len(blocks) == 1 else [slice(b, b + 1) for b in range(B)]
    return [(text, rows) for text in texts for rows in blocks]


def put_product(a: Array, b: Array, out: Array, add: bool) -> None:
    """A b into `out`, or added to what is there."""
    if add:
        out += a @ b
    else:
        np.matmul(a, b, out=out)


def split_heads(x: Array, head_dim: int) -> Array:
    """(..., T, H D) -> (..., H, T, D): each head's channels by themselves; a view."""
    return x.reshape(*x.shape[:-1], -1, head_dim).swapaxes(-3, -2)


def join_heads(heads: Array) -> Array:
    """(..., H, T, D) -> (..., T, H D): the channels of all heads side by side; a view where they lie so."""
    by_token = heads.swapaxes(-3, -2)  # (..., T, H, D)
    return by_token.reshape(*by_token.shape[:-2], -1)


def causal_mask(num_queries: int, num_keys: int, context_length: int, dtype: np.dtype) -> Array:
    """(T, S), to be added to the scores: 0 where a query may look, -inf at the tokens that come after it.

    The queries are the last T of the S tokens.
    """
    length = table_length(num_keys, context_length)
    return square_mask(length, dtype.char)[num_keys - num_queries : num_keys, :num_keys]


@lru_cache(maxsize=4)  # tables of the lengths in use; more would only keep memory
def square_mask(length: int, dtype: str) -> Array:
    """(length, length): 0 on and below the diagonal, -inf above it; read-only."""
    return table_of_pairs(np.where(offsets(length) > 0, -math.inf, 0).astype(dtype))


ROOM_AT_FIRST = 256  # tokens


class KVCache:
    """Keys and values of the tokens read so far, for all layers, so that a new token costs one token's work.

    Its room is doubled when it is used up, to twice the window at most: then the last window is moved to the front.
    `window` is the largest number of tokens, itself included, that a token can look back on.
    """

    def __init__(
        self, num_layers: int, batch_size: int, num_heads: int, head_dim: int, window: int, dtype: np.dtype
    ) -> None:
        self.window = window
        self.position = 0  # of the next token, counted from the very first one
        self.begin = self.end = 0  # the tokens that are still visible lie here; the next one goes to `end`
        room = min(ROOM_AT_FIRST, 2 * window)
        self.lay_out(np.zeros((2, num_layers, batch_size, num_heads, room, head_dim), dtype))

    def lay_out(self, both: Array) -> None:
        """Keep keys and values in this memory, (2, L, B, H, room, D)."""
        self.both = both
        self.keys, self.values = both  # views, (L, B, H, room, D) each

    def expand(self, batch_size: int) -> KVCache:
        """A cache of `batch_size` texts which all begin with the one text in this cache."""
        expanded = copy.copy(self)
        expanded.lay_out(np.repeat(self.both, batch_size, axis=2))
        return expanded

    def clear(self) -> None:
        """Forget everything; the next token is the first one again."""
        self.position = self.begin = self.end = 0

    def __len__(self) -> int:
        """Number of tokens that the next one can look back on."""
        return self.end - self.begin

    def make_room(self, T: int) -> None:
        """Before T new tokens: forget those that the last of them cannot see.

        Raises:
            ValueError: more than one token at a time would have to slide the window, and each would need its own.
        """
        forget = max(0, len(self) + T - self.window)
        if forget and T > 1:
            raise ValueError(
                f"{T} tokens at once do not fit after the {len(self)} cached ones in a window of {self.window}; "
                "give them one at a time, or start a new cache"
            )
        self.begin += forget
        *sizes, room, D = self.both.shape
        if self.end + T > room:
            kept = self.both[..., self.begin : self.end, :]
            if room < 2 * self.window:
                room = min(2 * self.window, max(2 * room, self.end + T))
                self.lay_out(np.zeros((*sizes, room, D), kept.dtype))
            self.begin, self.end = 0, kept.shape[-2]
            self.both[..., : self.end, :] = kept

    def extend(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        """Store (B, H, T, D) of one layer; -> all visible keys and values, (B, H, S, D) each."""
        end = self.end + keys.shape[2]
        self.keys[layer, :, :, self.end : end] = keys
        self.values[layer, :, :, self.end : end] = values
        return self.keys[layer, :, :, self.begin : end], self.values[layer, :, :, self.begin : end]

    def advance(self, T: int) -> None:
        """After the last layer: the T new tokens are past."""
        self.end += T
        self.position += T


class LayerCache(NamedTuple):
    """One layer's part of a `KVCache`."""

    cache: KVCache
    layer: int

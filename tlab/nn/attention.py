"""Causal self-attention: every token asks a question, and every token before it answers as far as it fits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tlab.nn.inits import Init
from tlab.nn.linear import Linear
from tlab.nn.loss import softmax
from tlab.nn.params import ParamSpace
from tlab.nn.positions import Position
from tlab.types import Array

MODERATE = 16.0  # exp multiplies the rounding of its argument by the argument: here to a millionth, in float32


class AttentionTrace(NamedTuple):
    """Everything one attention layer made of its input. S = T in training; in decoding S counts past tokens too."""

    x: Array  # (B, T, C)
    queries: Array  # (B, H, T, D), turned by the position where it turns
    keys: Array  # (B, H, S, D), likewise
    values: Array  # (B, H, S, D)
    weights: Array  # (B, H, T, S), each row sums to 1
    mixed: Array  # (B, T, C), the heads' results side by side
    start: int  # position of the first of the T tokens


class KVCache:
    """Keys and values of the tokens read so far, for all layers, so that a new token costs one token's work.

    Made once for twice the window, and never grown: when the space is used up, the last window is moved to the front.
    `window` is the largest number of tokens, itself included, that a token can look back on.
    """

    def __init__(
        self, num_layers: int, batch_size: int, num_heads: int, head_dim: int, window: int, dtype: np.dtype
    ) -> None:
        self.both = np.zeros((2, num_layers, batch_size, num_heads, 2 * window, head_dim), dtype)
        self.keys, self.values = self.both  # views, (L, B, H, 2 windows, D) each
        self.window = window
        self.position = 0  # of the next token, counted from the very first one
        self.begin = self.end = 0  # the tokens that are still visible lie here; the next one goes to `end`

    def spread(self, batch_size: int) -> KVCache:
        """A cache of `batch_size` texts which all begin with the one text in this cache."""
        L, _, H, _, D = self.keys.shape
        many = KVCache(L, batch_size, H, D, self.window, self.keys.dtype)
        many.both[...] = self.both
        many.position, many.begin, many.end = self.position, self.begin, self.end
        return many

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
                f"{T} tokens at once do not fit behind the {len(self)} cached ones in a window of {self.window}; "
                "give them one at a time, or start a new cache"
            )
        self.begin += forget
        if self.end + T > self.keys.shape[3]:
            kept = len(self)
            self.both[..., :kept, :] = self.both[..., self.begin : self.end, :]
            self.begin, self.end = 0, kept

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


class Attention:
    """y = softmax(Q K^T / sqrt(D) + bias) V W_out, per head, with Q, K, V = x W_qkv.

    Notice: the division by sqrt(D) keeps the scores of random queries and keys at variance 1. Without it a wide
    head's softmax starts out as a hard choice, and its gradient is nearly zero (Vaswani et al. 2017).
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
    ) -> None:
        self.num_heads = num_heads
        self.scale = 1.0 / math.sqrt(hidden_dim // num_heads)
        self.position = position
        self.qkv = Linear(space, f"{name}.qkv", (hidden_dim, 3 * hidden_dim), init.matrix, bias)
        self.out = Linear(space, f"{name}.out", (hidden_dim, hidden_dim), init.residual, bias)

    def forward(self, x: Array, past: LayerCache | None = None) -> tuple[Array, AttentionTrace]:
        """x (B, T, C) -> (B, T, C). The same lines serve training, reading a prompt, and one token at a time."""
        B, T, C = x.shape
        H = self.num_heads
        D = C // H
        start = past.cache.position if past else 0

        qkv, _ = self.qkv.forward(x)
        heads = qkv.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # (3, B, H, T, D), no copy
        queries, keys = self.position.rotate(heads[:2], start)
        values = heads[2]
        if past:
            keys, values = past.cache.extend(past.layer, keys, values)

        weights = self.weigh(queries, keys)
        mixed = np.empty((B, T, H, D), x.dtype)
        np.matmul(weights, values, out=mixed.transpose(0, 2, 1, 3))
        mixed = mixed.reshape(B, T, C)
        y, _ = self.out.forward(mixed)
        return y, AttentionTrace(x, queries, keys, values, weights, mixed, start)

    def weigh(self, queries: Array, keys: Array) -> Array:
        """softmax(Q K^T / sqrt(D) + bias): (B, H, T, D) and (B, H, S, D) -> (B, H, T, S)."""
        scores = queries @ keys.swapaxes(-1, -2)
        scores *= self.scale
        # A shift leaves softmax as it is, and a row's maximum is the usual one; but to find it takes as long as all the
        # rest. Moderate scores need none. Each row has one without a penalty, the token's own, so no sum is too small.
        is_moderate = scores.max() <= MODERATE and scores.min() >= -MODERATE
        scores += self.position.score_bias(queries.shape[2], keys.shape[2], scores.dtype)
        if not is_moderate:
            return softmax(scores)
        weights = np.exp(scores, out=scores)
        weights /= weights @ np.ones((keys.shape[2], 1), weights.dtype)
        return weights

    def backward(self, dy: Array, trace: AttentionTrace) -> Array:
        """Dy (B, T, C) -> dx (B, T, C), for a forward pass without a past."""
        x, queries, keys, values, weights, mixed, start = trace
        B, T, C = x.shape
        H = self.num_heads
        D = C // H

        dmixed = self.out.backward(dy, mixed).reshape(B, T, H, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
        dqkv = np.empty((B, T, 3, H, D), x.dtype)
        dheads = dqkv.transpose(2, 0, 3, 1, 4)  # (3, B, H, T, D), a view to write through
        np.matmul(weights.swapaxes(-1, -2), dmixed, out=dheads[2])
        dscores = dmixed @ values.swapaxes(-1, -2)  # so far the gradient of the weights, (B, H, T, S)
        dscores -= np.einsum("bhts,bhts->bht", dscores, weights)[..., None]
        dscores *= weights
        dscores *= self.scale
        np.matmul(dscores, keys, out=dheads[0])
        np.matmul(dscores.swapaxes(-1, -2), queries, out=dheads[1])
        if self.position.where == "heads":
            dheads[:2] = self.position.rotate_backward(dheads[:2], start)
        return self.qkv.backward(dqkv.reshape(B, T, 3 * C), x)

"""Writing: the same transformer for one new token of one text, with all that does not depend on the token made before.

A single row is so little arithmetic that every call into NumPy counts. So whatever `Transformer.forward` works out anew
for each token, though it is the same for all, is worked out once here: scales and shifts are folded into the matrices
behind them, and a past token needs no mask. No trace is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlab.nn.attention import Attention, KVCache
from tlab.nn.linear import Linear
from tlab.nn.mlp import Mlp
from tlab.nn.model import Transformer
from tlab.nn.norms import Norm
from tlab.types import Array

SAFE = 60.0  # exp(60) = 1e26 and exp(-60) = 1e-26: far from the ends of float32, 1e38 and 1e-38


class Affine(NamedTuple):
    """y = x W + b for one row x (C_in,)."""

    weight: Array  # (C_in, C_out)
    bias: Array | None  # (C_out,)

    def __call__(self, x: Array) -> Array:
        y = x.dot(self.weight)
        if self.bias is not None:
            y += self.bias
        return y


def affine_of(linear: Linear, norm: Norm | None = None) -> Affine:
    """`linear` by itself, or made to read what `norm.standardize` leaves, with the rest of the norm folded into it."""
    weight, bias = linear.weight.data, linear.bias.data if linear.bias else None
    return Affine(*norm.fold(weight, bias)) if norm else Affine(weight, bias)


class AttentionStep:
    """y = softmax(q K^T + bias) V W_out for the newest token, whose key and value go into the cache first.

    Notice: no mask, for whatever is in the cache is past; and no division by sqrt(D), for it is in the queries' columns
    of the matrix.
    """

    def __init__(self, attention: Attention, norm: Norm | None, cache: KVCache, layer: int) -> None:
        self.num_heads, self.position, self.cache = attention.num_heads, attention.position, cache
        self.keys, self.values = cache.keys[layer, 0], cache.values[layer, 0]  # (H, 2 windows, D)
        weight, bias = affine_of(attention.qkv, norm)
        C = len(weight)
        shrink = np.ones(3 * C, weight.dtype)
        shrink[:C] = attention.scale
        self.qkv = Affine(weight * shrink, None if bias is None else bias * shrink)
        self.out = affine_of(attention.out)
        self.ones = np.ones((cache.window, 1), weight.dtype)

    def __call__(self, x: Array) -> Array:
        """x (C,) -> (C,)."""
        cache, position = self.cache, self.position
        heads = self.qkv(x).reshape(3, self.num_heads, 1, -1)  # (3, H, 1, D)
        query, key = position.rotate(heads[:2], cache.position)
        begin, end = cache.begin, cache.end + 1
        self.keys[:, cache.end : end] = key
        self.values[:, cache.end : end] = heads[2]

        scores = np.matmul(query, self.keys[:, begin:end].swapaxes(1, 2))  # (H, 1, S)
        # Softmax need take off a row's maximum only where exp might leave the range of float32. No score exceeds the
        # root of the sum of all squares, which is known in a third of the time. A penalty comes after that, as in
        # `Attention.weigh`: it makes scores smaller, but never the token's own.
        flat = scores.reshape(-1)
        if not flat.dot(flat) < SAFE * SAFE:
            scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        if position.where == "scores":
            scores += position.score_bias(1, end - begin, scores.dtype)
        weights = np.exp(scores, out=scores)
        mixed = np.matmul(weights, self.values[:, begin:end])  # (H, 1, D)
        mixed /= weights.dot(self.ones[: end - begin])
        return self.out(mixed.reshape(-1))


class MlpStep:
    """y = activation(x W_up) W_down, or with a gate activation(x W_up, x W_gate) W_down, for one row x (C,)."""

    def __init__(self, mlp: Mlp, norm: Norm | None) -> None:
        self.activation = mlp.activation
        self.inputs = [affine_of(linear, norm) for linear in mlp.inputs]
        self.down = affine_of(mlp.down)

    def __call__(self, x: Array) -> Array:
        """x (C,) -> (C,)."""
        hidden, _ = self.activation.forward(*[affine(x) for affine in self.inputs])
        return self.down(hidden)


class Decoder:
    """`model.forward` for the next token of the cache's one text: the same scores, in less than half the time.

    Notice: nothing grows with the text but the attention over the cache. The matrices are made from the weights as they
    are now, so a model that was trained on needs a new decoder. Each part of the model may offer a short form of itself
    for one row, `Norm.standardize` with what follows it, and `Residual.step`; one that does not is used as it is.
    """

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        self.cache, self.position = cache, model.position
        scaled = model.embedding.weight.data * model.config.embedding_scale
        self.embedding = scaled[:, None, None]  # (V, 1, 1, C): each row as one text of one token
        self.sublayers = []
        for i, block in enumerate(model.blocks):
            attention = AttentionStep(block.attention, block.first.folded_norm, cache, i)
            mlp = MlpStep(block.mlp, block.second.folded_norm)
            self.sublayers += [(block.first.step, attention), (block.second.step, mlp)]
        head = model.head.weight.data if model.head else model.embedding.weight.data.T  # (C, V)
        self.final_norm = model.final_norm
        weight, bias = self.final_norm.fold(head, None) if self.final_norm else (head, None)
        self.head = Affine(np.ascontiguousarray(weight), bias)

    def logits(self, token: int) -> Array:
        """The newest token -> logits (V,) for the one after it; its keys and values are added to the cache."""
        cache = self.cache
        cache.make_room(1)
        x = self.position.embed(self.embedding[token], cache.position).reshape(-1)  # (C,)
        for step, sublayer in self.sublayers:
            x = step(x, sublayer)
        cache.advance(1)
        return self.head(self.final_norm.standardize(x) if self.final_norm else x)

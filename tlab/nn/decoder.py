"""Writing: the same transformer for one new token a text, with all that does not depend on the token made beforehand.

A single row is so little arithmetic that each call into NumPy counts. So what `Transformer.forward` works out for every
token and every text alike is worked out once here, when the weights stand still: scales and shifts are folded into the
matrices behind them, and no trace is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlab.nn.attention import Attention, KVCache, LayerCache
from tlab.nn.linear import Linear
from tlab.nn.mlp import Mlp
from tlab.nn.model import Transformer
from tlab.nn.norms import Norm
from tlab.types import Array, Ids

EXP_IS_SAFE = 60.0  # exp(60) = 1e26 and exp(-60) = 1e-26: far from the ends of float32, 1e38 and 1e-38


class Affine(NamedTuple):
    """y = x W + b for rows x (B, C_in), as a `Linear` with a norm folded into it."""

    weight: Array  # (C_in, C_out)
    bias: Array | None  # (C_out,)

    @classmethod
    def behind(cls, norm: Norm | None, linear: Linear) -> Affine:
        """`linear`, made to read what `norm.standardize` leaves; or, without a norm, the stream itself."""
        weight, bias = linear.weight.data, linear.bias.data if linear.bias else None
        return cls(*norm.fold(weight, bias)) if norm else cls(weight, bias)

    def __call__(self, x: Array) -> Array:
        y = x.dot(self.weight)
        if self.bias is not None:
            y += self.bias
        return y


class AttentionStep:
    """y = softmax(Q K^T + bias) V W_out for the newest token of each text, its keys and values added to the cache.

    Notice: without a mask, for whatever is in the cache is past. The division by sqrt(D) is in the queries' columns.
    """

    def __init__(self, attention: Attention, norm: Norm | None, past: LayerCache) -> None:
        self.num_heads, self.position = attention.num_heads, attention.position
        self.past = past
        weight, bias = Affine.behind(norm, attention.qkv)
        C = len(weight)
        shrink = np.ones(3 * C, weight.dtype)
        shrink[:C] = attention.scale
        self.qkv = Affine(weight * shrink, None if bias is None else bias * shrink)
        self.out = Affine.behind(None, attention.out)
        self.ones = np.ones(past.cache.window, weight.dtype)

    def __call__(self, x: Array) -> Array:
        """x (B, C) -> (B, C)."""
        B, C = x.shape
        H = self.num_heads
        cache, layer = self.past
        heads = self.qkv(x).reshape(B, 3, H, 1, C // H).swapaxes(0, 1)  # (3, B, H, 1, D), no copy
        turned = self.position.rotate(heads[:2], cache.position)
        keys, values = cache.extend(layer, turned[1], heads[2])  # (B, H, S, D)
        S = keys.shape[2]
        scores = np.matmul(turned[0], keys.swapaxes(2, 3))  # (B, H, 1, S)
        if self.position.where == "scores":
            scores += self.position.score_bias(1, S, scores.dtype)
        # A row's maximum need only be taken off where exp may leave the range of float32. No score is larger than the
        # root of the sum of their squares, which takes a third of the time.
        flat = scores.reshape(-1)
        if not flat.dot(flat) < EXP_IS_SAFE**2:
            scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        weights = np.exp(scores, out=scores)
        mixed = np.matmul(weights, values)  # (B, H, 1, D)
        mixed /= weights.dot(self.ones[:S])[..., None]
        return self.out(mixed.reshape(B, C))


class MlpStep:
    """y = activation(x W_up) W_down, or with a gate activation(x W_up, x W_gate) W_down, for rows x (B, C)."""

    def __init__(self, mlp: Mlp, norm: Norm | None) -> None:
        self.activation = mlp.activation
        self.inputs = [Affine.behind(norm, linear) for linear in mlp.inputs]
        self.down = Affine.behind(None, mlp.down)

    def __call__(self, x: Array) -> Array:
        """x (B, C) -> (B, C)."""
        hidden, _ = self.activation.forward(*[affine(x) for affine in self.inputs])
        return self.down(hidden)


class Decoder:
    """`model.forward` for the next token of each of the cache's B texts: the same scores, in less than half the time.

    Notice: nothing here is made anew for a token but the rows of its own numbers, and nothing grows with the text but
    the attention over the cache. The weights are those of the moment when the decoder was made; it has to be made anew
    for a model that was trained on.
    """

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        self.cache, self.position = cache, model.position
        self.embedding = model.embedding.weight.data * model.config.embedding_scale  # (V, C)
        self.sublayers = []
        for i, block in enumerate(model.blocks):
            attention = AttentionStep(block.attention, block.first.reads_through, LayerCache(cache, i))
            self.sublayers.append((block.first.step, attention))
            self.sublayers.append((block.second.step, MlpStep(block.mlp, block.second.reads_through)))
        head = model.head.weight.data if model.head else model.embedding.weight.data.T
        self.final_norm = model.final_norm
        folded, bias = self.final_norm.fold(head, None) if self.final_norm else (head, None)
        self.head = Affine(np.ascontiguousarray(folded), bias)

    def logits(self, tokens: Ids) -> Array:
        """The newest token of each text, (B,) -> logits (B, V) for the one after it; the cache takes them up."""
        self.cache.make_room(1)
        x = self.embedding[tokens]  # (B, C)
        x = self.position.embed(x[:, None], self.cache.position)[:, 0]
        for step, sublayer in self.sublayers:
            x = step(x, sublayer)
        self.cache.advance(1)
        return self.head(self.final_norm.standardize(x) if self.final_norm else x)

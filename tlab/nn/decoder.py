"""Decoding: the same transformer for one new token of one text, with all that does not depend on the token prepared.

A single row is so little arithmetic that every call into NumPy counts. So whatever `Transformer.forward` computes for
each token, though it is the same for all, is computed once here: scales and shifts are folded into the matrices after
them, and a past token needs no mask. No trace is kept. Large matrices are read where the model has them: to fold
anything into one would take a copy of it, and save next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tlab.nn.activations import sigmoid
from tlab.nn.attention import Attention, KVCache, LayerCache
from tlab.nn.linear import Linear
from tlab.nn.mlp import Mlp
from tlab.nn.model import Block, Transformer
from tlab.nn.norms import Norm, averaging
from tlab.nn.scores.softmaxes import NO_MAX_SHIFT_BELOW
from tlab.types import Array, Ids

SHORT_TEXT = 3  # tokens: so many are read sooner one by one than by a pass of the model over all of them
LARGE_MATRIX = 1 << 18  # numbers: reading one takes so long that a call into NumPy more or less does not count


class Affine(NamedTuple):
    """y = x W + b for one row x (C_in,)."""

    weight: Array  # (C_in, C_out)
    bias: Array | None  # (C_out,)

    def __call__(self, x: Array) -> Array:
        y = x.dot(self.weight)
        if self.bias is not None:
            y += self.bias
        return y


Row = Callable[[Array], Array]
"""Something that is done to one row, (C,) -> (C,)."""

# A norm comes in two parts here: norm(x) = scale_and_shift(normalize(x)). Only the first depends on the token. So where
# a matrix reads the norm, the second is folded into it once and for all: scale_and_shift(x) W + b = x W' + b'. A norm
# that does not state its form, see `Norm.centered`, is all in the first part; and so is one before a large matrix.


def normalizer(norm: Norm) -> Row:
    """The norm before scale and shift."""
    epsilon = norm.epsilon
    if norm.centered is None:
        return lambda x: norm.forward(x)[0]
    if not norm.centered:
        return lambda x: x * rstd(x, epsilon)

    def normalize(x: Array) -> Array:
        deviation = x - x.dot(averaging(len(x), x.dtype.char))  # the type is x's, which a bug may have changed
        deviation *= rstd(deviation, epsilon)
        return deviation

    return normalize


def rstd(x: Array, epsilon: float) -> float:
    """1 / RMS of one row (C,), in plain numbers: a call into NumPy takes longer than the arithmetic."""
    return 1.0 / math.sqrt(float(x.dot(x)) / len(x) + epsilon)


def whole_norm(norm: Norm) -> Row:
    """Both parts, for a norm that no matrix reads."""
    normalize = normalizer(norm)
    if norm.centered is None:
        return normalize
    scale, shift = norm.scale.data, None if norm.shift is None else norm.shift.data

    def scale_and_shift(x: Array) -> Array:
        y = normalize(x)
        y *= scale
        if shift is not None:
            y += shift
        return y

    return scale_and_shift


def fold(norm: Norm, weight: Array, bias: Array | None) -> Affine:
    """Scale and shift together with the matrix (C, K) and the bias (K,) after them, as a matrix and a bias."""
    if norm.centered is None:
        return Affine(weight, bias)
    folded = norm.scale.data[:, None] * weight
    if norm.shift is None:
        return Affine(folded, bias)
    shifted = norm.shift.data.dot(weight)
    return Affine(folded, shifted if bias is None else shifted + bias)


def before(weight: Array, norm: Norm | None) -> tuple[Row | None, Norm | None]:
    """What a row goes through before this matrix reads it, and the norm whose rest is then in the matrix; or None."""
    if norm is None:
        return None, None
    return (whole_norm(norm), None) if is_large(weight) else (normalizer(norm), norm)


def is_large(weight: Array) -> bool:
    """Whether a matrix is used where it lies, and not copied to have something folded in."""
    return weight.size >= LARGE_MATRIX


def affine_of(linear: Linear, norm: Norm | None = None) -> Affine:
    """`linear` by itself, or made to read what `normalizer` leaves, with the rest of the norm folded into it."""
    weight, bias = linear.weight.data, linear.bias.data if linear.bias else None
    return fold(norm, weight, bias) if norm else Affine(weight, bias)


class AttentionStep:
    """y = softmax(q K^T + bias) V W_out for the newest token, whose key and value go into the cache first.

    Notice: no mask, for whatever is in the cache is past; and no division by sqrt(D) where the queries' columns of the
    matrix have it.
    """

    def __init__(self, attention: Attention, norm: Norm | None, cache: KVCache, layer: int) -> None:
        self.num_heads, self.num_kv_heads = attention.num_heads, attention.num_kv_heads
        self.position, self.cache = attention.position, cache
        self.score_cap, self.scale = attention.score_cap, attention.scale
        # A softmax with a rest is computed as in training: the short way below knows none.
        self.weigh = attention.softmax if attention.weighting.rest is not None else None
        self.normalize = attention.normalize if attention.q_norm else None
        self.keys, self.values = cache.keys[layer, 0], cache.values[layer, 0]  # (Hk, room, D)
        self.mix_values = attention.mix_values if attention.value_mix else None
        self.first_values = cache.values[0, 0]
        self.qkv = affine_of(attention.qkv, norm)
        weight, bias = self.qkv
        self.scales_queries = attention.q_norm is not None or is_large(weight)  # a norm would undo it in the matrix
        if not self.scales_queries:
            shrink = np.ones(weight.shape[1], weight.dtype)
            shrink[: len(weight)] = attention.scale
            self.qkv = Affine(weight * shrink, None if bias is None else bias * shrink)
        self.gate = affine_of(attention.gate.linear, norm) if attention.gate else None
        self.linear_out = affine_of(attention.out)
        self.ones = np.ones((cache.window, 1), weight.dtype)
        bias = self.position.score_bias(1, cache.window, weight.dtype)  # (window,) or (H, window) in the last axes
        raised = max(0.0, float(bias.max()), -float(bias[..., -1].min()))
        self.max_square = max(0.0, NO_MAX_SHIFT_BELOW - raised) ** 2

    def __call__(self, x: Array) -> Array:
        """x (C,) -> (C,)."""
        cache, position = self.cache, self.position
        H, Hk = self.num_heads, self.num_kv_heads
        heads = self.qkv(x).reshape(H + 2 * Hk, 1, -1)  # (H + 2 Hk, 1, D): queries, keys and values
        query, key, value = heads[:H], heads[H : H + Hk], heads[H + Hk :]
        if self.normalize:
            query, key, _ = self.normalize(query, key)
        if self.scales_queries:
            query *= self.scale
        query, key = position.rotate(query, key, cache.position)  # (H, 1, D) and (Hk, 1, D)
        begin, end = cache.begin, cache.end + 1
        if self.mix_values:  # the first block has put its own into the cache
            value, *_ = self.mix_values(value, self.first_values[:, cache.end : end])
        self.keys[:, cache.end : end] = key
        self.values[:, cache.end : end] = value

        query = query.reshape(Hk, H // Hk, -1)  # (Hk, G, D): each group reads the same keys and values
        scores = np.matmul(query, self.keys[:, begin:end].swapaxes(1, 2))  # (Hk, G, S)
        if self.score_cap:
            scores, _ = self.score_cap.forward(scores)
        if self.weigh:
            bias = position.score_bias(1, end - begin, scores.dtype)
            weights = self.weigh(scores.reshape(1, H, 1, -1), bias).reshape(scores.shape)
            return self.out(np.matmul(weights, self.values[:, begin:end]), x)
        # Softmax need take off a row's maximum only where exp might leave the range of float32. No score exceeds the
        # root of the sum of all squares, which is known in a third of the time. A position's bias counts by the most
        # that it raises any score or lowers the token's own: all others may be as small as they like.
        flat = scores.reshape(-1)
        is_moderate = flat.dot(flat) < self.max_square
        if "scores" in position.acts_on:
            by_head = scores.reshape(H, 1, -1)  # a view
            by_head += position.score_bias(1, end - begin, scores.dtype)
        if not is_moderate:
            scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        weights = np.exp(scores, out=scores)
        attended = np.matmul(weights, self.values[:, begin:end])  # (Hk, G, D)
        attended /= weights.dot(self.ones[: end - begin])
        return self.out(attended, x)

    def out(self, attended: Array, x: Array) -> Array:
        """What the heads have collected (Hk, G, D) and what was read (C,) -> (C,), through the gate if there is one."""
        attended = attended.reshape(-1)
        return self.linear_out(attended * sigmoid(self.gate(x)) if self.gate else attended)


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


class BlockStep:
    """A block whose layout places norms and does nothing else of its own, for one row x (C,) -> (C,)."""

    def __init__(self, block: Block, cache: KVCache, layer: int) -> None:
        attention, mlp = block.attention_branch, block.mlp_branch
        before_attention, norm1 = before(block.attention.qkv.weight.data, attention.norm_in)
        before_mlp, norm2 = before(block.mlp.inputs[0].weight.data, mlp.norm_in)
        self.steps = [
            (
                before_sublayer,
                sublayer,
                whole_norm(branch.norm_out) if branch.norm_out else None,
                whole_norm(branch.norm_sum) if branch.norm_sum else None,
            )
            for branch, before_sublayer, sublayer in (
                (attention, before_attention, AttentionStep(block.attention, norm1, cache, layer)),
                (mlp, before_mlp, MlpStep(block.mlp, norm2)),
            )
        ]

    def __call__(self, x: Array) -> Array:
        """`Sequential.forward`; what is left of the first norm is in the sublayer's matrices, unless they are large."""
        for before_sublayer, sublayer, norm_out, norm_sum in self.steps:
            added = sublayer(before_sublayer(x) if before_sublayer else x)
            if norm_out:
                added = norm_out(added)
            x = x + added
            if norm_sum:
                x = norm_sum(x)
        return x


def block_step(block: Block, cache: KVCache, layer: int) -> Row:
    """A block for one row; one of any other layout is used as it is."""
    if block.layout.only_norms_differ:
        return BlockStep(block, cache, layer)
    past = LayerCache(cache, layer)

    def step(x: Array) -> Array:
        first_values = cache.values[0, :, :, cache.end : cache.end + 1]  # (1, Hk, 1, D): before the first block, unset
        return block.forward(x.reshape(1, 1, -1), past, None, None, first_values)[0].reshape(-1)

    return step


class Decoder:
    """`model.forward` for the next token of the cache's one text: the same scores, in less than half the time.

    Notice: nothing grows with the text but the attention over the cache. The matrices are made from the weights as they
    are now, so a model that was trained on needs a new decoder. Norms and layouts are taken apart by what they state
    about themselves; one that states nothing is used as it is.
    """

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        self.model, self.cache, self.position = model, cache, model.position
        table, self.embedding_scale = model.embedding.weight.data, model.config.embedding_scale
        if not is_large(table):
            table, self.embedding_scale = table * self.embedding_scale, 1.0
        self.embedding = table[:, None, None]  # (V, 1, 1, C): each row as one text of one token
        self.prepare_blocks()
        head = model.head.weight.data if model.head else model.embedding.weight.data.T  # (C, V)
        self.final_norm, norm = before(head, model.final_norm)
        weight, bias = fold(norm, head, None) if norm else (head, None)
        self.head = Affine(weight if is_large(weight) else np.ascontiguousarray(weight), bias)
        self.logit_cap = model.logit_cap

    def prepare_blocks(self) -> None:
        """Make the blocks' steps, which write to the cache where it lies now."""
        self.laid_out = self.cache.both
        self.blocks = [block_step(block, self.cache, i) for i, block in enumerate(self.model.blocks)]

    def read(self, ids: Ids) -> Array:
        """The beginning of the text (T,) -> logits (V,) for the token after it; errors as of `Transformer.forward`."""
        if len(ids) > SHORT_TEXT:
            return self.model.score(ids[None], self.cache)[0, -1]
        self.model.check_ids(ids[None], self.cache.position)
        return [self.logits(token) for token in ids][-1]

    def logits(self, token: int) -> Array:
        """The newest token -> logits (V,) for the one after it; its keys and values are added to the cache."""
        cache = self.cache
        cache.make_room(1)
        if cache.both is not self.laid_out:  # it has grown
            self.prepare_blocks()
        row = self.embedding[token]
        row = row if self.embedding_scale == 1 else row * self.embedding_scale
        x = self.position.embed(row, cache.position).reshape(-1)  # (C,)
        for block in self.blocks:
            x = block(x)
        cache.advance(1)
        logits = self.head(self.final_norm(x) if self.final_norm else x)
        return self.logit_cap.forward(logits)[0] if self.logit_cap else logits

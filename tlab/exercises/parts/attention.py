"""Exercises about attention: forward, backward, and one token at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tlab.exercises.exercise import (
    EXERCISES,
    Attempt,
    Exercise,
    check_slopes,
    mistake,
    require_equal,
)
from tlab.nn.attention import Attention, AttentionTrace, causal_mask, split_heads
from tlab.nn.params import NO_RECORD, GradientRecord
from tlab.nn.scores.softmaxes import masked_softmax, softmax_backward
from tlab.training.trainer import Trainer
from tlab.types import Array

HEADS = "(B, H, T, D): B texts, H heads, T tokens, D channels of a head"
VASWANI = "Vaswani et al. 2017, section 3.2.1"
NO_SCALE, SCALE_ADVICE = (
    "scores not divided by sqrt(D)",
    "A product of D random pairs has variance D. Divide the scores by the root of D, so that it is 1 for every width.",
)
NO_MASK, MASK_ADVICE = "no causal mask", "A token may see itself and those before it: hide every key with s > t."
OFF_BY_ONE = "mask off by one"


def visible_keys(T: int, S: int, ahead: int = 0) -> npt.NDArray[np.bool_]:
    """(T, S), True where a query may look; the queries are the last T of S tokens. `ahead` moves the border."""
    return np.arange(S)[None, :] <= np.arange(S - T, S)[:, None] + ahead


def attend(queries: Array, keys: Array, values: Array, scale: float | None = None, visible: Any = None) -> Array:
    """Attention of (B, H, T, D) on (B, H, S, D), in the plainest NumPy."""
    D, T, S = queries.shape[-1], queries.shape[-2], keys.shape[-2]
    scores = queries @ keys.swapaxes(-1, -2) * (1 / math.sqrt(D) if scale is None else scale)
    return row_softmax(np.where(visible_keys(T, S) if visible is None else visible, scores, -np.inf)) @ values


def row_softmax(scores: Array) -> Array:
    """Softmax over the last axis; a row of nothing but -inf becomes NaN."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def random_heads(seed: int, T: int = 5, spread: float = 1.0, count: int = 3) -> list[Array]:
    """Queries, keys, values and whatever else has their shape, (2, 3, T, 4)."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0.0, spread, (2, 3, T, 4)) for _ in range(count)]


@EXERCISES.add(
    "attention",
    label="Causal attention",
    formula=r"\mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{D}} + \mathrm{mask}\right) V",
    source=VASWANI,
)
class WriteAttention(Exercise):
    """Let each token's query look at its own key and those before it, and return the weighted mean of their values."""

    part = Attention
    takes = {"queries": HEADS, "keys": "likewise", "values": "likewise"}
    gives = {"attended": "(B, H, T, D)"}

    @staticmethod
    def solution(queries, keys, values):
        T, D = queries.shape[-2:]
        scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(D)
        return masked_softmax(scores, causal_mask(T, T, T, scores.dtype)) @ values

    def cases(self, rng):
        large = [300.0 * heads for heads in random_heads(1)[:2]]
        return [tuple(random_heads(0)), (*large, random_heads(2)[0]), tuple(random_heads(3, T=1))]

    def promises(self):
        return {
            "no token sees a later one": self.not_look_ahead,
            "the first token gets its own value": self.give_first_its_own,
            "where all keys are alike it is the mean of the values so far": self.take_the_mean,
            "heads and texts do not see each other": self.keep_heads_apart,
        }

    def not_look_ahead(self, answer: Attempt) -> None:
        queries, keys, values = random_heads(10)
        before = np.asarray(answer(queries.copy(), keys.copy(), values.copy()))
        for t in range(1, 5):
            others = [heads.copy() for heads in (queries, keys, values)]
            others[1][:, :, t] += 1
            others[2][:, :, t] -= 1
            after = np.asarray(answer(*others))
            require_equal(after[:, :, :t], before[:, :, :t], f"a change of token {t} changed tokens before it")

    def give_first_its_own(self, answer: Attempt) -> None:
        queries, keys, values = random_heads(11)
        first = np.asarray(answer(queries, keys, values.copy()))[:, :, 0]
        require_equal(first, values[:, :, 0], "there is nothing else for it to look at, yet it gets something else")

    def take_the_mean(self, answer: Attempt) -> None:
        queries, _, values = random_heads(12)
        attended = np.asarray(answer(queries, np.zeros_like(queries), values.copy()))
        means = np.cumsum(values, axis=2) / np.arange(1, 6)[:, None]
        require_equal(attended, means, "it is something else")

    def keep_heads_apart(self, answer: Attempt) -> None:
        queries, keys, values = random_heads(13)
        before = np.asarray(answer(queries.copy(), keys.copy(), values.copy()))
        keys[1, 2], values[1, 2] = keys[1, 2] + 1, values[1, 2] - 1
        after = np.asarray(answer(queries.copy(), keys, values))
        after[1, 2] = before[1, 2]
        require_equal(after, before, "one head of one text was changed, and others came out different")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        for block in trainer.model.blocks:
            replace_attention_forward(block.attention, answer)

    @mistake(NO_SCALE, SCALE_ADVICE)
    @staticmethod
    def without_scale(queries, keys, values):
        return attend(queries, keys, values, scale=1.0)

    @mistake("scores divided by D", "Divide by the root of D: by D itself, the scores of a wide head are all near 0.")
    @staticmethod
    def scaled_twice(queries, keys, values):
        return attend(queries, keys, values, scale=1 / queries.shape[-1])

    @mistake("scores multiplied with sqrt(D)", "Divide by the root of D.")
    @staticmethod
    def scaled_up(queries, keys, values):
        return attend(queries, keys, values, scale=math.sqrt(queries.shape[-1]))

    @mistake(
        "scores divided by the root of all channels",
        "D is the width of one head, queries.shape[-1], not that of all heads together.",
    )
    @staticmethod
    def scaled_by_width(queries, keys, values):
        return attend(queries, keys, values, scale=1 / math.sqrt(queries.shape[1] * queries.shape[-1]))

    @mistake(NO_MASK, MASK_ADVICE)
    @staticmethod
    def without_mask(queries, keys, values):
        T = queries.shape[-2]
        return attend(queries, keys, values, visible=np.ones((T, T), bool))

    @mistake(
        OFF_BY_ONE, "Each token sees the next one. The diagonal is the last key that may be seen: np.triu(..., k=1)."
    )
    @staticmethod
    def one_ahead(queries, keys, values):
        T = queries.shape[-2]
        return attend(queries, keys, values, visible=visible_keys(T, T, ahead=1))

    @mistake(OFF_BY_ONE, "A token may see itself: hide the keys above the diagonal, and not the diagonal.")
    @staticmethod
    def not_itself(queries, keys, values):
        T = queries.shape[-2]
        return attend(queries, keys, values, visible=visible_keys(T, T, ahead=-1))

    @mistake(OFF_BY_ONE, "A token may see itself: hide the keys above the diagonal, and not the diagonal.")
    @staticmethod
    def not_itself_but_finite(queries, keys, values):
        T, D = queries.shape[-2:]
        scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(D)
        return row_softmax(np.where(visible_keys(T, T, ahead=-1), scores, -1e9)) @ values

    @mistake("mask turned round", "Hide the keys after the query, s > t; here those before it are hidden.")
    @staticmethod
    def backwards(queries, keys, values):
        T = queries.shape[-2]
        return attend(queries, keys, values, visible=visible_keys(T, T).T)

    @mistake("softmax over the queries", "Each query's weights sum to 1: the softmax is over the keys, the last axis.")
    @staticmethod
    def over_queries(queries, keys, values):
        T, D = queries.shape[-2:]
        scores = np.where(visible_keys(T, T), queries @ keys.swapaxes(-1, -2) / math.sqrt(D), -np.inf)
        return row_softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) @ values

    @mistake(
        "masked after the softmax",
        "Weights that are set to 0 leave rows that do not sum to 1, and each row's sum still counted the future. Add "
        "-inf to the scores before the softmax.",
    )
    @staticmethod
    def masked_weights(queries, keys, values):
        T, D = queries.shape[-2:]
        return row_softmax(queries @ keys.swapaxes(-1, -2) / math.sqrt(D)) * visible_keys(T, T) @ values

    @mistake("masked with 0", "A score of 0 is no weight of 0: exp(0) is 1. Hidden scores have to be -inf.")
    @staticmethod
    def masked_with_zero(queries, keys, values):
        T, D = queries.shape[-2:]
        return row_softmax(queries @ keys.swapaxes(-1, -2) / math.sqrt(D) * visible_keys(T, T)) @ values

    @mistake(
        "max not subtracted",
        "exp of a large score overflows. Subtract each row's largest score first: the weights stay the same.",
    )
    @staticmethod
    def not_shifted(queries, keys, values):
        T, D = queries.shape[-2:]
        scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(D)
        exponentials = np.exp(np.where(visible_keys(T, T), scores, -np.inf))
        return exponentials / exponentials.sum(-1, keepdims=True) @ values

    @mistake(
        "one maximum for all rows", "Far below it a row's weights all underflow to 0. Take each row's own largest."
    )
    @staticmethod
    def shifted_by_one_maximum(queries, keys, values):
        T, D = queries.shape[-2:]
        scores = np.where(visible_keys(T, T), queries @ keys.swapaxes(-1, -2) / math.sqrt(D), -np.inf)
        exponentials = np.exp(scores - scores.max())
        return exponentials / exponentials.sum(-1, keepdims=True) @ values


def replace_attention_forward(attention: Any, answer: Attempt) -> None:
    """Let what the heads collect be the answer's; queries, keys, values and what backward needs are the lab's."""
    usual = attention.forward

    def forward(x: Array, past: Any = None, first_values: Any = None) -> tuple[Array, AttentionTrace]:
        trace = usual(x, past, first_values)[1]
        attended = np.empty_like(trace.attended)
        heads = (trace.queries.copy(), trace.keys.copy(), trace.values.copy())
        split_heads(attended, attention.head_dim)[...] = answer(*heads)
        return attention.out.forward(attended)[0], trace._replace(attended=attended)

    attention.forward = forward


@EXERCISES.add(
    "attention_backward",
    label="Causal attention, backward",
    formula=r"\mathrm{d}V = A^\top \mathrm{d}Y,\quad \mathrm{d}A = \mathrm{d}Y\,V^\top,\quad "
    r"\mathrm{d}S = A \odot \Big(\mathrm{d}A - \sum_s A \odot \mathrm{d}A\Big),\quad "
    r"\mathrm{d}Q = \frac{\mathrm{d}S\,K}{\sqrt{D}},\quad \mathrm{d}K = \frac{\mathrm{d}S^\top Q}{\sqrt{D}}",
    source=VASWANI,
)
class WriteAttentionBackward(Exercise):
    """Given the gradient of what the heads have collected, return those of queries, keys and values."""

    part = Attention
    takes = {
        "dattended": "(B, H, T, D), the gradient of the loss with respect to the output of attention",
        "queries": HEADS,
        "keys": "likewise",
        "values": "likewise",
        "weights": "(B, H, T, T): the softmax of forward, each row sums to 1, and 0 where a key is hidden",
    }
    gives = {"dqueries": "(B, H, T, D)", "dkeys": "likewise", "dvalues": "likewise"}

    @staticmethod
    def solution(dattended, queries, keys, values, weights):
        dscores = softmax_backward(dattended @ values.swapaxes(-1, -2), weights) / math.sqrt(queries.shape[-1])
        return dscores @ keys, dscores.swapaxes(-1, -2) @ queries, weights.swapaxes(-1, -2) @ dattended

    def example(self, seed: int) -> tuple[Array, Array, Array, Array, Array]:
        """One set of inputs."""
        dattended, queries, keys, values = random_heads(seed, count=4)
        scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(queries.shape[-1])
        return dattended, queries, keys, values, row_softmax(np.where(visible_keys(5, 5), scores, -np.inf))

    def cases(self, rng):
        return [self.example(20), self.example(21)]

    def promises(self):
        return {
            "dqueries agree with finite differences": lambda answer: self.follow(answer, 0),
            "dkeys agree with finite differences": lambda answer: self.follow(answer, 1),
            "dvalues agree with finite differences": lambda answer: self.follow(answer, 2),
        }

    def follow(self, answer: Attempt, which: int) -> None:
        dattended, *heads, weights = self.example(22)
        gradients = answer(dattended.copy(), *(array.copy() for array in heads), weights.copy())

        def value(z: Array) -> float:
            queries, keys, values = [*heads[:which], z, *heads[which + 1 :]]
            return float(np.sum(dattended * attend(queries, keys, values)))

        check_slopes(value, heads[which], gradients[which], list(self.gives)[which])

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        for block in trainer.model.blocks:
            replace_attention_backward(block.attention, answer)

    @mistake(
        "sqrt(D) forgotten", "The scores were divided by the root of D, and so are the gradients of queries and keys."
    )
    @staticmethod
    def without_scale(dattended, queries, keys, values, weights):
        root = math.sqrt(queries.shape[-1])
        dq, dk, dv = WriteAttentionBackward.solution(dattended, queries, keys, values, weights)
        return dq * root, dk * root, dv

    @mistake(
        "softmax's sum forgotten",
        "Raising one score lowers the row's other weights: each row of dA loses its mean, weighted by A, before it is "
        "multiplied with A.",
    )
    @staticmethod
    def entry_by_entry(dattended, queries, keys, values, weights):
        dscores = weights * (dattended @ values.swapaxes(-1, -2)) / math.sqrt(queries.shape[-1])
        return dscores @ keys, dscores.swapaxes(-1, -2) @ queries, weights.swapaxes(-1, -2) @ dattended

    @mistake(
        "softmax taken for a sigmoid",
        "A (1 - A) is the diagonal of the softmax's derivative. Off it, where one score lowers another's weight, there "
        "is -A_s A_r: A * (dA - sum(A * dA)).",
    )
    @staticmethod
    def as_sigmoid(dattended, queries, keys, values, weights):
        dweights = dattended @ values.swapaxes(-1, -2)
        dscores = weights * (1 - weights) * dweights / math.sqrt(queries.shape[-1])
        return dscores @ keys, dscores.swapaxes(-1, -2) @ queries, weights.swapaxes(-1, -2) @ dattended

    @mistake(
        "softmax's sum over the wrong axis", "A query's weights sum to 1: the sum is over its keys, the last axis."
    )
    @staticmethod
    def over_queries(dattended, queries, keys, values, weights):
        dweights = dattended @ values.swapaxes(-1, -2)
        dscores = weights * (dweights - (weights * dweights).sum(-2, keepdims=True)) / math.sqrt(queries.shape[-1])
        return dscores @ keys, dscores.swapaxes(-1, -2) @ queries, weights.swapaxes(-1, -2) @ dattended

    @mistake("dA in place of dS", "Between the weights and the scores lies the softmax: its derivative was left out.")
    @staticmethod
    def without_softmax(dattended, queries, keys, values, weights):
        dscores = dattended @ values.swapaxes(-1, -2) / math.sqrt(queries.shape[-1])
        return dscores @ keys, dscores.swapaxes(-1, -2) @ queries, weights.swapaxes(-1, -2) @ dattended

    @mistake("weights not transposed in dvalues", "A value gets its gradient from every query that saw it: A^T dY.")
    @staticmethod
    def values_not_transposed(dattended, queries, keys, values, weights):
        dq, dk, _ = WriteAttentionBackward.solution(dattended, queries, keys, values, weights)
        return dq, dk, weights @ dattended

    @mistake("dS not transposed in dkeys", "A key gets its gradient from every query that saw it: dS^T Q.")
    @staticmethod
    def keys_not_transposed(dattended, queries, keys, values, weights):
        dq, _, dv = WriteAttentionBackward.solution(dattended, queries, keys, values, weights)
        dscores = softmax_backward(dattended @ values.swapaxes(-1, -2), weights) / math.sqrt(queries.shape[-1])
        return dq, dscores @ queries, dv

    @mistake("queries and keys exchanged", "What multiplied the queries were the keys: dQ = dS K, and dK = dS^T Q.")
    @staticmethod
    def exchanged(dattended, queries, keys, values, weights):
        return WriteAttentionBackward.solution(dattended, keys, queries, values, weights)


def replace_attention_backward(attention: Any, answer: Attempt) -> None:
    """Let the gradients of queries, keys and values be the answer's."""

    def backward(dy: Array, trace: AttentionTrace, record: GradientRecord = NO_RECORD, *others: Any) -> Array:
        dattended = split_heads(attention.out.backward(dy, trace.attended), attention.head_dim)
        heads = (dattended, trace.queries, trace.keys, trace.values, trace.weights)
        dqkv = np.empty((*dy.shape[:2], 3 * dy.shape[2]), dy.dtype)
        dqueries, dkeys, dvalues = attention.split_qkv(dqkv)
        dqueries[...], dkeys[...], dvalues[...] = answer(*(array.copy() for array in heads))
        return attention.qkv.backward(dqkv, trace.x)

    attention.backward = backward

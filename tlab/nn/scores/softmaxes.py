"""How attention scores become weights: the usual softmax, and those with which a token can attend to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlab.nn.loss import softmax
from tlab.nn.params import Param, ParamSpace, zeros
from tlab.registry import Registry
from tlab.types import Array

ATTENTION_SOFTMAXES: Registry[type[AttentionSoftmax]] = Registry("attention_softmax")
NO_MAX_SHIFT_BELOW = 70.0  # exp(70) = 3e30 and exp(-70) = 4e-31: a million of either are far from the ends of float32


class AttentionSoftmax:
    """The contract: scores and mask in, weights of the scores' shape out; `backward` needs no more than the weights.

    `reference` takes the scores of the visible keys alone, (..., S), and the rest, see `rest`, (...,).
    """

    reference: Any

    def __init__(self, space: ParamSpace, name: str, num_heads: int) -> None:
        pass

    @property
    def rest(self) -> Any:
        """The logit of attending to nothing, (H,) or one number for all heads; None where the weights sum to 1."""
        return None

    def forward(self, scores: Array, mask: Array) -> Array:
        """Scores (B, H, T, S), which may be written over, and mask (T, S) or (H, T, S) -> weights (B, H, T, S)."""
        raise NotImplementedError

    def backward(self, dweights: Array, weights: Array) -> Array:
        """Gradient of the scores, (B, H, T, S), written over that of the weights."""
        raise NotImplementedError


def masked_softmax(scores: Array, mask: Array) -> Array:
    """softmax(scores + mask) over the last axis, written over the scores (B, H, T, S)."""
    # Softmax does not change when a row is shifted, and a shift by its maximum keeps exp in range. A maximum per row is
    # slow, one over the whole array is fast, and moderate scores need no shift: bounded above, exp cannot overflow; and
    # no row's sum is near zero, as the token's own score, which no mask hides, is bounded below. A position's bias
    # counts with them.
    own = mask.diagonal(mask.shape[-1] - mask.shape[-2], -2, -1)  # what is added to each token's score for itself
    highest, lowest = scores.max() + mask.max(), scores.min() + own.min()
    is_moderate = highest <= NO_MAX_SHIFT_BELOW and lowest >= -NO_MAX_SHIFT_BELOW
    scores += mask
    if not is_moderate:
        return softmax(scores)
    weights = np.exp(scores, out=scores)
    weights /= weights @ np.ones((weights.shape[-1], 1), weights.dtype)  # (B, H, T, 1), the sum of each row
    return weights


def mean_by_weight(dweights: Array, weights: Array) -> Array:
    """(B, H, T, 1), the sum over s of weights * dweights: each row's mean gradient."""
    # What was attended to, times its gradient, is the same sum and quicker, but rounded otherwise than dweights: then
    # the gradients of a row's scores no longer add up to nothing.
    return (dweights[..., None, :] @ weights[..., None])[..., 0]


def softmax_backward(dweights: Array, weights: Array) -> Array:
    """Gradient of the scores, (B, H, T, S), written over that of the weights."""
    # dscores = weights * (dweights - mean), as raising one score lowers the row's other weights.
    dweights -= mean_by_weight(dweights, weights)
    dweights *= weights  # (B, H, T, S)
    return dweights


@ATTENTION_SOFTMAXES.add("softmax", label="softmax", formula=r"\frac{e^{s}}{\sum e^{s}}", source="Vaswani et al. 2017")
class UsualSoftmax(AttentionSoftmax):
    """Turns each row of scores into weights that sum to 1.

    Notice: a head always attends to something. One that has nothing to say learns to look where it does no harm, most
    often at the first token (Xiao et al. 2024).
    """

    @staticmethod
    def reference(scores: Array, rest: None = None) -> Array:
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    def forward(self, scores: Array, mask: Array) -> Array:
        return masked_softmax(scores, mask)

    def backward(self, dweights: Array, weights: Array) -> Array:
        return softmax_backward(dweights, weights)


class SoftmaxWithRest(AttentionSoftmax):
    """A softmax over the scores and one more logit, the rest, whose weight goes nowhere."""

    @staticmethod
    def reference(scores: Array, rest: Array) -> Array:
        both = np.concatenate([scores, np.broadcast_to(rest, scores.shape[:-1])[..., None]], axis=-1)
        return UsualSoftmax.reference(both)[..., :-1]

    def forward(self, scores: Array, mask: Array) -> Array:
        rest = np.reshape(np.asarray(self.rest, scores.dtype), (-1, 1, 1))  # (H, 1, 1), or one number for all
        scores += mask
        largest = np.maximum(np.fmax.reduce(scores, axis=-1, keepdims=True), rest)  # (B, H, T, 1), the rest counts too
        scores -= largest
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(-1, keepdims=True) + np.exp(rest - largest)
        return weights

    def backward(self, dweights: Array, weights: Array) -> Array:
        # The rest has the value 0, so the row's mean gradient is that of the softmax over all but it.
        return softmax_backward(dweights, weights)


@ATTENTION_SOFTMAXES.add("plus_one", label="softmax + 1", formula=r"\frac{e^{s}}{1 + \sum e^{s}}", source="Miller 2023")
class SoftmaxPlusOne(SoftmaxWithRest):
    """Adds 1 to the denominator, so that a row of low scores has hardly any weight at all.

    Notice: the 1 is the exponential of a score of 0 that belongs to no token. Whoever shifts a row by its maximum, as
    one does against overflow, has to shift the 1 as well; forgotten, it counts as much as the largest score.
    """

    @property
    def rest(self) -> float:
        return 0.0


@ATTENTION_SOFTMAXES.add(
    "sink",
    label="softmax, sink",
    formula=r"\frac{e^{s}}{e^{b_h} + \sum e^{s}}",
    source="Xiao et al. 2024; gpt-oss 2025",
)
class SoftmaxWithSink(SoftmaxWithRest):
    """Puts a learned logit for each head beside the scores; the weight that it takes goes nowhere.

    Notice: starts at 0, as the softmax plus one, and then every head learns how much attention it does not need. No
    token has to serve as the sink.
    """

    sink: Param

    def __init__(self, space: ParamSpace, name: str, num_heads: int) -> None:
        self.sink = space.declare(f"{name}.sink", (num_heads,), zeros)

    @property
    def rest(self) -> Array:
        return self.sink.data

    def backward(self, dweights: Array, weights: Array) -> Array:
        mean = mean_by_weight(dweights, weights)[..., 0]  # (B, H, T)
        rest = 1 - weights.sum(-1)  # (B, H, T), the sink's own weight
        self.sink.grad -= (rest * mean).sum((0, 2))  # raising it lowers all others, and its own value is 0
        return softmax_backward(dweights, weights)

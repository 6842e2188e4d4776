"""The loss: how surprised the model was by each next token."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tlab.nn.linear import as_rows
from tlab.types import Array, Ids


class CrossEntropyCache(NamedTuple):
    """What the loss keeps of a forward pass."""

    probabilities: Array  # (N, V)
    targets: Ids  # (N,)


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis, as a fresh array; -inf becomes probability 0."""
    # The shift leaves the result as it is and keeps exp from overflowing. fmax is max, only faster over rows.
    y = x - np.fmax.reduce(x, axis=-1, keepdims=True)
    np.exp(y, out=y)
    y /= y @ np.ones((y.shape[-1], 1), y.dtype)
    return y


class CrossEntropy:
    """The mean over all tokens of -log p(target), in nats: log V for a model that knows nothing.

    Notice: softmax and logarithm cancel in the gradient, which is just (probability - 1 where it was the target).
    """

    @staticmethod
    def reference(logits: Array, targets: Ids) -> Array:
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -np.log(np.take_along_axis(probabilities, targets[..., None], -1)).mean()

    @staticmethod
    def forward(logits: Array, targets: Ids) -> tuple[float, CrossEntropyCache]:
        """Logits (B, T, V) and targets (B, T) -> loss in nats per token."""
        rows, flat_targets = as_rows(logits), targets.ravel()  # (N, V), (N,)
        shifted = rows - np.fmax.reduce(rows, axis=-1, keepdims=True)  # (N, V)
        target_logits = shifted[np.arange(len(rows)), flat_targets]  # (N,)
        probabilities = np.exp(shifted, out=shifted)  # (N, V), so far not divided by their sum
        totals = probabilities @ np.ones((rows.shape[1], 1), rows.dtype)  # (N, 1)
        probabilities /= totals
        loss = float(np.mean(np.log(totals[:, 0]) - target_logits))
        return loss, CrossEntropyCache(probabilities, flat_targets)

    @staticmethod
    def backward(cache: CrossEntropyCache, shape: tuple[int, ...], share: float = 1.0) -> Array:
        """-> dlogits of `shape` (B, T, V), times the share that these tokens have in a larger batch."""
        probabilities, targets = cache  # (N, V), (N,)
        N = len(targets)
        dlogits = probabilities * (share / N)  # (N, V)
        dlogits[np.arange(N), targets] -= share / N
        return dlogits.reshape(shape)

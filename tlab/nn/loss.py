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


class LabelSmoothing(CrossEntropy):
    """The cross-entropy, trained towards targets of which a share is spread over all tokens of the vocabulary alike.

    Notice: a prediction can be too sure now, while the cross-entropy alone always wants the target's logit to rise
    further above the others. The loss that is reported is the cross-entropy alone, so that runs with and without it
    compare.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    @staticmethod
    def reference(logits: Array, targets: Ids, smoothing: float = 0.0) -> Array:
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return (1 - smoothing) * CrossEntropy.reference(logits, targets) - smoothing * log_probabilities.mean()

    def backward(self, cache: CrossEntropyCache, shape: tuple[int, ...], share: float = 1.0) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """-> dlogits of `shape` (B, T, V), times the share that these tokens have in a larger batch."""
        dlogits = as_rows(CrossEntropy.backward(cache, shape, share))  # (N, V)
        N, V = dlogits.shape
        moved = self.smoothing * share / N  # from each target to all tokens
        dlogits[np.arange(N), cache.targets] += moved
        dlogits -= moved / V
        return dlogits.reshape(shape)


class ZLossCache(NamedTuple):
    """What the loss with a penalty on log Z keeps of a forward pass."""

    cross_entropy: CrossEntropyCache
    log_partition: Array  # (N,), log Z


class ZLoss(CrossEntropy):
    """The cross-entropy, trained together with a weight times the mean of (log Z)^2, Z the sum of exp(logits).

    Notice: the cross-entropy does not see it when all logits of a token rise together, so nothing stops them from
    drifting to where rounding hurts; this pulls log Z back to 0. The loss that is reported is the cross-entropy alone,
    so that runs with and without it compare.
    """

    def __init__(self, weight: float, cross_entropy: CrossEntropy = CrossEntropy()) -> None:  # noqa: B008, no state
        self.weight = weight
        self.cross_entropy = cross_entropy

    @staticmethod
    def reference(logits: Array, targets: Ids, weight: float = 0.0) -> Array:
        log_partition = np.log(np.exp(logits).sum(-1))
        return CrossEntropy.reference(logits, targets) + weight * (log_partition * log_partition).mean()

    def forward(self, logits: Array, targets: Ids) -> tuple[float, ZLossCache]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Logits (B, T, V) and targets (B, T) -> cross-entropy in nats per token."""
        loss, cache = self.cross_entropy.forward(logits, targets)
        # Of the likeliest token p = exp(logit) / Z is never 0, so log Z = logit - log p.
        log_partition = as_rows(logits).max(axis=-1) - np.log(cache.probabilities.max(axis=-1))  # (N,)
        return loss, ZLossCache(cache, log_partition)

    def backward(self, cache: ZLossCache, shape: tuple[int, ...], share: float = 1.0) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """-> dlogits of `shape` (B, T, V), times the share that these tokens have in a larger batch."""
        dlogits = as_rows(self.cross_entropy.backward(cache.cross_entropy, shape, share))  # (N, V)
        dlog_partition = cache.log_partition * (2 * self.weight * share / len(dlogits))  # (N,)
        dlogits += cache.cross_entropy.probabilities * dlog_partition[:, None]  # (N, V), p is the gradient of log Z
        return dlogits.reshape(shape)

"""A soft cap: scores of any size in, scores within a limit out."""

from __future__ import annotations

import numpy as np

from tlab.types import Array


class SoftCap:
    """Leaves small scores nearly as they are, and lets none pass the cap, however large it was.

    Notice: what is held down learns less. The slope is 1 at zero and falls to nothing near the cap, so a score that has
    run away comes back slowly; but it also can no longer turn the softmax into a hard choice. Gemma 2 caps its
    attention scores at 50 and its logits at 30.
    """

    def __init__(self, cap: float) -> None:
        self.cap = cap

    @staticmethod
    def reference(x: Array, cap: float) -> Array:
        return cap * np.tanh(x / cap)

    def forward(self, x: Array) -> tuple[Array, Array]:
        share = x * (1.0 / self.cap)  # of the cap, between -1 and 1
        np.tanh(share, out=share)
        return share * self.cap, share

    def backward(self, dy: Array, share: Array) -> Array:
        dx = share * share  # tanh' = 1 - tanh^2
        np.subtract(1, dx, out=dx)
        dx *= dy
        return dx


def soft_cap(cap: float) -> SoftCap | None:
    """The cap of a config's field, in which 0 stands for none."""
    return SoftCap(cap) if cap else None


def capped(scores: Array, cap: float) -> Array:
    """Scores of any shape within the cap of a config's field, as the reference has them."""
    return SoftCap.reference(scores, cap) if cap else scores

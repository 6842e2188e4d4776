"""Dropout: what a training step leaves out of the residual stream."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np

from tlab.types import Array


@dataclass(frozen=True)
class Dropout:
    """Sets each number that enters the stream, from the embedding or a branch of a block, to 0 with probability `rate`.

    What is left is divided by 1 - rate, so that the mean over all draws is what would be there without dropout. It is
    drawn by (seed, step, place) alone: backward draws it once more, and no thread or piece of a batch draws another.

    Notice: no number can count on another to be there, so what is learned is spread over many. On a text that a model
    sees once or a few times it only slows learning down; it pays where the text is short enough to be learned by heart.
    It acts where Vaswani et al. 2017 have it; GPT-2 also drops single weights of attention, which this leaves whole.
    """

    rate: float
    seed: int
    step: int
    first_row: int = 0  # of the batch, where these are some of its sequences

    def __call__(self, place: str, x: Array) -> Array:
        """What is left of x (B, T, C) at this place; its gradient is what is left of the gradient."""
        bits = np.random.PCG64([self.seed, self.step, zlib.crc32(place.encode())])
        bits.advance(self.first_row * x[0].size)  # past the numbers of the sequences before these, one a number
        is_kept = np.random.Generator(bits).random(x.shape) >= self.rate
        left = x * is_kept
        left *= 1 / (1 - self.rate)
        return left

    def from_row(self, first_row: int) -> Dropout:
        """The same for the sequences of the batch from this one on."""
        return dataclasses.replace(self, first_row=first_row)

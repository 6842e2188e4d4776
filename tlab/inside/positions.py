"""What kinds of position do by themselves, without any text: their pattern, and how it goes with distance and length.

All of it is asked of the position's class through its three methods `embed`, `rotate` and `score_bias`, so a new kind
is shown as soon as it is registered.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlab.config import ConfigError
from tlab.nn.config import ModelConfig
from tlab.nn.inits import INITS
from tlab.nn.loss import softmax
from tlab.nn.model import Transformer, make_position
from tlab.nn.params import ParamSpace
from tlab.nn.positions import Position
from tlab.types import Array


def position_of(model: Transformer, kind: str) -> Position:
    """The model's own position where it is of this kind; else one of its sizes, as it would be before any training."""
    config = model.config
    if config.position == kind:
        return model.position
    space = ParamSpace()
    init = INITS[config.init](config.num_layers, config.scale_residual)
    position = make_position(kind, config, space, init)
    space.pack(0, model.dtype)
    return position


def fits(config: ModelConfig, kind: str) -> bool:
    """Whether a kind of position can work with heads of this model's width."""
    try:
        dataclasses.replace(config, position=kind)
    except ConfigError:
        return False
    return True


def longest(position: Position, length: int) -> int:
    """`length`, or the end of the positions that exist."""
    return length if position.unbounded else min(length, position.context_length)


class Pattern(NamedTuple):
    """A picture of the kind: rows are positions from 0, and what the columns are is up to where it acts."""

    where: str  # "embedding", "heads", "scores" or "nowhere"
    values: Array  # (T, columns)


def pattern(position: Position, config: ModelConfig, length: int) -> Pattern:
    """What the kind does at each place, as a table.

    - "embedding": the vector that is added to the token at position t, (T, C).
    - "heads": the vector (1, ..., 1, 0, ..., 0) rotated as a query at position t, (T, D): cosines, then sines.
    - "scores": what is added to the last token's score for position s, (T, H).
    - "nowhere": zeros, (T, 1).

    Of a kind that acts on several places, the first of them.
    """
    T = longest(position, length)
    where = next((place for place in ("embedding", "heads", "scores") if place in position.acts_on), "nowhere")
    if where == "embedding":
        values = position.embed(np.zeros((1, T, config.hidden_dim), np.float32), 0)[0]
    elif where == "heads":
        probe = np.zeros((T, config.head_dim), np.float32)
        probe[:, : config.head_dim // 2] = 1
        values, _ = position.rotate(probe, probe, 0)
    elif where == "scores":
        bias = position.score_bias(1, T, np.dtype(np.float32))
        values = np.broadcast_to(bias, (config.num_heads, 1, T))[:, 0].T
    else:
        values = np.zeros((T, 1), np.float32)
    return Pattern(where, values)


def contentless_scores(position: Position, config: ModelConfig, length: int) -> Array:
    """(H, T): scores of the last of `length` tokens for each of them, if all tokens had the same content.

    Query and key are then ones, rotated by the position: R(t) 1 . R(s) 1 / sqrt(D); what is added to embeddings counts
    as if it were query and key itself: p_t . p_s / sqrt(C); and what is added to scores is added. In a model weights
    stand in between; this is what the kind brings along.
    """
    T = longest(position, length)
    ones = np.ones((T, config.head_dim), np.float32)
    queries, keys = position.rotate(ones, ones, 0)
    added = position.embed(np.zeros((1, T, config.hidden_dim), np.float32), 0)[0]
    shared = keys @ queries[-1] / math.sqrt(config.head_dim) + added @ added[-1] / math.sqrt(config.hidden_dim)
    bias = position.score_bias(1, T, np.dtype(np.float32))[..., 0, :]  # (T,) or (H, T)
    return np.broadcast_to(shared + bias, (config.num_heads, T))


def score_by_distance(position: Position, config: ModelConfig, length: int) -> Array:
    """(H, T): `contentless_scores` by the distance 0, 1, 2 ..., relative to that of distance 0."""
    back = contentless_scores(position, config, length)[:, ::-1]
    return back - back[:, :1]


def reach_by_length(position: Position, config: ModelConfig, lengths: Sequence[int]) -> Array:
    """(H, number of lengths): how far back the last token looks on average, in tokens, in texts of these lengths.

    The mean distance under softmax(contentless_scores). A kind that knows no distance looks back half the text,
    (T - 1) / 2; one that forgets by distance stays where it is however long the text. NaN past the last position
    that exists.
    """
    reach = np.full((config.num_heads, len(lengths)), math.nan)
    for i, length in enumerate(lengths):
        if longest(position, length) == length:
            weights = softmax(contentless_scores(position, config, length))  # (H, T)
            reach[:, i] = weights @ np.arange(length)[::-1]
    return reach


class Portrait(NamedTuple):
    """All of one kind's pictures."""

    pattern: Pattern
    by_distance: Array  # (H, T), `score_by_distance`
    lengths: list[int]
    reach: Array  # (H, number of lengths), `reach_by_length`

    @property
    def nbytes(self) -> int:
        return self.pattern.values.nbytes + self.by_distance.nbytes + self.reach.nbytes


MAX_PATTERN = 96  # positions of a pattern: more rows are no picture
MAX_TEXT = 512  # tokens: the bias of ALiBi is a table of heads x 512 x 512


def portrait(model: Transformer, kind: str) -> Portrait:
    """The pattern of a kind at the sizes of this model, and what becomes of it with distance and length.

    Lengths are the powers of two from 2 up to four times the context, so that one sees what lies past its end.
    """
    config = model.config
    position = position_of(model, kind)
    farthest = min(MAX_TEXT, 4 * config.context_length)
    lengths = [2**n for n in range(1, farthest.bit_length())]
    return Portrait(
        pattern(position, config, min(MAX_PATTERN, config.context_length)),
        score_by_distance(position, config, min(MAX_TEXT, config.context_length)),
        lengths,
        reach_by_length(position, config, lengths),
    )

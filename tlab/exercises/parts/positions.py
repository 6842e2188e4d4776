"""Exercises about positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, mistake, require, require_equal
from tlab.nn.inits import INITS
from tlab.nn.params import ParamSpace
from tlab.nn.positions import POSITIONS, Alibi, Position, Rope
from tlab.training.trainer import Trainer
from tlab.types import Array


def lab_position(kind: type[Position], num_heads: int, head_dim: int) -> Position:
    """A registered position by itself, for texts of any length."""
    init = INITS["gpt2"](1, False)
    return kind(ParamSpace(), "position", 64, num_heads * head_dim, num_heads, init)


def angles(heads: Array, start: int, half: int, exponent: float = 2.0) -> Array:
    """(T, D / 2): position times 10000^(-exponent i / D)."""
    T = heads.shape[-2]
    return (start + np.arange(T))[:, None] * 10_000.0 ** (-exponent * np.arange(half) / (2 * half))


def rotated(heads: Array, angle: Array) -> Array:
    """Channels i and i + D/2 as a pair, rotated by an angle (T, D / 2)."""
    half = heads.shape[-1] // 2
    a, b = heads[..., :half], heads[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


@EXERCISES.add(
    "rope",
    label="RoPE",
    formula=r"(a, b) \to (a \cos \alpha - b \sin \alpha,\ b \cos \alpha + a \sin \alpha),\quad "
    r"\alpha = t \cdot 10000^{-2i/D}",
    source=POSITIONS.entries["rope"].source,
)
class WriteRope(Exercise):
    """Rotate each pair of channels, i and i + D/2, of queries or keys by an angle that grows with the token's position.

    Pair i, from 0 to D/2 - 1, is made of channels i and i + D/2, the half layout. The first of the T tokens stands at
    the position `start`.
    """

    part, model = Rope, {"position": "rope"}
    takes = {"heads": "(B, H, T, D), queries or keys", "start": "position of the first of the T tokens, from 0"}
    gives = {"rotated": "(B, H, T, D)"}

    @staticmethod
    def solution(heads, start):
        _, H, _, D = heads.shape
        return lab_position(Rope, H, D).rotate(heads, heads, start)[0]

    def cases(self, rng):
        return [(rng.normal(size=(2, 3, 5, 8)), start) for start in (0, 7)]

    def promises(self):
        return {
            "at position 0 nothing is rotated": self.begin_unrotated,
            "no vector becomes longer or shorter": self.keep_lengths,
            "a score depends on how far apart two tokens are, and not on where": self.see_distances,
        }

    def begin_unrotated(self, answer: Attempt) -> None:
        heads = np.random.default_rng(40).normal(size=(1, 2, 3, 6))
        require_equal(np.asarray(answer(heads.copy(), 0))[:, :, 0], heads[:, :, 0], "the first token is changed")

    def keep_lengths(self, answer: Attempt) -> None:
        heads = np.random.default_rng(41).normal(size=(1, 2, 6, 6))
        after = np.linalg.norm(np.asarray(answer(heads.copy(), 3)), axis=-1)
        require_equal(after, np.linalg.norm(heads, axis=-1), "some do")

    def see_distances(self, answer: Attempt) -> None:
        rng = np.random.default_rng(42)
        q, k = (np.tile(rng.normal(size=6), (1, 1, 6, 1)) for _ in range(2))
        scores = [np.asarray(answer(q.copy(), s))[0, 0] @ np.asarray(answer(k.copy(), s))[0, 0].T for s in (0, 9)]
        require_equal(scores[1], scores[0], "nine positions later the scores of the same tokens are others")
        require_equal(scores[0][1:, 1:], scores[0][:-1, :-1], "one token on, the scores of the same tokens are others")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        position: Any = trainer.model.position
        position.rotate = lambda queries, keys, start: tuple(
            np.asarray(answer(heads.copy(), start)) for heads in (queries, keys)
        )

    @mistake(
        "pairs of neighbours",
        "Channels 2i and 2i + 1 make the pairs of the interleaved layout, as in GPT-J. Here they are i and i + D/2: a "
        "model trained in one layout reads nonsense in the other.",
    )
    @staticmethod
    def interleaved(heads, start):
        angle = angles(heads, start, heads.shape[-1] // 2)
        a, b = heads[..., ::2], heads[..., 1::2]
        y = np.empty_like(heads)
        y[..., ::2], y[..., 1::2] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
        return y

    @mistake("rotated backwards", "The angle is plus t theta. Scores are the same, but not the vectors.")
    @staticmethod
    def backwards(heads, start):
        return rotated(heads, -angles(heads, start, heads.shape[-1] // 2))

    @mistake("start ignored", "Token number t of these stands at position start + t: in generation start is not 0.")
    @staticmethod
    def from_zero(heads, start):
        return rotated(heads, angles(heads, 0, heads.shape[-1] // 2))

    @mistake("positions counted from 1", "The first token of a text stands at position 0.")
    @staticmethod
    def from_one(heads, start):
        return rotated(heads, angles(heads, start + 1, heads.shape[-1] // 2))

    @mistake("exponent -i/D", "There are D/2 pairs, so the exponent is -2i/D: it reaches nearly -1 at the last pair.")
    @staticmethod
    def half_exponent(heads, start):
        return rotated(heads, angles(heads, start, heads.shape[-1] // 2, exponent=1.0))

    @mistake("exponent -4i/D", "i counts pairs, from 0 to D/2 - 1; the exponent is -2i/D.")
    @staticmethod
    def double_exponent(heads, start):
        return rotated(heads, angles(heads, start, heads.shape[-1] // 2, exponent=4.0))

    @mistake(
        "a sign of the rotation wrong", "One of the two sines is subtracted, the other added: else it is no rotation."
    )
    @staticmethod
    def no_rotation(heads, start):
        half = heads.shape[-1] // 2
        angle = angles(heads, start, half)
        a, b = heads[..., :half], heads[..., half:]
        return np.concatenate([a * np.cos(angle) + b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)

    @mistake(
        "b computed from the new a",
        "Both lines of a rotation read the old pair: a is overwritten before b is computed. Keep a copy.",
    )
    @staticmethod
    def overwritten(heads, start):
        half = heads.shape[-1] // 2
        angle = angles(heads, start, half)
        a = heads[..., :half] * np.cos(angle) - heads[..., half:] * np.sin(angle)
        return np.concatenate([a, heads[..., half:] * np.cos(angle) + a * np.sin(angle)], axis=-1)

    @mistake(
        "positions along the heads", "Tokens lie along the third axis of (B, H, T, D); the second one counts heads."
    )
    @staticmethod
    def along_heads(heads, start):
        turned = heads.swapaxes(1, 2)
        return rotated(turned, angles(turned, start, heads.shape[-1] // 2)).swapaxes(1, 2)


@EXERCISES.add(
    "alibi_slopes",
    label="ALiBi's slopes",
    formula=r"m_h = 2^{-8h/H},\quad h = 1 \dots H",
    source=POSITIONS.entries["alibi"].source,
)
class WriteAlibiSlopes(Exercise):
    """Return how steeply each head punishes distance.

    The formula is for a number of heads that is a power of two. Any other takes the slopes of the power of two below
    it, and then every other slope of the power of two above it, from the first on, until there are enough.
    """

    part, model = Alibi, {"position": "alibi"}
    takes = {"num_heads": "a whole number, H"}
    gives = {"slopes": "(H,), positive"}

    @staticmethod
    def solution(num_heads):
        bias = lab_position(Alibi, num_heads, 1).score_bias(2, 2, np.dtype(np.float64))  # (H, 2, 2)
        return -bias[:, 1, 0]

    def cases(self, rng):
        return [(num_heads,) for num_heads in (8, 4, 1, 12, 6, 16)]

    def promises(self):
        return {
            "eight heads have 1/2, 1/4, ... 1/256": self.halve,
            "as many slopes as heads, all positive and different": self.differ,
        }

    def halve(self, answer: Attempt) -> None:
        slopes = np.asarray(answer(8))
        require_equal(slopes, 0.5 ** np.arange(1, 9), f"they have {', '.join(f'{slope:.4g}' for slope in slopes)}")

    def differ(self, answer: Attempt) -> None:
        for num_heads in (3, 5, 12, 20):
            slopes = np.asarray(answer(num_heads))
            good = slopes.shape == (num_heads,) and np.all(slopes > 0) and len(set(slopes)) == num_heads
            require(good, f"not so for {num_heads} heads")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        position: Any = trainer.model.position
        slopes = np.asarray(answer(position.num_heads))

        def score_bias(num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
            distance = np.arange(num_keys - num_queries, num_keys)[:, None] - np.arange(num_keys)[None, :]
            return (-slopes[:, None, None] * distance).astype(dtype)

        position.score_bias = score_bias

    @mistake("heads counted from 0", "The first head has h = 1, and a slope of 2^(-8/H); with h = 0 it is 1.")
    @staticmethod
    def from_zero(num_heads):
        return 2.0 ** (-8 * np.arange(num_heads) / num_heads)

    @mistake(
        "formula used for any number of heads",
        "It holds where the number of heads is a power of two. What others take stands in the task.",
    )
    @staticmethod
    def by_formula(num_heads):
        return 2.0 ** (-8 * np.arange(1, num_heads + 1) / num_heads)

    @mistake("8 over H forgotten", "The exponent is -8h/H: whatever the number of heads, the last one's slope is 2^-8.")
    @staticmethod
    def without_ratio(num_heads):
        return 0.5 ** np.arange(1, num_heads + 1)

    @mistake("sign", "The slopes are positive; slope times distance is subtracted from the scores later.")
    @staticmethod
    def negative(num_heads):
        return -Alibi.reference(num_heads)

    @mistake(
        "the next slopes in place of every other one",
        "The heads that are left take the first, third, fifth ... slope of the next power of two.",
    )
    @staticmethod
    def in_a_row(num_heads):
        power = 1 << (num_heads.bit_length() - 1)
        further = WriteAlibiSlopes.by_formula.answer(2 * power)
        return np.concatenate([WriteAlibiSlopes.by_formula.answer(power), further[: num_heads - power]])

    @mistake(
        "every other slope from the second on",
        "Every second slope of the next power of two is one that is there already. Take the first, third, fifth ...",
    )
    @staticmethod
    def from_the_second(num_heads):
        power = 1 << (num_heads.bit_length() - 1)
        further = WriteAlibiSlopes.by_formula.answer(2 * power)[1::2]
        return np.concatenate([WriteAlibiSlopes.by_formula.answer(power), further[: num_heads - power]])

    @mistake(
        "slopes of the next power of two, cut off",
        "Begin with the slopes of the power of two below the number of heads, and fill up from the one above.",
    )
    @staticmethod
    def cut_off(num_heads):
        return WriteAlibiSlopes.by_formula.answer(1 << (num_heads - 1).bit_length())[:num_heads]

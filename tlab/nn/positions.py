"""Positions: without them attention sees a bag of tokens, as "dog bites man" and "man bites dog" are one bag.

`acts_on` says at which of three places a kind acts, at one or at several; at the others it does nothing:
    "embedding"   something is added to the token embeddings     (learned, sinusoidal)
    "heads"       queries and keys are rotated                   (rope)
    "scores"      something is added to the attention scores     (alibi, t5)
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np

from tlab.nn.inits import Init
from tlab.nn.params import Param, ParamSpace, zeros
from tlab.registry import Registry
from tlab.types import Array, Ids

POSITIONS: Registry[type[Position]] = Registry("position")


class Position:
    """The contract, with "do nothing" as the default at every place.

    `start` is the position of the first of the T tokens: 0 in training, the number of tokens before in decoding.
    """

    acts_on: ClassVar[frozenset[str]] = frozenset()
    """The places where it acts: "embedding", "heads", "scores"."""
    relative: ClassVar[bool] = True
    """Whether it depends on distances alone, so that a full window can slide on over its cached keys."""
    unbounded: ClassVar[bool] = True
    """Whether positions past the trained context length exist at all."""
    even_head_dim: ClassVar[bool] = False
    """Whether the width of a head has to be even."""
    options: ClassVar[tuple[str, ...]] = ()
    """The fields of the model config that its `__init__` takes by name, besides the shape."""

    def __init__(
        self, space: ParamSpace, name: str, context_length: int, hidden_dim: int, num_heads: int, init: Init
    ) -> None:
        self.context_length = context_length
        self.num_heads = num_heads

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):  # it takes what it says itself, not what the class that it inherits from takes
            cls.options = vars(cls).get("options", ())

    def embed(self, x: Array, start: int) -> Array:
        """Token embeddings (B, T, C) -> (B, T, C)."""
        return x

    def embed_backward(self, dx: Array, start: int) -> None:
        """Gradient of what `embed` added, from dx (B, T, C). What goes on to the tokens is dx itself."""

    def rotate(self, queries: Array, keys: Array, start: int) -> tuple[Array, Array]:
        """Queries and keys (..., T, D) -> the same, rotated. Where heads share keys, there are fewer of these."""
        return queries, keys

    def rotate_backward(self, dqueries: Array, dkeys: Array, start: int) -> tuple[Array, Array]:
        """Gradients of what `rotate` returned, (..., T, D) each -> gradients of what it was given."""
        return dqueries, dkeys

    def score_bias(self, num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
        """What is added to the scores, (T, S) or (H, T, S): 0. The queries are the last T of the S tokens."""
        return np.zeros((num_queries, num_keys), dtype)

    def score_bias_backward(self, dscores: Array) -> None:
        """Gradient of what `score_bias` was made from, from that of the scores (B, H, T, S)."""


SHORTEST_TABLE = 256  # rows: a text that grows token by token would have a new one at 1, 2, 4, ...
LONGEST_COPY = 256  # rows of a table of pairs that lies in memory as it is read


def table_length(needed: int, context_length: int) -> int:
    """Rows of a table that is made once: a power of two, as long as one that the whole context needs is longer."""
    enough = max(SHORTEST_TABLE, 1 << (needed - 1).bit_length())
    return min(enough, context_length) if needed <= context_length else enough


def table_of_pairs(values: Array) -> Array:
    """Of what depends on s - t alone, (..., 2 L - 1) for 1 - L to L - 1: a table with each at [t, s], (..., L, L).

    It is a view, so that a long text needs no square of numbers; a short table is copied, as that is read faster.
    """
    length = (values.shape[-1] + 1) // 2
    table = np.lib.stride_tricks.sliding_window_view(values, length, axis=-1)[..., ::-1, :]
    table = table.copy() if length <= LONGEST_COPY else table
    table.setflags(write=False)
    return table


def offsets(length: int) -> Ids:
    """All s - t of two of so many tokens: 1 - L to L - 1."""
    return np.arange(1 - length, length)


@POSITIONS.add(
    "sinusoidal",
    label="sinusoidal",
    formula=r"x_t + \left[\sin(t\,\omega_i),\ \cos(t\,\omega_i)\right],\quad \omega_i = 10000^{-2i/C}",
    source="Vaswani et al. 2017",
)
class Sinusoidal(Position):
    """Adds a fixed pattern of waves to each embedding, from fast to slow, like the hands of a clock.

    Notice: it shares the embedding's channels. The waves have RMS 0.7, so with tiny initial embeddings a token's
    place is at first much louder than the token; the config's embedding scale sets the balance.
    """

    acts_on = frozenset({"embedding"})
    relative = False

    @staticmethod
    def reference(num_positions: int, hidden_dim: int) -> Array:
        """(num_positions, C), even channels sine, odd channels cosine."""
        t, channel = np.arange(num_positions)[:, None], np.arange(hidden_dim)[None, :]
        angle = t / 10_000 ** ((channel - channel % 2) / hidden_dim)
        return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))

    def embed(self, x: Array, start: int) -> Array:
        _, T, C = x.shape
        return x + sinusoids(table_length(start + T, self.context_length), C, x.dtype.char)[start : start + T]


@lru_cache(maxsize=4)  # tables of the lengths in use; more would only keep memory
def sinusoids(length: int, hidden_dim: int, dtype: str) -> Array:
    """(length, C), made once per length."""
    table = Sinusoidal.reference(length, hidden_dim).astype(dtype)
    table.setflags(write=False)
    return table


@POSITIONS.add(
    "rope",
    label="RoPE",
    formula=r"q_t \to R(t\,\theta)\,q_t,\quad k_s \to R(s\,\theta)\,k_s,\quad q_t \cdot k_s = f(t - s)",
    source="Su et al. 2021, half layout",
)
class Rope(Position):
    """Rotates each pair of channels of a query and a key by an angle that grows with the position.

    Notice: the query of token t is rotated t times, the key of token s is rotated s times, so their score depends on
    the positions only through t - s. Each step rotates pair i, channels i and i + D/2 (the half layout), by theta_i =
    b^(-2i/D), where the base b is 10,000 unless the model has another: the first by a radian, which tells neighbours
    apart, the last so slowly that far places differ. A larger base slows the slow ones further, for longer texts. Where
    only a share of D is rotated, its first channels, i + D/2 and D are those of that share, and the other channels
    compare content alone.
    """

    acts_on = frozenset({"heads"})
    even_head_dim = True
    options = ("rope_base", "rope_fraction")

    def __init__(
        self,
        space: ParamSpace,
        name: str,
        context_length: int,
        hidden_dim: int,
        num_heads: int,
        init: Init,
        rope_base: float = 10_000.0,
        rope_fraction: float = 1.0,
    ) -> None:
        super().__init__(space, name, context_length, hidden_dim, num_heads, init)
        self.base, self.fraction = rope_base, rope_fraction

    @staticmethod
    def reference(heads: Array, base: float = 10_000, fraction: float = 1) -> Array:
        """(T, D) -> (T, D): each pair as one complex number, which a product with exp(i angle) rotates."""
        T, D = heads.shape
        half = rotated_width(D, fraction) // 2
        angle = np.arange(T)[:, None] * base ** (-np.arange(half) / half)  # (T, half)
        rotated = (heads[:, :half] + 1j * heads[:, half : 2 * half]) * np.exp(1j * angle)  # (T, half)
        return np.concatenate([rotated.real, rotated.imag, heads[:, 2 * half :]], axis=1)

    def rotate(self, queries: Array, keys: Array, start: int) -> tuple[Array, Array]:
        return self.rotate_by(+1, queries, keys, start)

    def rotate_backward(self, dqueries: Array, dkeys: Array, start: int) -> tuple[Array, Array]:
        return self.rotate_by(-1, dqueries, dkeys, start)  # a rotation's transpose is the rotation back

    def rotate_by(self, direction: int, queries: Array, keys: Array, start: int) -> tuple[Array, Array]:
        """(..., T, D) each -> the same, rotated by plus or minus the angle of each position."""
        T, D = queries.shape[-2:]
        length = table_length(start + T, self.context_length)
        cos, sin, right_angle = rotations(length, D, queries.dtype.char, self.base, rotated_width(D, self.fraction))
        if direction < 0:
            right_angle = right_angle.T

        # Of each pair (a, b): a' = a cos - b sin, b' = b cos + a sin. So rotated = heads cos + J(heads) sin, where J
        # rotates by a right angle: (a, b) -> (-b, a). As a product with a small matrix J takes a quarter of the time
        # that half heads take, of a few channels each.
        def rotate(heads: Array) -> Array:
            rotated = heads @ right_angle  # (..., T, D) @ (D, D)
            rotated *= sin[start : start + T]  # (T, D)
            rotated += heads * cos[start : start + T]  # (..., T, D)
            return rotated

        if queries.shape != keys.shape:  # heads share keys
            return rotate(queries), rotate(keys)
        both = rotate(np.array((queries, keys)))  # (2, ..., T, D): one pass over them is faster than two
        return both[0], both[1]


def rotated_width(head_dim: int, fraction: float) -> int:
    """How many of a head's channels are rotated."""
    return int(fraction * head_dim + 1e-9)  # 0.29 * 100 is 28.999999999999996


@lru_cache(maxsize=4)  # tables of the lengths in use; more would only keep memory
def rotations(length: int, head_dim: int, dtype: str, base: float, width: int) -> tuple[Array, Array, Array]:
    """cos and sin of position times frequency, (length, D), halves alike; and the rotation by a right angle, (D, D).

    Of D channels the first `width` are rotated: the angle of all others is 0.
    """
    half = width // 2
    angle = np.arange(length)[:, None] * base ** (-np.arange(half) / half)
    angle = np.concatenate([angle, angle, np.zeros((length, head_dim - width))], axis=1)  # (length, D)
    zero, one = np.zeros((half, half)), np.eye(half)
    right_angle = np.zeros((head_dim, head_dim))
    right_angle[:width, :width] = np.block([[zero, one], [-one, zero]])  # i takes -(i + half), i + half takes i
    tables = np.cos(angle).astype(dtype), np.sin(angle).astype(dtype), right_angle.astype(dtype)
    for table in tables:
        table.setflags(write=False)
    return tables


@POSITIONS.add(
    "alibi",
    label="ALiBi",
    formula=r"q_t \cdot k_s / \sqrt{D} - m_h\,(t - s),\quad m_h = 2^{-8h/H}",
    source="Press et al. 2022",
)
class Alibi(Position):
    """Subtracts from each score a penalty proportional to the distance, steeper in some heads than in others.

    Notice: nothing to learn, and nothing that a longer text would not have: it goes on past the trained length.
    """

    acts_on = frozenset({"scores"})

    @staticmethod
    def reference(num_heads: int) -> Array:
        """The slopes m_h, (H,). A head count that is no power of two takes every other slope of the next one."""
        power = 2 ** math.floor(math.log2(num_heads))
        slopes = 2.0 ** (-8 * np.arange(1, power + 1) / power)
        between = 2.0 ** (-8 * np.arange(1, 2 * power + 1) / (2 * power))
        return np.concatenate([slopes, between[::2][: num_heads - power]])

    def score_bias(self, num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
        length = table_length(num_keys, self.context_length)
        bias = alibi_bias(self.num_heads, length, dtype.char)  # (H, length, length)
        return bias[:, num_keys - num_queries : num_keys, :num_keys]  # (H, T, S)


@lru_cache(maxsize=4)  # tables of the lengths in use; more would only keep memory
def alibi_bias(num_heads: int, length: int, dtype: str) -> Array:
    """(H, length, length): minus slope times distance t - s."""
    bias = -Alibi.reference(num_heads)[:, None] * -offsets(length)  # (H, 2 length - 1)
    return table_of_pairs(bias.astype(dtype))


@POSITIONS.add(
    "t5",
    label="T5 bias",
    formula=r"q_t \cdot k_s / \sqrt{D} + b_{\mathrm{bucket}(t - s),\,h}",
    source="Raffel et al. 2020",
)
class T5Bias(Position):
    """Adds to each score a learned number for its head and for how far apart the two tokens are.

    Notice: each of the first 16 distances has a number of its own; farther ones share theirs with others, ever more of
    them, and all from 113 on share one. So it goes on past the trained length. The numbers start at 0, where a head has
    no preference, and all blocks use the same ones.
    """

    acts_on = frozenset({"scores"})
    NUM_BUCKETS: ClassVar[int] = 32
    bias: Param

    def __init__(
        self, space: ParamSpace, name: str, context_length: int, hidden_dim: int, num_heads: int, init: Init
    ) -> None:
        super().__init__(space, name, context_length, hidden_dim, num_heads, init)
        self.bias = space.declare(f"{name}.bias", (self.NUM_BUCKETS, num_heads), zeros, "embedding")

    @staticmethod
    def reference(distance: int) -> int:
        """The bucket of a distance: half of the 32 are one distance each, half are ranges that grow up to 128."""
        if distance < 16:
            return distance
        return min(31, 16 + int(16 * math.log(distance / 16) / math.log(128 / 16)))

    def buckets(self, num_queries: int, num_keys: int) -> Array:
        """(T, S): the bucket of each pair of a query and a key."""
        length = table_length(num_keys, self.context_length)
        return bucket_table(length)[num_keys - num_queries : num_keys, :num_keys]

    def score_bias(self, num_queries: int, num_keys: int, dtype: np.dtype) -> Array:
        bias = self.bias.data.T.take(self.buckets(num_queries, num_keys), axis=1)  # (H, T, S)
        return bias.astype(dtype, copy=False)

    def score_bias_backward(self, dscores: Array) -> None:
        _, H, T, S = dscores.shape
        shifted = np.zeros((H, T, T + S), dscores.dtype)
        shifted[:, ::-1, :S] = dscores.sum(0)  # the last query first
        # Rows that are one number shorter begin one place later each: then a column is a distance.
        shifted = shifted.reshape(H, -1)[:, :-T].reshape(H, T, T + S - 1)
        buckets = np.zeros(T + S - 1, np.intp)  # of a key that comes after its query, that of 0
        buckets[:S] = self.buckets(1, S)[0]  # of the distances S - 1 to 0
        for head, of_distance in enumerate(shifted.sum(1)):  # (T + S - 1,)
            self.bias.grad[:, head] += np.bincount(buckets, of_distance, self.NUM_BUCKETS)


@lru_cache(maxsize=4)  # tables of the lengths in use; more would only keep memory
def bucket_table(length: int) -> Array:
    """(length, length): the bucket of the distance t - s; of a key that comes after its query, that of 0."""
    of_distance = np.array([T5Bias.reference(distance) for distance in range(length)])
    return table_of_pairs(of_distance[(-offsets(length)).clip(0)])


@POSITIONS.add("learned", label="learned", formula="x_t + p_t", source="Gehring et al. 2017; GPT-2")
class Learned(Position):
    """Adds a vector of its own to each position, found by training like any other weight.

    Notice: a position that training never saw has no vector, so the context length is a hard end.
    """

    acts_on = frozenset({"embedding"})
    relative = False
    unbounded = False

    weight: Param

    def __init__(
        self, space: ParamSpace, name: str, context_length: int, hidden_dim: int, num_heads: int, init: Init
    ) -> None:
        super().__init__(space, name, context_length, hidden_dim, num_heads, init)
        self.weight = space.declare(f"{name}.weight", (context_length, hidden_dim), init.embedding, "embedding")

    def embed(self, x: Array, start: int) -> Array:
        return x + self.weight.data[start : start + x.shape[1]]

    def embed_backward(self, dx: Array, start: int) -> None:
        self.weight.grad[start : start + dx.shape[1]] += dx.sum(axis=0)


@POSITIONS.add("none", label="no positions", formula="x_t", source="Haviv et al. 2022")
class NoPosition(Position):
    """Adds nothing: only the causal mask tells a token what came before.

    Notice: it trains all the same. A token that can see t others can learn to count them. So the number of tokens in
    view is its clock, and a window that slides on over cached keys would leave what it was trained on.
    """

    relative = False

"""Normalization: hold each token's vector at a standard size, whatever earlier blocks have added to it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.nn.linear import as_rows, sum_rows
from tlab.nn.params import Param, ParamSpace, halves, ones, zeros
from tlab.registry import Registry
from tlab.types import Array

NORMS: Registry[type[Norm]] = Registry("norm")


class Norm:
    """The contract: (..., C) in, (..., C) out, each token's C numbers by themselves.

    `reference(x, epsilon)` is the norm before scale and shift.
    """

    options: ClassVar[tuple[str, ...]] = ("norm_epsilon",)
    """The fields of the model config that it goes by, besides its shape."""
    has_parameters: ClassVar[bool] = True

    # What a norm may state about itself. The decoder folds a norm of the stated form into the matrix after it, and
    # probes follow the addends of x through it; one that states nothing is always computed as a whole.
    is_identity: ClassVar[bool] = False
    """Whether y = x."""
    centered: ClassVar[bool | None] = None
    """Whether y = (x - mean) * rstd * scale + shift (True) or y = x * rstd * scale + shift (False), with a `NormCache`
    and rstd = 1 / sqrt(the mean square of what it multiplies + epsilon); None for any other form."""
    measures_vector: ClassVar[bool] = True
    """Whether one channel counts for the others too, as it does in a mean or a size."""
    scale: Param
    shift: Any = None  # a Param, where there is one
    alpha: Any = None  # a Param (1,), where a steepness is learned and not measured

    reference: Any
    forward: Any
    backward: Any

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        self.epsilon = epsilon

    def factor(self, cache: Any) -> Array | None:
        """What x, or x - mean, was multiplied with besides the scale: (N, 1) or (N, C); None where it is not stated."""
        return None if self.centered is None else cache.rstd

    def __init_subclass__(cls) -> None:
        if "forward" in vars(cls):  # another function: what the class that it inherits from states is not about it
            cls.is_identity, cls.centered = vars(cls).get("is_identity", False), vars(cls).get("centered")
            cls.factor = vars(cls).get("factor", Norm.factor)
            cls.measures_vector = vars(cls).get("measures_vector", True)
            cls.options = vars(cls).get("options", Norm.options)


class NormCache(NamedTuple):
    """What a norm keeps of a forward pass over N tokens."""

    normalized: Array  # (..., C), before scale and shift
    rstd: Array  # (N, 1), 1 / standard deviation or 1 / RMS of each token


# All tokens are the rows of one matrix, (N, C) with N = B T. A mean over channels is a product with a vector of 1/C:
# NumPy's own reduction over the last axis takes twice as long.


def mean_over_channels(rows: Array) -> Array:
    """(N, C) -> (N, 1), as a product with 1/C: in half the time of `mean`."""
    return rows.dot(averaging(rows.shape[1], rows.dtype.char)[:, None])


def mean_of_product(rows: Array, scale: Array) -> Array:
    """(N, C) and (C,) -> (N, 1): the mean over channels of rows * scale, without making that product."""
    return rows.dot(scale[:, None] * (1 / len(scale)))


@lru_cache(maxsize=32)
def averaging(C: int, dtype: str) -> Array:
    """(C,), each entry 1/C."""
    vector = np.full(C, 1.0 / C, dtype)
    vector.setflags(write=False)
    return vector


@NORMS.add(
    "layernorm",
    label="LayerNorm",
    formula=r"\gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta",
    source="Ba et al. 2016",
)
class LayerNorm(Norm):
    """Shifts each token's vector to mean 0 and scales it to variance 1, then to a learned scale and shift.

    Notice: mean and variance are taken over one token's channels, never over tokens or the batch. So no information
    passes between tokens here, and one token at a time gives the same as a thousand.
    """

    centered = True
    shift: Param

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        super().__init__(space, name, hidden_dim, epsilon)
        self.scale = space.declare(f"{name}.scale", (hidden_dim,), ones)
        self.shift = space.declare(f"{name}.shift", (hidden_dim,), zeros)

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        """Before scale and shift."""
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)

    def forward(self, x: Array) -> tuple[Array, NormCache]:
        rows = as_rows(x)  # (N, C), N = B T
        mean = mean_over_channels(rows)  # (N, 1)
        deviation = rows - mean  # (N, C)
        variance = mean_over_channels(deviation * deviation)  # (N, 1)
        rstd = 1 / np.sqrt(variance + self.epsilon)  # (N, 1)
        normalized = np.multiply(deviation, rstd, out=deviation)  # (N, C), in the same memory
        y = normalized * self.scale.data  # (N, C)
        y += self.shift.data
        return y.reshape(x.shape), NormCache(normalized.reshape(x.shape), rstd)

    def backward(self, dy: Array, cache: NormCache) -> Array:
        dy_rows, normalized = as_rows(dy), as_rows(cache.normalized)  # (N, C) each
        dscale_by_token = dy_rows * normalized  # (N, C)
        self.scale.grad += sum_rows(dscale_by_token)  # (C,)
        self.shift.grad += sum_rows(dy_rows)  # (C,)
        dnormalized = dy_rows * self.scale.data  # (N, C)
        # The norm undoes a change of x that only shifts the token or only stretches it. So the gradient loses its part
        # along (1, 1, ..., 1), which is its mean, and its part along the normalized vector, whose squared length is C.
        along_ones = mean_over_channels(dnormalized)  # (N, 1)
        along_normalized = mean_of_product(dscale_by_token, self.scale.data)  # (N, 1), of dnormalized * normalized
        dx = dnormalized  # (N, C), in the same memory
        dx -= along_ones
        dx -= normalized * along_normalized
        dx *= cache.rstd
        return dx.reshape(dy.shape)


@NORMS.add(
    "rmsnorm",
    label="RMSNorm",
    formula=r"\gamma \odot \frac{x}{\sqrt{\overline{x^2} + \epsilon}}",
    source="Zhang & Sennrich 2019",
)
class RmsNorm(Norm):
    """Scales each token's vector to a root mean square of 1, then to a learned scale.

    Notice: LayerNorm without the mean and without the shift. Where it does as well, as in most of what was published,
    the mean was not what mattered.
    """

    centered = False

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        super().__init__(space, name, hidden_dim, epsilon)
        self.scale = space.declare(f"{name}.scale", (hidden_dim,), ones)

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        """Before the scale."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)

    def forward(self, x: Array) -> tuple[Array, NormCache]:
        rows = as_rows(x)  # (N, C), N = B T
        mean_square = mean_over_channels(rows * rows)  # (N, 1)
        rstd = 1 / np.sqrt(mean_square + self.epsilon)  # (N, 1)
        normalized = rows * rstd  # (N, C)
        y = normalized * self.scale.data  # (N, C)
        return y.reshape(x.shape), NormCache(normalized.reshape(x.shape), rstd)

    def backward(self, dy: Array, cache: NormCache) -> Array:
        dy_rows, normalized = as_rows(dy), as_rows(cache.normalized)  # (N, C) each
        dscale_by_token = dy_rows * normalized  # (N, C)
        self.scale.grad += sum_rows(dscale_by_token)  # (C,)
        dnormalized = dy_rows * self.scale.data  # (N, C)
        # The norm undoes a change of x that only stretches the token: the gradient loses its part along it.
        along_normalized = mean_of_product(dscale_by_token, self.scale.data)  # (N, 1), of dnormalized * normalized
        dx = dnormalized  # (N, C), in the same memory
        dx -= normalized * along_normalized
        dx *= cache.rstd
        return dx.reshape(dy.shape)


@NORMS.add("dyt", label="DyT", formula=r"\gamma \odot \tanh(\alpha x) + \beta", source="Zhu et al. 2025")
class DyT(Norm):
    """Squashes each number by itself with a tanh, of a learned steepness, then to a learned scale and shift.

    Notice: no mean and no size is measured. Small numbers pass as if multiplied by alpha, large ones are held at 1:
    what a norm does to the few channels that have grown large. Where alpha ends tells how large the stream is: the
    larger it has grown, the smaller alpha. It starts at 0.5. What starts small is not made larger, as by a norm: with
    the weights of GPT-2's init a tiny model may learn letter frequencies and no more, where with Xavier's, or with an
    embedding scale that makes embeddings as large as a norm's output (50 there), it goes on.
    """

    options = ()
    measures_vector = False
    shift: Param
    alpha: Param

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        super().__init__(space, name, hidden_dim, epsilon)
        self.alpha = space.declare(f"{name}.alpha", (1,), halves)
        self.scale = space.declare(f"{name}.scale", (hidden_dim,), ones)
        self.shift = space.declare(f"{name}.shift", (hidden_dim,), zeros)

    @staticmethod
    def reference(x: Array, epsilon: float = 0.0, alpha: float = 0.5) -> Array:
        """Before scale and shift."""
        return np.tanh(alpha * x)

    def squash(self, x: Array) -> Array:
        """Before scale and shift."""
        squashed = x * self.alpha.data
        return np.tanh(squashed, out=squashed)

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = self.squash(x)  # (..., C)
        y *= self.scale.data
        y += self.shift.data
        return y, x

    def backward(self, dy: Array, x: Array) -> Array:
        squashed = self.squash(x)  # (..., C), once more: to keep it would take as much memory as x itself
        self.scale.grad += sum_rows(dy * squashed)  # (C,)
        self.shift.grad += sum_rows(dy)  # (C,)
        dinner = squashed * squashed  # (..., C), the gradient of alpha x: tanh' = 1 - tanh^2
        np.subtract(1, dinner, out=dinner)
        dinner *= self.scale.data
        dinner *= dy
        self.alpha.grad += np.vdot(dinner, x)
        dinner *= self.alpha.data
        return dinner

    def factor(self, cache: Array) -> Array:
        x = as_rows(cache)
        near_zero = np.full(x.shape, self.alpha.data, x.dtype)
        return np.divide(self.squash(x), x, out=near_zero, where=x != 0)  # (N, C)


@NORMS.add("none", label="no norm", formula="x", source="the control of every experiment")
class NoNorm(Norm):
    """Leaves each vector as it is.

    Notice: now nothing holds the size of what a sublayer reads. Small or shallow models train all the same; deep ones
    start with large, uneven gradients.
    """

    options = ()
    has_parameters = False
    is_identity = True
    measures_vector = False

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        return x

    def forward(self, x: Array) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, cache: None) -> Array:
        return dy

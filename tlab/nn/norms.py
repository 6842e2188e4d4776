"""Normalization: bring each token's vector to a standard size, whatever the blocks before have added to it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.nn.linear import as_rows, sum_rows
from tlab.nn.params import Param, ParamSpace, ones, zeros
from tlab.registry import Registry
from tlab.types import Array

NORMS: Registry[type[Norm]] = Registry("norm")


class Norm:
    """The contract: (..., C) in, (..., C) out, each token's C numbers by themselves.

    `reference(x, epsilon)` is the norm before scale and shift.
    """

    has_parameters: ClassVar[bool] = True

    reference: Any
    forward: Any
    backward: Any

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        self.epsilon = epsilon

    # For writing one token at a time a norm may come in two parts: forward(x) = stretch(standardize(x)). Only the first
    # depends on the token. So where a matrix reads the norm, the second is folded into it once and for all:
    # stretch(x) W + b = x W' + b' with W', b' = fold(W, b). A norm that does not say so is all in the first part.

    def standardize(self, x: Array) -> Array:
        """The norm before scale and shift, for one row (C,) -> (C,)."""
        return self.forward(x)[0]

    def stretch(self, x: Array) -> Array:
        """Scale and shift, (..., C) -> (..., C)."""
        return x

    def fold(self, weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
        """Scale and shift together with the matrix (C, K) and the bias (K,) behind them, as a matrix and a bias."""
        return weight, bias

    def share(self, part: Array, cache: Any) -> Array:
        """What becomes of `part` (..., C), one of the addends of x, if the norm's size and scale are those of x.

        With them held fast a norm is linear: the shares of all addends and `offset` add up to y.
        """
        raise NotImplementedError

    @property
    def offset(self) -> Array | float:
        """What the norm adds whatever x is, (C,)."""
        return 0.0


class NormCache(NamedTuple):
    """What a norm keeps of a forward pass."""

    normalized: Array  # (..., C), before scale and shift
    inverse_size: Array  # (N, 1), 1 / standard deviation or 1 / RMS of each of the N tokens


def mean_over_channels(rows: Array) -> Array:
    """(N, C) -> (N, 1), as a product: NumPy's own reduction over the last axis takes twice as long."""
    return rows.dot(averaging(rows.shape[1], rows.dtype.char)[:, None])


def inverse_rms(x: Array, epsilon: float) -> float:
    """Of one row (C,): plain numbers, as a call into NumPy takes longer than the arithmetic."""
    return 1.0 / math.sqrt(float(x.dot(x)) / len(x) + epsilon)


def scaled_mean(rows: Array, scale: Param) -> Array:
    """(N, C) -> (N, 1): the mean over channels, each times its scale."""
    return rows.dot(scale.data[:, None] * (1.0 / scale.size))


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

    Notice: mean and variance are taken over one token's channels, never over tokens or the batch. So no token
    learns of another here, and one token at a time gives the same as a thousand.
    """

    scale: Param
    shift: Param

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        super().__init__(space, name, hidden_dim, epsilon)
        self.scale = space.declare(f"{name}.scale", (hidden_dim,), ones)
        self.shift = space.declare(f"{name}.shift", (hidden_dim,), zeros)

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)

    def forward(self, x: Array) -> tuple[Array, NormCache]:
        rows = as_rows(x)  # (N, C)
        normalized = rows - mean_over_channels(rows)
        inverse_size = mean_over_channels(normalized * normalized)  # (N, 1)
        inverse_size += self.epsilon
        np.sqrt(inverse_size, out=inverse_size)
        np.reciprocal(inverse_size, out=inverse_size)
        normalized *= inverse_size
        return self.stretch(normalized).reshape(x.shape), NormCache(normalized.reshape(x.shape), inverse_size)

    def backward(self, dy: Array, cache: NormCache) -> Array:
        dy_rows, normalized = as_rows(dy), as_rows(cache.normalized)
        dscale = dy_rows * normalized  # of each token, (N, C)
        self.shift.grad += sum_rows(dy_rows)
        self.scale.grad += sum_rows(dscale)
        dx = dy_rows * self.scale.data
        # A change of x that only shifts or only stretches the token changes nothing behind the norm: the gradient
        # loses its part along (1, 1, ..., 1) and its part along the normalized vector.
        dx -= mean_over_channels(dx)
        dx -= normalized * scaled_mean(dscale, self.scale)
        dx *= cache.inverse_size
        return dx.reshape(dy.shape)

    def standardize(self, x: Array) -> Array:
        centred = x - x.dot(averaging(len(x), x.dtype.char))
        centred *= inverse_rms(centred, self.epsilon)
        return centred

    def stretch(self, x: Array) -> Array:
        y = x * self.scale.data
        y += self.shift.data
        return y

    def fold(self, weight: Array, bias: Array | None) -> tuple[Array, Array]:
        shifted = self.shift.data.dot(weight)
        return self.scale.data[:, None] * weight, shifted if bias is None else shifted + bias

    def share(self, part: Array, cache: NormCache) -> Array:
        rows = as_rows(part)
        return ((rows - mean_over_channels(rows)) * cache.inverse_size * self.scale.data).reshape(part.shape)

    @property
    def offset(self) -> Array:
        return self.shift.data


@NORMS.add(
    "rmsnorm",
    label="RMSNorm",
    formula=r"\gamma \odot \frac{x}{\sqrt{\overline{x^2} + \epsilon}}",
    source="Zhang & Sennrich 2019",
)
class RmsNorm(Norm):
    """Scales each token's vector to a root mean square of 1, then to a learned scale.

    Notice: LayerNorm without the mean and without the shift. It does as well, so the mean was not what mattered.
    """

    scale: Param

    def __init__(self, space: ParamSpace, name: str, hidden_dim: int, epsilon: float) -> None:
        super().__init__(space, name, hidden_dim, epsilon)
        self.scale = space.declare(f"{name}.scale", (hidden_dim,), ones)

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)

    def forward(self, x: Array) -> tuple[Array, NormCache]:
        rows = as_rows(x)  # (N, C)
        inverse_size = mean_over_channels(rows * rows)  # (N, 1)
        inverse_size += self.epsilon
        np.sqrt(inverse_size, out=inverse_size)
        np.reciprocal(inverse_size, out=inverse_size)
        normalized = rows * inverse_size
        return self.stretch(normalized).reshape(x.shape), NormCache(normalized.reshape(x.shape), inverse_size)

    def backward(self, dy: Array, cache: NormCache) -> Array:
        dy_rows, normalized = as_rows(dy), as_rows(cache.normalized)
        dscale = dy_rows * normalized  # of each token, (N, C)
        self.scale.grad += sum_rows(dscale)
        dx = dy_rows * self.scale.data
        dx -= normalized * scaled_mean(dscale, self.scale)
        dx *= cache.inverse_size
        return dx.reshape(dy.shape)

    def standardize(self, x: Array) -> Array:
        return x * inverse_rms(x, self.epsilon)

    def stretch(self, x: Array) -> Array:
        return x * self.scale.data

    def fold(self, weight: Array, bias: Array | None) -> tuple[Array, Array | None]:
        return self.scale.data[:, None] * weight, bias

    def share(self, part: Array, cache: NormCache) -> Array:
        return (as_rows(part) * cache.inverse_size * self.scale.data).reshape(part.shape)


@NORMS.add("none", label="no norm", formula="x", source="the control of every experiment")
class NoNorm(Norm):
    """Leaves each vector as it is.

    Notice: now nothing holds the residual stream's size. Small or shallow models train all the same; deep ones
    start with large, uneven gradients.
    """

    has_parameters = False

    @staticmethod
    def reference(x: Array, epsilon: float) -> Array:
        return x

    def forward(self, x: Array) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, cache: None) -> Array:
        return dy

    def share(self, part: Array, cache: None) -> Array:
        return part

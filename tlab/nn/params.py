"""Named weights that live in one flat vector, and their gradients in another.

One vector each makes an optimizer step a handful of whole-vector operations instead of a loop over tensors, and
a copy of the model one `memcpy`. Every `Param` holds views, so layers read and write ordinary arrays.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import numpy as np

from tlab.types import Array, Shape

Initializer = Callable[["np.random.Generator", Shape], Array]  # quoted: NumPy loads its random part when asked
"""Draws the first values of a tensor: (random generator, shape) -> array of that shape."""


ROLES = ("embedding", "matrix", "vector")
"""What a parameter is to an optimizer: a table with a row for each token or place, a linear map, or neither."""


class Param:
    """One tensor of weights: `data` and `grad` are views of the space's flat vectors, set by `ParamSpace.pack`."""

    __slots__ = ("data", "grad", "init", "name", "role", "shape")

    data: Array
    grad: Array

    def __init__(self, name: str, shape: Shape, init: Initializer, role: str) -> None:
        if role not in ROLES or (role != "vector" and len(shape) != 2):
            raise ValueError(f"parameter {name!r} of shape {shape} cannot be of the role {role!r}; roles: {ROLES}")
        self.name = name
        self.role = role
        self.shape = shape
        self.init = init

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def is_decayed(self) -> bool:
        """Whether weight decay applies: to matrices and embeddings, not to biases, scales and shifts."""
        return self.role != "vector"

    def __repr__(self) -> str:
        return f"Param({self.name!r}, {self.shape})"


class ParamSpace(Mapping[str, Param]):
    """Every `Param` of a model by name, in reading order: declared by the layers first, packed once at the end.

    `data` and `grad` are the flat vectors, both (num_parameters,). Matrices lie before vectors in them, so that
    weight decay is one operation on `data[:num_decayed]`.
    """

    data: Array
    grad: Array

    def __init__(self) -> None:
        self._params: dict[str, Param] = {}
        self.num_decayed = 0

    def declare(self, name: str, shape: Shape, init: Initializer, role: str | None = None) -> Param:
        """A new parameter; it has no values before `pack`. By default what has two axes is a matrix."""
        if name in self._params:
            raise ValueError(f"parameter {name!r} is declared twice")
        self._params[name] = Param(name, shape, init, role or ("matrix" if len(shape) == 2 else "vector"))
        return self._params[name]

    def pack(self, seed: int, dtype: np.dtype) -> None:
        """Lay all parameters out in one vector, draw their first values, and set every gradient to zero.

        A tensor's values depend on (seed, its own name) alone. So two models that differ in one part share every
        tensor that both of them have.
        """
        size = sum(param.size for param in self.values())
        self.lay_out(np.empty(size, dtype), np.zeros(size, dtype))
        for param in self.values():
            param.data[...] = param.init(np.random.default_rng([seed, zlib.crc32(param.name.encode())]), param.shape)

    def lay_out(self, data: Array, grad: Array) -> None:
        """Make every parameter a view of these flat vectors, which may be another space's."""
        self.data, self.grad = data, grad
        self.num_decayed = sum(param.size for param in self.values() if param.is_decayed)
        grads = self.split(grad)
        for name, values in self.split(data).items():
            self[name].data, self[name].grad = values, grads[name]

    def split(self, vector: Array) -> dict[str, Array]:
        """Name -> its part of a flat vector (num_parameters,), in the parameter's shape; views where that is one."""
        start, parts = 0, {}
        for param in self.in_memory():
            parts[param.name] = vector[start : start + param.size].reshape(param.shape)
            start += param.size
        return parts

    def in_memory(self) -> list[Param]:
        """Every parameter in the order in which they lie in the flat vectors: matrices first."""
        return sorted(self.values(), key=lambda param: not param.is_decayed)  # stable

    def __getitem__(self, name: str) -> Param:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __reduce__(self) -> NoReturn:
        # A copy made by pickle or deepcopy would hold plain arrays where there were views: training it would
        # change a vector that no layer reads.
        raise TypeError("a live model cannot be pickled or deep-copied; send a tlab.Checkpoint across the border")


def check_shapes(weights: Mapping[str, Array], expected: Mapping[str, Shape]) -> None:
    """Refuse weights whose names or shapes are not the expected ones; the ValueError names the first that differ."""
    given = {name: np.shape(array) for name, array in weights.items()}
    differing = sorted(set(given.items()) ^ set(expected.items()), key=lambda item: item[0])
    names = list(dict.fromkeys(name for name, _ in differing))
    if names:
        details = ", ".join(f"{n} given {given.get(n, 'not')}, needs {expected.get(n, 'none')}" for n in names[:4])
        raise ValueError(f"these weights are not this model's ({len(names)} differ): {details}")


def all_finite(array: Array) -> bool:
    """Whether no number is NaN or infinite: then the least and the largest are not. No array of answers is made."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


class GradientRecord:
    """Receives every gradient as soon as there is one, and looks at none of them: what training uses.

    A subclass may keep some, and has to copy what it keeps: backward goes on working in the same memory.
    """

    def __call__(self, **gradients: Array) -> None:
        """Gradients of the mean loss, by the names of the arrays that they are gradients of."""

    def within(self, part: str) -> GradientRecord:
        """The record for a part of the model: its names come after the part's, as in "blocks.0.mlp.up"."""
        return self


NO_RECORD = GradientRecord()


def zeros(_: np.random.Generator, shape: Shape) -> Array:
    """Initial values of every bias and shift."""
    return np.zeros(shape)


def ones(_: np.random.Generator, shape: Shape) -> Array:
    """Initial values of every scale."""
    return np.ones(shape)


def halves(_: np.random.Generator, shape: Shape) -> Array:
    """Initial values of what starts half way."""
    return np.full(shape, 0.5)

"""What two models hold of one tensor: its names on both sides, and how it is laid out in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tlab.nn.config import ModelConfig
from tlab.nn.positions import rotated_width
from tlab.types import Array, Shape


class Form:
    """How a tensor of the lab is laid out in theirs, which may have it in several parts. As it is, if no more is said.

    No direction computes: values are moved, and in `Shifted` moved by 1.
    """

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        """Theirs -> ours."""
        return parts[0]

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        """Ours -> theirs."""
        return [ours]


class Transposed(Form):
    """(out, in) in theirs, (in, out) in ours; a bias is the same in both."""

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return parts[0].T

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        return [ours.T]


class QueriesKeysValues(Form):
    """Three linear layers of theirs, which ours has as one: their outputs side by side."""

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return np.concatenate([part.T for part in parts], axis=-1)

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        ends = np.cumsum([config.num_heads, config.kv_heads]) * config.head_dim
        return [part.T for part in np.split(ours, ends, axis=-1)]


def halves_of_neighbours(rows: Array, head_dim: int, width: int, back: bool = False) -> Array:
    """Queries or keys (H D, ...) whose RoPE turns channels 2i and 2i + 1 of each head -> i and i + width/2, or back."""
    order = [*range(0, width, 2), *range(1, width, 2), *range(width, head_dim)]
    heads = rows.reshape(-1, head_dim, *rows.shape[1:])  # (H, D, ...)
    return heads[:, np.argsort(order) if back else order].reshape(rows.shape)


class NeighboursToTurn(QueriesKeysValues):
    """Three linear layers, of which RoPE turns neighbouring channels in theirs, and in ours those of two halves."""

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return super().read(self.ordered(parts, config), config)

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        return self.ordered(super().write(ours, config), config, back=True)

    def ordered(self, parts: Sequence[Array], config: ModelConfig, back: bool = False) -> list[Array]:
        """The rows of queries and keys in the other order."""
        queries, keys, values = parts
        D, width = config.head_dim, rotated_width(config.head_dim, config.rope_fraction)
        return [*(halves_of_neighbours(part, D, width, back) for part in (queries, keys)), values]


class HeadByHead(Form):
    """One linear layer in both: query, key and value of each head together in theirs, all queries first in ours."""

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        heads = parts[0].reshape(config.num_heads, 3, config.head_dim, -1)  # (H, 3, D, C), or of a bias (H, 3, D, 1)
        return heads.swapaxes(0, 1).reshape(parts[0].shape).T

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        heads = ours.T.reshape(3, config.num_heads, config.head_dim, -1)
        return [heads.swapaxes(0, 1).reshape(ours.T.shape)]


class Shifted(Form):
    """A scale that theirs keeps as its distance from 1."""

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return parts[0] + 1

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        return [ours - 1]


class Zeros(Form):
    """A vector that theirs does not have, as if it were 0."""

    def __init__(self, width: int) -> None:
        self.width = width

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return np.zeros(self.width, np.float32)

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        return []


class Places(Form):
    """A table with a row for each place. Theirs has some unused rows before them, and may go on for longer texts."""

    def __init__(self, unused: int = 0) -> None:
        self.unused = unused

    def read(self, parts: Sequence[Array], config: ModelConfig) -> Array:
        return parts[0][self.unused : self.unused + config.context_length]

    def write(self, ours: Array, config: ModelConfig) -> list[Array]:
        return [np.concatenate([np.zeros((self.unused, ours.shape[1]), ours.dtype), ours])]


class Tensor(NamedTuple):
    """A tensor of the lab and those of theirs that it is: none, or one that another tensor of the lab is, too."""

    theirs: tuple[str, ...]
    ours: str
    form: Form = Form()

    def their_shapes(self, ours: Shape, config: ModelConfig) -> dict[str, Shape]:
        """The shapes of theirs by name, for the shape of ours."""
        blank = np.broadcast_to(np.float32(0), ours)
        return {name: part.shape for name, part in zip(self.theirs, self.form.write(blank, config), strict=True)}


def linear(theirs: str | Sequence[str], ours: str, bias: bool, form: Form = Transposed()) -> Iterator[Tensor]:  # noqa: B008
    """A linear layer: weight, and bias where it has one."""
    names = [theirs] if isinstance(theirs, str) else theirs
    for kind in ("weight", "bias") if bias else ("weight",):
        yield Tensor(tuple(f"{name}.{kind}" for name in names), f"{ours}.{kind}", form)


def no_bias(ours: str, width: int) -> Iterator[Tensor]:
    """A bias that a linear layer of theirs does not have, though others of its model have one."""
    yield Tensor((), f"{ours}.bias", Zeros(width))


def layer_norm(theirs: str, ours: str) -> Iterator[Tensor]:
    """Scale and shift of a LayerNorm."""
    yield Tensor((f"{theirs}.weight",), f"{ours}.scale")
    yield Tensor((f"{theirs}.bias",), f"{ours}.shift")


def rms_norm(theirs: str, ours: str, form: Form = Form()) -> Iterator[Tensor]:  # noqa: B008
    """The scale of an RMSNorm."""
    yield Tensor((f"{theirs}.weight",), f"{ours}.scale", form)


def head(theirs: str, config: ModelConfig) -> Iterator[Tensor]:
    """The head, where it has weights of its own."""
    if not config.tied:
        yield Tensor((theirs,), "head.weight", Transposed())

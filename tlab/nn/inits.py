"""Where training starts: how the first weights are drawn."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tlab.registry import Registry
from tlab.types import Array, Shape

INITS: Registry[type[Init]] = Registry("init")


class Init:
    """A scheme: an initializer for each kind of matrix. Biases and shifts start at 0, scales at 1, in every scheme.

    `embedding` draws the token and learned position embeddings, `matrix` the linear layers, and `residual` the
    two linear layers of a block that write into the residual stream (attention.out and mlp.down).
    """

    options: ClassVar[tuple[str, ...]] = ("scale_residual",)
    """The fields of the model config that it goes by, besides its shape."""
    starts_near_uniform: ClassVar[bool] = False
    """Whether the first logits are so small that the first loss is about log V."""

    def __init__(self, num_layers: int, scale_residual: bool) -> None:
        self.num_layers = num_layers
        self.scale_residual = scale_residual

    def __init_subclass__(cls) -> None:
        if not vars(cls).keys().isdisjoint({"__init__", "embedding", "matrix", "residual"}):  # another scheme
            cls.options = vars(cls).get("options", Init.options)

    @property
    def depth_scale(self) -> float:
        """1 / sqrt(2 L): 2 L independent contributions, each scaled so, add up to the variance of one."""
        return 1.0 / math.sqrt(2 * self.num_layers)

    def embedding(self, rng: np.random.Generator, shape: Shape) -> Array:
        raise NotImplementedError

    def matrix(self, rng: np.random.Generator, shape: Shape) -> Array:
        raise NotImplementedError

    def residual(self, rng: np.random.Generator, shape: Shape) -> Array:
        raise NotImplementedError


@INITS.add(
    "gpt2",
    label="GPT-2",
    formula=r"W \sim \mathcal{N}(0,\ 0.02^2),\quad W_\mathrm{residual} \sim \mathcal{N}(0,\ 0.02^2 / 2L)",
    source="Radford et al. 2019",
)
class Gpt2Init(Init):
    """Starts every matrix small, and those that write into the residual stream smaller the deeper the model.

    Notice: 0.02 was chosen for widths of 768 and more; at width 64 Glorot's rule would give 0.125, so a small
    model starts with nearly silent blocks.
    """

    options = ()
    starts_near_uniform = True

    def embedding(self, rng: np.random.Generator, shape: Shape) -> Array:
        return rng.normal(0.0, 0.02, shape)

    def matrix(self, rng: np.random.Generator, shape: Shape) -> Array:
        return rng.normal(0.0, 0.02, shape)

    def residual(self, rng: np.random.Generator, shape: Shape) -> Array:
        return self.matrix(rng, shape) * self.depth_scale


@INITS.add(
    "xavier",
    label="Xavier (Glorot)",
    formula=r"W \sim \mathcal{U}(-a, a),\quad a = \sqrt{6 / (d_\mathrm{in} + d_\mathrm{out})}",
    source="Glorot & Bengio 2010; embeddings as in Vaswani et al. 2017",
)
class XavierInit(Init):
    """Chooses each matrix's spread so that signals neither grow nor shrink on the way through it.

    Notice: it looks at one matrix at a time. A residual stream adds up 2 L of them, which is why it may want
    `scale_residual`. Embeddings are N(0, 1/C): with an embedding scale of sqrt(C) each entry has variance one.
    """

    def embedding(self, rng: np.random.Generator, shape: Shape) -> Array:
        return rng.normal(0.0, 1.0 / math.sqrt(shape[1]), shape)

    def matrix(self, rng: np.random.Generator, shape: Shape) -> Array:
        limit = math.sqrt(6.0 / sum(shape))
        return rng.uniform(-limit, limit, shape)

    def residual(self, rng: np.random.Generator, shape: Shape) -> Array:
        return self.matrix(rng, shape) * (self.depth_scale if self.scale_residual else 1.0)

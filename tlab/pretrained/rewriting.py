"""The same function as a model of another config: what some architectures have only so.

Each class states where it is possible, and what config and weights become. A model that needs none is written as it is.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.nn.norms import NORMS
from tlab.nn.positions import Sinusoidal
from tlab.nn.residuals import RESIDUALS
from tlab.types import Array

Weights = Mapping[str, Array]


class Rewriting:
    """The contract."""

    words: ClassVar[str]
    """What is told of it."""

    def applies(self, config: ModelConfig) -> bool:
        """Whether there is something to rewrite."""
        raise NotImplementedError

    def config(self, config: ModelConfig) -> ModelConfig:
        """That of the rewritten model."""
        raise NotImplementedError

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        """Those of the rewritten model, from the weights and the config of this one."""
        raise NotImplementedError


class OwnHead(Rewriting):
    """A head that is the embedding as one with weights of its own, which are the same."""

    words = "the head has weights of its own, which are the embedding's"

    def applies(self, config: ModelConfig) -> bool:
        return config.tied

    def config(self, config: ModelConfig) -> ModelConfig:
        return dataclasses.replace(config, tied=False)

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        return {**weights, "head.weight": weights["embedding.weight"].T}


class ScaleIntoEmbedding(Rewriting):
    """Embeddings that are stored as large as they are read; a tied head then has to be written apart from them."""

    words = "the embedding's scale is a part of its weights, and the head has its own"

    def applies(self, config: ModelConfig) -> bool:
        return config.embedding_scale != 1

    def config(self, config: ModelConfig) -> ModelConfig:
        return dataclasses.replace(config, embedding_scale=1.0, tied=False)

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        embedding = weights["embedding.weight"]
        head = embedding.T if config.tied else weights["head.weight"]
        return {**weights, "embedding.weight": embedding * config.embedding_scale, "head.weight": head}


class WavesAsTable(Rewriting):
    """Sinusoidal positions as a table of learned ones, which ends with the context."""

    words = "the waves of its positions are a table, which ends with the context"

    def applies(self, config: ModelConfig) -> bool:
        return config.position == "sinusoidal"

    def config(self, config: ModelConfig) -> ModelConfig:
        return dataclasses.replace(config, position="learned")

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        table = Sinusoidal.reference(config.context_length, config.hidden_dim)
        return {**weights, "position.weight": table.astype(weights["embedding.weight"].dtype)}


class ZeroBiases(Rewriting):
    """Biases of 0 where there are none. A gated MLP has another width with them, and is left alone."""

    words = "its linear layers have biases of 0"

    def applies(self, config: ModelConfig) -> bool:
        return not config.bias and not ACTIVATIONS[config.activation].gated

    def config(self, config: ModelConfig) -> ModelConfig:
        return dataclasses.replace(config, bias=True)

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        shapes = Transformer.parameter_shapes(self.config(config))
        dtype = weights["embedding.weight"].dtype
        return {**{name: np.zeros(shape, dtype) for name, shape in shapes.items() if name not in weights}, **weights}


class NormOfNoEffect(Rewriting):
    """No norm as an RMSNorm that divides by the root of an enormous epsilon, and multiplies by the same number."""

    words = "no norm is an RMSNorm with an epsilon of 2^80, for use in float32 alone"
    ROOT: ClassVar[float] = 2.0**40

    def applies(self, config: ModelConfig) -> bool:
        no_norms = NORMS[config.norm].is_identity and NORMS[config.qk_norm].is_identity
        return no_norms and RESIDUALS[config.residual].only_norms_differ

    def config(self, config: ModelConfig) -> ModelConfig:
        return dataclasses.replace(config, norm="rmsnorm", residual="pre", norm_epsilon=self.ROOT * self.ROOT)

    def weights(self, weights: Weights, config: ModelConfig) -> dict[str, Array]:
        shapes = Transformer.parameter_shapes(self.config(config))
        dtype = weights["embedding.weight"].dtype
        scales = {n: np.full(shape, self.ROOT, dtype) for n, shape in shapes.items() if n not in weights}
        return {**weights, **scales}


REWRITINGS = (ScaleIntoEmbedding(), WavesAsTable(), ZeroBiases(), NormOfNoEffect())
"""Those that stock classes need, in the order in which they are made."""


def ways_to_write(config: ModelConfig, rewritings: Sequence[Rewriting] = REWRITINGS) -> Iterator[Sequence[Rewriting]]:
    """Every choice of rewritings that apply, the fewest first: none."""
    possible = [rewriting for rewriting in rewritings if rewriting.applies(config)]
    for count in range(len(possible) + 1):
        yield from itertools.combinations(possible, count)


def rewritten_config(config: ModelConfig, way: Sequence[Rewriting]) -> ModelConfig:
    """The config after all of these."""
    for rewriting in way:
        config = rewriting.config(config)
    return config


def rewritten(weights: Weights, config: ModelConfig, way: Sequence[Rewriting]) -> dict[str, Array]:
    """The weights after all of these, from the weights and the config before them."""
    for rewriting in way:
        weights, config = rewriting.weights(weights, config), rewriting.config(config)
    return dict(weights)

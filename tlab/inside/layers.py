"""What one training step did in each layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tlab.inside.attention import row_entropies
from tlab.nn.model import Trace, Transformer
from tlab.types import Array


class LayerInsight(NamedTuple):
    """Why one layer learns, or does not: what one training step did in it."""

    gradient_norm: float  # of all parameters of the block together, before clipping
    stream_rms: float  # of the residual stream after the block, over batch, tokens and channels
    update_ratio: float  # |change of its matrices| / |its matrices|: the share of themselves that they moved
    dead_share: float  # of the MLP's hidden units, those with almost no output on any token of the batch
    entropy: float  # nats; of the attention weights, mean over heads and queries


DEAD_BELOW = 0.01  # of the layer's root mean square: nothing after it could distinguish such an output from zero
ENTROPY_SEQUENCES = 4  # of a batch: an entropy is a mean over thousands of rows already, and its logarithms are slow


def layer_insights(
    model: Transformer, trace: Trace, gradient: Array, before: Array, *, clipped_by: float = 1.0
) -> list[LayerInsight]:
    """What a training step did, layer by layer, after its update.

    Args:
        model: with the weights after the update.
        trace: of the step's forward pass.
        gradient: (num_parameters,), of the step, in the layout of `model.parameters`.
        before: (num_parameters,), the weights before the update.
        clipped_by: what the gradient was divided by to clip it; the norms are given as they were before.

    The ratio of update to weight counts the matrices only, as scales and shifts start at 1 and 0. About 1e-3 is a
    common rule of thumb (Karpathy, "makemore" part 3, 2022). A unit is dead when its output stays within 0.01 of the
    layer's root mean square for every token: for ReLU that is exactly a unit without gradient, and the definition
    holds for smooth and gated activations as well.
    """
    gradients, olds = model.parameters.split(gradient), model.parameters.split(before)
    rows = []
    for layer, block in enumerate(trace.blocks):
        names = [name for name in model.parameters if name.startswith(f"blocks.{layer}.")]
        matrices = [name for name in names if model.parameters[name].role == "matrix"]
        moved = norm_of(model.parameters[name].data - olds[name] for name in matrices)
        size = norm_of(olds[name] for name in matrices)
        rows.append(
            LayerInsight(
                gradient_norm=clipped_by * norm_of(gradients[name] for name in names),
                stream_rms=root_mean_square(block.y),
                update_ratio=moved / size if size else 0.0,
                dead_share=dead_share(block.mlp.hidden),
                entropy=float(row_entropies(block.attention.weights[:ENTROPY_SEQUENCES]).mean()),
            )
        )
    return rows


def are_finite(layers: Iterable[LayerInsight]) -> bool:
    """Whether all that was seen is finite: of a step that overflows it may not be."""
    return all(map(math.isfinite, itertools.chain(*layers)))


def norm_of(arrays: Iterable[Array]) -> float:
    """Euclidean norm of all the arrays together."""
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))


def root_mean_square(array: Array) -> float:
    """Over all entries."""
    return math.sqrt(float(np.vdot(array, array)) / array.size)


def dead_share(hidden: Array) -> float:
    """Share of the units of hidden (B, T, F) whose output never exceeds DEAD_BELOW of the root mean square."""
    largest = np.maximum(hidden.max((0, 1)), -hidden.min((0, 1)))  # (F,)
    return float((largest <= DEAD_BELOW * root_mean_square(hidden)).mean())

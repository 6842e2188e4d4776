"""Look inside: pure functions from a trace or a model to small tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tlab.nn.model import Trace, Transformer
from tlab.types import Array, Ids

SETTLED_ROWS = 4  # the first tokens have hardly a choice whom to look at: habits are told by the others


def named_arrays(trace: Trace) -> Iterator[tuple[str, Array]]:
    """Every array of a trace with its name, in the order of computation: ("blocks.0.attention.weights", ...)."""
    yield "embedded", trace.embedded
    for i, block in enumerate(trace.blocks):
        for part, layout in (("attention", block.first), ("mlp", block.second)):
            yield from walk(layout.sublayer, f"blocks.{i}.{part}")
            yield f"blocks.{i}.{part}.added", layout.added
            yield f"blocks.{i}.{part}.stream", layout.y
    yield "output", trace.output
    yield "logits", trace.logits


def walk(node: Any, name: str) -> Iterator[tuple[str, Array]]:
    """The arrays inside nested tuples; fields of a NamedTuple go by name, others by number."""
    if isinstance(node, np.ndarray):
        yield name, node
    elif isinstance(node, tuple):
        fields = getattr(node, "_fields", range(len(node)))
        for field, value in zip(fields, node, strict=True):
            yield from walk(value, f"{name}.{field}")


def first_nonfinite(trace: Trace) -> str | None:
    """Name of the first array of a forward pass that holds NaN or infinity, or None."""
    return next((name for name, array in named_arrays(trace) if not np.isfinite(array).all()), None)


class HeadStatistics(NamedTuple):
    """What one attention head looks at, on average over the tokens of a text."""

    layer: int
    head: int
    entropy: float  # nats; 0 for a head that looks at one token only
    distance: float  # tokens back


def attention_statistics(trace: Trace) -> list[HeadStatistics]:
    """Entropy and mean distance of every head.

    The entropy of a row of weights w is -sum w log w; the distance is sum w (t - s). Both are averaged over the
    batch and all queries.
    """
    rows = []
    for layer, block in enumerate(trace.blocks):
        weights = block.attention.weights  # (B, H, T, S)
        T, S = weights.shape[2:]
        distance = np.arange(S - T, S)[:, None] - np.arange(S)[None, :]  # (T, S)
        entropies = row_entropies(weights).mean((0, 2))  # (H,)
        distances = (weights * distance).sum(-1).mean((0, 2))  # (H,)
        rows += [HeadStatistics(layer, h, float(entropies[h]), float(distances[h])) for h in range(len(entropies))]
    return rows


def row_entropies(weights: Array) -> Array:
    """(..., S) -> (...), in nats: -sum w log w of each row of attention weights."""
    return -(weights * np.log(np.where(weights > 0, weights, 1))).sum(-1)


def attention_targets(weights: Array, ids: Ids) -> dict[str, float]:
    """How much of one head's weight goes where, as shares of 1; the places overlap.

    Args:
        weights: (T, T), of one head over one text. The first `SETTLED_ROWS` are left out
            where there are more.
        ids: (T,), the text.

    Returns:
        "previous" (the token before), "itself", "first" (of the text), "same" (earlier copies of the token),
        "induction" (what followed an earlier copy; Olsson et al. 2022), "near" (three to eight tokens before).
    """
    rows = slice(min(SETTLED_ROWS, len(ids) - 1), None)
    return {name: float((weights * mask)[rows].sum(-1).mean()) for name, mask in target_masks(ids).items()}


def target_masks(ids: Ids) -> dict[str, npt.NDArray[np.bool_]]:
    """The places of `attention_targets` as masks (T, T), query by key, for a text of ids (T,)."""
    T = len(ids)
    earlier = np.tri(T, k=-1, dtype=bool)
    same = (ids[:, None] == ids[None, :]) & earlier
    behind_same = np.zeros((T, T), bool)
    behind_same[:, 1:] = same[:, :-1]
    return {
        "previous": np.eye(T, k=-1, dtype=bool),
        "itself": np.eye(T, dtype=bool),
        "first": np.arange(T)[None, :] == np.zeros((T, 1)),
        "same": same,
        "induction": behind_same,
        "near": np.tri(T, k=-3, dtype=bool) & ~np.tri(T, k=-9, dtype=bool),
    }


class LayerStatistics(NamedTuple):
    """How loud the residual stream is behind one block, and how much of its gradient arrives there."""

    layer: int
    stream_rms: float  # root mean square over batch, tokens and channels
    gradient_norm: float  # of all parameters of the block together


def layer_statistics(model: Transformer, trace: Trace) -> list[LayerStatistics]:
    """The residual stream's size and the gradient's by depth, after a forward and a backward pass."""
    rows = []
    for layer, block in enumerate(trace.blocks):
        stream = block.second.y
        grads = [p.grad.ravel() for name, p in model.parameters.items() if name.startswith(f"blocks.{layer}.")]
        norm = np.sqrt(sum(float(grad @ grad) for grad in grads))
        rows.append(LayerStatistics(layer, float(np.sqrt(np.mean(stream * stream))), float(norm)))
    return rows


class LayerInsight(NamedTuple):
    """Why one layer learns, or does not: what one training step did in it."""

    gradient_norm: float  # of all parameters of the block together, before clipping
    stream_rms: float  # of the residual stream behind the block, over batch, tokens and channels
    update_ratio: float  # |change of its matrices| / |its matrices|: the share of themselves that they moved
    dead_share: float  # of the MLP's hidden units, those that said nothing on any token of the batch
    entropy: float  # nats; of the attention weights, mean over heads and queries


DEAD_BELOW = 0.01  # of the layer's root mean square: nothing behind it could tell such an output from zero
ENTROPY_SEQUENCES = 4  # of a batch: an entropy is a mean over thousands of rows already, and its logarithms are slow


def layer_insights(
    model: Transformer, trace: Trace, gradient: Array, before: Array, *, clipped_by: float = 1.0
) -> list[LayerInsight]:
    """What a training step did, layer by layer, after its update.

    Args:
        model: with the weights behind the update.
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
        matrices = [name for name in names if model.parameters[name].is_matrix]
        moved = norm_of(model.parameters[name].data - olds[name] for name in matrices)
        size = norm_of(olds[name] for name in matrices)
        rows.append(
            LayerInsight(
                gradient_norm=clipped_by * norm_of(gradients[name] for name in names),
                stream_rms=root_mean_square(block.second.y),
                update_ratio=moved / size if size else 0.0,
                dead_share=dead_share(block.mlp.hidden),
                entropy=float(row_entropies(block.attention.weights[:ENTROPY_SEQUENCES]).mean()),
            )
        )
    return rows


def norm_of(arrays: Iterable[Array]) -> float:
    """Euclidean norm of all the arrays together."""
    return math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))


def root_mean_square(array: Array) -> float:
    """Over all entries."""
    return math.sqrt(float(np.vdot(array, array)) / array.size)


def dead_share(hidden: Array) -> float:
    """Share of the units of hidden (B, T, F) that are never louder than DEAD_BELOW of the root mean square."""
    loudest = np.maximum(hidden.max((0, 1)), -hidden.min((0, 1)))  # (F,)
    return float((loudest <= DEAD_BELOW * root_mean_square(hidden)).mean())

"""Look inside: pure functions from a trace or a model to small tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tlab.nn.model import Trace, Transformer
from tlab.types import Array, Ids


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
        weights: (T, T), of one head over one text. The first four rows, which have hardly a choice, are left out
            where there are more.
        ids: (T,), the text.

    Returns:
        "previous" (the token before), "itself", "first" (of the text), "same" (earlier copies of the token),
        "induction" (what followed an earlier copy; Olsson et al. 2022), "near" (three to eight tokens before).
    """
    rows = slice(min(4, len(ids) - 1), None)
    return {name: float((weights * mask)[rows].sum(-1).mean()) for name, mask in target_masks(ids).items()}


def target_masks(ids: Ids) -> dict[str, Array]:
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

"""The arrays of a forward pass by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tlab.nn.model import Trace
from tlab.types import Array


def named_arrays(trace: Trace) -> Iterator[tuple[str, Array]]:
    """Every array of a trace with its name, in the order of computation: ("blocks.0.attention.weights", ...)."""
    yield "embedded", trace.embedded
    for i, block in enumerate(trace.blocks):
        for part, residual in (("attention", block.attention_residual), ("mlp", block.mlp_residual)):
            yield from walk(residual.branch.sublayer, f"blocks.{i}.{part}")
            yield f"blocks.{i}.{part}.added", residual.branch.added
            yield f"blocks.{i}.{part}.stream", residual.y
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

"""Names for the types that the whole core passes around."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
"""Weights, activations, gradients: float32 in use, float64 in gradient checks."""

Ids: TypeAlias = npt.NDArray[np.integer[Any]]  # token ids

Shape: TypeAlias = tuple[int, ...]

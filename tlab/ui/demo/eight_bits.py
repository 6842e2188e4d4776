"""Arrays of weights in a quarter of their bytes, for models that are shipped to be looked at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tlab.types import Array

LARGEST = 127
SCALE = "/scale"  # after a matrix's name: what its rows are multiplied by


def to_eight_bits(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Matrices as whole numbers from -127 to 127, with a scale for each row; vectors as they are."""
    packed = {}
    for name, array in weights.items():
        if array.ndim < 2:
            packed[name] = array
            continue
        scale = np.abs(array).max(-1, keepdims=True) / LARGEST
        packed[name] = np.rint(array / np.where(scale, scale, 1)).astype(np.int8)
        packed[name + SCALE] = scale
    return packed


def from_eight_bits(packed: Mapping[str, Array]) -> dict[str, Array]:
    """The weights again; each is off by at most half of its row's scale."""
    return {
        name: packed[name + SCALE] * array if name + SCALE in packed else array
        for name, array in packed.items()
        if not name.endswith(SCALE)
    }

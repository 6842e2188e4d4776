"""Arrays on their way to a script: as few bytes as a picture needs."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from tlab.types import Array


def encode_unit(array: Array) -> str:
    """Numbers from 0 to 1 as base64 of sixteen bits each: 4,096 of them are 11 kB."""
    return base64.b64encode(np.rint(np.clip(array, 0, 1) * 65535).astype("<u2").tobytes()).decode()


def encode_signed(array: Array) -> dict[str, Any]:
    """Any numbers as base64 of sixteen bits each, in parts of the largest."""
    largest = float(np.abs(array).max(initial=0)) or 1.0
    parts = np.rint(array / largest * 32767).astype("<i2")
    return {"largest": largest, "parts": base64.b64encode(parts.tobytes()).decode()}


def rounded(array: Array, digits: int = 4) -> list[Any]:
    """As nested lists, None where a number is not finite."""
    return [
        rounded(row, digits)
        if isinstance(row, np.ndarray)
        else round(float(row), digits)
        if math.isfinite(row)
        else None
        for row in array
    ]

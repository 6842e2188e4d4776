"""Figures as people read them."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """With a unit that keeps it between 1 and 1000."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def ratio(value: float) -> str:
    """Two digits after the point, or, where these say little, two that count."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def verdict(value: float, *, least: float = -math.inf, most: float = math.inf) -> str:
    """Whether a figure is where it has to be."""
    return "reached" if least <= value <= most else "MISSED"

"""Numbers as people say them."""

from __future__ import annotations


def several(count: int, noun: str) -> str:
    """1 cell, 2 cells, 1,200 cells."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 20 ms, 3.2 s, 14 s, 2.5 min, 13 min, 3.0 h."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.1f} h"

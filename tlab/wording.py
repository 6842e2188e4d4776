"""Numbers in plain words, and suggestions for mistyped names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def several(count: int, noun: str) -> str:
    """1 cell, 2 cells, 1,200 cells."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """4294967295 and 1e-05, neither 4.3e+09 nor 1.0."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:g}"


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c; nothing for nothing."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 20 ms, 3.2 s, 14 s, 2.5 min, 13 min, 3.0 h."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.1f} h"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question to append to a message: Did you mean 'rmsnorm'? Empty where no known name is similar."""
    import difflib  # needed only after a typing mistake

    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""

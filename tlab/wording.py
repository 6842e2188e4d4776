"""Numbers and parts of a model in plain words, and suggestions for mistyped names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence


def several(count: int, noun: str) -> str:
    """1 cell, 2 cells, 1,200 cells."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """4294967295 and 1e-05, neither 4.3e+09 nor 1.0."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:g}"


def short_number(value: float, digits: int = 3) -> str:
    """A measured number with so many digits that mean something, as `shortNumber` in common.js writes it on the page.

    >>> [short_number(value) for value in (0.0555, 0.000119, 2.4479, 54321, 1.0, -1e6)]
    ['0.0555', '1.19e-4', '2.45', '54300', '1', '−1e+6']
    """
    size = float(f"{abs(value):.{digits}g}")
    text = f"{size:.15g}"
    if math.isfinite(size) and size and not 1e-3 <= size < 1e5:
        mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent):+d}"
    return f"−{text}" if value < 0 else text


def written(value: float, specification: str) -> str:
    """A number as `format` writes it, but with a true minus, as a hyphen is narrower than a plus; zero has no sign.

    >>> [written(value, "+.2f") for value in (0.5, -0.5, -0.001)]
    ['+0.50', '−0.50', '0.00']
    """
    text = format(value, specification)
    if text[:1] in ("+", "-") and not any(digit in text for digit in "123456789infa"):
        return text[1:]
    return f"−{text[1:]}" if text.startswith("-") else text


def percent(probability: float) -> str:
    """A probability with one digit after the point, as `percentText` in common.js writes it: none is 0 that is not.

    >>> [percent(value) for value in (0.0, 0.0004, 0.0005, 0.5)]
    ['0.0%', '< 0.1%', '0.1%', '50.0%']
    """
    return "< 0.1%" if 0 < probability < 0.0005 else f"{probability:.1%}"


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


# --- parts of a model: keys count from 0, as the code does; words and pictures from 1, as people do ---

LAYER_KEY = re.compile(r"blocks\.(\d+)(?:\.(.+))?")
PART_KEY = re.compile(r"(attention|mlp)\.(\d+)(?:\.(head|neuron)\.(\d+))?")
HEAD_KEY = re.compile(r"(\d+)\.(\d+)")


def layer_name(layer: int) -> str:
    """What people call the layer of this index."""
    return f"layer {layer + 1}"


def head_name(layer: int, head: int) -> str:
    """What people call the head of these indices."""
    return f"head {head + 1} of {layer_name(layer)}"


def short_head_name(layer: int, head: int) -> str:
    """The same where there is no room; not "2.3", which would be a key."""
    return f"L{layer + 1} H{head + 1}"


def head_of(key: str) -> tuple[int, int] | None:
    """Layer and head, from 0, of the key of a head, in either of its forms; None of another key."""
    part, head = PART_KEY.fullmatch(key), HEAD_KEY.fullmatch(key)
    if part and part[3] == "head":
        return int(part[2]), int(part[4])
    return (int(head[1]), int(head[2])) if head else None


def part_name(key: str) -> str:
    """What people call the part of this key; a key of nothing that has layers is its own name.

    >>> [part_name(key) for key in ("attention.1.head.0", "mlp.0", "blocks.3.mlp.up.weight", "1.0", "embedding")]
    ['head 1 of layer 2', 'MLP of layer 1', 'MLP up weight of layer 4', 'head 1 of layer 2', 'embedding']
    """
    if found := PART_KEY.fullmatch(key):
        kind, layer, unit_kind, unit = found.groups()
        name = sublayer_name(kind) if unit is None else f"{unit_kind} {int(unit) + 1}"
    elif found := HEAD_KEY.fullmatch(key):
        return head_name(*map(int, found.groups()))
    elif found := LAYER_KEY.fullmatch(key):
        layer, rest = found.groups()
        name = sublayer_name(rest) if rest else ""
    else:
        return key
    return f"{name} of {layer_name(int(layer))}" if name else layer_name(int(layer))


def sublayer_name(key: str) -> str:
    """What of a layer it is: "MLP up weight" for "mlp.up.weight"."""
    return re.sub(r"^mlp\b", "MLP", key).replace(".", " ").replace("_", " ")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A question to append to a message: Did you mean 'rmsnorm'? Empty where no known name is similar."""
    import difflib  # needed only after a typing mistake

    by_small_letters = {one.lower(): one for one in known}
    close = difflib.get_close_matches(str(name).lower(), list(by_small_letters), n=1)
    return f" Did you mean {by_small_letters[close[0]]!r}?" if close else ""


# --- equations ---

PLAIN = [
    (r"\\(?:text|mathrm|mathcal|operatorname)\{([^{}]*)\}", r"\1"), (r"\\partial", "∂"), (r"\\top", "ᵀ"),
    (r"\\sqrt\{?([A-Z])\}?", r"√\1"), (r"\\phi", "φ"), (r"\\sigma", "σ"), (r"\\lambda", "λ"), (r"\\odot", "⊙"),
    (r"\\(?:,|;|quad|!| )", " "), (r"[{}]", ""), (r"\\(?!x[0-9a-f]{2})[a-z]+", ""), (r"\^ᵀ", "ᵀ"), (r"\s+", " "),
]  # fmt: skip


def sentence(words: str) -> str:
    """An error's words as others can follow.

    >>> sentence("steps = 0: must be 1 or more"), sentence("the text is empty; type one.")
    ('steps = 0: must be 1 or more.', 'The text is empty; type one.')
    """
    begin = words[:1] if words.split(" ", 2)[1:2] == ["="] else words[:1].upper()  # the name of a setting stays
    return f"{begin}{words[1:]}" + "." * (words[-1:] not in (".", "!", "?", "…", ""))


def without_latex(text: str) -> str:
    """LaTeX as people would type it; any other text as it is, and so are bytes by their numbers.

    A table of hundreds of set formulas would be slow, and hard to read aloud; a terminal has none.
    """
    if "\\" not in text:
        return text
    for pattern, instead in PLAIN:
        text = re.sub(pattern, instead, text)
    return text.strip()

"""What each picture of the Attention tab is sent."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tlab.inside.attention import (
    AttentionData,
    HeadPortrait,
    Likely,
    Pair,
    ScoreStatistics,
    by_distance,
    pair,
    scores,
    thumbnail,
)
from tlab.inside.positions import Portrait
from tlab.types import Array
from tlab.ui.widgets.markup import macros
from tlab.wording import head_name, short_head_name, written

markup = macros("tabs/attention/view.html")
MIN_FAVOURITE_SHARE = 0.3  # share of a head's weight from which on a place counts as what it looks at,
MIN_LIFT = 1.5  # if that is so many times what a head would give it that looks at all alike
MIN_SPREAD = 4.0  # tokens from which on weight is called spread
SHOWN_TAIL = 24  # characters of the text that a sample goes on from
THUMBNAIL = 40  # tiles a side: a thumbnail is not drawn larger than twice that many pixels
SHADES = 16  # of a tile, so that a byte holds two


# ------------------------------------------------------------------------------------------------ heads

ROLE_NAMES = {
    "previous": "token before",
    "itself": "itself",
    "first": "first token",
    "same": "same token",
    "induction": "induction",
    "near": "near",
}
SPREAD, ELSEWHERE = "spread", "elsewhere"
CAPTIONS = (*ROLE_NAMES.values(), ELSEWHERE, SPREAD)
ROLE_WORDS = {
    "previous": "the token before",
    "itself": "the token itself",
    "first": "the very first token",
    "same": "earlier copies of the same token",
    "induction": "what followed an earlier copy of the token, as an induction head does",
    "near": "the three to eight tokens before",
}


UNTELLING_ROLES = ("first", "itself")  # many heads look there that do no work in the text at hand


def heads_value(reading: AttentionData, layer: int, head: int, serial: int) -> dict[str, Any]:
    """Every head as a small picture, and the orders in which they can be shown."""
    small = thumbnail(reading.weights, THUMBNAIL)  # (L, H, side, side)
    shades = np.rint(np.sqrt(np.clip(small, 0, 1)) * (SHADES - 1)).astype(np.uint8)
    roles = [role_caption(of) for of in reading.heads]
    orders = {
        "layer": range(len(roles)),
        "entropy": sorted(range(len(roles)), key=lambda i: reading.heads[i].entropy),
        "distance": sorted(range(len(roles)), key=lambda i: reading.heads[i].distance),
        "role": sorted(range(len(roles)), key=lambda i: (CAPTIONS.index(roles[i]), -reading.heads[i].share)),
    }
    return {
        "layers": small.shape[0],
        "heads": small.shape[1],
        "side": small.shape[2],
        "tiles": base64.b64encode(halves_of_bytes(shades).tobytes()).decode(),
        "names": [short_head_name(of.layer, of.head) for of in reading.heads],
        "full_names": [head_name(of.layer, of.head) for of in reading.heads],
        "captions": [
            [role, f"{of.entropy:.1f} nats", f"{of.distance:.1f} back"]
            for role, of in zip(roles, reading.heads, strict=True)
        ],
        "titles": [f"{head_words(of)} Entropy {of.entropy:.2f} nats." for of in reading.heads],
        "orders": {name: [*order] for name, order in orders.items()},
        "chosen": [layer, head],
        "serial": serial,
    }


def halves_of_bytes(shades: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pictures (L, H, side, side) of shades below 16 -> (L, H, bytes): below the diagonal, row by row, two a byte.

    Above the diagonal is nothing. So a thousand heads are half a megabyte.
    """
    rows, columns = np.tril_indices(shades.shape[-1])
    parts = shades[..., rows, columns]
    parts = np.concatenate([parts, np.zeros_like(parts[..., : parts.shape[-1] % 2])], axis=-1)
    return (parts[..., 0::2] << 4 | parts[..., 1::2]).astype(np.uint8)


def role_caption(portrait: HeadPortrait) -> str:
    if has_favourite(portrait):
        return ROLE_NAMES[portrait.role]
    return SPREAD if math.exp(portrait.entropy) >= MIN_SPREAD else ELSEWHERE


def has_favourite(portrait: HeadPortrait) -> bool:
    """Whether a head looks mostly at one kind of place."""
    return portrait.share >= max(MIN_FAVOURITE_SHARE, MIN_LIFT * portrait.fair)


def opening_head(reading: AttentionData) -> tuple[HeadPortrait, str]:
    """The head that is shown before one is chosen, and why this one.

    Notice: the surest heads of large models give all their weight to the first token, whatever the text (attention
    sinks, Xiao et al. 2024), and show a newcomer nothing.
    """
    telling = [of for of in reading.heads if of.role not in UNTELLING_ROLES and has_favourite(of)]
    if telling:
        why = "of those with a favourite place other than the first token or the token itself, it favours its own most"
        return max(telling, key=lambda of: of.share - of.fair), why
    on_first = reading.weights[:, :, 1:, 0].mean(-1).ravel()
    return reading.heads[int(on_first.argmin())], "no other head gives the first token so little"


def chosen_words(reading: AttentionData, portrait: HeadPortrait) -> str:
    """What the chosen head does, and of the one that the tab opens with why it does."""
    opening, why = opening_head(reading)
    return head_words(portrait) + (f" The tab opens with it: {why}." if portrait is opening else "")


def head_words(portrait: HeadPortrait) -> str:
    name = head_name(portrait.layer, portrait.head).capitalize()
    place = ROLE_WORDS[portrait.role]
    where = f"from the token at place {portrait.settled + 1} on"  # those before have hardly a choice
    alike = f"{portrait.fair:.0%} if attention were uniform, both {where}"
    if has_favourite(portrait):
        return f"{name} looks at {place}: {portrait.share:.0%} of its weight goes there, {alike}."
    count, back = math.exp(portrait.entropy), f"on average {portrait.distance:.1f} tokens back"
    if count >= MIN_SPREAD:
        words = f"{name} spreads its weight as if over {count:.0f} tokens, {back}."
    else:
        words = f"{name} looks at few tokens at a time, about {count:.1f} of them, {back}, and at no one kind of place."
    if portrait.token_share >= MIN_FAVOURITE_SHARE:
        words += (
            f" In this text the token at place {portrait.token + 1} gets {portrait.token_share:.0%} of the weight of "
            "those after it."
        )
    if portrait.share < MIN_LIFT * portrait.fair:
        return words
    shares = f"{portrait.share:.0%} of the weight, {alike}"
    return f"{words} Of the kinds of places that have a name here, it favours {place} most: {shares}."


# ------------------------------------------------------------------------------------------------ the large map


def map_value(
    tokens: list[str], reading: AttentionData, layer: int, head: int, query: int, key: int, serial: int
) -> dict[str, Any]:
    words = f"Attention map of {head_name(layer, head)}, over {len(tokens)} tokens."
    return {
        "tokens": tokens,
        "weights": encode_unit(reading.weights[layer, head]),
        "scores": encode_signed(scores(reading, layer, head)),
        "chosen": [query, key],
        "alternative": f"{words} {head_words(reading.heads[layer * reading.weights.shape[1] + head])}",
        "serial": serial,
    }


# ------------------------------------------------------------------------------------------------ one pair


def pair_value(
    tokens: list[str], reading: AttentionData, layer: int, head: int, query: int, key: int
) -> dict[str, Any]:
    of: Pair = pair(reading, layer, head, query, key)
    return {
        "who": [f"{tokens[query]} ({query + 1})", f"{tokens[key]} ({key + 1})"],
        "query": encode_signed(of.query),
        "key": encode_signed(of.key),
        "products": encode_signed(of.products),
        "channels": len(of.query),
        "dot": of.dot,
        "score": of.score,
        "cap": reading.score_cap,
        "bias": of.bias if math.isfinite(of.bias) else None,
        "weight": of.weight,
        "allowed": len(reading.ids[: query + 1]),
    }


def statistics_html(of: ScoreStatistics, portrait: HeadPortrait, T: int) -> str:
    most = sum(math.log(t) for t in range(1, T + 1)) / T
    rows = [
        ("Entropy", f"{portrait.entropy:.2f} nats", f"of {most:.2f} if attention were uniform"),
        ("Mean distance", f"{portrait.distance:.1f} tokens", "how far back it looks"),
        ("|q|, |k|", f"{of.query_norm:.2f}, {of.key_norm:.2f}", "mean length of queries and of keys"),
        ("cos(q, k)", written(of.cosine, "+.2f"), "how far they point the same way"),
        ("Score size", f"{of.size:.2f}", f"root mean square; the largest is {of.largest:.1f}"),
        ("Spread of the scores in a row", f"{of.spread:.2f}", softmax_words(portrait.entropy)),
    ]
    return markup.statistics(head_name(portrait.layer, portrait.head), rows)


def softmax_words(entropy: float) -> str:
    """What the softmax has made of scores: weights of this entropy."""
    return f"standard deviation; the softmax makes it attention as wide as over {math.exp(entropy):.1f} tokens"


# ------------------------------------------------------------------------------------------------ what comes next


def next_html(likely: list[Likely], names: tuple[str, ...], text: str, sample: str, step: int | None, side: str) -> str:
    """The likeliest tokens and a sample, after so many steps; None where those are not known."""
    tail = ("…" if len(text) > SHOWN_TAIL else "") + text[-SHOWN_TAIL:]
    return markup.next_tokens(likely, names, tail, sample, step, side)


# ------------------------------------------------------------------------------------------------ positions

PATTERN_WORDS = {
    "embedding": "What is added to the token at each position: a row is a position, a column a channel.",
    "heads": "How a query (1, …, 1, 0, …, 0) is turned at each position: a row is a position, a column a channel.",
    "scores": "What is added to the last token’s score for each position: a row is a position, a column a head.",
    "nowhere": "Nothing is added, nothing is turned: only the mask tells a token how many came before.",
}


def positions_value(
    kinds: list[tuple[str, str]],
    kind: str,
    words: str,
    made: Portrait,
    own: tuple[AttentionData, int, int],
    end: int | None,
) -> dict[str, Any]:
    """The three pictures of a kind; beside it the measured scores of `own`, a reading with its layer and head."""
    measured = by_distance(*own)
    return {
        "kinds": kinds,
        "kind": kind,
        "words": words,
        "pattern": {"rows": len(made.pattern.values), **encode_signed(made.pattern.values)},
        "pattern_words": PATTERN_WORDS[made.pattern.where],
        "by_distance": rounded(made.by_distance),
        "measured": rounded(measured.score - measured.score[0]),
        "lengths": made.lengths,
        "reach": rounded(made.reach),
        "end": end,
    }


# ------------------------------------------------------------------------------------------------ arrays


def encode_unit(array: Array) -> str:
    """Numbers from 0 to 1 as base64 of sixteen bits each: 4,096 of them are 11 kB."""
    return base64.b64encode(np.rint(np.clip(array, 0, 1) * 65535).astype("<u2").tobytes()).decode()


def encode_signed(array: Array) -> dict[str, Any]:
    """Any numbers as base64 of sixteen bits each, in parts of the largest."""
    largest = float(np.abs(array).max(initial=0)) or 1.0
    parts = np.rint(array / largest * 32767).astype("<i2")
    return {"largest": largest, "parts": base64.b64encode(parts.tobytes()).decode()}


def rounded(array: Array) -> list[Any]:
    """To four decimal places, as nested lists, None where a number is not finite."""
    numbers = array.astype(float).round(4).astype(object)
    numbers[~np.isfinite(array)] = None
    return numbers.tolist()

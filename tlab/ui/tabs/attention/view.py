"""The pictures of the Attention tab: what each component is sent, and the HTML around its drawing.

Tokens and texts go into JSON values, which the scripts set as text, or are escaped here.
"""

from __future__ import annotations

import base64
import html
import math
from typing import Any

import gradio as gr
import numpy as np

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
from tlab.ui.widgets.encode import encode_signed, encode_unit, rounded
from tlab.ui.widgets.select import array_component

MIN_FAVOURITE_SHARE = 0.3  # share of a head's weight from which on a place counts as what it looks at,
MIN_LIFT = 1.5  # if that is so many times what a head would give it that looks at all alike
SHOWN_TAIL = 24  # characters of the text that a sample goes on from
THUMBNAIL = 40  # tiles a side: a thumbnail is not drawn larger than twice that many pixels


# ------------------------------------------------------------------------------------------------ heads

HEADS_CARD = """
<div class="tl-card tl-thumbs">
  <div class="tl-title"><b>All heads</b><span>a row is a layer; with entropy and mean distance</span></div>
  <div class="tl-grid" role="radiogroup" aria-label="Layer and head"></div>
</div>
"""

ROLE_NAMES = {
    "previous": "token before",
    "itself": "itself",
    "first": "first token",
    "same": "same token",
    "induction": "induction",
    "near": "near",
}
ROLE_WORDS = {
    "previous": "the token before",
    "itself": "the token itself",
    "first": "the very first token",
    "same": "earlier copies of the same token",
    "induction": "what followed an earlier copy of the token, as an induction head does",
    "near": "the three to eight tokens before",
}


def heads_value(reading: AttentionData, layer: int, head: int, serial: int) -> dict[str, Any]:
    """Every head as a small picture, eight bits a tile."""
    small = thumbnail(reading.weights, THUMBNAIL)  # (L, H, side, side)
    tiles = np.rint(np.sqrt(np.clip(small, 0, 1)) * 255).astype(np.uint8)
    return {
        "layers": small.shape[0],
        "heads": small.shape[1],
        "side": small.shape[2],
        "tiles": base64.b64encode(tiles.tobytes()).decode(),
        "captions": [[role_caption(of), f"{of.entropy:.1f} nats", f"{of.distance:.1f} back"] for of in reading.heads],
        "titles": [f"{head_words(of)} Entropy {of.entropy:.2f} nats." for of in reading.heads],
        "chosen": [layer, head],
        "serial": serial,
    }


def thumbs(value: dict[str, Any]) -> gr.HTML:
    """The heads of all layers as a choice."""
    return array_component("tabs/attention/heads.js", HEADS_CARD, value, "attention-heads", tab="attention")


def role_caption(portrait: HeadPortrait) -> str:
    return ROLE_NAMES[portrait.role] if has_favourite(portrait) else "spread"


def has_favourite(portrait: HeadPortrait) -> bool:
    """Whether a head looks mostly at one kind of place."""
    return portrait.share >= max(MIN_FAVOURITE_SHARE, MIN_LIFT * portrait.fair)


def head_words(portrait: HeadPortrait) -> str:
    name = f"Head {portrait.head + 1} of layer {portrait.layer + 1}"
    place = ROLE_WORDS[portrait.role]
    if has_favourite(portrait):
        alike = f"{portrait.fair:.0%} if attention were uniform"
        return f"{name} looks at {place}: {portrait.share:.0%} of its weight goes there, {alike}."
    spread = f"{math.exp(portrait.entropy):.0f} tokens, {portrait.distance:.1f} back on average"
    words = f"{name} has no single favourite here: its weight is spread as if over {spread}."
    if portrait.share < MIN_LIFT * portrait.fair:
        return words
    shares = f"{portrait.share:.0%} of the weight, {portrait.fair:.0%} if attention were uniform"
    return f"{words} It leans most to {place}: {shares}."


# ------------------------------------------------------------------------------------------------ the large map

MAP = """
<div class="tl-card tl-map">
  <div class="tl-title"><b>Who looks at whom</b><span>rows: queries, columns: keys</span>
    <span class="tl-views" role="group" aria-label="What the map shows">
      <button type="button" data-view="weights" aria-pressed="true">weights</button>
      <button type="button" data-view="scores" aria-pressed="false">scores before the mask</button>
    </span>
    <span class="tl-ramp"><span class="tl-low"></span><i></i><span class="tl-high"></span></span>
  </div>
  <div class="tl-plot" role="application" tabindex="0" aria-label="Attention map"><canvas></canvas>
    <div class="tl-tip" hidden></div></div>
  <div class="tl-title tl-rowname"><b>One row</b><span></span></div>
  <div class="tl-row" role="img" aria-label="The row as bars"><canvas></canvas></div>
  <div class="tl-reading" aria-hidden="true"></div>
  <div class="tl-told" role="status"></div>
</div>
"""


def attention_map(value: dict[str, Any]) -> gr.HTML:
    """One head's weights and scores as a map, and the chosen token's row as bars and as tinted text."""
    return array_component("tabs/attention/heatmap.js", MAP, value, "attention-map", tab="attention")


def map_value(
    tokens: list[str], reading: AttentionData, layer: int, head: int, query: int, key: int, serial: int
) -> dict[str, Any]:
    words = f"Attention map of layer {layer + 1}, head {head + 1}, over {len(tokens)} tokens."
    return {
        "tokens": tokens,
        "weights": encode_unit(reading.weights[layer, head]),
        "scores": encode_signed(scores(reading, layer, head)),
        "chosen": [query, key],
        "alternative": f"{words} {head_words(reading.heads[layer * reading.weights.shape[1] + head])}",
        "serial": serial,
    }


# ------------------------------------------------------------------------------------------------ one pair

PAIR = """
<div class="tl-card tl-pair">
  <div class="tl-title"><b>From Q and K to a weight</b><span class="tl-who"></span></div>
  <div class="tl-strips" role="img" aria-label="Query, key and their products"><canvas></canvas></div>
  <ol class="tl-sum"></ol>
</div>
"""


def pair_card(value: dict[str, Any]) -> gr.HTML:
    """How the chosen query comes to its weight for the chosen key."""
    return array_component("tabs/attention/qk_pair.js", PAIR, value, "attention-pair", tab="attention")


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
        ("cos(q, k)", f"{of.cosine:+.2f}", "how far they point the same way"),
        ("Score size", f"{of.size:.2f}", f"root mean square; the largest is {of.largest:.1f}"),
        ("Spread in a row", f"{of.spread:.2f}", spread_words(of.spread)),
    ]
    body = "".join(f"<tr><th>{name}</th><td>{value}</td><td>{words}</td></tr>" for name, value, words in rows)
    return (
        f'<div class="tl-card tl-stats"><div class="tl-title"><b>Layer {portrait.layer + 1}, head {portrait.head + 1} '
        f"in numbers</b></div><table><tbody>{body}</tbody></table></div>"
    )


def spread_words(spread: float) -> str:
    """What a softmax makes of scores of this standard deviation."""
    if spread < 0.5:
        return "so small that attention is nearly uniform"
    return "enough to choose" if spread < 3 else "so large that it is nearly a hard choice"


# ------------------------------------------------------------------------------------------------ what comes next


def next_html(likely: list[Likely], names: tuple[str, ...], text: str, sample: str, step: int) -> str:
    bars = "".join(
        f'<tr><th>{html.escape(names[row.id])}</th><td><i class="tl-bar" style="width:{100 * row.probability:.1f}%">'
        f"</i></td><td>{row.probability:.1%}</td></tr>"
        for row in likely
    )
    tail = ("…" if len(text) > SHOWN_TAIL else "") + text[-SHOWN_TAIL:]
    return (
        '<div class="tl-card tl-next"><div class="tl-title"><b>What comes next</b>'
        f"<span>the likeliest tokens, and a sample, after {step:,} steps of training</span></div>"
        f'<table aria-label="The likeliest next tokens"><tbody>{bars}</tbody></table>'
        f'<p class="tl-goes-on"><b>{html.escape(tail)}</b>{html.escape(sample)}</p></div>'
    )


# ------------------------------------------------------------------------------------------------ positions

POSITIONS_CARD = """
<div class="tl-card tl-positions">
  <div class="tl-title"><b>How it knows where a token stands</b><span class="tl-views" role="group"
    aria-label="Kind of position"></span></div>
  <p class="tl-note tl-kind"></p>
  <div class="tl-three">
    <figure><div class="tl-pattern" role="img" aria-label="Pattern"><canvas></canvas></div>
      <figcaption></figcaption></figure>
    <figure><div class="tl-distance" role="img" aria-label="Score by distance"><canvas></canvas></div>
      <figcaption></figcaption></figure>
    <figure><div class="tl-reach" role="img" aria-label="Reach by length"><canvas></canvas></div>
      <figcaption></figcaption></figure>
  </div>
</div>
"""

PATTERN_WORDS = {
    "embedding": "What is added to the token at each position: a row is a position, a column a channel.",
    "heads": "How a query (1, …, 1, 0, …, 0) is turned at each position: a row is a position, a column a channel.",
    "scores": "What the last token’s score loses by looking at each position: a row is a position, a column a head.",
    "nowhere": "Nothing is added, nothing is turned: only the mask tells a token how many came before.",
}


def positions_card(value: dict[str, Any]) -> gr.HTML:
    """What a kind of position looks like, and what it does to scores with distance and length."""
    return array_component("tabs/attention/positions.js", POSITIONS_CARD, value, "attention-positions", tab="attention")


def positions_value(
    kinds: list[tuple[str, str]],
    kind: str,
    words: str,
    made: Portrait,
    own: tuple[AttentionData, int, int],
    end: int | None,
) -> dict[str, Any]:
    """The three pictures of a kind.

    Args:
        kinds: (key, label) of all that can be chosen.
        kind: the one that is shown.
        words: what there is to say of it.
        made: its pictures.
        own: reading, layer and head whose measured scores are drawn beside it.
        end: the number of positions that exist, or None.
    """
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

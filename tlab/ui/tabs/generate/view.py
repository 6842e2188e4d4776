"""What the Generate tab shows: texts whose tokens can be clicked, and how a token was chosen."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from tlab.generate import Chain
from tlab.ui.widgets.select import array_component

WRITTEN = """
<div class="tl-card tl-written">
  <div class="tl-title"><b></b><span>click a token for its alternatives</span>
    <span class="tl-ramp">certain<i></i>unlikely</span>
  </div>
  <div class="tl-page" tabindex="0" role="group" aria-label="Generated text"></div>
</div>
"""


def written_text(value: dict[str, Any], side: int) -> gr.HTML:
    """A prompt and its continuation, each token tinted by its probability."""
    elem_id = ("written-text", "written-text-b")[side]
    return array_component(
        "tabs/generate/generated_text.js",
        WRITTEN,
        value,
        elem_id,
        tab="generate",
        side=side,
        elem_classes=f"tl-side-{'ab'[side]}",
    )


CHAIN = """
<div class="tl-card tl-chain">
  <div class="tl-title"><b>How the next token is chosen</b><span class="tl-where"></span></div>
  <div class="tl-scroll" tabindex="0" role="group" aria-label="The likeliest tokens, step by step"><table>
    <thead><tr><th scope="col">token</th>
      <th scope="col" title="before and after the repetition penalty">logit</th><th scope="col">÷ temperature</th>
      <th scope="col">top-k, top-p</th><th scope="col">probability</th></tr></thead><tbody></tbody></table></div>
  <p class="tl-note"></p>
</div>
"""


def chain_card(value: dict[str, Any], side: int) -> gr.HTML:
    """The likeliest tokens on their way from logit to probability."""
    elem_id = ("chain", "chain-b")[side]
    return array_component(
        "tabs/generate/sampling.js",
        CHAIN,
        value,
        elem_id,
        tab="generate",
        side=side,
        elem_classes=f"tl-side-{'ab'[side]}",
    )


def chain_value(chain: Chain, names: tuple[str, ...], where: str, drawn: int | None, V: int) -> dict[str, Any]:
    rows = [
        [c.id, names[c.id], c.logit, c.penalized, c.scaled if math.isfinite(c.scaled) else None, c.kept, c.probability]
        for c in chain.candidates
    ]
    cut = V - chain.num_kept
    removed = (
        f"{cut} of {V} tokens are cut, and with them {chain.cut:.1%} of the probability." if cut else "Nothing is cut."
    )
    choice = f" The choice is as uncertain as one among {math.exp(chain.entropy):.1f} equally likely tokens."
    rest = f" All others together: {chain.others:.1%}." if chain.others > 5e-4 else ""
    return {"rows": rows, "where": where, "drawn": drawn, "words": removed + rest + choice}

"""Components with which a visitor selects what to look at: a side, a step, a head, a token.

What is chosen in a picture goes through one component per tab, the selection: the scripts report to it, and it alone
asks the server. So there is one question at a time, each with everything that was chosen, and an answer can never be
an older one's.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from tlab.ui.widgets.component import js_component

# What the server found instead of a text that a new model cannot read, unless the visitor has typed meanwhile.
REPLACE_IF_UNTOUCHED = "(text, instead) => instead && text === instead[0] ? instead[1] : text"


def array_component(name: str, template: str, value: Any, elem_id: str, **props: Any) -> gr.HTML:
    """A drawing with the tools of arrays.js at hand."""
    return js_component(name, template, value, elem_id, after="widgets/arrays.js", **props)


def selection_component(tab: str, value: dict[str, Any]) -> gr.HTML:
    """Where a tab's pictures leave what a visitor chooses; it shows nothing itself."""
    return array_component("widgets/select.js", "", value, f"{tab}-selection", tab=tab, elem_classes="tl-selection")


SCRUBBER = """
<div class="tl-card tl-scrub">
  <div class="tl-sides" role="group" aria-label="Side"></div>
  <button type="button" class="tl-play" aria-label="Play the training"></button>
  <input type="range" min="0" value="0" step="1" aria-label="Training step of the model">
  <output class="tl-step"></output>
</div>
"""


def scrubber(value: dict[str, Any], tab: str) -> gr.HTML:
    """A slider over the checkpoints of a run, and its sides."""
    return array_component("widgets/step_slider.js", SCRUBBER, value, f"{tab}-scrub", tab=tab)

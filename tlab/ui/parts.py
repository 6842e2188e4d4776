"""The pieces that pages are made of: our own components on gr.HTML, and small HTML texts.

Whatever comes from a visitor or a model is escaped here, or set as text by the scripts: gr.HTML executes what it is
given.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from typing import Any

import gradio as gr
import numpy as np

from tlab.types import Array
from tlab.ui.demo import STATIC


def script(name: str) -> str:
    """The code of a component: a file of `static/`, behind what all of them use."""
    return (STATIC / "common.js").read_text("utf-8") + (STATIC / name).read_text("utf-8")


def drawing(name: str, template: str, value: dict[str, Any], elem_id: str) -> gr.HTML:
    """A component that its script draws from a JSON value; the template never changes, so it never flickers."""
    return gr.HTML(
        value,  # pyright: ignore[reportArgumentType], any JSON is allowed
        html_template=template,
        js_on_load=script(name),
        apply_default_css=False,
        elem_id=elem_id,
    )


# ------------------------------------------------------------------------------------------------ words


def refusal(error: Exception) -> gr.Error:
    """A toast with these words. Gradio shows its text as HTML, and texts of visitors may be in it."""
    return gr.Error(html.escape(str(error)), title="This cannot be done", print_exception=False)


def note_html(text: str) -> str:
    """A sentence beside a picture."""
    return f'<p class="tl-note">{html.escape(text)}</p>'


def words_html(text: str) -> str:
    """A sentence that is the point of a picture."""
    return f'<p class="tl-words">{html.escape(text)}</p>'


# ------------------------------------------------------------------------------------------------ attention

MAP = """
<div class="tl-card tl-map">
  <div class="tl-title"><b>Who looks at whom</b><span>rows ask, columns answer</span>
    <span class="tl-ramp">0<i></i>1, by square root</span>
  </div>
  <div class="tl-plot" role="img" aria-label="Attention map"><canvas></canvas><div class="tl-tip" hidden></div></div>
  <div class="tl-reading" aria-hidden="true"></div>
</div>
"""


def attention_map(value: dict[str, Any]) -> gr.HTML:
    """One head's weights as a map, and the chosen token's row as tinted text."""
    return drawing("heatmap.js", MAP, value, "attention-map")


def map_value(tokens: Iterable[str], weights: Array, alternative: str) -> dict[str, Any]:
    """What the map draws of weights (T, T). Sixteen bits a weight: 4,096 of them are 11 kB on the wire."""
    fractions = np.rint(np.clip(weights, 0, 1) * 65535).astype("<u2")
    encoded = base64.b64encode(fractions.tobytes()).decode()
    return {"tokens": list(tokens), "weights": encoded, "alternative": alternative}


# ------------------------------------------------------------------------------------------------ written text

WRITTEN = """
<div class="tl-card tl-written">
  <div class="tl-title"><b>Text</b><span>the stronger the tint, the less likely the token; hover for its chance</span>
    <span class="tl-ramp">certain<i></i>unlikely</span>
  </div>
  <div class="tl-page" tabindex="0" aria-label="Generated text" aria-live="off"></div>
</div>
"""


def written_text(value: dict[str, Any]) -> gr.HTML:
    """A prompt and its continuation, each token tinted by its chance."""
    return drawing("tokens.js", WRITTEN, value, "written-text")

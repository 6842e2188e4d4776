"""The pieces that pages are made of: our own components on gr.HTML, and small HTML texts.

Whatever comes from a visitor or a model is escaped here, or set as text by the scripts: gr.HTML executes what it is
given.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from typing import Any

import gradio as gr
import numpy as np

from tlab.types import Array
from tlab.ui.demo import STATIC
from tlab.ui.run import DIVERGED, FAILED, PAUSED, RUNNING, STARTING, STOPPED, WAITING, Run


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


# ------------------------------------------------------------------------------------------------ loss chart

CHART = """
<div class="tl-card tl-chart">
  <div class="tl-title"><b>Loss</b>
    <span class="tl-key"><i class="tl-batch"></i>each batch</span>
    <span class="tl-key"><i class="tl-average"></i>moving average</span>
    <span class="tl-key"><i class="tl-validation"></i>validation</span>
    <span>nats per token</span>
  </div>
  <div class="tl-plot" role="img" aria-label="Loss chart"><canvas></canvas><div class="tl-tip" hidden></div></div>
  <div class="tl-axis-name">step</div>
</div>
"""


def loss_chart(value: dict[str, Any]) -> gr.HTML:
    """Loss over steps: batches, their moving average, and validation."""
    return drawing("chart.js", CHART, value, "loss-chart")


def chart_value(run: Run) -> dict[str, Any]:
    """What the chart draws of a run. It grows at its end only, so that Gradio sends what is new and no more."""
    marker, steps = None, run.steps
    return {
        "steps": steps,
        "guess": round(math.log(run.vocab_size), 4) if run.vocab_size else 0,
        "marker": marker,
        "alternative": chart_words(run),
        "runs": [side.curve.to_json() for side in run.sides],
    }


def chart_words(run: Run) -> str:
    """The chart for those who cannot see it."""
    run_, run = run, run.sides[0]
    if not run.curve.bins:
        return "Loss chart, still empty."
    words = f"Loss chart over {run.step} of {run.steps} steps. The training loss began at {run.curve.bins[0][0]:.2f}"
    words += f" and its moving average is now {run.curve.bins[-1][3]:.2f} nats per token."
    if run.validation_loss is not None:
        words += f" Validation loss: {run.validation_loss:.2f}."
    return words


# ------------------------------------------------------------------------------------------------ numbers and words


def tiles_html(run: Run) -> str:
    """The numbers beside the chart."""
    left = run.seconds_left
    run = run.sides[0]
    last = run.last
    speed = f"{last.tokens / last.seconds:,.0f}" if last and last.seconds else None
    numbers = [
        (f"Step of {run.steps:,}", f"{run.step:,}"),
        ("Loss, averaged", f"{run.curve.bins[-1][3]:.3f}" if run.curve.bins else None),
        ("Validation", f"{run.validation_loss:.3f}" if run.validation_loss is not None else None),
        ("Tokens/s", speed),
        ("Time left", duration(left) if left is not None else None),
        ("Parameters", f"{run.num_parameters:,}" if run.num_parameters else None),
    ]
    tiles = "".join(f'<div class="tl-tile"><span>{name}</span><b>{value or "–"}</b></div>' for name, value in numbers)
    share = 100 * run.step / run.steps
    return f'<div class="tl-tiles">{tiles}</div><div class="tl-progress"><i style="width:{share:.1f}%"></i></div>'


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def state_html(run: Run, badge: str, words: str) -> str:
    """One line on what goes on."""
    return (
        f'<div class="tl-state" role="status"><span class="tl-badge {html.escape(badge)}">{html.escape(badge)}</span>'
        f"<span>{html.escape(words)}</span></div>"
    )


def run_words(run: Run, place: int, kept: bool = True) -> str:
    """What goes on with a run, for people; `kept` says whether its model is still there to be looked into."""
    text = f"“{run.job.corpus}”"
    if run.state == WAITING and place:  # without one, its turn has come since the state was read
        return f"Place {place} in the queue: the run begins as soon as a worker is free."
    if run.state in (WAITING, STARTING):
        return f"Reading {text} and making the model …"
    if run.state == RUNNING:
        return f"Training on {text}."
    if run.state == PAUSED:
        return "Paused. Resume goes on exactly as if it had never paused."
    if run.state == DIVERGED:
        return f"The run {run.sides[0].divergence}. Try a lower learning rate, a longer warm-up, or another norm."
    if run.state == STOPPED:
        end = "The model it had is kept for the other tabs." if kept else "It had no model to keep yet."
        return run.note or f"Stopped at step {run.step:,}. {end}"
    if run.state == FAILED:
        return run.error
    return f"Trained on {text}. Look inside it under Attention, let it write under Generate."


def sample_html(run: Run) -> str:
    """What the model writes so far."""
    active, run = run.active, run.sides[0]
    if run.sample is None:
        title, text = "the first one comes a second after the start" if active else "the run ended before one", ""
    else:
        title, text = f"what the model writes after {run.sample.step:,} steps", run.sample.text.strip("\n")
    return (
        f'<div class="tl-card"><div class="tl-title"><b>Sample</b><span>{title}</span></div>'
        f'<pre class="tl-sample" tabindex="0" aria-label="Sample text">{html.escape(text)}</pre></div>'
    )


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

"""The pieces that pages are made of: our own components on gr.HTML, and small HTML texts.

Whatever comes from a visitor or a model is escaped here, or set as text by the scripts: gr.HTML executes what it is
given.
"""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

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

"""The pieces that pages are made of: our own components on gr.HTML, and small HTML texts.

Whatever comes from a visitor or a model is escaped here, or set as text by the scripts: gr.HTML executes what it is
given.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

# For handlers of the page alone: no spinner over their outputs, and no entry among the public functions.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
FORMULAS = [{"left": "$", "right": "$", "display": False}]  # what gr.Markdown sets as an equation
UI = Path(__file__).parents[1]  # scripts and styles stand beside what they belong to


def js_component(
    name: str, template: str, value: dict[str, Any], elem_id: str, *, after: str | None = None, **props: Any
) -> gr.HTML:
    """A component that its script draws from a JSON value; the template never changes, so it never flickers.

    Args:
        name: the script, a path inside of `tlab/ui`.
        template: HTML.
        value: what the script finds in `props.value`.
        elem_id: id of its element.
        after: a script that comes between common.js, which all have, and its own.
        props: further ones for the script, and arguments of `gr.HTML`.
    """
    scripts = ["widgets/common.js", after, name]
    return gr.HTML(
        value,  # pyright: ignore[reportArgumentType], any JSON is allowed
        html_template=template,
        js_on_load="".join((UI / file).read_text("utf-8") for file in scripts if file),
        apply_default_css=False,
        elem_id=elem_id,
        **props,
    )


# ------------------------------------------------------------------------------------------------ words


def error_toast(error: Exception) -> gr.Error:
    """A toast with these words. Gradio shows its text as HTML, and texts of visitors may be in it."""
    return gr.Error(html.escape(str(error)), title="This cannot be done", print_exception=False)


def note_html(text: str, classes: str = "tl-note") -> str:
    """A sentence beside a picture."""
    return f'<p class="{classes}">{html.escape(text)}</p>'


def formula_markdown(formula: str) -> str:
    """LaTeX for gr.Markdown with `FORMULAS`; nothing where there is no formula."""
    return f"$\\displaystyle {formula}$" if formula else ""


def words_html(text: str) -> str:
    """A sentence that is the point of a picture."""
    return f'<p class="tl-words">{html.escape(text)}</p>'

"""Our own components on gr.HTML, and the small texts around them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from tlab.ui.widgets.markup import TEMPLATES, UI, macros

FORMULAS = [{"left": "$", "right": "$", "display": False}]  # what gr.Markdown sets as an equation

# What the server found instead of a text that a new model cannot read, unless the visitor has typed meanwhile.
REPLACE_IF_UNTOUCHED = "(text, instead) => instead && text === instead[0] ? instead[1] : text"

# Indentation with a line of comment; a comment after the end of code, with nothing in it that could end a text.
COMMENTS = r"^[ \t]*(//.*\n)?|(?<=[;{},)\]])[ \t]+// [^\n'\"`]*$"

texts = macros("widgets/texts.html")
note_html, words_html = texts.note, texts.words
"""HTML of a sentence beside a picture; and of one that is the point of a picture."""


def js_component(
    name: str,
    value: Any,
    elem_id: str,
    *libraries: str,
    context: Mapping[str, Any] | None = None,
    **props: Any,
) -> gr.HTML:
    """A component that its script draws from a JSON value; the template never changes, so it never flickers.

    Args:
        name: path of its script, and its template if it shows anything, inside of `tlab/ui` and without their endings.
        value: what the script finds in `props.value`.
        elem_id: id of its element.
        libraries: scripts in `widgets` that come between common.js, which all have, and its own: "axes", "arrays".
        context: what the template reads.
        props: further ones for the script, and arguments of `gr.HTML`.
    """
    scripts = [*(f"widgets/{file}" for file in ("common", *libraries)), name]
    drawn = (UI / f"{name}.html").exists()
    template = TEMPLATES.get_template(f"{name}.html").render(context or {}) if drawn else ""
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=script_code(scripts),
        apply_default_css=False,
        elem_id=elem_id,
        **props,
    )


def scripted_html(script: str, value: str, elem_id: str) -> gr.HTML:
    """HTML from the server with a script beside it, for what is made of many small elements and seldom changes.

    Args:
        script: its path inside of `tlab/ui` without the ending.
        value: HTML of one of our templates, which escape.
        elem_id: id of its element.
    """
    code = script_code(("widgets/common", script))
    return gr.HTML(value, js_on_load=code, apply_default_css=False, elem_id=elem_id)


def script_code(scripts: Iterable[str]) -> str:
    """The code of these scripts, one after another, without the indentation and the comments, which are for readers."""
    code = "".join((UI / f"{script}.js").read_text("utf-8") for script in scripts)
    return re.sub(COMMENTS, "", code, flags=re.MULTILINE)


def selection_component(tab: str, value: dict[str, Any]) -> gr.HTML:
    """Where a tab's pictures leave what a visitor chooses: a side, a step, a head, a token. It shows nothing itself.

    The scripts report to it, and it alone asks the server. So there is one question at a time, each with everything
    that was chosen, and an answer can never be an older one's.
    """
    return js_component("widgets/select", value, f"{tab}-selection", tab=tab, elem_classes="tl-selection")


def number_field(
    value: float | None, kinds: Sequence[type], low: float, high: float, empty_words: str, **shown: Any
) -> gr.Component:
    """A field for a number of these types, from `low` to `high`; where None is among them, empty as `empty_words` say.

    Such a field is a text, because Gradio 6.31 turns an empty gr.Number into 0 whenever the page shows it anew: opening
    a fold would change the experiment. A number that has to be whole and is not comes as it is, to be refused: to
    round it would train another one than the page shows.
    """
    if type(None) in kinds:
        return gr.Textbox(None if value is None else str(value), placeholder=empty_words, max_lines=1, **shown)
    return gr.Number(
        value,
        minimum=low if low > -math.inf else None,
        maximum=high if high < math.inf else None,
        elem_classes="tl-decimal" if float in kinds else None,
        **shown,
    )


def formula_markdown(formula: str) -> str:
    """LaTeX for gr.Markdown with `FORMULAS`; nothing where there is no formula."""
    return f"$\\displaystyle {formula}$" if formula else ""


def error_toast(error: Exception) -> gr.Error:
    """A toast with these words. Gradio shows its text as HTML, and texts of visitors may be in it."""
    return gr.Error(html.escape(str(error)), title="This cannot be done", print_exception=False)

"""The Code tab: every part of the lab with its formula, its plainest form, and the code that really runs."""

from __future__ import annotations

import functools

import gradio as gr

from tlab.registry import REGISTRIES
from tlab.source import FIRST_PARTS, SourcePage, slots
from tlab.source import page as source_page
from tlab.ui.settings.fields import field_label, registry_choices
from tlab.ui.tabs.tab import Page, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.component import FORMULAS, QUIET, formula_markdown
from tlab.ui.widgets.markup import highlight, macros

markup = macros("tabs/code/view.html")
head_html = markup.head
FIRST_SLOT = "norm"  # its forward and backward are short, and mirror each other line for line
PART_WORDS = {
    "reference": "the equation in plain NumPy; the tests compare the code that runs with it",
    "forward": "the code that runs, and what it keeps for the backward pass",
    "backward": "the same lines in reverse order: from the gradient of the output to that of the input",
}


class CodeTab(Tab):
    """Builds the tab and holds its handlers."""

    title, key = "Code", "code"

    def build(self, page: Page) -> None:
        """Lay it out with the first part of the first slot, and connect it and the buttons that lead here."""
        entries = REGISTRIES[FIRST_SLOT].entries
        shown = source_page(FIRST_SLOT, next(iter(entries)))
        with gr.Row(elem_classes="tl-code-choice"):
            choices = [(field_label(slot), slot) for slot in slots()]
            self.slot = gr.Radio(choices, value=FIRST_SLOT, label="Switch", elem_id="code-slot")
            self.entry = gr.Radio(
                registry_choices(REGISTRIES[FIRST_SLOT]), value=shown.key, label="Choice", elem_id="code-entry"
            )
        self.head = gr.HTML(head_html(shown), elem_id="code-head", apply_default_css=False)
        self.formula = gr.Markdown(formula_markdown(shown.formula), latex_delimiters=FORMULAS, elem_id="code-formula")
        self.body = gr.HTML(body_html(shown), elem_id="code-body", apply_default_css=False)
        shown_page = [self.head, self.formula, self.body]
        # "input" and not "change": a link from the Train tab sets both, and shows the page itself.
        self.slot.input(self.on_slot, self.slot, [self.entry, *shown_page], queue=False, **QUIET)
        self.entry.input(self.on_entry, [self.slot, self.entry], shown_page, queue=False, **QUIET)
        self.bar = page.bar
        for button, slot, control in page.find(TrainTab).controls.code_links:
            button.click(
                functools.partial(self.on_open, slot), control, [self.bar, self.slot, self.entry, *shown_page],
                queue=False, **QUIET,
            )  # fmt: skip

    def on_slot(self, slot: str | None) -> Updates:
        """Another slot: its choices, and the page of the first."""
        slot, key = known_page(slot, None)
        return {**self.entries_of(slot, key), **self.shown(slot, key)}

    def on_entry(self, slot: str | None, key: str | None) -> Updates:
        return self.shown(*known_page(slot, key))

    def on_open(self, slot: str, key: str | None) -> Updates:
        """Come here from a choice of the Train tab."""
        slot, key = known_page(slot, key)
        opened: Updates = {self.bar: gr.update(selected=self.key), self.slot: slot}
        return {**opened, **self.entries_of(slot, key), **self.shown(slot, key)}

    def entries_of(self, slot: str, key: str) -> Updates:
        return {self.entry: gr.update(choices=registry_choices(REGISTRIES[slot]), value=key)}

    def shown(self, slot: str, key: str) -> Updates:
        shown = source_page(slot, key)
        return {self.head: head_html(shown), self.formula: formula_markdown(shown.formula), self.body: body_html(shown)}


def known_page(slot: str | None, key: str | None) -> tuple[str, str]:
    """What a visitor asks for, or the nearest that there is."""
    if slot is None or slot not in REGISTRIES:
        slot = FIRST_SLOT
    registry = REGISTRIES[slot]
    return slot, key if key is not None and key in registry else next(iter(registry))


# ------------------------------------------------------------------------------------------------ the page


def body_html(shown: SourcePage) -> str:
    """The parts of the class, and after them the whole of it. Forward and backward stand side by side."""
    panels = [(name, highlight(code), PART_WORDS.get(name, "")) for name, code in shown.parts.items()]
    first = sum(name in FIRST_PARTS for name in shown.parts)
    return markup.body([panels[:first], panels[first:]], highlight(shown.code))

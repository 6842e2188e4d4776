"""The Code tab: every part of the lab with its formula, its plainest form, and the code that really runs."""

from __future__ import annotations

import functools

import gradio as gr
from markupsafe import Markup

from tlab.registry import REGISTRIES
from tlab.source import CORE_PARTS, CORE_SLOT, FIRST_PARTS, SourcePage, bare_code, compare_code, slots
from tlab.source import page as source_page
from tlab.ui.listening import LATEST, QUIET
from tlab.ui.settings.fields import field_label, registry_choices
from tlab.ui.tabs.tab import Page, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.component import FORMULAS, formula_markdown
from tlab.ui.widgets.markup import highlight, macros

markup = macros("tabs/code/view.html")
head_html = markup.head
FIRST_SLOT = "norm"  # its forward and backward are short, and mirror each other line for line
MAX_COLUMN = 84  # characters of a line that half of a page of 1,440 pixels holds
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
        slot, key = known_page(None, None)
        with gr.Row(elem_classes="tl-code-choice"):
            choices = [("The model itself", CORE_SLOT), *((field_label(slot), slot) for slot in slots())]
            self.slot = gr.Radio(choices, value=slot, label="Part of the lab", elem_id="code-slot")
            with gr.Column(min_width=320):
                self.entry = gr.Radio(entries_of(slot), value=key, label="Page", elem_id="code-entry")
                self.other = gr.Radio(
                    others_of(slot, key), value=None, label="Compare with: the lines that differ", elem_id="code-other"
                )
        shown = source_page(slot, key)
        self.head = gr.HTML(head_html(shown), elem_id="code-head", apply_default_css=False)
        self.formula = gr.Markdown(formula_markdown(shown.formula), latex_delimiters=FORMULAS, elem_id="code-formula")
        self.difference = gr.HTML("", elem_id="code-difference", apply_default_css=False)
        self.body = gr.HTML(body_html(shown), elem_id="code-body", apply_default_css=False)
        shown_page = [self.other, self.head, self.formula, self.difference, self.body]
        # "input" and not "change": a link from the Train tab sets both, and shows the page itself.
        self.slot.input(self.on_slot, self.slot, [self.entry, *shown_page], queue=False, **LATEST)
        self.entry.input(self.on_entry, [self.slot, self.entry], shown_page, queue=False, **LATEST)
        self.other.input(self.on_other, [self.slot, self.entry, self.other], self.difference, queue=False, **LATEST)
        self.bar = page.bar
        for button, slot, control in page.find(TrainTab).controls.code_links:
            button.click(
                functools.partial(self.on_open, slot), control, [self.bar, self.slot, self.entry, *shown_page],
                queue=False, **QUIET,
            )  # fmt: skip

    def on_slot(self, slot: str | None) -> Updates:
        """Another slot: its choices, and the page of the first."""
        slot, key = known_page(slot, None)
        return {self.entry: gr.update(choices=entries_of(slot), value=key), **self.shown(slot, key)}

    def on_entry(self, slot: str | None, key: str | None) -> Updates:
        return self.shown(*known_page(slot, key))

    def on_other(self, slot: str | None, key: str | None, other: str | None) -> Updates:
        """Another class beside the one that is shown."""
        slot, key = known_page(slot, key)
        if other is None or other not in [name for _, name in others_of(slot, key)]:
            return {self.difference: ""}
        return {self.difference: difference_html(slot, key, other)}

    def on_open(self, slot: str, key: str | None) -> Updates:
        """Come here from a choice of the Train tab."""
        slot, key = known_page(slot, key)
        entry = gr.update(choices=entries_of(slot), value=key)
        opened: Updates = {self.bar: gr.update(selected=self.key), self.slot: slot, self.entry: entry}
        return {**opened, **self.shown(slot, key)}

    def shown(self, slot: str, key: str) -> Updates:
        """The page, with nothing beside it yet."""
        shown, others = source_page(slot, key), others_of(slot, key)
        return {
            self.other: gr.update(choices=others, value=None, visible=bool(others)),
            self.head: head_html(shown),
            self.formula: formula_markdown(shown.formula),
            self.difference: "",
            self.body: body_html(shown),
        }


def known_page(slot: str | None, key: str | None) -> tuple[str, str]:
    """What a visitor asks for, or the nearest that there is."""
    if slot != CORE_SLOT and (slot is None or slot not in REGISTRIES):
        slot = FIRST_SLOT
    known = CORE_PARTS if slot == CORE_SLOT else REGISTRIES[slot]
    return slot, key if key is not None and key in known else next(iter(known))


def entries_of(slot: str) -> list[tuple[str, str]]:
    """Label and key of every page of a slot."""
    if slot == CORE_SLOT:
        return [(part.label, key) for key, part in CORE_PARTS.items()]
    return registry_choices(REGISTRIES[slot])


def others_of(slot: str, key: str) -> list[tuple[str, str]]:
    """What a page can be compared with: the alternatives to a part. Parts of the core have none."""
    return [] if slot == CORE_SLOT else [choice for choice in entries_of(slot) if choice[1] != key]


# ------------------------------------------------------------------------------------------------ the page


def body_html(shown: SourcePage) -> str:
    """The parts of the class, and after them the whole of it. Forward and backward stand side by side if they fit."""
    panels = [(name, highlight(code), PART_WORDS.get(name, "")) for name, code in shown.parts.items()]
    first = sum(name in FIRST_PARTS for name in shown.parts)
    is_wide = any(len(line) > MAX_COLUMN for code in shown.parts.values() for line in code.splitlines())
    return markup.body([panels[:first], panels[first:]], is_wide, highlight(shown.code))


def difference_html(slot: str, key: str, other: str) -> str:
    """The two classes as one text, with what only one of them has marked."""
    entries = [REGISTRIES[slot].entries[one] for one in (key, other)]
    codes = [bare_code(entry.component) for entry in entries]
    old, new = (highlight(code).splitlines() for code in codes)
    lines = [(line.sign, Markup((new if line.sign == "+" else old)[line.number])) for line in compare_code(*codes)]
    return markup.difference(*(entry.label for entry in entries), lines)

"""The line of the page that copies a link to the settings, and that tells what came of a link."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import gradio as gr

from tlab.ui.listening import LATEST, QUIET
from tlab.ui.settings.fields import RANDOM, START_FROM, field_label
from tlab.ui.settings.links import (
    HEAD_LINK,
    OTHER_NAMES,
    OWN_TEXT_NOT_SENT,
    WEIGHTS_NOT_SENT,
    Link,
    defaults,
    query_of,
    read_query,
)
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.side_b import NOTHING, switch_choices
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.tabs.train.view import notice_html
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import error_toast

# Names in an address that are no settings: of Gradio, of a Space's frame, of a lesson, a class, a head.
NO_SETTING = f"/^(__|(view|logs|{'|'.join(OTHER_NAMES)})$)/"
HEAD_PAIR = f"/^({'|'.join(HEAD_LINK)})=/"

# The page knows its own address; the server behind a proxy does not.
COPY = """query => {
  if (!query || query.includes("://")) return query;
  const tab = /(^|&)result=/.test(query) ? "" : location.hash;  // a result is on the first tab
  const looksInto = ["#attention", "#inside", "#generate"].includes(tab);
  const head = looksInto ? location.search.slice(1).split("&").filter(pair => HEAD_PAIR.test(pair)) : [];
  const all = [query, ...head].filter(Boolean).join("&");
  const link = location.origin + location.pathname + (all ? "?" + all : "") + tab;
  navigator.clipboard?.writeText(link).catch(() => {});
  return link;
}""".replace("HEAD_PAIR", HEAD_PAIR)

# Settings of a link arrive one after the other: until all have, or the visitor changes something, the address stays as
# it was. (That a page has been active at all, a browser remembers when it is loaded again.) What the frame of a Space
# has put there always stays, and so does the step of a lesson.
KEEP_IN_STEP = """query => {
  const arrived = document.querySelector("#link-notice [data-link-read]");
  if (!arrived) return;
  window.tlabInStep ||= arrived.dataset.linkRead === query || window.tlabTouched;
  if (!window.tlabInStep) return;
  const kept = [...new URLSearchParams(location.search)].filter(([name]) => NO_SETTING.test(name));
  const all = [query, new URLSearchParams(kept).toString()].filter(Boolean).join("&");
  window.tlabSearch = all && `?${all}`;
  history.replaceState(history.state, "", location.pathname + window.tlabSearch + location.hash);
}""".replace("NO_SETTING", NO_SETTING)

# A page that was asked for with settings has to get them, or say that it lacks them: what answers is marked. And
# whether the visitor has touched anything in a tab is known from here on.
ASK_AGAIN = """() => {
  const asked = [...new URLSearchParams(location.search).keys()].some(name => !NO_SETTING.test(name));
  const late = () => document.getElementById("link-late");
  let left = 10;
  const look = () => {
    const arrived = !asked || document.querySelector("#link-notice [data-link-read]");
    if (late()) late().hidden = Boolean(arrived) || left === 10;
    if (arrived || !left--) return;
    if (left < 9) document.querySelector("#link-again")?.click();
    setTimeout(look, 3000);
  };
  look();
  const touched = (event) => (window.tlabTouched ||= Boolean(event.target.closest?.("[role=tabpanel]")));
  for (const kind of ["pointerdown", "keydown", "input"]) addEventListener(kind, touched, { capture: true });
}""".replace("NO_SETTING", NO_SETTING)
IN_CLIPBOARD = "It is in the clipboard."
NOTHING_HIDDEN, ALL_BUT_COMPARED, ALL_HIDDEN, SOME_HIDDEN = "Nothing", "All but what B changes", "All", "Some …"
HOW_MUCH = (NOTHING_HIDDEN, ALL_BUT_COMPARED, ALL_HIDDEN, SOME_HIDDEN)
HIDES_DIFFERENCE = (
    "in which B differs from A: whoever opens it is told the value of B, and has no control for that of A."
)
LATE = """<p id="link-late" class="tl-card tl-notice" role="status" hidden>
The settings of this link have not arrived yet. The page asks for them again.</p>"""


class LinkBar:
    """Builds the button, the panel behind it and the notice, and holds their handlers."""

    def __init__(self, train: TrainTab) -> None:
        self.train = train
        self.controls = train.controls

    def build_button(self) -> None:
        self.button = gr.Button("Copy link", elem_id="copy-link", size="sm", scale=0, min_width=110)

    def build_panel(self) -> None:
        """The link, what a teacher can hide, and what was wrong with the link that led here."""
        gr.HTML(LATE, apply_default_css=False)
        self.again = gr.Button(visible="hidden", elem_id="link-again")
        self.notice = gr.HTML("", elem_id="link-notice", apply_default_css=False)
        with gr.Row(visible=False, elem_id="link-panel") as self.panel:
            self.link = gr.Textbox(
                label="Link to these settings", info=IN_CLIPBOARD, elem_id="link",
                buttons=["copy"], interactive=False, max_lines=1, scale=6,
            )  # fmt: skip
            names = [(field_label(name), name) for name in defaults()]
            with gr.Column(scale=4, min_width=260):
                self.how_much = gr.Radio(
                    [*HOW_MUCH], value=NOTHING_HIDDEN, label="Hide from whoever opens it", elem_id="link-how-much",
                    info="For a class: what is hidden keeps its value.",
                )  # fmt: skip
                self.hide = gr.Dropdown(
                    names, value=[], multiselect=True, show_label=False, visible=False, elem_id="link-hide",
                )  # fmt: skip
            self.close = gr.Button("Close", size="sm", scale=0, min_width=80, elem_id="link-close")

    def connect(self, demo: gr.Blocks) -> None:
        self.close.click(lambda: gr.update(visible=False), None, self.panel, queue=False, **QUIET)
        inputs = [self.train.locked, self.hide, *self.controls.inputs]
        asked = [self.how_much, *inputs[1:]]
        chosen = self.how_much.input(self.on_how_much, asked, self.hide, concurrency_limit=None, **LATEST)
        shown = [self.panel, self.link]
        for copied in (
            gr.on([self.button.click, self.hide.input], self.on_copy, inputs, shown, **LATEST),
            chosen.then(self.on_copy, inputs, shown, **LATEST),
        ):
            copied.then(None, self.link, self.link, js=COPY, **QUIET)
        self.train.address.change(None, self.train.address, None, js=KEEP_IN_STEP, **QUIET)
        # Not by the queue: a class that opens a link at the same time would be more than it holds.
        opened = [self.notice, self.train.locked, *self.train.settings]
        arrived = gr.on([demo.load, self.again.click], self.on_load, None, opened, queue=False, **QUIET)
        self.controls.bring_text_back(arrived)
        demo.load(None, js=ASK_AGAIN, **QUIET)

    def on_how_much(self, how_much: str | None, hidden: list[str] | None, *values: Any) -> Any:
        """The settings to hide; their list is shown where some are to be chosen, beginning with those that were."""
        if how_much == SOME_HIDDEN:
            return gr.update(visible=True)
        try:
            _, switch = self.controls.chosen(values)
        except ValueError as error:  # a number that is no number yet
            raise error_toast(error) from None
        left = {switch[0]} if switch and how_much == ALL_BUT_COMPARED else set()
        names = [] if how_much == NOTHING_HIDDEN else [name for name in defaults() if name not in left]
        return gr.update(value=names, visible=False)

    def on_copy(self, locked: Collection[str], hidden: list[str] | None, *values: Any) -> Updates:
        """The query of these settings; the page makes a link of it."""
        known = [name for name in defaults() if name in {*locked, *(hidden or [])}]
        try:
            query = self.controls.query(values, known)
        except ValueError as error:
            raise error_toast(error) from None
        if OWN_TEXT in values:
            query = f"{query}&corpus={OWN_TEXT_NOT_SENT}"
        # Beside the link, and not a toast, which would cover what stands at the top of the page.
        words = [IN_CLIPBOARD]
        if OWN_TEXT in values:
            words.append("Your own text is not in it. Whoever opens it is told so, and has the usual text instead.")
        if f"{START_FROM}={WEIGHTS_NOT_SENT}" in query:
            words.append("The weights to start from are not in it. Whoever opens it is told so, and has random ones.")
        _, switch = self.controls.chosen(values)
        if switch is not None and switch[0] in known:
            words.append(f"It hides “{field_label(switch[0])}”, {HIDES_DIFFERENCE}")
        return {self.panel: gr.update(visible=True), self.link: gr.update(value=query, info=" ".join(words))}

    def on_load(self, request: gr.Request) -> Updates:
        """Set the controls to what the address asks for, and say what of it cannot be."""
        query = dict(request.query_params) if request else {}
        link = read_query(query)
        if not (link.settings or link.hidden or link.problems):
            return {self.notice: notice_html([], {})}
        for settings in (link.settings, link.other):
            try:
                self.controls.starts.get(settings.get(START_FROM, RANDOM))
            except ValueError as error:
                link.problems.append(str(error))
                del settings[START_FROM]
        switch = next(iter(link.other.items()), None)
        words, session = "These are the settings of the link.", visit_of(request).session
        updates = self.train.settings_updates(link.settings, switch, words, session=session)
        return {**updates, **self.hiding_updates(link)}

    def hiding_updates(self, link: Link) -> Updates:
        """Hide what a link hides, and nothing else; and say so, with what was wrong in it."""
        hidden = {name: field_label(name) for name in link.hidden}
        address = self.controls.address(query_of(link.settings, link.other, [*hidden]))
        return {
            self.notice: notice_html(link.problems, hidden, address, self.controls.emptied(hidden)),
            self.train.locked: [*hidden],
            self.controls.components["switch"]: gr.update(
                value=next(iter(link.other), NOTHING),
                choices=[choice for choice in switch_choices() if choice[1] not in hidden or choice[1] in link.other],
            ),
        }

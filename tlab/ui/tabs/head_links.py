"""What shows the model and the head that an address asks for, and keeps the address in step with what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from tlab.ui.inspection.head_link import HeadLink, model_query, read_head_link
from tlab.ui.inspection.selection import SelectedModel, readable_text, selected_model
from tlab.ui.listening import LATEST, QUIET
from tlab.ui.settings.links import HEAD_LINK
from tlab.ui.tabs.attention.tab import Arrival, AttentionTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.tab import Updates
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import note_html, texts

HEAD_LINK_NAMES = f"/^({'|'.join(HEAD_LINK)})$/"

# The rest of the address, such as settings, stays as it is.
KEEP_HEAD_IN_ADDRESS = """query => {
  const others = location.search.slice(1).split("&").filter(pair => pair && !HEAD_LINK_NAMES.test(pair.split("=")[0]));
  const all = [...others, query].filter(Boolean).join("&");
  window.tlabSearch = all && `?${all}`;
  history.replaceState(history.state, "", location.pathname + window.tlabSearch + location.hash);
}""".replace("HEAD_LINK_NAMES", HEAD_LINK_NAMES)
# A model that was chosen on another tab: what Attention shows of it comes when that is opened.
KEEP_MODEL_IN_ADDRESS = f"""query => {{
  const modelOf = text => new URLSearchParams(text).get("model");
  if (modelOf(query) !== modelOf(location.search)) ({KEEP_HEAD_IN_ADDRESS})(query);
}}"""
# A moment later: the page hands out at its next frame what the answer has brought.
LOOK_AGAIN = """() => {
  const button = document.getElementById(`${location.hash.slice(1) || "attention"}-look`);
  setTimeout(() => button?.click(), 100);
}"""
ARRIVE = """() => {
  const asked = [...new URLSearchParams(location.search).keys()].some(name => HEAD_LINK_NAMES.test(name));
  if (asked) document.getElementById("head-link").click();
}""".replace("HEAD_LINK_NAMES", HEAD_LINK_NAMES)


# All that is there is still of the model before.
MEANWHILE = note_html("The pictures for this link are being computed …", "tl-meanwhile")


class HeadLinks:
    """Keeps the address of the page in step with the model and the head, and shows what an address asks for.

    Args:
        attention, inside, generate: the tabs that look into models; a link leads to that which is named behind its #.
    """

    def __init__(self, attention: AttentionTab, inside: InsideTab, generate: GenerateTab) -> None:
        self.attention, self.inside, self.generate, self.runs = attention, inside, generate, attention.runs

    def build(self) -> None:
        """What is said of a link, above all tabs."""
        self.notice = gr.HTML("", elem_id="head-link-notice", apply_default_css=False)
        self.arrived = gr.Button(visible="hidden", elem_id="head-link")
        self.search, self.landed = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        self.query = gr.Textbox(visible="hidden")

    def connect(self, demo: gr.Blocks) -> None:
        tab, others = self.attention, (self.inside, self.generate)
        lists = [one.choice.list for one in (tab, *others)]
        shown = [
            self.notice, tab.model_id, *lists, *self.boxes.values(), tab.selection, self.inside.selection, tab.shown,
            tab.arrival, tab.drawn["note"], self.inside.note,
        ]  # fmt: skip
        self.arrived.click(
            self.on_arrival, [self.search, self.landed], shown, js="() => [location.search, location.hash.slice(1)]",
            concurrency_limit=4, **QUIET,
        ).success(None, js=LOOK_AGAIN, **QUIET)  # fmt: skip
        tab.address.change(None, tab.address, None, js=KEEP_HEAD_IN_ADDRESS, **QUIET)
        for chosen in (event for other in others for event in other.choice.chosen):
            named = chosen.success(partial(model_query, self.runs), tab.model_id, self.query, **LATEST)
            named.success(None, self.query, None, js=KEEP_MODEL_IN_ADDRESS, **QUIET)
        demo.load(None, js=ARRIVE, **QUIET)

    @property
    def boxes(self) -> dict[str, gr.Textbox]:
        """Where the text that a model reads stands on each tab."""
        return {
            self.attention.key: self.attention.text,
            self.inside.key: self.inside.text,
            self.generate.key: self.generate.prompt,
        }

    def on_arrival(self, search: Any, landed: Any, request: gr.Request) -> Iterator[Updates]:
        """Read the model of a link, with words while that lasts, and select the head; what is wrong is said."""
        yield {self.notice: MEANWHILE}
        tab = self.attention
        link = read_head_link(dict(parse_qsl(str(search or "").lstrip("?"), keep_blank_values=True)), self.runs)
        problems, model_id = list(link.problems), link.model_id
        if model_id in self.runs.opened.places:
            try:
                yield from tab.choice.read(partial(self.runs.opened.use, model_id), self.notice)
            except ValueError:
                problems.append(self.runs.opened.why_not(model_id))
                model_id = None
        model_id = model_id or tab.model_id.value
        of = selected_model(self.runs, model_id, {"side": link.side, "step": link.step})
        own = {self.inside.key: of.run.excerpt, self.generate.key: of.prompt}.get(landed, of.excerpt)
        text = own if link.text is None else readable_text(of.checkpoint, link.text, own)
        if link.text is not None and text != link.text:
            problems.append("The model cannot read the text of the link, so this is another one.")
        model = {"side": of.side, "step": link.step, "serial": 0}
        updates: Updates = {
            tab.model_id: model_id,
            self.inside.selection: model,
            self.inside.note: MEANWHILE,
            self.boxes.get(landed, tab.text): text,
        }
        chosen = chosen_head(link, of, problems)
        if chosen or landed not in (self.inside.key, self.generate.key):
            read = text if link.text is not None else of.excerpt
            if len(chosen) < 2:
                chosen = {**tab.opening_head(of, read), **chosen}
            selection = {**model, **chosen}
            updates |= {
                tab.text: read, tab.selection: selection, tab.shown: None, tab.arrival: Arrival(selection, read),
                tab.drawn["note"]: MEANWHILE,
            }  # fmt: skip
        choices = tab.choice.choices(visit_of(request).session)
        for one in (tab, self.inside, self.generate):
            updates[one.choice.list] = gr.update(choices=choices, value=of.key)
        yield {self.notice: texts.note(" ".join(problems), "tl-notice") if problems else "", **updates}


def chosen_head(link: HeadLink, of: SelectedModel, problems: list[str]) -> dict[str, int]:
    """What a link says of layer and head; what the model has not becomes the first, and one of the `problems`."""
    config, chosen = of.checkpoint.model_config, {}
    for name, index, count in (("layer", link.layer, config.num_layers), ("head", link.head, config.num_heads)):
        if index is not None and index >= count:
            problems.append(f"There is no {name} {index + 1}: the model has {count}.")
        if index is not None:
            chosen[name] = index if index < count else 0
    return chosen

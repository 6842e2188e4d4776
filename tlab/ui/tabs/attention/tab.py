"""The Attention tab: which tokens each head looks at and why, in a text of one's own, at every stage of training."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from tlab.config import options
from tlab.inside.attention import next_tokens, score_statistics
from tlab.inside.positions import fits
from tlab.nn.config import ModelConfig
from tlab.nn.positions import POSITIONS
from tlab.source import notice
from tlab.training.checkpoint import Checkpoint
from tlab.ui.inspection.cache import MAX_TOKENS, ForwardResult
from tlab.ui.inspection.head_link import head_query
from tlab.ui.inspection.selection import (
    SelectedModel,
    clamp_int,
    find_model,
    readable_text,
    selected_model,
    serial_of,
    text_for_new_model,
)
from tlab.ui.listening import LATEST
from tlab.ui.tabs.attention import view
from tlab.ui.tabs.model_choice import ModelChoice
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.widgets.component import REPLACE_IF_UNTOUCHED, js_component, note_html, selection_component, words_html
from tlab.wording import head_name, sentence

NEXT_TOKENS = 6
MAX_CHARACTERS = 20_000  # of a text; a map reads far fewer


class Shown(NamedTuple):
    """What is on the page: of which model and text, which head and pair, and which kind of position."""

    run: str
    model: tuple[int, ...]
    text: str
    head: tuple[Any, Any]
    pair: tuple[Any, Any]
    kind: Any


class Arrival(NamedTuple):
    """Where a link has led. The page itself hands out one thing after another, and may still name what was before."""

    selection: dict[str, Any]
    text: str


class AttentionTab(Tab):
    """Builds the tab and holds its one handler.

    One listener serves every control, so that there is one question at a time, each with all that was chosen, and the
    last one is always answered. An answer carries the serial number of the selection that it answers.
    """

    title, key = "Attention", "attention"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.choice = ModelChoice(self.runs, self.model_id)

    def build(self, page: Page) -> None:
        """Lay it out with a telling head of the shipped model, and connect it."""
        of = find_model(self.runs, self.model_id.value)
        text = of.excerpt
        selection = {**self.opening_head(of, text), "serial": 0}
        drawn = self.pictures(of, selection, text)

        self.drawn: dict[str, gr.HTML] = {}

        def show(name: str, script: str | None = None, *libraries: str) -> None:
            value, elem_id = drawn[name], f"attention-{name}"
            if script is None:
                self.drawn[name] = gr.HTML(value, elem_id=elem_id, apply_default_css=False)
            else:
                self.drawn[name] = js_component(script, value, elem_id, "arrays", *libraries, tab=self.key)

        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.choice.build(self.key)
                self.text = gr.Textbox(text, label="Text to read", lines=2, max_lines=5, elem_id="attention-text")
                show("note")
                show("scrub", "widgets/step_slider")
                show("next")
                show("heads", "tabs/attention/heads")
            with gr.Column(scale=7, min_width=320):
                show("words")
                show("map", "tabs/attention/heatmap", "pictures/offer")
        with gr.Row(equal_height=True):
            with gr.Column(scale=5, min_width=320):
                show("statistics")
            with gr.Column(scale=7, min_width=320):
                show("pair", "tabs/attention/qk_pair")
        show("positions", "tabs/attention/positions")
        self.selection = selection_component("attention", selection)
        self.to_inside = selection_component("attention-to-inside", {})
        # What is on the page, so that a tab that only comes into view again is sent nothing; and a text in the place
        # of one that a new model cannot read.
        self.shown, self.instead = gr.State(shown_of(of, selection, text)), gr.JSON(None, visible=False)
        self.arrival = gr.State(None)
        # Not the text's "input", which is for typed keys only: pasted and deleted text counts as well.
        self.address = gr.Textbox(visible="hidden")  # the query of the address that leads to this head
        asked = [self.model_id, self.text, self.selection, self.shown, self.arrival]
        shown = [*self.drawn.values(), self.shown, self.instead, self.selection, self.arrival, self.address]
        looked = [self.selection.input, self.text.change, page.handle.select, self.choice.again.click]
        looks: dict[str, Any] = {"concurrency_id": self.key, **LATEST}
        for answered in (
            gr.on(looked, self.on_look, asked, shown, **looks),
            *(chosen.success(self.on_look, asked, shown, **looks) for chosen in self.choice.connect(page)),
        ):
            # In the browser, at the last moment: what a visitor has typed meanwhile must not be covered.
            answered.then(None, [self.text, self.instead], self.text, js=REPLACE_IF_UNTOUCHED)

    def on_look(
        self, run_id: str | None, text: str | None, selection: Any, shown: Any, arrival: Arrival | None = None
    ) -> Updates:
        """The pictures of what was selected: those that are not on the page already."""
        selection = selection if isinstance(selection, dict) else {}
        read = given = (text or "")[:MAX_CHARACTERS]
        updates: Updates = {}
        if arrival is not None:
            shown, selection, read = None, arrival.selection, arrival.text
            updates[self.arrival] = None
        of = selected_model(self.runs, run_id, selection)
        if not isinstance(shown, Shown):  # perhaps a head of another model
            shown, read = None, readable_text(of.checkpoint, read, of.excerpt)
        elif shown.run != of.key:  # a new model, perhaps of another alphabet, whose heads have other tasks
            read = text_for_new_model(of, given, of.excerpt, find_model(self.runs, shown.run).excerpt)
            selection = {**selection, "query": None, "key": None, **self.opening_head(of, read)}
            updates[self.selection] = selection
        now = shown_of(of, selection, read)
        if now == shown:
            return gr.skip()
        updates |= {self.shown: now, self.instead: [text, read] if read != given else None}
        try:
            pictures = self.pictures(of, selection, read)
        except ValueError as error:  # no toast: it may be a word that is not typed to its end
            words = f"{sentence(str(error))} The pictures are still of the text before."
            return {**updates, self.drawn["note"]: note_html(words, "tl-old-pictures")}
        # Most of the time goes into drawing, in the browser: so it is given only what has changed.
        changed = changed_pictures(shown, now)
        look = self.cache.look(of.checkpoint, read)
        seen = of.checkpoint.tokenizer.decode(look.reading.ids)
        updates[self.address] = head_query(of, pictures["heads"]["chosen"], read, seen)
        changed_ones = {self.drawn[name]: pictures[name] for name in pictures if changed is None or name in changed}
        return {**updates, **changed_ones}

    def opening_head(self, of: SelectedModel, text: str) -> dict[str, int]:
        """The head to begin with, as a selection; the first where none can be looked at."""
        try:
            opening, _ = view.opening_head(self.cache.look(of.checkpoint, text).reading)
        except ValueError:
            return {"layer": 0, "head": 0}
        return {"layer": opening.layer, "head": opening.head}

    def pictures(self, of: SelectedModel, selection: dict[str, Any], text: str) -> dict[str, Any]:
        """What each component shows, by the names of `drawn`."""
        look = self.cache.look(of.checkpoint, text)
        reading, tokens = look.reading, look.tokens
        L, H, T = reading.weights.shape[:3]
        layer, head = clamp_int(selection.get("layer"), 0, L - 1, 0), clamp_int(selection.get("head"), 0, H - 1, 0)
        query = clamp_int(selection.get("query"), 0, T - 1, T - 1)
        likeliest = int(reading.weights[layer, head, query].argmax())
        key = clamp_int(selection.get("key"), 0, query, likeliest)
        serial = serial_of(selection)
        portrait = reading.heads[layer * H + head]
        statistics = score_statistics(reading.queries[layer, head], reading.keys[layer, head], reading.bias[head],
                                      reading.score_cap)  # fmt: skip
        likely = next_tokens(reading, NEXT_TOKENS)
        names = of.checkpoint.tokenizer.tokens
        seen = of.checkpoint.tokenizer.decode(reading.ids)
        return {
            "scrub": of.slider(serial),
            "next": view.next_html(likely, names, seen, look.sample, of.step, "ab"[of.side]),
            "heads": view.heads_value(reading, layer, head, serial),
            "note": note_html(of.note(text, MAX_TOKENS)),
            "words": words_html(view.chosen_words(reading, portrait)),
            "map": {
                **view.map_value(tokens, reading, layer, head, query, key, serial),
                "file": of.file_name(head_name(layer, head)),
            },
            "statistics": view.statistics_html(statistics, portrait, T),
            "pair": view.pair_value(tokens, reading, layer, head, query, key),
            "positions": self.positions_of(of.checkpoint, selection.get("kind"), look, layer, head),
        }

    def positions_of(
        self, checkpoint: Checkpoint, kind: Any, look: ForwardResult, layer: int, head: int
    ) -> dict[str, Any]:
        """The pictures of the selected position kind, or of the model's own."""
        config = checkpoint.model_config
        kinds = [(key, POSITIONS.entries[key].label) for key in POSITIONS if fits(config, key)]
        kind = kind if isinstance(kind, str) and kind in dict(kinds) else config.position
        own = (look.reading, layer, head)
        made = self.cache.position(checkpoint, kind)
        end = None if POSITIONS[kind].unbounded else config.context_length
        return view.positions_value(kinds, kind, kind_words(config, kind), made, own, end)


def shown_of(of: SelectedModel, selection: dict[str, Any], text: str) -> Shown:
    """What will be on the page once a selection is answered."""
    model = (of.side, of.checkpoint.step, len(of.steps))
    head, pair = (selection.get("layer"), selection.get("head")), (selection.get("query"), selection.get("key"))
    return Shown(of.key, model, text, head, pair, selection.get("kind"))


def changed_pictures(before: Shown | None, now: Shown) -> set[str] | None:
    """Names of the pictures that differ from what was there before; None for all of them."""
    if before is None or before[:3] != now[:3]:
        return None
    changed: set[str] = set()
    if before.head != now.head:
        # The positions too: beside the kind, the chosen head is drawn.
        changed |= {"words", "map", "statistics", "pair", "positions"}
    if before.pair != now.pair:
        changed.add("pair")
    if before.kind != now.kind:
        changed.add("positions")
    return changed


def kind_words(config: ModelConfig, kind: str) -> str:
    """What a kind of position does, what to notice, and whose picture it is."""
    entry = POSITIONS.entries[kind]
    own = kind == config.position
    whose = "The model uses it." if own else "The model does not use it: so it would begin, before any training."
    remark = notice(entry.component)
    names = entry.component.options if own else ()
    chosen = [f"{options(ModelConfig)[name].label} here: {getattr(config, name):,.10g}." for name in names]
    return " ".join(part for part in (entry.summary, remark and f"Notice: {remark}", *chosen, whose) if part)

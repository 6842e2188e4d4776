"""The Attention tab: which tokens each head looks at and why, in a text of one's own, at every stage of training."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from tlab.inside.attention import next_tokens, score_statistics
from tlab.inside.positions import fits, sizes_of
from tlab.nn.config import ModelConfig
from tlab.nn.positions import POSITIONS
from tlab.source import notice
from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import EXCERPT
from tlab.ui.inspection.cache import ForwardResult, InspectionCache
from tlab.ui.inspection.selection import SelectedModel, clamp_int, find_model, readable_text
from tlab.ui.runs.manager import Runs
from tlab.ui.tabs.attention.view import (
    attention_map,
    head_words,
    heads_value,
    map_value,
    next_html,
    pair_card,
    pair_value,
    positions_card,
    positions_value,
    statistics_html,
    thumbs,
)
from tlab.ui.widgets.component import QUIET, error_toast, note_html, words_html
from tlab.ui.widgets.select import scrubber, selection_component

NEXT_TOKENS = 6
MAX_CHARACTERS = 20_000  # of a text; a map reads far fewer
NUM_OUTPUTS = 11  # nine pictures, what is shown, and a text instead of the visitor's
MOST = 1_000_000_000  # of any number that a page may send


class Shown(NamedTuple):
    """What is on the page: of which model and text, which head and pair, and which kind of position."""

    run: str
    model: tuple[int, ...]
    text: str
    head: tuple[Any, Any]
    pair: tuple[Any, Any]
    kind: Any


class AttentionTab:
    """Builds the tab and holds its one handler.

    One listener serves every control, so that there is one question at a time, each with all that was chosen, and the
    last one is always answered. An answer carries the serial number of the selection that it answers.
    """

    def __init__(self, runs: Runs, run_id: gr.State, cache: InspectionCache) -> None:
        self.runs = runs
        self.run_id = run_id
        self.cache = cache

    def build(self, tab: gr.Tab) -> None:
        """Lay it out with the head of the shipped model that is surest where to look, and connect it."""
        of = find_model(self.runs, None)
        layer, head = surest_head(self.cache.look(of.checkpoint, EXCERPT))
        selection = {"layer": layer, "head": head, "serial": 0}
        pictures = iter(self.pictures(of, selection, EXCERPT))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.text = gr.Textbox(EXCERPT, label="Text to read", lines=2, max_lines=5, elem_id="attention-text")
                self.scrub = scrubber(next(pictures), "attention")
                self.next = gr.HTML(next(pictures), elem_id="attention-next", apply_default_css=False)
                self.heads = thumbs(next(pictures))
                self.note = gr.HTML(next(pictures), elem_id="attention-note", apply_default_css=False)
            with gr.Column(scale=7, min_width=320):
                self.words = gr.HTML(next(pictures), elem_id="attention-words", apply_default_css=False)
                self.map = attention_map(next(pictures))
        with gr.Row(equal_height=True):
            with gr.Column(scale=5, min_width=320):
                self.statistics = gr.HTML(next(pictures), elem_id="attention-statistics", apply_default_css=False)
            with gr.Column(scale=7, min_width=320):
                self.pair = pair_card(next(pictures))
        self.positions = positions_card(next(pictures))
        self.selection = selection_component("attention", selection)
        # What is on the page, so that a tab that only comes into view again is sent nothing; and a text in the place
        # of one that a new model cannot read.
        shown, instead = gr.State(shown_of(of, selection, EXCERPT)), gr.JSON(None, visible=False)
        outputs = [self.scrub, self.next, self.heads, self.note, self.words, self.map, self.statistics, self.pair,
                   self.positions, shown, instead]  # fmt: skip
        # Not the text's "input", which is for typed keys only: pasted and deleted text counts as well.
        answered = gr.on(
            [self.selection.input, self.text.change, tab.select],
            self.on_look,
            [self.run_id, self.text, self.selection, shown],
            outputs,
            trigger_mode="always_last",
            **QUIET,
        )
        # In the browser, at the last moment: what a visitor has typed meanwhile must not be covered.
        answered.then(None, [self.text, instead], self.text, js=REPLACE_IF_UNTOUCHED)

    def on_look(self, run_id: str | None, text: str | None, selection: Any, shown: Any) -> list[Any]:
        """The pictures of what was selected: those that are not on the page already."""
        selection = selection if isinstance(selection, dict) else {}
        of = self.find_model(run_id, selection)
        read = given = (text or "")[:MAX_CHARACTERS]
        if not isinstance(shown, Shown) or shown.run != of.key:  # a new model, perhaps of another alphabet
            read = readable_text(of.checkpoint, given, of.excerpt)
        now = shown_of(of, selection, read)
        if now == shown:
            return [gr.skip()] * NUM_OUTPUTS
        try:
            pictures = self.pictures(of, selection, read)
        except ValueError as error:
            raise error_toast(error) from None
        # Most of the time goes into drawing, in the browser: so it is given only what has changed.
        fresh = changes(shown if isinstance(shown, Shown) else None, now)
        pictures = [picture if new else gr.skip() for picture, new in zip(pictures, fresh, strict=True)]
        return [*pictures, now, [text, read] if read != given else None]

    def find_model(self, run_id: str | None, selection: dict[str, Any]) -> SelectedModel:
        """The selected model."""
        step = selection.get("step")
        step = None if step is None else clamp_int(step, 0, MOST, 0)
        return find_model(self.runs, run_id, clamp_int(selection.get("side"), 0, 1, 0), step)

    def pictures(self, of: SelectedModel, selection: dict[str, Any], text: str) -> list[Any]:
        """Scrubber, next tokens, heads, note, words, map, numbers, pair, positions: in the order of the page."""
        look = self.cache.look(of.checkpoint, text)
        reading, tokens = look.reading, look.tokens
        L, H, T = reading.weights.shape[:3]
        layer, head = clamp_int(selection.get("layer"), 0, L - 1, 0), clamp_int(selection.get("head"), 0, H - 1, 0)
        query = clamp_int(selection.get("query"), 0, T - 1, T - 1)
        likeliest = int(reading.weights[layer, head, query].argmax())
        key = clamp_int(selection.get("key"), 0, query, likeliest)
        serial = clamp_int(selection.get("serial"), 0, MOST, 0)
        portrait = reading.heads[layer * H + head]
        statistics = score_statistics(reading.queries[layer, head], reading.keys[layer, head], reading.bias[head])
        scrub = {"steps": of.steps, "step": of.checkpoint.step, "labels": of.labels, "side": of.side, "serial": serial}
        likely = next_tokens(reading, NEXT_TOKENS)
        names = of.checkpoint.tokenizer.tokens
        seen = of.checkpoint.tokenizer.decode(reading.ids)
        return [
            scrub,
            next_html(likely, names, seen, look.sample, of.checkpoint.step),
            heads_value(reading, layer, head, serial),
            note_html(of.words + reads_words(look)),
            words_html(head_words(portrait)),
            map_value(tokens, reading, layer, head, query, key, serial),
            statistics_html(statistics, portrait, T),
            pair_value(tokens, reading, layer, head, query, key),
            self.positions_of(of.checkpoint, selection.get("kind"), look, layer, head),
        ]

    def positions_of(
        self, checkpoint: Checkpoint, kind: Any, look: ForwardResult, layer: int, head: int
    ) -> dict[str, Any]:
        """The pictures of the selected position kind, or of the model's own."""
        config = checkpoint.model_config
        kinds = [(key, POSITIONS.entries[key].label) for key in POSITIONS if fits(sizes_of(config), key)]
        kind = kind if isinstance(kind, str) and kind in dict(kinds) else config.position
        own = (look.reading, layer, head)
        made = self.cache.position(checkpoint, kind)
        end = None if POSITIONS[kind].unbounded else config.context_length
        return positions_value(kinds, kind, kind_words(config, kind), made, own, end)


def shown_of(of: SelectedModel, selection: dict[str, Any], text: str) -> Shown:
    """What will be on the page once a selection is answered."""
    model = (of.side, of.checkpoint.step, len(of.steps))
    head, pair = (selection.get("layer"), selection.get("head")), (selection.get("query"), selection.get("key"))
    return Shown(of.key, model, text, head, pair, selection.get("kind"))


def changes(before: Shown | None, now: Shown) -> list[bool]:
    """For each picture of `AttentionTab.pictures`, whether it differs from what was there before."""
    if before is None or before[:3] != now[:3]:
        return [True] * 9
    head = before.head != now.head
    pair = head or before.pair != now.pair
    kind = head or before.kind != now.kind  # beside the kind, the chosen head is drawn
    return [False] * 4 + [head] * 3 + [pair, kind]


REPLACE_IF_UNTOUCHED = "(text, instead) => instead && text === instead[0] ? instead[1] : text"


def surest_head(look: ForwardResult) -> tuple[int, int]:
    """Layer and head, from 0, of least entropy."""
    best = min(look.reading.heads, key=lambda portrait: portrait.entropy)
    return best.layer, best.head


def reads_words(look: ForwardResult) -> str:
    """How much of a long text is read."""
    read = len(look.tokens)
    return f" It reads the first {read} of the {look.given:,} tokens." if look.given > read else ""


def kind_words(config: ModelConfig, kind: str) -> str:
    """What a kind of position does, what to notice, and whose picture it is."""
    entry = POSITIONS.entries[kind]
    own = kind == config.position
    whose = "The model uses it." if own else "The model does not use it: so it would begin, before any training."
    remark = notice(entry.component)
    return " ".join(part for part in (entry.summary, remark and f"Notice: {remark}", whose) if part)

"""The Generate tab: the model writes, and shows how each token was chosen. Two sides write to one prompt."""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from tlab.generate import Chain, Sampling, Token, candidates, generate, sampling_steps
from tlab.machine import one_blas_thread
from tlab.ui.demo.shipped_run import PROMPT, is_shipped
from tlab.ui.inspection.cache import MAX_PROMPT
from tlab.ui.inspection.selection import SelectedModel, clamp_int, find_model, serial_of, text_for_new_model
from tlab.ui.listening import LATEST, QUIET
from tlab.ui.settings.fields import field_value
from tlab.ui.tabs.generate.texts import GeneratedText, GeneratedTexts, seen_tokens
from tlab.ui.tabs.model_choice import ModelChoice
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.widgets.component import (
    REPLACE_IF_UNTOUCHED,
    error_toast,
    js_component,
    note_html,
    number_field,
    selection_component,
)
from tlab.wording import listed, percent, sentence, several

MAX_TOKENS = 1000
TOKENS_PER_FRAME = 6
SECONDS_OF_FRAME = 0.15  # that a large model writes before what there is is shown
SECONDS_BETWEEN_FRAMES = 0.05  # a pace that an eye can follow; the model itself would be ten times faster
MAX_SECONDS = 60.0
TOKENS, TEMPERATURE = 300, 0.8  # as the sliders begin
CANDIDATES = 20  # rows of the chain
SIDES = 2


class GenerateTab(Tab):
    """Builds the tab and holds its handlers: one that writes, and one that shows how a token is chosen."""

    title, key = "Generate", "generate"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.writings = GeneratedTexts()
        self.choice = ModelChoice(self.runs, self.model_id)
        self.latest: dict[str, tuple[str, object]] = {}  # page -> which model writes for it, and in which call

    def build(self, page: Page) -> None:
        """Lay it out with a text of the shipped model's sides, and connect it."""
        of = self.find_models(self.model_id.value)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.build_controls()
            with gr.Column(scale=8, min_width=320):
                self.columns, self.texts, self.chains = [], [], []
                with gr.Row(equal_height=False):
                    for side in range(SIDES):
                        with gr.Column(min_width=320, visible=side < len(of)) as column:
                            self.build_side(of, side)
                        self.columns.append(column)
                self.note = gr.HTML(note(of), elem_id="generate-note", apply_default_css=False)
        self.selection = selection_component("generate", {"serial": 0})
        self.instead = selection_component("instead", {"serial": 0})
        self.writer = gr.State(of[0].key)  # whose text is shown
        self.answered = gr.State(None)  # the prompt, and the last selection before it changed
        self.branched = gr.State(0)  # the last selection for another token
        self.another = gr.JSON(None, visible=False)  # a prompt in the place of one that a new model cannot read

        chosen = self.choice.connect(page)
        settings = [self.temperature, self.top_k, self.top_p, self.repetition]
        writing = gr.on(
            [self.write.click, self.instead.input],
            self.on_write,
            [self.model_id, self.prompt, *settings, self.count, self.seed, self.instead, self.branched],
            [*self.texts, *self.columns, self.note, self.writer, self.branched],
            concurrency_limit=4,
            **LATEST,
        )
        self.halt.click(None, cancels=[writing], **QUIET)
        state = [self.writer, self.answered]
        came = [page.handle.select, self.choice.again.click]
        moved = [self.selection.input, self.prompt.change, *(slider.input for slider in settings), *came]
        asked = [self.model_id, self.prompt, *settings, self.selection, *state]
        shown = [*self.chains, *self.texts, *self.columns, self.note, *state, self.another]
        looks: dict[str, Any] = {"concurrency_id": self.key, **LATEST}
        for looking in (
            gr.on(moved, self.on_look, asked, shown, **looks),
            *(event.success(self.on_look, asked, shown, **looks) for event in chosen),
        ):
            # In the browser, at the last moment: what a visitor has typed meanwhile must not be covered.
            looking.success(None, [self.prompt, self.another], self.prompt, js=REPLACE_IF_UNTOUCHED)

    def build_side(self, of: list[SelectedModel], side: int) -> None:
        """A text, and below it how its tokens are chosen."""
        text, chain = self.opening(of, side)
        ending = ("", "-b")[side]
        props = {"tab": self.key, "side": side, "elem_classes": f"tl-side-{'ab'[side]}"}
        written, sampling = "tabs/generate/generated_text", "tabs/generate/sampling"
        self.texts.append(js_component(written, text, f"written-text{ending}", "arrays", **props))
        self.chains.append(js_component(sampling, chain, f"chain{ending}", "arrays", **props))

    def leave(self, page: str) -> None:
        self.writings.forget(page)
        self.latest.pop(page, None)

    def build_controls(self) -> None:
        self.choice.build(self.key)
        self.prompt = gr.Textbox(PROMPT, label="Prompt", lines=3, max_lines=8, elem_id="prompt",
                                 info="The model goes on from here.")  # fmt: skip
        with gr.Row(elem_classes="tl-buttons"):
            self.write = gr.Button("Generate", variant="primary", elem_id="write")
            self.halt = gr.Button("Stop", elem_id="halt")
        self.temperature = gr.Slider(
            0, 2, TEMPERATURE, step=0.05, label="Temperature", elem_id="temperature", buttons=[],
            info="0 always takes the most likely token; above 1 unlikely tokens become more likely.",
        )  # fmt: skip
        self.top_k = gr.Slider(0, 50, 0, step=1, label="Top-k", elem_id="top-k", buttons=[],
                               info="Choose among the k likeliest only; 0 for all.")  # fmt: skip
        self.top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", elem_id="top-p", buttons=[],
                               info="Choose among the most likely that together have this probability.")  # fmt: skip
        self.repetition = gr.Slider(1, 2, 1, step=0.05, label="Repetition penalty", elem_id="repetition", buttons=[],
                                    info="Above 1, what the context already has becomes less likely.")  # fmt: skip
        self.count = gr.Slider(20, MAX_TOKENS, TOKENS, step=20, label="Tokens", elem_id="count", buttons=[])
        self.seed = number_field(
            0, (int,), 0, 2**32 - 1, "", label="Seed", elem_id="seed", info="Same seed, same text."
        )

    def opening(self, of: list[SelectedModel], side: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The text and the chain of a side when the page opens; empty where the shipped run has no such side."""
        if side >= len(of):
            return empty_text(""), {"rows": []}
        return self.first_text(of, side), self.chain(of[side], of[side].prompt, Sampling(TEMPERATURE), None)

    def first_text(self, of: list[SelectedModel], side: int) -> dict[str, Any]:
        """What is there before anything was asked for: of a shipped model its own text, of another none."""
        if side >= len(of) or not is_shipped(of[side].run):
            return empty_text(title(of, side))
        checkpoint, prompt = of[side].checkpoint, of[side].prompt
        writing = self.writings.shipped_by(checkpoint)
        if writing is None:
            writing = self.writings.ship(checkpoint, prompt)
            for token in generate(checkpoint, prompt, max_new_tokens=TOKENS, temperature=TEMPERATURE, seed=0):
                writing.add(token)
        return text_value(writing, title(of, side))

    def find_models(self, run_id: str | None) -> list[SelectedModel]:
        """The models that write: one a side; of a side whose model had to make room, none."""
        first = find_model(self.runs, run_id)
        others = [find_model(self.runs, run_id, side) for side in range(1, len(first.labels))]
        return [first, *(model for model in others if model.key == first.key)]

    # -------------------------------------------------------------------------------- how a token is chosen

    def on_look(
        self, run_id: str | None, prompt: Any, temperature: Any, top_k: Any, top_p: Any, repetition: Any,
        selection: Any, writer: Any, answered: Any, request: gr.Request,
    ) -> Updates:  # fmt: skip
        """How the next token, or the one that was clicked, is chosen with these settings, on every side.

        The tab may also have come into view with a new model, of another alphabet: another's text is not its own.
        """
        of = self.find_models(run_id)
        selection = selection if isinstance(selection, dict) else {}
        read = given = str(prompt or "")[-MAX_PROMPT:]
        page = request.session_hash or ""
        writer, _ = self.latest.get(page, (writer, None))  # which the page knows only when that answer has come
        new_model = of[0].key != writer
        if new_model:
            self.latest.pop(page, None)  # what the one before still writes ends
            read = text_for_new_model(of[0], given, of[0].prompt, find_model(self.runs, writer).prompt)
        # Who types a prompt wants to see what comes after it, and no longer the token that was clicked before.
        serial = serial_of(selection)
        last_prompt, since = answered or (given, 0)
        since = since if read == last_prompt else serial
        sampling = sampling_of(temperature, top_k, top_p, repetition)
        updates: Updates = {
            self.note: note(of),
            self.writer: of[0].key,
            self.answered: (read, since),
            self.another: [prompt, read] if read != given else None,
        }
        for side, model in enumerate(of):
            at = selection.get("ab"[side]) if serial > since else None
            updates[self.chains[side]] = self.chain(model, read, sampling, self.writings.place(at))
        if new_model:
            updates |= self.sides(of)
            if page not in self.latest:  # else it was let write meanwhile, and its text is on the page
                updates |= {text: self.first_text(of, side) for side, text in enumerate(self.texts)}
        return updates

    def sides(self, of: list[SelectedModel]) -> Updates:
        """A column for each side that writes."""
        return {column: gr.update(visible=side < len(of)) for side, column in enumerate(self.columns)}

    def chain(
        self, of: SelectedModel, prompt: str, sampling: Sampling, at: tuple[GeneratedText, int] | None
    ) -> dict[str, Any]:
        """The likeliest tokens after the prompt, or at a place of a text, on their way from logit to probability."""
        names = of.checkpoint.tokenizer.tokens
        where, number, place = "next, after the prompt", "", None
        drawn, written, logits = None, [], None
        if at is not None and len(at[0].logits[at[1]]) == len(names):  # else of a run that was on the page before
            writing, place = at
            number, drawn, logits = writing.number, writing.ids[place], writing.logits[place]
            prompt, written = writing.prompt, writing.ids[:place]
            where = f"in place of “{names[drawn]}”, token {place + 1} of the text"
        try:
            if logits is None:
                logits = self.cache.next_logits(of.checkpoint, prompt)
            steps = sampling_steps(logits, sampling, seen=seen_tokens(of.checkpoint, prompt, written))
        except ValueError as error:  # not a toast: it may be a word that is not typed to its end
            return {"rows": [], "words": sentence(str(error)), "where": where, "number": "", "place": None}
        value = chain_value(candidates(steps, CANDIDATES, drawn), names, where, drawn, len(logits), sampling)
        return {**value, "number": number, "place": place}

    # -------------------------------------------------------------------------------- writing

    def on_write(
        self, run_id: str | None, prompt: Any, temperature: Any, top_k: Any, top_p: Any, repetition: Any,
        count: Any, seed: Any, instead: Any, branched: Any, request: gr.Request,
    ) -> Iterator[Updates]:  # fmt: skip
        """Frames of growing texts, one a side; they grow at their ends only, so that Gradio sends what is new."""
        of = self.find_models(run_id)
        instead = instead if isinstance(instead, dict) else {}
        serial = serial_of(instead)
        only = clamp_int(instead.get("side"), 0, SIDES - 1, 0) if serial != branched else None
        count = min(max(int(count or 1), 1), MAX_TOKENS)
        sampling = sampling_of(temperature, top_k, top_p, repetition)
        sources: dict[int, tuple[GeneratedText, Iterator[Token]]] = {}
        try:
            first_seed = field_value("seed", seed, (int, type(None))) or 0
            for side, model in enumerate(of):
                if only is None:
                    text = str(prompt or "")[-MAX_PROMPT:]
                    writing = self.writings.begin(model.checkpoint, text, count, request.session_hash or "")
                elif side == only:
                    writing, text = self.writings.branch(instead, model.checkpoint, MAX_TOKENS, sampling)
                else:
                    continue
                left = max(0, count - len(writing.tokens))
                tokens = generate(model.checkpoint, text, max_new_tokens=left, **sampling.to_json(), seed=first_seed)
                sources[side] = (writing, tokens)
        except ValueError as error:
            raise error_toast(error) from None
        about: Updates = {self.note: note(of), self.writer: of[0].key, self.branched: serial, **self.sides(of)}
        page, call = request.session_hash or "", (of[0].key, object())
        self.latest[page] = call
        for frame in frames(sources):
            if self.latest.get(page) is not call:
                return
            texts = {self.texts[side]: text_value(text, title(of, side)) for side, text in frame.items()}
            yield {**about, **texts}
            about = {}


def frames(sources: dict[int, tuple[GeneratedText, Iterator[Token]]]) -> Iterator[dict[int, GeneratedText]]:
    """Let all sides write at once, a few tokens a frame."""
    until = time.monotonic() + MAX_SECONDS
    busy = True
    while True:
        yield {side: writing for side, (writing, _) in sources.items()}
        if not busy or time.monotonic() > until:
            return
        busy = False
        for writing, tokens in sources.values():
            shown_at = time.monotonic() + SECONDS_OF_FRAME
            with one_blas_thread():  # one token at a time has no work for two
                for token in itertools.islice(tokens, TOKENS_PER_FRAME):
                    writing.add(token)
                    busy = True
                    if time.monotonic() > shown_at:
                        break
        time.sleep(SECONDS_BETWEEN_FRAMES)


def sampling_of(temperature: Any, top_k: Any, top_p: Any, repetition: Any) -> Sampling:
    """What the sliders say; the words of a refusal where it is nonsense."""
    try:
        return Sampling(
            0.0 if temperature is None else temperature,
            int(top_k) if top_k else None,
            top_p or None,
            1.0 if repetition is None else repetition,
        )
    except ValueError as error:
        raise error_toast(error) from None


def chain_value(
    chain: Chain, names: tuple[str, ...], where: str, drawn: int | None, V: int, sampling: Sampling
) -> dict[str, Any]:
    """What the table of a chain shows; at temperature 0 nothing is divided, and nothing is left to filter."""
    temperature, filters = sampling.temperature, filters_of(sampling)
    rows = [
        [
            c.id, names[c.id], c.logit, c.penalized, c.penalized / temperature if temperature else None,
            c.kept, c.probability,
        ]
        for c in chain.candidates
    ]  # fmt: skip
    cut = V - chain.num_kept
    if not temperature:
        removed = "At temperature 0 the likeliest token is always taken."
    elif not filters:
        removed = "Top-k and top-p are off: every token can come."
    elif not cut:
        removed = f"{filters} cuts nothing here."
    else:
        removed = (
            f"{filters} cuts {cut} of {several(V, 'token')}, and with them {percent(chain.cut)} of the probability."
        )
    choice = f" The choice is as uncertain as one among {math.exp(chain.entropy):.1f} equally likely tokens."
    rest = f" All others together: {percent(chain.others)}." if chain.others > 5e-4 else ""
    filtered = bool(filters and temperature)
    return {"rows": rows, "where": where, "drawn": drawn, "filtered": filtered, "words": removed + rest + choice}


def filters_of(sampling: Sampling) -> str:
    """What removes unlikely tokens, as the beginning of a sentence."""
    top_k = f"Top-k {sampling.top_k}" if sampling.top_k else ""
    top_p = f"top-p {sampling.top_p:g}" if sampling.top_p and sampling.top_p < 1 else ""
    both = listed([name for name in (top_k, top_p) if name])
    return both[:1].upper() + both[1:]


def text_value(writing: GeneratedText, heading: str) -> dict[str, Any]:
    return {"title": heading, "prompt": writing.prompt, "tokens": list(writing.tokens), "number": writing.number}


def empty_text(heading: str) -> dict[str, Any]:
    return {"title": heading, "prompt": "", "tokens": [], "number": secrets.token_urlsafe(9)}


def title(of: list[SelectedModel], side: int) -> str:
    return f"{'AB'[side]}: {of[side].labels[side]}" if 1 < len(of) > side else "Text"


def note(of: list[SelectedModel]) -> str:
    if len({model.checkpoint.step for model in of}) > 1 or len(of) == 1:
        return note_html(" ".join(model.words for model in of))
    return note_html(f"The models are those of {of[0].whose}, after {several(of[0].checkpoint.step, 'step')}.")

"""The Generate tab: the model writes, and shows how each token was chosen. Two sides write to one prompt."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from tlab.generate import Token, candidates, check_sampling, generate, sampling_steps
from tlab.types import Array
from tlab.ui.demo import PROMPT
from tlab.ui.look_parts import chain_card, chain_value, wish_component, written_text
from tlab.ui.parts import note_html
from tlab.ui.readings import MAX_PROMPT, Readings, Subject, readable_text, subject, whole
from tlab.ui.runs import Runs
from tlab.ui.train_tab import QUIET, refusal
from tlab.ui.writings import Writing, Writings

MAX_TOKENS = 1000
AT_ONCE = 6  # tokens in a frame
SECONDS_BETWEEN_FRAMES = 0.05  # with AT_ONCE a pace that an eye can follow; the model itself would be ten times faster
SECONDS_AT_MOST = 60.0
CANDIDATES = 20  # rows of the chain
LARGEST = 1_000_000_000  # of any whole number that a page may send
SIDES = 2


class Sampling(NamedTuple):
    """What the sliders say, checked."""

    temperature: float
    top_k: int | None
    top_p: float | None


class GenerateTab:
    """Builds the tab and holds its handlers: one that writes, and one that shows how a token is chosen."""

    def __init__(self, runs: Runs, run_id: gr.State, readings: Readings) -> None:
        self.runs = runs
        self.run_id = run_id
        self.readings = readings
        self.writings = Writings()

    def build(self, tab: gr.Tab) -> None:
        """Lay it out with a text of the shipped model's sides, and connect it."""
        of = self.subjects(None)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.build_controls()
            with gr.Column(scale=8, min_width=320):
                shown = [[text, chain] for text, chain in (self.opening(of, side) for side in range(SIDES))]
                with gr.Row(equal_height=False):
                    columns, self.texts, self.chains = [], [], []
                    for side, (text, chain) in enumerate(shown):
                        with gr.Column(min_width=320, visible=side < len(of)) as column:
                            self.texts.append(written_text(text, side))
                            self.chains.append(chain_card(chain, side))
                        columns.append(column)
                self.note = gr.HTML(note(of), elem_id="generate-note", apply_default_css=False)
        self.wish = wish_component("generate", {"serial": 0})
        self.instead = wish_component("instead", {"serial": 0})
        writer = gr.State(of[0].key)  # whose text is shown
        asked = gr.State(None)  # the prompt, and the wishes before it changed
        another = gr.JSON(None, visible=False)  # a prompt in the place of one that a new model cannot read

        settings = [self.temperature, self.top_k, self.top_p]
        writing = gr.on(
            [self.write.click, self.instead.input],
            self.on_write,
            [self.run_id, self.prompt, *settings, self.count, self.seed, self.instead, writer],
            [*self.texts, self.note, writer, *columns[1:]],
            concurrency_limit=4,
            trigger_mode="always_last",
            **QUIET,
        )
        self.halt.click(None, cancels=[writing], **QUIET)
        answered = gr.on(
            [self.wish.input, self.prompt.change, *(slider.input for slider in settings), tab.select],
            self.on_look,
            [self.run_id, self.prompt, *settings, self.wish, writer, asked],
            [*self.chains, *self.texts, self.note, writer, asked, another, *columns[1:]],
            trigger_mode="always_last",
            **QUIET,
        )
        # In the browser, at the last moment: what a visitor has typed meanwhile must not be covered.
        untouched = "(prompt, another) => another && prompt === another[0] ? another[1] : prompt"
        answered.success(None, [self.prompt, another], self.prompt, js=untouched)

    def build_controls(self) -> None:
        """The prompt and how tokens are drawn."""
        self.prompt = gr.Textbox(PROMPT, label="Prompt", lines=3, max_lines=8, elem_id="prompt",
                                 info="The model goes on from here.")  # fmt: skip
        self.temperature = gr.Slider(
            0, 2, 0.8, step=0.05, label="Temperature", elem_id="temperature", buttons=[],
            info="0 takes the likeliest token every time; above 1 the unlikely get more than their chance.",
        )  # fmt: skip
        self.top_k = gr.Slider(0, 50, 0, step=1, label="Top-k", elem_id="top-k", buttons=[],
                               info="Choose among the k likeliest only; 0 for all.")  # fmt: skip
        self.top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", elem_id="top-p", buttons=[],
                               info="Choose among the likeliest that together have this chance.")  # fmt: skip
        self.count = gr.Slider(20, MAX_TOKENS, 300, step=20, label="Tokens", elem_id="count", buttons=[])
        self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1, elem_id="seed",
                              info="Same seed, same text.")  # fmt: skip
        with gr.Row(elem_classes="tl-buttons"):
            self.write = gr.Button("Write", variant="primary", elem_id="write")
            self.halt = gr.Button("Stop", elem_id="halt")

    def opening(self, of: list[Subject], side: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The text and the chain of a side when the page opens; empty where the shipped run has no such side."""
        if side >= len(of):
            return self.empty_text(""), {"rows": [], "words": "", "where": "", "drawn": None}
        sampling = Sampling(0.8, None, None)
        written = self.writings.begin(of[side].checkpoint, PROMPT, 300, keep=True)
        for token in generate(of[side].checkpoint, PROMPT, max_new_tokens=300, seed=0):
            written.add(token)
        return text_value(written, title(of, side)), self.chain(of[side], PROMPT, sampling, None, None)

    # -------------------------------------------------------------------------------- handlers

    def on_look(
        self, run_id: str | None, prompt: str | None, temperature: Any, top_k: Any, top_p: Any, wish: Any, writer: Any,
        asked: Any,
    ) -> list[Any]:  # fmt: skip
        """How the next token, or the one that was clicked, is chosen with these settings, on every side.

        The tab may also have come into view with a new model, of another alphabet: another's text is not its own.
        """
        of = self.subjects(run_id)
        wish = wish if isinstance(wish, dict) else {}
        given = (prompt or "")[-MAX_PROMPT:]
        new_model = of[0].key != writer
        read = given
        if new_model:
            beginning = PROMPT if of[0].run is None else of[0].excerpt[:12]
            read = readable_text(of[0].checkpoint, given, beginning)
        serial = whole(wish.get("serial"), 0, LARGEST, 0)
        # Who types a prompt wants to see what comes behind it, no longer the token that was clicked before.
        last_prompt, since = asked if isinstance(asked, list) and len(asked) == 2 else (given, 0)
        since = since if read == last_prompt else serial
        sampling = sampling_of(temperature, top_k, top_p)
        chains = []
        for side in range(SIDES):
            at = wish.get("ab"[side]) if serial > since else None
            written, place = self.place(at)
            chains.append(self.chain(of[side], read, sampling, written, place) if side < len(of) else gr.skip())
        texts = [self.empty_text(title(of, side)) if new_model else gr.skip() for side in range(SIDES)]
        note_now = note(of) if new_model else gr.skip()
        another = [prompt, read] if read != given else None
        return [*chains, *texts, note_now, of[0].key, [read, since], another, gr.update(visible=len(of) > 1)]

    def on_write(
        self, run_id: str | None, prompt: str | None, temperature: Any, top_k: Any, top_p: Any, count: Any, seed: Any,
        instead: Any = None, writer: Any = None,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Frames of growing texts, one a side; they grow at their ends only, so that Gradio sends what is new."""
        of = self.subjects(run_id)
        sampling = sampling_of(temperature, top_k, top_p)
        number = min(int(count or 1), MAX_TOKENS)
        sources: dict[int, tuple[Writing, Iterator[Token]]] = {}
        try:
            branch = self.writings.branch(instead)
            for side, subject_of in enumerate(of):
                if branch is None:
                    written, text = self.writings.begin(subject_of.checkpoint, (prompt or "")[-MAX_PROMPT:], number), None
                elif side == branch.side:
                    written, text = branch.start(number)
                else:
                    continue
                tokens = generate(
                    written.checkpoint or subject_of.checkpoint,
                    written.prompt if text is None else text,
                    max_new_tokens=number - len(written.tokens),
                    temperature=sampling.temperature,
                    top_k=sampling.top_k,
                    top_p=sampling.top_p,
                    seed=int(seed or 0),
                )
                sources[side] = (written, tokens)
        except ValueError as error:
            raise refusal(error) from None
        yield from self.stream(of, sources)

    def stream(
        self, of: list[Subject], sources: dict[int, tuple[Writing, Iterator[Token]]]
    ) -> Iterator[list[Any]]:
        """Let all sides write at once, a few tokens a frame."""
        until = time.monotonic() + SECONDS_AT_MOST
        rest = [note(of), of[0].key, gr.update(visible=len(of) > 1)]
        writing = set(sources)
        while True:
            values = [text_value(sources[s][0], title(of, s)) if s in sources else gr.skip() for s in range(SIDES)]
            yield [*values, *rest]
            rest = [gr.skip()] * 3
            for side in sorted(writing):
                written, tokens = sources[side]
                some = list(itertools.islice(tokens, AT_ONCE))
                for token in some:
                    written.add(token)
                if len(some) < AT_ONCE:
                    writing.discard(side)
            if not writing or time.monotonic() > until:
                break
            time.sleep(SECONDS_BETWEEN_FRAMES)
        yield [*(text_value(sources[s][0], title(of, s)) if s in sources else gr.skip() for s in range(SIDES)), *rest]

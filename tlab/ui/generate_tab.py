"""The Generate tab: the model writes, and shows how sure it was of each token."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from tlab.generate import generate
from tlab.ui.attention_tab import readable_text
from tlab.ui.demo import PROMPT, demo_checkpoint
from tlab.ui.parts import note_html, refusal, written_text
from tlab.ui.run import Run
from tlab.ui.runs import Runs, latest_checkpoint
from tlab.ui.train_tab import QUIET

MAX_TOKENS = 1000
MAX_PROMPT = 20_000  # characters; the model reads the last few of them
AT_ONCE = 6  # tokens in a frame
SECONDS_BETWEEN_FRAMES = 0.05  # with AT_ONCE a pace that an eye can follow; the model itself would be ten times faster
SECONDS_AT_MOST = 60.0


class GenerateTab:
    """Builds the tab and holds its handlers."""

    def __init__(self, runs: Runs, run_id: gr.State) -> None:
        self.runs = runs
        self.run_id = run_id
        self.numbers = itertools.count(1)  # one for each Write, so that the page never takes two texts for one

    def build(self, tab: gr.Tab) -> None:
        """Lay it out with a text of the shipped model, and connect it."""
        checkpoint = demo_checkpoint()
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
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
                with gr.Row():
                    self.count = gr.Slider(20, MAX_TOKENS, 300, step=20, label="Tokens", elem_id="count", buttons=[])
                    self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**32 - 1, elem_id="seed",
                                          info="Same seed, same text.")  # fmt: skip
                with gr.Row(elem_classes="tl-buttons"):
                    self.write = gr.Button("Write", variant="primary", elem_id="write")
                    self.halt = gr.Button("Stop", elem_id="halt")
            with gr.Column(scale=7, min_width=320, elem_classes="tl-side"):
                self.text = written_text(whole_text(PROMPT))
                self.note = gr.HTML(model_note(checkpoint.step, None), elem_id="generate-note", apply_default_css=False)
        inputs = [self.run_id, self.prompt, self.temperature, self.top_k, self.top_p, self.count, self.seed]
        writer = gr.State(model_note(checkpoint.step, None))  # whose text is shown
        writing = self.write.click(
            self.on_write,
            inputs,
            [self.text, self.note, writer],
            concurrency_limit=4,
            trigger_mode="always_last",
            **QUIET,
        )
        self.halt.click(None, cancels=[writing], **QUIET)
        tab.select(
            self.on_open, [self.run_id, self.prompt, writer], [self.prompt, self.text, self.note, writer], **QUIET
        )

    def on_open(self, run_id: str | None, prompt: str | None, writer: str) -> list[Any]:
        """The tab comes into view: there may be a new model, with another alphabet. Another's text is not its own."""
        checkpoint, run = latest_checkpoint(self.runs, run_id)
        beginning = run.excerpt[:12] if run else PROMPT
        note = model_note(checkpoint.step, run)
        text = gr.skip() if note == writer else {"prompt": "", "tokens": [], "number": next(self.numbers)}
        read = readable_text(checkpoint, prompt or "", beginning)
        return [gr.skip() if read == prompt else read, text, note, note]

    def on_write(
        self,
        run_id: str | None,
        prompt: str | None,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
        count: int | None,
        seed: int | None,
    ) -> Iterator[list[Any]]:
        """Frames of a growing text; it grows at its end only, so that Gradio sends what is new and no more."""
        checkpoint, run = latest_checkpoint(self.runs, run_id)
        prompt = (prompt or "")[-MAX_PROMPT:]
        try:
            tokens = generate(
                checkpoint,
                prompt,
                max_new_tokens=min(int(count or 1), MAX_TOKENS),
                temperature=0.0 if temperature is None else temperature,
                top_k=int(top_k) if top_k else None,
                top_p=top_p or None,
                seed=int(seed or 0),
            )
        except ValueError as error:
            raise refusal(error) from None
        note = model_note(checkpoint.step, run)
        until = time.monotonic() + SECONDS_AT_MOST
        written: list[list[Any]] = []
        number = next(self.numbers)
        yield [{"prompt": prompt, "tokens": [], "number": number}, note, note]
        while some := list(itertools.islice(tokens, AT_ONCE)):
            written += [[token.text, round(token.probability, 4)] for token in some]
            yield [{"prompt": prompt, "tokens": list(written), "number": number}, note, note]
            if time.monotonic() > until:
                break
            time.sleep(SECONDS_BETWEEN_FRAMES)


def whole_text(prompt: str) -> dict[str, Any]:
    """What the shipped model makes of a prompt, for the page's opening."""
    tokens = generate(demo_checkpoint(), prompt, max_new_tokens=300, seed=0)
    written = [[token.text, round(token.probability, 4)] for token in tokens]
    return {"prompt": prompt, "tokens": written, "number": 0}


def model_note(step: int, run: Run | None) -> str:
    """Whose model writes."""
    whose = "the shipped run" if run is None else f"your run on “{run.job.corpus}”"
    return note_html(f"The model is that of {whose}, after {step:,} steps.")

"""The list of models above the pictures of a tab: the visitor's runs, those that come with the lab, and opened ones."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import gradio as gr
from gradio.events import Dependency

from tlab.cost import num_parameters
from tlab.ui.demo.shipped_run import SHIPPED_IDS, SHIPPED_PRESETS, demo_checkpoint, shipped_id
from tlab.ui.inspection.selection import find_model
from tlab.ui.opened_models import OPENED_PREFIX
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.presets import TRAINED
from tlab.ui.settings.run_settings import distinguishing_words
from tlab.ui.tabs.tab import Page, Updates
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import QUIET, error_toast, note_html

UNREADABLE = ValueError("This model cannot be read here at the moment.")
SECONDS_BETWEEN_WORDS = 0.2  # at what the one who reads a model tells


class ModelChoice:
    """Builds the list and holds its handlers. What is chosen goes for all tabs, until another run is on the page."""

    def __init__(self, runs: Runs, model_id: gr.State) -> None:
        self.runs, self.model_id, self.opened = runs, model_id, runs.opened

    def build(self, tab: str) -> None:
        self.list = gr.Dropdown(
            self.choices(""), value=self.model_id.value, label="Model", elem_id=f"{tab}-model", interactive=True
        )
        if self.opened.public:
            return
        with gr.Accordion("Open another model", open=False, elem_id=f"{tab}-other"):
            self.place = gr.Textbox(
                label="Where it is", max_lines=1, elem_id=f"{tab}-place", placeholder="HuggingFaceTB/SmolLM2-135M",
                info="A folder of Hugging Face, a .gguf file, the folder of a run, or OWNER/NAME of the hub.",
            )  # fmt: skip
            self.open = gr.Button("Open", size="sm", elem_id=f"{tab}-open")
            self.told = gr.HTML("", elem_id=f"{tab}-told", apply_default_css=False)

    def connect(self, page: Page) -> list[Dependency]:
        """Renew the list when the tab comes into view; -> the events that a model was chosen, for the tab to answer."""
        page.handle.select(self.on_select, self.model_id, self.list, queue=False, **QUIET)
        chosen = [self.list.input(self.on_choose, self.list, self.model_id, queue=False, **QUIET)]
        if not self.opened.public:
            opening, answer = [self.open.click, self.place.submit], [self.told, self.list, self.model_id]
            chosen.append(gr.on(opening, self.on_open, self.place, answer, trigger_mode="once", **QUIET))
        return chosen

    def on_choose(self, chosen: Any) -> Any:
        """The id for all tabs; one that is not known leaves them as they are."""
        if not isinstance(chosen, str):
            return gr.skip()
        if chosen in self.opened.places:
            try:
                self.opened.use(chosen)
            except ValueError as error:
                raise error_toast(UNREADABLE if self.opened.public else error) from None
            return chosen
        return chosen if self.runs.get(chosen) is not None or chosen in SHIPPED_IDS else gr.skip()

    def on_open(self, place: Any, request: gr.Request) -> Iterator[Updates]:
        """Open a model, with words on what is read before it is; it is then looked at in all tabs."""
        words: SimpleQueue[str] = SimpleQueue()
        yield {self.told: note_html("Looking for it …")}
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(self.opened.open, str(place or ""), words.put)
            while not reading.done():
                try:
                    yield {self.told: note_html(f"{words.get(timeout=SECONDS_BETWEEN_WORDS)} …")}
                except Empty:
                    continue
        try:
            model = reading.result()
        except ValueError as error:
            yield {self.told: note_html(str(error))}
            return
        updates = gr.update(choices=self.choices(visit_of(request).session), value=model.id)
        yield {self.told: note_html(" ".join(model.remarks)), self.list: updates, self.model_id: model.id}

    def on_select(self, model_id: str | None, request: gr.Request) -> Any:
        """What there is by now, and which of it is looked at."""
        choices = self.choices(visit_of(request).session)
        return gr.update(choices=choices, value=find_model(self.runs, model_id).key)

    def choices(self, session: str) -> list[tuple[str, str]]:
        """(words, id) of all models that a visitor can look into."""
        own = self.runs.history(session)
        own = [run for run in own if (run.id, 0) in self.runs.store]
        apart = distinguishing_words(own, [run.name for run in own])
        named = [
            (f"Your run: {run.name} ({words})" if words else f"Your run: {run.name}", run.id)
            for run, words in zip(own, apart, strict=True)
        ]
        opened = [(f"Opened: {key.removeprefix(OPENED_PREFIX)}", key) for key in list(self.opened.places)]
        return [*named, *opened, *shipped_choices()]


def shipped_choices() -> list[tuple[str, str]]:
    """(words, id) of every shipped run, the model that was trained longest first."""
    presets = [TRAINED, *(preset for preset in SHIPPED_PRESETS.values() if preset is not TRAINED)]
    return [(trained_words() if preset is TRAINED else preset.label, shipped_id(preset)) for preset in presets]


def trained_words() -> str:
    """What the model that was trained longer is, and how well it does, by its own records."""
    checkpoint = demo_checkpoint(preset=TRAINED)
    loss = checkpoint.records[-1].validation_loss
    size = num_parameters(checkpoint.model_config)
    return f"{TRAINED.label}: Llama style, {size:,} weights, {checkpoint.step:,} steps, validation loss {loss:.2f}"

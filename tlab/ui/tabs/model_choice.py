"""The list of models above the pictures of a tab: the visitor's runs, and those that come with the lab."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency

from tlab.cost import num_parameters
from tlab.ui.demo.shipped_run import SHIPPED_IDS, SHIPPED_PRESETS, demo_checkpoint, shipped_id
from tlab.ui.inspection.selection import find_model
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.presets import TRAINED
from tlab.ui.settings.run_settings import distinguishing_words
from tlab.ui.tabs.tab import Page
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import QUIET


class ModelChoice:
    """Builds the list and holds its handlers. What is chosen goes for all tabs, until another run is on the page."""

    def __init__(self, runs: Runs, model_id: gr.State) -> None:
        self.runs, self.model_id = runs, model_id

    def build(self, tab: str) -> None:
        self.list = gr.Dropdown(
            shipped_choices(), value=self.model_id.value, label="Model", elem_id=f"{tab}-model", interactive=True
        )

    def connect(self, page: Page) -> Dependency:
        """Renew the list when the tab comes into view; -> the event that a model was chosen, for the tab to answer."""
        page.handle.select(self.on_open, self.model_id, self.list, queue=False, **QUIET)
        return self.list.input(self.on_choose, self.list, self.model_id, queue=False, **QUIET)

    def on_choose(self, chosen: Any) -> Any:
        """The id for all tabs; one that is not known leaves them as they are."""
        known = isinstance(chosen, str) and (self.runs.get(chosen) is not None or chosen in SHIPPED_IDS)
        return chosen if known else gr.skip()

    def on_open(self, model_id: str | None, request: gr.Request) -> Any:
        """What there is by now, and which of it is looked at."""
        own = self.runs.history(visit_of(request).session)
        own = [run for run in own if (run.id, 0) in self.runs.store]
        apart = distinguishing_words(own, [run.name for run in own])
        named = [
            (f"Your run: {run.name} ({words})" if words else f"Your run: {run.name}", run.id)
            for run, words in zip(own, apart, strict=True)
        ]
        return gr.update(choices=[*named, *shipped_choices()], value=find_model(self.runs, model_id).key)


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

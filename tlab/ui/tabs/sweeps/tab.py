"""The Sweeps tab: many runs at once, as a map of their losses; behind each cell its curves, and the way to train it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block

from tlab.config import options
from tlab.text import corpus_names
from tlab.training.config import TrainConfig
from tlab.ui.listening import EACH, LATEST, QUIET
from tlab.ui.tabs.sweeps.results import Results, ResultsError, demo_results, own_results
from tlab.ui.tabs.sweeps.view import pictures
from tlab.ui.tabs.tab import Page, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.component import error_toast, js_component
from tlab.ui.widgets.line_chart import lines_chart

MAX_CHOSEN = 6  # curves in one chart; the oldest choice makes room
SPLITS = [("Validation", "validation"), ("Training", "train")]


class SweepsTab(Tab):
    """Builds the tab and holds its handlers. A session's state is the numbers of the cells that it clicked."""

    title, key = "Sweeps", "sweeps"

    def build(self, page: Page) -> None:
        """Lay it out with the shipped sweep and its best cells, and connect it."""
        self.bar, self.train_tab = page.bar, page.find(TrainTab)
        self.public = self.runs.limits.public
        results = demo_results()
        first = best_numbers(results, 2)
        drawn = pictures(results, first, "validation")
        self.chosen = gr.State(first)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.words = gr.HTML(drawn.words, elem_id="sweep-words", apply_default_css=False)
                self.grid = js_component("tabs/sweeps/sweep_map", drawn.grid, "sweep-grid", "arrays", "pictures/offer")
                self.effects = gr.HTML(drawn.effects, elem_id="sweep-effects", apply_default_css=False)
            with gr.Column(scale=6, min_width=320, elem_classes="tl-keep-side"):
                self.split = gr.Radio(SPLITS, value="validation", label="Loss on", elem_id="sweep-split")
                self.chart = lines_chart(drawn.chart, "sweep-chart")
                self.table = gr.HTML(drawn.table, elem_id="sweep-table", apply_default_css=False)
                with gr.Row(elem_classes="tl-buttons"):
                    self.train = gr.Button("Train the cell clicked last", variant="primary", elem_id="sweep-train")
                    self.clear = gr.Button("Clear", elem_id="sweep-clear")
        # A path is the business of the machine's owner alone: on a public page there is no such box, and no such input.
        with gr.Row(visible=not self.public, elem_classes="tl-sweep-folder"):
            self.folder = gr.Textbox(
                label="Folder of a sweep", placeholder="results/norm-activation; empty for the shipped sweep",
                elem_id="sweep-folder", scale=5, max_lines=1,
            )  # fmt: skip
            self.open = gr.Button("Open", elem_id="sweep-open", scale=1, min_width=90)
        self.outputs: list[Block] = [self.chosen, self.grid, self.words, self.chart, self.table, self.effects]
        where = [self.folder, self.chosen, self.split]
        in_order: dict[str, Any] = {"concurrency_id": self.key}
        self.grid.select(self.on_select, where, self.outputs, **in_order, **EACH)
        self.split.input(self.shown, where, self.outputs, **in_order, **LATEST)
        self.clear.click(self.on_clear, [self.folder, self.split], self.outputs, **in_order, **QUIET)
        for event in (self.open.click, self.folder.submit):
            event(self.on_open, [self.folder, self.split], self.outputs, **in_order, **QUIET)
        chosen = self.train.click(
            self.on_train,
            [self.folder, self.chosen, self.train_tab.locked],
            [self.bar, *self.train_tab.settings],
            **QUIET,
        )
        self.train_tab.start_after(chosen)

    def results(self, folder: str | None) -> Results:
        """The sweep that is looked at: an own one where that is allowed, else the shipped one."""
        if self.public or not (folder or "").strip():
            return demo_results()
        try:
            return own_results(str(folder))
        except (ResultsError, OSError) as error:
            raise error_toast(error) from None

    def shown(self, folder: str | None, chosen: Sequence[int], split: str | None) -> Updates:
        split = "train" if split == "train" else "validation"
        results = self.results(folder)
        chosen = [number for number in chosen if 0 <= number < len(results.configurations)][-MAX_CHOSEN:]
        return dict(zip(self.outputs, [chosen, *pictures(results, chosen, split)], strict=True))

    def on_select(self, folder: str | None, chosen: list[int], split: str, event: gr.EventData) -> Updates:
        """A cell was clicked: one more curve, or one less."""
        number = event._data.get("number") if isinstance(event._data, dict) else None
        if not isinstance(number, int):
            return gr.skip()
        rest = [other for other in chosen if other != number]
        return self.shown(folder, rest if number in chosen else [*rest, number], split)

    def on_clear(self, folder: str | None, split: str | None) -> Updates:
        return self.shown(folder, [], split)

    def on_open(self, folder: str | None, split: str | None) -> Updates:
        """Another folder, with its best cells."""
        return self.shown(folder, best_numbers(self.results(folder), 2), split)

    def on_train(self, folder: str | None, chosen: list[int], locked: Collection[str] = ()) -> Updates:
        """Set the controls of the Train tab to the cell that was clicked last, and go there, where it then starts."""
        results = self.results(folder)
        if not chosen or chosen[-1] >= len(results.configurations):  # of a folder that was not opened
            raise error_toast(ValueError("Choose a cell of the map first."))
        settings = results.settings(results.configurations[chosen[-1]])
        if run := settings.get("start_from"):
            is_random = settings.get("random_weights")
            began = "random weights, and the settings and tokenizer of" if is_random else "the weights of"
            words = f"This cell began with {began} the model in {run}. Train it with: {command_of(settings)}"
            raise error_toast(ValueError(words))
        corpus = settings.get("corpus")
        if corpus is not None and corpus not in corpus_names():
            raise error_toast(ValueError(f"This cell was trained on “{corpus}”, which is not among the texts here."))
        words = "These are the settings of a cell of the sweep."
        opened: Updates = {self.bar: gr.update(selected=self.train_tab.key)}
        return {**opened, **self.train_tab.settings_updates(settings, None, words, locked)}


def command_of(settings: Mapping[str, Any]) -> str:
    """What trains one cell of a sweep that begins with a run, with its first seed."""
    places = {"--from": settings["start_from"], "--corpus": settings.get("corpus")}
    names = ("random_weights", *options(TrainConfig))
    sets = [("--set", f"{name}={settings[name]}") for name in names if settings.get(name) is not None]
    given = [(flag, str(value)) for flag, value in places.items() if value is not None]
    return shlex.join(["python", "-m", "sweeps", "run", *itertools.chain(*given, *sets)])


def best_numbers(results: Results, count: int) -> list[int]:
    """The best configurations, as a report ranks them (fewest seeds lost, then lowest mean), the very best one last."""
    losses = results.comparable_losses()
    found = [
        (len(one.cells) - len(one.losses), losses[one.number], one.number)
        for one in results.configurations
        if one.number in losses
    ]
    return [number for _, _, number in sorted(found)[:count]][::-1]

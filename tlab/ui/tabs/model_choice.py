"""The list of models above the pictures of a tab: the visitor's runs, those that come with the lab, and opened ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import gradio as gr
from gradio.events import Dependency

from tlab.cost import num_parameters
from tlab.pretrained.reading import Tell, TellProgress
from tlab.ui.demo.shipped_run import SHIPPED_IDS, SHIPPED_PRESETS, demo_checkpoint, shipped_id
from tlab.ui.inspection.selection import find_model
from tlab.ui.listening import QUIET
from tlab.ui.opened_models import OPENED_PREFIX, OpenedModel
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.presets import TRAINED
from tlab.ui.settings.run_settings import distinguishing_words
from tlab.ui.tabs.tab import Page, Updates
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import note_html
from tlab.wording import percent

SECONDS_BETWEEN_WORDS = 0.2  # on how far a model has been read
Came = TypeVar("Came")


class ModelChoice:
    """Builds the list and holds its handlers. What is chosen goes for all tabs, until another run is on the page."""

    def __init__(self, runs: Runs, model_id: gr.State) -> None:
        self.runs, self.model_id, self.opened = runs, model_id, runs.opened
        self.choosing: dict[str, str] = {}  # page -> the model that was chosen on it and is still being read

    def build(self, tab: str) -> None:
        self.list = gr.Dropdown(
            self.choices(""), value=self.model_id.value, label="Model", elem_id=f"{tab}-model", interactive=True
        )
        if not self.opened.public:
            self.build_box(tab)
        self.told = gr.HTML("", elem_id=f"{tab}-told", apply_default_css=False)
        self.again = gr.Button(visible="hidden", elem_id=f"{tab}-look")  # what the page presses after a link

    def build_box(self, tab: str) -> None:
        """Where any model is named, on one's own machine."""
        with gr.Accordion("Open another model", open=False, elem_id=f"{tab}-other"):
            self.place = gr.Textbox(
                label="Where it is", max_lines=1, elem_id=f"{tab}-place", placeholder="HuggingFaceTB/SmolLM2-135M",
                info="A folder of Hugging Face, a .gguf file, the folder of a run, or OWNER/NAME of the hub.",
            )  # fmt: skip
            self.open = gr.Button("Open", size="sm", elem_id=f"{tab}-open")

    def connect(self, page: Page) -> list[Dependency]:
        """Renew the list when the tab comes into view; -> the events that a model was chosen, for the tab to answer.

        The tab answers `self.again.click`, too.
        """
        answer = [self.told, self.list, self.model_id]
        choosing = {"concurrency_limit": 4, **QUIET}
        # Beside the tab itself, which then looks and is the one that waits for its turn; see `BESIDE`.
        page.handle.select(self.on_select, self.model_id, answer[:2], **choosing, trigger_mode="multiple")
        asked = [self.list, self.model_id]
        self.chosen = [self.list.input(self.on_choose, asked, answer, **choosing, trigger_mode="always_last")]
        if not self.opened.public:
            opening = [self.open.click, self.place.submit]
            self.chosen.append(gr.on(opening, self.on_open, self.place, answer, trigger_mode="once", **QUIET))
        return self.chosen

    def on_choose(self, chosen: Any, before: str | None, request: gr.Request) -> Iterator[Updates]:
        """The id for all tabs, with words while its model is read; one that cannot be had leaves them as they are."""
        if isinstance(chosen, str) and chosen in self.opened.places:
            page = visit_of(request).page
            self.choosing[page] = chosen
            try:
                model = yield from self.read(partial(self.opened.use, chosen))
            except ValueError:
                yield {self.told: note_html(self.opened.why_not(chosen)), self.list: find_model(self.runs, before).key}
                return
            finally:  # also where the page has gone
                self.choosing.pop(page, None)
            yield {self.told: note_html(" ".join(model.remarks)), self.model_id: chosen}
        elif isinstance(chosen, str) and (self.runs.get(chosen) is not None or chosen in SHIPPED_IDS):
            yield {self.told: "", self.model_id: chosen}
        else:
            yield gr.skip()

    def on_open(self, place: Any, request: gr.Request) -> Iterator[Updates]:
        """Open a model, with words while it is read; it is then looked at in all tabs."""
        try:
            model = yield from self.read(partial(self.opened.open, str(place or "")))
        except ValueError as error:
            yield {self.told: note_html(str(error))}
            return
        updates = gr.update(choices=self.choices(*visit_of(request)), value=model.id)
        yield {self.told: note_html(" ".join(model.remarks)), self.list: updates, self.model_id: model.id}

    def read(
        self, read: Callable[[Tell, TellProgress], OpenedModel], told: gr.HTML | None = None
    ) -> Generator[Updates, None, OpenedModel]:
        """What `read` comes to, with words in `told` on how far it is; errors as of `OpenedModels.open`."""
        words, part = ["Looking for it"], [0.0]

        def so_far() -> str:
            return f"{words[-1]}{f': {percent(part[-1])} of it so far' if part[-1] else ''} …"

        return (yield from told_meanwhile(partial(read, words.append, part.append), told or self.told, so_far))

    def on_select(self, model_id: str | None, request: gr.Request) -> Iterator[Updates]:
        """What there is by now, and which of it is looked at: a model that had to make room is read again."""
        session, page = visit_of(request)
        choices = self.choices(session, page)
        if page in self.choosing:  # whoever reads it tells the rest
            yield {self.list: gr.update(choices=choices, value=self.choosing[page])}
            return
        if model_id in self.opened.places and model_id not in self.opened.models:
            # The list at once: later, it would undo what is chosen while the model is read.
            yield {self.list: gr.update(choices=choices, value=model_id)}
            with contextlib.suppress(ValueError):
                yield from self.read(partial(self.opened.use, model_id))
                yield {self.told: ""}
                return
        of = find_model(self.runs, model_id)
        yield {self.told: note_html(of.why_not), self.list: gr.update(choices=choices, value=of.key)}

    def choices(self, session: str, page: str = "") -> list[tuple[str, str]]:
        """(words, id) of all models that a visitor can look into, with the run that a link brought to the page."""
        own = self.runs.history(session)
        own = [run for run in own if (run.id, 0) in self.runs.store]
        apart = distinguishing_words(own, [run.name for run in own])
        named = [
            (f"Your run: {run.name} ({words})" if words else f"Your run: {run.name}", run.id)
            for run, words in zip(own, apart, strict=True)
        ]
        brought = self.runs.brought(session, page)
        if brought is not None and (brought.id, 0) in self.runs.store:
            named.insert(0, (f"The run of the link: {brought.name}", brought.id))
        return [*named, *map(self.opened_choice, list(self.opened.places)), *shipped_choices()]

    def opened_choice(self, model_id: str) -> tuple[str, str]:
        """(words, id) of one that was opened or is listed."""
        unreadable = " (cannot be read)" if self.opened.why_not(model_id) else ""
        return f"Opened: {model_id.removeprefix(OPENED_PREFIX)}{unreadable}", model_id


def told_meanwhile(
    work: Callable[[], Came], words: gr.HTML, so_far: Callable[[], str], patience: float = 0.0
) -> Generator[Updates, None, Came]:
    """What `work` comes to in a thread of its own; meanwhile `words` says again and again how far it is.

    What the tab shows is of an earlier question until then, and the page makes it pale. `patience` is how many seconds
    longer the first words wait.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        while not wait([working], SECONDS_BETWEEN_WORDS + patience).done:
            yield {words: note_html(so_far(), "tl-meanwhile")}
            patience = 0.0
    return working.result()


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

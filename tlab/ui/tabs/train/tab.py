"""The Train tab: settings on one side; on the other what comes of them, as it happens."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tlab.cost import num_parameters
from tlab.text.corpora import needs_download
from tlab.ui.demo.shipped_run import demo_run, shipped_preset
from tlab.ui.inspection.selection import clamp_int
from tlab.ui.listening import BESIDE, LATEST, QUIET, once_at_rest, only_latest
from tlab.ui.runs.limits import check_limits
from tlab.ui.runs.manager import BusyError, text_size
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import ACTIVE, FAILED, PAUSED, RUNNING, WAITING, Run
from tlab.ui.runs.time_estimate import estimated_seconds
from tlab.ui.settings.controls import Controls, model_fields, value_update
from tlab.ui.settings.fields import RANDOM, START_FROM, field_label
from tlab.ui.settings.links import defaults
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.presets import (
    COMPARISONS,
    DEMO_PRESET,
    MODELS,
    MORE_MODELS,
    PRESETS,
    Preset,
    own_settings_words,
    preset_job,
    preset_with,
    unset_words,
)
from tlab.ui.settings.run_settings import control_values, switch_of
from tlab.ui.settings.side_b import NOTHING, as_read
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import Study
from tlab.ui.studies.tuning import why_not_tuned
from tlab.ui.studies.view import progress_words, study_title
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.tabs.train import view
from tlab.ui.tabs.train.diagram_panel import DiagramPanel
from tlab.ui.tabs.train.models_at_hand import ModelsAtHand
from tlab.ui.tabs.train.panels.rates import RatesPanel
from tlab.ui.tabs.train.panels.seeds import SECONDS_BETWEEN_CARDS, SeedsPanel
from tlab.ui.visit import Visit, lasts, visit_of
from tlab.ui.widgets.component import error_toast, js_component, note_html, selection_component
from tlab.wording import duration, listed

MAX_BEHIND = 5000  # milliseconds that a slow page is left alone at a time
SECONDS_BETWEEN_BUTTONS = 2.0
SECONDS_BETWEEN_FRAMES = 0.13  # seven a second: smooth to the eye, and sixteen visitors are no load
SECONDS_FOR_PACE = 20.0  # measuring it takes one, where nobody else is at work
MAX_SECONDS_BETWEEN_WORDS = 1.0  # while a run waits, when nothing but its time to wait changes

# The button stands above, where a visitor begins; the box for the text is among the settings.
NEXT_FRAME = "() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))"
SHOW_OWN_TEXT = f"""() => {{
  document.getElementById("text-settings").scrollIntoView({{ block: "center" }});
  return "{OWN_TEXT}";
}}"""
# Who presses the button wants to write or paste; the server has to show the field first.
FOCUS_OWN_TEXT = """() => {
  let left = 100;
  const focus = () => {
    const field = document.querySelector("#field-text textarea");
    if (field?.offsetParent) field.focus({ preventScroll: true });
    else if (left--) setTimeout(focus, 50);
  };
  focus();
}"""


class TrainTab(Tab):
    """Builds the tab and holds its handlers. `run_id` is all that a session's state has.

    Other tabs bring a run onto this one by `show`, with `outputs` as the outputs of their handler.
    """

    title, key = "Train", "train"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.starts = ModelsAtHand(self.runs)
        self.runs.find_weights = self.starts.find_weights
        own_text_words = self.runs.archive.own_text_words
        self.controls = Controls(
            DEMO_PRESET.settings, DEMO_PRESET.switch, self.runs.limits.text, own_text_words, self.starts
        )
        self.diagram = DiagramPanel(self.controls)
        self.studies = Studies(self.runs)
        self.seeds = SeedsPanel(self.studies)
        self.rests: dict[str, float] = {}  # page -> until when it has enough to draw
        self.looked_at: dict[str, list[Preset]] = {}  # page -> all whose shipped runs it saw, the latest last
        self.rates = RatesPanel(self.studies, self.controls)

    def keeps(self, session: str) -> bool:
        """Studies, whose runs are in no history."""
        return bool(self.studies.by_session.get(session))

    def end(self, session: str) -> None:
        """Their studies go with a visitor."""
        self.studies.forget(session)

    def leave(self, page: str) -> None:
        for known in (self.looked_at, self.runs.linked, self.rests):
            known.pop(page, None)

    def build(self, page: Page) -> None:
        """Lay it out, and connect the buttons."""
        demo = demo_run()
        self.address = gr.Textbox(visible="hidden")  # the query of the address that opens with the chosen settings
        self.renewed_by = gr.State(None)  # what came last that is told beside the settings: the pace, a start, an end
        self.changed = gr.Button(visible="hidden", elem_id="settings-changed")  # that, or a setting; the page presses
        self.behind = selection_component("behind", {"ms": 0})  # by how much the page lags behind its run
        self.clicked = gr.State(None)  # the preset whose radio button was clicked last
        self.bar_clock = gr.Timer(SECONDS_BETWEEN_CARDS, active=False)  # while a study trains
        self.locked = gr.State([])  # names of the settings that a link hides: nothing on the page changes them
        self.diagram.build(demo.job.plans)
        self.build_bar(demo)
        with gr.Row(equal_height=False, elem_classes="tl-train"):
            with gr.Column(scale=4, min_width=320, elem_classes="tl-settings"):
                self.build_presets()
                self.controls.build()
            with gr.Column(scale=9, min_width=320, elem_classes="tl-pictures"):
                self.estimate = gr.HTML(elem_id="estimate", apply_default_css=False)
                self.other = gr.HTML(elem_id="other-settings", apply_default_css=False)
                self.take = gr.Button("Take its settings", size="sm", visible=False, elem_id="take-settings")
                self.rates.build()
                # Above the chart: what a stranger reads first.
                self.verdict = gr.HTML(view.verdict_html(demo), elem_id="verdict", apply_default_css=False)
                self.chart = js_component(
                    "tabs/train/loss_chart", view.chart_value(demo), "loss-chart", "axes", "pictures/offer"
                )
                self.numbers = gr.HTML(view.numbers_html(demo), elem_id="run-numbers", apply_default_css=False)
                self.seeds.build()
                charts = {"charts": view.WHY_CHARTS.values()}
                self.why = js_component(
                    "tabs/train/layer_charts",
                    view.why_value(demo),
                    "why-panel",
                    "axes",
                    "pictures/offer",
                    context=charts,
                )
                self.samples = gr.HTML(view.samples_html(demo), elem_id="run-sample", apply_default_css=False)
        pictures: list[Block] = [self.state, self.verdict, self.chart, self.numbers, self.why, self.samples]
        buttons: list[Block] = [self.start, self.pause, self.step, self.stop, self.reset]
        about: list[Block] = [self.run_id, self.model_id, self.renewed_by]
        self.outputs = [*about, *pictures, *buttons, self.bar_clock, *self.seeds.outputs, *self.rates.outputs]
        self.unchanged: Updates = {self.state: gr.skip()}
        self.connect_controls(page)
        self.connect_buttons()
        page.handle.select(None, js="() => window.scrollTo({ top: 0 })", **QUIET)  # whatever button opened it
        page.blocks.load(self.on_open, self.renewed_by, self.renewed_by, queue=False, **QUIET)

    def build_bar(self, demo: Run) -> None:
        """The buttons and the state of the run, before all settings, so that few keys lead there."""
        with gr.Column(elem_id="run-bar", min_width=0):  # on a phone it floats above all else
            with gr.Row(elem_classes="tl-buttons"):
                self.start = gr.Button("Start", variant="primary", elem_id="start")
                self.pause = gr.Button("Pause", interactive=False, elem_id="pause")
                self.step = gr.Button("One step", elem_id="step")
                self.stop = gr.Button("Stop", interactive=False, elem_id="stop")
                self.reset = gr.Button("Shipped run", interactive=False, elem_id="reset")
                self.rates.build_button()
            self.state = gr.HTML(shipped_state(demo), elem_id="run-state", apply_default_css=False)

    def build_presets(self) -> None:
        with gr.Accordion("Begin with", open=True, elem_id="presets"), gr.Group():
            self.own_text = gr.Button("Your own text …", size="sm", elem_id="own-text", elem_classes="tl-with-corpus")
            self.comparisons = gr.Radio(
                [preset.label for preset in COMPARISONS],
                value=DEMO_PRESET.label,
                label="A comparison",
                elem_id="compare",
            )
            self.models = gr.Radio([preset.label for preset in MODELS], label="A model people know", elem_id="model")
            with gr.Accordion("More models people know", open=False, elem_id="architectures"):
                self.more_models = gr.Radio([preset.label for preset in MORE_MODELS], show_label=False)
            self.words = gr.Markdown(DEMO_PRESET.words, elem_classes="tl-why")

    def connect_controls(self, page: Page) -> None:
        """Presets set the controls; any change of these renews the estimate."""
        by_hand = self.controls.connect()
        preset: list[Any] = [*self.preset_radios(), self.words]
        self.settings: list[Block] = [*preset, *self.controls.inputs, self.controls.switch_note]
        components = self.controls.components
        corpus = components["corpus"]
        for radio in self.preset_radios():
            # First the pictures, which need not wait for the controls: of these there are many. What was clicked is
            # kept until then, as a setting that was changed right before may by its answer still empty the radio.
            asked, shown_first = [radio, self.run_id], [*self.outputs, self.clicked]
            shown = radio.input(self.on_preset_run, asked, shown_first, queue=False, **LATEST)
            # Gradio would set all controls before the browser has a moment to draw.
            drawn = shown.then(None, None, None, js=NEXT_FRAME, **QUIET)
            then: Any = drawn.then  # which takes any blocks at run time
            hideable = [components[name] for name in defaults()]
            then(self.on_preset, [self.clicked, corpus, self.locked, *hideable], self.settings, queue=False, **LATEST)
        own_text = self.own_text.click(None, None, corpus, js=SHOW_OWN_TEXT, **QUIET)
        own_text.then(None, js=FOCUS_OWN_TEXT, **QUIET)
        by_hand += [own_text, self.diagram.connect(), self.connect_starts()]
        inputs: Any = self.controls.inputs
        changed_by_hand = only_latest(self.on_changed_by_hand)
        for event in by_hand:
            event.then(changed_by_hand, inputs, preset, queue=False, **LATEST)
        touched = [getattr(control, "input") for name, control in components.items() if name != "switch"]  # noqa: B009
        gr.on(touched, changed_by_hand, inputs, preset, queue=False, **LATEST)
        inputs = [self.run_id, *self.controls.inputs]
        outputs = [
            self.estimate, self.other, self.take, self.diagram.picture, self.address, self.rates.button,
            self.rates.card, self.rates.is_other,
        ]  # fmt: skip
        told = [self.renewed_by, self.locked, *inputs]
        once_at_rest([self.renewed_by, *inputs], self.changed)
        self.tell_settings = only_latest(self.on_settings), told, outputs
        gr.on([page.blocks.load, self.changed.click], *self.tell_settings, queue=False, **LATEST)

    def connect_starts(self) -> Dependency:
        """Renew the list of weights to start from when it is looked at; -> the event that some were chosen."""
        components = self.controls.components
        self.starts_listed = gr.State(None)  # what A and B can start from, as the page lists it
        self.starts_shown: list[Any] = [components[START_FROM], self.controls.switch_choice]
        asked: list[Any] = [components["switch"], *self.starts_shown]
        looked = [control.focus for control in self.starts_shown]
        known, shown = [*asked, self.starts_listed], [*self.starts_shown, self.starts_listed]
        gr.on(looked, only_latest(self.on_starts), known, shown, **BESIDE)
        model: list[Any] = [components[name] for name in (*model_fields(), "tokenizer")]
        chosen = [control.input for control in self.starts_shown]
        updated = [*model, components["switch"], *self.controls.switch_updates(None, None)]
        return gr.on(chosen, only_latest(self.on_start_from), [*asked, self.locked], updated, **BESIDE)

    def connect_buttons(self) -> None:
        pictures: dict[gr.HTML, Any] = {self.chart: self.chart_of, self.verdict: self.verdict_of}  # that show seeds too
        # No limit of Gradio's: a handler only waits for its run, and the runs have a queue of their own.
        # "multiple": while the page follows a resumed run, the same button has to pause it again.
        free: dict[str, Any] = {"concurrency_limit": None, "trigger_mode": "multiple", **QUIET}
        settings = self.controls.inputs
        self.start.click(self.on_start, settings, self.outputs, concurrency_limit=None, **QUIET)
        self.pause.click(self.on_pause, self.run_id, self.outputs, **free)
        self.step.click(self.on_step, [self.run_id, *settings], self.outputs, concurrency_limit=None, **QUIET)
        told = [self.state, self.start, self.pause, self.step, self.stop, self.reset]
        self.stop.click(self.on_stop, self.run_id, told, **free)
        bar = [self.state, self.stop, self.bar_clock]
        self.bar_clock.tick(self.on_bar, self.run_id, bar, queue=False, **QUIET)
        for event in (*self.rates.connect(), *self.seeds.connect(self.run_id, pictures)):
            event.then(self.on_bar, self.run_id, bar, queue=False, **LATEST)
        self.reset.click(self.on_reset, self.run_id, self.outputs, concurrency_limit=None, **QUIET)
        self.behind.input(self.on_behind, self.behind, None, queue=False, **LATEST)
        self.take.click(self.on_take, [self.run_id, self.locked], self.settings, queue=False, **QUIET)

    def start_after(self, event: Dependency) -> None:
        """Start a run when another tab's handler has set the controls."""
        event.success(self.on_start, self.controls.inputs, self.outputs, concurrency_limit=None, **QUIET)

    # -------------------------------------------------------------------------------- settings

    def on_preset(
        self, label: str | None, corpus: str | None = None, locked: Collection[str] = (), *values: Any
    ) -> Updates:
        """All controls as the preset has them, but for those that a link hides: `values` are those of `defaults`."""
        preset = PRESETS.get(label or "")
        if preset is None:
            return gr.skip()
        switch = None if preset.switch and preset.switch[0] in locked else preset.switch
        hidden = as_read({name: value for name, value in zip(defaults(), values, strict=False) if name in locked})
        updates = self.controls.preset_updates(dataclasses.replace(preset, switch=switch), corpus)
        return {
            **self.marked(preset),
            self.words: "\n\n".join(filter(None, [preset.words, unset_words(preset, hidden)])),
            **self.unlocked(updates, locked),
        }

    def on_changed_by_hand(self, *values: Any) -> Updates:
        """The preset that the settings are by now, or that they are none."""
        try:
            return self.named(*self.controls.chosen(values))
        except ValueError:  # a number that is still being typed
            return self.marked(None)

    def preset_radios(self) -> dict[gr.Radio, tuple[Preset, ...]]:
        """Where presets are chosen, and which ones."""
        return {self.comparisons: COMPARISONS, self.models: MODELS, self.more_models: MORE_MODELS}

    def marked(self, preset: Preset | None) -> Updates:
        """Updates of the choices of presets to this one."""
        return {
            radio: preset.label if preset and preset in presets else None
            for radio, presets in self.preset_radios().items()
        }

    def named(self, settings: Mapping[str, Any], switch: tuple[str, Any] | None, origin: str = "") -> Updates:
        """The preset of these settings, marked among the others; else their `origin`, and which preset is near."""
        preset = preset_with(settings, switch)
        own = " ".join(filter(None, [origin, own_settings_words(settings, switch)]))
        return {
            **self.marked(preset),
            self.words: preset.words if preset else own,
        }

    def settings_updates(
        self,
        settings: Mapping[str, Any],
        switch: tuple[str, Any] | None,
        words: str,
        locked: Collection[str] = (),
        session: str = "",
    ) -> Updates:
        """Updates of `settings` to what comes from elsewhere: a link, a cell of a sweep, a run.

        What is not set gets its default; a visitor's own text and what is `locked` stay. `words`, in Markdown, say
        where the settings come from, unless they are those of a preset, which says more.
        """
        name, value = switch if switch and switch[0] not in locked else (None, None)
        values = {**defaults(), **settings, "switch": name or NOTHING}
        controls = self.controls.components.items()
        updates: Updates = {
            control: value_update(control, values[field]) for field, control in controls if field in values
        }
        if locked:  # the settings are no longer those that came: of which preset they are is not known
            kept = listed([field_label(name) for name in locked])
            told = {**self.marked(None), self.words: f"{words} Hidden, and not set: {kept}."}
        else:
            told = self.named(values, switch, words)
        if (start := values[START_FROM]) != RANDOM:
            choices = self.starts.choices(session, start)
            updates[self.controls.components[START_FROM]] = gr.update(choices=choices, value=start)
        of_b = self.starts.choices(session, value) if name == START_FROM else ()
        return {**told, **self.unlocked(updates, locked), **self.controls.switch_updates(name, value, of_b)}

    def run_settings_updates(self, run: Run, words: str, locked: Collection[str], session: str) -> Updates:
        """Updates of `settings` to those of a run, as a visitor can choose them."""
        settings, switch = self.with_keys(control_values(run.job), run, session)
        return self.settings_updates(settings, switch, words, locked, session)

    def with_keys(
        self, settings: dict[str, Any], run: Run, session: str
    ) -> tuple[dict[str, Any], tuple[str, Any] | None]:
        """The settings of a run and what its B changes, with the keys by which a visitor can choose its weights."""
        a, b = (self.starts.key_of(session, plan.start_from) for plan in (run.job.plans[0], run.job.plans[-1]))
        switch = switch_of(run.job)
        return {**settings, START_FROM: a}, (START_FROM, b) if switch and switch[0] == START_FROM else switch

    def on_preset_run(self, label: str | None, run_id: str | None, request: gr.Request) -> Updates:
        """The finished run of the preset; a run that trains or pauses keeps its place."""
        preset, run = PRESETS.get(label or ""), self.runs.get(run_id)
        if preset is None or (run is not None and (run.active or run.state == PAUSED)):
            return {self.clicked: label}
        return {self.clicked: label, **self.show(visit_of(request), None, preset)}

    def unlocked(self, updates: Updates, locked: Collection[str]) -> Updates:
        """Without what would change a setting that a link hides."""
        kept = {self.controls.components[name] for name in locked}
        return {component: update for component, update in updates.items() if component not in kept}

    def on_starts(self, switch: Any, start: Any, b: Any, listed: Any, request: gr.Request) -> Updates:
        """The weights that there are by now; what is chosen stays, and if it has gone it is said to have."""
        session = visit_of(request).session
        start, b = (key if isinstance(key, str) else RANDOM for key in (start, b))
        lists = [self.starts.choices(session, start), self.starts.choices(session, b) if switch == START_FROM else []]
        if listed == lists:
            return gr.skip()
        shown = zip(self.starts_shown, lists, (start, b), strict=True)
        # With its value, as Gradio knows it by its place in the list.
        updates = {of: gr.update(choices=found, value=value) for of, found, value in shown if found}
        return {**updates, self.starts_listed: lists}

    def on_start_from(self, switch: Any, start: Any, b: Any, locked: Collection[str], event: gr.EventData) -> Updates:
        """The model and the tokenizer of the weights that were chosen, for A or for B alone, but for what is hidden."""
        of_b = event.target is self.controls.switch_choice
        if of_b and (switch != START_FROM or start != RANDOM):
            return gr.skip()
        try:
            updates = self.controls.start_updates(b if of_b else start)
        except ValueError:  # they have just gone, which is said beside Start
            return gr.skip()
        # Both sides begin with these weights, which fit no other model.
        if updates and switch in model_fields() and switch not in locked:
            updates |= {self.controls.components["switch"]: NOTHING, **self.controls.switch_updates(None, None)}
        return self.unlocked(updates, locked) or gr.skip()

    async def on_open(self, told: str | None) -> Any:
        """A server that has just started needs a moment to know its pace; then the page asks for the estimate anew."""
        if told or self.runs.pace is not None:
            return gr.skip()
        until = time.monotonic() + SECONDS_FOR_PACE
        while self.runs.pace is None and time.monotonic() < until:
            await asyncio.sleep(0.1)
        return "pace"

    def on_settings(
        self,
        renewed_by: str | None,
        locked: Collection[str],
        run_id: str | None,
        *values: Any,
        request: gr.Request,
        event: gr.EventData,
    ) -> Updates:
        """What the page says of its settings, the first time and after any change.

        One event for all of these: of two that write the same words, the one that was asked first could answer last.
        """
        if self.controls.is_half_set(values):
            return gr.skip()
        is_as_built = [*values] == [control.value for control in self.controls.inputs]
        has_drawing = event.target is None and is_as_built  # no control is behind the question of a page that opens
        answer = self.before_start if has_drawing else self.on_change
        return answer(request, locked, run_id, *values)

    def on_change(self, request: gr.Request, locked: Collection[str], run_id: str | None, *values: Any) -> Updates:
        """The model as these settings make it, and what there is to know of them."""
        return {
            self.diagram.picture: self.diagram.drawn(values),
            **self.before_start(request, locked, run_id, *values),
        }

    def before_start(self, request: gr.Request, locked: Collection[str], run_id: str | None, *values: Any) -> Updates:
        """What is to be known before the start, and the address for these settings."""
        return {
            **self.known_before(run_id, *values),
            self.address: self.query(values, locked),
            **self.rates.marked(visit_of(request).session, values),
        }

    def query(self, values: Sequence[Any], locked: Collection[str]) -> Any:
        """What the address of the page is to say; while the settings do not fit together, it stays as it was."""
        try:
            return self.controls.address(self.controls.query(values, list(locked)))
        except ValueError:
            return gr.skip()

    def known_before(self, run_id: str | None, *values: Any) -> Updates:
        """How long it would take and how large it would be, or why it cannot be; and whether the pictures show it.

        While it cannot be, the drawing stays as it was, and so does what is said of the pictures.
        """
        try:
            job = self.controls.job(values)
            estimate = self.estimate_words(job)
        except ValueError as error:
            return {
                self.estimate: note_html(str(error), "tl-warning"),
                self.rates.button: gr.update(interactive=False),
            }
        shown = self.seeds.run_of(run_id)
        is_other = not same_run(shown.job, job)
        untuned = why_not_tuned(job)
        off = f"“{self.rates.button.value}” is off. {untuned}" if untuned else ""
        return {
            self.estimate: note_html(f"{estimate} {off}".strip()),
            self.rates.button: gr.update(interactive=not untuned and not shown.active),
            self.other: view.other_html(shown, job) if is_other else "",
            self.take: gr.update(visible=is_other),
        }

    def estimate_words(self, job: Job) -> str:
        """Before the start: parameters, and seconds where the machine's pace is known.

        Raises:
            ValueError: the settings are wrong, or too much.
        """
        self.runs.check(job)
        if job.text is None and needs_download(job.corpus):
            return "Start downloads this text first; its vocabulary, and so the number of weights, is known then."
        vocab_size, validation_tokens = text_size(job)
        configs = [plan.configs(vocab_size) for plan in job.plans]
        check_limits(self.runs.limits, configs)
        sizes = list(dict.fromkeys(f"{num_parameters(config):,}" for config, _ in configs))
        words = f"{' and '.join(sizes)} weights{' each' if len(sizes) < len(configs) else ''}"
        if self.runs.pace is None:
            return f"{words}."
        seconds = estimated_seconds(self.runs.pace, configs, validation_tokens)
        both = "both sides" if len(configs) > 1 else "the run"
        untried = "" if self.runs.pace_is_tried else " Half or twice that may be true: no run was timed here yet."
        return f"{words}; {both} would take about {duration(seconds)} here.{untried}"

    # -------------------------------------------------------------------------------- buttons

    async def on_start(
        self, request: gr.Request, *values: Any, pause_after: int | None = None
    ) -> AsyncIterator[Updates]:
        """Begin a new run with these settings, and show it until it ends; after `pause_after` steps it pauses."""
        visit = visit_of(request)
        before = self.runs.shown(visit.page)

        def start() -> Run:
            job = self.controls.job(values)._replace(pause_after=pause_after)
            return self.runs.start(visit.session, job, visit.page)

        try:
            run = await asyncio.to_thread(start)  # a long text takes a while to check, and the server must not wait
        except (ValueError, BusyError) as error:
            raise error_toast(error) from None
        async for frame in self.follow(run, visit.page, before):
            yield frame

    async def on_pause(self, run_id: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Pause a run that runs, go on with one that pauses."""
        run = self.runs.get(run_id)
        if run is not None and not run.active:
            async for frame in self.go_on(run, visit_of(request).page):
                yield frame
            return
        if run is not None:
            self.runs.pause(run)
        yield self.unchanged  # Gradio empties all outputs of a generator that ends without a frame

    async def go_on(self, run: Run, page: str, pause_after: int | None = None) -> AsyncIterator[Updates]:
        """Resume a run and show it on a page; after `pause_after` steps it pauses again."""
        self.runs.show(page, run)
        try:
            await asyncio.to_thread(self.runs.resume, run, pause_after)
        except (ValueError, BusyError) as error:
            raise error_toast(error) from None
        async for frame in self.follow(run, page):
            yield frame

    async def on_step(self, run_id: str | None, request: gr.Request, *values: Any) -> AsyncIterator[Updates]:
        """One update of each side: of the run that pauses, or the first one of a new run."""
        run = self.runs.get(run_id)
        if run is not None and run.state == PAUSED:
            frames = self.go_on(run, visit_of(request).page, pause_after=1)
        else:
            frames = self.on_start(request, *values, pause_after=1)
        async for frame in frames:
            yield frame

    def on_stop(self, run_id: str | None, request: gr.Request) -> Any:
        """End what trains, a study or the run; what is there is kept. Whatever follows it shows the end.

        Nothing follows a run that pauses.
        """
        run = self.runs.get(run_id)
        study = self.study_in_bar(visit_of(request).session, run)
        if study is not None:
            self.studies.stop(study)
        elif run is not None:
            is_followed = run.active
            self.runs.stop(run)
            if not is_followed:
                return {self.state: self.state_of(run), **self.buttons(run)}
        return gr.skip()

    def on_reset(self, run_id: str | None, request: gr.Request) -> Updates:
        """Show a shipped run again, of the same settings if there is one; the history keeps what was here.

        The settings stay, so Start gives the same curve.
        """
        visit, run = visit_of(request), self.runs.get(run_id)
        if run is None:
            return self.shipped_frame(visit.session, shipped_preset(run_id))
        self.runs.stop(run)
        return self.show(visit, None, shipped_twin(run.job))

    def on_take(self, run_id: str | None, locked: Collection[str], request: gr.Request) -> Updates:
        """Set the controls to what the run was made of that is shown."""
        words = "These are the settings of the run that is shown."
        return self.run_settings_updates(self.seeds.run_of(run_id), words, locked, visit_of(request).session)

    # -------------------------------------------------------------------------------- frames

    def shipped_on(self, page: str) -> Preset:
        """Whose run a page sees where it has none of its own."""
        return self.looked_at.get(page, [DEMO_PRESET])[-1]

    def show(self, visit: Visit, run: Run | None, preset: Preset = DEMO_PRESET) -> Updates:
        """All outputs for a run of the history, or for the shipped one of a preset."""
        self.runs.show(visit.page, run)
        before = self.looked_at.get(visit.page, [])
        self.looked_at[visit.page] = [*(other for other in before if other is not preset), preset]
        if run is not None and run.session != visit.session:
            self.runs.linked[visit.page] = run.id
        return self.shipped_frame(visit.session, preset) if run is None else self.frame(run, visit.session)

    def frame(self, run: Run, session: str) -> Updates:
        """All outputs for a run as it is now; it may be another visitor's, which a link has opened."""
        return {
            **self.progress(run, session),
            self.model_id: run.id,
            self.samples: view.samples_html(run),
            **self.buttons(run),
            **self.bar(session, run),
            **self.seeds.shown(session, run),
            **self.rates.shown_with(session, run),
        }

    def shipped_frame(self, session: str, preset: Preset) -> Updates:
        """All outputs of a page without a run of its own."""
        shipped = demo_run(preset)
        return {
            **self.pictures(shipped, session),
            **self.seeds.shown(session, shipped),
            **self.rates.shown_with(session, shipped),
            self.run_id: shipped.id,
            self.model_id: shipped.id,
            self.samples: view.samples_html(shipped),
            **self.buttons(None),
            **self.bar(session, shipped),
        }

    def progress(self, run: Run, session: str) -> Updates:
        return {self.run_id: run.id, self.state: self.state_of(run), **self.pictures(run, session)}

    def on_bar(self, run_id: str | None, request: gr.Request) -> Updates:
        """While a study trains, and once more when it has ended."""
        return self.bar(visit_of(request).session, self.seeds.run_of(run_id))

    def study_in_bar(self, session: str, run: Run | None) -> Study | None:
        """The study that the bar tells of and Stop ends: one that trains, while the run that is shown does not."""
        return None if run is not None and run.active else self.studies.active(session)

    def bar(self, session: str, run: Run) -> Updates:
        """What trains and can be stopped."""
        own = self.runs.get(run.id)
        study = self.study_in_bar(session, own)
        if study is not None:
            words = f"{progress_words(study)}. Stop ends them; what is there is kept."
            state = view.state_html(study.state, words, own.id if own else "", title=study_title(study))
        else:
            state = shipped_state(run) if own is None else self.state_of(own)
        stoppable = study is not None or (own is not None and (own.active or own.state == PAUSED))
        return {
            self.state: state,
            self.stop: gr.update(interactive=stoppable),
            self.bar_clock: gr.update(active=study is not None),
        }

    def state_of(self, run: Run) -> str:
        words = view.run_words(run, self.runs.place_in_queue(run), (run.id, 0) in self.runs.store)
        return view.state_html(run.state, words, run.id, run.active and not lasts(run.session))

    def pictures(self, run: Run, session: str) -> Updates:
        return {
            self.chart: self.chart_of(session, run),
            self.verdict: self.verdict_of(session, run),
            self.numbers: view.numbers_html(run),
            self.why: view.why_value(run),
        }

    def verdict_of(self, session: str, run: Run) -> str:
        """What five seeds tell, where they are known; else what one run of each does."""
        return view.verdict_html(run, self.seeds.words(session, run))

    def chart_of(self, session: str, run: Run) -> dict[str, Any]:
        """The curves of a run, and what the session knows of other seeds."""
        return view.chart_value(run, self.seeds.bands(session, run))

    def buttons(self, run: Run | None) -> Updates:
        state = run.state if run else None
        busy, running = state in ACTIVE, state in (RUNNING, WAITING)
        return {
            self.start: gr.update(interactive=not busy, value="Start again" if state == PAUSED else "Start"),
            self.pause: gr.update(
                interactive=running or state == PAUSED, value="Resume" if state == PAUSED else "Pause"
            ),
            self.step: gr.update(interactive=not busy),
            self.stop: gr.update(interactive=busy or state == PAUSED),
            self.reset: gr.update(interactive=run is not None),
        }

    async def follow(self, run: Run, page: str, before: Run | None = None) -> AsyncIterator[Updates]:
        """A frame of everything, several times a second, until the run ends or pauses.

        A run that fails before its first step leaves nothing to be seen: then the pictures are those of `before` again.
        """
        run.followers.add(page)
        try:
            async for frame in self.frames(run, page):
                yield frame
        finally:  # also where the page has gone
            run.followers.discard(page)
        if run.state == FAILED and not run.step and self.runs.shown(page) is run:
            seen = before or demo_run(self.shipped_on(page))
            yield {**self.pictures(seen, run.session), self.samples: view.samples_html(seen), self.model_id: seen.id}
        if run.state == FAILED:
            raise error_toast(RuntimeError(run.error))

    def on_behind(self, told: dict[str, Any] | None, request: gr.Request) -> None:
        """A page draws slower than frames come: it gets the next when it has drawn what it has."""
        milliseconds = clamp_int((told or {}).get("ms"), 0, MAX_BEHIND, 0)
        self.rests[visit_of(request).page] = time.monotonic() + milliseconds / 1000

    async def frames(self, run: Run, page: str) -> AsyncIterator[Updates]:
        """What changes on the page, until the run ends, pauses, or is no longer the one that is shown."""
        shown_state, shown_samples, shown_words, pause = None, None, "", SECONDS_BETWEEN_FRAMES
        buttons_due = 0.0
        while True:
            over = not run.active  # asked before the picture is made, so that the last picture shows the end
            if self.runs.shown(page) is not run:
                # Another is shown by now. When a generator ends, Gradio sends its last frame once more: that must be
                # what the page shows, or the end of this run would cover it.
                if self.runs.shown(page) is not None:
                    yield self.unchanged
                else:
                    yield self.shipped_frame(run.session, self.shipped_on(page))
                return
            state, words = run.state, self.state_of(run)
            if state == shown_state == WAITING:  # nothing is drawn, and many may wait
                if words != shown_words:
                    yield {self.state: words}
                shown_words, pause = words, min(1.3 * pause, MAX_SECONDS_BETWEEN_WORDS)
                await asyncio.sleep(pause)
                continue
            samples = [side.sample for side in run.sides]
            frame = self.progress(run, run.session)
            frame[self.chart]["sent"] = round(1000 * time.monotonic())
            if shown_state is None:
                frame[self.model_id] = run.id  # once: meanwhile a visitor may look into another one
                frame[self.renewed_by] = f"{run.id} goes on"
            if state != shown_state:
                frame |= self.seeds.shown(run.session, run)
            # Now and then again: on a busy machine an answer to what was asked before the start may come after it.
            if state != shown_state or time.monotonic() >= buttons_due:
                frame |= {**self.buttons(run), **self.bar(run.session, run)}
                buttons_due = time.monotonic() + SECONDS_BETWEEN_BUTTONS
            if state != shown_state or samples != shown_samples:
                frame[self.samples] = view.samples_html(run)
            shown_state, shown_samples = state, samples
            if over:
                frame[self.renewed_by] = f"{run.id} {state}"
            yield frame
            if over:
                return
            await asyncio.sleep(SECONDS_BETWEEN_FRAMES)
            while run.active and time.monotonic() < self.rests.get(page, 0.0):
                await asyncio.sleep(SECONDS_BETWEEN_FRAMES)


def same_run(made: Job, asked: Job) -> bool:
    """Whether two jobs are of the same settings; how far one was to go before a pause is none of them."""
    sides = [[(plan.model, plan.training, plan.bug, plan.start_from) for plan in job.plans] for job in (made, asked)]
    return sides[0] == sides[1] and made[:3] == asked[:3]


def shipped_twin(job: Job) -> Preset:
    """The preset whose run is one of these settings, else that of the page's opening."""
    return next((preset for preset in PRESETS.values() if same_run(preset_job(preset), job)), DEMO_PRESET)


def shipped_state(run: Run) -> str:
    """What to say of a shipped run. After a reset the settings may be any, so it never says "these"."""
    sides = [side.label for side in run.sides]
    what = f"{' and '.join(sides)}, all else the same" if len(sides) > 1 else run.name
    words = f"A finished run that comes with the lab, on “{run.job.corpus}”: {what}."
    diverged = [view.divergence_words(side, run) for side in run.sides if side.divergence]
    return view.state_html("shipped", " ".join([words, *diverged, "Start trains the chosen settings live."]))

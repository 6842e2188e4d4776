"""The Inside tab: every probe of a trained model as a table, what happens without a part, and its way there."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from tlab.config import options
from tlab.inside import PROBES
from tlab.inside.interventions import INTERVENTIONS
from tlab.inside.over_time import Curves
from tlab.inside.probing import Rows
from tlab.ui.demo.shipped_run import EXCERPT
from tlab.ui.inspection import tasks
from tlab.ui.inspection.selection import (
    SelectedModel,
    every_step,
    find_model,
    selected_model,
    serial_of,
    text_for_new_model,
)
from tlab.ui.inspection.tasks import InspectionRequest, InterventionEffect
from tlab.ui.tabs.attention.tab import MAX_CHARACTERS
from tlab.ui.tabs.inside.checks_panel import ChecksPanel
from tlab.ui.tabs.inside.options import asked_options, group_words, groups, option_control
from tlab.ui.tabs.inside.view import about_html, intervention_html, over_time_value, probe_table, refused_html
from tlab.ui.tabs.model_choice import ModelChoice
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.component import (
    FORMULAS,
    QUIET,
    REPLACE_IF_UNTOUCHED,
    changes,
    formula_markdown,
    js_component,
    note_html,
    selection_component,
)
from tlab.ui.widgets.line_chart import lines_chart, lines_value

FIRST = "lens"  # what it would say after each block: a table that needs no knowledge of heads and neurons
FIRST_CHANGE = "mean"  # takes away what a part says of this place, and nothing else
OTHER_TEXT = EXCERPT.replace("name", "list", 1)  # as long, with another word: something to take a patch from
WINDOWS = 16  # of held-out text for an intervention: enough for an interval
BYTES_PER_CELL = 120  # of a table in memory

# The answer takes seconds; by then the visitor may look at another probe, whose chart it must not become.
SHOW_IF_STILL_ASKED = "(followed, probe, chart) => followed && followed.probe === probe ? followed.chart : chart"

WHAT_IF = """<div class="tl-in-head"><h3>What happens without it?</h3><p>Change one part of the model while it reads:
the cost is how much worse it then predicts held-out text, and the bars are its predictions for the next token.
What the part adds to the residual stream is replaced; everything after it is computed again.</p></div>"""


class InsideTab(Tab):
    """Builds the tab and holds its handlers. Everything is computed by the inspector, in a process of its own."""

    title, key = "Inside", "inside"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.choice = ModelChoice(self.runs, self.model_id)
        self.public = self.runs.limits.public
        self.fields = [(key, name) for key, kind in PROBES.items() for name in options(kind)]

    # -------------------------------------------------------------------------------- layout

    def build(self, page: Page) -> None:
        """Lay it out with the first probe of the shipped model, and connect it."""
        of = find_model(self.runs, self.model_id.value)
        request = of.request(EXCERPT)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                self.build_choice(of)
            with gr.Column(scale=8, min_width=320):
                about, formula = about_html(FIRST), probe_formula(FIRST)
                self.about = gr.HTML(about, elem_id="inside-about", apply_default_css=False)
                self.formula = gr.Markdown(formula, latex_delimiters=FORMULAS, elem_id="inside-formula")
                rows = tasks.probe_rows(request, FIRST, {})
                self.table = gr.HTML(probe_table(FIRST, rows), elem_id="inside-table", apply_default_css=False)
                follow = gr.Button("Follow this table over the training", size="sm", elem_id="inside-follow")
                requests = [one.request(EXCERPT) for one in every_step(self.runs, of.key, of)]
                found = tasks.probe_over_time(requests, FIRST, {})
                self.over_time = lines_chart(over_time_chart(FIRST, found, of), "inside-over-time")
        self.build_what_if(of, request)
        self.selection = selection_component("inside", {"serial": 0})
        self.checks = ChecksPanel(self.runs, page.find(TrainTab), self.inspector)
        self.checks.build(self.model_id, self.selection, page.bar)
        self.connect(page, of, follow)
        self.bar = page.bar
        link = page.find(TrainTab).diagram.probe
        link.input(self.on_link, link, [self.bar, self.group, self.probe], queue=False, **QUIET)

    def build_choice(self, of: SelectedModel) -> None:
        self.choice.build(self.key)
        self.text = gr.Textbox(EXCERPT, label="Text to read", lines=2, max_lines=5, elem_id="inside-text")
        self.scrub = js_component("widgets/step_slider", of.slider(0), "inside-scrub", "arrays", tab=self.key)
        self.note = gr.HTML(note_html(of.note(EXCERPT)), elem_id="inside-note", apply_default_css=False)
        first = next(group for group, keys in groups().items() if FIRST in keys)
        self.group = gr.Radio(
            [(group.capitalize(), group) for group in groups()], value=first, label="Look at", info=group_words(first),
            elem_id="inside-group",
        )  # fmt: skip
        self.probe = gr.Radio(probe_choices(first), value=FIRST, label="Probe", elem_id="inside-probe")
        self.options: list[gr.Component] = []
        self.option_groups: dict[str, gr.Group] = {}
        for key, kind in PROBES.items():
            with gr.Group(visible=key == FIRST) as group:
                self.options += [option_control(key, name, self.public) for name in options(kind)]
            self.option_groups[key] = group

    def build_what_if(self, of: SelectedModel, request: InspectionRequest) -> None:
        gr.HTML(WHAT_IF, apply_default_css=False)
        parts = tasks.part_names(of.checkpoint.model_config)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                self.part = gr.Dropdown(
                    parts, value=parts[0], label="Part", allow_custom_value=True, elem_id="what-if-part",
                    info="Layers, heads and neurons are counted from 0; a single neuron as mlp.0.neuron.7.",
                )  # fmt: skip
                instead = [(entry.label.capitalize(), key) for key, entry in INTERVENTIONS.entries.items()]
                self.change = gr.Radio(
                    instead, value=FIRST_CHANGE, label="What it does instead", elem_id="what-if-change"
                )
                self.other = gr.Textbox(
                    OTHER_TEXT, label="The other text", max_lines=3, visible=False, elem_id="what-if-other",
                    info="Of the same number of tokens, best with only one of them another.",
                )  # fmt: skip
            with gr.Column(scale=8, min_width=320):
                done = tasks.intervene(request, parts[0], FIRST_CHANGE, "", WINDOWS)
                effect = intervention_html(change_words(parts[0], FIRST_CHANGE), done)
                self.effect = gr.HTML(effect, elem_id="what-if-effect", apply_default_css=False)

    def connect(self, page: Page, of: SelectedModel, follow: gr.Button) -> None:
        """One listener for the table and one for the intervention: the last question is always answered."""
        self.shown, self.instead = gr.State(of.key), gr.JSON(None, visible=False)
        self.followed = gr.JSON(None, visible=False)
        about = [self.about, self.formula, self.over_time, *self.option_groups.values()]
        self.group.input(self.on_group, self.group, [self.group, self.probe], queue=False, **QUIET)
        self.probe.change(self.on_probe, self.probe, about, queue=False, **QUIET)
        chosen, selected = self.choice.connect(page), page.handle.select
        asked = [self.model_id, self.text, self.selection, self.probe]
        looked = [self.selection.input, self.text.change, self.probe.change, selected, *changes(self.options)]
        inputs = [*asked, self.shown, self.part, *self.options]
        outputs = [self.scrub, self.note, self.table, self.over_time, self.part, self.shown, self.instead]
        for answered in (
            gr.on(looked, self.on_look, inputs, outputs, trigger_mode="always_last", **QUIET),
            chosen.success(self.on_look, inputs, outputs, **QUIET),
        ):
            answered.then(None, [self.text, self.instead], self.text, js=REPLACE_IF_UNTOUCHED)
        follow.click(self.on_follow, [*asked, *self.options], self.followed, **QUIET).then(
            None, [self.followed, self.probe, self.over_time], self.over_time, js=SHOW_IF_STILL_ASKED, **QUIET
        )
        self.change.change(self.on_change, self.change, self.other, queue=False, **QUIET)
        changed = [self.selection.input, self.text.change, selected, *changes([self.part, self.change, self.other])]
        what_if = [self.model_id, self.text, self.selection, self.part, self.change, self.other]
        gr.on(changed, self.on_what_if, what_if, self.effect, trigger_mode="always_last", **QUIET)
        chosen.success(self.on_what_if, what_if, self.effect, **QUIET)

    # -------------------------------------------------------------------------------- probes

    def on_group(self, group: str | None) -> Updates:
        group = group if group is not None and group in groups() else next(iter(groups()))
        return {
            self.group: gr.update(info=group_words(group)),
            self.probe: gr.update(choices=probe_choices(group), value=groups()[group][0]),
        }

    def on_link(self, chosen: dict[str, Any] | None) -> Updates:
        """Come here from a part of the model's drawing, with one of the probes that look at it."""
        key = known_probe((chosen or {}).get("probe"))
        group = next(group for group, keys in groups().items() if key in keys)
        return {
            self.bar: gr.update(selected=self.key),
            self.group: gr.update(value=group, info=group_words(group)),
            self.probe: gr.update(choices=probe_choices(group), value=key),
        }

    def on_probe(self, key: str | None) -> Updates:
        key = known_probe(key)
        return {
            self.about: about_html(key),
            self.formula: probe_formula(key),
            self.over_time: nothing_followed(key),
            **{group: gr.update(visible=key == other) for other, group in self.option_groups.items()},
        }

    def on_look(
        self, run_id: str | None, text: str | None, selection: Any, key: str | None, shown: Any, part: Any, *values: Any
    ) -> Updates:
        """The table that is asked for, of the model that is asked for; or why there is none."""
        of = selected_model(self.runs, run_id, selection)
        read = given = (text or "")[:MAX_CHARACTERS]
        updates: Updates = {}
        if shown != of.key:  # a new model, perhaps of another alphabet and size
            before = EXCERPT if given == EXCERPT else find_model(self.runs, shown).excerpt
            read = text_for_new_model(of, given, of.excerpt, before)
            names = tasks.part_names(of.checkpoint.model_config)
            updates[self.over_time] = nothing_followed(known_probe(key))
            updates[self.part] = gr.update(choices=names, value=part if part in names else names[0])
        key = known_probe(key)
        try:
            table = probe_table(key, self.rows(of, read, key, self.asked_options(key, values)))
        except ValueError as error:
            table = refused_html(str(error))
        return {
            **updates,
            self.scrub: of.slider(serial_of(selection)),
            self.note: note_html(of.note(read)),
            self.table: table,
            self.shown: of.key,
            self.instead: [text, read] if read != given else None,
        }

    def on_follow(
        self, run_id: str | None, text: str | None, selection: Any, key: str | None, *values: Any
    ) -> dict[str, Any]:
        """The table's first column at every step that is kept, with the probe that was asked for."""
        of = selected_model(self.runs, run_id, selection)
        key, read = known_probe(key), (text or "")[:MAX_CHARACTERS]
        try:
            requests = [one.request(read) for one in every_step(self.runs, run_id, of)]
            found = self.inspector.call(tasks.probe_over_time, requests, key, self.asked_options(key, values))
        except ValueError as error:
            return {"probe": key, "chart": lines_value(PROBES.entries[key].label, "", [], str(error))}
        return {"probe": key, "chart": over_time_chart(key, found, of)}

    def asked_options(self, key: str, values: tuple[Any, ...]) -> dict[str, Any]:
        given = {name: value for (of, name), value in zip(self.fields, values, strict=True) if of == key}
        return asked_options(key, given, self.public)

    def rows(self, of: SelectedModel, text: str, key: str, chosen: dict[str, Any]) -> Rows:
        """The table of a probe, made once for each model, text and choice."""
        what = f"{key} {json.dumps(chosen, sort_keys=True)}"
        kept = self.cache.recall(of.checkpoint, what, text)
        if kept is not None:
            return kept
        rows = self.inspector.call(tasks.probe_rows, of.request(text), key, chosen)
        return self.cache.remember(of.checkpoint, what, text, rows, BYTES_PER_CELL * len(rows) * len(rows[0]))

    # -------------------------------------------------------------------------------- interventions

    def on_change(self, change: str | None) -> Any:
        """A patch needs another text."""
        return gr.update(visible=bool(change) and change in INTERVENTIONS and INTERVENTIONS[change].needs_reference)

    def on_what_if(
        self, run_id: str | None, text: str | None, selection: Any, part: Any, change: Any, other: str | None
    ) -> str:
        """What the change costs, and the next token before and after; or why it cannot be."""
        of = selected_model(self.runs, run_id, selection)
        part, other = str(part or "")[:100], (other or "")[:MAX_CHARACTERS]
        change = change if change in INTERVENTIONS else FIRST_CHANGE
        try:
            done = self.intervention(of, (text or "")[:MAX_CHARACTERS], part, change, other)
        except ValueError as error:
            return refused_html(str(error))
        return intervention_html(change_words(part, change), done)

    def intervention(self, of: SelectedModel, text: str, part: str, change: str, other: str) -> InterventionEffect:
        """The same, made once."""
        what = json.dumps(["what if", part, change, other])
        kept = self.cache.recall(of.checkpoint, what, text)
        if kept is not None:
            return kept
        done = self.inspector.call(tasks.intervene, of.request(text), part, change, other, WINDOWS)
        return self.cache.remember(of.checkpoint, what, text, done, BYTES_PER_CELL * 3 * len(done.candidates))


def known_probe(key: str | None) -> str:
    """What a visitor asks for, or the first."""
    return key if key is not None and key in PROBES else FIRST


def probe_formula(key: str) -> str:
    return formula_markdown(PROBES.entries[key].formula)


def probe_choices(group: str) -> list[tuple[str, str]]:
    return [(PROBES.entries[key].label, key) for key in groups()[group]]


def change_words(part: str, change: str) -> str:
    return f"{part}: taken out" if part in tasks.MECHANISMS else f"{part}: {INTERVENTIONS.entries[change].label}"


def nothing_followed(key: str) -> dict[str, Any]:
    """The chart over the training before it is asked for."""
    return lines_value(f"{PROBES.entries[key].label}, over the training", "", [], "Press the button above")


def over_time_chart(key: str, found: Curves, of: SelectedModel) -> dict[str, Any]:
    which = of.labels[of.side] if len(of.labels) > 1 else of.whose
    return over_time_value(f"{PROBES.entries[key].label} ({which})", found, PROBES[key].units.get(found.column, ""))

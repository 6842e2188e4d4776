"""The Inside tab: every probe of a trained model as a table, what happens without a part, and its way there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from tlab.config import options
from tlab.inside import PROBES
from tlab.inside.interventions import INTERVENTIONS
from tlab.inside.over_time import Curves
from tlab.inside.probing import Rows
from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import EXCERPT, shipped_id
from tlab.ui.inspection import tasks
from tlab.ui.inspection.selection import (
    OTHER_CAPITALS,
    SelectedModel,
    every_step,
    find_model,
    selected_model,
    serial_of,
    text_for_new_model,
)
from tlab.ui.inspection.tasks import InspectionRequest, InterventionEffect, ProbeResult
from tlab.ui.listening import BESIDE, LATEST, QUIET, changes, only_latest
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.tabs.attention.tab import MAX_CHARACTERS, AttentionTab
from tlab.ui.tabs.inside.checks_panel import ChecksPanel
from tlab.ui.tabs.inside.options import asked_options, default, group_words, groups, option_control
from tlab.ui.tabs.inside.pictures import picture_value
from tlab.ui.tabs.inside.view import (
    about_html,
    intervention_html,
    over_time_value,
    probe_table,
    refused_html,
    remark_html,
)
from tlab.ui.tabs.model_choice import ModelChoice, told_meanwhile
from tlab.ui.tabs.tab import Page, Services, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.component import (
    FORMULAS,
    REPLACE_IF_UNTOUCHED,
    formula_markdown,
    js_component,
    note_html,
    scripted_html,
    selection_component,
)
from tlab.ui.widgets.line_chart import lines_chart, lines_value
from tlab.wording import head_of, part_name, percent

FIRST = "lens_map"  # what it would say after each block: a picture that needs no knowledge of heads and neurons
FIRST_FACTOR, MAX_FACTOR = 2.0, 1000.0  # of a part that is multiplied
FIRST_CHANGE = "mean"  # takes away what a part says of this place, and nothing else
OTHER_TEXT = EXCERPT.replace("local", "outer")  # as long, with another word: something to take a patch from
SHOWN_END = 60  # characters of the text before the next token
PATIENCE = 0.3  # seconds, within which most answers come
ONE_STEP = "Of an opened model only one step is known"
WINDOWS = 16  # of held-out text for an intervention: enough for an interval
BYTES_PER_CELL = 120  # of a table in memory

# The answer takes seconds; by then the visitor may look at another probe, whose chart it must not become.
SHOW_IF_STILL_ASKED = "(followed, probe, chart) => followed && followed.probe === probe ? followed.chart : chart"

SHOW_WHAT_IF = """() => document.getElementById("what-if-effect")?.scrollIntoView({ block: "center" })"""

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
                self.about = scripted_html("tabs/inside/links", about, "inside-about")
                self.formula = gr.Markdown(formula, latex_delimiters=FORMULAS, elem_id="inside-formula")
                # Its first answer comes when the tab is opened: the page would be a tenth larger for all who never do.
                self.remark = gr.HTML("", elem_id="inside-remark", apply_default_css=False)
                libraries = ("axes", "arrays", "pictures/offer")
                self.picture = js_component("tabs/inside/picture", {"kind": ""}, "inside-picture", *libraries)
                self.table = scripted_html("tabs/inside/links", "", "inside-table")
                steady = PROBES[FIRST].steady
                self.follow = gr.Button(
                    "Follow this table over the training", size="sm", elem_id="inside-follow", visible=steady
                )
                self.over_time = lines_chart(empty_chart(FIRST), "inside-over-time", visible=steady)
        self.build_what_if(of, request)
        self.selection = selection_component("inside", {"serial": 0})
        self.checks = ChecksPanel(self.runs, page.find(TrainTab), self.inspector)
        self.checks.build(self.model_id, self.selection, page.bar)
        self.connect(page, of)
        self.bar = page.bar
        self.connect_links(page)

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
                    part_choices(parts), value=parts[0], label="Part", allow_custom_value=True, elem_id="what-if-part",
                    info="A key may be typed, too, also of a single neuron; keys count from 0: mlp.0.neuron.7 is "
                    "neuron 8 of layer 1.",
                )  # fmt: skip
                instead = [(entry.label.capitalize(), key) for key, entry in INTERVENTIONS.entries.items()]
                self.change = gr.Radio(
                    instead, value=FIRST_CHANGE, label="What it does instead", elem_id="what-if-change"
                )
                self.factor = gr.Number(
                    FIRST_FACTOR, label="Times", visible=False, elem_id="what-if-factor", elem_classes="tl-decimal",
                    info="What its output is multiplied with: 0 switches it off, 1 changes nothing, −1 turns it round.",
                )  # fmt: skip
                self.other = gr.Textbox(
                    OTHER_TEXT, label="The other text", max_lines=3, visible=False, elem_id="what-if-other",
                    placeholder="the same text with another last token",
                    info="Of the same number of tokens, best with only one of them another.",
                )  # fmt: skip
            with gr.Column(scale=8, min_width=320):
                done = tasks.intervene(request, parts[0], FIRST_CHANGE, "", WINDOWS)
                effect = intervention_html(change_words(parts[0], FIRST_CHANGE, FIRST_FACTOR), done, end_of(EXCERPT))
                self.effect = gr.HTML(effect, elem_id="what-if-effect", apply_default_css=False)

    def connect(self, page: Page, of: SelectedModel) -> None:
        """The last question is always answered: by the table, and then by the intervention. One process makes both."""
        self.shown, self.instead = gr.State(of.key), gr.JSON(None, visible=False)
        self.followed = gr.JSON(None, visible=False)
        about = [self.about, self.formula, self.follow, self.over_time, *self.option_groups.values()]
        self.group.input(self.on_group, self.group, [self.group, self.probe], queue=False, **LATEST)
        self.probe.change(only_latest(self.on_probe), [self.probe, self.model_id], about, **BESIDE)
        events, came = self.choice.connect(page), [page.handle.select, self.choice.again.click]
        asked = [self.model_id, self.text, self.selection, self.probe]
        for_both, for_table = [self.selection.input, self.text.change, *came], [self.probe, *self.options]
        answer = [self.remark, self.picture, self.table]
        inputs = [*asked, self.shown, self.part, *self.options]
        followed, instead = [self.follow, self.over_time], [self.part, self.other]
        outputs = [self.scrub, self.note, *answer, *followed, *instead, self.shown, self.instead]
        looks: dict[str, Any] = {"concurrency_id": self.key, **LATEST}
        looked = gr.on(for_both, self.on_look_told, inputs, outputs, **looks)
        for answered in (
            looked,
            gr.on(changes(for_table), self.on_look_told, inputs, outputs, **looks),
            *(chosen.success(self.on_look_told, inputs, outputs, **looks) for chosen in events),
        ):
            answered.then(None, [self.text, self.instead], self.text, js=REPLACE_IF_UNTOUCHED)
        self.follow.click(
            self.on_follow, [*asked, *self.options], self.followed, concurrency_id=self.key, **QUIET
        ).then(None, [self.followed, self.probe, self.over_time], self.over_time, js=SHOW_IF_STILL_ASKED, **QUIET)
        change = [self.part, self.change, self.other, self.factor]
        self.change.change(only_latest(self.on_change), self.change, [self.other, self.factor], **BESIDE)
        what_if = [self.model_id, self.text, self.selection, self.shown, self.instead, *change]
        gr.on(changes(change), self.on_what_if_told, what_if, self.effect, concurrency_id="what if", **LATEST)
        for after in (looked.then, *(chosen.success for chosen in events)):
            after(self.on_what_if_told, what_if, self.effect, concurrency_id="what if", **LATEST)

    def connect_links(self, page: Page) -> None:
        """From the drawing of the model and from sentences to a probe, and to and fro between heads and their maps."""
        attention = page.find(AttentionTab)
        probe = selection_component("inside-probe", {})
        opened = [self.bar, self.group, self.probe]
        probe.input(self.on_link, probe, opened, queue=False, **LATEST)
        drawn = page.find(TrainTab).diagram.probe
        drawn.input(self.on_drawing, [drawn, self.run_id], [*opened, self.model_id], queue=False, **LATEST)
        to_map, both = selection_component("inside-head", {}), [self.selection, attention.selection]
        here, there = (
            [self.bar, self.selection, self.part, self.effect, self.note],
            [self.bar, attention.selection, attention.shown],
        )
        attention.to_inside.input(self.on_head, [attention.to_inside, *both], here, queue=False, **LATEST).then(
            None, None, None, js=SHOW_WHAT_IF, **QUIET
        )
        to_map.input(self.on_map, [to_map, *both], there, queue=False, **LATEST)

    def on_head(self, chosen: Any, own: Any, of_map: Any) -> Updates:
        """Come here from a head of the Attention tab, with what is lost without it in the model that was shown there.

        `own` and `of_map` are what is selected here and there.
        """
        part = chosen_text(chosen, "part")
        return {
            self.bar: gr.update(selected=self.key),
            self.selection: with_model_of(of_map, own),
            self.part: part,
            # What is shown is of another part and maybe of another model, until the answer comes.
            self.effect: note_html(f"{part_name(part)}: what is lost without it is being computed …"),
            self.note: note_html("The pictures for this model are being computed …", "tl-meanwhile"),
        }

    def on_map(self, chosen: Any, own: Any, of_map: Any) -> list[Any]:
        """Go to the map of the head that was clicked; all of that tab is drawn again, its small maps too."""
        found = head_of(chosen_text(chosen, "key"))
        if found is None:
            return [gr.skip()] * 3
        selection = {**with_model_of(own, of_map), "layer": found[0], "head": found[1]}
        return [gr.update(selected=AttentionTab.key), selection, None]

    # -------------------------------------------------------------------------------- probes

    def on_group(self, group: str | None) -> Updates:
        group = group if group is not None and group in groups() else next(iter(groups()))
        return {
            self.group: gr.update(info=group_words(group)),
            self.probe: gr.update(choices=probe_choices(group), value=groups()[group][0]),
        }

    def on_link(self, chosen: Any) -> Updates:
        """Show the probe that is named, here or where the visitor comes from."""
        return {self.bar: gr.update(selected=self.key), **self.chosen_probe(known_probe(chosen_text(chosen, "probe")))}

    def chosen_probe(self, key: str) -> Updates:
        """Updates of both choices to this probe."""
        group = next(group for group, keys in groups().items() if key in keys)
        return {
            self.group: gr.update(value=group, info=group_words(group)),
            self.probe: gr.update(choices=probe_choices(group), value=key),
        }

    def on_drawing(self, chosen: Any, run_id: str | None) -> Updates:
        """Come here from a part of the model's drawing, with one of its probes, and look into the run below it."""
        return {**self.on_link(chosen), self.model_id: run_id or shipped_id(DEMO_PRESET)}

    def on_probe(self, key: str | None, run_id: str | None = None) -> Updates:
        key = known_probe(key)
        return {
            self.about: about_html(key),
            self.formula: probe_formula(key),
            **self.nothing_followed(key, run_id),
            **{group: gr.update(visible=key == other) for other, group in self.option_groups.items()},
        }

    def nothing_followed(self, key: str, run_id: str | None) -> Updates:
        """The chart over the training before it is asked for; none of a model of which one step alone is known."""
        can_be = PROBES[key].steady and run_id not in self.runs.opened.places
        return {
            self.follow: gr.update(visible=can_be),
            self.over_time: gr.update(value=empty_chart(key), visible=can_be),
        }

    def on_look_told(self, *asked: Any) -> Iterator[Updates]:
        """`on_look`, with words as long as it takes."""
        yield from self.told(partial(self.on_look, *asked), asked[0], self.note)

    def told(self, answer: Callable[[], Updates], model_id: str | None, words: gr.HTML) -> Iterator[Updates]:
        """What `answer` comes to; meanwhile how long it takes, and of an opened model how far that has been read."""
        began, is_opened = time.monotonic(), model_id in self.runs.opened.places

        def so_far() -> str:
            return waiting_words(time.monotonic() - began, self.inspector.read_so_far if is_opened else None)

        yield (yield from told_meanwhile(answer, words, so_far, PATIENCE))

    def on_look(
        self, run_id: str | None, text: str | None, selection: Any, key: str | None, shown: Any, part: Any, *values: Any
    ) -> Updates:
        """The table that is asked for, of the model that is asked for; or why there is none."""
        of = selected_model(self.runs, run_id, selection)
        given, read = (text or "")[:MAX_CHARACTERS], self.text_to_read(of, text, shown)
        updates: Updates = {}
        if shown != of.key:  # a new model, perhaps of another alphabet and size
            names = tasks.part_names(of.checkpoint.model_config)
            updates |= self.nothing_followed(known_probe(key), run_id)
            updates[self.part] = gr.update(choices=part_choices(names), value=part if part in names else names[0])
            updates[self.other] = other_text(of.checkpoint, read)
        key = known_probe(key)
        try:
            found = self.result(of, read, key, self.asked_options(key, values))
            remark, picture = found.remark, self.picture_of(of, key, found.rows)
            table = probe_table(key, found.rows, of.side)
        except ValueError as error:
            remark, picture, table = "", {"kind": ""}, refused_html(str(error))
        return {
            **updates,
            self.scrub: of.slider(serial_of(selection)),
            self.note: note_html(of.note(read)),
            self.remark: remark_html(remark),
            self.picture: picture,
            self.table: table,
            self.shown: of.key,
            self.instead: [text, read] if read != given else None,
        }

    def picture_of(self, of: SelectedModel, key: str, rows: Rows) -> dict[str, Any]:
        picture = picture_value(key, rows, of.file_name(PROBES.entries[key].label))
        return {**picture, "side": of.side} if picture["kind"] else picture

    def on_follow(
        self, run_id: str | None, text: str | None, selection: Any, key: str | None, *values: Any
    ) -> dict[str, Any]:
        """The table's first column at every step that is kept, with the probe that was asked for."""
        of = selected_model(self.runs, run_id, selection)
        key, read = known_probe(key), (text or "")[:MAX_CHARACTERS]
        if of.opened is not None:
            return {"probe": key, "chart": lines_value(PROBES.entries[key].label, "", [], ONE_STEP)}
        try:
            requests = [one.request(read) for one in every_step(self.runs, run_id, of)]
            found = self.inspector.call(tasks.probe_over_time, requests, key, self.asked_options(key, values))
        except ValueError as error:
            return {"probe": key, "chart": lines_value(PROBES.entries[key].label, "", [], str(error))}
        return {"probe": key, "chart": over_time_chart(key, found, of)}

    def asked_options(self, key: str, values: tuple[Any, ...]) -> dict[str, Any]:
        given = {name: value for (of, name), value in zip(self.fields, values, strict=True) if of == key}
        return asked_options(key, given, self.public)

    def result(self, of: SelectedModel, text: str, key: str, chosen: dict[str, Any]) -> ProbeResult:
        """The table of a probe, made once for each model, text and choice."""
        kept = self.known_result(of, text, key, chosen)
        if kept is not None:
            return kept
        found = self.inspector.call(tasks.probe_result, of.request(text), key, chosen)
        size = BYTES_PER_CELL * len(found.rows) * len(found.rows[0])
        return self.cache.remember(of.checkpoint, what_is_asked(key, chosen), text, found, size)

    def known_result(self, of: SelectedModel, text: str, key: str, chosen: dict[str, Any]) -> ProbeResult | None:
        """The same, if it was made already."""
        return self.cache.recall(of.checkpoint, what_is_asked(key, chosen), text)

    def default_options(self, key: str) -> dict[str, Any]:
        """The options of a probe as the tab opens with them."""
        return asked_options(key, {name: default(PROBES[key], name) for name in options(PROBES[key])}, self.public)

    # -------------------------------------------------------------------------------- interventions

    def on_change(self, change: str | None) -> Updates:
        """A patch needs another text, a multiplication its factor."""
        what = INTERVENTIONS[known_change(change)]
        return {
            self.other: gr.update(visible=what.needs_reference),
            self.factor: gr.update(visible=what.takes_factor),
        }

    def on_what_if_told(
        self, run_id: str | None, text: str | None, selection: Any, shown: Any, instead: Any, *change: Any
    ) -> Iterator[Updates]:
        """`on_what_if` for the text that the table is of, with words as `on_look_told` has them.

        `instead` is what the server has found in place of a text, and the page may not have put in its box yet.
        """
        of = selected_model(self.runs, run_id, selection)
        read = self.text_to_read(of, text, shown)
        if shown == of.key and isinstance(instead, list) and len(instead) == 2 and instead[0] == text:
            read = str(instead[1])

        def answer() -> Updates:
            return {self.effect: self.on_what_if(run_id, read, selection, *change)}

        yield from self.told(answer, run_id, self.effect)

    def text_to_read(self, of: SelectedModel, text: str | None, shown: Any) -> str:
        """What stands in the box; or if another model was `shown` last, and cannot be asked that, what this one reads.

        That is the whole excerpt, of which it reads the end as it does of the other text for a patch.
        """
        given = (text or "")[:MAX_CHARACTERS]
        if shown == of.key:
            return given
        return text_for_new_model(of, given, of.run.excerpt, find_model(self.runs, shown).run.excerpt)

    def on_what_if(
        self,
        run_id: str | None,
        text: str | None,
        selection: Any,
        part: Any,
        change: Any,
        other: str | None,
        by: Any = FIRST_FACTOR,
    ) -> str:
        """What the change costs, and the next token before and after; or why it cannot be."""
        of = selected_model(self.runs, run_id, selection)
        part, other = str(part or "")[:100], (other or "")[:MAX_CHARACTERS]
        read = (text or "")[:MAX_CHARACTERS]
        change, factor = known_change(change), known_factor(by)
        try:
            done = self.intervention(of, read, part, change, other, factor)
        except ValueError as error:
            return refused_html(str(error))
        return intervention_html(change_words(part, change, factor), done, end_of(read))

    def intervention(
        self, of: SelectedModel, text: str, part: str, change: str, other: str, factor: float = FIRST_FACTOR
    ) -> InterventionEffect:
        """The same, made once."""
        what = json.dumps(["what if", part, change, other, factor])
        kept = self.cache.recall(of.checkpoint, what, text)
        if kept is not None:
            return kept
        done = self.inspector.call(tasks.intervene, of.request(text), part, change, other, WINDOWS, factor)
        return self.cache.remember(of.checkpoint, what, text, done, BYTES_PER_CELL * 3 * len(done.candidates))


def waiting_words(seconds: float, read_so_far: float | None) -> str:
    """What a visitor is told who waits for a large model."""
    if read_so_far is None:
        return f"This is being computed, for {seconds:.0f} s so far …"
    return f"The process that looks inside reads the model, too: {percent(read_so_far)} of it so far …"


def what_is_asked(key: str, chosen: dict[str, Any]) -> str:
    """A probe and its options, as the cache has them."""
    return f"{key} {json.dumps(chosen, sort_keys=True)}"


def known_change(key: Any) -> str:
    """What a visitor asks for, or the first."""
    return key if isinstance(key, str) and key in INTERVENTIONS else FIRST_CHANGE


def known_factor(value: Any) -> float:
    """A number that a part can be multiplied with, or the default."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_FACTOR
    return float(value) if is_number else FIRST_FACTOR


def other_text(checkpoint: Checkpoint, text: str) -> str:
    """What a patch into this text can be taken from: a text of as many tokens; empty where none is at hand."""
    for candidate in (OTHER_TEXT, OTHER_CAPITALS):
        try:
            if len(checkpoint.last_ids(candidate)) == len(checkpoint.last_ids(text)):
                return candidate
        except ValueError:  # in another alphabet
            continue
    return ""


def end_of(text: str) -> str:
    """The end of a text, after which the next token is looked at."""
    return text if len(text) <= SHOWN_END else f"… {text[-SHOWN_END:]}"


def chosen_text(chosen: Any, name: str) -> str:
    """What a link of the page names, within bounds; a page may send anything."""
    return str(chosen.get(name, ""))[:100] if isinstance(chosen, dict) else ""


def with_model_of(other: Any, selection: Any) -> dict[str, Any]:
    """A tab's selection, of the side and the step that another tab has selected."""
    own, other = (value if isinstance(value, dict) else {} for value in (selection, other))
    return {**own, "side": other.get("side"), "step": other.get("step")}


def part_choices(keys: list[str]) -> list[tuple[str, str]]:
    """What people call parts, with the keys that can be typed."""
    return [(part_name(key) if part_name(key) == key else f"{part_name(key)} ({key})", key) for key in keys]


def known_probe(key: str | None) -> str:
    """What a visitor asks for, or the first."""
    return key if key is not None and key in PROBES else FIRST


def probe_formula(key: str) -> str:
    return formula_markdown(PROBES.entries[key].formula)


def probe_choices(group: str) -> list[tuple[str, str]]:
    return [(PROBES.entries[key].label, key) for key in groups()[group]]


def change_words(part: str, change: str, factor: float) -> str:
    if part in tasks.MECHANISMS:
        return f"{part_name(part)}: taken out"
    times = f" by {factor:g}" if INTERVENTIONS[change].takes_factor else ""
    return f"{part_name(part)}: {INTERVENTIONS.entries[change].label}{times}"


def empty_chart(key: str) -> dict[str, Any]:
    """The chart over the training before it is asked for."""
    return lines_value(f"{PROBES.entries[key].label}, over the training", "", [], "Press the button above")


def over_time_chart(key: str, found: Curves, of: SelectedModel) -> dict[str, Any]:
    which = of.labels[of.side] if len(of.labels) > 1 else of.whose
    unit = PROBES[key].units.get(found.column, "")
    return over_time_value(f"{PROBES.entries[key].label} ({which})", found, unit, of.side)

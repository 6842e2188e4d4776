"""The settings of a run as controls, built from the config dataclasses and the registries when the page is built.

A part that was registered a moment ago is offered like any other; no key is named here.

Where a value goes: Start reads all controls with `Controls.job`, which makes a ModelConfig and a TrainConfig of them
for each side (`make_plans`). `Runs.start` queues this `Job` and sends it to a worker process, where `make_trainers`
gives the two configs to a `Trainer`. Up to here a choice is its key, such as "rmsnorm" for `norm`. It becomes a class
where the part is made, by a look into its registry: `NORMS[config.norm]` in `Block` of tlab/nn/model.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tlab.config import Option, options
from tlab.nn.config import ModelConfig
from tlab.registry import Registry
from tlab.text import CORPORA, DEFAULT_CORPUS, TOKENIZERS, corpus_names
from tlab.text.corpora import needs_download
from tlab.training.config import TrainConfig
from tlab.ui.listening import BESIDE, LATEST, QUIET, changes, only_latest
from tlab.ui.runs.messages import Job, SidePlan, StartFrom
from tlab.ui.runs.run import MAX_NAME_LENGTH
from tlab.ui.settings.fields import (
    FROM_CORPUS,
    RANDOM,
    START_FROM,
    config_of,
    control_range,
    default_of,
    field_label,
    field_names,
    is_read,
    kinds_of,
    readers_of,
    registry_choices,
    registry_for,
    slider_step,
)
from tlab.ui.settings.links import as_word, query_of, read_word
from tlab.ui.settings.own_text import (
    BRING_TEXT_BACK,
    KEEP_TEXT,
    MAX_UPLOAD_CHARACTERS,
    OWN_TEXT,
    OWN_TEXT_NAME,
    read_file,
    source_of,
    source_words,
    text_card,
)
from tlab.ui.settings.plans import OTHER_START, make_plans
from tlab.ui.settings.presets import PRESET_TEXTS, Preset, preset_settings, settings_name
from tlab.ui.settings.side_b import (
    NOTHING,
    as_read,
    choice_update,
    explanation,
    fields_of,
    number_update,
    parse_side_b,
    suggest_value,
    switch_choices,
    switch_words,
    vars_of,
)
from tlab.ui.settings.starts import Starts
from tlab.ui.upload_folder import remove
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import FORMULAS, number_field

# Besides the switches, these are the settings that people look for first; the rest is one click away.
SIZE = ("num_layers", "hidden_dim", "num_heads", "context_length")
PACE = ("steps", "batch_size", "learning_rate", "warmup_steps", "seed")
MAX_RADIO_CHOICES = 6  # with more, a list is easier to read than buttons


CodeLink = tuple[gr.Button, str, gr.Component]
"""A button, the slot whose code page it opens, and the control that says which part of it."""


def choice(
    registry: Registry[Any], default: str, label: str, info: str | None, elem_id: str, code_links: list[CodeLink]
) -> gr.Component:
    """A choice among the entries of a registry, by label, with an explanation of the chosen one."""
    choices = registry_choices(registry)
    kind = gr.Radio if len(choices) <= MAX_RADIO_CHOICES else gr.Dropdown
    with gr.Group(elem_classes=f"tl-with-{elem_id.removeprefix('field-')}"):
        control = kind(choices, value=default, label=label, info=info, elem_id=elem_id, interactive=True)
        words = gr.Markdown(explanation(registry.entries[default]), latex_delimiters=FORMULAS, elem_classes="tl-why")
        button = gr.Button(
            f"Code of {label.lower()}", elem_classes="tl-code-link", elem_id=f"{elem_id}-code", size="sm"
        )
    code_links.append((button, registry.slot, control))

    def explain(key: str | None) -> str:
        return explanation(registry.entries[key]) if key and key in registry else ""

    control.change(only_latest(explain), control, words, **BESIDE)
    return control


def control_for(name: str, value: Any, code_links: list[CodeLink]) -> gr.Component:
    """The control for a field, by its `Option` and type, at this value."""
    option: Option = options(config_of(name))[name]
    kinds = kinds_of(name)
    label, elem_id = field_label(name), f"field-{name}"
    if option.registry is not None:
        return choice(option.registry, value, label, option.help, elem_id, code_links)
    if bool in kinds:
        return gr.Checkbox(value, label=label, info=option.help, elem_id=elem_id)
    step = slider_step(name)
    low, high = control_range(name)
    if step is not None:
        return gr.Slider(low, high, value, step=step, label=label, info=option.help, elem_id=elem_id, buttons=[])
    return number_field(value, kinds, low, high, option.default_words, label=label, info=option.help, elem_id=elem_id)


def value_update(component: gr.Component, value: Any) -> Any:
    """The value; a slider that has only what is worth trying stretches to it.

    A new range makes Gradio build the slider anew, which would be half of the time that opening a link takes.
    """
    if isinstance(component, gr.Slider) and not component.minimum <= value <= component.maximum:
        low, high = min(component.minimum, value), max(component.maximum, value)
        return gr.update(value=value, minimum=low, maximum=high)
    return value


class Controls:
    """Every setting of a run. A handler takes `inputs`, and gives their values to `job`."""

    def __init__(
        self,
        settings: dict[str, Any],
        switch: tuple[str, Any] | None,
        max_text: int,
        own_text_words: str = "",
        starts: Starts | None = None,
    ) -> None:
        self.settings = settings
        self.switch = switch
        self.max_text = max_text
        self.own_text_words = own_text_words  # what becomes of a visitor's own text
        self.starts = starts or Starts()  # with which weights a run can begin
        self.components: dict[str, gr.Component] = {}  # by the setting that each holds
        self.code_links: list[CodeLink] = []
        self.boxes: dict[str, list[str]] = {}  # id of a fold or a group -> the settings in it, which may all be hidden

    def build(self) -> None:
        """Create the controls inside the caller's `with` block."""
        self.build_comparison()
        with gr.Accordion("What it reads", open=True, elem_id="text-settings", elem_classes="tl-with-corpus"):
            self.build_text()
        # Folded: the drawing of the model leads to each of these.
        with self.fold("What it is made of", "parts-settings"):
            self.build_switches(ModelConfig)
        with self.fold("How large it is", "size-settings"):
            self.build_fields(SIZE)
        with self.fold("How it is trained", "pace-settings", open=True):
            self.components[START_FROM] = gr.Dropdown(
                [RANDOM],  # and what else there is by then when it is looked at
                value=RANDOM,
                label=field_label(START_FROM),
                info="Weights of a run, or of a model that was opened, fit its own model alone: choosing them sets the "
                "model and the tokenizer to its.",
                elem_id=f"field-{START_FROM}",
                interactive=True,
            )
            self.build_fields(PACE)
        with self.fold("Optimizer and schedule", "schedule-settings"):
            self.build_switches(TrainConfig)
        with self.fold("Everything else", "more-settings"):
            first = next(iter(TOKENIZERS))
            tokenizer = choice(TOKENIZERS, first, "Tokenizer", None, "field-tokenizer", self.code_links)
            self.components["tokenizer"] = tokenizer
            for config_class in (ModelConfig, TrainConfig):
                rest = [name for name in options(config_class) if name not in (*self.components, FROM_CORPUS)]
                self.build_fields(rest)
        name, value = self.switch or (NOTHING, None)
        opening = {slot: self.opening(slot) for slot in self.slots()}
        for field, visible in self.visible_fields(opening, name, value).items():
            self.components[field].visible = visible

    @contextlib.contextmanager
    def fold(self, title: str, elem_id: str, open: bool = False, **shown: Any) -> Iterator[None]:
        """A part of the settings that can be folded, and is hidden once a link hides all that is in it."""
        before = set(self.components)
        with gr.Accordion(title, open=open, elem_id=elem_id, **shown):
            yield
        self.boxes[elem_id] = [name for name in self.components if name not in before]

    def opening(self, name: str) -> Any:
        """The value of a field when the page opens."""
        return self.settings.get(name, default_of(name))

    def build_comparison(self) -> None:
        """What B changes, and to which value; there is a control for each kind of value."""
        name, value = self.switch or (None, None)
        with gr.Accordion("Change exactly one thing", open=True, elem_id="comparison"), gr.Group():
            switch = gr.Dropdown(
                switch_choices(),
                value=name or NOTHING,
                label="B differs from A in",
                info="A has the settings below, and B the same but for this. Which batches and first weights they "
                "share is said beside their losses.",
                elem_id="switch",
            )
            with gr.Row():
                pick = gr.Dropdown(elem_id="switch-choice", interactive=True, **vars_of(choice_update(name, value)))
                shown = vars_of(number_update(name, value))
                # A text, for the reason that `number_field` gives: some fields may be empty.
                number = gr.Textbox(elem_id="switch-number", interactive=True, max_lines=1, **shown)
            words = gr.Markdown(switch_words(name, value), elem_classes="tl-why")
        self.components |= {"switch": switch, "switch_choice": pick, "switch_number": number}
        pick.change(only_latest(switch_words), [switch, pick], words, **BESIDE)
        self.switch_choice, self.switch_number, self.switch_note = pick, number, words

    def connect(self) -> list[Dependency]:
        """React to what is chosen; after `build`. Another change for B gets a proposed value that differs from A's.

        Returns:
            The events after which settings are others because a visitor wanted so, beside those of the controls.
        """
        switch = self.components["switch"]
        assert isinstance(switch, gr.Dropdown)
        outputs = [self.switch_choice, self.switch_number, self.switch_note]
        proposed = switch.input(self.on_switch, self.inputs, outputs, queue=False, **LATEST)
        read = self.connect_text()
        # What only some optimizers (norms, ...) read is shown with them alone; hidden, it keeps its value.
        fields = [self.components[name] for name in conditional_fields()]
        if fields:
            parts = [self.components[name] for name in ("switch", "switch_choice", *self.slots())]
            gr.on(changes(parts), only_latest(self.on_parts), parts, fields, **BESIDE)
        return [proposed, read]

    @property
    def inputs(self) -> list[gr.Component]:
        return list(self.components.values())

    def slots(self) -> list[str]:
        """The choices on which it depends what else is read."""
        return sorted({slot for name in conditional_fields() for slot in readers_of(name)})

    def on_parts(self, switch: str, choice: Any, *keys: str) -> list[Any]:
        """Show the fields that the chosen parts read, and hide the others."""
        visible = self.visible_fields(dict(zip(self.slots(), keys, strict=True)), switch, choice)
        return [gr.update(visible=shown) for shown in visible.values()]

    def visible_fields(self, parts: dict[str, Any], switch: str, choice: Any) -> dict[str, bool]:
        """Whether each conditional field matters: to A, whose parts are given by slot; to B; or as what B changes."""
        sides = [parts, {**parts, switch: choice}]
        return {name: name == switch or is_read(name, sides) for name in conditional_fields()}

    def on_switch(self, request: gr.Request, *values: Any) -> dict[Block, Any]:
        given = dict(zip(self.components, values, strict=True))
        name = given["switch"] if given["switch"] in (*field_names(), START_FROM) else None
        value = suggest_value(name, as_read(given)[name]) if name else None
        starts = self.starts.choices(visit_of(request).session) if name == START_FROM else ()
        return self.switch_updates(name, value, starts)

    def switch_updates(self, name: str | None, value: Any, starts: Sequence[tuple[str, str]] = ()) -> dict[Block, Any]:
        """Updates to what B changes; `starts` is what a visitor may begin with, where B is to begin with one of it."""
        return {
            self.switch_choice: choice_update(name, value, starts),
            self.switch_number: number_update(name, value),
            self.switch_note: switch_words(name, value),
        }

    def preset_updates(self, preset: Preset, corpus: str | None = None) -> dict[Block, Any]:
        """A value for each control that changes. The corpus stays unless a preset needs its own."""
        name, value = preset.switch or (None, None)
        settings = {**preset_settings(preset), START_FROM: RANDOM, "switch": name or NOTHING}
        if preset.corpus or corpus in PRESET_TEXTS:
            settings["corpus"] = preset.corpus or DEFAULT_CORPUS
        updates = {control: settings[field] for field, control in self.components.items() if field in settings}
        return {**updates, **self.switch_updates(name, value)}

    def build_text(self) -> None:
        """The choice of a text, the box for one's own, and what is known of it."""
        self.source = gr.Textbox(visible="hidden")  # of the file that was read last; see `source_words`
        with gr.Group():
            corpus = gr.Dropdown(
                corpus_choices(), value=DEFAULT_CORPUS, label="Text", elem_id="field-corpus", interactive=True
            )
            words = gr.Markdown(self.corpus_words(DEFAULT_CORPUS), elem_classes="tl-why")
            text = gr.Textbox(
                label="Your own text", lines=5, max_lines=10, visible=False, elem_id="field-text",
                placeholder="Paste a few pages; the more text, the better.",
            )  # fmt: skip
            self.upload = gr.UploadButton("Use a text file of your own", size="sm", elem_id="upload-text")
            opening = text_card(DEFAULT_CORPUS, next(iter(TOKENIZERS)), self.opening("context_length"), "", None)
            self.card = gr.HTML(opening, elem_id="text-card", apply_default_css=False)
        self.components |= {"corpus": corpus, "text": text}
        corpus.change(only_latest(self.on_corpus), corpus, [words, text], **BESIDE)

    def connect_text(self) -> Dependency:
        """Keep the card of the text in step with it, and take files; returns what happens when a file has come."""
        names = ("corpus", "tokenizer", START_FROM, "context_length", "text")
        about = [*(self.components[name] for name in names), self.source]
        known = only_latest(self.text_card)
        gr.on(changes(about), known, about, self.card, **BESIDE)
        own = [self.components["corpus"], self.components["text"], self.source]
        gr.on(changes(own), None, own, None, js=KEEP_TEXT, **QUIET)
        refusal = gr.State("")
        outputs = [self.components["corpus"], self.components["text"], self.source, refusal]
        read = self.upload.upload(self.on_upload, self.upload, outputs, **LATEST)
        read.then(known, [*about, refusal], self.card, queue=False, **LATEST)
        return read

    def bring_text_back(self, arrived: Dependency) -> None:
        """Once the settings of the address have arrived: the text that was there before the page was loaded again."""
        own = [self.components["corpus"], self.components["text"], self.source]
        arrived.then(None, own, own, js=BRING_TEXT_BACK, **QUIET)

    def text_card(
        self,
        corpus: str,
        tokenizer: str,
        start_from: str,
        context_length: int,
        text: str,
        source: str | None,
        refusal: str = "",
    ) -> str:
        """The card of the chosen text; `source` is what a browser has kept of it."""
        reader: Any = tokenizer
        if not isinstance(context_length, int):  # while it is typed
            context_length = self.opening("context_length")
        with contextlib.suppress(ValueError):  # the weights are not here any more, which is said beside Start
            start = self.starts.get(start_from)
            reader = start.tokenizer if isinstance(start, StartFrom) else tokenizer
        return text_card(corpus, reader, context_length, text, source_of(source), refusal)

    def on_corpus(self, name: str) -> tuple[str, Any]:
        """What is known of a text before it is read, and the box for one's own."""
        return self.corpus_words(name), gr.update(visible=name == OWN_TEXT)

    def corpus_words(self, name: str) -> str:
        if name == OWN_TEXT:
            return f"{self.own_text_words} This tab of your browser has it, too, until you close it.".strip()
        return CORPORA.entries[name].summary if name in CORPORA else "A text file in this lab's data folder."

    def on_upload(self, path: str | None) -> list[Any]:
        """Use an uploaded file as the visitor's own text, or say why not; nothing of it stays on the disk."""
        if not path:
            return [gr.skip()] * 4
        try:
            text, source = read_file(Path(path), min(self.max_text, MAX_UPLOAD_CHARACTERS))
        except ValueError as error:
            return [gr.skip(), gr.skip(), gr.skip(), str(error)]
        finally:
            remove(Path(path))
        return [OWN_TEXT, gr.update(value=text, visible=True), source_words(source), ""]

    def build_switches(self, config_class: type) -> None:
        """What is chosen from a registry; below it, folded, what few models have."""
        known = options(config_class).items()
        for name, option in known:
            if option.registry is not None and not option.is_extra:
                self.components[name] = control_for(name, self.opening(name), self.code_links)
        with self.fold("More switches", f"more-switches-{config_class.__name__}", elem_classes="tl-more-switches"):
            self.build_fields([name for name, option in known if option.is_extra])

    def build_fields(self, names: Sequence[str]) -> None:
        box = f"group-{names[0]}"
        self.boxes[box] = [*names]
        with gr.Group(elem_id=box):
            for name in names:
                self.components[name] = control_for(name, self.opening(name), self.code_links)

    def job(self, values: Sequence[Any]) -> Job:
        """The run that these values of `inputs` describe; `Runs` checks whether it is allowed."""
        given = dict(zip(self.components, values, strict=True))
        own = given["corpus"] == OWN_TEXT
        plans = self.plans(values)
        return Job(
            corpus=OWN_TEXT_NAME if own else str(given["corpus"]),
            text=str(given["text"] or "") if own else None,
            tokenizer=tokenizer_key(str(given["tokenizer"]), plans),
            plans=plans,
            name=settings_name(fields_of(given))[:MAX_NAME_LENGTH],
        )

    def chosen(self, values: Sequence[Any]) -> tuple[dict[str, Any], tuple[str, Any] | None]:
        """The settings that these values of `inputs` are, with the text's name, and what B changes.

        Raises:
            ValueError: a value that cannot be read.
        """
        given = dict(zip(self.components, values, strict=True))
        return {"corpus": given["corpus"], START_FROM: given[START_FROM], **fields_of(given)}, parse_side_b(given)

    def query(self, values: Sequence[Any], hidden: Sequence[str] = ()) -> str:
        """The query of an address that opens with these values of `inputs`, but for a visitor's own text.

        Raises:
            ValueError: a setting that is not allowed, or B the same as A.
        """
        self.plans(values)
        given = dict(zip(self.components, values, strict=True))
        settings = {"tokenizer": given["tokenizer"], START_FROM: given[START_FROM], **fields_of(given)}
        if given["corpus"] != OWN_TEXT:
            settings["corpus"] = given["corpus"]
        other = dict(filter(None, [parse_side_b(given)]))
        # As a link reads them, so that settings have one address: a page may send 4 for 4.0.
        sides = [
            {name: value if name == START_FROM else read_word(name, as_word(value)) for name, value in side.items()}
            for side in (settings, other)
        ]
        return query_of(sides[0], sides[1], hidden)

    def address(self, query: str) -> str:
        """What the address of the page says of settings: nothing of those with which it opens by itself."""
        opening = query_of(self.settings, dict(filter(None, [self.switch])))
        return "" if query == opening else query

    def emptied(self, hidden: Collection[str]) -> list[str]:
        """Ids of the folds and groups that have nothing left where these settings are hidden."""
        return [box for box, names in self.boxes.items() if set(names) <= set(hidden)]

    def is_half_set(self, values: Sequence[Any]) -> bool:
        """Whether B is to have a choice of another setting than the one that is named: a change is on its way."""
        given = dict(zip(self.components, values, strict=True))
        registry = registry_for(given["switch"]) if given["switch"] in field_names() else None
        return registry is not None and given["switch_choice"] not in registry

    def plans(self, values: Sequence[Any]) -> tuple[SidePlan, ...]:
        """The sides of that run, A and perhaps B.

        Raises:
            ValueError: a setting that is not allowed, B the same as A, or weights that are not here or do not fit.
        """
        given = dict(zip(self.components, values, strict=True))
        switch = parse_side_b(given)
        if switch is not None and switch[0] == START_FROM:
            switch = START_FROM, self.starts.get(switch[1])
        return make_plans({**fields_of(given), START_FROM: self.starts.get(given[START_FROM])}, switch)

    def start_updates(self, key: str) -> dict[Block, Any]:
        """The model and the tokenizer of the weights of a key of `starts`, which fit no others.

        Raises:
            ValueError: they are not here any more.
        """
        start = self.starts.get(key)
        if not isinstance(start, StartFrom):
            return {}
        own = {name: getattr(start.model, name) for name in model_fields()}
        if start.tokenizer_key in TOKENIZERS:
            own["tokenizer"] = start.tokenizer_key
        return {self.components[name]: value_update(self.components[name], value) for name, value in own.items()}


def model_fields() -> list[str]:
    """The fields that make the model."""
    return [name for name in field_names() if config_of(name) is ModelConfig]


def tokenizer_key(chosen: str, plans: Sequence[SidePlan]) -> str:
    """The kind of tokenizer of a run: the chosen one, or that of the weights with which it begins.

    Raises:
        ValueError: it is another one, or that of A is not that of B.
    """
    starts = [plan.start_from for plan in plans if plan.start_from is not None]
    for start in starts:
        if start.tokenizer != starts[0].tokenizer:
            raise ValueError(
                f"{starts[0]} and {start} cut a text into different tokens, so their losses cannot be compared: choose "
                f"the weights of one tokenizer for A and B, {OTHER_START}"
            )
        own = start.tokenizer_key
        if own != chosen and own in TOKENIZERS:
            labels = [TOKENIZERS.entries[key].label if key in TOKENIZERS else key for key in (own, chosen)]
            raise ValueError(
                f"The weights of {start} need their own tokenizer, {labels[0]}, and the setting is {labels[1]}: set it "
                f"back, {OTHER_START}"
            )
    return starts[0].tokenizer_key if starts else chosen


def conditional_fields() -> list[str]:
    """Fields that only some parts read, in order."""
    return [name for name in field_names() if readers_of(name)]


def corpus_choices() -> list[tuple[str, str]]:
    """(label, key) of the visitor's own text and of every text that is offered here."""
    choices = [("Your own text", OWN_TEXT)]
    for name in corpus_names():
        label = CORPORA.entries[name].label if name in CORPORA else name
        choices.append((f"{label} (needs a download)" if needs_download(name) else label, name))
    return choices

"""The settings of a run as controls, made from the config dataclasses and the registries when the page is built.

A part that was registered a moment ago is offered like any other; nothing here knows a key by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import gradio as gr

from tlab.config import ModelConfig, Option, TrainConfig, field_types, options, type_alternatives
from tlab.registry import Entry, Registry
from tlab.text import CORPORA, DEFAULT_CORPUS, TOKENIZERS, corpus_names
from tlab.ui.plans import FROM_CORPUS, config_of, label_of, make_plans
from tlab.ui.worker import Job

OWN_TEXT = ":own"  # no file name on any system, so no corpus can be called so
OWN_TEXT_NAME = "your own text"
# Besides the switches, these are the settings that people ask for first; the rest is one click away.
SIZE = ("num_layers", "hidden_dim", "num_heads", "context_length")
PACE = ("steps", "batch_size", "learning_rate", "warmup_steps", "seed")
FORMULAS = [{"left": "$", "right": "$", "display": False}]
MOST_RADIO_CHOICES = 6  # more buttons than that are harder to read than a list


def explanation(entry: Entry[Any]) -> str:
    """One plain sentence, and the formula."""
    formula = f"\n\n$\\displaystyle {entry.formula}$" if entry.formula else ""
    return f"{entry.summary}{formula}"


CodeLink = tuple[gr.Button, str, gr.Component]
"""A button, the slot whose page it opens, and the control that says which."""


def choice(
    registry: Registry[Any], default: str, label: str, info: str | None, elem_id: str, code_links: list[CodeLink]
) -> gr.Component:
    """The entries of a registry, by their labels, and what the chosen one does."""
    choices: list[tuple[str, str]] = [(entry.label, key) for key, entry in registry.entries.items()]
    kind = gr.Radio if len(choices) <= MOST_RADIO_CHOICES else gr.Dropdown
    with gr.Group():
        control = kind(choices, value=default, label=label, info=info, elem_id=elem_id, interactive=True)
        words = gr.Markdown(explanation(registry.entries[default]), latex_delimiters=FORMULAS, elem_classes="tl-why")
        button = gr.Button(
            f"Code of {label.lower()}", elem_classes="tl-code-link", elem_id=f"{elem_id}-code", size="sm"
        )
    code_links.append((button, registry.slot, control))

    def explain(key: str | None) -> str:
        return explanation(registry.entries[key]) if key and key in registry else ""

    control.change(
        explain, control, words, queue=False, show_progress="hidden", api_visibility="private"
    )  # fmt: skip
    return control


def control_for(config_class: type, name: str, code_links: list[CodeLink]) -> gr.Component:
    """The control that a field's `Option` and type ask for."""
    option: Option = options(config_class)[name]
    kinds = type_alternatives(field_types(config_class)[name])
    default: Any = next(f.default for f in dataclasses.fields(config_class) if f.name == name)
    label, elem_id = label_of(name), f"field-{name}"
    if option.registry is not None:
        return choice(option.registry, default, label, option.help, elem_id, code_links)
    if bool in kinds:
        return gr.Checkbox(default, label=label, info=option.help, elem_id=elem_id)
    whole = int in kinds
    step = slider_step(option, default, whole)
    if step is not None:
        low, high = option.typical or (0, 0)
        return gr.Slider(low, high, default, step=step, label=label, info=option.help, elem_id=elem_id, buttons=[])
    return gr.Number(
        default,
        label=label,
        info=option.help,
        precision=0 if whole else None,
        minimum=option.low if option.low > -math.inf else None,
        maximum=option.high if option.high < math.inf else None,
        placeholder=option.default_words or None,
        elem_id=elem_id,
    )


def slider_step(option: Option, default: float | None, whole: bool) -> float | None:
    """The coarsest step that meets both ends and the default; None where a field to type in serves better."""
    if option.typical is None or default is None:
        return None
    low, high = option.typical
    if whole:
        step = math.gcd(int(low), int(high), int(default))
        return step if (high - low) / step >= 4 else None
    # Over several powers of ten, all that matters would be in a slider's first pixels.
    return None if high > 20 * max(low, 0.1) or high - low < 0.5 else 0.05


class Controls:
    """Every setting of a run. `components` go into a handler, and what comes out of it into `job`."""

    def __init__(self) -> None:
        self.components: list[gr.Component] = []
        self.names: list[str] = []
        self.shown: set[str] = set()
        self.code_links: list[CodeLink] = []

    def build(self) -> None:
        """Lay the controls out, where the `with` of the caller is."""
        with gr.Accordion("What it reads", open=True):
            self.build_text()
        with gr.Accordion("What it is made of", open=True):
            self.build_switches(ModelConfig)
        with gr.Accordion("How large it is", open=True):
            self.build_fields(SIZE)
        with gr.Accordion("How it is trained", open=True):
            self.build_fields(PACE)
            self.build_switches(TrainConfig)
        with gr.Accordion("Everything else", open=False, elem_id="more-settings"):
            self.add(
                "tokenizer",
                choice(TOKENIZERS, next(iter(TOKENIZERS)), "Tokenizer", None, "field-tokenizer", self.code_links),
            )
            for config_class in (ModelConfig, TrainConfig):
                self.build_fields(n for n in options(config_class) if n not in self.shown and n != FROM_CORPUS)

    def build_text(self) -> None:
        """The corpora that are here, and a box for a text of one's own."""
        names = corpus_names()
        labels = {key: entry.label for key, entry in CORPORA.entries.items()}
        choices = [*((labels.get(name, name), name) for name in names), ("Your own text", OWN_TEXT)]
        with gr.Group():
            corpus = gr.Dropdown(choices, value=DEFAULT_CORPUS, label="Text", elem_id="field-corpus", interactive=True)
            words = gr.Markdown(corpus_words(DEFAULT_CORPUS), elem_classes="tl-why")
            text = gr.Textbox(
                label="Your own text", lines=5, max_lines=10, visible=False, elem_id="field-text",
                placeholder="Paste some pages; the more there is, the more there is to learn.",
            )  # fmt: skip
        self.add("corpus", corpus)
        self.add("text", text)
        corpus.change(
            lambda name: (corpus_words(name), gr.update(visible=name == OWN_TEXT)),
            corpus, [words, text], queue=False, show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    def build_switches(self, config_class: type) -> None:
        """Every choice from a registry."""
        for name, option in options(config_class).items():
            if option.registry is not None:
                self.add(name, control_for(config_class, name, self.code_links))

    def build_fields(self, names: Sequence[str] | Any) -> None:
        """These fields, in this order."""
        with gr.Group():
            for name in names:
                self.add(name, control_for(config_of(name), name, self.code_links))

    def add(self, name: str, component: gr.Component) -> None:
        """One more setting."""
        self.names.append(name)
        self.components.append(component)
        self.shown.add(name)

    def job(self, values: Sequence[Any]) -> Job:
        """The run that these values of `components` ask for; whether it can be is checked by `Runs`."""
        given = dict(zip(self.names, values, strict=True))
        own = given["corpus"] == OWN_TEXT
        return Job(
            corpus=OWN_TEXT_NAME if own else str(given["corpus"]),
            text=str(given["text"] or "") if own else None,
            tokenizer=str(given["tokenizer"]),
            plans=make_plans({**fields_of(ModelConfig, given), **fields_of(TrainConfig, given)}),
        )


def fields_of(config_class: type, given: dict[str, Any]) -> dict[str, Any]:
    """The values of one config's fields. JSON knows one kind of number, so 3.0 is 3 where a whole one is asked for."""
    values = {}
    for name, expected in field_types(config_class).items():
        if name in given:
            kinds = type_alternatives(expected)
            if given[name] is None and type(None) not in kinds:
                raise ValueError(f"“{label_of(name)}” is empty: give it a value.")
            value = given[name]
            whole = isinstance(value, float) and value.is_integer() and float not in kinds
            values[name] = int(value) if whole else value
    return values


def corpus_words(name: str) -> str:
    """One sentence on a corpus."""
    if name == OWN_TEXT:
        return "Nothing is stored: the text goes with the page."
    if name in CORPORA:
        return CORPORA.entries[name].summary
    return "A text file in this lab's data folder."

"""What side B changes: which setting, and to what value; there is a control for each kind of value."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from tlab.config import options
from tlab.registry import Entry
from tlab.ui.settings.fields import (
    RANDOM,
    START_FROM,
    config_of,
    field_label,
    field_names,
    field_value,
    kinds_of,
    nears_one,
    registry_choices,
)
from tlab.ui.widgets.component import formula_markdown

NOTHING, NOTHING_WORDS = ":nothing", "nothing: one run alone"  # not the name of any field
YES, NO = "yes", "no"


def switch_choices() -> list[tuple[str, str]]:
    """(label, key) of everything that B can change."""
    return [(NOTHING_WORDS, NOTHING), *((field_label(name), name) for name in (*field_names(), START_FROM))]


def explanation(entry: Entry[Any]) -> str:
    return "\n\n".join(filter(None, (entry.summary, formula_markdown(entry.formula))))


def parse_side_b(given: dict[str, Any]) -> tuple[str, Any] | None:
    """The setting that B changes and its value, from the controls; None for a run of one side."""
    name = given["switch"]
    if not name or name == NOTHING:
        return None
    if name == START_FROM:
        return name, given["switch_choice"]
    if name not in field_names():
        raise ValueError(f"There is no setting called {name!r} that B could change. Choose one from the list.")
    if has_choices(name):
        value = given["switch_choice"]
        value = {YES: True, NO: False}.get(value, value) if is_switch(name) else value
    else:
        value = given["switch_number"]
    return name, fields_of({name: value})[name]


def is_switch(name: str) -> bool:
    return bool in kinds_of(name)


def has_choices(name: str) -> bool:
    return name == START_FROM or is_switch(name) or options(config_of(name))[name].registry is not None


def choice_update(name: str | None, value: Any, starts: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """An update of the list of B's values, with `starts` if it is to begin with other weights; hidden for a number."""
    if name is None or not has_choices(name):
        return gr.update(visible=False)
    if name == START_FROM:
        return gr.update(visible=True, choices=list(starts), value=value, label=f"{field_label(name)}, for B")
    shown = (YES if value else NO) if is_switch(name) else value
    registry = options(config_of(name))[name].registry
    choices = registry_choices(registry) if registry is not None else [("yes", YES), ("no", NO)]
    return gr.update(visible=True, choices=choices, value=shown, label=f"{field_label(name)} of B")


def number_update(name: str | None, value: Any) -> dict[str, Any]:
    """An update of the number for B; hidden if the field is chosen from a list."""
    if name is None or has_choices(name):
        return gr.update(visible=False)
    empty_words = options(config_of(name))[name].default_words
    return gr.update(visible=True, value=value, placeholder=empty_words, label=f"{field_label(name)} of B")


def vars_of(update: dict[str, Any]) -> dict[str, Any]:
    """An update as the arguments of a new component."""
    return {key: value for key, value in update.items() if key != "__type__"}


def switch_words(name: str | None, value: Any) -> str:
    """What B's choice does, or what its number means."""
    if name == START_FROM:
        return "A begins with the weights that are chosen below, and B with these."
    if not name or name not in field_names():
        return "One run alone; choose a setting to compare two."
    option = options(config_of(name))[name]
    if option.registry is not None:
        # Without its formula, which the drawing has: a page without an equation in sight loads nothing to set one.
        return option.registry.entries[value].summary if value in option.registry else ""
    return option.help or ""


def suggest_value(name: str, own: Any) -> Any:
    """A value for B that clearly differs from A's: another choice, the other of two, or half or twice the number.

    Other weights than random ones no one can propose: they would need a model of their own.
    """
    if name == START_FROM:
        return RANDOM
    registry = options(config_of(name))[name].registry
    if registry is not None:
        return next((key for key in registry if key != own), own)
    if is_switch(name):
        return not own
    whole = float not in kinds_of(name)
    typical = options(config_of(name))[name].typical
    if typical is None:  # a field that is best left alone: the smallest value that makes sense
        return int(own != 1) if whole else 0.0
    high = typical[1]
    if not own:
        return max(1, int(high) // 5) if whole else high if nears_one(high) else high / 5
    if own * 2 <= high:
        return own * 2
    return own // 2 if whole else own / 2


def as_read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a run reads them from the controls: an empty text as None. What cannot be read stays as it is."""
    read = dict(given)
    for name in given.keys() & set(field_names()):
        with contextlib.suppress(ValueError):
            read[name] = field_value(name, given[name], kinds_of(name))
    return read


def fields_of(given: dict[str, Any]) -> dict[str, Any]:
    """The values of the fields of both configs, from the controls."""
    return {name: field_value(name, given[name], kinds_of(name)) for name in field_names() if name in given}

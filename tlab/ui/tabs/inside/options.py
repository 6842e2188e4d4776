"""The probes' options as controls, made from their fields; nothing here knows a probe by its name."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from typing import Any

import gradio as gr

from tlab.config import ConfigError, Option, field_types, options, type_alternatives
from tlab.inside import PROBES, Probe
from tlab.ui.settings.fields import field_label, field_value, registry_choices
from tlab.ui.widgets.component import number_field

PUBLIC_TIMES = 2  # times its default an amount may be on a page that many share
MAX_TEXT = 2_000  # characters of an option


def groups() -> dict[str, list[str]]:
    """Module -> keys of its probes, as they are registered."""
    found: dict[str, list[str]] = {}
    for key, kind in PROBES.items():
        found.setdefault(kind.__module__.rpartition(".")[2], []).append(key)
    return found


def group_words(group: str) -> str:
    """The first line of the module in which the probes of a group are."""
    module = sys.modules[PROBES[groups()[group][0]].__module__]
    return (module.__doc__ or "").strip().partition("\n")[0]


def probe_words(kind: type[Probe]) -> tuple[str, list[str]]:
    """What a probe measures, in one sentence; and how that is defined and what to notice, by paragraphs."""
    first, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    definition, notice, remark = rest.partition("Notice:")
    paragraphs = [" ".join(part.split()) for part in (definition, f"{notice}{remark}")]
    return first, [part for part in paragraphs if part]


def default(kind: type[Probe], name: str) -> Any:
    return next(field.default for field in dataclasses.fields(kind) if field.name == name)


def is_amount(kind: type[Probe], name: str) -> bool:
    """Whether an option says how much is to be looked at: a number with a largest value."""
    option = options(kind)[name]
    return option.registry is None and option.high < math.inf and isinstance(default(kind, name), (int, float))


def most(kind: type[Probe], name: str, public: bool) -> float:
    high = options(kind)[name].high
    return min(high, PUBLIC_TIMES * default(kind, name)) if public and is_amount(kind, name) else high


def option_control(key: str, name: str, public: bool) -> gr.Component:
    kind = PROBES[key]
    option: Option = options(kind)[name]
    value, elem_id = default(kind, name), f"probe-{key}-{name}"
    shown: dict[str, Any] = {"label": option.label or field_label(name), "info": option.help, "elem_id": elem_id}
    if option.registry is not None:
        return gr.Dropdown(registry_choices(option.registry), value=value, interactive=True, **shown)
    kinds = type_alternatives(field_types(kind)[name])
    if str in kinds:
        return gr.Textbox(value or "", placeholder=option.default_words or None, max_lines=2, **shown)
    return number_field(value, kinds, option.low, most(kind, name, public), option.default_words, **shown)


def asked_options(key: str, values: dict[str, Any], public: bool) -> dict[str, Any]:
    """The options of a probe, from what its controls hold, as the probe takes them.

    Raises:
        ConfigError: a value of the wrong type or out of its range; the message says which.
    """
    kind, given = PROBES[key], {}
    for name, value in values.items():
        kinds = type_alternatives(field_types(kind)[name])
        if value is None or (value == "" and type(None) in kinds):
            continue  # an empty field stands for the default
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ConfigError(f"{name}: {len(value):,} characters; at most {MAX_TEXT:,} are allowed")
        given[name] = field_value(name, value, kinds)
    asked = kind.from_json(given)  # checks types, ranges and keys
    for name in given:
        here = most(kind, name, public)
        if is_amount(kind, name) and getattr(asked, name) > here:
            raise ConfigError(
                f"{name} = {getattr(asked, name)}: this public page allows {here:g}. On your own machine the lab has "
                f"no such limit."
            )
    return given

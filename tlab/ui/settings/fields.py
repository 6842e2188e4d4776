"""The fields of both configs, as people read them: labels and formatted values."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tlab.config import ConfigError, field_types, from_json_number, options, type_alternatives
from tlab.nn.config import ModelConfig
from tlab.registry import Registry
from tlab.training.config import TrainConfig

MIN_STOPS = 20  # of a slider, where its numbers are round enough
FROM_CORPUS = "vocab_size"  # the one field that no one chooses
START_FROM, RANDOM = "start_from", "random weights"
"""What a run begins with, which is a setting and no field, and its usual value."""


@functools.cache
def config_of(name: str) -> type[ModelConfig] | type[TrainConfig]:
    return ModelConfig if name in options(ModelConfig) else TrainConfig


def kinds_of(name: str) -> tuple[Any, ...]:
    """The types that a field may have: for `int | None` both."""
    return type_alternatives(field_types(config_of(name))[name])


def field_label(name: str) -> str:
    """What people call it, or its name as words: `num_layers` -> "Layers", `learning_rate` -> "Learning rate"."""
    known = options(config_of(name)).get(name)  # a text and its tokenizer are no fields of the two configs
    if known is not None and known.label:
        return known.label
    return name.removeprefix("num_").replace("_", " ").capitalize()


def format_value(name: str, value: Any) -> str:
    """A field's value for people, see `Option.words`; what is no field as it is."""
    return options(config_of(name))[name].words(value) if name in field_names() else str(value)


def field_value(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    """The value of a field of these types, from what its control holds; an empty one holds None or blank text.

    Raises:
        ValueError: empty where a value is needed, or (a ConfigError) text that is no number, or one that is not whole.
    """
    if isinstance(value, str) and not {str, bool} & set(kinds):
        text = value.strip()
        try:
            value = (int(text) if float not in kinds else float(text)) if text else None
        except ValueError:
            expected = "a whole number" if float not in kinds else "a number"
            raise ConfigError(f"“{field_label(name)}” is {text!r}: it must be {expected}, or empty.") from None
    if value is None and type(None) not in kinds:
        raise ValueError(f"“{field_label(name)}” is empty: give it a value.")
    value = from_json_number(value, kinds)
    if isinstance(value, float) and int in kinds and float not in kinds:
        raise ConfigError(f"“{field_label(name)}” is {value:g}: it must be a whole number.")
    return value


def registry_choices(registry: Registry[Any]) -> list[tuple[str, str]]:
    """(label, key) of each entry, as a control of Gradio takes them."""
    return [(entry.label, key) for key, entry in registry.entries.items()]


def registry_for(name: str) -> Registry[Any] | None:
    """What a field chooses from; None for a number or a yes and no."""
    return options(config_of(name))[name].registry


@functools.cache
def field_names() -> tuple[str, ...]:
    """Every field of both configs that people choose."""
    return tuple(name for config in (ModelConfig, TrainConfig) for name in options(config) if name != FROM_CORPUS)


def default_of(name: str) -> Any:
    return next(f.default for f in dataclasses.fields(config_of(name)) if f.name == name)


def slider_step(name: str) -> float | None:
    """The coarsest step that hits both ends and the default; None where a number field is more useful."""
    typical, default = options(config_of(name))[name].typical, default_of(name)
    if typical is None or default is None:
        return None
    low, high = typical
    if int in type_alternatives(field_types(config_of(name))[name]):
        step = math.gcd(int(low), int(high), int(default))
        if (high - low) / step < 4:
            return None
        while (high - low) / step < MIN_STOPS and step % 5 == 0:  # else a preset's value would lie between two stops
            step //= 5
        return step
    # Over several powers of ten, everything of interest would be in the slider's first pixels; or in its last ones.
    return None if high > 20 * max(low, 0.1) or high - low < 0.5 or nears_one(high) else 0.05


def nears_one(high: float) -> bool:
    """Whether what is worth trying crowds just below 1, as decay rates of long averages do."""
    return 0 < 1 - high < 0.01


def control_range(name: str) -> tuple[float, float]:
    """The smallest and the largest value that the control of a number takes: for a slider what is worth trying."""
    option = options(config_of(name))[name]
    return option.typical if option.typical is not None and slider_step(name) is not None else (option.low, option.high)


def readers_of(name: str) -> dict[str, set[str]]:
    """Slot -> keys of its parts that state in their `options` that they read this field; empty if it is always read."""
    found: dict[str, set[str]] = {}
    for slot in field_names():
        registry = options(config_of(slot))[slot].registry
        for key, entry in registry.entries.items() if registry is not None else ():
            if name in getattr(entry.component, "options", ()):
                found.setdefault(slot, set()).add(key)
    return found


def is_read(name: str, sides: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this field matters to any of the sides, given as slot -> key of the chosen part."""
    readers = readers_of(name)
    return not readers or any(side[slot] in keys for side in sides for slot, keys in readers.items())


def values_of(model: ModelConfig, training: TrainConfig) -> dict[str, Any]:
    """Every field of both configs that people choose, with its value."""
    return {name: getattr(model if config_of(name) is ModelConfig else training, name) for name in field_names()}


def differing_words(has: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The settings that differ from the same ones of `others`, both values of each."""
    return [
        f"{field_label(name)} {format_value(name, value)} instead of {format_value(name, others[name])}"
        for name, value in has.items()
        if value != others[name]
    ]

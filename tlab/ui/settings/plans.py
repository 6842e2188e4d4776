"""From settings to the plans of a run: A is the settings, B the same but for one thing."""

from __future__ import annotations

from typing import Any

from tlab.config import options
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.fields import FROM_CORPUS, config_of, field_label, format_value


def side_label(name: str, value: Any) -> str:
    """What distinguishes a side: "Post-LN" says enough, "0.01" does not."""
    words = format_value(name, value)
    return words if options(config_of(name))[name].registry is not None else f"{field_label(name)} {words}"


def make_plans(settings: dict[str, Any], switch: tuple[str, Any] | None = None) -> tuple[SidePlan, ...]:
    """The sides of a run.

    Args:
        settings: fields of both configs; those that are missing have their defaults.
        switch: the field that B changes, and its value there; None for a run of one side.

    Raises:
        ConfigError: settings that cannot be.
        ValueError: B is the same as A.
    """
    model, training = (complete(config_class, settings) for config_class in (ModelConfig, TrainConfig))
    if switch is None:
        return (SidePlan("this run", model, training),)
    name, value = switch
    own = {**model, **training}[name]
    if own == value:
        raise ValueError(
            f"B is the same as A: “{field_label(name)}” is {format_value(name, value)} in both. Give B another value."
        )
    changed = [{**fields, name: value} if name in fields else fields for fields in (model, training)]
    return SidePlan(side_label(name, own), model, training), SidePlan(side_label(name, value), changed[0], changed[1])


def complete(config_class: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Every field of a config but the vocabulary, checked."""
    given = {name: settings[name] for name in options(config_class) if name in settings}
    needed = {FROM_CORPUS: 2} if FROM_CORPUS in options(config_class) else {}
    values = config_class.from_json({**needed, **given}).to_json()
    values.pop(FROM_CORPUS, None)
    return values

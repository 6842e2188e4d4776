"""From settings to the plans of a run: A has the settings, B the same except for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlab.config import options
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.ui.runs.messages import ANY_VOCABULARY, SidePlan
from tlab.ui.settings.fields import FROM_CORPUS, config_of, field_label, format_value, values_of


def side_label(name: str, value: Any) -> str:
    """What distinguishes a side: "Post-LN" says enough, "0.01" does not."""
    words = format_value(name, value)
    return words if options(config_of(name))[name].registry is not None else f"{field_label(name)} {words}"


def make_plans(settings: dict[str, Any], switch: tuple[str, Any] | None = None) -> tuple[SidePlan, ...]:
    """The sides of a run: A has the settings, or their defaults, and B the value of `switch` instead.

    Raises:
        ConfigError: a setting that is not allowed, of A or of B.
        ValueError: B is the same as A.
    """
    model = ModelConfig.from_json({FROM_CORPUS: ANY_VOCABULARY, **fields_in(ModelConfig, settings)})
    training = TrainConfig.from_json(fields_in(TrainConfig, settings))
    if switch is None:
        return (SidePlan("this run", model, training),)
    name, value = switch
    own = values_of(model, training)[name]
    if own == value:
        raise ValueError(
            f"B is the same as A: “{field_label(name)}” is {format_value(name, value)} in both. Give B another value."
        )
    a = SidePlan(side_label(name, own), model, training)
    slot = "model" if config_of(name) is ModelConfig else "training"
    changed = config_of(name).from_json({**getattr(a, slot).to_json(), name: value})
    return a, a._replace(label=side_label(name, value), **{slot: changed})


def fields_in(config_class: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are fields of this config, but for the vocabulary."""
    return {name: settings[name] for name in options(config_class) if name in settings and name != FROM_CORPUS}

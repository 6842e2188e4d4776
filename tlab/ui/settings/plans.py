"""From settings to the plans of a run: A has the settings, B the same except for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlab.config import options
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.ui.runs.messages import ANY_VOCABULARY, SidePlan
from tlab.ui.settings.fields import (
    FROM_CORPUS,
    RANDOM,
    START_FROM,
    config_of,
    differing_words,
    field_label,
    format_value,
    values_of,
)
from tlab.wording import listed

OTHER_START = "or choose random weights to start from."


def side_label(name: str, value: Any) -> str:
    """What distinguishes a side: "Post-LN" says enough, "0.01" does not."""
    if name == START_FROM:
        return f"from {value}" if value == RANDOM else f"from “{value.name}”"
    words = format_value(name, value)
    return words if options(config_of(name))[name].registry is not None else f"{field_label(name)} {words}"


def settings_of_plan(plan: SidePlan) -> dict[str, Any]:
    """What a side begins with, and every field of both configs that people choose, with its value."""
    return {START_FROM: plan.start_from or RANDOM, **values_of(plan.model, plan.training)}


class OneDifference(NamedTuple):
    """A field that B has another value of than A."""

    name: str
    a: Any
    b: Any


def difference_of(plans: Sequence[SidePlan]) -> OneDifference | None:
    """What B differs in from A, the first where it is more; None for one side alone, or two of the same settings."""
    a, b = (settings_of_plan(plan) for plan in (plans[0], plans[-1]))
    return next((OneDifference(name, a[name], value) for name, value in b.items() if value != a[name]), None)


def make_plans(settings: dict[str, Any], switch: tuple[str, Any] | None = None) -> tuple[SidePlan, ...]:
    """The sides of a run: A has the settings, or their defaults, and B the value of `switch` instead.

    The value of START_FROM is RANDOM or a `StartFrom`.

    Raises:
        ConfigError: a setting that is not allowed, of A or of B.
        ValueError: B is the same as A, or a side is to begin with weights that do not fit its model.
    """
    model = ModelConfig.from_json({FROM_CORPUS: ANY_VOCABULARY, **fields_in(ModelConfig, settings)})
    training = TrainConfig.from_json(fields_in(TrainConfig, settings))
    a = with_start(SidePlan("this run", model, training), settings.get(START_FROM, RANDOM))
    if switch is None:
        return (a,)
    name, value = switch
    own = settings_of_plan(a)[name]
    if own == value:
        raise ValueError(
            f"B is the same as A: “{field_label(name)}” is {format_value(name, value)} in both. Give B another value."
        )
    a, b = a._replace(label=side_label(name, own)), a._replace(label=side_label(name, value))
    if name == START_FROM:
        return a, with_start(b._replace(model=model, start_from=None), value)
    slot = "model" if config_of(name) is ModelConfig else "training"
    changed = config_of(name).from_json({**getattr(a, slot).to_json(), name: value})
    if slot == "model" and a.start_from is not None:
        raise ValueError(
            f"B cannot have another model than A: both begin with the weights of {a.start_from}, which fit no other. "
            f"Let B change what is no part of the model, {OTHER_START}"
        )
    return a, b._replace(**{slot: changed})


def with_start(plan: SidePlan, start: Any) -> SidePlan:
    """A side that begins with the weights of a `StartFrom`, or with RANDOM ones.

    Raises:
        ValueError: they do not fit its model.
    """
    if start == RANDOM:
        return plan
    other = differing_words(values_of(plan.model, plan.training), values_of(start.model, plan.training))
    if other:
        raise ValueError(
            f"The weights of {start} fit the model that they come from alone, and the settings have {listed(other)}. "
            f"Set that back, {OTHER_START}"
        )
    return plan._replace(model=start.model.with_vocab(ANY_VOCABULARY), start_from=start)


def fields_in(config_class: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are fields of this config, but for the vocabulary."""
    return {name: settings[name] for name in options(config_class) if name in settings and name != FROM_CORPUS}

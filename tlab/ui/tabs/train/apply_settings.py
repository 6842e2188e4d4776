"""Settings from elsewhere (a link, a cell of a sweep, an earlier run) that go into the Train tab's controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from tlab.ui.settings.links import defaults
from tlab.ui.settings.side_b import NOTHING, choice_update, number_update, switch_words
from tlab.ui.tabs.train.tab import TrainTab


def settings_outputs(train: TrainTab) -> list[gr.Component]:
    """What `settings_updates` sets: the presets, their words, all controls, and the words on B's value."""
    controls = train.controls
    return [train.comparisons, train.models, train.words, *controls.components, *controls.switch_outputs[2:]]


def settings_updates(
    train: TrainTab, settings: Mapping[str, Any], switch: tuple[str, Any] | None, words: str
) -> list[Any]:
    """A value for each of `settings_outputs`. What is not set gets its default; a visitor's own text stays.

    Args:
        train: the tab.
        settings: name of a control -> value.
        switch: the one field that B changes, and its value there; None for a run of one side.
        words: where the settings come from, in place of a preset's words; Markdown.
    """
    name, value = switch or (None, None)
    values = {**defaults(), **settings, "switch": name or NOTHING}
    special = {"switch_choice": choice_update(name, value), "switch_number": number_update(name, value)}
    updates = [
        special[control] if control in special else value_update(component, values[control])
        if control in values else gr.skip()
        for control, component in zip(train.controls.names, train.controls.components, strict=True)
    ]  # fmt: skip
    return [None, None, words, *updates, switch_words(name, value)]


def value_update(component: gr.Component, value: Any) -> Any:
    """The value; a slider that has only what is worth trying stretches to it."""
    if isinstance(component, gr.Slider):
        low, high = min(component.minimum, value), max(component.maximum, value)
        return gr.update(value=value, minimum=low, maximum=high)
    return value

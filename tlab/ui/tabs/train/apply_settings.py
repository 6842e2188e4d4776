"""Settings from elsewhere (a link, a cell of a sweep, an earlier run) that go into the Train tab's controls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import gradio as gr

from tlab.ui.settings.fields import field_label
from tlab.ui.settings.links import defaults
from tlab.ui.settings.side_b import NOTHING
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.wording import listed


def settings_updates(
    train: TrainTab,
    settings: Mapping[str, Any],
    switch: tuple[str, Any] | None,
    words: str,
    locked: Collection[str] = (),
) -> Updates:
    """Updates of `train.settings`. What is not set gets its default; a visitor's own text and what is `locked` stay.

    `words`, in Markdown, say where the settings come from, unless they are those of a preset, which says more.
    """
    name, value = switch if switch and switch[0] not in locked else (None, None)
    values = {**defaults(), **settings, "switch": name or NOTHING}
    controls = train.controls.components.items()
    updates: Updates = {control: value_update(control, values[field]) for field, control in controls if field in values}
    if locked:  # the settings are no longer those that came: of which preset they are is not known
        kept = listed([field_label(name) for name in locked])
        told = {train.comparisons: None, train.models: None, train.words: f"{words} Hidden, and not set: {kept}."}
    else:
        told = train.named(values, switch, words)
    return {
        **told,
        **train.unlocked(updates, locked),
        **train.controls.switch_updates(name, value),
    }


def value_update(component: gr.Component, value: Any) -> Any:
    """The value; a slider that has only what is worth trying stretches to it.

    A new range makes Gradio build the slider anew, which would be half of the time that opening a link takes.
    """
    if isinstance(component, gr.Slider) and not component.minimum <= value <= component.maximum:
        low, high = min(component.minimum, value), max(component.maximum, value)
        return gr.update(value=value, minimum=low, maximum=high)
    return value

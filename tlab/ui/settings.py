"""Settings that come from elsewhere (a link, a cell of a sweep, an earlier run) and go into the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from tlab.ui.controls import Controls
from tlab.ui.links import defaults


def settings_updates(controls: Controls, settings: Mapping[str, Any]) -> list[Any]:
    """A value for each of `controls.components`: what is set, or else its default; a visitor's own text stays."""
    values = {**defaults(), **settings}
    return [values.get(name, gr.skip()) for name in controls.names]

"""What Gradio keeps of a page that is open, without what only its own links would need: 25 ms of every visit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio.state_holder
from gradio.blocks import Blocks
from gradio.components import Dropdown, Radio
from gradio.state_holder import SessionState


class LightState(SessionState):
    """Keeps no description of every component: that is for Gradio's links to a page as it is, and ours are shorter."""

    def __init__(self, blocks: Blocks) -> None:
        described: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(described)
        self.shared = blocks.default_config.blocks  # components as they were built, the same for all pages

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.pop(key, None)

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Only of a control whose list of choices may be another on this page: what is chosen there by now."""
        control = self.blocks_config.blocks.get(key)
        if isinstance(control, (Dropdown, Radio)) and control is not self.shared.get(key):
            control.value = value


def keep_light_states() -> None:
    """From now on; Gradio makes them where it has no other place to say which."""
    gradio.state_holder.SessionState = LightState

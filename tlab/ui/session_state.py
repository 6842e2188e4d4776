"""What Gradio keeps of a page that is open, without what only its own links would need: 25 ms of every visit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio.state_holder
from gradio.blocks import Blocks
from gradio.state_holder import SessionState


class LightState(SessionState):
    """Keeps no description of every component: that is for Gradio's links to a page as it is, and ours are shorter."""

    def __init__(self, blocks: Blocks) -> None:
        described: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(described)

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.pop(key, None)

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def keep_light_states() -> None:
    """From now on; Gradio makes them where it has no other place to say which."""
    gradio.state_holder.SessionState = LightState

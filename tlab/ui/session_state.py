"""What Gradio keeps of a page that is open, and what it does for an answer to it, without what nobody here needs.

Its own links to a page as it is would need a description of every component, 25 ms of every visit. And it would make a
component anew for each output that an answer leaves as it is: two fifths of what a picture of a run costs the server.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import gradio as gr
import gradio.state_holder
from gradio.block_function import BlockFunction
from gradio.blocks import Block, Blocks
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


class LightBlocks(Blocks):
    """Looks only at those outputs of a handler that its answer names: an answer is a dict of components and values."""

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """What the page is sent for each output of a handler; `gr.skip()` for those that stay as they are."""
        answer = {} if isinstance(predictions, dict) and predictions == gr.skip() else predictions
        if not isinstance(answer, dict) or predictions == {} or not answer.keys() <= set(block_fn.outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = [component for component in block_fn.outputs if component in answer]
        values: dict[Block, Any] = {}
        if changed:
            of_changed = copy.copy(block_fn)
            of_changed.outputs = changed
            values = dict(zip(changed, await super().postprocess_data(of_changed, answer, state), strict=True))
        return [values.get(one, None if one.stateful else gr.skip()) for one in block_fn.outputs]

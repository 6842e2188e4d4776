"""The drawing of the model above the tab's columns, and under it the panel of the part that was clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tlab.ui.diagram.panel import panel_code, panel_formula, panel_html
from tlab.ui.diagram.parts import PARTS
from tlab.ui.diagram.view import diagram_html
from tlab.ui.listening import LATEST
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.controls import Controls
from tlab.ui.settings.fields import field_names, registry_for
from tlab.ui.tabs.tab import Updates
from tlab.ui.widgets.component import FORMULAS, scripted_html, selection_component


class DiagramPanel:
    """Builds the drawing and the panel, and holds their handlers."""

    def __init__(self, controls: Controls) -> None:
        self.controls = controls

    def build(self, plans: Sequence[SidePlan]) -> None:
        self.picture = scripted_html("diagram/diagram", diagram_html(plans), "diagram")
        self.part = selection_component("diagram", {"part": ""})
        self.setting = selection_component("diagram-set", {"field": "", "key": ""})
        self.probe = selection_component("diagram-probe", {"probe": ""})  # the Inside tab opens it
        with gr.Row(equal_height=False, elem_id="diagram-panel"):
            with gr.Column(scale=3, min_width=280):
                self.head = scripted_html("diagram/panel", "", "diagram-part")
            with gr.Column(scale=5, min_width=280):
                self.formula = gr.Markdown("", latex_delimiters=FORMULAS, elem_id="diagram-formula")
                self.code = gr.HTML("", elem_id="diagram-code", apply_default_css=False)

    def connect(self) -> Dependency:
        """After the controls are built; returns what happens when a part was chosen in the drawing."""
        shown: list[Block] = [self.head, self.formula, self.code]
        inputs = [self.part, *self.controls.inputs]
        self.part.input(self.on_part, inputs, shown, queue=False, **LATEST)
        choices = list(self.choices().values())
        return self.setting.input(self.on_set, self.setting, choices, queue=False, **LATEST)

    def choices(self) -> dict[str, gr.Component]:
        """The controls that choose from a list of parts, by field."""
        return {name: self.controls.components[name] for name in field_names() if registry_for(name) is not None}

    def drawn(self, values: Sequence[Any]) -> Any:
        """The model of these settings; while they do not fit together, the drawing stays as it was."""
        try:
            return diagram_html(self.controls.plans(values))
        except ValueError:
            return gr.skip()

    def on_part(self, chosen: dict[str, Any] | None, *values: Any) -> Updates:
        """What there is to say of the part, or nothing any more."""
        key = (chosen or {}).get("part", "")
        if key not in PARTS:
            return {self.head: "", self.formula: "", self.code: ""}
        try:
            plans = self.controls.plans(values)
        except ValueError:
            return {self.head: gr.skip()}
        return {
            self.head: panel_html(key, plans),
            self.formula: panel_formula(key, plans),
            self.code: panel_code(key, plans),
        }

    def on_set(self, chosen: dict[str, Any] | None) -> Updates:
        """Another part for both sides: the control is set, and all that depends on it follows."""
        field, key = (chosen or {}).get("field", ""), (chosen or {}).get("key", "")
        registry = registry_for(field) if field in field_names() else None
        if registry is None or key not in registry:
            return gr.skip()
        return {self.controls.components[field]: key}

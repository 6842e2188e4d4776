"""The drawing as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from tlab.ui.diagram.drawing import RIGHTWARDS, UPWARDS, draw_sides
from tlab.ui.diagram.sides import differing_field, sides_to_draw
from tlab.ui.diagram.words import sentences
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.fields import field_label, format_value, values_of
from tlab.ui.widgets.markup import macros

markup = macros("diagram/view.html")


def diagram_html(plans: Sequence[SidePlan]) -> str:
    """All sides as one drawing for wide pages and one for narrow ones, and the same in words."""
    sides = sides_to_draw(plans)
    words = [(f"{side.letter}, {side.plan.label}", sentences(side)) for side in sides]
    return markup.diagram(draw_sides(sides, RIGHTWARDS), draw_sides(sides, UPWARDS), difference_sentence(plans), words)


def difference_sentence(plans: Sequence[SidePlan]) -> str:
    """The one thing in which B differs."""
    words = changed_setting(plans)
    return f"One difference, lit: {words}." if words else "one run alone"


def changed_setting(plans: Sequence[SidePlan]) -> str:
    """What B differs in, with both values; nothing for a run of one side."""
    field = differing_field(plans)
    if field is None:
        return ""
    values = [format_value(field, values_of(plan.model, plan.training)[field]) for plan in plans]
    return f"{field_label(field).lower()}, {values[0]} in A and {values[1]} in B"

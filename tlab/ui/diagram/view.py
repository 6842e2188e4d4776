"""The drawing as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from tlab.ui.diagram.drawing import RIGHTWARDS, UPWARDS, draw_sides
from tlab.ui.diagram.sides import differing_field, sides_to_draw
from tlab.ui.diagram.words import sentences
from tlab.ui.runs.messages import SidePlan
from tlab.ui.settings.fields import field_label, format_value
from tlab.ui.settings.plans import difference_of
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
    lit = ", lit" if differing_field(plans) else ""  # with which weights a part begins is no part of the drawing
    return f"One difference{lit}: {words}." if words else "one run alone"


def changed_setting(plans: Sequence[SidePlan]) -> str:
    """What B differs in, with both values; nothing for a run of one side."""
    difference = difference_of(plans)
    if difference is None:
        return ""
    name, *values = difference
    a, b = (format_value(name, value) for value in values)
    return f"{field_label(name).lower()}, {a} in A and {b} in B"

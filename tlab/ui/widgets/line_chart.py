"""The chart of several runs' curves over steps, for the tabs that compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from tlab.ui.widgets.component import js_component

COLOURS = 8  # `--tl-line-0` to `--tl-line-7` in style.css
DASHES = 3  # solid, dashed, dotted: what curves have by their place


def lines_chart(value: dict[str, Any], elem_id: str, **props: Any) -> gr.HTML:
    return js_component("widgets/line_chart", value, elem_id, "axes", "pictures/offer", **props)


def lines_value(
    title: str, unit: str, lines: list[dict[str, Any]], empty: str, highest: float | None = None
) -> dict[str, Any]:
    """What the chart draws: curves of `line`, or the words of `empty` where there is none.

    A linear axis ends at `highest`, if it is given; what lies above is cut off, with a word.
    """
    ends = [
        f"{one['name']} ends at {one['points'][-1][1]:.3f}" if one["points"] else one["name"]
        for one in lines
        if "faint" not in one
    ]
    alternative = f"{title}, {unit}, over steps. " + ("; ".join(ends) if ends else empty) + "."
    return {
        "title": title, "unit": unit, "lines": lines, "empty": empty, "alternative": alternative, "highest": highest
    }  # fmt: skip


def line(
    name: str,
    place: int,
    points: list[list[float]],
    *,
    band: Sequence[list[float]] = (),
    dots: Sequence[list[float]] = (),
    dash: int | None = None,
    is_faint: bool = False,
) -> dict[str, Any]:
    """One curve: its name, the place of its colour, [x, y] points, [x, low, high] of a band, and [x, y] dots.

    A faint one is one of many behind another: drawn thinly, and in neither the key nor the values beside the pointer.

    By default its place decides how it is dashed, too: 8 and 3 have no common factor, so 24 curves differ.
    """
    colour, dash = place % COLOURS, place % DASHES if dash is None else dash
    return {
        "name": name,
        "colour": colour,
        "dash": dash,
        "points": points,
        "band": [*band],
        "dots": [*dots],
        **({"faint": True} if is_faint else {}),
    }

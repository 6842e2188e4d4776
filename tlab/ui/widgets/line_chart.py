"""The chart of several runs' curves over steps, for the tabs that compare."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tlab.ui.widgets.component import js_component

COLOURS = 8  # `--tl-line-0` to `--tl-line-7` in keep.css
DASHES = 3  # solid, dashed, dotted
LOSS_UNIT = "nats per token"

TEMPLATE = """
<div class="tl-card tl-chart tl-lines">
  <div class="tl-title"><b class="tl-lines-title"></b><span class="tl-lines-unit"></span></div>
  <div class="tl-plot" role="img" aria-label="Chart"><canvas></canvas><div class="tl-tip" hidden></div></div>
  <div class="tl-axis-name">step</div>
  <div class="tl-lines-key"></div>
</div>
"""


def lines_chart(value: dict[str, Any], elem_id: str) -> gr.HTML:
    return js_component("widgets/line_chart.js", TEMPLATE, value, elem_id, after="widgets/axes.js")


def lines_value(title: str, unit: str, lines: list[dict[str, Any]], empty: str) -> dict[str, Any]:
    """What the chart draws.

    Args:
        title: above it.
        unit: of the values.
        lines: of `line`.
        empty: what to say where there is none.
    """
    ends = [f"{one['name']} ends at {one['points'][-1][1]:.3f}" for one in lines if one["points"]]
    alternative = f"{title}, {unit}, over steps. " + ("; ".join(ends) if ends else empty) + "."
    return {"title": title, "unit": unit, "lines": lines, "empty": empty, "alternative": alternative}


def line(
    name: str,
    place: int,
    points: list[list[float]],
    *,
    dash: int = 0,
    band: list[list[float]] | None = None,
    dots: list[list[float]] | None = None,
) -> dict[str, Any]:
    """One curve: its name, the place of its colour, [x, y] points, [x, low, high] of a band, and [x, y] dots."""
    return {
        "name": name, "colour": place % COLOURS, "dash": (place // COLOURS + dash) % DASHES, "points": points,
        "band": band or [], "dots": dots or [],
    }  # fmt: skip

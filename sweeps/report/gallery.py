"""The figures of a report: which there are, how to read each, and each as an image inside the page."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure

from sweeps.grid.fields import REPLICATE
from sweeps.report.analysis import Analysis
from sweeps.report.effect_figures import (
    COSTS,
    cost_figure,
    gradient_norm_figure,
    grid_figure,
    interaction_figure,
    main_effects_figure,
)
from sweeps.report.run_figures import final_losses_figure, learning_curves_figure
from sweeps.results.labels import axis_name
from sweeps.results.table import UNCOMPARED
from tlab.figures import PIXELS_PER_INCH, SAME_IDS

MAX_PAIRS = 6  # of axes whose interaction is drawn; all are tested
MAX_SVG_BYTES = 300_000  # a figure with more strokes than that is smaller as PNG
PNG_DPI = 110
BROAD = 7.0  # inches; a wider figure scrolls sideways on a phone, where it would otherwise be too small to read


@dataclass(frozen=True)
class ReportFigure:
    """A figure, the section it belongs to, and how to read it."""

    section: str
    name: str
    figure: Figure
    caption: str

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.figure.get_size_inches()
        return round(width * PIXELS_PER_INCH), round(height * PIXELS_PER_INCH)

    @property
    def is_broad(self) -> bool:
        return self.figure.get_size_inches()[0] > BROAD

    @property
    def data_url(self) -> str:
        """The picture itself, transparent so that it suits any page.

        It becomes an <img>, not SVG elements in the page: the ids of two figures would clash.
        """
        data, kind = saved(self.figure, format="svg", metadata={"Date": None}), "svg+xml"
        if len(data) > MAX_SVG_BYTES:
            data, kind = saved(self.figure, format="png", dpi=PNG_DPI), "png"
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def saved(figure: Figure, **options: object) -> bytes:
    content = io.BytesIO()
    with rc_context(SAME_IDS):
        figure.savefig(content, transparent=True, **options)
    return content.getvalue()


def report_figures(analysis: Analysis) -> Iterator[ReportFigure]:
    table = analysis.table
    if not table.rows:
        return
    if table.axes:
        caption = (
            "Each square is one configuration. The number is the mean over seeds; diverged and failed seeds are "
            "counted beside it. A configuration that lost some of its runs has the colour of the highest losses, "
            "and one that lost all has none."
        )
        if UNCOMPARED in table.axes:
            caption += " Colours show how far a loss is above the lowest one of the same text."
        yield ReportFigure("overview", "grid", grid_figure(table), caption)
    if table.compared_axes:
        caption = (
            "How far each level lies from the mean of all levels of its axis, averaged over the other axes within each "
            "seed; further left is better. An interval that reaches the edge of the plot is longer than shown."
        )
        yield ReportFigure("overview", "main_effects", main_effects_figure(analysis.effects, table.unit), caption)
    of_text = " of each text" if UNCOMPARED in table.axes else ""
    caption = (
        f"One row per configuration, the best{of_text} first. Each dot is one seed; the vertical line is the mean."
    )
    yield ReportFigure("seeds", "seeds", final_losses_figure(table), caption)
    losses = analysis.curves.get(("train", "loss"), {})
    norms = analysis.curves.get(("train", "gradient_norm"), {})
    for axis in table.axes or (None,) if losses else ():
        caption = f"Training loss by {axis_name(axis or REPLICATE)}; the band spans the seeds, from lowest to highest."
        if axis in table.compared_axes:
            caption += (
                " Below: the same minus the mean of all levels within each seed, which removes the noise that the "
                "levels share."
            )
        if axis:
            caption += " Combinations of the other axes that some level lacks are left out for all levels."
        figure = learning_curves_figure(table, losses, axis)
        yield ReportFigure("curves", f"curves_{axis or 'seeds'}", figure, caption)
    for axis in table.axes if norms else ():
        caption = f"Norm of all gradients before clipping, by {axis_name(axis)}, on a logarithmic scale."
        yield ReportFigure("gradients", f"gradient_norm_{axis}", gradient_norm_figure(table, norms, axis), caption)
    for axes in itertools.islice(itertools.combinations(table.axes, 2), MAX_PAIRS):
        caption = (
            "How far the loss of each pair of levels lies from the sum of the two levels' own effects; below zero is "
            "better than the sum predicts."
        )
        yield ReportFigure("interactions", "interaction_" + "_".join(axes), interaction_figure(table, axes), caption)
    for cost, meaning in COSTS.items():
        caption = (
            f"Loss against {meaning}. A dot is the mean of a configuration; the bar through it spans its seeds, from "
            "the lowest to the highest. The dashed line joins the configurations that no other one beats on both, of "
            f"those{of_text} that lost the fewest seeds; a hollow dot has lost some."
        )
        yield ReportFigure("cost", f"loss_against_{cost}", cost_figure(table, cost), caption)

"""Figures of axes with many levels: their names hide no curve and take no room from them."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sweeps.report.effect_figures import cost_figure, gradient_norm_figure
from sweeps.report.run_figures import MAX_INSIDE, final_losses_figure, learning_curves_figure
from sweeps.results.table import Table


def table(axis, levels):
    rows = [
        {"cell_id": f"{level}-{seed}", "alias_of": None, "status": "ok", axis: level, "seed": seed,
         "n_params": 1000 + i, "cpu_seconds": 1.0 + i, "val_loss": 2.0 + 0.01 * i + 0.001 * seed}
        for i, level in enumerate(levels) for seed in range(2)
    ]  # fmt: skip
    return Table((axis,), rows)


def drawn(axis, levels):
    """The figures with curves or dots of levels, laid out."""
    found = table(axis, levels)
    curves = {row["cell_id"]: [(step, row["val_loss"] + 3 / step) for step in range(1, 40)] for row in found.rows}
    figures = [
        learning_curves_figure(found, curves, axis),
        gradient_norm_figure(found, curves, axis),
        cost_figure(found, "n_params"),
    ]
    for figure in [*figures, final_losses_figure(found)]:
        FigureCanvasAgg(figure).draw()  # a layout that collapses is a warning, and so an error
    return figures


@pytest.mark.parametrize("number", [10, 14, 18, 45])
def test_many_numbers_are_named_by_a_scale_of_colours_beside_the_curves(number):
    for figure in drawn("learning_rate", np.logspace(-4, -1, number).tolist()):
        axes, bar = figure.axes[0], figure.axes[-1]
        assert axes.get_legend() is None and bar.get_ylabel() == "learning rate"
        assert bar.get_position().x0 >= axes.get_position().x1
        assert axes.get_position().width > 0.5
        written = [label.get_text() for label in bar.get_yticklabels()]
        assert len(written) == MAX_INSIDE and written[0] == "0.0001" and written[-1] == "0.1"


@pytest.mark.parametrize("number", [10, 45])
def test_many_names_stand_beside_the_curves(number):
    for figure in drawn("corpus", [f"text {i}.txt" for i in range(number)]):
        axes = figure.axes[0]
        names = axes.get_legend().get_window_extent()
        assert names.x0 >= axes.get_window_extent().x1 and names.x1 <= figure.bbox.width
        assert names.y0 >= 0
        assert len(axes.get_legend().get_texts()) == number
        assert axes.get_window_extent().width > 200


def test_few_levels_are_named_inside():
    for figure in drawn("learning_rate", [0.1, 0.2, 0.3]):
        assert len(figure.axes[0].get_legend().get_texts()) == 3

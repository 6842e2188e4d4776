"""Curves of many learning rates keep their room, named by a scale of colours beside them."""

import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg

from sweeps.report.run_figures import learning_curves_figure
from sweeps.results.table import Table

RATES = [1e-5 * 1.25**i for i in range(45)]
rows = [
    {"cell_id": str(i), "alias_of": None, "status": "ok", "seed": 0, "learning_rate": rate, "val_loss": 2 + 0.01 * i}
    for i, rate in enumerate(RATES)
]
curves = {row["cell_id"]: [(step, row["val_loss"] + 3 / step) for step in range(1, 20)] for row in rows}
figure = learning_curves_figure(Table(("learning_rate",), rows), curves, "learning_rate")
warnings.simplefilter("error")  # a layout that collapses is one
FigureCanvasAgg(figure).draw()
axes, scale = figure.axes[0], figure.axes[-1]
assert axes.get_legend() is None and scale.get_position().x0 >= axes.get_position().x1
assert axes.get_position().width > 0.5
print("ok")

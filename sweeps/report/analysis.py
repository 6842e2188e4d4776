"""A sweep's tables and everything that is computed from them, each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from sweeps.results.effects import Effect, LevelComparison, comparisons, interactions, main_effects
from sweeps.results.labels import axis_name
from sweeps.results.read import CurvesByCell, planned_cells
from sweeps.results.summary import Configuration, Summary, num_far, outlying_runs, summaries
from sweeps.results.table import Table, in_one_unit
from tlab.judging.few_seeds import MARGIN
from tlab.text.units import bits_per_nat


@dataclass(frozen=True)
class Analysis:
    """What a report is made of."""

    table: Table
    curves: CurvesByCell = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    margin: float = MARGIN

    def __post_init__(self) -> None:
        """Bring all losses to one unit."""
        table = in_one_unit(self.table)
        if table is not self.table:
            cells = [row["cell_id"] for row in self.table.rows]
            factors = {
                split: dict(zip(cells, bits_per_nat(self.table.rows, part), strict=True))
                for split, part in (("train", "train"), ("validation", "val"))
            }
            curves = {
                (split, metric): {
                    cell: [(step, value * factor) for step, value in points]
                    for cell, points in of_metric.items()
                    if (factor := factors[split].get(cell)) is not None
                }
                if metric == "loss"
                else of_metric
                for (split, metric), of_metric in self.curves.items()
            }
            object.__setattr__(self, "table", table)
            object.__setattr__(self, "curves", curves)

    @cached_property
    def ranked(self) -> list[Summary]:
        return summaries(self.table, self.margin)

    @cached_property
    def effects(self) -> list[Effect]:
        return [effect for axis in self.table.compared_axes for effect in main_effects(self.table, axis)]

    @cached_property
    def comparisons(self) -> list[LevelComparison]:
        return comparisons(self.table, margin=self.margin)

    @cached_property
    def interactions(self) -> list[LevelComparison]:
        return interactions(self.table, margin=self.margin)

    @cached_property
    def outlying(self) -> list[tuple[Configuration, int]]:
        return outlying_runs([one.configuration for one in self.ranked])

    @property
    def planned(self) -> int:
        """How many cells the grids ask for, aliases included."""
        return max(planned_cells(self.manifest) - self.table.left_out, len(self.table.rows))

    @property
    def title(self) -> str:
        return "Sweep of " + (", ".join(map(axis_name, self.table.axes)) or "seeds")


COLUMNS = (
    *("axis", "first", "minus", "other_axis", "at", "minus_at", "mean", "ci_low", "ci_high", "n_seeds"),
    *("blocks", "all_blocks", "p", "p_holm", "p_equal", "p_equal_holm", "verdict", "lost_first", "lost_minus"),
    "n_far",
)
"""Of comparisons.csv. The mean is that of first minus `minus`; of an interaction, at one level minus at another.
`lost_first` and `lost_minus` are `LevelComparison.lost`; of the runs with either level `n_far` ended far from the other
seeds, stuck or skewed."""


def comparison_frame(analysis: Analysis) -> pd.DataFrame:
    """comparisons.csv: one row per test, with all digits."""
    rows = []
    for one in (*analysis.comparisons, *analysis.interactions):
        levels = dict(zip(one.axes, (one.first, one.second or ()), strict=False))
        interaction = (one.axes[1], *one.second) if one.second else ("", "", "")
        mean, low, high, n = one.estimate
        ends = (low, high) if n > 1 else (None, None)
        tests = (one.blocks, one.all_blocks, one.p, one.p_holm, one.p_equal, one.p_equal_holm, one.verdict, *one.lost)
        rows.append((one.axes[0], *one.first, *interaction, mean, *ends, n, *tests, num_far(analysis.outlying, levels)))
    return pd.DataFrame(rows, columns=list(COLUMNS))

"""A sweep's tables and everything that is computed from them, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from sweeps.results.effects import Comparison, Effect, comparisons, interactions, main_effects
from sweeps.results.labels import axis_name
from sweeps.results.read import CurvesByCell, planned_cells
from sweeps.results.stats import MARGIN
from sweeps.results.summary import Summary, summaries
from sweeps.results.table import Table


@dataclass(frozen=True)
class Analysis:
    """What a report is made of."""

    table: Table
    curves: CurvesByCell = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    margin: float = MARGIN

    @cached_property
    def ranked(self) -> list[Summary]:
        return summaries(self.table, self.margin)

    @cached_property
    def effects(self) -> list[Effect]:
        return [effect for axis in self.table.axes for effect in main_effects(self.table, axis)]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        return comparisons(self.table, margin=self.margin)

    @cached_property
    def interactions(self) -> list[Comparison]:
        return interactions(self.table, margin=self.margin)

    @property
    def planned(self) -> int:
        """How many cells the grids ask for, aliases included."""
        return max(planned_cells(self.manifest), len(self.table.rows))

    @property
    def title(self) -> str:
        return "Sweep of " + (", ".join(map(axis_name, self.table.axes)) or "seeds")


COLUMNS = (
    *("axis", "first", "minus", "other_axis", "at", "minus_at", "mean", "ci_low", "ci_high", "n_seeds"),
    *("blocks", "all_blocks", "p", "p_holm", "p_equal", "verdict"),
)
"""Of comparisons.csv. The mean is that of first minus `minus`; of an interaction, at one level minus at another."""


def comparison_frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """comparisons.csv: one row per test, with all digits."""
    rows = []
    for one in found:
        interaction = (one.axes[1], *one.second) if one.second else ("", "", "")
        mean, low, high, n = one.estimate
        ends = (low, high) if n > 1 else (None, None)
        tests = (one.blocks, one.all_blocks, one.p, one.p_holm, one.p_equal, one.verdict)
        rows.append((one.axes[0], *one.first, *interaction, mean, *ends, n, *tests))
    return pd.DataFrame(rows, columns=list(COLUMNS))

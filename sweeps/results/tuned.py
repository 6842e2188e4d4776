"""Each configuration over the learning rates that it was trained at: its curve, and the rate that suits it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sweeps.grid.fields import RATE, REPLICATE
from sweeps.results.summary import MEASURE, has_value
from sweeps.results.table import Table
from tlab.judging.few_seeds import estimate
from tlab.judging.learning_rates import Valley, fit_valley

RATES_COLUMNS = (
    *("best_tried", "optimum", "optimum_low", "optimum_high", "beyond", "is_lopsided"),
    *("width", "width_low", "width_high"),
    *("loss", "ci_low", "ci_high", "n_seeds", "n_lost", "problem"),
)
"""Of rates.csv, after the axes other than the rate; docs/sweeps.md says what they mean."""


def valleys(table: Table) -> list[tuple[dict[str, Any], Valley]]:
    """The levels of the other axes, and the curve over rates, of each configuration; none where the rate is no axis.

    One that is an alias at every rate is left out: its curve is that of the other one.
    """
    if RATE not in table.axes:
        return []
    others = [axis for axis in table.axes if axis != RATE]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[axis] for axis in others), []).append(row)
    found = []
    for levels, rows in groups.items():
        if all(row["alias_of"] for row in rows):
            continue
        losses: dict[float, dict[int, float | None]] = {}
        for row in rows:
            losses.setdefault(row[RATE], {})[row[REPLICATE]] = row[MEASURE] if has_value(row) else None
        found.append((dict(zip(others, levels, strict=True)), fit_valley(losses)))
    return found


def rates_frame(table: Table) -> pd.DataFrame:
    """rates.csv: a row for each configuration, with the learning rate that suits it."""
    rows = []
    for levels, valley in valleys(table):
        mean, low, high, n = estimate(list(valley.losses.values()))
        ends = (low, high) if n > 1 else (math.nan, math.nan)
        bounds = (valley.low or math.nan, valley.high if math.isfinite(valley.high) else math.nan)
        width = valley.width or (math.nan,) * 3
        beyond = [word for word, may in (("below", valley.may_be_below), ("above", valley.may_be_above)) if may]
        rows.append(
            (
                *(str(level) for level in levels.values()),
                *(valley.best_tried, valley.optimum, *bounds, " and ".join(beyond), valley.is_lopsided),
                *(bound if math.isfinite(bound) else math.nan for bound in width),
                *(mean, *ends, n, sum(valley.lost), valley.problem),
            )
        )
    return pd.DataFrame(rows, columns=[*(axis for axis in table.axes if axis != RATE), *RATES_COLUMNS])

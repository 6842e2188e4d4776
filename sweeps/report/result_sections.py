"""What a report says was found: differences, interactions, learning rates, configurations; sections.html shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sweeps.report.analysis import Analysis
from sweeps.report.run_figures import levels_of
from sweeps.report.sentences import largest_first, subtraction
from sweeps.results.effects import LevelComparison, comparisons_of
from sweeps.results.labels import level_name, level_phrase
from sweeps.results.summary import BEST, LOST_MORE, RATE, Summary, at_best_rate, at_rate, summaries
from sweeps.results.tuned import valleys
from tlab.judging.few_seeds import BELOW_MARGIN, EQUIVALENT, INCONCLUSIVE, REAL, Estimate
from tlab.judging.learning_rates import optimum_words
from tlab.wording import several

VERDICT_COLOURS = {
    REAL: "different",
    BELOW_MARGIN: "different",
    EQUIVALENT: "equal",
    INCONCLUSIVE: "unknown",
    BEST: "",
    LOST_MORE: "bad",
}
"""Verdict -> class in report.css."""


def colour_of(one: LevelComparison) -> str:
    return "hint" if one.is_hint else VERDICT_COLOURS[one.verdict]


# ------------------------------------------------------------------------------------------------ comparisons


def comparison_groups(analysis: Analysis) -> dict[str, list[LevelComparison]]:
    """Every comparison by what it allows to say, hints and the largest first; empty where there is none at all."""
    groups = {
        "Real differences": (REAL, BELOW_MARGIN),
        f"Equivalent within {analysis.margin:g} {analysis.table.unit}": (EQUIVALENT,),
        "Inconclusive": (INCONCLUSIVE,),
    }
    ordered = sorted(largest_first(analysis.comparisons), key=lambda one: (not one.is_hint, one.estimate.n == 0))
    return {title: [one for one in ordered if one.verdict in verdicts] for title, verdicts in groups.items() if ordered}


def real_interactions(analysis: Analysis) -> list[LevelComparison]:
    return largest_first(one for one in analysis.interactions if one.verdict in (REAL, BELOW_MARGIN))


def reach_of(found: Sequence[LevelComparison], margin: float) -> float:
    """How far the plots of intervals go: to the largest difference and a little more, not to the longest line."""
    return 1.25 * max([2 * margin, *(abs(one.estimate.mean) for one in found if one.estimate.n)])


class IntervalPlot(NamedTuple):
    """An estimate along a line from -100 to 100 with zero in the middle; what is longer than the line is cut off."""

    mean: float
    low: float
    high: float
    margin: float  # half the width of the band within which two are called equivalent


def interval_plot(estimate: Estimate, reach: float, margin: float) -> IntervalPlot:
    values = (estimate.mean, estimate.low, estimate.high, margin)
    return IntervalPlot(*(round(100 * max(-1.0, min(1.0, value / reach)), 1) for value in values))


# ------------------------------------------------------------------------------------------------ learning rates


class Rates(NamedTuple):
    """The comparisons of the other axes at each fixed rate, and with each configuration at its own best rate."""

    columns: list[str]
    pairs: list[tuple[str, list[LevelComparison | None]]]
    """A subtraction, and its comparison in each column: None where there is none."""
    judged: list[LevelComparison]  # of all columns, corrected together
    chosen: str  # how often each rate was best, in words
    at_best: list[tuple[str, Summary]]  # each configuration's best rate, and its summary at it
    found: list[str]  # which rate suits each configuration, in words


def rates_section(analysis: Analysis) -> Rates | None:
    table, margin = analysis.table, analysis.margin
    if RATE not in table.axes:
        return None
    rates = levels_of(table, RATE)
    best = at_best_rate(table)
    columns = {"each at its best rate tried": best}  # first: of many rates the last columns are out of sight
    columns |= {f"rate {level_name(RATE, rate)}": at_rate(table, rate) for rate in rates}
    by_pair: dict[tuple[str, frozenset[Any]], dict[str, LevelComparison]] = {}
    of_columns = comparisons_of(list(columns.values()), margin)
    for name, of_column in zip(columns, of_columns, strict=True):
        for one in of_column:
            found = by_pair.setdefault((one.axes[0], frozenset(one.first)), {})
            found[name] = oriented(one, next(iter(found.values()), one))
    rate_of = {row["cell_id"]: row[RATE] for row in best.rows}
    at_best = [(rate_of[one.configuration.ran[0]], one) for one in summaries(best, margin) if one.configuration.ran]
    counts = Counter(rate for rate, _ in at_best)
    return Rates(
        list(columns),
        [
            (subtraction(next(iter(found.values()))), [found.get(name) for name in columns])
            for found in by_pair.values()
        ],
        [one for of_column in of_columns for one in of_column],
        ", ".join(
            f"{level_name(RATE, rate)} for {several(counts[rate], 'configuration')}" for rate in rates if counts[rate]
        ),
        [(level_name(RATE, rate), one) for rate, one in at_best],
        [optimum_words(valley, levels_name(levels)) for levels, valley in valleys(table)],
    )


def levels_name(levels: Mapping[str, Any]) -> str:
    """What a configuration is called by the levels of some axes."""
    return " · ".join(level_phrase(axis, level) for axis, level in levels.items()) or "the model"


def oriented(one: LevelComparison, first: LevelComparison) -> LevelComparison:
    """The same comparison, subtracted the same way round as another one of the same pair of levels."""
    if one.first == first.first:
        return one
    mean, low, high, n = one.estimate
    return one._replace(first=first.first, estimate=Estimate(-mean, -high, -low, n), lost=one.lost[::-1])

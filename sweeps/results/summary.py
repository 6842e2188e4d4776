"""A sweep's table by configuration: what became of its seeds, their mean with its interval, its rank."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from sweeps.grid.fields import RATE, REPLICATE
from sweeps.results.balance import balance
from sweeps.results.table import UNCOMPARED, Table
from sweeps.store.record import DIVERGED, OK
from tlab.judging.few_seeds import (
    ALPHA,
    MARGIN,
    Estimate,
    confidence_set,
    equality_p,
    estimate,
    far_from_others,
    holm,
    paired,
    verdict_of,
)

MEASURE = "val_loss"
BEST = "best"  # in place of a verdict, of the configuration that the others are compared with
LOST_MORE = "lost more seeds"  # in place of a verdict, of one whose mean would be that of its lucky seeds


class Counts(NamedTuple):
    """How some cells ended; those that have not ended are not counted."""

    ok: int
    diverged: int
    failed: int  # raised, was killed, or took too long

    @property
    def lost(self) -> int:
        """How many have no loss."""
        return self.diverged + self.failed

    @property
    def caveat(self) -> str:
        """What the mean leaves out, such as "1 of 3 diverged"; empty if all went well."""
        named = ((self.diverged, "diverged"), (self.failed, "failed"))
        return ", ".join(f"{count} of {sum(self)} {word}" for count, word in named if count)


def count_statuses(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """How many of the rows ended in which way; one without a loss has not ended well, whatever it says."""
    rows = list(rows)
    ok = sum(has_value(row) for row in rows)
    diverged = sum(row["status"] == DIVERGED for row in rows)
    return Counts(ok, diverged, len(rows) - ok - diverged)


def has_value(row: Mapping[str, Any]) -> bool:
    """Whether the row is of a run that ended well and has a finite value."""
    value = row[MEASURE]
    return row["status"] == OK and value is not None and math.isfinite(value)


# ------------------------------------------------------------------------------------------------ configurations


@dataclass
class Configuration:
    """The rows that differ in nothing but the seed, and those of their aliases."""

    levels: dict[str, list[Any]]  # axis -> the level; several where rows are aliases of each other
    losses: dict[int, float] = field(default_factory=dict)  # seed -> final validation loss
    bits_per_byte: dict[int, float | None] = field(default_factory=dict)  # seed -> that loss; None where not known
    diverged: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)
    """The ids of its cells that were trained: of the aliases, those that they stand for."""

    @property
    def text(self) -> str:
        """What it was trained on, where the sweep has several texts."""
        return self.levels.get(UNCOMPARED, [""])[0]

    @property
    def mean(self) -> float:
        return sum(self.losses.values()) / len(self.losses) if self.losses else float("inf")

    @property
    def mean_bits_per_byte(self) -> float:
        """Of the same seeds as `mean`; NaN where that of any is not known."""
        known = [math.nan if bits is None else bits for bits in self.bits_per_byte.values()]
        return sum(known) / len(known) if known else math.nan

    @property
    def caveat(self) -> str:
        return self.counts.caveat

    @property
    def counts(self) -> Counts:
        return Counts(len(self.losses), len(self.diverged), len(self.failed))


def configurations(table: Table) -> list[Configuration]:
    """The table's rows by configuration: the best of each text first, those that have no loss last.

    Better is the one with fewer seeds lost, and of those with as many the one with the lower mean: the mean of those
    seeds that were lucky is not to be compared with that of all.
    """
    settings = {row["cell_id"]: tuple(row[axis] for axis in table.axes) for row in table.rows}
    same = DisjointSet(settings.values())
    for row in table.rows:
        # Where levels were added after the first seeds, one of the aliases was trained with some seeds, another with
        # the rest; they are still one configuration.
        same.merge(settings[row["cell_id"]], settings[row["alias_of"] or row["cell_id"]])
    found: dict[tuple[Any, ...], Configuration] = {}
    for row in table.rows:
        own = settings[row["cell_id"]]
        configuration = found.setdefault(same[own], Configuration({}))
        for axis, value in zip(table.axes, own, strict=True):
            known = configuration.levels.setdefault(axis, [])
            if value not in known:
                known.append(value)
        seed = row[REPLICATE]
        if not row["alias_of"]:
            configuration.ran.append(row["cell_id"])
        if has_value(row):
            configuration.losses[seed] = row[MEASURE]
            configuration.bits_per_byte[seed] = row.get("val_bits_per_byte")
        else:
            (configuration.diverged if row["status"] == DIVERGED else configuration.failed).add(seed)
    texts = list(dict.fromkeys(one.text for one in found.values()))
    return sorted(found.values(), key=lambda one: (texts.index(one.text), one.counts.lost, one.mean))


def outlying_runs(found: Sequence[Configuration]) -> list[tuple[Configuration, int]]:
    """Each run, as its configuration and seed, that ended far from the others: stuck, perhaps, or of skewed noise."""
    seeds = sorted({seed for one in found for seed in one.losses})
    with_losses = [one for one in found if one.losses]
    losses = np.array([[one.losses.get(seed, math.nan) for seed in seeds] for one in with_losses])
    return [(with_losses[i], seeds[j]) for i, j in np.argwhere(far_from_others(losses))]


def num_far(outlying: Sequence[tuple[Configuration, int]], levels: Mapping[str, Sequence[Any]]) -> int:
    """How many of these runs have, of each of these axes, one of these levels."""
    return sum(
        all(any(level in found.levels[axis] for level in of_axis) for axis, of_axis in levels.items())
        for found, _ in outlying
    )


class Summary(NamedTuple):
    """One configuration over its seeds."""

    configuration: Configuration
    rank: int  # among those of its text, from 1
    estimate: Estimate
    minus_best: Estimate  # paired by seed, to the best configuration of its text
    verdict: str  # whether it differs from the best one: one of `few_seeds.VERDICTS`, or `BEST` or `LOST_MORE`

    @property
    def deviation(self) -> float:
        losses = list(self.configuration.losses.values())
        return float(np.std(losses, ddof=1)) if len(losses) > 1 else math.nan


def summaries(table: Table, margin: float = MARGIN) -> list[Summary]:
    """A summary of each configuration, aliases together, in the order of `configurations`: each text by itself.

    Whether one differs from the best is a question for `confidence_set`, among those that lost no more seeds. The
    texts share the 5 %.
    """
    by_text = [list(of_text) for _, of_text in itertools.groupby(configurations(table), key=lambda one: one.text)]
    return [one for ranked in by_text for one in against_best(ranked, margin, ALPHA / len(by_text))]


def against_best(ranked: Sequence[Configuration], margin: float, alpha: float) -> list[Summary]:
    """A summary of each configuration of one text, the best first, with an error of `alpha` for all together."""
    best = ranked[0]
    seeds = sorted(best.losses)
    values = np.array([[one.losses.get(seed, math.nan) for seed in seeds] for one in ranked]).T
    rivals = np.array([one.counts.lost == best.counts.lost for one in ranked])
    kept = balance(np.isfinite(values) & rivals)
    differs = np.zeros(len(ranked), bool)
    if len(kept.seeds) > 1:  # the best one has all the seeds, so it is the first that is kept
        differs[kept.blocks] = np.logical_not(confidence_set(values[np.ix_(kept.seeds, kept.blocks)], 0, alpha))
    differences = [paired(one.losses, best.losses) for one in ranked]
    tested = rivals & (np.arange(len(ranked)) > 0)
    equal = holm(
        [equality_p(of_one, margin) if test else math.nan for of_one, test in zip(differences, tested, strict=True)]
    )
    found = []
    for place, one in enumerate(ranked):
        verdict = verdict_of(0.0 if differs[place] else 1.0, equal[place], alpha)
        verdict = BEST if place == 0 else verdict if rivals[place] else LOST_MORE
        estimates = estimate(list(one.losses.values())), estimate(differences[place])
        found.append(Summary(one, place + 1, *estimates, verdict))
    return found


def summary_frame(table: Table, found: Sequence[Summary]) -> pd.DataFrame:
    """summary.csv: a row for each configuration, the best one first. The diverged seeds are shown beside the mean."""
    far = Counter(id(configuration) for configuration, _ in outlying_runs([one.configuration for one in found]))
    rows = []
    for one in found:
        bounded = math.isfinite(one.estimate.low)
        rows.append(
            {
                **{axis: " = ".join(map(str, one.configuration.levels[axis])) for axis in table.axes},
                "rank": one.rank if one.configuration.losses else None,
                **{f"n_{name}": count for name, count in one.configuration.counts._asdict().items()},
                "mean": one.estimate.mean,
                "sd": one.deviation,
                "ci_low": one.estimate.low if bounded else None,
                "ci_high": one.estimate.high if bounded else None,
                "minus_best": one.minus_best.mean,
                "against_best": one.verdict,
                "bits_per_byte": one.configuration.mean_bits_per_byte,
                "n_far": far[id(one.configuration)],
            }
        )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------------ the rate


def at_best_rate(table: Table) -> Table:
    """The table without that axis: each configuration with the rate that suits it best.

    Best is the one of which the most seeds have ended well by now, and of those the lowest mean over seeds; of equals
    the first in the table. Since it is picked by the same losses that are then shown, they are a little too low,
    and for all levels equally.
    """
    others = tuple(other for other in table.axes if other != RATE)
    groups: dict[tuple[Any, ...], dict[Any, list[dict[str, Any]]]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[other] for other in others), {}).setdefault(row[RATE], []).append(row)

    def badness(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
        values = [row[MEASURE] for row in rows if has_value(row)]
        return -len(values), float(np.mean(values)) if values else math.inf

    rows = [row for by_rate in groups.values() for row in min(by_rate.values(), key=badness)]
    known = {None, *(row["cell_id"] for row in rows)}  # an alias may have its best rate where the other one has not
    rows = [row if row["alias_of"] in known else {**row, "alias_of": None} for row in rows]
    return replace(table, axes=others, rows=rows)


def at_rate(table: Table, rate: Any) -> Table:
    others = tuple(other for other in table.axes if other != RATE)
    return replace(table, axes=others, rows=[row for row in table.rows if row[RATE] == rate])

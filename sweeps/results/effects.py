"""What a sweep's table says: summaries of configurations, effects of levels, comparisons, interactions.

**Balance.** A level's effect is averaged over the combinations of the other axes ("blocks") within a seed, and only
then over seeds. Levels are compared over the same blocks in every seed that counts. Where cells are missing, because
they diverged, failed or are still to come, the seeds and blocks are kept that leave the most numbers, and every result
says how many of how many that is.

**Lost runs.** A run that diverged or failed is a bad result, and not a missing one. It often is the run that would have
been worst, so the mean of those that are left flatters a level that loses many. So lost runs are counted beside a
difference; no level is called better than one that lost fewer runs, and none equivalent to one that lost others.

**Aliases.** Where two levels are the same function in a block, there is nothing to compare, and it is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweeps.grid.fields import REPLICATE
from sweeps.results.balance import Balanced, Numbers, balance
from sweeps.results.summary import (
    MEASURE,
    Counts,
    configurations,
    count_statuses,
    has_value,
    num_far,
    outlying_runs,
)
from sweeps.results.table import Table
from tlab.judging.few_seeds import (
    INCONCLUSIVE,
    MARGIN,
    Estimate,
    difference_p,
    equality_p,
    estimate,
    holm,
    is_flattered,
    verdict_with_lost,
)
from tlab.judging.level_pairs import numbers_of_equal_pairs, pair_p_values

# ------------------------------------------------------------------------------------------------ balance


class Cube(NamedTuple):
    """The values of a table by seed, level of one axis, and block."""

    seeds: list[int]
    levels: list[Any]
    values: Numbers  # (seeds, levels, blocks); nan where there is none
    functions: Numbers
    """The same shape: a number for each cell that was trained, so that aliases have the same one; -1 for none."""
    places: list[list[int]]  # of each row of the table, its (seed, level, block)

    @property
    def lost(self) -> Numbers:
        """The same shape of bool: which cells ended without a value; not those that are still to come."""
        return (self.functions >= 0) & ~np.isfinite(self.values)


def cube_of(table: Table, axis_or_pair: Sequence[str]) -> Cube:
    """Lay the table out by the levels of an axis, or by the pairs of levels of two; see `Cube`."""
    others = [axis for axis in table.axes if axis not in axis_or_pair]
    seeds: dict[Any, int] = {}
    levels: dict[Any, int] = {}
    blocks: dict[Any, int] = {}
    functions: dict[str, int] = {}
    places, values, ids = [], [], []
    for row in table.rows:
        level: tuple[Any, ...] = tuple(row[axis] for axis in axis_or_pair)
        block = tuple(row[axis] for axis in others)
        keys = ((row[REPLICATE], seeds), (level if len(axis_or_pair) > 1 else level[0], levels), (block, blocks))
        places.append([index.setdefault(key, len(index)) for key, index in keys])
        values.append(row[MEASURE] if has_value(row) else math.nan)
        ids.append(functions.setdefault(row["alias_of"] or row["cell_id"], len(functions)))
    shape = (len(seeds), len(levels), len(blocks))
    cube, which = np.full(shape, math.nan), np.full(shape, -1)
    if places:
        at = tuple(np.transpose(places))
        cube[at], which[at] = values, ids
    return Cube(list(seeds), list(levels), cube, which, places)


# ------------------------------------------------------------------------------------------------ effects


class Effect(NamedTuple):
    """A level's mean minus the mean of all levels of its axis, over balanced blocks."""

    axis: str
    level: Any
    estimate: Estimate  # without values where the level's cells are too incomplete to be averaged with the others
    counts: Counts
    blocks: int  # combinations of the other axes that it is averaged over
    all_blocks: int


def main_effects(table: Table, axis: str) -> list[Effect]:
    """The effect of each level of an axis, in the order of the table.

    Levels with few results would leave few blocks to all: the levels that leave the most numbers are averaged, and
    the others have an estimate of no values.
    """
    cube = cube_of(table, [axis])
    chosen, kept = balanced_levels(cube)
    means = cube.values[np.ix_(kept.seeds, chosen, kept.blocks)].mean(axis=2) if kept.size else np.zeros((0, 0))
    deviations = {i: means[:, k] - means.mean(axis=1) for k, i in enumerate(chosen)}
    return [
        Effect(
            axis,
            level,
            estimate(deviations.get(i, [])),
            count_statuses(row for row in table.rows if row[axis] == level),
            len(kept.blocks),
            cube.values.shape[2],
        )
        for i, level in enumerate(cube.levels)
    ]


def balanced_levels(cube: Cube) -> tuple[Numbers, Balanced]:
    """The levels that leave the most numbers when they are compared, and the seeds and blocks that all of them have."""
    finite = np.isfinite(cube.values)
    order = np.argsort(-finite.sum(axis=(0, 2)), kind="stable")
    chosen, kept = order[:0], Balanced(np.arange(0), np.arange(0))
    for count in range(2, len(order) + 1):
        levels = np.sort(order[:count])
        of_levels = cube.functions[:, levels]
        differ = (of_levels != of_levels[:, :1]).any(axis=1)
        found = balance(finite[:, levels].all(axis=1) & differ)
        if found.size and count * found.size >= len(chosen) * kept.size:
            chosen, kept = levels, found
    return chosen, kept


def balanced_rows(table: Table, axis: str) -> list[dict[str, Any]]:
    """The rows whose means over the levels of an axis can be compared; all rows where there is nothing to compare."""
    cube = cube_of(table, [axis])
    levels, kept = balanced_levels(cube)
    if not kept.size:
        return table.rows
    wanted = (set(kept.seeds.tolist()), set(levels.tolist()), set(kept.blocks.tolist()))
    return [
        row
        for row, place in zip(table.rows, cube.places, strict=True)
        if all(index in among for index, among in zip(place, wanted, strict=True))
    ]


def effects_frame(table: Table) -> pd.DataFrame:
    """The main effects of all axes but the text, one row per level; of fewer than two seeds without intervals."""
    columns = ("axis", "level", "effect", "ci_low", "ci_high", "n_seeds", "n_blocks", "n_lost", "n_far")
    axes = [axis for axis in table.compared_axes if len({row[axis] for row in table.rows}) > 1]
    outlying, rows = outlying_runs(configurations(table)), []
    for effect in itertools.chain.from_iterable(main_effects(table, axis) for axis in axes):
        mean, low, high, n = effect.estimate
        ends = (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)
        far = num_far(outlying, {effect.axis: [effect.level]})
        rows.append((effect.axis, effect.level, mean, *ends, n, effect.blocks, effect.counts.lost, far))
    return pd.DataFrame(rows, columns=list(columns))


class LevelComparison(NamedTuple):
    """One level against another, or one difference of levels against another; the family's Holm included."""

    axes: tuple[str, ...]  # one axis; two for an interaction
    first: tuple[Any, Any]  # the two levels of the first axis: the estimate is the one minus the other
    second: tuple[Any, Any] | None
    """The two levels of the second axis: the estimate is the difference at the one minus that at the other."""
    estimate: Estimate
    p: float
    p_holm: float
    p_equal: float  # that the true difference lies within the margin, by TOST
    p_equal_holm: float
    blocks: int
    all_blocks: int  # combinations of the other axes in which the two are different functions
    spread: float  # standard deviation of the difference over seeds; nan with fewer than two
    lost: tuple[int, int] = (0, 0)
    """Runs that diverged or failed, of the first level and of the other; of an interaction, where that raises the
    difference and where it lowers it. Those lost on both sides are not counted."""

    @property
    def is_flattered(self) -> bool:
        """Whether the side that looks better lost more runs, and so may look better for that alone."""
        return is_flattered(self.estimate.mean, self.lost)

    @property
    def is_hint(self) -> bool:
        """Whether the interval leaves zero out, and yet it is not enough for one comparison of many."""
        return self.verdict == INCONCLUSIVE and self.estimate.excludes_zero and not self.is_flattered

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`. A lost run is a bad result: it speaks against its level, and against equivalence."""
        return verdict_with_lost(self.p_holm, self.p_equal_holm, self.estimate.mean, self.lost)


def comparisons(table: Table, margin: float = MARGIN) -> list[LevelComparison]:
    """Every pair of levels of every axis but the text, averaged over the others within each seed; adjusted over all."""
    return comparisons_of([table], margin)[0]


def comparisons_of(tables: Sequence[Table], margin: float = MARGIN) -> list[list[LevelComparison]]:
    """The same of several tables that are judged at once, such as one for each learning rate."""
    found: list[list[LevelComparison]] = []
    p_values: list[float] = []
    possible = {0}
    for table in tables:
        of_axes = [compare_axis(table, axis, margin) for axis in table.compared_axes]
        found.append([one for of_axis in of_axes for one in of_axis.found])
        p_values += [p for of_axis in of_axes for p in of_axis.p_values]
        for of_axis in of_axes:
            possible = {so_far + more for so_far in possible for more in of_axis.possible}
    every = with_holm(list(itertools.chain.from_iterable(found)))
    adjusted = zip(every, holm(p_values, possible), strict=True)
    judged = iter([one._replace(p_holm=max(one.p, p)) for one, p in adjusted])
    return [[next(judged) for _ in of_table] for of_table in found]


class AxisPairs(NamedTuple):
    """The comparisons of an axis, and what it takes to adjust them."""

    found: list[LevelComparison]  # not adjusted
    p_values: list[float]  # that they are judged by; nan where there are too few numbers to test
    possible: set[int]  # how many of the differences that are tested can all be zero


def compare_axis(table: Table, axis: str, margin: float) -> AxisPairs:
    """Every pair of levels of an axis; before it is adjusted.

    Levels of which nothing is missing are judged together (`pair_p_values`), and every other pair by its own t-test.
    """
    cube = cube_of(table, [axis])
    pairs = list(itertools.combinations(range(len(cube.levels)), 2))
    found = [compare_levels(cube, [(i, j)], (axis,), (cube.levels[i], cube.levels[j]), None, margin) for i, j in pairs]
    judged = {pair: one.p for pair, one in zip(pairs, found, strict=True) if one.estimate.n > 1}
    whole, values = whole_levels(cube)
    of_whole = list(itertools.combinations(whole.tolist(), 2)) if len(whole) > 2 and len(values) > 1 else []
    judged |= dict(zip(of_whole, pair_p_values(values).tolist() if of_whole else [], strict=True))
    possible = numbers_of_equal_pairs(len(whole)) if of_whole else {0}
    others = range(len(judged) - len(of_whole) + 1)
    return AxisPairs(
        found, [judged.get(pair, math.nan) for pair in pairs], {equal + more for equal in possible for more in others}
    )


def whole_levels(cube: Cube) -> tuple[Numbers, Numbers]:
    """The levels that have all that any level has, none an alias of another: (whole,); their means: (seeds, whole)."""
    finite: Numbers = np.isfinite(cube.values)
    present: Numbers = np.any(finite, axis=1)
    one, other = cube.functions[:, :, None], cube.functions[:, None]
    same = (one == other) & (one >= 0) & ~np.eye(len(cube.levels), dtype=bool)[:, :, None]
    whole = np.flatnonzero((finite == present[:, None]).all(axis=(0, 2)) & ~same.any(axis=(0, 1, 3)))
    kept = balance(present)
    return whole, cube.values[np.ix_(kept.seeds, whole, kept.blocks)].mean(axis=2) if kept.size else np.zeros((0, 0))


def interactions(table: Table, margin: float = MARGIN) -> list[LevelComparison]:
    """Every difference of differences of every two axes; Holm over all of them."""
    found = []
    for axes in itertools.combinations(table.axes, 2):
        cube = cube_of(table, axes)
        where = {level: i for i, level in enumerate(cube.levels)}
        firsts, seconds = (list(dict.fromkeys(level[k] for level in cube.levels)) for k in (0, 1))
        for a, b in itertools.combinations(firsts, 2):
            for c, d in itertools.combinations(seconds, 2):
                corners = [(a, c), (b, c), (a, d), (b, d)]
                if all(corner in where for corner in corners):
                    i, j, k, m = (where[corner] for corner in corners)
                    found.append(compare_levels(cube, [(i, j), (k, m)], axes, (a, b), (c, d), margin))
    return with_holm(found)


def compare_levels(
    cube: Cube,
    pairs: Sequence[tuple[int, int]],
    axes: tuple[str, ...],
    first: tuple[Any, Any],
    second: tuple[Any, Any] | None,
    margin: float,
) -> LevelComparison:
    """Test the difference of two levels of a cube, or the difference of two such differences; before Holm's adjustment.

    `pairs` are the levels' indices; what is zero by its aliases alone (`trivially_zero`) is left out. `first` and
    `second` are the levels of the first axis, and those of the second one, where there are two.
    """

    def difference(of_levels: Numbers) -> Numbers:
        """(seeds, levels, blocks) -> (seeds, blocks)."""
        by_pair = [of_levels[:, i] - of_levels[:, j] for i, j in pairs]
        return by_pair[0] - by_pair[1] if len(by_pair) > 1 else by_pair[0]

    differences = difference(cube.values)
    same = trivially_zero(cube.functions, pairs)
    lost = np.where(same, 0, difference(cube.lost.astype(int)))
    kept = balance(np.isfinite(differences) & ~same)
    per_seed = differences[np.ix_(kept.seeds, kept.blocks)].mean(axis=1) if kept.size else np.zeros(0)
    p, p_equal = difference_p(per_seed), equality_p(per_seed, margin)
    all_blocks = int((~same.any(axis=0)).sum())
    spread = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else math.nan
    return LevelComparison(
        *(axes, first, second, estimate(per_seed), p, 1.0, p_equal, 1.0, len(kept.blocks), all_blocks, spread),
        lost=(int(lost.clip(min=0).sum()), int(-lost.clip(max=0).sum())),
    )


def trivially_zero(functions: Numbers, pairs: Sequence[tuple[int, int]]) -> Numbers:
    """Where a difference, or one of two differences, is zero whatever the losses are: (seeds, blocks) of bool.

    So it is where both of every pair are one function, or where the two pairs have the same two functions.

    Args:
        functions: of a cube; what is aliased is so also where it has no loss.
        pairs: one or two pairs of levels' indices.
    """

    def one(i: int, j: int) -> Numbers:
        return (functions[:, i] == functions[:, j]) & (functions[:, i] >= 0)

    within = np.all([one(i, j) for i, j in pairs], axis=0)
    if len(pairs) == 1:
        return within
    (i, j), (k, m) = pairs
    return within | (one(i, k) & one(j, m))


def with_holm(found: Sequence[LevelComparison]) -> list[LevelComparison]:
    """The same with the p-values of the whole family adjusted, of differences and of equivalences each.

    What has no numbers was not tested.
    """
    different = holm([one.p if one.estimate.n > 1 else math.nan for one in found])
    equal = holm([one.p_equal if one.estimate.n > 1 else math.nan for one in found])
    return [
        one._replace(p_holm=p, p_equal_holm=p_equal) for one, p, p_equal in zip(found, different, equal, strict=True)
    ]


def interaction_residuals(table: Table, axes: tuple[str, str]) -> tuple[list[Any], list[Any], Numbers]:
    """How far each pair of levels lies from what the two levels add up to; -> levels, levels, (levels, levels).

    Additive effects are fitted to the means over balanced blocks; pairs without any value are nan and take no part.
    """
    cube = cube_of(table, axes)
    finite: Numbers = np.isfinite(cube.values)
    usable: Numbers = np.any(finite, axis=(0, 2))
    kept = balance(np.all(finite[:, usable], axis=1)) if usable.any() else Balanced(np.arange(0), np.arange(0))
    first, second = (list(dict.fromkeys(row[axis] for row in table.rows)) for axis in axes)
    grid = np.full((len(first), len(second)), math.nan)
    if kept.size:
        means = cube.values[np.ix_(kept.seeds, np.flatnonzero(usable), kept.blocks)].mean(axis=(0, 2))
        used = [level for level, has in zip(cube.levels, usable.tolist(), strict=True) if has]
        rows, columns = [first.index(a) for a, _ in used], [second.index(b) for _, b in used]
        design = np.zeros((len(used), len(first) + len(second)))
        design[range(len(used)), rows] = 1
        design[range(len(used)), [len(first) + column for column in columns]] = 1
        fitted = design @ np.linalg.lstsq(design, means, rcond=None)[0]
        grid[rows, columns] = means - fitted
    return first, second, grid

"""The results of a sweep, read from its files and from nothing else: whoever wrote them is no part of the app.

Needed are `cells.csv` (a row a cell) and `curves.csv` (cell_id, step, split, metric, value); `manifest.json` says what
all cells have in common, and `effects.csv` what a level changes on average. Columns are taken by their names: others
may stand beside them. A folder serves as well as a zip of such files.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tlab.config import options
from tlab.files import DamagedFileError, check_file
from tlab.judging.few_seeds import ALPHA, Estimate, estimate, far_from_others, holm, interval_p
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_nat, has_one_token
from tlab.ui.demo.shipped_run import DEMO_SWEEP
from tlab.ui.settings.fields import config_of, field_label, field_names, format_value
from tlab.ui.settings.links import defaults
from tlab.wording import listed, several

# The columns that are needed, and whether each holds numbers.
CELL_COLUMNS = {"cell_id": False, "status": False, "seed": True, "val_loss": True}
CURVE_COLUMNS = {"cell_id": False, "step": True, "split": False, "metric": False, "value": True}
EFFECT_COLUMNS = {"axis": False, "level": False, "effect": True, "ci_low": True, "ci_high": True}
OF_TOKENS = ("corpus", "tokenizer", "start_from", "status")  # with the next, all by which losses per token compare
RATIO_COLUMNS = {"tokens_per_character", "train_bytes_per_token", "val_bytes_per_token"}
MAX_TABLE_BYTES = 200 * 2**20  # of one file; a sweep of a thousand cells has a tenth
MAX_SEED = 2**32
STATUS_OK = "ok"
OF_RUN = ("start_from", "random_weights")  # settings of a sweep that begins with a run, whose values no control has
TEXT_AXIS = "corpus"  # losses of different texts are not compared
Folder = Path | zipfile.Path


class ResultsError(ValueError):
    """A folder that holds no results that can be shown; the message says why."""


class ConfigurationRuns(NamedTuple):
    """All seeds of one combination of levels."""

    number: int  # its place in `Results.configurations`
    levels: dict[str, Any]  # axis -> value
    cells: pd.DataFrame  # a row a seed

    @property
    def losses(self) -> pd.Series:
        """Final validation loss of the seeds that went well, by seed."""
        return self.cells[self.cells.status == STATUS_OK].set_index("seed").val_loss.dropna()

    @property
    def accidents(self) -> str:
        """Such as 1 diverged; nothing where every seed went well."""
        counts = self.cells.status[self.cells.status != STATUS_OK].value_counts()
        return ", ".join(f"{count} {status}" for status, count in counts.items())

    @property
    def label(self) -> str:
        return " · ".join(level_words(axis, value) for axis, value in self.levels.items())


class Spread(NamedTuple):
    """How far apart the levels of an axis are, on average over all else."""

    axis: str
    lowest: Any  # the level with the lowest mean loss
    highest: Any
    difference: Estimate  # highest minus lowest, over seeds; of the two that turned out farthest apart, so it flatters
    cells: int  # of `all_cells`: the others lack a value, or are the same function at two levels
    all_cells: int


@dataclass(frozen=True)
class Results:
    """A sweep as the tab shows it."""

    name: str
    axes: dict[str, list[Any]]  # axis -> its levels, in the order of the table
    fixed: dict[str, Any]  # settings that all cells have in common and that are not at their defaults
    cells: pd.DataFrame
    curves: pd.DataFrame
    effects: pd.DataFrame | None
    unit: str = NATS_PER_TOKEN
    configurations: list[ConfigurationRuns] = field(default_factory=list)

    def settings(self, configuration: ConfigurationRuns) -> dict[str, Any]:
        """What the controls have to say to train this configuration, with its first seed."""
        return {**self.fixed, **configuration.levels, "seed": int(configuration.cells.seed.iloc[0])}

    @property
    def shared(self) -> dict[str, Any]:
        """Every setting that all cells have in common; where they begin with several runs, defaults say nothing."""
        return {**({} if "start_from" in self.axes else defaults()), **self.fixed}

    def comparable_losses(self) -> dict[int, float]:
        """Mean loss by number of the configuration; of several texts, how far it is above the lowest of its text."""
        means = {one.number: float(one.losses.mean()) for one in self.configurations if len(one.losses)}
        lowest: dict[Any, float] = {}
        for number in means if TEXT_AXIS in self.axes else ():
            text = self.configurations[number].levels[TEXT_AXIS]
            lowest[text] = min(lowest.get(text, math.inf), means[number])
        return {
            number: mean - lowest.get(self.configurations[number].levels.get(TEXT_AXIS), 0.0)
            for number, mean in means.items()
        }

    @cached_property
    def far_seeds(self) -> dict[int, list[int]]:
        """By number of the configuration, the seeds that ended far from the others, such as those that are stuck."""
        with_losses = [one for one in self.configurations if len(one.losses)]
        seeds = sorted({int(seed) for one in with_losses for seed in one.losses.index})
        losses = np.array([[one.losses.get(seed, math.nan) for seed in seeds] for one in with_losses], dtype=float)
        found: dict[int, list[int]] = {}
        for i, j in np.argwhere(far_from_others(losses)):
            found.setdefault(with_losses[i].number, []).append(seeds[j])
        return found

    @cached_property
    def same_functions(self) -> list[tuple[str, str]]:
        """Pairs of configurations that are one function, by their labels: one not run, and the one it stands for."""
        ran_in = {str(cell): one.label for one in self.configurations for cell in one.cells.cell_id}
        pairs = [(one.label, ran_in.get(str(one.cells.ran_as.iloc[0]))) for one in self.configurations]
        return [(label, other) for label, other in pairs if other is not None and other != label]

    @cached_property
    def spreads(self) -> list[Spread]:
        """How far apart the levels of each axis are, the largest first; of one that cannot be averaged, nothing."""
        found = filter(None, (self.spread(axis) for axis in self.axes))
        return sorted(found, key=lambda spread: -spread.difference.mean)

    def spread(self, axis: str) -> Spread | None:
        """The two levels of an axis that are farthest apart, over the combinations in which all levels differ."""
        others = [other for other in self.axes if other != axis]
        rows = self.cells.assign(loss=self.cells.val_loss.where(self.cells.status == STATUS_OK))
        blocks = rows.groupby(others, sort=False, dropna=False) if others else [((), rows)]
        seeds, levels = rows.seed.nunique(), len(self.axes[axis])
        kept = [block for _, block in blocks if block.loss.notna().sum() == block.ran_as.nunique() == seeds * levels]
        if not kept:
            return None
        means = pd.concat(kept).groupby(["seed", axis], sort=False).loss.mean().unstack()
        order = means.mean().sort_values()
        lowest, highest = order.index[0], order.index[-1]
        difference = estimate((means[highest] - means[lowest]).to_numpy())
        count = len(self.configurations)
        return Spread(axis, python_value(lowest), python_value(highest), difference, len(kept) * levels, count)

    def curve(self, configuration: ConfigurationRuns, split: str) -> pd.DataFrame:
        """Loss by step over the seeds that went well: columns mean, min and max, in order of the steps."""
        ran = configuration.cells[configuration.cells.status == STATUS_OK]
        curves = self.curves[(self.curves.split == split) & self.curves.cell_id.isin(ran.ran_as)]
        return curves.groupby("step").value.agg(["mean", "min", "max"]).sort_index()


def apart_words(effects: pd.DataFrame, num_seeds: int) -> str:
    """Which levels differ from the mean of their axis, after Holm's method for all of them; nothing for one seed.

    An axis whose levels lost runs, and not as many each, is left out: luckier runs make no level a better one.
    """
    found: list[tuple[str, Estimate]] = []
    for axis, rows in effects.dropna(subset=["effect"]).groupby("axis", sort=False):
        if "n_lost" in rows.columns and rows.n_lost.nunique() > 1:
            continue
        for row in rows.to_dict("records"):
            n = int(row.get("n_seeds", num_seeds))
            found.append(
                (level_words(str(axis), row["level"]), Estimate(row["effect"], row["ci_low"], row["ci_high"], n))
            )
    if not found or max(one.n for _, one in found) < 2:
        return ""
    judged = zip(found, holm([interval_p(one) for _, one in found]), strict=True)
    apart = [f"{level} {'lower' if one.mean < 0 else 'higher'}" for (level, one), p in judged if p <= ALPHA]
    seeds = several(max(one.n for _, one in found), "seed")
    if not apart:
        return f"{seeds} cannot tell any of these levels from the mean of its axis."
    return f"Told from the mean of its axis by {seeds}, after Holm's correction: {listed(apart)}; no other level is."


def level_words(axis: str, value: Any) -> str:
    """A level for people: "Post-LN" says enough, "0.01" does not."""
    if axis in OF_RUN:
        return f"begun with {value}" if axis == "start_from" else "random weights" if value else "trained weights"
    words = format_value(axis, value)
    is_choice = axis not in field_names() or options(config_of(axis))[axis].registry is not None
    return words if is_choice else f"{field_label(axis).lower()} {words}"


# ------------------------------------------------------------------------------------------------ reading


@functools.lru_cache(maxsize=8)
def demo_results() -> Results:
    return read_results(zipfile.Path(DEMO_SWEEP), "the shipped sweep")


def own_results(folder: str) -> Results:
    """The results in a folder of this machine; only where the app is not public.

    Raises:
        ResultsError: there are none, or they cannot be read.
    """
    path = Path(os.path.expanduser(folder.strip().strip("\"'")))
    if zipfile.is_zipfile(path):
        return read_results(root_of(zipfile.Path(path)), path.stem)
    if path.is_file():
        raise ResultsError(f"{folder!r} is a file. Give the folder of a sweep, or a zip of `python -m sweeps export`.")
    if not path.is_dir():
        raise ResultsError(f"There is no folder {folder!r}. Give the one that a sweep was given with --out.")
    return read_results(path, path.name)


def root_of(place: zipfile.Path) -> zipfile.Path:
    """Where the tables are in an export: at the top of a small one, and in a folder of any other."""
    inside = [one for one in place.iterdir() if one.is_dir()]
    return inside[0] if len(inside) == 1 and not (place / "cells.csv").exists() else place


def read_results(folder: Folder, name: str) -> Results:
    """The results in a folder.

    Raises:
        ResultsError: a file or a column is missing, or no cell is there.
    """
    cells = read_csv(folder, "cells.csv", CELL_COLUMNS)
    curves = read_csv(folder, "curves.csv", CURVE_COLUMNS)
    if cells.empty:
        raise ResultsError(f"{name}: no cell of this sweep is finished yet.")
    if not cells.seed.between(0, MAX_SEED).all() or cells.cell_id.isna().any():
        raise ResultsError("cells.csv is damaged: a row has no cell_id, or no seed.")
    settable = {*defaults(), *OF_RUN}
    columns = [column for column in cells.columns if column in settable and column != "seed"]
    axes = {column: [python_value(level) for level in cells[column].drop_duplicates()] for column in columns}
    axes = {axis: levels for axis, levels in axes.items() if len(levels) > 1}
    # An alias is the same function as another cell, which alone was trained and alone has a curve.
    alias = cells["alias_of"] if "alias_of" in cells.columns else pd.Series(index=cells.index, dtype=object)
    cells["ran_as"] = alias.where(alias.notna() & (alias != ""), cells.cell_id)
    fixed = {**fixed_settings(folder), **{c: python_value(cells[c].iloc[0]) for c in columns if c not in axes}}
    fixed = {key: value for key, value in fixed.items() if key in settable and key not in axes and key != "seed"}
    curves = pd.DataFrame(curves[(curves.metric == "loss") & curves.value.notna()])
    for column in RATIO_COLUMNS & {*cells.columns}:
        cells[column] = pd.to_numeric(cells[column], errors="coerce")
    known = pd.DataFrame(cells[[column for column in (*OF_TOKENS, *RATIO_COLUMNS) if column in cells.columns]])
    rows = [dict(zip(known.columns, row, strict=True)) for row in known.itertuples(index=False)]
    unit = NATS_PER_TOKEN
    if not has_one_token(rows):
        unit = BITS_PER_BYTE
        training, validation = (pd.Series(bits_per_nat(rows, part), cells.index, float) for part in ("train", "val"))
        if (validation.isna() & cells.val_loss.notna()).any():
            raise ResultsError(
                f"{name}: losses per token of two tokenizers cannot be compared, and cells.csv, of an earlier version, "
                "does not say how many bytes a token has."
            )
        cells["val_loss"] *= validation
        of_split = {"train": training, "validation": validation}
        factors = {split: dict(zip(cells.cell_id, of, strict=True)) for split, of in of_split.items()}
        places = zip(curves.split, curves.cell_id, strict=True)
        curves["value"] *= [factors.get(split, {}).get(cell, math.nan) for split, cell in places]
    results = Results(name, axes, fixed, cells, curves, read_effects(folder, axes), unit=unit)
    results.configurations.extend(configurations_of(cells, axes))
    return results


def read_csv(folder: Folder, name: str, needed: dict[str, bool]) -> pd.DataFrame:
    """A table of the folder with at least these columns, those that are marked in numbers."""
    path = folder / name
    if not path.is_file():
        raise ResultsError(f"{folder.name}: there is no {name}; `python -m sweeps run` writes it at its end.")
    if isinstance(path, Path) and path.stat().st_size > MAX_TABLE_BYTES:
        raise ResultsError(f"{name} has more than {MAX_TABLE_BYTES // 2**20} MB, too much for a page.")
    try:
        refuse_damaged(path)
        with path.open("r", encoding="utf-8") as file:
            # "none" and "None" are names here, and nothing but an empty field is missing.
            table = pd.read_csv(file, keep_default_na=False, na_values=["", "nan", "NaN"], low_memory=False)
    except (ValueError, OSError, OverflowError) as error:
        raise ResultsError(f"{name} cannot be read: {error}") from error
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise ResultsError(f"{name} has no column {', '.join(missing)}: it is no table of a sweep.")
    for column in (column for column, numbers in needed.items() if numbers):
        try:
            table[column] = pd.to_numeric(table[column])
        except (ValueError, TypeError, OverflowError):
            raise ResultsError(f"{name} is damaged: its column {column} holds what is no number.") from None
    return table


def refuse_damaged(path: Folder) -> None:
    """Refuse a file that is not what was written; in a zip each has a checksum of the zip's own."""
    if isinstance(path, Path):
        check_file(path)


def read_effects(folder: Folder, axes: dict[str, list[Any]]) -> pd.DataFrame | None:
    """What a level changes on average, each level as the axes have it; None where the sweep did not write it."""
    if not (folder / "effects.csv").is_file():
        return None
    effects = read_csv(folder, "effects.csv", EFFECT_COLUMNS)
    for end in ("ci_low", "ci_high"):  # with one seed there is no interval
        effects[end] = effects[end].fillna(effects.effect)
    # The levels of all axes share a column, so pandas reads them as text, in which False would count as true.
    levels = {(axis, level_key(level)): level for axis, of_axis in axes.items() for level in of_axis}
    places = zip(effects.axis, effects.level, strict=True)
    named = [levels.get((axis, level_key(level)), level) for axis, level in places]
    effects["level"] = pd.Series(named, effects.index, dtype=object)
    return effects


def level_key(level: Any) -> Any:
    """The same for a level and for what a table's text says of it: 2, 2.0 and "2", or False and "False"."""
    level = python_value(level)
    if level is None or isinstance(level, bool):
        return str(level)
    try:
        return float(level)
    except ValueError:
        return str(level)


def fixed_settings(folder: Folder) -> dict[str, Any]:
    """Fields that every grid of the manifest, or the model that all begin with, has at one and the same value."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        refuse_damaged(path)
        with path.open("r", encoding="utf-8") as file:
            manifest = json.load(file)
        given = [grid["values"] for grid in manifest["grids"]]
        texts = [text for run in manifest.get("runs", ()) for text in run.get("corpora", ())]
        for begun in filter(None, (text.get("begun_with") for text in texts)):  # its model's settings are the cells'
            given.append({name: [value] for name, value in begun["settings"].items()})
        values: dict[str, list[Any]] = {}
        for name, levels in itertools.chain.from_iterable(settings.items() for settings in given):
            values.setdefault(name, []).extend(level for level in levels if level not in values.get(name, []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "" if isinstance(error, DamagedFileError) else f"{type(error).__name__}: "
        raise ResultsError(f"manifest.json cannot be read: {what}{error}") from error
    return {name: levels[0] for name, levels in values.items() if len(levels) == 1}


def python_value(value: Any) -> Any:
    """A value of pandas as a plain Python object; a missing one as None."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def configurations_of(cells: pd.DataFrame, axes: dict[str, list[Any]]) -> Iterator[ConfigurationRuns]:
    """The rows by their levels, in the order of the table."""
    if not axes:
        yield ConfigurationRuns(0, {}, cells)
        return
    groups = cells.groupby(list(axes), sort=False, dropna=False)
    for number, (_, rows) in enumerate(groups):
        yield ConfigurationRuns(number, {axis: python_value(rows[axis].iloc[0]) for axis in axes}, rows)

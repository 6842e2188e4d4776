"""Reads a sweep's tables back from its folder: all that figures and reports know about a sweep."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.grid.fields import CONFIGS, REPLICATE, parse_value, sweepable
from sweeps.grid.grid import Grid
from sweeps.results.table import Table
from sweeps.store.folder import MANIFEST, StoreError
from sweeps.store.record import Record
from tlab.config import field_types, type_alternatives
from tlab.files import check_file

RECORD_TYPES = {column: type_alternatives(kind)[0] for column, kind in field_types(Record).items()}
RECORD_TYPES["val_bits_per_byte"] = float  # which a record works out
CELLS_TABLE = "cells.csv"
ROWS_AT_ONCE = 500_000  # of curves.csv: a large sweep's curves are never text in memory as a whole
MAX_FIELD_SIZE = 1 << 24  # characters of one field of a CSV: a traceback may be long

CurvesByCell = dict[tuple[str, str], dict[str, list[tuple[int, float]]]]
"""(split, metric) -> id of a cell that ran -> its (step, value)."""


def read_table(folder: str | os.PathLike[str]) -> Table:
    """What cells.csv holds, every value with the type of its field.

    Raises:
        StoreError: there is no such table, it was not written by this lab, or it was changed since.
    """
    path = Path(folder) / CELLS_TABLE
    check_written(path)
    columns, texts = cells_as_text(folder)
    axes = tuple(column for column in columns if column in sweepable() and column != REPLICATE)
    try:
        rows = [{column: value_of(column, text, axes) for column, text in row.items()} for row in texts]
    except ValueError as error:
        raise unreadable(path, error) from error
    missing = {"cell_id", "alias_of", "status", REPLICATE, "val_loss"}.difference(columns)
    if missing:
        raise StoreError(f"{path} is not the table of a sweep: it has no column {', '.join(sorted(missing))}")
    return Table(axes, rows)


def cells_as_text(folder: str | os.PathLike[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of cells.csv, and its rows as text.

    Raises:
        StoreError: there is no such table, or it cannot be read.
    """
    path = Path(folder) / CELLS_TABLE
    csv.field_size_limit(MAX_FIELD_SIZE)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or ()), list(reader)
    except FileNotFoundError as error:
        where = shlex.quote(str(folder))
        raise StoreError(f"{path} is missing; `python -m sweeps run ... --out {where}` writes it") from error
    except (OSError, ValueError, csv.Error) as error:
        raise unreadable(path, error) from error


def check_written(path: Path) -> None:
    """Refuse a table that is not what was written.

    Raises:
        StoreError: it is not.
    """
    try:
        check_file(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} cannot be read: {error}; run the sweep's command again, which rewrites it")


def value_of(column: str, text: str | None, axes: tuple[str, ...]) -> Any:
    if not text:
        return None
    if column in axes:
        return parse_value(column, text)
    kind = int if column == REPLICATE else RECORD_TYPES.get(column)
    return int(float(text)) if kind is int else float(text) if kind is float else text


def read_curves(folder: str | os.PathLike[str]) -> CurvesByCell:
    """What curves.csv holds; nothing where it is not there."""
    curves: CurvesByCell = {}
    for part in curve_parts(Path(folder) / "curves.csv"):
        for key, rows in part.groupby(["split", "metric", "cell_id"], sort=False):
            split, metric, cell_id = key  # pyright: ignore[reportGeneralTypeIssues]
            points = zip(rows["step"].tolist(), rows["value"].tolist(), strict=True)
            curves.setdefault((split, metric), {}).setdefault(cell_id, []).extend(points)
    return curves


def curve_parts(path: Path) -> Iterator[pd.DataFrame]:
    """The rows of curves.csv, some at a time; what is not finite is left out."""
    check_written(path)
    try:
        kinds = {"cell_id": str, "split": str, "metric": str, "step": int, "value": float}
        with pd.read_csv(path, dtype=kinds, chunksize=ROWS_AT_ONCE) as reader:  # pyright: ignore[reportArgumentType]
            for part in reader:
                yield part[np.isfinite(part["value"])]
    except FileNotFoundError:
        return
    except (ValueError, KeyError) as error:
        raise unreadable(path, error) from error


def read_manifest(folder: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The grids and runs of a sweep; {} if they cannot be read: a report is then shorter, but still written."""
    try:
        content = json.loads((Path(folder) / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def planned_cells(manifest: Mapping[str, Any]) -> int:
    """How many cells the grids of a manifest ask for, each once though several grids may ask for it."""
    grids = [Grid.from_json(content) for content in manifest.get("grids", ())]
    if len(grids) == 1:
        return len(grids[0])
    named = sorted({field for grid in grids for field in grid.values})
    defaults = {field.name: field.default for config in CONFIGS for field in dataclasses.fields(config)}
    wanted = {
        (seed, *(settings.get(field, defaults[field]) for field in named))
        for grid in grids
        for settings in grid.settings()
        for seed in grid.seeds
    }
    return len(wanted)

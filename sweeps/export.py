"""A sweep to take away: everything in one archive, or in one small file what the app's Sweeps tab opens."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.lock import LOCK
from sweeps.plan import make_plan
from sweeps.run import write_tables
from sweeps.store import CELLS, CURVES, LOG, STARTED, Store, StoreError, curve_path
from sweeps.tabulate import Table
from tlab.checkpoint import write_atomically

NOT_EXPORTED = (CELLS, CURVES, STARTED, LOCK, LOG)  # what the tables were made from, and what happened on the way
SMALL_FORMAT = "tlab sweep, small 1"
CURVE_POINTS = 40  # of a training curve, each the mean of the steps before it: more than a plot of many can show
DIGITS = 5  # significant ones of a loss; seeds differ in the third


def export(store: Store, to: Path | None = None) -> Path:
    """Tables, manifest, figures and report, in a .zip or a new folder; -> where.

    Raises:
        StoreError: there is something in that place already.
    """
    to = to or store.folder.with_name(f"{store.folder.name}.zip")
    refuse_existing(to)
    refresh(store)
    files = [path for path in sorted(store.folder.rglob("*")) if path.is_file() and is_exported(path, store.folder)]
    if to.suffix != ".zip":
        for path in files:
            place = to / path.relative_to(store.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        half = Path(folder) / to.name
        with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, Path(store.folder.name) / path.relative_to(store.folder))
        half.replace(to)
    return to


def is_exported(path: Path, folder: Path) -> bool:
    """Whether a file of the folder goes along."""
    first = path.relative_to(folder).parts[0]
    return first not in NOT_EXPORTED and not path.name.startswith(".")


def refuse_existing(to: Path) -> None:
    """Nothing that somebody has is written over."""
    if to.exists():
        raise StoreError(f"{to} exists already; choose another --to, or remove it")


def refresh(store: Store) -> Table:
    """Make the tables anew: a driver that was killed had no time to."""
    plan = make_plan(None, store)
    result = write_tables(plan, store)
    if result.problem:
        raise OSError(result.problem)
    return result.table


# ------------------------------------------------------------------------------------------------ the small form


def small_form(store: Store, to: Path | None = None) -> Path:
    """One compressed JSON file with the cells and short curves; `read_small_form` opens it. -> where.

    Of each curve it has at most `CURVE_POINTS` points: for training losses the mean since the point before, for
    validation the values themselves.

    Raises:
        StoreError: there is something in that place already.
    """
    to = to or store.folder.with_name(f"{store.folder.name}.json.gz")
    refuse_existing(to)
    table = refresh(store)
    ran = dict.fromkeys(row["alias_of"] or row["cell_id"] for row in table.rows)
    content = {
        "format": SMALL_FORMAT,
        "axes": list(table.axes),
        "manifest": {**store.manifest, "runs": store.manifest["runs"][-1:]},
        "columns": table.columns,
        "rows": [[rounded(row[column]) for column in table.columns] for row in table.rows],
        "curves": {result_id: short_curves(store, result_id) for result_id in ran},
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, gzip.compress(text.encode(), mtime=0))
    return to


def short_curves(store: Store, result_id: str) -> dict[str, list[tuple[int, float]]]:
    """The training and the validation loss of a cell, each as a few (step, value)."""
    if not curve_path(store.folder, result_id).exists():
        return {}
    return {f"{split} loss": shortened(store.curve(result_id, split, "loss")) for split in ("train", "validation")}


def shortened(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `CURVE_POINTS` points: the last step of each stretch, and the stretch's mean."""
    curve = [(step, value) for step, value in curve if math.isfinite(value)]
    stretch = max(1, math.ceil(len(curve) / CURVE_POINTS))
    parts = [curve[i : i + stretch] for i in range(0, len(curve), stretch)]
    return [(part[-1][0], rounded(sum(value for _, value in part) / len(part))) for part in parts]


def rounded(value: Any) -> Any:
    """A float with as many digits as anybody looks at."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def read_small_form(path: Path) -> tuple[Table, Mapping[str, Any], Mapping[str, Any]]:
    """What `small_form` wrote: the table, the curves by id ("train loss" -> (step, value)), and the manifest.

    Raises:
        StoreError: it is no such file.
    """
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
        if content["format"] != SMALL_FORMAT:
            raise ValueError(f"format {content['format']!r}; this version reads {SMALL_FORMAT!r}")
        rows = [dict(zip(content["columns"], row, strict=True)) for row in content["rows"]]
        return Table(tuple(content["axes"]), rows), content["curves"], content["manifest"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no small form of a sweep: {error}; make one with `export --small`") from error

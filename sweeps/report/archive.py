"""A sweep to take away: everything in one archive, or in a small one what the app's Sweeps tab opens."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from sweeps.report.page import write_report
from sweeps.results.table import Table
from sweeps.results.write import cells_text
from sweeps.run.driver import write_tables
from sweeps.run.plan import make_plan
from sweeps.store.folder import CELLS, CURVES, LOG, MANIFEST, STARTED, Store, StoreError, curve_path
from sweeps.store.lock import DRIVER, LOCK
from sweeps.store.provenance import without_folders
from sweeps.store.record import CurveRow
from tlab.files import replaced

NOT_EXPORTED = (CELLS, CURVES, STARTED, LOCK, DRIVER, LOG)  # what the tables are made from, and what happened in a run
PRIVATE = ("host", "traceback_tail")
DAY_ZERO = (1980, 1, 1, 0, 0, 0)  # the time of every file made for the archive
CURVE_POINTS = 40  # of a training curve, each the mean of the steps before it: more than a plot of many can show
DIGITS = 4  # decimals of a loss; seeds differ in the second


def export(store: Store, to: Path | None = None) -> Path:
    """Write tables, manifest, figures and report, all regenerated, to a .zip or a new folder; -> where.

    Manifest, report and tables then name files on this machine without their folders. The name of the machine and the
    tracebacks of failed cells are included; the small form leaves them out.

    Raises:
        StoreError: the target exists already, or the folder is itself an export.
    """
    to = to or store.folder.with_name(f"{store.folder.name}.zip")
    refuse_existing(to)
    refresh(store)
    write_report(store.folder)
    manifest = json.dumps(without_folders(store.manifest), indent=1)
    files = [path for path in sorted(store.folder.rglob("*")) if path.is_file() and is_exported(path, store.folder)]
    if to.suffix != ".zip":
        for path in files:
            place = to / path.relative_to(store.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        (to / MANIFEST).write_text(manifest, "utf-8")
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    with replaced(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, Path(store.folder.name) / path.relative_to(store.folder))
        about = zipfile.ZipInfo(f"{store.folder.name}/{MANIFEST}", DAY_ZERO)
        about.external_attr = 0o644 << 16
        archive.writestr(about, manifest, zipfile.ZIP_DEFLATED)
    return to


def is_exported(path: Path, folder: Path) -> bool:
    first = path.relative_to(folder).parts[0]
    return first not in NOT_EXPORTED and first != MANIFEST and not path.name.startswith(".")


def refuse_existing(to: Path) -> None:
    if to.exists():
        raise StoreError(f"{to} exists already; choose another --to, or remove it")


def refresh(store: Store) -> Table:
    """Regenerate the tables: a driver that was killed had no time to.

    Raises:
        StoreError: there are no records to make them from, and empty tables would replace them.
        GridError: the text that the cells were trained on is missing.
    """
    if not (store.folder / CELLS).is_dir():
        raise StoreError(
            f"{store.folder} has tables, but no folder {CELLS} to regenerate them from: it is an export. "
            "Copy it as it is, or export the folder that the sweep was run in"
        )
    plan = make_plan(None, store)
    result = write_tables(plan, store)
    if result.problem:
        raise OSError(result.problem)
    return result.table


# ------------------------------------------------------------------------------------------------ the small form


def small_form(store: Store, to: Path | None = None) -> Path:
    """A zip of a few kilobytes that the app's Sweeps tab opens: tables as CSV, with short curves. -> where.

    Of each curve it has at most `CURVE_POINTS` points: of training losses the mean since the point before, of
    validation the values themselves. On whose machine it ran is left out.

    Raises:
        StoreError: the target exists already, or the folder is itself an export.
    """
    to = to or store.folder.with_name(f"{store.folder.name}-small.zip")
    refuse_existing(to)
    table = refresh(store)
    ran = list(dict.fromkeys(row["alias_of"] or row["cell_id"] for row in table.rows))
    files = {name: (store.folder / name).read_text("utf-8") for name in ("summary.csv", "effects.csv")}
    files["cells.csv"] = cells_text(table, [column for column in table.columns if column not in PRIVATE])
    files["curves.csv"] = short_curves(store, ran)
    files["manifest.json"] = json.dumps({"grids": without_folders(store.manifest["grids"])}, indent=1)
    to.parent.mkdir(parents=True, exist_ok=True)
    with replaced(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in files.items():  # without the time, so that the same sweep makes the same bytes
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED, 9)
    return to


def short_curves(store: Store, ran: Iterable[str]) -> str:
    """curves.csv with the losses alone, each in a few points."""
    lines = [",".join(CurveRow._fields)]
    for result_id in ran:
        if curve_path(store.folder, result_id).exists():
            for split in ("train", "validation"):
                points = shortened(store.curve(result_id, split, "loss"))
                lines += [f"{result_id},{step},{split},loss,{value}" for step, value in points]
    return "\n".join([*lines, ""])


def shortened(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `CURVE_POINTS` points: the last step of each stretch, and the stretch's mean."""
    curve = [(step, value) for step, value in curve if math.isfinite(value)]
    stretch = max(1, math.ceil(len(curve) / CURVE_POINTS))
    parts = [curve[i : i + stretch] for i in range(0, len(curve), stretch)]
    return [(part[-1][0], round(sum(value for _, value in part) / len(part), DIGITS)) for part in parts]

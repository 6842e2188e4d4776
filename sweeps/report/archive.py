"""A sweep to take away: everything in one archive, or in a small one what the app's Sweeps tab opens."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sweeps.report.page import write_report
from sweeps.results.read import read_table
from sweeps.results.write import cells_text
from sweeps.run.driver import SweepResult, write_tables
from sweeps.run.plan import make_plan
from sweeps.store.folder import CELLS, CURVES, LOG, STARTED, Store, StoreError, curve_path, write_manifest
from sweeps.store.lock import DRIVER, LOCK
from sweeps.store.provenance import without_folders
from sweeps.store.record import CurveRow
from tlab.files import replaced

NOT_EXPORTED = (CELLS, CURVES, STARTED, LOCK, DRIVER, LOG)  # what the tables are made from, and what happened in a run
OTHER_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PRIVATE = ("host", "traceback_tail")
CURVE_POINTS = 40  # of a training curve, each the mean of the steps before it: more than a plot of many can show
DIGITS = 4  # decimals of a loss; seeds differ in the second


def export(store: Store, to: Path | None = None) -> tuple[Path, SweepResult]:
    """Write tables, manifest, figures and report, all regenerated, to a .zip or a new folder; -> where, and of what.

    Manifest, report and tables then name files on this machine without their folders. The name of the machine and the
    tracebacks of failed cells are included; the small form leaves them out.

    Raises:
        StoreError: the target exists already, or the folder is itself an export.
    """
    to = to or store.folder.with_name(f"{store.folder.name}.zip")
    check_target(to)
    with TemporaryDirectory() as place:  # the sweep's own folder may be one that can only be read
        made = Path(place)
        result = refresh(store, made)
        write_manifest(made, without_folders(store.manifest))
        write_report(made)
        files = {**exported_files(store.folder), **exported_files(made)}
        if to.suffix != ".zip":
            for name, path in files.items():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to / name)
            return to, result
        to.parent.mkdir(parents=True, exist_ok=True)
        inside = Path(store.folder.name.encode("utf-8", "replace").decode())  # a zip's names are UTF-8, a folder's any
        with replaced(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in sorted(files.items()):
                archive.write(path, inside / name)
    return to, result


def exported_files(folder: Path) -> dict[Path, Path]:
    """What is exported of a folder: its name there -> the file."""
    paths = [path for path in folder.rglob("*") if path.is_file() and is_exported(path, folder)]
    return {path.relative_to(folder): path for path in paths}


def is_exported(path: Path, folder: Path) -> bool:
    first = path.relative_to(folder).parts[0]
    return first not in NOT_EXPORTED and not path.name.startswith(".")


def check_target(to: Path) -> None:
    if to.suffix in OTHER_ARCHIVES:
        raise StoreError(f"{to}: such an archive is not written here; name a file that ends in .zip, or a new folder")
    if to.exists():
        raise StoreError(f"{to} exists already; choose another --to, or remove it")


def refresh(store: Store, folder: Path | None = None) -> SweepResult:
    """Regenerate the tables: a driver that was killed had no time to. `folder`: where they go, if not where they are.

    Raises:
        StoreError: there are no records to make them from, or they cannot be written.
    """
    if not (store.folder / CELLS).is_dir():
        raise StoreError(
            f"{store.folder} has tables, but no folder {CELLS} to regenerate them from: it is an export. "
            "Copy it as it is, or export the folder that the sweep was run in"
        )
    plan = make_plan(None, store)
    result = write_tables(plan, store, folder=folder)
    if result.problem:
        raise StoreError(
            f"{result.problem}. Write them elsewhere with "
            f"python -m sweeps export {shlex.quote(str(store.folder))} --to FILE.zip"
        )
    return result


# ------------------------------------------------------------------------------------------------ the small form


def small_form(store: Store, to: Path | None = None) -> tuple[Path, SweepResult]:
    """A zip of a few kilobytes that the app's Sweeps tab opens: tables as CSV, with short curves. -> where, of what.

    Of each curve it has at most `CURVE_POINTS` points: of training losses the mean since the point before, of
    validation the values themselves. On whose machine it ran is left out.

    Raises:
        StoreError: the target exists already, or the folder is itself an export.
    """
    to = to or store.folder.with_name(f"{store.folder.name}-small.zip")
    check_target(to)
    with TemporaryDirectory() as place:
        result, table = refresh(store, Path(place)), read_table(place)
        files = {name: (Path(place) / name).read_text("utf-8") for name in ("summary.csv", "effects.csv")}
    ran = list(dict.fromkeys(row["alias_of"] or row["cell_id"] for row in table.rows))
    files["cells.csv"] = cells_text(table, [column for column in table.columns if column not in PRIVATE])
    files["curves.csv"] = short_curves(store, ran)
    files["manifest.json"] = json.dumps(small_manifest(store.manifest), indent=1)
    to.parent.mkdir(parents=True, exist_ok=True)
    with replaced(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in files.items():  # without the time, so that the same sweep makes the same bytes
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED, 9)
    return to, result


def small_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a sweep's manifest its grids, and which models its cells have where they are those of runs."""
    texts = [text for run in manifest.get("runs", ()) for text in run.get("corpora", ())]
    models = [{"begun_with": text["begun_with"]} for text in texts if "begun_with" in text]
    return without_folders({"grids": manifest["grids"], **({"runs": [{"corpora": models}]} if models else {})})


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

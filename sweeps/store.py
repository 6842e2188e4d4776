"""The folder of a sweep: a file for each finished cell, which is the truth, and the tables made from them.

    manifest.json      the grids, and each run's command, versions and machine
    lock               held by the driver that writes here; its pid and host
    log.txt            what the drivers said, with the time
    cells/<id>.json    a finished cell's record; that it is there means that the cell is done
    curves/<id>.csv    its learning curve
    started/<id>.json  a cell in flight: how often it was begun and has not come back

Three tables, each as .csv and as .parquet, made anew from the records at the end of every run:

    cells      a row a cell, aliases included
      cell_id         16 hex digits: the hash of everything that decides the numbers
      alias_of        the cell_id whose numbers these are, where the cell was not run; else empty
      status          ok, diverged, failed, killed or timeout
      <field> ...     every axis, and every other config field that is not the same in all rows
      seed            the replicate; runs of one seed share their batches and all weights that they can
      n_params        number of weights
      steps_done      updates made
      val_loss        nats a token on the whole validation split after the last step; empty where there is none
      best_val_loss   the lowest of all looks at the validation split
      train_loss      mean of the last tenth of the steps
      error_type, error_message, traceback_tail   of whatever is not ok
      source          hash of the core's code that made the numbers
      tokens_per_second, wall_seconds, cpu_seconds, peak_memory_mib, attempts, host
                      how it went this time: the only columns in which two runs of the same cell may differ
    curves     long form, a row a number
      cell_id         never an alias
      step            1 for the first update
      split           train (before the update, on its batch) or validation (after it, on the whole split)
      metric          loss or gradient_norm (over all weights, before clipping)
      value
    summary    a row a configuration (all seeds of it), best mean first; aliases share one row
      <field> ...     the axes, as in cells
      also            other names of the same function: "residual=post; residual=sandwich"; else empty
      n_seeds, n_ok, n_diverged, n_failed         n_failed counts failed, killed and timeout
      mean, sd        of val_loss over the seeds that are ok; sd with n - 1, empty for one seed
      ci_low, ci_high 95 % interval of the mean; empty for one seed
      rank            1 for the lowest mean; empty where no seed is ok

manifest.json: format, schema, grids (a list of {"values": {field: [...]}, "seeds": [...]}), and runs (a list, the
last one last, of began, command, grid, versions, blas, processor, git, source, corpora ...).

Every file is written whole or not at all, so a sweep may be ended at any moment; the same command goes on with it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeps.cell import CurvePoint, Record
from sweeps.grid import DTYPE, REPLICATE, SCHEMA, Cell, Grid, sweepable
from tlab.checkpoint import write_atomically
from tlab.run_folder import environment
from tlab.text.corpora import Corpus

MANIFEST, CELLS, CURVES = "manifest.json", "cells", "curves"
FORMAT = "tlab sweep 1"
OUTCOME_COLUMNS = (
    "n_params",
    "steps_done",
    "val_loss",
    "best_val_loss",
    "train_loss",
    "tokens_per_second",
    "wall_seconds",
    "error_type",
    "error_message",
)
"""Fields of a `Record` that are columns of cells.csv."""


def record_path(folder: Path, result_id: str) -> Path:
    """Where a cell's record is, once it is done."""
    return folder / CELLS / f"{result_id}.json"


def curve_path(folder: Path, result_id: str) -> Path:
    """Where its learning curve is."""
    return folder / CURVES / f"{result_id}.csv"


def add_record(folder: Path, record: Record) -> None:
    """Keep a record: what a worker does, with no more of the store than its place.

    The curve goes first: that the record's file is there says that all is there.
    """
    write_atomically(curve_path(folder, record.cell_id), record.curve_as_csv())
    write_atomically(record_path(folder, record.cell_id), record.to_json())


class StoreError(ValueError):
    """A folder that cannot hold this sweep; the message says why and what to do."""


class Store:
    """The results in one folder.

    Raises:
        StoreError: the folder cannot be made or written, or holds something that is no sweep.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file; choose a folder")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / MANIFEST).exists():
            raise StoreError(
                f"{self.folder} holds files and no {MANIFEST}, so it is no sweep's folder; choose a new one"
            )
        self.manifest = self.read_manifest()

    def read_manifest(self) -> dict[str, Any]:
        """What the manifest says; of a new folder, an empty one."""
        path = self.folder / MANIFEST
        if not path.exists():
            return {"format": FORMAT, "schema": SCHEMA, "grids": [], "runs": []}
        try:
            content = json.loads(path.read_bytes())
            found = content["format"]
            [Grid.from_json(grid) for grid in content["grids"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged or no sweep's: {error}. The results beside it are not touched; "
                f"put an intact {MANIFEST} there, or choose another folder"
            ) from error
        if found != FORMAT:
            raise StoreError(f"{path} has format {found!r}; this version reads {FORMAT!r}: choose another folder")
        return content

    @property
    def grids(self) -> list[Grid]:
        """Every grid that was ever run into this folder, each once."""
        return [Grid.from_json(content) for content in self.manifest["grids"]]

    def begin(self, grid: Grid, command: Sequence[str], corpora: Iterable[Corpus]) -> None:
        """Make the folder and note in the manifest that this grid is run now, by what and where.

        Raises:
            StoreError: the folder cannot be written.
        """
        content = grid.to_json()
        if content not in self.manifest["grids"]:
            self.manifest["grids"].append(content)
        self.manifest["runs"].append(
            {
                "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": list(command),
                "grid": content,
                **provenance(),
                "corpora": [about_corpus(corpus) for corpus in corpora],
            }
        )
        try:
            for name in (CELLS, CURVES):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self.write(MANIFEST, json.dumps(self.manifest, indent=1).encode())
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}; choose another folder") from error

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the folder, whole or not at all."""
        path = self.folder / name
        write_atomically(path, content)
        return path

    # ------------------------------------------------------------------------------------------------ cells

    def records(self, result_ids: Iterable[str]) -> dict[str, Record]:
        """The records of those cells that are done. A damaged file is no record: its cell will run again."""
        found = {}
        for result_id in dict.fromkeys(result_ids):
            try:
                curve_bytes = curve_path(self.folder, result_id).stat().st_size
                record = Record.from_json(record_path(self.folder, result_id).read_bytes(), curve_bytes)
            except (FileNotFoundError, ValueError):
                continue
            if record.cell_id == result_id and record.schema == SCHEMA:
                found[result_id] = record
        return found

    # ------------------------------------------------------------------------------------------------ tables

    def write_tables(self, table: Table) -> None:
        """Make cells.csv and curves.csv anew."""
        text = io.StringIO()
        writer = csv.DictWriter(text, table.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
        self.write("cells.csv", text.getvalue().encode())
        self.write_curves(dict.fromkeys(row["alias_of"] or row["cell_id"] for row in table.rows))

    def write_curves(self, result_ids: Iterable[str]) -> None:
        """Put the curves one behind the other, without holding them all in memory."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".curves.csv.", delete=False) as file:
            try:
                file.write(",".join(CurvePoint._fields).encode() + b"\n")
                for result_id in result_ids:
                    with open(curve_path(self.folder, result_id), "rb") as curve:
                        shutil.copyfileobj(curve, file)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
            except BaseException:
                os.unlink(file.name)
                raise
        os.replace(file.name, self.folder / "curves.csv")

    def curve(self, result_id: str, split: str, metric: str) -> list[tuple[int, float]]:
        """One curve of a cell as (step, value)."""
        with open(curve_path(self.folder, result_id), newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, CurvePoint._fields)
            wanted = [row for row in rows if (row["split"], row["metric"]) == (split, metric)]
        return [(int(row["step"]), float(row["value"])) for row in wanted]


@dataclass(frozen=True)
class Table:
    """The cells that are done, a row each: what cells.csv holds and the figures are drawn from."""

    axes: tuple[str, ...]
    """The config fields in which rows differ, besides the seed."""
    rows: list[dict[str, Any]]

    @property
    def columns(self) -> list[str]:
        """The columns in order."""
        return ["cell_id", "alias_of", "status", *self.axes, REPLICATE, *OUTCOME_COLUMNS]


def table_of(cells: Sequence[Cell], records: Mapping[str, Record], grids: Iterable[Grid]) -> Table:
    """A row for each cell that has a record; an alias has the numbers of the cell that it stands for."""
    axes = differing_fields(cells, [axis for grid in grids for axis in grid.axes])
    rows = []
    for cell in cells:
        record = records.get(cell.result_id)
        if record is not None:
            rows.append(
                {
                    "cell_id": cell.cell_id,
                    "alias_of": cell.alias_of,
                    "status": record.status,
                    **{axis: cell.value(axis) for axis in axes},
                    REPLICATE: cell.seed,
                    **{column: getattr(record, column) for column in OUTCOME_COLUMNS},
                }
            )
    return Table(axes, rows)


def differing_fields(cells: Sequence[Cell], axes: Iterable[str]) -> tuple[str, ...]:
    """The axes, and every other field that is not the same in all cells: two grids may fix it at two values."""
    found = dict.fromkeys(axes)
    if cells:
        first = cells[0].settings()
        for field in sweepable():
            if field != REPLICATE and any(cell.value(field) != first[field] for cell in cells):
                found.setdefault(field)
    return tuple(found)


# ------------------------------------------------------------------------------------------------ provenance


def provenance() -> dict[str, Any]:
    """What made the numbers: versions, BLAS, machine, and the commit, where there is one."""
    return {
        **environment(threads=1),
        "joblib": version("joblib"),
        "dtype": DTYPE,
        "processor": processor(),
        "cpu_count": os.cpu_count(),
        "git": git_state(),
    }


def processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def git_state() -> dict[str, Any] | None:
    """The commit of the lab's source and whether files differ from it; None outside of a repository."""
    here = Path(__file__).resolve().parent.parent

    def ask(*words: str) -> str:
        asked = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True)
        return asked.stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != here:
            return None  # the lab is installed somewhere inside of another project's repository
        return {"sha": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def about_corpus(corpus: Corpus) -> dict[str, Any]:
    """The corpus's own record, with the vocabulary's size in place of the vocabulary."""
    about = corpus.describe()
    return {**about, "tokenizer": corpus.tokenizer.to_json()["tokenizer"], "vocab_size": corpus.tokenizer.vocab_size}

"""The folder of a sweep: a file for each finished cell, which is the truth, and the tables made from them.

    manifest.json      the grids, and each run's command, versions and machine
    lock               held by the driver that writes here
    driver.json        its pid and host, while it runs
    log.txt            what the drivers said, with the time
    cells/<id>.json    a finished cell's record; that it is there means that the cell is done
    curves/<id>.csv    its learning curve
    started/<id>.json  a cell in flight: how often it was started without coming back

docs/sweeps.md describes the tables that are made from them at the end of every run.

Every file is written whole or not at all, so a sweep may be ended at any moment; the same command goes on with it.
What is resumed are cells, not steps: one with a record is done, and all others are trained from their first step. Only
a cell that was in flight too often when its process died is given up (`Execution.attempts`) and recorded as killed.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sweeps.grid.begin import BeginConfig, KnownText
from sweeps.grid.cell_id import SCHEMA
from sweeps.grid.grid import Grid, texts_of
from sweeps.store.lock import DRIVER, LOCK
from sweeps.store.provenance import about_text, known_in, provenance, text_in
from sweeps.store.record import CurveRow, Record
from tlab.files import SUMS_NAME, check_file, remove_half_written, with_checksums, write_atomically
from tlab.text.corpora import Corpus

MANIFEST, LOG, CELLS, CURVES, STARTED = "manifest.json", "log.txt", "cells", "curves", "started"
MANIFEST_FORMAT = "tlab sweep 2"
OWN_FILES = ("*.json", "*.csv", "*.parquet", "*.html", SUMS_NAME)
"""Whose half-written copies are the sweep's own; other hidden files belong to the user."""


def record_path(folder: Path, result_id: str) -> Path:
    return folder / CELLS / f"{result_id}.json"


def curve_path(folder: Path, result_id: str) -> Path:
    return folder / CURVES / f"{result_id}.csv"


def mark_path(folder: Path, result_id: str) -> Path:
    return folder / STARTED / f"{result_id}.json"


def add_record(folder: Path, record: Record) -> None:
    """Keep a record: what a worker does, with no more of the store than its place.

    The curve goes first: that the record's file is there says that all is there. The mark goes last.
    """
    write_atomically(curve_path(folder, record.cell_id), record.curve_as_csv())
    write_atomically(record_path(folder, record.cell_id), record.to_json())
    remove_mark(folder, record.cell_id)


def read_record(folder: Path, result_id: str) -> Record | None:
    """The record of a cell that is done. A damaged file counts as missing: its cell will run again."""
    try:
        curve = curve_path(folder, result_id).read_bytes()
        record = Record.from_json(record_path(folder, result_id).read_bytes(), curve)
    except (FileNotFoundError, ValueError):
        return None
    return record if record.cell_id == result_id and record.schema == SCHEMA else None


def mark_started(folder: Path, result_id: str, attempts: int) -> None:
    """Record that attempt number `attempts` of a cell has started. Not synced: losing it in a power cut is harmless."""
    mark_path(folder, result_id).write_text(json.dumps({"attempts": attempts}))


def remove_mark(folder: Path, result_id: str) -> None:
    """Record that a cell is no longer in flight, or that it is not to blame for not coming back."""
    with contextlib.suppress(OSError):
        mark_path(folder, result_id).unlink()


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    with with_checksums(folder, [MANIFEST]):
        write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


class StoreError(ValueError):
    """A folder that cannot hold this sweep; the message says why and what to do."""


class Store:
    """The results in one folder.

    Args:
        folder: where they are, or go.
        must_exist: a folder that holds no sweep yet is an error.

    Raises:
        StoreError: the folder cannot be read, or holds something other than a sweep.
    """

    def __init__(self, folder: str | os.PathLike[str], *, must_exist: bool = False) -> None:
        self.folder = Path(folder)
        try:
            self.refuse_what_is_no_sweep(must_exist)
        except OSError as error:  # a name that is too long, or no right to look into it
            raise StoreError(f"{self.folder} cannot be read: {error.strerror}; choose another folder") from error
        self.manifest = self.read_manifest()

    def refuse_what_is_no_sweep(self, must_exist: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file; choose a folder")
        if must_exist and not (self.folder / MANIFEST).exists():
            raise StoreError(f"{self.folder} holds no sweep: it has no {MANIFEST}; give the folder that --out named")
        if self.folder.is_dir() and not (self.folder / MANIFEST).exists():
            # A driver that is killed before it has written a manifest leaves these.
            own, half_written = {LOCK, DRIVER, LOG, CELLS, CURVES, STARTED}, (f".{MANIFEST}.", f".{DRIVER}.")
            if any(p.name not in own and not p.name.startswith(half_written) for p in self.folder.iterdir()):
                raise StoreError(
                    f"{self.folder} holds files but no {MANIFEST}, so it is not the folder of a sweep; choose a new one"
                )

    def read_manifest(self) -> dict[str, Any]:
        """What the manifest says; of a new folder, an empty one."""
        path = self.folder / MANIFEST
        if not path.exists():
            return {"format": MANIFEST_FORMAT, "schema": SCHEMA, "grids": [], "runs": []}
        try:
            check_file(path)
            content = json.loads(path.read_bytes())
            found = content["format"]
            [Grid.from_json(grid) for grid in content["grids"]]
            [run["began"] for run in content["runs"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged or does not belong to a sweep: {error}. The results beside it are not touched: "
                f"put an intact {MANIFEST} there; or move {CELLS} and {CURVES} into a new folder, and name that one "
                "with --out in the command that began the sweep, which finds them"
            ) from error
        if found != MANIFEST_FORMAT:
            raise StoreError(
                f"{path} has format {found!r}; this version reads {MANIFEST_FORMAT!r}: choose another folder"
            )
        return content

    @property
    def grids(self) -> list[Grid]:
        return [Grid.from_json(content) for content in self.manifest["grids"]]

    def texts(self) -> dict[BeginConfig, KnownText]:
        """The texts of the grids as they were when they were last read: what the runs noted about them."""
        listed, found = texts_of(self.grids), {}
        for run in self.manifest["runs"]:
            # Runs of 0.1 noted the texts of all grids there were, in this order, without the grids' names for them.
            for text, about in itertools.zip_longest(listed, run.get("corpora", ())):
                if about is not None and "vocab_size" in about:
                    text = text_in(about) if "corpus" in about else text
                    found[text] = known_in(about)
        return {text: found[text] for text in listed if text in found}

    # ------------------------------------------------------------------------------------------------ a run

    def make_folder(self) -> None:
        """Make the folder, so that it can be locked.

        Raises:
            StoreError: it cannot be made or written.
        """
        try:
            for name in (CELLS, CURVES, STARTED):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}; choose another folder") from error

    def begin(
        self, grids: Iterable[Grid], command: Sequence[str], corpora: Mapping[BeginConfig, Corpus], **about: Any
    ) -> dict[str, Any] | None:
        """Note in the manifest that these grids are run now, by what and where; -> what it says of the last run.

        Call it with the lock in hand. What a killed driver left half-written is removed.

        Raises:
            StoreError: the folder cannot be written.
        """
        before = self.manifest["runs"][-1] if self.manifest["runs"] else None
        contents = [grid.to_json() for grid in grids]
        self.manifest["grids"] += [content for content in contents if content not in self.manifest["grids"]]
        self.manifest["runs"].append(
            {
                "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": list(command),
                "grid": contents[-1] if contents else None,
                **about,
                **provenance(),
                "corpora": [about_text(text, corpus) for text, corpus in corpora.items()],
            }
        )
        try:
            for place in (self.folder, self.folder / CELLS, self.folder / CURVES):
                remove_half_written(place, *OWN_FILES)
            write_manifest(self.folder, self.manifest)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}; choose another folder") from error
        return before

    # ------------------------------------------------------------------------------------------------ cells

    def records(self, result_ids: Iterable[str]) -> dict[str, Record]:
        """The records of those cells that are done, without their settings, which the cells have."""
        found = {}
        present = self.result_ids()
        for result_id in dict.fromkeys(result_ids):
            record = read_record(self.folder, result_id) if result_id in present else None
            if record is not None:
                found[result_id] = dataclasses.replace(record, settings={})
        return found

    def result_ids(self) -> set[str]:
        """The ids of all results on the disk, readable or not."""
        return names_in(self.folder / CELLS)

    def started(self) -> dict[str, int]:
        """The cells that were started and have not come back -> how often they were started."""
        found = {}
        for result_id in names_in(self.folder / STARTED):
            try:
                found[result_id] = int(json.loads(mark_path(self.folder, result_id).read_bytes())["attempts"])
            except (OSError, ValueError, KeyError, TypeError):  # cut short, but it was started
                found[result_id] = 1
        return found

    def curve(self, result_id: str, split: str, metric: str) -> list[tuple[int, float]]:
        with open(curve_path(self.folder, result_id), newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, CurveRow._fields)
            wanted = [row for row in rows if (row["split"], row["metric"]) == (split, metric)]
        return [(int(row["step"]), float(row["value"])) for row in wanted]


def names_in(folder: Path) -> set[str]:
    """The ids that the files of a folder are named after."""
    try:
        return {name[: -len(".json")] for name in os.listdir(folder) if name.endswith(".json") and name[0] != "."}
    except OSError:
        return set()

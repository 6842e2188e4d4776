"""The tables of a sweep, made from its records, as CSV and as Parquet. `sweeps.store.folder` tells their columns."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sweeps.grid.cell_id import Cell
from sweeps.grid.fields import REPLICATE, sweepable
from sweeps.grid.grid import Grid
from sweeps.run.train_cell import CurvePoint, Record
from sweeps.store.provenance import without_folders
from tlab.training.checkpoint import write_atomically

CIRCUMSTANCES = ("tokens_per_second", "wall_seconds", "cpu_seconds", "peak_memory_mib", "attempts", "host")
"""Fields of a `Record` that tell how it went this time; in all others two runs of a cell are the same."""

OUTCOME_COLUMNS = (
    "n_params",
    "steps_done",
    "val_loss",
    "best_val_loss",
    "train_loss",
    "error_type",
    "error_message",
    "traceback_tail",
    "source",
    *CIRCUMSTANCES,
)
"""Fields of a `Record` that are columns of the table of cells."""

CURVE_ROWS_AT_ONCE = 1 << 20  # bytes of CSV that are held while Parquet is written


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
    names = names_of_texts(cell.text.corpus for cell in cells)
    rows = []
    for cell in cells:
        record = records.get(cell.result_id)
        if record is not None:
            rows.append(
                {
                    "cell_id": cell.cell_id,
                    "alias_of": cell.alias_of,
                    "status": record.status,
                    **{axis: names.get(cell.value(axis)) if axis == "corpus" else cell.value(axis) for axis in axes},
                    REPLICATE: cell.seed,
                    **{column: getattr(record, column) for column in OUTCOME_COLUMNS},
                }
            )
    return Table(axes, rows)


def names_of_texts(corpora: Iterable[str]) -> dict[str, str]:
    """What the tables call each corpus: a file by its name alone, as long as that tells all of them apart."""
    names = {corpus: without_folders(corpus) for corpus in dict.fromkeys(corpora)}
    return names if len(set(names.values())) == len(names) else {corpus: corpus for corpus in names}


def differing_fields(cells: Sequence[Cell], axes: Iterable[str]) -> tuple[str, ...]:
    """The axes, and every other field that is not the same in all cells: two grids may fix it at two values."""
    found = dict.fromkeys(axes)
    if cells:
        first = cells[0].settings()
        rest = [field for field in sweepable() if field != REPLICATE and field not in found]
        distinct = {id(config): config for cell in cells for config in (cell.text, cell.model, cell.train)}
        for field in rest:
            if any(getattr(config, field, first[field]) != first[field] for config in distinct.values()):
                found.setdefault(field)
    return tuple(found)


# ------------------------------------------------------------------------------------------------ files


def write_cells(folder: Path, table: Table) -> None:
    """Make cells.csv and cells.parquet anew."""
    import pandas

    write_atomically(folder / "cells.csv", cells_text(table, table.columns).encode())
    with replaced(folder / "cells.parquet") as file:
        pandas.DataFrame(table.rows, columns=table.columns).to_parquet(file, index=False)


def cells_text(table: Table, columns: Sequence[str]) -> str:
    """The cells as CSV, with these columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table.rows)
    return text.getvalue()


def write_curves(folder: Path, curves: Iterable[Path]) -> None:
    """Put the curves one behind the other, as CSV and as Parquet, without ever holding them all in memory."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    with replaced(folder / "curves.csv") as file:
        file.write(",".join(CurvePoint._fields).encode() + b"\n")
        for path in curves:
            with open(path, "rb") as curve:
                shutil.copyfileobj(curve, file)
    types = [pyarrow.string(), pyarrow.int64(), pyarrow.string(), pyarrow.string(), pyarrow.float64()]
    columns = dict(zip(CurvePoint._fields, types, strict=True))
    schema = pyarrow.schema(list(columns.items()))
    reading = pyarrow.csv.ReadOptions(block_size=CURVE_ROWS_AT_ONCE, use_threads=False)
    with replaced(folder / "curves.parquet") as file, pyarrow.parquet.ParquetWriter(file, schema) as parquet:
        if os.path.getsize(folder / "curves.csv") > len(",".join(CurvePoint._fields)) + 1:
            kinds = pyarrow.csv.ConvertOptions(column_types=columns)
            with pyarrow.csv.open_csv(folder / "curves.csv", read_options=reading, convert_options=kinds) as batches:
                for batch in batches:
                    parquet.write_batch(batch)


def write_summary(folder: Path, table: Table) -> None:
    """Make summary.csv and summary.parquet anew."""
    from sweeps.results.summary import summaries, summary_frame  # it needs the table above

    frame = summary_frame(table, summaries(table)) if table.rows else summary_frame(table, [])
    write_atomically(folder / "summary.csv", frame.to_csv(index=False).encode())
    with replaced(folder / "summary.parquet") as file:
        frame.to_parquet(file, index=False)


def write_effects(folder: Path, table: Table) -> None:
    """Make effects.csv anew. Its levels are of several types, which a column of Parquet cannot be."""
    from sweeps.results.effects import effects_frame  # it needs the table above

    write_atomically(folder / "effects.csv", effects_frame(table).to_csv(index=False).encode())


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole and on the disk; an error leaves it alone."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are private, results are not
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)


def curve_points_in(path: Path, split: str, metric: str) -> list[tuple[int, float]]:
    """One curve out of a cell's file, as (step, value)."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, CurvePoint._fields)
        wanted = [row for row in rows if (row["split"], row["metric"]) == (split, metric)]
    return [(int(row["step"]), float(row["value"])) for row in wanted]

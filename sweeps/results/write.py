"""The tables of a sweep, made from its records, as CSV and as Parquet. docs/sweeps.md lists their columns."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sweeps.results.effects import effects_frame
from sweeps.results.summary import summaries, summary_frame
from sweeps.results.table import Table, in_one_unit
from sweeps.results.tuned import rates_frame
from sweeps.store.record import CurveRow
from tlab.files import replaced, write_atomically

CURVE_ROWS_AT_ONCE = 1 << 16  # bytes of CSV in one block; some blocks are read ahead while Parquet is written
BLOCKS_OF_GROUP = 16  # that are one group of rows in Parquet: a reader takes a group as a whole
TABLES = ("cells", "summary", "effects", "rates", "curves")
TABLE_NAMES = [f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")]


def table_files(folder: Path) -> list[Path]:
    """The tables that are in a folder."""
    return [folder / name for name in TABLE_NAMES if (folder / name).exists()]


def write_cells(folder: Path, table: Table) -> None:
    write_atomically(folder / "cells.csv", cells_text(table, table.columns).encode())
    with replaced(folder / "cells.parquet") as file:
        pd.DataFrame(table.rows, columns=table.columns).to_parquet(file, index=False)


def cells_text(table: Table, columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table.rows)
    return text.getvalue()


def write_curves(folder: Path, curves: Iterable[Path]) -> None:
    """Concatenate the curves, as CSV and as Parquet, without ever holding them all in memory."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    with replaced(folder / "curves.csv") as file:
        file.write(",".join(CurveRow._fields).encode() + b"\n")
        for path in curves:
            with open(path, "rb") as curve:
                shutil.copyfileobj(curve, file)
    types = [pyarrow.string(), pyarrow.int64(), pyarrow.string(), pyarrow.string(), pyarrow.float64()]
    columns = dict(zip(CurveRow._fields, types, strict=True))
    schema = pyarrow.schema(list(columns.items()))
    reading = pyarrow.csv.ReadOptions(block_size=CURVE_ROWS_AT_ONCE, use_threads=False, column_names=schema.names)
    kinds = pyarrow.csv.ConvertOptions(column_types=columns)
    # Opened here, as pyarrow opens no file in a folder whose name is not UTF-8.
    with (
        open(folder / "curves.csv", "rb") as content,
        replaced(folder / "curves.parquet") as file,
        pyarrow.parquet.ParquetWriter(file, schema) as parquet,
    ):
        content.readline()  # the names
        # Group by group, as a reader of the whole file would run ahead of the writer on a busy machine.
        while piece := content.read(CURVE_ROWS_AT_ONCE * BLOCKS_OF_GROUP):
            rows = pyarrow.BufferReader(piece + content.readline())
            parquet.write_table(pyarrow.csv.read_csv(rows, reading, convert_options=kinds))


def write_summary(folder: Path, table: Table) -> None:
    table = in_one_unit(table)
    frame = summary_frame(table, summaries(table))
    write_atomically(folder / "summary.csv", frame.to_csv(index=False).encode())
    with replaced(folder / "summary.parquet") as file:
        frame.to_parquet(file, index=False)


def write_effects(folder: Path, table: Table) -> None:
    """Rewrite effects.csv. Its levels have several types, which a column of Parquet cannot have."""
    write_atomically(folder / "effects.csv", effects_frame(in_one_unit(table)).to_csv(index=False).encode())


def write_rates(folder: Path, table: Table) -> None:
    """Write the learning rate that suits each configuration, where the rate is an axis."""
    frame = rates_frame(in_one_unit(table))
    if frame.empty:
        return
    write_atomically(folder / "rates.csv", frame.to_csv(index=False).encode())
    with replaced(folder / "rates.parquet") as file:
        frame.to_parquet(file, index=False)

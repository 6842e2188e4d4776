"""The tables of a sweep as CSV and as Parquet: the same rows in both."""

import subprocess
import sys

import pandas as pd
import pyarrow.parquet
import pytest

from sweeps.results.effects import effects_frame
from sweeps.results.summary import summaries, summary_frame
from sweeps.results.table import OUTCOME_COLUMNS, Table
from sweeps.results.write import (
    TABLE_NAMES,
    cells_text,
    table_files,
    write_cells,
    write_curves,
    write_effects,
    write_summary,
)


@pytest.fixture
def table():
    """Two norms with two seeds each."""
    rows = [
        {"cell_id": f"{norm}-{seed}", "alias_of": None, "status": "ok", "norm": norm, "seed": seed,
         **dict.fromkeys(OUTCOME_COLUMNS), "val_loss": loss + seed / 10, "steps_done": 5}
        for norm, loss in (("layernorm", 2.0), ("none", 3.0)) for seed in (0, 1)
    ]  # fmt: skip
    return Table(("norm",), rows)


def test_cells_are_the_same_rows_in_both_formats(table, tmp_path):
    write_cells(tmp_path, table)
    csv, parquet = pd.read_csv(tmp_path / "cells.csv"), pd.read_parquet(tmp_path / "cells.parquet")
    for frame in (csv, parquet):
        assert list(frame.columns) == table.columns
        assert frame["cell_id"].tolist() == [row["cell_id"] for row in table.rows]
        assert frame["val_loss"].tolist() == [2.0, 2.1, 3.0, 3.1]


def test_the_text_of_cells_has_the_columns_that_were_asked_for(table):
    assert (
        cells_text(table, ["norm", "val_loss"]) == "norm,val_loss\nlayernorm,2.0\nlayernorm,2.1\nnone,3.0\nnone,3.1\n"
    )


def test_curves_are_joined_in_order_and_the_same_in_both_formats(tmp_path):
    parts = ["a,1,train,loss,3.5\na,2,train,loss,3.25\n", "b,1,validation,loss,3.125\n"]
    paths = [tmp_path / f"{i}.csv" for i in range(2)]
    for path, text in zip(paths, parts, strict=True):
        path.write_text(text)
    write_curves(tmp_path, paths)
    assert (tmp_path / "curves.csv").read_text() == "cell_id,step,split,metric,value\n" + "".join(parts)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "curves.parquet"), pd.read_csv(tmp_path / "curves.csv"))


PEAK = """
import pathlib, sys
from sweeps.results.write import write_curves
from tlab.machine import peak_memory_mib
write_curves(pathlib.Path(sys.argv[1]), [pathlib.Path(sys.argv[2])] * int(sys.argv[3]))
print(peak_memory_mib())
"""


def test_the_curves_of_a_large_sweep_are_whole_and_take_no_more_memory_than_those_of_a_small_one(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("".join(f"a0123456789abcdef,{i},validation,loss,{i / 7}\n" for i in range(20_000)))  # 1 MB
    peaks = {}
    for times in (3, 40):
        asked = [sys.executable, "-c", PEAK, tmp_path, path, str(times)]
        peaks[times] = float(subprocess.run(asked, check=True, capture_output=True).stdout)
        written = pyarrow.parquet.ParquetFile(tmp_path / "curves.parquet")
        assert written.metadata.num_rows == 20_000 * times
    assert peaks[40] < peaks[3] + 10  # MiB
    assert written.num_row_groups < 50


def test_one_point_of_a_curve_is_enough_and_none_leaves_the_columns(tmp_path):
    (tmp_path / "one.csv").write_text("a,1,x,y,1\n")
    for curves, length in (([tmp_path / "one.csv"], 1), ([], 0)):
        write_curves(tmp_path, curves)
        frame = pd.read_parquet(tmp_path / "curves.parquet")
        assert (list(frame.columns), len(frame)) == (["cell_id", "step", "split", "metric", "value"], length)
        assert len(pd.read_csv(tmp_path / "curves.csv")) == length


def test_summaries_are_the_same_in_both_formats_and_effects_are_a_csv(table, tmp_path):
    write_summary(tmp_path, table)
    write_effects(tmp_path, table)
    expected = summary_frame(table, summaries(table))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "summary.csv"), expected)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "summary.parquet"), expected)
    assert pyarrow.parquet.read_schema(tmp_path / "summary.parquet").names == list(expected.columns)  # and no index
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "effects.csv"), effects_frame(table))


def test_a_sweep_of_which_nothing_is_done_has_tables_without_rows(tmp_path):
    nothing = Table((), [])
    write_cells(tmp_path, nothing)
    write_summary(tmp_path, nothing)
    write_effects(tmp_path, nothing)
    assert len(pd.read_csv(tmp_path / "cells.csv")) == len(pd.read_csv(tmp_path / "effects.csv")) == 0
    assert len(pd.read_parquet(tmp_path / "summary.parquet")) == 0


def test_the_tables_of_a_folder_are_those_that_are_there(table, tmp_path):
    write_cells(tmp_path, table)
    (tmp_path / "notes.csv").touch()
    assert [path.name for path in table_files(tmp_path)] == ["cells.csv", "cells.parquet"]
    assert len(TABLE_NAMES) == 10 and {"curves.parquet", "effects.csv", "rates.csv"} < set(TABLE_NAMES)

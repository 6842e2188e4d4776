"""A sweep's tables are read back with their types, and what is no table of a sweep is refused in words."""

import json

import pytest

import sweeps.results.read
from sweeps.results.read import cells_as_text, planned_cells, read_curves, read_manifest, read_table
from sweeps.store.folder import StoreError
from tlab.files import with_checksums

HEAD = "cell_id,alias_of,status,norm,learning_rate,seed,n_params,steps_done,attempts,val_loss,train_loss,error_message"


def read_back(folder, *rows, head=HEAD):
    (folder / "cells.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return read_table(folder)


def test_every_column_has_the_type_of_its_field(tmp_path):
    table = read_back(tmp_path, "a,,ok,none,3e-3,1,70.0,5,1,2.5,2.25,", "b,a,failed,layernorm,1,2,,0,3,,,12")
    assert table.axes == ("norm", "learning_rate")
    assert table.rows == [
        {"cell_id": "a", "alias_of": None, "status": "ok", "norm": "none", "learning_rate": 0.003, "seed": 1,
         "n_params": 70, "steps_done": 5, "attempts": 1, "val_loss": 2.5, "train_loss": 2.25, "error_message": None},
        {"cell_id": "b", "alias_of": "a", "status": "failed", "norm": "layernorm", "learning_rate": 1.0, "seed": 2,
         "n_params": None, "steps_done": 0, "attempts": 3, "val_loss": None, "train_loss": None,
         "error_message": "12"},
    ]  # fmt: skip
    assert [type(table.rows[0][name]) for name in ("seed", "n_params", "learning_rate")] == [int, int, float]


def test_a_traceback_may_be_a_long_field(tmp_path):
    (row,) = read_back(tmp_path, f"a,,failed,none,1,0,,0,1,,,{'x' * 1_000_000}").rows
    assert len(row["error_message"]) == 1_000_000


def test_what_is_no_table_of_a_sweep_is_told(tmp_path):
    with pytest.raises(StoreError, match=r"is missing; `python -m sweeps run"):
        read_table(tmp_path)
    with pytest.raises(StoreError, match="it has no column alias_of, val_loss"):
        read_back(tmp_path, head="cell_id,status,seed")
    with pytest.raises(StoreError, match="it has no column alias_of, cell_id"):
        read_back(tmp_path, head="")
    with pytest.raises(StoreError, match="cannot be read"):
        read_back(tmp_path, "a,,ok,none,1,first,,0,1,2.5,,")


def curves_of(folder, *rows):
    (folder / "curves.csv").write_text("\n".join(["cell_id,step,split,metric,value", *rows]) + "\n", encoding="utf-8")
    return read_curves(folder)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_curve_is_read_whole_however_many_rows_are_read_at_once(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(sweeps.results.read, "ROWS_AT_ONCE", at_once)
    rows = [
        "a,1,train,loss,3.5",
        "a,2,train,loss,nan",
        "a,3,train,loss,2.5",
        "b,1,train,loss,inf",
        "01,5,validation,loss,1",
    ]
    assert curves_of(tmp_path, *rows) == {
        ("train", "loss"): {"a": [(1, 3.5), (3, 2.5)]},
        ("validation", "loss"): {"01": [(5, 1.0)]},
    }


def test_a_sweep_without_curves_has_none_and_damaged_ones_are_told(tmp_path):
    assert read_curves(tmp_path) == {}
    with pytest.raises(StoreError, match=r"curves\.csv cannot be read"):
        curves_of(tmp_path, "a,first,train,loss,3.5")


def test_a_table_that_is_not_as_it_was_written_is_refused_and_can_still_be_counted(tmp_path):
    with with_checksums(tmp_path, ["cells.csv", "curves.csv"]):
        read_back(tmp_path, "a,,ok,none,1,0,,0,1,2.5,,")
        curves_of(tmp_path, "a,1,train,loss,3.5")
    assert len(read_table(tmp_path).rows) == len(read_curves(tmp_path)) == 1
    with pytest.raises(StoreError, match=r"cells\.csv cannot be read: it was damaged or changed since"):
        read_back(tmp_path, "a,,ok,none,1,0,,0,1,1.5,,")
    with pytest.raises(StoreError, match=r"curves\.csv cannot be read: it was damaged or changed since"):
        curves_of(tmp_path, "a,1,train,loss,4.5")
    assert [row["val_loss"] for row in cells_as_text(tmp_path)[1]] == ["1.5"]


@pytest.mark.parametrize(("content", "read"), [('{"runs": []}', {"runs": []}), ("[1]", {}), ("{", {}), (None, {})])
def test_a_manifest_that_cannot_be_read_is_an_empty_one(tmp_path, content, read):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert read_manifest(tmp_path) == read


def test_a_cell_that_two_grids_ask_for_in_different_words_is_planned_once():
    """The second grid names a field that the first one leaves at its default."""
    first = {"values": {"norm": ["none", "layernorm"]}, "seeds": [0]}
    second = {"values": {"norm": ["layernorm", "rmsnorm"], "residual": ["pre"], "steps": [1000]}, "seeds": [0, 1]}
    assert planned_cells(json.loads(json.dumps({"grids": [first, second]}))) == 5
    assert planned_cells({"grids": [second]}) == 4

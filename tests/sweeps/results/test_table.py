"""Records become a table: which columns it has, what they hold, and what its texts are called."""

import pytest

from sweeps.grid.grid import Grid, cells_of
from sweeps.results.table import OUTCOME_COLUMNS, Table, differing_fields, names_of_places, table_of
from sweeps.store.record import Record


@pytest.fixture
def recorded(small):
    """A grid in which one layout is another's alias, its cells, and a record of each that ran."""
    grid = small(norm=("layernorm", "none"), residual=("pre", "post"), seeds=(0, 1))
    cells = cells_of([grid])
    records = {
        cell.cell_id: Record(cell.cell_id, "ok", cell.settings(), cell.corpus_sha256, n_params=7, val_loss=2.0 + i)
        for i, cell in enumerate(cells) if cell.alias_of is None
    }  # fmt: skip
    return grid, cells, records


def test_a_row_has_its_cells_settings_and_its_records_outcome(recorded):
    grid, cells, records = recorded
    table = table_of(cells, records, [grid])
    assert table.axes == ("norm", "residual")
    assert table.columns == ["cell_id", "alias_of", "status", "norm", "residual", "seed", *OUTCOME_COLUMNS]
    assert all(list(row) == table.columns for row in table.rows)
    for row, cell in zip(table.rows, cells, strict=True):
        assert (row["cell_id"], row["norm"], row["residual"], row["seed"]) == (
            cell.cell_id, cell.model.norm, cell.model.residual, cell.seed,
        )  # fmt: skip
        assert (row["status"], row["n_params"]) == ("ok", 7)


def test_an_alias_has_the_numbers_of_the_cell_that_was_run_for_it(recorded):
    grid, cells, records = recorded
    rows = {row["cell_id"]: row for row in table_of(cells, records, [grid]).rows}
    aliases = [row for row in rows.values() if row["alias_of"]]
    assert [(row["norm"], row["residual"]) for row in aliases] == [("none", "post")] * 2
    assert all(row["val_loss"] == rows[row["alias_of"]]["val_loss"] for row in aliases)


def test_a_cell_without_a_record_has_no_row(recorded):
    grid, cells, records = recorded
    records.pop(cells[0].cell_id)
    assert [row["cell_id"] for row in table_of(cells, records, [grid]).rows] == [cell.cell_id for cell in cells[1:]]


def test_a_field_in_which_two_grids_differ_is_a_column_though_it_is_no_axis_of_either(small):
    grids = [small(norm=("layernorm", "none")), small(norm=("layernorm", "none"), steps=(7,), warmup_steps=(2,))]
    assert differing_fields(cells_of(grids), ["norm"]) == ("norm", "steps", "warmup_steps")
    assert differing_fields(cells_of(grids[:1]), ["norm"]) == ("norm",)
    assert differing_fields([], ["norm"]) == ("norm",)


def test_a_seed_is_no_axis_however_many_there_are(small):
    assert differing_fields(cells_of([small(seeds=(0, 1))]), []) == ()


def test_a_text_is_called_by_its_files_name_as_long_as_no_other_is_called_so():
    assert names_of_places(["/a/one.txt", "/b/two.txt", "/a/one.txt", "names"]) == {
        "/a/one.txt": "one.txt", "/b/two.txt": "two.txt", "names": "names",
    }  # fmt: skip
    same = ["/a/one.txt", "/b/one.txt"]
    assert names_of_places(same) == {path: path for path in same}


def test_the_column_of_texts_has_their_names(small, text_file, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("another text, just as short; " * 20, encoding="utf-8")
    grid = Grid({**small().values, "corpus": (text_file, str(other))}, (0,))
    cells = cells_of([grid])
    records = {cell.cell_id: Record(cell.cell_id, "ok", {}, cell.corpus_sha256) for cell in cells}
    assert [row["corpus"] for row in table_of(cells, records, [grid]).rows] == ["verse.txt", "other.txt"]


def test_a_table_becomes_a_frame_with_its_columns_and_unit():
    row = {"cell_id": "a", "status": "ok", "norm": "none", "seed": 3, "val_loss": 0.1 + 0.2}
    frame = Table(("norm",), [row]).to_pandas()
    assert frame.loc[0, "val_loss"] == 0.1 + 0.2 and frame.loc[0, "seed"] == 3
    assert list(frame.columns) == Table(("norm",), [row]).columns and frame.attrs == {"unit": "nats per token"}

"""A changed byte of a sweep's files is found by whoever reads them, and a table is written again from the records."""

import json
import shutil

import pytest

import sweeps.report.page
from sweeps.__main__ import main
from sweeps.results.table import CIRCUMSTANCES
from sweeps.store.folder import CELLS, CURVES, MANIFEST, Store, StoreError
from sweeps.store.lock import DRIVER, LOCK, holder_of, locked
from tlab.files import SUMS_NAME
from tlab.nn.norms import NORMS
from tlab.ui.tabs.sweeps.results import ResultsError, own_results


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A sweep with its report, without figures, which take seconds; not to be written into."""
    place = tmp_path_factory.mktemp("damage")
    (place / "verse.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 30)
    sizes = {"context_length": 8, "hidden_dim": 8, "num_heads": 2, "num_layers": 1, "steps": 5}
    fixed = [word for name, value in sizes.items() for word in ("--set", f"{name}={value}")]
    grid = ["--axes", "norm", "--seeds", "2", *fixed, "--corpus", str(place / "verse.txt"), "--jobs", "1"]
    assert main(["run", *grid, "--out", str(place / "sweep")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps.report.page, "report_figures", lambda analysis: ())
        assert main(["report", str(place / "sweep")]) == 0
    return place / "sweep", grid


@pytest.fixture
def swept(reported, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps.report.page, "report_figures", lambda analysis: ())
    return shutil.copytree(reported[0], tmp_path / "sweep")


def change_a_digit(path):
    """Make one digit of a file another one."""
    content = bytearray(path.read_bytes())
    place = max(i for i, byte in enumerate(content) if chr(byte).isdigit())
    content[place] = ord("1") if content[place] != ord("1") else ord("2")
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["cells.csv", "curves.csv", "effects.csv", MANIFEST])
def test_the_app_shows_no_changed_number(swept, name):
    own_results(str(swept))
    change_a_digit(swept / name)
    with pytest.raises(ResultsError, match=f"{name} cannot be read: .*{SUMS_NAME}"):
        own_results(str(swept))


@pytest.mark.parametrize("name", ["cells.csv", "curves.parquet", "summary.csv", "comparisons.csv", "report.html"])
def test_status_names_what_was_changed_and_report_writes_it_again(swept, capsys, name):
    before = (swept / name).read_bytes()
    (swept / name).write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
    main(["status", str(swept)])
    assert f"damaged or changed since written: {name}; written again by" in capsys.readouterr().out
    assert main(["report", str(swept)]) == 0
    assert (swept / name).read_bytes() == before
    main(["status", str(swept)])
    assert "damaged" not in capsys.readouterr().out


def test_an_export_that_was_changed_makes_no_report(swept, tmp_path, capsys):
    main(["export", str(swept), "--to", str(tmp_path / "export")])
    assert main(["report", str(tmp_path / "export")]) == 0
    change_a_digit(tmp_path / "export" / "cells.csv")
    assert main(["report", str(tmp_path / "export")]) == 2
    assert "cells.csv cannot be read" in capsys.readouterr().err


def test_changed_tables_that_hold_more_than_the_records_are_not_copied(swept, tmp_path, capsys):
    next((swept / CELLS).iterdir()).unlink()
    change_a_digit(swept / "curves.csv")
    assert main(["export", str(swept), "--to", str(tmp_path / "export")]) == 2
    assert "curves.csv cannot be read" in capsys.readouterr().err


def test_changed_tables_are_not_replaced_by_ones_with_fewer_cells(swept, capsys):
    next((swept / CELLS).iterdir()).unlink()
    change_a_digit(swept / "cells.csv")
    before = (swept / "cells.csv").read_bytes()
    assert main(["report", str(swept)]) == 2
    assert (swept / "cells.csv").read_bytes() == before
    assert f"only {2 * len(NORMS) - 1} have a record" in capsys.readouterr().err


def test_the_way_on_from_a_changed_manifest_is_as_the_message_says(swept, reported, tmp_path, capsys):
    change_a_digit(swept / MANIFEST)
    with pytest.raises(StoreError, match=f"move {CELLS} and {CURVES} into a new folder"):
        Store(swept)
    for name in (CELLS, CURVES):
        shutil.copytree(swept / name, tmp_path / "new" / name)
    capsys.readouterr()
    assert main(["run", *reported[1], "--out", str(tmp_path / "new")]) == 0
    assert f"{2 * len(NORMS)} done before: 0 to train" in capsys.readouterr().out
    assert (tmp_path / "new" / "cells.csv").read_bytes() == (swept / "cells.csv").read_bytes()


def test_a_folder_of_an_early_version_has_no_checksums_and_is_read(swept):
    (swept / SUMS_NAME).unlink()
    change_a_digit(swept / "effects.csv")
    assert own_results(str(swept)).configurations and main(["status", str(swept)]) == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b"7", b"\xff", b"{}"])
def test_a_damaged_note_of_who_is_at_work_is_no_note(swept, content, capsys):
    with locked(swept):
        (swept / DRIVER).write_bytes(content)
        holder_of(swept)
        assert main(["status", str(swept)]) == 0
    assert (swept / LOCK).exists() and "Traceback" not in capsys.readouterr().err


def test_only_what_the_clock_decides_may_differ_when_a_damaged_cell_is_trained_again(swept, reported):
    def rows():
        lines = [line.split(",") for line in (swept / "cells.csv").read_text().splitlines()]
        kept = [i for i, column in enumerate(lines[0]) if column not in CIRCUMSTANCES]
        return [[line[i] for i in kept] for line in lines]

    before = rows()
    record = next((swept / CELLS).iterdir())
    record.write_text(json.dumps({**json.loads(record.read_text()), "val_loss": 0.0}))
    assert main(["run", *reported[1], "--out", str(swept)]) == 0
    assert rows() == before

"""A sweep that is finished stays what it is: without its text, from any folder, in a later version of the lab."""

import dataclasses
import json
import shutil

import pytest

import sweeps.__main__
from sweeps.__main__ import main
from sweeps.grid.cell_id import identify_settings
from sweeps.report.archive import export
from sweeps.run.plan import make_plan
from sweeps.store.folder import CELLS, Store, add_record, read_record, write_manifest
from sweeps.store.record import Record

TABLES = [f"{name}.csv" for name in ("cells", "curves", "summary", "effects")]


@pytest.fixture
def swept(words, folder):
    """A finished sweep of two norms and two seeds."""
    assert main(["run", *two_norms(words), "--out", str(folder)]) == 0
    return folder


def two_norms(words):
    return ["--set", "norm=layernorm,rmsnorm", "--seeds", "2", *words]


def tables_of(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.mark.parametrize("harm", ["edited", "gone"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_finished_sweep_needs_no_text(swept, text_file, tmp_path, monkeypatch, capsys, harm, elsewhere):
    before = tables_of(swept)
    (tmp_path / "verse.txt").write_text("another text altogether, long enough to be one " * 9)
    if harm == "gone":
        (tmp_path / "verse.txt").unlink()
    if elsewhere:
        swept = shutil.move(swept, tmp_path / "moved")
        monkeypatch.chdir("/")
    capsys.readouterr()
    assert main(["status", str(swept)]) == 0 and "4 ok" in capsys.readouterr().out
    assert main(["report", str(swept)]) == 0
    assert tables_of(swept) == before
    assert main(["export", str(swept), "--to", str(tmp_path / "copy")]) == 0
    assert tables_of(tmp_path / "copy") == before
    assert main(["export", str(swept), "--to", str(tmp_path / "small.zip"), "--small"]) == 0
    assert not capsys.readouterr().err


def test_a_text_that_was_moved_and_renamed_is_the_same_text(swept, words, text_file, tmp_path, capsys):
    moved = shutil.move(text_file, tmp_path / "poem.txt")
    words[words.index(text_file)] = str(moved)
    capsys.readouterr()
    assert main(["run", *two_norms(words), "--out", str(swept)]) == 0
    assert "4 done before: 0 to train" in capsys.readouterr().out
    assert main(["run", "--set", "norm=layernorm", "--seeds", "3", *words, "--out", str(swept)]) == 0
    assert "2 done before: 1 to train" in capsys.readouterr().out
    header, *rows = (swept / "cells.csv").read_text().splitlines()
    assert len(rows) == 5 and "corpus" not in header.split(",")


def test_a_failed_cell_is_trained_again_on_a_text_that_was_moved(swept, text_file, tmp_path, capsys):
    cell = next((swept / CELLS).iterdir()).stem
    again = ["retry", str(swept), "--jobs", "1", "--cells", cell]
    moved = shutil.move(text_file, tmp_path / "poem.txt")
    assert main(again) == 2 and "say where to with --corpus" in capsys.readouterr().err
    assert main([*again, "--corpus", "brackets"]) == 2 and "is another text" in capsys.readouterr().err
    assert main([*again, "--corpus", str(moved)]) == 0


def test_two_texts_of_one_name_are_not_mixed(swept, words, tmp_path, capsys):
    before = tables_of(swept)
    (tmp_path / "verse.txt").write_text("another text altogether, long enough to be one " * 9)
    assert main(["run", *two_norms(words), "--out", str(swept)]) == 2
    assert "is another text than the results" in capsys.readouterr().err
    assert tables_of(swept) == before


def test_the_pythons_are_named_where_their_documentation_differs(words, folder, capsys):
    words[words.index("--corpus") + 1] = "python-docs"
    assert main(["run", *words, "--out", str(folder)]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["runs"][0]["python"] = "3.1.4"
    manifest["runs"][0]["corpora"][0]["sha256"] = "0" * 64
    write_manifest(folder, manifest)
    capsys.readouterr()
    assert main(["run", *words, "--out", str(folder)]) == 2
    assert "000000000000, Python 3.1.4; now" in capsys.readouterr().err
    assert main(["report", str(folder)]) == 0
    told = capsys.readouterr().err
    assert "1 record in cells/ is of another text" in told and "were left as they are" in told


def test_a_manifest_of_0_1_does_not_say_which_text_is_which_and_is_read(swept, tmp_path):
    manifest = json.loads((swept / "manifest.json").read_text())
    del manifest["runs"][0]["corpora"][0]["corpus"]
    write_manifest(swept, manifest)
    (tmp_path / "verse.txt").unlink()
    assert not make_plan(None, Store(swept)).missing


def without_a_field(record: Record, name: str) -> Record:
    """As a version of the lab wrote it that had one field fewer, and so other ids."""
    old = f"{int(record.cell_id, 16) ^ 1:016x}"
    settings = {field: value for field, value in record.settings.items() if field != name}
    curve = tuple(row._replace(cell_id=old) for row in record.curve)
    return dataclasses.replace(record, cell_id=old, settings=settings, curve=curve)


def test_results_of_a_version_with_one_field_fewer_are_found(swept, words, capsys):
    for path in list((swept / CELLS).iterdir()):
        record = read_record(swept, path.stem)
        path.unlink()
        add_record(swept, without_a_field(record, "data_seed"))
    assert main(["report", str(swept)]) == 0
    capsys.readouterr()
    assert main(["status", str(swept)]) == 0 and "4 ok" in capsys.readouterr().out
    rows = (swept / "cells.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {path.stem for path in (swept / CELLS).iterdir()}
    assert main(["run", *two_norms(words), "--out", str(swept)]) == 0
    assert "4 done before: 0 to train" in capsys.readouterr().out


def test_a_field_that_is_no_longer_known_makes_no_id():
    assert identify_settings({"vocab_size": 3, "phlogiston": 1}, "") is None
    assert identify_settings({"vocab_size": -3}, "") is None
    assert identify_settings({"vocab_size": 3}, "") != identify_settings({"vocab_size": 4}, "")


@pytest.mark.parametrize("command", ["report", "export", "run --set norm=layernorm --seeds 1"])
def test_no_command_writes_tables_of_fewer_cells_without_a_word(swept, words, tmp_path, capsys, command):
    before = tables_of(swept)
    for path in sorted((swept / CELLS).iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:-9])
    name, *flags = command.split()
    place = [str(swept)] if name != "run" else [*flags, *words, "--out", str(swept)]
    to = ["--to", str(tmp_path / "copy")] * (name == "export")
    main([name, *place, *to])
    told = capsys.readouterr().err
    assert "hold 4 cells, of which only" in told and "left as they are" in told
    assert tables_of(swept) == before
    if to:
        assert tables_of(tmp_path / "copy") == before


def test_a_file_that_is_no_record_is_told(swept, capsys):
    (swept / CELLS / "0123456789abcdef.json").write_text("{}")
    capsys.readouterr()
    assert main(["status", str(swept)]) == 0
    assert "1 file in cells/ cannot be read as the record of a cell" in capsys.readouterr().out


def test_tables_that_somebody_removed_are_made_of_what_is_left(swept, capsys):
    next((swept / CELLS).iterdir()).unlink()
    (swept / "cells.csv").unlink()
    assert main(["report", str(swept)]) == 0
    assert len((swept / "cells.csv").read_text().splitlines()) == 4


def test_a_report_that_cannot_be_written_says_where_else_it_can(swept, monkeypatch, capsys):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(sweeps.__main__, "write_report", refuse)
    assert main(["report", str(swept)]) == 2
    assert f"sweeps export {swept} --to FILE.zip" in capsys.readouterr().err


def test_what_can_only_be_read_is_exported_elsewhere(swept, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in swept.rglob("*")}
    export(Store(swept), tmp_path / "copy.zip")
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("*")} == before

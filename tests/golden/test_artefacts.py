"""What people have of the first edition still opens: run folders, checkpoints, exported zips, sweep folders, links."""

import csv
import json
import shutil
import zipfile
from urllib.parse import parse_qsl

import pytest

import sweeps.__main__
import tlab.cli.commands
from golden import measure
from golden.test_numbers import GOLDEN, OTHER, TOLERANCES, differences, exactly
from tlab import Checkpoint
from tlab.ui.runs.limits import PUBLIC
from tlab.ui.settings.links import defaults, query_of, read_query
from tlab.ui.sharing.read_zip import read_export
from tlab.ui.sharing.write_zip import write_export

ARTEFACTS, LINKS = (
    json.loads((measure.FOLDER / name).read_text(encoding="utf-8")) for name in ("artefacts.json", "links.json")
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with the golden text, run and sweep."""
    for name in ("run", "sweep"):
        with zipfile.ZipFile(measure.FOLDER / f"{name}.zip") as archive:
            archive.extractall(tmp_path)
    shutil.copyfile(measure.FOLDER / "text.txt", tmp_path / "text.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tlab_command(*words) -> int:
    return tlab.cli.commands.main([*words])


def sweep_command(*words) -> int:
    return sweeps.__main__.main([*words])


# ------------------------------------------------------------------------------------------------ runs


def test_an_old_checkpoint_holds_the_same_weights(here):
    checkpoint = Checkpoint.load(here / "run")
    assert checkpoint.step == ARTEFACTS["run"]["step"] == len(checkpoint.records)
    assert measure.fingerprint(checkpoint.weights) == ARTEFACTS["run"]["sha256"]
    model = checkpoint.model()
    assert measure.fingerprint({name: p.data for name, p in model.parameters.items()}) == ARTEFACTS["run"]["sha256"]


@pytest.fixture
def resumed(here):
    assert tlab_command("train", "--resume", "run", "--corpus", "text.txt") == 0
    return Checkpoint.load(here / "run")


def losses(checkpoint):
    records = checkpoint.records
    return [record.loss for record in records], [record.validation_loss for record in records]


@exactly
def test_an_old_run_goes_on_to_the_same_bits(resumed):
    golden = ARTEFACTS["run"]
    assert losses(resumed) == (golden["losses"], golden["validation_losses"])
    assert measure.fingerprint(resumed.weights) == golden["sha256_at_the_end"]


def test_an_old_run_goes_on_to_the_same_losses_within_a_tolerance(resumed):
    golden = ARTEFACTS["run"]
    was = [golden["losses"], golden["validation_losses"]]
    assert not list(differences(list(losses(resumed)), was, TOLERANCES["float32"]))


def test_an_old_run_writes_and_is_probed(here, capsys):
    assert tlab_command("generate", "run", "--prompt", "The ", "--max-new-tokens", "20") == 0
    assert capsys.readouterr().out.startswith("The ")
    for words in (["lens"], ["induction", "--over-time"], ["heads", "--csv"]):
        assert tlab_command("probe", words[0], "run", "--text", "The gate was locked", *words[1:]) == 0
        assert capsys.readouterr().out.count("\n") > 3


# ------------------------------------------------------------------------------------------------ zips


@pytest.mark.parametrize("name", ["one_side", "two_sides"])
def test_an_old_zip_opens_in_the_app_as_it_was(name, tmp_path):
    golden = ARTEFACTS[name]
    run = read_export(measure.FOLDER / f"{name}.zip", PUBLIC)
    assert (run.name, run.text) == (name, measure.TEXT)
    checkpoints = [side.checkpoint for side in run.sides]
    assert [measure.fingerprint(one.weights) for one in checkpoints] == golden["sha256"]
    assert [[record.loss for record in one.records] for one in checkpoints] == golden["losses"]
    for one, settings in zip(checkpoints, golden["settings"], strict=True):
        now = {**one.model_config.to_json(), **one.train_config.to_json()}
        assert {field: now[field] for field in settings} == settings

    (tmp_path / "again.zip").write_bytes(write_export(run))
    with zipfile.ZipFile(tmp_path / "again.zip") as new, zipfile.ZipFile(measure.FOLDER / f"{name}.zip") as old:
        for entry in (entry for entry in old.namelist() if entry.endswith(("metrics.csv", "config.json", "text.txt"))):
            assert new.read(entry) == old.read(entry)


# ------------------------------------------------------------------------------------------------ sweeps


def test_the_status_of_an_old_sweep_is_told(here, capsys):
    assert sweep_command("status", "sweep") == 0
    assert "36" in capsys.readouterr().out


def test_an_old_sweep_is_reported_and_exported_with_the_same_tables(here):
    names = [f"{name}.csv" for name in ("cells", "curves", "summary", "effects")]
    old = {name: (here / "sweep" / name).read_text(encoding="utf-8") for name in names}
    assert sweep_command("export", "sweep", "--to", "whole.zip") == 0  # makes tables and report again
    with zipfile.ZipFile("whole.zip") as archive:
        now = {name: archive.read(f"sweep/{name}").decode() for name in names}
        assert "RMSNorm" in archive.read("sweep/report.html").decode()
    now = {name: measure.in_columns_of(old[name], table) for name, table in now.items()}
    assert (now["cells.csv"], now["curves.csv"]) == (old["cells.csv"], old["curves.csv"])
    for name in ("summary.csv", "effects.csv"):  # means and intervals: as exact as the sums
        assert not list(differences(numbered(now[name]), numbered(old[name]), TOLERANCES["float64"]))
        assert OTHER or now[name] == old[name]


def test_the_small_form_of_an_old_sweep_has_the_same_cells(here):
    assert sweep_command("export", "sweep", "--small", "--to", "small.zip") == 0
    old = measure.cells((here / "sweep" / "cells.csv").read_text(encoding="utf-8"))
    with zipfile.ZipFile("small.zip") as archive:
        now = measure.cells(archive.read("cells.csv").decode())
    columns = {name for cell in old.values() for name in cell}  # later ones may be new
    now = {i: {name: value for name, value in cell.items() if name in columns} for i, cell in now.items()}
    assert now == {i: {k: v for k, v in cell.items() if k in now[i]} for i, cell in old.items()}


def numbered(text):
    """A CSV with numbers for what are numbers."""

    def number(word):
        try:
            return float(word)
        except ValueError:
            return word

    return [[number(word) for word in row] for row in csv.reader(text.splitlines())]


def test_a_finished_old_sweep_is_asked_for_again_and_has_nothing_to_train(here, capsys):
    assert sweep_command("run", *measure.QUICK, "--out", "sweep") == 0
    assert "36 cells" in (told := capsys.readouterr().out) and "28 done" in told


def test_more_cells_of_an_old_sweep_are_of_other_code_which_is_told_with_the_way_out(here, capsys):
    # The source's hash has the paths of the code in it, and the code has moved.
    assert sweep_command("run", *measure.QUICK, "--seeds", "2", "--out", "sweep") == 2
    told = capsys.readouterr().err
    assert "another version of the code in tlab" in told and "--mixed-source" in told
    assert sweep_command("run", *measure.QUICK, "--seeds", "2", "--out", "sweep", "--mixed-source") == 0
    rows = list(csv.DictReader((here / "sweep" / "cells.csv").read_text().splitlines()))
    assert len(rows) == 72
    assert len({row["source"] for row in rows if not row["alias_of"]}) == 2


# ------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize("golden", LINKS, ids=[link["query"][:40] for link in LINKS])
def test_an_old_link_gives_the_same_settings(golden):
    link = read_query(dict(parse_qsl(golden["query"], keep_blank_values=True)))
    settings = {**defaults(), **link.settings}
    assert {name: settings[name] for name in golden["settings"]} == golden["settings"]
    assert (link.other, link.hidden, len(link.problems)) == (
        golden["other"], golden["hidden"], golden["num_problems"]
    )  # fmt: skip
    assert query_of(settings, link.other, link.hidden) == golden["written"]


def test_the_golden_numbers_name_the_commit_that_made_them():
    assert GOLDEN["made_at"] == "b09d42f"

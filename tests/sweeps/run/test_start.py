"""Sweeps whose cells begin with the model of a run."""

import csv
import json
from dataclasses import replace

import pytest

from sweeps.__main__ import main
from sweeps.grid.fields import GridError
from sweeps.grid.grid import cells_of
from sweeps.report.analysis import Analysis
from sweeps.report.page import write_report
from sweeps.results.read import read_table
from sweeps.run.driver import Execution, run_sweep
from sweeps.store.folder import Store, mark_started
from tlab.nn.config import ModelConfig
from tlab.text import corpus_from_text, load_corpus
from tlab.text.units import NATS_PER_TOKEN
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig
from tlab.training.trainer import Trainer
from tlab.ui.tabs.sweeps.results import own_results

TRAINING = {"steps": (3,), "batch_size": (4,), "validation_every": (3,), "warmup_steps": (0,)}
MODEL = {"context_length": 8, "num_layers": 1, "hidden_dim": 8, "num_heads": 2}


def rows_of(folder):
    with open(folder / "cells.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def trained(text, tokenizer="char", seed=7, **settings):
    """A run of a few steps."""
    corpus = corpus_from_text(text, tokenizer=tokenizer)
    config = ModelConfig(vocab_size=corpus.tokenizer.vocab_size, **{**MODEL, "norm": "rmsnorm", **settings})
    trainer = Trainer(config, TrainConfig(steps=20, batch_size=4, learning_rate=1e-2, seed=seed), corpus)
    list(trainer)
    return trainer.checkpoint()


@pytest.fixture
def run(tmp_path, text_file):
    """The folder of a run on half of the text, by bytes."""
    with open(text_file, encoding="utf-8") as file:
        text = file.read()
    return str(trained(text[: len(text) // 2], "byte").save(tmp_path / "first").parent)


@pytest.fixture
def begun(small, run):
    """Makes a grid that begins with it: begun(learning_rate=(1e-3, 1e-2))."""
    return lambda seeds=(0,), **values: replace(
        small(), values={"corpus": small().values["corpus"], "start_from": (run,), **TRAINING, **values}, seeds=seeds
    )


def test_each_cell_has_the_numbers_of_a_training_that_begins_there(begun, run, folder, text_file):
    result = run_sweep(begun((0, 1), learning_rate=(1e-3, 1e-2)), Store(folder), Execution(jobs=2))
    assert len(result.table.rows) == 4
    model = Checkpoint.load(run)
    corpus = load_corpus(text_file, model.tokenizer)
    for row in result.table.rows:
        config = TrainConfig(
            steps=3,
            batch_size=4,
            validation_every=3,
            warmup_steps=0,
            learning_rate=row["learning_rate"],
            seed=row["seed"],
        )
        alone = Trainer.start_from(model, config, corpus)
        list(alone)
        assert row["val_loss"] == alone.records[-1].validation_loss


def test_random_weights_have_the_same_settings_and_tokenizer(begun, run, folder):
    result = run_sweep(begun(random_weights=(False, True)), Store(folder), Execution())
    trained_first, random_first = result.table.rows
    assert trained_first["n_params"] == random_first["n_params"]
    assert trained_first["val_bytes_per_token"] == random_first["val_bytes_per_token"] == 1
    assert trained_first["val_loss"] < random_first["val_loss"]


def test_a_setting_that_the_model_has_not_is_refused_by_name(begun, run):
    with pytest.raises(GridError, match=r"has norm = rmsnorm, and start_from keeps its settings; leave out norm"):
        cells_of([begun(norm=("layernorm", "rmsnorm"))])
    with pytest.raises(GridError, match="keeps the tokenizer of that run; leave tokenizer out"):
        cells_of([begun(tokenizer=("char",))])


def test_what_is_no_run_is_refused_before_anything_runs(begun, folder, tmp_path):
    with pytest.raises(GridError, match=r"start_from .*nowhere.*no checkpoint"):
        run_sweep(begun(start_from=(str(tmp_path / "nowhere"),)), Store(folder), Execution())
    assert not folder.exists()


def test_random_weights_are_of_a_run_that_is_named(small):
    with pytest.raises(GridError, match="name that with start_from"):
        cells_of([small(random_weights=(True,))])


def test_a_text_that_its_tokenizer_cannot_read_is_refused(small, tmp_path):
    place = str(trained("to be or not to be " * 30).save(tmp_path / "letters").parent)
    with pytest.raises(GridError, match="The tokenizer is that of the model in"):
        cells_of([replace(small(), values={"corpus": small().values["corpus"], "start_from": (place,), **TRAINING})])


def test_the_same_command_goes_on_and_adds_what_is_new(begun, folder):
    run_sweep(begun(), Store(folder), Execution())
    before = rows_of(folder)
    result = run_sweep(begun((0, 1)), Store(folder), Execution())
    assert [cell.seed for cell in result.plan.missing] == [1]
    assert rows_of(folder)[0] == before[0]


def test_a_model_that_changed_in_between_is_refused(begun, run, folder, text_file):
    run_sweep(begun(), Store(folder), Execution())
    with open(text_file, encoding="utf-8") as file:
        trained(file.read(), "byte", seed=8).save(run)
    with pytest.raises(GridError, match="another one than the results in the folder began with"):
        run_sweep(begun((0, 1)), Store(folder), Execution())


def test_a_run_that_is_trained_on_while_the_sweep_is_at_work_changes_no_cell(begun, run, folder, monkeypatch):
    undisturbed = run_sweep(begun((0, 1)), Store(folder.with_name("undisturbed")), Execution()).table.rows

    def train_on(*about):
        trained("to be or not to be " * 30, "byte", seed=8).save(run)
        return mark_started(*about)

    monkeypatch.setattr("sweeps.run.driver.mark_started", train_on)
    rows = run_sweep(begun((0, 1)), Store(folder), Execution()).table.rows
    assert [row["val_loss"] for row in rows] == [row["val_loss"] for row in undisturbed]


def test_the_id_counts_the_weights_and_not_the_place(begun, run, tmp_path):
    elsewhere = str(Checkpoint.load(run).save(tmp_path / "elsewhere").parent)
    other = str(trained("to be or not to be " * 30, "byte", seed=9).save(tmp_path / "other").parent)
    ids = [cells_of([begun(start_from=(place,))])[0].cell_id for place in (run, elsewhere, other)]
    assert ids[0] == ids[1] != ids[2]


def test_two_runs_of_one_tokenizer_are_compared_per_token_in_the_tables_the_report_and_the_app(
    begun, run, folder, tmp_path
):
    other = str(trained("to be or not to be " * 30, "byte", seed=9).save(tmp_path / "other").parent)
    run_sweep(begun((0, 1), start_from=(run, other)), Store(folder), Execution())
    assert Analysis(read_table(folder)).table.unit == own_results(str(folder)).unit == NATS_PER_TOKEN
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Losses are on the whole validation split after the last step, in nats per token" in page
    mean = sum(float(row["val_loss"]) for row in rows_of(folder) if row["start_from"] == "first") / 2
    summary = csv.DictReader((folder / "summary.csv").read_text().splitlines())
    assert {row["start_from"]: float(row["mean"]) for row in summary}["first"] == pytest.approx(mean)


def test_the_report_and_the_manifest_say_what_was_begun_with(begun, run, folder):
    run_sweep(begun((0, 1), learning_rate=(1e-3, 1e-2)), Store(folder), Execution())
    sha256 = Checkpoint.load(run).weights_sha256
    noted = json.loads((folder / "manifest.json").read_text())["runs"][0]["corpora"][0]["begun_with"]
    assert (noted["weights_sha256"], noted["tokenizer"]) == (sha256, "byte")
    page = write_report(folder).read_text(encoding="utf-8")
    assert f"first, sha256 of its weights {sha256[:12]}" in page
    assert "Every run begins with the weights of first, whatever its seed." in page


def test_the_command_takes_a_run(run, folder, text_file, capsys):
    settings = [word for field, (value,) in TRAINING.items() for word in ("--set", f"{field}={value}")]
    words = ["--from", run, "--corpus", text_file, "--jobs", "1", "--out", str(folder), *settings]
    assert main(["run", "--set", "learning_rate=1e-3,1e-2", *words]) == 0
    assert len(rows_of(folder)) == 2
    assert main(["plan", "--set", "learning_rate=1e-3,1e-2,1e-1", *words]) == 0
    assert "1 to train" in capsys.readouterr().out

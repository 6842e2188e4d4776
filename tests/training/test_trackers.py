"""Runs noted with other programs, each read back with what that program itself reads."""

import importlib.util
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from support import VERSE
from tlab import Checkpoint
from tlab.cli.commands import main
from tlab.training.trackers import TRACKERS, Tracker, numbers_of

pytestmark = pytest.mark.filterwarnings("ignore")  # other people's imports
MODEL = [
    "--hidden-dim",
    "8",
    "--num-heads",
    "2",
    "--num-layers",
    "1",
    "--context-length",
    "8",
    "--batch-size",
    "2",
    "--validation-every",
    "5",
]
TRAIN = ["train", "--corpus", "text.txt", *MODEL, "--steps", "10", "--sample-every", "0", "--warmup-steps", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test in a folder of its own with a text in it, and no program with a place of its own elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlab.cli.run_folder.save_plot", lambda folder, trainer: None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    Path("text.txt").write_text(VERSE * 10, encoding="utf-8")


def trained(log):
    """The records of a run that was noted."""
    assert main([*TRAIN, "--out", "run", "--log", log]) == 0
    return Checkpoint.load("run").records


def needs(package):
    return pytest.importorskip(package, reason=f"the tracker needs {package}: pip install '.[tracking]'")


def curves_in(folder):
    """Name -> (step, value), as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected(records, name):
    found = ((record.step, numbers_of(record).get(name)) for record in records)
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in found if value is not None]


def test_tensorboard_has_every_number_of_a_run_while_it_trains_and_from_its_folder():
    needs("tensorboard")
    records = trained("tensorboard")
    assert main(["export", "run", "--to", "tensorboard", "--out", "events"]) == 0
    for folder in ("run", "events"):
        curves = curves_in(folder)
        assert curves.keys() == {"loss", "validation_loss", "learning_rate", "gradient_norm", "tokens", "seconds"}
        assert all(curves[name] == expected(records, name) for name in curves)
    assert [step for step, _ in curves_in("run")["validation_loss"]] == [5, 10]


def test_wandb_has_a_run_on_this_machine_that_can_be_sent():
    needs("wandb")
    trained("wandb")
    (folder,) = Path("run/wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    assert file.stat().st_size > 0


def test_trackio_has_the_loss_of_every_step():
    needs("trackio")
    records = trained("trackio")
    with sqlite3.connect("trackio/tlab.db") as database:
        rows = database.execute("select step, metrics from metrics where run_name = 'run' order by step").fetchall()
    losses = [(step, json.loads(metrics)["loss"]) for step, metrics in rows if "loss" in json.loads(metrics)]
    assert losses == expected(records, "loss")


def test_mlflow_has_the_loss_of_every_step():
    mlflow = needs("mlflow")
    if importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("mlflow-skinny keeps no database: pip install mlflow")
    records = trained("mlflow")
    client = mlflow.tracking.MlflowClient(f"sqlite:///{Path('run/mlflow.db').resolve()}")
    (run,) = client.search_runs([client.get_experiment_by_name("tlab").experiment_id])
    found = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in found] == expected(records, "loss")
    assert run.data.params["hidden_dim"] == "8"


@pytest.mark.parametrize("key", TRACKERS)
def test_a_package_that_is_missing_is_told_with_what_installs_it_before_anything_is_done(key, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*TRAIN, "--out", "run", "--log", key]) == 2
    package = TRACKERS[key].package
    assert capsys.readouterr().err == f"error: {key} needs a package that is not here: pip install {package}\n"
    assert not Path("run").exists()


def test_a_missing_package_leaves_no_folder_of_an_export(monkeypatch, capsys):
    assert main([*TRAIN, "--out", "run"]) == 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", "run", "--to", "tensorboard", "--out", "events"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err and not Path("events").exists()


def test_an_unknown_tracker_is_refused_with_those_that_there_are(capsys):
    assert main([*TRAIN, "--out", "run", "--log", "tensorbord"]) == 2
    assert "tensorboard, trackio, wandb, mlflow" in capsys.readouterr().err and not Path("run").exists()


@pytest.fixture
def breaking():
    """A tracker that fails at its third step, and at its end; its notes are kept."""
    noted = []

    @TRACKERS.add("breaking", label="Breaking")
    class Breaking(Tracker):
        """Fails."""

        package, module = "breaking", "json"

        def __init__(self, folder, name, settings):
            noted.append((name, settings["hidden_dim"]))

        def log(self, step, values):
            if step == 3:
                raise RuntimeError("the disk of the tracker is full")
            noted.append(step)

        def close(self):
            raise RuntimeError("no end")

    yield noted
    TRACKERS.remove("breaking")


def test_a_tracker_that_breaks_is_told_of_and_the_training_goes_on(breaking, capsys):
    assert len(trained("breaking")) == 10
    words = capsys.readouterr()
    said = words.out + words.err
    assert said.count("no more steps are noted with breaking: the disk of the tracker is full") == 1
    assert "breaking did not end well: no end" in said
    assert breaking == [("run", 8), 1, 2]


class Recording:
    """In place of a package: every call, with what it was given."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*given, **named):
            self.calls.append((name, *given, named))
            return self

        return call


def test_what_a_tracker_asks_of_its_package(tmp_path, monkeypatch):
    for key in ("trackio", "wandb"):
        package = Recording()
        monkeypatch.setitem(sys.modules, key, package)
        tracker = TRACKERS[key](tmp_path, "mine", {"steps": 3})
        tracker.log(2, {"loss": 1.5})
        tracker.close()
        assert [call[0] for call in package.calls] == ["init", "log", "finish"]
        assert package.calls[0][-1]["name"] == "mine" and package.calls[0][-1]["config"] == {"steps": 3}
        assert package.calls[0][-1].get("embed", False) is False  # nothing is shown, as in a notebook
        assert package.calls[1][1:] == ({"loss": 1.5}, {"step": 2})

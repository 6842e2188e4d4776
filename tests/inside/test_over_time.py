"""Probes over training time: one table of all snapshots of a run, and its picture."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest

from inside.probe_claims import ASKED
from support import tiny
from tlab import Checkpoint, TrainConfig
from tlab.cli.commands import main
from tlab.inside import PROBES, ProbeError, probe
from tlab.inside.figures import MAX_CURVES, over_time_figure
from tlab.inside.over_time import Curves, curves, over_time
from tlab.training.snapshots import load_snapshots
from tlab.training.trainer import Trainer


@pytest.fixture
def run(verse):
    """Checkpoints of a short run at three steps."""
    config = tiny(vocab_size=verse.tokenizer.vocab_size, context_length=16)
    trainer = Trainer(config, TrainConfig(steps=4, validation_every=0, batch_size=2), verse)
    kept = [trainer.checkpoint()]
    for record in trainer:
        if record.step in (1, 4):
            kept.append(trainer.checkpoint())
    return kept


def test_the_table_over_time_holds_the_rows_of_every_step(run, verse):
    text = "the quick"
    rows = over_time(reversed(run), PROBES["growth"](), text, verse)
    assert rows[0]._fields[0] == "step" and [row.step for row in rows] == [0] * 4 + [1] * 4 + [4] * 4
    for i, checkpoint in enumerate(run):
        assert [row[1:] for row in rows[4 * i : 4 * i + 4]] == [tuple(r) for r in probe("growth", checkpoint, text)]
    with pytest.raises(ProbeError, match="no checkpoint"):
        over_time([], PROBES["growth"](), text)
    with pytest.raises(ProbeError, match="steps already"):
        over_time(run, PROBES["walk"](), text)


def test_every_probe_but_the_walk_can_be_followed_over_time(run, verse):
    for name, kind in PROBES.items():
        if name != "walk":
            assert {row.step for row in over_time(run, kind(), "the quick b", verse)} == {0, 1, 4}, name


def test_lines_are_named_by_what_stays_and_drawn_of_what_changes(run, verse):
    rows = over_time(run, PROBES["gradients"](), "the quick", verse)
    drawn = curves(rows)
    assert (drawn.column, drawn.lines, drawn.steps) == ("now", "part", [0, 1, 4])  # at_start is always the same
    assert drawn.values["embedding"] == [row.now for row in rows if row.part == "embedding"]
    assert drawn.values["final_norm"][0] == rows[0:10][-1].at_start
    assert curves(rows, "weights").column == "weights"
    with pytest.raises(ProbeError, match="choose one of at_start"):
        curves(rows, "part")
    lens = curves(over_time(run, PROBES["lens"](), "the quick", verse))
    assert lens.lines == "depth" and list(lens.values) == ["0", "1", "2"]  # the likeliest token changes: no name
    noise = curves(over_time(run, PROBES["noise"](batches=2), "the quick", verse), "noise")
    assert list(noise.values) == ["noise"]
    with pytest.raises(ProbeError, match="the same rows"):
        curves(rows[:-1])


def test_the_picture_has_a_line_for_each_row_from_step_0_on():
    table = Curves("induction", "head", [0, 1, 10, 2000], {"0.0": [0.1, 0.1, 0.2, 0.1], "1.0": [0.0, 0.1, np.inf, 0.9]})
    figure = over_time_figure(table, unit="of 1", title="Induction heads")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["0.0", "1.0"]
    assert axes.get_xscale() == "symlog" and axes.get_ylim()[0] <= 0 and axes.get_ylim()[1] >= 1
    assert np.isnan(axes.lines[1].get_ydata()[2])
    assert axes.get_legend().get_title().get_text() == "head" and axes.get_ylabel() == "induction"
    figure.draw_without_rendering()
    with pytest.raises(ProbeError, match="distinguished"):
        over_time_figure(Curves("x", "n", [0], {str(n): [0.0] for n in range(MAX_CURVES + 1)}))


def test_values_far_apart_are_drawn_on_a_logarithmic_axis_with_their_unit():
    figure = over_time_figure(Curves("now", "part", [0, 5], {"embedding": [2.0, 0.01]}), unit="norm")
    assert figure.axes[0].get_yscale() == "log" and figure.axes[0].get_ylabel() == "now (norm)"


def test_of_one_snapshot_a_column_can_be_drawn_when_it_is_named(run, verse):
    rows = over_time(run[1:2], PROBES["gradients"](), "the quick", verse)
    drawn = curves(rows, "weights")
    assert (drawn.lines, drawn.steps) == ("part", [1])
    assert drawn.values == {row.part: [row.weights] for row in rows}
    with pytest.raises(ProbeError, match="no column ''"):
        curves(rows)


def test_a_single_row_is_a_line_of_one_place_named_by_its_column():
    class Row(NamedTuple):
        step: int
        part: str
        loss: float

    assert curves([Row(10, "all", 2.5)], "loss") == Curves("loss", "", [10], {"loss": [2.5]})


def test_lines_of_one_snapshot_are_named_by_as_few_columns_as_tell_them_apart():
    class Row(NamedTuple):
        step: int
        head: str
        token: str
        share: float

    drawn = curves([Row(10, "0.0", "a", 0.1), Row(10, "0.1", "b", 0.2)], "share")
    assert drawn == Curves("share", "head", [10], {"0.0": [0.1], "0.1": [0.2]})


def test_lines_that_are_called_alike_cannot_be_drawn():
    class Row(NamedTuple):
        step: int
        value: float

    with pytest.raises(ProbeError, match="cannot be distinguished"):
        curves([Row(step, 1.0 * step + line) for step in (0, 1) for line in (0, 1)])


def test_the_command_keeps_snapshots_and_draws_what_it_prints(text_file, tmp_path, capsys):
    folder, picture = tmp_path / "run", tmp_path / "growth.png"
    sizes = {"context-length": 8, "hidden-dim": 8, "num-heads": 2, "num-layers": 1, "steps": 4, "sample-every": 0}
    small = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    assert main(["train", "--corpus", text_file, *small, "--snapshots", "3", "--out", str(folder)]) == 0
    assert [checkpoint.step for checkpoint in load_snapshots(folder)] == [0, 1, 4]
    capsys.readouterr()
    asked = ["probe", "growth", str(folder), "--text", "the quick", "--csv"]
    assert main([*asked, "--over-time", "--plot", str(picture), "--column", "added"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step,part,before") and len(lines) == 1 + 3 * 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*asked, "--plot", str(picture)]) == 2 and "--over-time" in capsys.readouterr().err


def test_a_run_without_snapshots_says_how_to_get_some(run, tmp_path, capsys):
    dataclasses.replace(run[-1]).save(tmp_path)
    assert isinstance(Checkpoint.load(tmp_path), Checkpoint)
    assert main(["probe", "growth", str(tmp_path), "--text", "the quick", "--over-time"]) == 2
    assert "--snapshots" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, kind in PROBES.items() if kind.steady])
def test_a_probe_of_steady_rows_is_followed_by_the_column_of_its_picture(run, verse, name):
    asked = PROBES[name].from_json(ASKED.get(name, {}))
    column = asked.picture and asked.picture.followed
    found = curves(over_time(run, asked, "the quick brown", verse), column)
    assert len(found.values) >= 1 and column in (None, found.column)

"""Sweeps: which cells a grid has, what becomes of each, and that running a command again goes on with it."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import sweeps.cell
import sweeps.run
import sweeps.store
from conftest import VERSE
from sweeps.__main__ import main
from sweeps.cell import Record
from sweeps.figures import configuration_name, configurations, final_losses_figure, learning_curves_figure
from sweeps.grid import Grid, GridError, TextConfig, cells_of, grid_from_words, identify
from sweeps.run import make_plan, run_sweep
from sweeps.store import CELLS, CURVES, OUTCOME_COLUMNS, Store, StoreError, Table
from tlab.config import ModelConfig, TrainConfig, options
from tlab.nn.activations import ACTIVATIONS, Gelu
from tlab.nn.norms import NORMS
from tlab.nn.residuals import RESIDUALS, PreNorm
from tlab.params import ones

TIMES = ("tokens_per_second", "wall_seconds")
TINY = {"context_length": (8,), "hidden_dim": (8,), "num_heads": (2,), "num_layers": (1,), "steps": (5,)}


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_text(VERSE * 10, encoding="utf-8")
    return str(path)


@pytest.fixture
def small(text_file):
    """Makes a grid of tiny models on a short text: small(norm=("layernorm", "none"), seeds=(0, 1))."""

    def make(seeds=(0,), **values):
        return Grid({**TINY, "corpus": (text_file,), **values}, seeds)

    return make


@pytest.fixture
def words(text_file):
    """The same as words of a command line, but for the axes and the folder."""
    fixed = [word for field, (value,) in TINY.items() for word in ("--set", f"{field}={value}")]
    return [*fixed, "--corpus", text_file, "--jobs", "1"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sweep"


@pytest.fixture
def register():
    """Registers a class for the time of a test."""
    added = []

    def add(registry, key, component):
        registry.add(key, label=f"Test {key}")(component)
        added.append((registry, key))

    yield add
    for registry, key in added:
        registry.remove(key)


def rows_of(folder, name="cells.csv"):
    with open(folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers_of(folder):
    """Everything in the tables that the clock has no part in."""
    rows = [{column: value for column, value in row.items() if column not in TIMES} for row in rows_of(folder)]
    return rows, (folder / "curves.csv").read_bytes()


class Identity(Gelu):
    """An activation that does nothing, with GELU's attributes."""

    def forward(self, x):
        return x.copy(), None

    def backward(self, dy, cache):
        return dy.copy()


# ------------------------------------------------------------------------------------------------ the grid


def test_axes_take_every_key_of_their_registry():
    grid = grid_from_words(axes="norm,activation")
    assert grid.values == {"norm": tuple(NORMS), "activation": tuple(ACTIVATIONS)}


def test_an_activation_registered_at_run_time_is_in_the_grid(register):
    register(ACTIVATIONS, "identity", Identity)
    assert "identity" in grid_from_words(axes="activation").values["activation"]


def test_two_values_make_an_axis_and_one_fixes_the_field():
    grid = grid_from_words(sets=["position=rope,alibi", "num_layers=3"])
    assert grid.axes == ("position",) and grid.values["num_layers"] == (3,)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("learning_rate=1,3e-2", (1.0, 0.03)),
        ("bias=true,no", (True, False)),
        ("norm=none", ("none",)),
        ("data_seed=none,4", (None, 4)),
    ],
)
def test_values_have_the_type_of_their_field(text, values):
    (found,) = grid_from_words(sets=[text]).values.values()
    assert found == values and [type(v) for v in found] == [type(v) for v in values]


def test_every_config_field_can_be_set():
    for config in (ModelConfig, TrainConfig):
        for field in options(config):
            if field not in ("vocab_size", "seed"):
                default = config.__dataclass_fields__[field].default
                assert grid_from_words(sets=[f"{field}={default}"]).values[field] == (default,)


def test_a_grid_comes_back_from_json_the_same():
    grid = grid_from_words("norm", ["learning_rate=1e-3,1e-2", "data_seed=none,1"], seeds=2)
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"axes": "nrom"}, "Did you mean 'norm'"),
        ({"axes": "learning_rate"}, "Allowed for --axes: "),
        ({"sets": ["postion=rope"]}, "Did you mean 'position'"),
        ({"sets": ["norm"]}, "--set norm=first,second"),
        ({"sets": ["norm="]}, "--set norm=first,second"),
        ({"sets": ["vocab_size=9"]}, "given by the corpus"),
        ({"sets": ["num_layers=2,2"]}, "2 twice"),
        ({"sets": ["learning_rate=1,1.0"]}, "1.0 twice"),
        ({"sets": ["norm=none"], "axes": "norm"}, "norm is given twice"),
        ({"sets": ["steps=3"], "steps": 4}, "steps is given twice"),
        ({"sets": ["seed=3,4"], "seeds": 2}, "both choose the seeds"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_a_wrong_word_is_told_with_what_is_allowed(given, told):
    with pytest.raises(GridError) as error:
        grid_from_words(**given)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"position": ("rop",)}, "Did you mean 'rope'"),
        ({"num_heads": (2, 3)}, "num_heads = 3: must divide"),
        ({"bias": ("maybe",)}, "bias = 'maybe': must be of type bool"),
        ({"learning_rate": (-1.0,)}, "must be more than 0"),
        ({"context_length": (10_000,)}, "take a longer text"),
        ({"corpus": ("nowhere",)}, "unknown corpus 'nowhere'"),
        ({"tokenizer": ("chars",)}, "Did you mean 'char'"),
        ({"seeds": (-1,)}, "seed = -1: must be at least 0"),
    ],
)
def test_a_value_that_cannot_be_is_told_before_anything_runs(small, values, told):
    with pytest.raises(GridError) as error:
        cells_of([small(**values)])
    assert told in str(error.value)


def test_every_different_complaint_is_told_once(small):
    with pytest.raises(GridError) as error:
        cells_of([small(num_heads=(2, 3, 5), norm=("layernorm", "rmsnorm"), seeds=(0, 1))])
    assert str(error.value).count("must divide") == 2


# ------------------------------------------------------------------------------------------------ ids and aliases

MODEL = ModelConfig(vocab_size=30)


def id_of(text=TextConfig(), model=MODEL, train=TrainConfig(), sha256="0" * 64):  # noqa: B008, all are frozen
    return identify(text, model, train, sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"model": dataclasses.replace(MODEL, norm="rmsnorm")},
        {"model": dataclasses.replace(MODEL, mlp_ratio=4.0)},
        {"train": TrainConfig(seed=1)},
        {"train": TrainConfig(data_seed=1)},
        {"train": TrainConfig(steps=999)},
        {"text": TextConfig(tokenizer="byte")},
        {"sha256": "1" * 64},
    ],
)
def test_what_decides_the_numbers_decides_the_id(change):
    assert id_of(**change) != id_of()


@pytest.mark.parametrize(
    "change", [{"text": TextConfig(corpus="elsewhere/verse.txt")}, {"train": TrainConfig(data_seed=0)}]
)
def test_what_does_not_decide_the_numbers_does_not_change_the_id(change):
    assert id_of(**change) == id_of()


def test_the_id_of_a_foreign_part_changes_with_its_source(register):
    config = dataclasses.replace
    register(ACTIVATIONS, "mine", Identity)
    first = id_of(model=config(MODEL, activation="mine"))
    ACTIVATIONS.remove("mine")

    class Other(Identity):
        """Another class by the same key."""

    ACTIVATIONS.add("mine", label="Mine")(Other)
    assert id_of(model=config(MODEL, activation="mine")) != first


def test_without_a_norm_all_layouts_are_one_cell(small):
    cells = cells_of([small(norm=("none",), residual=tuple(RESIDUALS))])
    assert [cell.alias_of for cell in cells] == [None] + [cells[0].cell_id] * (len(RESIDUALS) - 1)


def test_with_a_norm_every_layout_is_its_own(small):
    norms = tuple(key for key, norm in NORMS.items() if norm.has_parameters)
    assert not any(cell.alias_of for cell in cells_of([small(norm=norms, residual=tuple(RESIDUALS))]))


def test_a_layout_that_is_another_function_without_a_norm_is_no_alias(small, register):
    class Half(PreNorm):
        """Adds half of what the sublayer says."""

        def forward(self, x, run):
            y, trace = super().forward(x, run)
            return y - 0.5 * trace.added, trace

    register(RESIDUALS, "half", Half)
    cells = cells_of([small(norm=("none",), residual=("pre", "half"))])
    assert [cell.alias_of for cell in cells] == [None, None]


def test_a_layout_with_weights_of_its_own_is_no_alias(small, register):
    class Gated(PreNorm):
        """Has a weight."""

        def __init__(self, space, name, make_norm):
            super().__init__(space, name, make_norm)
            self.gate = space.declare(f"{name}.gate", (1,), ones)

    register(RESIDUALS, "gated", Gated)
    cells = cells_of([small(norm=("none",), residual=("pre", "gated"))])
    assert [cell.alias_of for cell in cells] == [None, None]


def test_aliases_are_the_same_run_to_the_last_bit(small):
    grid = small(norm=("none",), residual=tuple(RESIDUALS), num_layers=(2,))
    cells, corpora = cells_of([grid]), sweeps.run.load_corpora([grid])
    curves = [
        [point[1:] for point in sweeps.cell.train_cell(cell, corpora[cell.text]).curve]  # without its id
        for cell in cells
    ]
    assert all(curve == curves[0] for curve in curves)


def test_an_alias_is_not_trained_but_has_its_row_and_the_numbers(small, folder):
    result = run_sweep(small(norm=("none",), residual=("pre", "post")), Store(folder))
    first, alias = result.table.rows
    assert len(list((folder / CELLS).iterdir())) == 1
    assert alias["alias_of"] == first["cell_id"] and alias["val_loss"] == first["val_loss"]


# ------------------------------------------------------------------------------------------------ running


def test_one_job_and_two_give_the_same_bits(small, folder, register):
    register(ACTIVATIONS, "identity", Identity)  # a class that no worker process has read: it travels with its cells
    grid = small(activation=("gelu", "identity"), seeds=(0, 1))
    for jobs in (1, 2):
        run_sweep(grid, Store(folder / str(jobs)), jobs=jobs)
    assert {row["status"] for row in rows_of(folder / "2")} == {"ok"}
    assert numbers_of(folder / "1") == numbers_of(folder / "2")


def test_a_cell_has_one_blas_thread(small, monkeypatch):
    seen = []

    def look(*args, **kwargs):
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        raise RuntimeError("seen enough")

    monkeypatch.setattr(sweeps.cell, "Trainer", look)
    grid = small()
    (cell,), corpora = cells_of([grid]), sweeps.run.load_corpora([grid])
    with threadpool_limits(2, user_api="blas"):
        sweeps.cell.train_cell(cell, corpora[cell.text])
    assert set(seen) == {1}


def test_the_tables_have_a_row_a_cell_and_a_line_a_value(small, folder):
    run_sweep(small(norm=("layernorm", "none"), seeds=(0, 3)), Store(folder))
    rows, points = rows_of(folder), rows_of(folder, "curves.csv")
    assert list(rows[0]) == ["cell_id", "alias_of", "status", "norm", "seed", *OUTCOME_COLUMNS]
    assert [(row["norm"], row["seed"]) for row in rows] == [
        ("layernorm", "0"), ("layernorm", "3"), ("none", "0"), ("none", "3"),
    ]  # fmt: skip
    last = [p for p in points if p["cell_id"] == rows[0]["cell_id"] and p["split"] == "validation"][-1]
    assert (last["step"], last["metric"], last["value"]) == ("5", "loss", rows[0]["val_loss"])


def test_the_manifest_tells_what_was_run_by_what_and_on_which_text(small, folder):
    grid = small(norm=("layernorm", "none"))
    run_sweep(grid, Store(folder), command=["python", "-m", "sweeps", "run"])
    (run,) = json.loads((folder / "manifest.json").read_bytes())["runs"]
    assert Grid.from_json(run["grid"]) == grid and run["command"][:3] == ["python", "-m", "sweeps"]
    assert run["numpy"] == np.__version__ and run["blas"]
    assert run["corpora"][0]["sha256"] == cells_of([grid])[0].corpus_sha256


def test_a_failing_cell_is_a_row_and_the_others_run(small, folder, register):
    class Broken(Identity):
        """Raises."""

        def forward(self, x):
            raise ZeroDivisionError("it broke")

    register(ACTIVATIONS, "broken", Broken)
    run_sweep(small(activation=("broken", "gelu")), Store(folder))
    failed, fine = rows_of(folder)
    assert (failed["status"], failed["error_type"], failed["error_message"]) == (
        "failed", "ZeroDivisionError", "it broke",
    )  # fmt: skip
    assert fine["status"] == "ok"
    record = Record.from_json((folder / CELLS / f"{failed['cell_id']}.json").read_bytes())
    assert "in forward" in record.traceback_tail


def test_a_diverged_cell_is_a_row_with_its_step(small, folder):
    result = run_sweep(small(learning_rate=(1e6,), gradient_clip=(0.0,), warmup_steps=(0,)), Store(folder))
    (row,) = result.table.rows
    assert row["status"] == "diverged" and row["val_loss"] is None
    assert f"diverged at step {row['steps_done'] + 1}" in row["error_message"]


def test_a_result_that_cannot_be_written_is_told_and_the_sweep_goes_on(small, folder, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sweeps.run, "add_record", full)
    result = run_sweep(small(seeds=(0, 1)), Store(folder))
    assert result.missing == 2 and capsys.readouterr().err.count("No space left") == 2


def test_a_cell_whose_curve_could_not_be_written_is_not_done(small, folder, monkeypatch):
    def full_for_curves(path, content):
        if path.suffix == ".csv":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    store, grid = Store(folder), small()
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.store, "write_atomically", full_for_curves)
        with pytest.raises(OSError, match="No space"):
            run_sweep(grid, store)  # the tables are the last that cannot be written
    assert len(make_plan(grid, Store(folder)).missing) == 1


# ------------------------------------------------------------------------------------------------ going on


def test_the_same_sweep_again_trains_nothing(small, folder):
    grid = small(seeds=(0, 1))
    run_sweep(grid, Store(folder))
    before = {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()}
    run_sweep(grid, Store(folder))
    assert {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()} == before


HARMS = ["removed", "without curve", "curve cut short", "cut short", "not JSON", "another cell's", "a loss in words"]


@pytest.mark.parametrize("harm", HARMS)
def test_a_lost_or_damaged_result_alone_is_trained_again(small, folder, harm):
    grid = small(seeds=(0, 1))
    run_sweep(grid, Store(folder))
    undisturbed = numbers_of(folder)
    harmed, other = sorted((folder / CELLS).iterdir())
    curve = folder / CURVES / f"{harmed.stem}.csv"
    in_words = {**json.loads(harmed.read_bytes()), "val_loss": "abc"}
    content = {
        "cut short": harmed.read_bytes()[:100],
        "not JSON": b"\xff",
        "another cell's": other.read_bytes(),
        "a loss in words": json.dumps(in_words).encode(),
    }
    if harm in content:
        harmed.write_bytes(content[harm])
    elif harm == "curve cut short":
        curve.write_bytes(curve.read_bytes()[:-5])
    else:
        (harmed if harm == "removed" else curve).unlink()
    assert [cell.cell_id for cell in make_plan(grid, Store(folder)).missing] == [harmed.stem]
    run_sweep(grid, Store(folder))
    assert numbers_of(folder) == undisturbed


def test_more_seeds_and_levels_train_the_new_cells_only(small, folder):
    run_sweep(small(norm=("layernorm",), seeds=(0,)), Store(folder))
    grid = small(norm=("layernorm", "rmsnorm"), seeds=(0, 1))
    assert len(make_plan(grid, Store(folder)).missing) == 3
    assert len(run_sweep(grid, Store(folder)).table.rows) == 4


def test_two_grids_in_a_folder_make_one_table_that_tells_them_apart(small, folder):
    run_sweep(small(norm=("layernorm", "rmsnorm")), Store(folder))
    table = run_sweep(small(norm=("layernorm",), steps=(7,)), Store(folder)).table
    assert table.axes == ("norm", "steps")
    assert [(row["norm"], row["steps"]) for row in table.rows] == [("layernorm", 5), ("rmsnorm", 5), ("layernorm", 7)]


def test_failed_cells_are_trained_again_when_asked(small, folder, monkeypatch):
    grid = small()
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.cell, "Trainer", None)
        assert run_sweep(grid, Store(folder)).counts == {"failed": 1}
    assert run_sweep(grid, Store(folder)).counts == {"failed": 1}
    assert run_sweep(grid, Store(folder), retry_failed=True).counts == {"ok": 1}


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="no sweep's folder"):
        Store(folder)


def test_a_damaged_manifest_is_told(folder):
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "tlab sw')
    with pytest.raises(StoreError, match="damaged"):
        Store(folder)


# ------------------------------------------------------------------------------------------------ command line


def test_the_command_trains_a_grid_and_writes_tables_and_figures(words, folder, capsys):
    assert main(["run", "--axes", "norm", "--seeds", "2", "--out", str(folder), *words]) == 0
    kinds = {path.name for path in folder.iterdir()}
    assert {"cells.csv", "curves.csv", "manifest.json", "learning_curves.png", "final_losses.svg"} <= kinds
    assert "LayerNorm" in capsys.readouterr().out


def test_wrong_usage_is_exit_2_and_nothing_is_written(words, folder, capsys):
    assert main(["run", "--set", "position=rop", "--out", str(folder), *words]) == 2
    assert "Did you mean 'rope'" in capsys.readouterr().err and not folder.exists()


def test_an_unknown_flag_is_exit_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--axis", "norm"])
    assert ended.value.code == 2


def test_a_failed_cell_is_exit_1(words, folder, monkeypatch, capsys):
    monkeypatch.setattr(sweeps.cell, "Trainer", None)
    assert main(["run", "--out", str(folder), *words]) == 1
    assert "--retry-failed" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done_and_is_exit_130(words, folder, monkeypatch, capsys):
    train, trained = sweeps.run.train_cell, []

    def interrupted(cell, corpus):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(cell.cell_id)
        return train(cell, corpus)

    monkeypatch.setattr(sweeps.run, "train_cell", interrupted)
    assert main(["run", "--set", "seed=0,1,2", "--out", str(folder), *words]) == 130
    assert [row["cell_id"] for row in rows_of(folder)] == trained
    assert "1 cell to go" in capsys.readouterr().err


def test_plan_counts_and_writes_nothing(words, folder, capsys):
    words = words[: words.index("--jobs")]
    assert main(["plan", "--axes", "norm,residual", "--out", str(folder), *words]) == 0
    assert "9 configurations x 1 seed = 9 cells, 2 of them the same function" in capsys.readouterr().out
    assert not folder.exists()


# ------------------------------------------------------------------------------------------------ figures


def row(norm, seed, loss, status="ok", alias_of=None, residual="pre"):
    cell_id = f"{norm}-{residual}-{seed}"
    return {"cell_id": cell_id, "alias_of": alias_of, "status": status, "norm": norm, "residual": residual,
            "seed": seed, "val_loss": loss}  # fmt: skip


TABLE = Table(
    ("norm", "residual"),
    [
        row("layernorm", 0, 2.0), row("layernorm", 1, 2.2), row("rmsnorm", 0, 1.5), row("rmsnorm", 1, None, "diverged"),
        row("none", 0, 3.0), row("none", 0, 3.0, alias_of="none-pre-0", residual="post"),
    ],
)  # fmt: skip


def test_configurations_are_sorted_by_their_mean_and_show_what_diverged():
    ranked = configurations(TABLE)
    assert [c.mean for c in ranked] == [1.5, 2.1, 3.0]
    assert [c.accidents for c in ranked] == ["1 of 2 diverged", "", ""]


def test_aliases_are_one_configuration_under_all_its_names():
    assert configuration_name(configurations(TABLE)[-1]) == "no norm · Pre-LN = Post-LN"


def test_a_level_says_how_many_of_its_runs_diverged():
    curves = {r["cell_id"]: [(1, 3.0), (2, 2.0)] for r in TABLE.rows}
    labels = [line.get_label() for line in learning_curves_figure(TABLE, curves).axes[0].get_lines()]
    assert labels == ["LayerNorm", "RMSNorm (1 of 2 diverged)", "no norm"]


def test_the_lower_panel_is_paired_by_seed():
    curves = {r["cell_id"]: [(1, 3.0 + r["seed"]), (2, r["seed"] + (r["norm"] == "rmsnorm"))] for r in TABLE.rows}
    table = Table(("norm",), [r | {"status": "ok"} for r in TABLE.rows if r["norm"] != "none"])
    below = learning_curves_figure(table, curves).axes[1]
    drawn = [line.get_ydata()[-1] for line in below.get_lines()[:2]]
    assert drawn == [-0.5, 0.5]  # the seeds' own difference of 1 is gone


@pytest.mark.parametrize(
    "table",
    [
        Table((), []),
        Table((), [row("none", 0, 2.0)]),
        Table(("norm",), [row("none", 0, None, "failed")]),
        Table(("learning_rate",), [row("none", i, 2.0) | {"learning_rate": 10.0**-i} for i in range(9)]),
    ],
    ids=["nothing", "one run", "only failures", "nine learning rates"],
)
def test_any_table_can_be_drawn(table):
    for figure in (learning_curves_figure(table, {}), final_losses_figure(table)):
        figure.draw_without_rendering()

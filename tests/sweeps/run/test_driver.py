"""Sweeps: what becomes of each cell, and that running a command again goes on with it."""

import ast
import contextlib
import csv
import ctypes
import json
import os
import platform
from pathlib import Path

import numpy as np
import pandas
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import sweeps.results.write
import sweeps.run.driver
import sweeps.run.train_cell
import sweeps.run.worker
import sweeps.store.folder
import sweeps.store.provenance
import sweeps.store.record
from sweeps.grid.grid import Grid, cells_of, load_corpora
from sweeps.report.run_figures import configuration_name, configurations, final_losses_figure, learning_curves_figure
from sweeps.results.table import CIRCUMSTANCES, OUTCOME_COLUMNS, Table
from sweeps.run.driver import Driver, Execution, run_sweep
from sweeps.run.plan import make_plan
from sweeps.run.train_cell import train_cell
from sweeps.run.worker import Task, run_task
from sweeps.store.folder import CELLS, CURVES, STARTED, Store, StoreError, add_record, mark_started, read_record
from sweeps.store.lock import DRIVER, LOCK, LockedError, holder_of, locked
from sweeps.store.provenance import source_hash
from sweeps.store.record import Record, content_sha256
from tlab.nn.activations import ACTIVATIONS, Gelu


def rows_of(folder, name="cells.csv"):
    with open(folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers_of(folder):
    """Everything in the tables that the clock has no part in."""
    rows = [{column: value for column, value in row.items() if column not in CIRCUMSTANCES} for row in rows_of(folder)]
    return rows, (folder / "curves.csv").read_bytes()


class Identity(Gelu):
    """An activation that does nothing, with GELU's attributes."""

    def forward(self, x):
        return x.copy(), None

    def backward(self, dy, cache):
        return dy.copy()


# ------------------------------------------------------------------------------------------------ running


def test_one_job_and_two_give_the_same_bits(small, folder, register):
    register(ACTIVATIONS, "identity", Identity)  # a class that no worker process has read: it travels with its cells
    grid = small(activation=("gelu", "identity"), seeds=(0, 1))
    for jobs in (1, 2):
        run_sweep(grid, Store(folder / str(jobs)), Execution(jobs=jobs))
    assert {row["status"] for row in rows_of(folder / "2")} == {"ok"}
    assert numbers_of(folder / "1") == numbers_of(folder / "2")


def test_no_more_processes_are_started_than_there_are_cells(small, folder, monkeypatch):
    asked = []

    @contextlib.contextmanager
    def starting(jobs, scheduler, corpora):
        asked.append(jobs)
        raise KeyboardInterrupt
        yield

    monkeypatch.setitem(sweeps.run.driver.BACKENDS, "loky", starting)
    for number, jobs in ((3, 100), (1, 100), (3, 2), (3, 1)):
        run_sweep(small(seeds=range(number)), Store(folder / f"{number} {jobs}"), Execution(jobs=jobs))
    assert asked == [3, 2, 2, 1]  # with one alone it would be this process, which no timeout ends


def test_an_interrupt_that_joblib_stumbles_over_is_an_interrupt(small, folder, monkeypatch):
    @contextlib.contextmanager
    def starting(jobs, scheduler, corpora):
        def train(tasks, alone):
            try:
                raise KeyboardInterrupt
            finally:
                raise RuntimeError("cannot join thread before it is started")
            yield

        yield train

    monkeypatch.setitem(sweeps.run.driver.BACKENDS, "loky", starting)
    assert run_sweep(small(), Store(folder), Execution()).interrupted
    assert (folder / "cells.csv").exists()


def test_a_cell_has_one_blas_thread(small, monkeypatch):
    seen = []

    def look(*args, **kwargs):
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        raise RuntimeError("seen enough")

    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", look)
    grid = small()
    (cell,), corpora = cells_of([grid]), load_corpora([grid])
    with threadpool_limits(2, user_api="blas"):
        sweeps.run.train_cell.train_cell(cell, corpora[cell.text])
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


@pytest.fixture
def full_disk(monkeypatch):
    """From now on nothing can be written any more whose name ends so: full_disk(".csv")."""

    def fill(*endings):
        write = sweeps.store.folder.write_atomically

        def full(path, content):
            if path.name.endswith(endings):
                raise OSError(28, "No space left on device")
            write(path, content)

        for module in (sweeps.store.folder, sweeps.results.write):
            monkeypatch.setattr(module, "write_atomically", full)

    return fill


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_a_full_disk_ends_the_sweep_with_a_reason_and_the_same_call_goes_on(
    small, folder, full_disk, monkeypatch, ending
):
    grid = small(seeds=(0, 1))
    Store(folder).make_folder()
    run_sweep(small(seeds=(7,)), Store(folder))
    with monkeypatch.context():
        full_disk(*{".csv": [".csv"], ".json": [f"{cell.cell_id}.json" for cell in cells_of([grid])]}[ending])
        result = run_sweep(grid, Store(folder))
        assert result.missing == 2 and "No space left" in result.problem
    monkeypatch.undo()
    assert len(make_plan(grid, Store(folder)).missing) == 2
    assert run_sweep(grid, Store(folder)).missing == 0


# ------------------------------------------------------------------------------------------------ going on


def test_the_same_sweep_again_trains_nothing(small, folder):
    grid = small(seeds=(0, 1))
    run_sweep(grid, Store(folder))
    before = {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()}
    run_sweep(grid, Store(folder))
    assert {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()} == before


HARMS = [
    "removed",
    "without curve",
    "curve cut short",
    "a bit of the curve",
    "cut short",
    "not JSON",
    "another cell's",
    "a loss in words",
]


def flip_last_digit(curve: Path) -> None:
    """Another number of the same length."""
    content = bytearray(curve.read_bytes())
    content[-2] ^= 1
    curve.write_bytes(bytes(content))


def forget_curve_sha256(path: Path) -> None:
    """Make a record as versions wrote it that kept only the size of its curve."""
    content = json.loads(path.read_bytes())
    del content["curve_sha256"], content["sha256"]
    path.write_text(json.dumps({**content, "sha256": content_sha256(content)}))


@pytest.mark.parametrize(
    ("spoil", "counts"),
    [(lambda curve: None, True), (lambda curve: curve.write_bytes(curve.read_bytes()[:-2] + b"x\n"), False)],
    ids=["intact", "no number"],
)
def test_a_record_that_knows_only_the_size_of_its_curve_counts_if_that_is_one(small, folder, spoil, counts):
    grid = small(seeds=(0,))
    run_sweep(grid, Store(folder))
    (path,) = (folder / CELLS).iterdir()
    forget_curve_sha256(path)
    spoil(folder / CURVES / f"{path.stem}.csv")
    assert (read_record(folder, path.stem) is not None) == counts


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
    elif harm == "a bit of the curve":
        flip_last_digit(curve)
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


def test_records_that_are_read_share_the_names_of_their_settings(small, folder):
    run_sweep(small(norm=("layernorm", "none")), Store(folder))
    a, b = (Record.from_json(path.read_bytes()) for path in (folder / CELLS).glob("*.json"))
    assert len(a.settings) > 40 and all(one is other for one, other in zip(a.settings, b.settings, strict=True))


def test_a_run_plans_and_reads_its_records_once(small, folder, monkeypatch):
    run_sweep(small(seeds=(0, 1)), Store(folder))
    plans, reads = [], []
    monkeypatch.setattr(sweeps.run.driver, "make_plan", lambda *a, **k: plans.append(a) or make_plan(*a, **k))
    monkeypatch.setattr(sweeps.store.folder, "read_record", lambda f, i: reads.append(i) or read_record(f, i))
    announced = []
    run_sweep(small(seeds=(0, 1, 2)), Store(folder), announce=announced.append)
    assert len(plans) == len(announced) == 1
    assert len(reads) == 3  # the two that were there, before; the new one, after


def test_two_grids_in_a_folder_make_one_table_that_tells_them_apart(small, folder):
    run_sweep(small(norm=("layernorm", "rmsnorm")), Store(folder))
    table = run_sweep(small(norm=("layernorm",), steps=(7,)), Store(folder)).table
    assert table.axes == ("norm", "steps")
    assert [(row["norm"], row["steps"]) for row in table.rows] == [("layernorm", 5), ("rmsnorm", 5), ("layernorm", 7)]


def test_failed_cells_are_trained_again_when_asked(small, folder, monkeypatch):
    grid = small()
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.run.train_cell, "Trainer", None)
        assert run_sweep(grid, Store(folder)).counts == {"failed": 1}
    assert run_sweep(grid, Store(folder)).counts == {"failed": 1}
    assert run_sweep(grid, Store(folder), again=["failed"]).counts == {"ok": 1}


def test_when_a_worker_dies_the_old_failure_is_not_taken_for_the_result_of_the_retry(small, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.run.train_cell, "Trainer", None)
        run_sweep(small(), Store(folder))
    plan = make_plan(None, Store(folder), again=["failed"])
    driver = Driver(plan, Store(folder), Execution())
    (task,) = driver.tasks(plan.missing)
    assert not driver.adopt_result(task.cell.cell_id)
    assert list(driver.pending) == [task.cell.cell_id]
    add_record(folder, train_cell(task.cell, plan.corpora[task.cell.text]))
    with driver.progress:
        assert driver.adopt_result(task.cell.cell_id)
    assert not driver.pending and driver.failures == 0


def test_a_folder_of_something_else_is_left_alone(folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not the folder of a sweep"):
        Store(folder)


def test_a_damaged_manifest_is_told(folder):
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": "tlab sw')
    with pytest.raises(StoreError, match="damaged"):
        Store(folder)


def test_of_cells_that_were_begun_too_often_the_sweep_goes_on_without(small, folder):
    grid = small(seeds=(0, 1))
    first = cells_of([grid])[0]
    Store(folder).make_folder()
    mark_started(folder, first.cell_id, 3)
    run_sweep(grid, Store(folder), Execution(attempts=3))
    killed, fine = rows_of(folder)
    assert (killed["cell_id"], killed["status"], killed["attempts"]) == (first.cell_id, "killed", "3")
    assert fine["status"] == "ok" and not list((folder / STARTED).iterdir())


def test_a_killed_cell_is_tried_again_by_name_or_status(small, folder):
    grid = small()
    (cell,) = cells_of([grid])
    Store(folder).make_folder()
    mark_started(folder, cell.cell_id, 3)
    assert run_sweep(grid, Store(folder)).counts == {"killed": 1}
    assert run_sweep(None, Store(folder), again=["killed"]).counts == {"ok": 1}
    before = (folder / CELLS / f"{cell.cell_id}.json").stat().st_mtime_ns
    run_sweep(None, Store(folder), again=[cell.cell_id[:6]])
    assert (folder / CELLS / f"{cell.cell_id}.json").stat().st_mtime_ns > before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_hangs_in_a_step_is_a_timeout_and_the_sweep_goes_on(small, folder, register, jobs):
    class Hangs(Identity):
        """Never comes back."""

        def forward(self, x):
            while True:
                pass

    register(ACTIVATIONS, "hangs", Hangs)
    run_sweep(small(activation=("hangs", "gelu")), Store(folder), Execution(jobs=jobs, timeout=1.0))
    assert [(row["activation"], row["status"]) for row in rows_of(folder)] == [("hangs", "timeout"), ("gelu", "ok")]


def test_a_cell_that_hangs_where_no_exception_comes_through_is_a_timeout(small, folder, register):
    class Called(Identity):
        """Hangs in a function that C calls, where Python drops every exception."""

        def forward(self, x):
            def hang():
                while True:
                    pass

            ctypes.CFUNCTYPE(None)(hang)()

    register(ACTIVATIONS, "called", Called)
    run_sweep(small(activation=("called", "gelu")), Store(folder), Execution(jobs=2, timeout=0.5))
    assert [(row["activation"], row["status"]) for row in rows_of(folder)] == [("called", "timeout"), ("gelu", "ok")]


def test_a_cell_that_hangs_and_lets_no_other_thread_run_is_ended_as_well(small, folder, register):
    class Holds(Identity):
        """Never comes back, and keeps Python's lock."""

        def forward(self, x):
            ctypes.PyDLL(None).sleep(10_000)

    register(ACTIVATIONS, "holds", Holds)
    run_sweep(small(activation=("holds", "gelu")), Store(folder), Execution(jobs=2, timeout=0.5, attempts=1))
    assert [(row["activation"], row["status"]) for row in rows_of(folder)] == [("holds", "killed"), ("gelu", "ok")]


def test_a_cell_that_takes_too_long_is_a_timeout_with_the_steps_that_it_made(small, folder, monkeypatch):
    (cell,), corpora = cells_of([small(steps=(10_000,))]), load_corpora([small()])
    record = train_cell(cell, corpora[cell.text], timeout=0.2)
    assert (record.status, record.error_message) == ("timeout", "not done after 0.2 s")
    assert 0 < record.steps_done < 10_000 and len(record.curve) >= record.steps_done


def test_a_limit_too_short_for_any_step_is_a_timeout_of_every_cell(small, folder):
    result = run_sweep(small(seeds=(0, 1, 2, 3)), Store(folder), Execution(jobs=2, timeout=1e-4))
    assert result.counts == {"timeout": 4} and result.problem is None


def test_after_so_many_failures_no_other_cell_is_begun(small, folder, monkeypatch):
    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", None)
    result = run_sweep(small(seeds=(0, 1, 2, 3)), Store(folder), Execution(max_failures=2))
    assert result.counts == {"failed": 2} and result.missing == 2 and "after 2 failed" in result.problem


def test_two_drivers_do_not_share_a_folder(small, folder):
    Store(folder).make_folder()
    with locked(folder), pytest.raises(LockedError, match=f"process {os.getpid()} on"):
        run_sweep(small(), Store(folder))


def test_the_lock_of_a_dead_driver_is_none(small, folder):
    Store(folder).make_folder()
    (folder / LOCK).write_text("")
    (folder / DRIVER).write_text('{"pid": 999999, "host": "elsewhere"}')
    assert holder_of(folder) == {}
    assert run_sweep(small(), Store(folder)).counts == {"ok": 1} and not (folder / DRIVER).exists()


def test_a_folder_says_who_is_at_work_in_it(folder):
    Store(folder).make_folder()
    assert holder_of(folder) == {}
    with locked(folder):
        holder = holder_of(folder)
    assert (holder["pid"], holder["host"]) == (os.getpid(), platform.node())
    assert holder_of(folder) == {}


def test_results_of_other_code_are_not_mixed_unless_asked(small, folder, monkeypatch):
    run_sweep(small(seeds=(0,)), Store(folder))
    for module in (sweeps.store.record, sweeps.run.driver, sweeps.run.worker):
        monkeypatch.setattr(module, "source_hash", lambda: "0123456789ab")
    run_sweep(small(seeds=(0,)), Store(folder))  # nothing to train, nothing to mix
    with pytest.raises(StoreError, match="--mixed-source"):
        run_sweep(small(seeds=(0, 1)), Store(folder))
    run_sweep(small(seeds=(0, 1)), Store(folder), Execution(mixed_source=True))
    first, second = rows_of(folder)
    assert second["source"] == "0123456789ab" != first["source"]


def test_another_machine_than_last_time_is_a_warning(small, folder, monkeypatch, capsys):
    run_sweep(small(seeds=(0,)), Store(folder))
    monkeypatch.setattr(sweeps.store.provenance, "processor", lambda: "another processor")
    run_sweep(small(seeds=(0, 1)), Store(folder))
    assert "now another processor" in capsys.readouterr().err


def test_the_same_libraries_loaded_in_another_order_are_no_other_machine():
    libraries = [{"internal_api": "openblas", "version": version, "num_threads": 2} for version in ("0.3.27", "0.3.29")]
    changed_since = sweeps.store.provenance.changed_since
    assert changed_since({"blas": libraries}, {"blas": libraries[::-1]}) == []
    assert "0.3.29" in changed_since({"blas": libraries}, {"blas": libraries[:1]})[0]


def test_comments_and_docstrings_are_no_other_code():
    def tree(text):
        return ast.dump(sweeps.store.provenance.WithoutDocstrings().visit(ast.parse(text)))

    assert tree("def f():\n    'says'\n    return 1  # one") == tree("def f():\n    return 1")
    assert tree("def f():\n    return 1") != tree("def f():\n    return 2")


def test_a_worker_with_other_code_trains_nothing(small, folder):
    grid = small()
    (cell,), corpora = cells_of([grid]), load_corpora([grid])
    task = Task(cell, [], folder, b"", "0" * 12, 1, None, ("elsewhere", 1))
    assert "OtherSource" in run_task(task._replace(driver=(platform.node(), os.getpid())), corpora[cell.text]).message


def test_a_worker_without_the_drivers_disk_sends_the_record_back(small, folder):
    grid = small()
    (cell,), corpora = cells_of([grid]), load_corpora([grid])
    task = Task(cell, [], folder, b"a lock", source_hash(), 1, None, (platform.node(), os.getpid()))
    outcome = run_task(task, corpora[cell.text])
    assert outcome.record is not None and len(outcome.record.curve) == 2 * 5 + 1 and not folder.exists()


def test_what_a_killed_driver_left_half_written_is_removed_and_nobodys_own_hidden_files(small, folder):
    run_sweep(small(), Store(folder))
    (folder / ".gitignore").write_text("*.parquet")
    (folder / ".git").mkdir()
    with sweeps.results.write.replaced(folder / CELLS / "abc.json") as file:
        half = Path(file.name)  # as a file is named while it is written
        file.write(b"{")
    half.write_text("{")
    run_sweep(small(), Store(folder))
    assert not half.exists() and (folder / ".gitignore").exists() and (folder / ".git").exists()


def test_parquet_and_csv_hold_the_same(small, folder):
    run_sweep(small(norm=("layernorm", "none"), seeds=(0, 1)), Store(folder))
    for name in ("cells", "curves", "summary"):
        left = pandas.read_csv(folder / f"{name}.csv")
        right = pandas.read_parquet(folder / f"{name}.parquet")
        assert list(left) == list(right) and len(left) == len(right) > 0
        for column in left.select_dtypes("number"):
            np.testing.assert_allclose(
                left[column], right[column].astype(float), rtol=1e-12, atol=1e-15
            )  # old pandas reads the last bit wrong


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


def test_configurations_are_sorted_by_seeds_lost_then_mean_and_show_what_diverged():
    ranked = configurations(TABLE)
    assert [c.mean for c in ranked] == [2.1, 3.0, 1.5]  # 1.5 is of the one seed that was lucky
    assert [c.caveat for c in ranked] == ["", "", "1 of 2 diverged"]


def test_aliases_are_one_configuration_under_all_its_names():
    assert configuration_name(configurations(TABLE)[1]) == "no norm · Pre-LN = Post-LN"


def test_aliases_are_one_configuration_also_where_another_of_them_was_trained_with_other_seeds():
    """As in a folder to which levels and seeds were added: seed 0 was trained as Post-LN, seed 1 as Pre-LN."""
    rows = [
        row("none", 0, 3.0, residual="post"), row("none", 0, 3.0, alias_of="none-post-0"),
        row("none", 1, 4.0), row("none", 1, 4.0, alias_of="none-pre-1", residual="post"),
    ]  # fmt: skip
    (one,) = configurations(Table(("norm", "residual"), rows))
    assert one.losses == {0: 3.0, 1: 4.0} and one.levels["residual"] == ["post", "pre"]
    assert one.ran == ["none-post-0", "none-pre-1"]


def test_a_level_says_how_many_of_its_runs_diverged():
    curves = {r["cell_id"]: [(1, 3.0), (2, 2.0)] for r in TABLE.rows}
    labels = [line.get_label() for line in learning_curves_figure(TABLE, curves, "norm").axes[0].get_lines()]
    assert labels == ["LayerNorm", "RMSNorm (1 of 2 diverged)", "no norm"]


def test_a_level_does_not_look_better_for_the_cells_that_diverged():
    """Post-LN loses 5 nats to Pre-LN; without a norm its cell diverged, and is left out of no norm and LayerNorm."""
    rows = [
        row("layernorm", 0, 2.0), row("layernorm", 0, 7.0, residual="post"),
        row("none", 0, 2.5), row("none", 0, None, "diverged", residual="post"),
    ]  # fmt: skip
    curves = {r["cell_id"]: [(1, r["val_loss"]), (2, r["val_loss"])] for r in rows if r["val_loss"]}
    above = learning_curves_figure(Table(("norm", "residual"), rows), curves, "norm").axes[0]
    assert [line.get_ydata()[-1] for line in above.get_lines()] == [2.0, 2.5]


def test_the_lower_panel_is_paired_by_seed():
    curves = {r["cell_id"]: [(1, 3.0 + r["seed"]), (2, r["seed"] + (r["norm"] == "rmsnorm"))] for r in TABLE.rows}
    table = Table(("norm",), [r | {"status": "ok"} for r in TABLE.rows if r["norm"] != "none"])
    below = learning_curves_figure(table, curves, "norm").axes[1]
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
    axis = next(iter(table.axes), None)
    for figure in (learning_curves_figure(table, {}, axis), final_losses_figure(table)):
        figure.draw_without_rendering()

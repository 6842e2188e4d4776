"""`python -m sweeps`: what its commands print, write and return."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock

import sweeps.run.train_cell
import sweeps.run.worker
import tlab.cli.commands
from support import FIRST_EDITION
from sweeps.__main__ import main
from sweeps.console import plan_details
from sweeps.run.plan import make_plan
from sweeps.run.progress import Progress
from sweeps.store.folder import CELLS, Store
from sweeps.store.provenance import without_folders

# Of later parts the numbers below know nothing.
NORMS_AND_LAYOUTS = [
    word for slot in ("norm", "residual") for word in ("--set", f"{slot}={','.join(FIRST_EDITION[slot])}")
]


def rows_of(folder):
    return read_rows((folder / "cells.csv").read_text().splitlines())


def read_rows(lines):
    import csv

    return list(csv.DictReader(lines))


def without_jobs(words):
    return words[: words.index("--jobs")]


# ------------------------------------------------------------------------------------------------ run


def test_a_run_writes_the_tables_and_prints_a_ranking(words, folder, capsys):
    assert main(["run", "--axes", "norm", "--seeds", "2", "--out", str(folder), *words]) == 0
    kinds = {path.name for path in folder.iterdir()}
    assert {f"{name}.{kind}" for name in ("cells", "curves", "summary") for kind in ("csv", "parquet")} <= kinds
    assert "LayerNorm" in capsys.readouterr().out


def test_a_run_into_a_folder_with_other_cells_says_so_and_by_what_they_differ(words, folder, capsys):
    assert main(["run", "--out", str(folder), *words]) == 0
    assert "earlier" not in capsys.readouterr().err
    assert main(["run", "--out", str(folder), *words, "--set", "weight_decay=0.3"]) == 0
    told = "The folder has 1 cell of earlier commands, too: its tables are of all, which also differ in weight decay."
    assert told in capsys.readouterr().err
    assert main(["run", "--out", str(folder), *words, "--set", "weight_decay=0.3,0.5"]) == 0
    assert "1 cell of earlier commands, too: its tables are of all." in capsys.readouterr().err


def test_tlab_sweep_is_the_same_command(words, folder):
    assert tlab.cli.commands.main(["sweep", "run", "--out", str(folder), *words]) == 0
    assert len(rows_of(folder)) == 1


def test_wrong_usage_is_exit_2_and_nothing_is_written(words, folder, capsys):
    assert main(["run", "--set", "position=rop", "--out", str(folder), *words]) == 2
    assert "Did you mean 'rope'" in capsys.readouterr().err and not folder.exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--on-error", "stop", "--max-failures", "3"], "give one"),
        (["--scheduler", "tcp://host:1"], "add --backend dask"),
        (["--timeout", "0"], "more than 0 seconds"),
        (["--attempts", "0"], "at least 1"),
        (["--axes", ""], "--axes is empty"),
        (["--from", " "], "--from is empty"),
        (["--seeds", "10001"], "at most 10,000"),
    ],
)
def test_contradictory_settings_are_told(words, folder, capsys, flags, told):
    assert main(["run", *flags, "--out", str(folder), *words]) == 2
    assert told in capsys.readouterr().err and not folder.exists()


def test_an_unknown_flag_is_exit_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--axis", "norm"])
    assert ended.value.code == 2


def test_a_folder_that_cannot_be_written_is_exit_2(words, tmp_path, capsys):
    (tmp_path / "file").write_text("a file in the place of a folder")
    assert main(["run", "--out", str(tmp_path / "file" / "sweep"), *words]) == 2
    assert "choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "retry", "report", "export", "run --out"])
def test_a_folder_of_a_name_that_no_disk_takes_is_exit_2(words, command, capsys):
    given = words if command.startswith("run") else []
    assert main([*command.split(), "x" * 300, *given]) == 2
    told = capsys.readouterr().err
    assert f"error: {'x' * 300}" in told and "finished cells" not in told


def test_a_failed_cell_is_exit_1_and_has_a_line_at_once(words, folder, monkeypatch, capsys):
    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", None)
    assert main(["run", "--out", str(folder), *words]) == 1
    told = capsys.readouterr().err
    assert "seed=0: failed with TypeError" in told and "sweeps retry" in told
    assert "seed=0: failed with TypeError" in (folder / "log.txt").read_text()


def test_on_error_stop_ends_at_the_first_failure(words, folder, monkeypatch, capsys):
    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", None)
    assert main(["run", "--seeds", "3", "--on-error", "stop", "--out", str(folder), *words]) == 1
    assert len(rows_of(folder)) == 1 and "2 cells to go" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done_and_is_exit_130(words, folder, monkeypatch, capsys):
    train, trained = sweeps.run.worker.train_cell, []

    def interrupted(cell, corpus, **options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(cell.cell_id)
        return train(cell, corpus, **options)

    monkeypatch.setattr(sweeps.run.worker, "train_cell", interrupted)
    assert main(["run", "--set", "seed=0,1,2", "--out", str(folder), *words]) == 130
    assert [row["cell_id"] for row in rows_of(folder)] == trained
    assert "1 cell to go" in capsys.readouterr().err and not list((folder / "started").iterdir())


def test_sigterm_ends_driver_and_workers_with_tables_and_exit_130(folder):
    grid = ["--seeds", "8", "--steps", "3000", "--corpus", "brackets", "--jobs", "2", "--out", str(folder)]
    command = [sys.executable, "-m", "sweeps", "run", *grid]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        end = time.monotonic() + 60
        while not (folder / "started").exists() or len(list((folder / "started").iterdir())) < 2:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted with 8 cells to go" in output and (folder / "cells.csv").exists()
    assert not list((folder / "started").iterdir())


# ------------------------------------------------------------------------------------------------ plan, status, retry


def test_plan_counts_estimates_and_writes_nothing(words, folder, capsys):
    assert main(["plan", *NORMS_AND_LAYOUTS, "--out", str(folder), *words]) == 0
    told = capsys.readouterr().out
    assert "9 configurations x 1 seed = 9 cells, 2 of them the same function as another: 7 to train" in told
    assert "norm=none residual=post: as residual=pre" in told and "MiB per job" in told
    assert not folder.exists()


def test_a_plan_of_what_no_memory_holds_says_how_much_it_needs(capsys):
    assert main(["plan", "--set", "hidden_dim=65536", "--seeds", "1", "--steps", "10"]) == 2
    assert "GiB of memory, and this machine has" in capsys.readouterr().err


def test_plan_and_run_say_beforehand_that_cells_end_within_their_warm_up(words, folder, capsys):
    warmup = ["--set", "warmup_steps=2,100"]
    assert main(["plan", "--out", str(folder), *words, *warmup]) == 0
    assert "1 of 2 cells end within the warm-up" in capsys.readouterr().out
    assert main(["run", "--out", str(folder), *words, *warmup]) == 0
    assert "1 of 2 cells end within the warm-up" in capsys.readouterr().err


def test_a_plan_of_many_seeds_names_the_first_and_the_last(words, folder, capsys):
    assert main(["plan", "--out", str(folder), *words, "--seeds", "2000"]) == 0
    told = capsys.readouterr().out
    assert "seed  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... 1999 (2,000 in all)" in told


def test_a_plan_of_a_width_beyond_all_bounds_is_refused_at_once(capsys):
    assert main(["plan", "--set", "hidden_dim=9200000000000000000", "--seeds", "1"]) == 2
    assert "must be at least 1 and at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("every", "told"),
    [
        ("250", "Every cell is validated at the end alone"),
        ("2,250", "4 of 8 cells are validated at the end"),
        ("2", ""),
    ],
)
def test_a_plan_says_where_there_will_be_no_validation_curve(every, told, words, folder, capsys):
    grid = [*words, "--set", f"validation_every={every}", "--set", "warmup_steps=0", "--seeds", "4"]
    assert main(["plan", "--out", str(folder), *grid]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert told in out and ("validation curve" in out) == bool(told)


def test_a_plan_of_aliases_of_an_earlier_grid_counts_them_and_says_of_what(small, folder):
    store = Store(folder)
    store.make_folder()
    store.begin([small(norm=("none",), residual=("post",))], [], {})  # its driver was killed before it trained any
    plan = make_plan(small(norm=("none",), residual=("pre",)), store)
    told = plan_details(plan.grids[-1], plan)
    assert "residual=pre: as residual=post" in told
    assert told.endswith("1 cell, 1 of them the same function as another: 1 to train")


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_a_plan_for_no_jobs_is_exit_2(words, folder, capsys, jobs):
    assert main(["plan", "--out", str(folder), *without_jobs(words), f"--jobs={jobs}"]) == 2
    assert "must be at least 1" in capsys.readouterr().err


def test_status_tells_what_is_done_and_what_failed(words, folder, monkeypatch, capsys):
    assert main(["run", "--seeds", "2", "--out", str(folder), *words]) == 0
    assert main(["status", str(folder)]) == 0
    assert "2 ok" in capsys.readouterr().out
    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", None)
    main(["run", "--seeds", "3", "--out", str(folder), *words])
    capsys.readouterr()
    assert main(["status", str(folder)]) == 1
    told = capsys.readouterr().out
    assert "2 ok, 1 failed" in told and "seed=2: failed with TypeError" in told


def as_program(capsys, *argv, code=0):
    """What a command prints for a program, and that it is nothing else."""
    capsys.readouterr()
    assert main([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_every_command_prints_its_result_as_json_and_nothing_else(words, folder, monkeypatch, capsys):
    grid = ["--set", "norm=layernorm,none", "--out", str(folder), *words]
    plan = as_program(capsys, "plan", *grid)
    assert (plan["cells"], plan["axes"]["norm"], len(plan["to_train"])) == (2, ["layernorm", "none"], 2)
    assert plan["cost"]["seconds"] > 0
    made = as_program(capsys, "run", *grid)
    losses = {row["norm"]: float(row["val_loss"]) for row in rows_of(folder)}
    assert {row["levels"]["norm"][0]: row["losses"]["0"] for row in made["rows"]} == losses
    assert made["statuses"] == {"ok": 2} and made["missing"] == 0 and not made["interrupted"]
    assert made["rows"][0]["mean"] == min(losses.values())
    assert as_program(capsys, "plan", *grid)["cost"] is None
    assert as_program(capsys, "retry", str(folder), "--jobs", "1")["statuses"] == {"ok": 2}
    assert Path(as_program(capsys, "report", str(folder))["file"]).name == "report.html"
    packed = as_program(capsys, "export", str(folder))
    assert Path(packed["file"]).stat().st_size == packed["bytes"]
    monkeypatch.setattr(sweeps.run.train_cell, "Trainer", None)
    assert as_program(capsys, "run", "--seeds", "2", *grid, code=1)["statuses"] == {"ok": 2, "failed": 2}
    status = as_program(capsys, "status", str(folder), code=1)
    assert status["statuses"] == {"ok": 2, "failed": 2} and status["running"] is None and status["damaged"] == []
    failed = status["failures"][0]
    assert (failed["status"], failed["error_type"], failed["settings"]["seed"]) == ("failed", "TypeError", 1)


def test_wrong_usage_prints_no_json(tmp_path, capsys):
    assert main(["status", str(tmp_path), "--json"]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.startswith("error: ")


def test_retry_trains_again_what_failed_and_nothing_else(words, folder, monkeypatch, capsys):
    main(["run", "--out", str(folder), *words])
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.run.train_cell, "Trainer", None)
        main(["run", "--seeds", "2", "--out", str(folder), *words])
    before = {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()}
    assert main(["retry", str(folder), "--jobs", "1"]) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (folder / CELLS).iterdir()}
    assert sum(after[name] != before[name] for name in before) == 1
    assert {row["status"] for row in rows_of(folder)} == {"ok"}
    capsys.readouterr()
    assert main(["retry", str(folder), "--jobs", "1"]) == 0 and "nothing to train" in capsys.readouterr().out


def test_retry_leaves_what_was_never_begun_to_the_sweep(words, folder, capsys):
    main(["run", "--seeds", "2", "--out", str(folder), *words])
    lost = sorted((folder / CELLS).iterdir())[0]
    lost.unlink()
    assert main(["retry", str(folder), "--jobs", "1"]) == 0 and "nothing to train" in capsys.readouterr().out
    assert not lost.exists()
    other = next((folder / CELLS).iterdir()).stem
    assert main(["retry", str(folder), "--jobs", "1", "--cells", other]) == 1
    assert "1 cell without a result" in capsys.readouterr().err
    assert not lost.exists()


@pytest.mark.parametrize("command", ["status", "retry", "report", "export"])
def test_a_folder_without_a_sweep_is_exit_2(tmp_path, capsys, command):
    assert main([command, str(tmp_path)]) == 2
    assert "holds no sweep" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ export


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="a system whose names are all UTF-8")
def test_a_folder_whose_name_is_not_utf_8_holds_a_sweep_as_any_other(words, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    assert main(["run", *words, "--seeds", "1", "--out", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
    assert main(["export", str(folder), "--to", str(tmp_path / "sweep.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "sweep.zip") as archive:
        assert "caf?/cells.csv" in archive.namelist()


def test_an_export_holds_tables_and_manifest_and_replaces_nothing(words, folder, capsys):
    main(["run", "--seeds", "2", "--out", str(folder), *words])
    assert main(["export", str(folder)]) == 0
    with zipfile.ZipFile(folder.with_name("sweep.zip")) as archive:
        assert {"sweep/cells.csv", "sweep/curves.parquet", "sweep/manifest.json"} <= set(archive.namelist())
        assert "sweep/report.html" in archive.namelist()
        assert archive.read("sweep/cells.csv") == (folder / "cells.csv").read_bytes()
    assert main(["export", str(folder)]) == 2 and "exists already" in capsys.readouterr().err
    assert main(["export", str(folder), "--to", str(folder.with_name("copy"))]) == 0
    assert (folder.with_name("copy") / "summary.csv").exists()


def test_an_export_is_no_folder_with_the_name_of_an_archive(words, folder, capsys):
    main(["run", "--seeds", "1", "--out", str(folder), *words])
    to = folder.with_name("sweep.tar.gz")
    assert main(["export", str(folder), "--to", str(to)]) == 2
    assert "name a file that ends in .zip, or a new folder" in capsys.readouterr().err and not to.exists()


@pytest.mark.parametrize("to", [[], ["--small"], ["--to", "copy"]])
@pytest.mark.parametrize("as_axis", [False, True])
def test_what_is_sent_on_names_no_folder_of_this_machine(words, folder, text_file, monkeypatch, to, as_axis):
    monkeypatch.chdir(folder.parent)
    if as_axis:
        (folder.parent / "ode.txt").write_text("o wild west wind, thou breath of autumn's being " * 9, encoding="utf-8")
        at = words.index("--corpus")
        words[at : at + 2] = ["--set", f"corpus={text_file},{folder.parent / 'ode.txt'}"]
    main(["run", "--seeds", "2", "--out", str(folder), *words])
    assert main(["export", str(folder), *to]) == 0
    made = next(folder.parent.glob("*.zip"), folder.parent / "copy")
    if made.suffix == ".zip":
        zipfile.ZipFile(made).extractall(folder.parent / "copy")
    files = [path for path in (folder.parent / "copy").rglob("*") if path.is_file()]
    assert any(b"verse.txt" in path.read_bytes() for path in files)
    assert not [path.name for path in files if str(folder.parent).encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("/home/ann/a.txt", "a.txt"), ("--corpus=/home/ann/a.txt", "--corpus=a.txt"), ("~/x/a.txt", "a.txt"),
        ("corpus=/a/b.txt,/c/d e.txt", "corpus=b.txt,d e.txt"), ("../secret/a.txt", "a.txt"),
        ("/home/ann/run/", "run"), ("--from=~/run//", "--from=run"), ("/a/b/,/c/d", "b,d"),
        ("tcp://host:8786", "tcp://host:8786"), ("results/demo", "results/demo"), ("norm,pre", "norm,pre"),
    ],
)  # fmt: skip
def test_of_a_path_in_a_word_the_name_is_left(word, told):
    assert without_folders(["run", {"key": word}]) == ["run", {"key": told}]


def test_an_export_keeps_its_tables_when_it_is_exported_or_reported_once_more(words, folder, capsys):
    copy = folder.with_name("copy")
    main(["run", "--seeds", "2", "--out", str(folder), *words])
    assert main(["export", str(folder), "--to", str(copy)]) == 0
    main(["retry", str(copy)])
    for small in ([], ["--small"]):
        assert main(["export", str(copy), *small]) == 2 and "it is an export" in capsys.readouterr().err
    assert main(["report", str(copy)]) == 0 and "it is an export" in capsys.readouterr().err
    assert rows_of(copy) == rows_of(folder)


def test_a_report_has_what_a_killed_driver_had_no_time_to_put_in_the_tables(words, folder):
    main(["run", "--seeds", "2", "--out", str(folder), *words])
    (folder / "cells.csv").unlink()
    assert main(["report", str(folder)]) == 0 and len(rows_of(folder)) == 2


def test_the_small_form_is_the_tables_with_short_curves_and_no_word_of_the_machine(words, folder):
    main(["run", "--axes", "norm", "--seeds", "2", "--out", str(folder), *words, "--set", "validation_every=2"])
    assert main(["export", str(folder), "--small"]) == 0
    with zipfile.ZipFile(folder.with_name("sweep-small.zip")) as archive:
        names, manifest = archive.namelist(), json.loads(archive.read("manifest.json"))
        lines = archive.read("curves.csv").decode().splitlines()
        cells = archive.read("cells.csv").decode()
    assert set(names) == {"cells.csv", "summary.csv", "effects.csv", "curves.csv", "manifest.json"}
    first = rows_of(folder)[0]["cell_id"]
    assert [line.split(",")[1] for line in lines if line.startswith(first) and ",validation," in line] == [
        "2",
        "4",
        "5",
    ]
    assert list(manifest) == ["grids"] and "host" not in cells and str(folder) not in cells


def test_a_sweep_writes_the_main_effects_of_its_axes(words, folder):
    main(["run", *NORMS_AND_LAYOUTS, "--seeds", "2", "--out", str(folder), *words])
    with open(folder / "effects.csv", encoding="utf-8") as file:
        effects = list(csv.DictReader(file))
    assert [row["axis"] for row in effects] == ["norm"] * 3 + ["residual"] * 3
    of_norm = [float(row["effect"]) for row in effects[:3]]
    assert sum(of_norm) == pytest.approx(0, abs=1e-6) and all(row["n_seeds"] == "2" for row in effects)
    assert all(float(row["ci_low"]) < float(row["effect"]) < float(row["ci_high"]) for row in effects)


# ------------------------------------------------------------------------------------------------ progress


class Terminal(StringIO):
    def isatty(self):
        return True


def test_progress_goes_by_work_and_says_what_went_wrong_at_once(tmp_path):
    stream, log = StringIO(), tmp_path / "log.txt"
    with Progress({"a": 3.0, "b": 1.0}, {"a": "seed=0", "b": "seed=1"}, log, stream) as progress:
        progress.bar.start_t -= 30
        progress.take("a", "failed", "failed with MemoryError: no")
        assert str(progress.bar) == " 75% #######... 1 of 2 done, 1 failed, 0 diverged, 00:30 gone, 00:10 left"
        progress.take("b", "diverged", "diverged at step 3")
    lines = stream.getvalue().splitlines()
    last = "100% ########## 2 of 2 done, 1 failed, 1 diverged, 00:30 gone, 00:00 left"
    assert lines[1:] == ["seed=0: failed with MemoryError: no", "seed=1: diverged at step 3", last]
    assert [line[21:] for line in log.read_text().splitlines()] == lines  # after "2026-11-26 01:23:45  "


def test_on_a_terminal_one_line_is_written_over(tmp_path):
    stream = Terminal()
    with Progress({"a": 1.0, "b": 1.0}, {"a": "", "b": ""}, tmp_path / "log.txt", stream=stream) as progress:
        progress.take("a", "ok", None)
        progress.take("b", "ok", None)
    assert stream.getvalue().count("\n") == 1 and "100%" in stream.getvalue()
    assert "100%" in (tmp_path / "log.txt").read_text()


def test_a_log_that_cannot_be_written_ends_no_sweep(tmp_path):
    with Progress({"a": 1.0}, {"a": "seed=0"}, tmp_path / "gone" / "log.txt", StringIO()) as progress:
        progress.take("a", "failed", "failed with MemoryError: no")


@pytest.mark.parametrize("command", ["run", "retry"])
def test_a_folder_that_nobody_may_write_is_named_with_a_way_on_that_can_work(
    words, folder, command, capsys, monkeypatch
):
    """The same command would fail again."""
    assert main(["run", "--out", str(folder), "--set", "norm=none", "--seeds", "1", *words]) == 0
    capsys.readouterr()

    def refuse(self, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    given = (
        ["retry", str(folder)] if command == "retry" else ["run", "--out", str(folder), "--set", "norm=none", *words]
    )
    assert main(given) == 2
    told = capsys.readouterr().err
    assert f"{folder} cannot be written: Read-only file system. Copy it to where you may write" in told
    assert "same command" not in told

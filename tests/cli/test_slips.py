"""Small mistakes at the terminal: each is told in a line that says what to do."""

import ast
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import sweeps.__main__
from sweeps.grid.parse import parse_grid
from tlab.cli import run_folder
from tlab.cli.commands import main
from tlab.cli.output import MIN_COLUMNS, prepare_streams
from tlab.ui import api
from tlab.ui.demo.shipped_run import demo_checkpoint

ROOT = Path(__file__).parents[2]
SHORT = shlex.split(
    "train --corpus text.txt --hidden-dim 8 --num-heads 2 --num-layers 1 --context-length 8 --batch-size 2 --steps 4 "
    "--warmup-steps 2 --sample-every 0"
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "save_plot", lambda folder, trainer: (folder / "loss.png").touch())
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the quick brown fox jumps over the lazy dog " * 30, encoding="utf-8")


def told(capsys, *arguments):
    assert main([*arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def python(*words, **environment):
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_seed_that_is_too_large_is_told_the_largest(capsys):
    assert "and at most 4294967295" in told(capsys, *SHORT, "--seed", str(2**32))
    assert "at most 9223372036854775807" in told(capsys, "generate", ".", "--seed", "9" * 20)


def test_more_samples_than_memory_holds_are_refused_at_once(capsys):
    assert "at most 10000" in told(capsys, "generate", ".", "--samples", "99999999")


@pytest.mark.parametrize("flag", ["--out", "--resume"])
def test_a_folder_named_by_an_empty_variable_is_an_error_and_nothing_is_written(flag, capsys):
    assert f"{flag[2:]} is empty" in told(capsys, *SHORT, flag, "")
    assert [path.name for path in Path.cwd().iterdir()] == ["text.txt"]


def test_a_sweep_does_not_go_into_the_current_folder_by_an_empty_variable(capsys, words):
    assert sweeps.__main__.main(["run", *words, "--out", ""]) == 2
    assert "--out is empty" in capsys.readouterr().err


@pytest.mark.parametrize("out", [[], ["--out", "there"]])
def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(out, capsys, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    error = told(capsys, *SHORT, *out)
    assert "cannot be made: Permission denied; name" in error and "--out" in error


@pytest.mark.parametrize("command", ["train", "generate"])
def test_a_line_end_typed_as_in_python_is_told_how_to_type_it(command, capsys):
    assert main([*SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    words = ["generate", "run"] if command == "generate" else SHORT
    assert "--prompt $'\\n'" in told(capsys, *words, "--prompt", "\\n")


def test_a_run_in_a_folder_that_cannot_be_written_is_told_with_the_way_out(capsys, monkeypatch):
    def refuse(lock, **_):
        raise PermissionError(13, "Permission denied", lock.lock_file)

    assert main([*SHORT, "--out", "run"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(run_folder.FileLock, "acquire", refuse)
    error = told(capsys, "train", "--resume", "run", "--corpus", "text.txt")
    assert "run cannot be written: Permission denied" in error and "resume a copy" in error


def test_every_command_that_is_shown_can_be_pasted_whatever_the_folder_is_called():
    shown, unquoted = re.compile(r"((sweeps|tlab) [a-z]+( --[a-z]+)?|--resume|--out) $"), []
    for path in [path for part in ("tlab", "sweeps") for path in (ROOT / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for words, given in itertools.pairwise(node.values):
                    if isinstance(words, ast.Constant) and shown.search(words.value):
                        source = ast.unparse(getattr(given, "value", given))
                        if "shlex.quote" not in source and source != "where":  # which is quoted where it is made
                            unquoted.append(f"{path.name}:{node.lineno} {source}")
    assert not unquoted


def test_python_m_tlab_is_the_command():
    done = python("-m", "tlab", "--version")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("tlab ")


def test_help_ends_in_a_terminal_without_room(monkeypatch):
    monkeypatch.setenv("COLUMNS", "5")
    prepare_streams()
    assert os.environ["COLUMNS"] == str(MIN_COLUMNS)
    for module in ("tlab", "sweeps"):
        assert "usage" in python("-m", module, "--help", COLUMNS="5").stdout


def test_without_docstrings_help_shows_no_signatures():
    shown = python("-OO", "-m", "tlab", "probe", "--help").stdout
    assert "effect" in shown and "EffectProbe(" not in shown


def test_a_grid_is_read_with_the_mark_that_some_editors_put_first():
    Path("grid.toml").write_bytes(b'\xef\xbb\xbfaxes = ["norm"]\n')
    assert parse_grid(base="grid.toml").axes == ("norm",)


def test_a_grid_that_is_nested_without_end_is_told(capsys):
    Path("deep.toml").write_text("axes = " + "[" * 5000)
    assert sweeps.__main__.main(["plan", "deep.toml"]) == 2
    assert "deep.toml cannot be read as TOML" in capsys.readouterr().err


def test_named_seeds_are_told_where_they_belong(capsys):
    Path("grid.toml").write_text("seeds = [1, 5, 9]\n")
    assert sweeps.__main__.main(["plan", "grid.toml"]) == 2
    assert "write seed = [1, 5, 9] in [set]" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "tcp://"])
def test_what_is_no_address_of_a_scheduler_is_told_at_once(address, words, capsys):
    pytest.importorskip("distributed")
    assert sweeps.__main__.main(["run", *words, "--backend", "dask", "--scheduler", address, "--out", "r"]) == 1
    assert f"{address!r} is no address of a dask scheduler" in capsys.readouterr().err


def test_the_api_says_how_much_of_a_text_the_shipped_model_reads():
    length = demo_checkpoint().model_config.context_length
    assert f"of which the model reads the last {length}." in (api.attention.__doc__ or "")

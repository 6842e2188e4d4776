"""Nothing around a run ends it or loses it: no letter, no encoding, no reader who left, no signal, no failed start."""

import io
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tlab.files
from sweeps.run.driver import signals_as_interrupts
from tlab import Checkpoint, ModelConfig, TrainConfig, Trainer
from tlab.cli import run_folder, terminal
from tlab.cli.commands import main
from tlab.cli.output import LastingStream, prepare_streams, words_typed
from tlab.cli.run_folder import sole_trainer
from tlab.cli.terminal import END_SIGNALS, stop_request, visible

ROOT = Path(__file__).parents[2]
SHORT = shlex.split(
    "--hidden-dim 8 --num-heads 2 --num-layers 1 --context-length 8 --batch-size 2 "
    "--steps 20 --warmup-steps 2 --validation-every 0"
)
FRENCH = "Qui est là\u00a0? C’est moi\u00a0!\n" * 40


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "save_plot", lambda folder, trainer: (folder / "loss.png").touch())
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(FRENCH, encoding="utf-8")
    return tmp_path


def train(*arguments):
    return main(["train", "--corpus", "text.txt", *SHORT, "--out", "run", *arguments])


# --- letters and encodings ---


def test_training_ends_well_where_no_sample_can_be_encoded(monkeypatch):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert train("--sample-every", "5") == 0
    ascii_only.flush()
    assert rb"\xe0" in ascii_only.buffer.getvalue() and Path("run/checkpoint.safetensors").exists()


@pytest.mark.parametrize("words", ["-m tlab --help", "-m tlab probe --help", "-m sweeps --help"])
def test_help_is_printed_on_ascii(words):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words.split()], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr and len(done.stdout) > 300


@pytest.mark.parametrize(
    "text",
    ["là\u00a0?", "10\u202f000", "\u3000床前明月光", "می\u200cخواهم", "\U0001f468\u200d\U0001f469", "a\tb\n", "\u200f"],
    ids=ascii,
)
def test_letters_and_spaces_of_a_language_are_shown(text):
    assert visible(text) == text


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\x07", "\r", "\0", "\x7f", "\u202e", "\u2066"], ids=ascii)
def test_what_a_terminal_obeys_is_not_shown(character):
    assert visible(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_corpus_named_like_a_command_of_the_terminal_does_not_command_it(capsys):
    Path("a\x1b[2Jb.txt").write_text(FRENCH, encoding="utf-8")
    train("--corpus", "a\x1b[2Jb.txt", "--out", "x\x1b[1m")
    assert "\x1b" not in capsys.readouterr().out.partition("to beat")[0]


def test_without_standard_streams_everything_works(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    try:
        assert train() == 0
        assert main(["generate", "run"]) == 0
    finally:
        sys.stdout.close(), sys.stderr.close()


def test_what_was_typed_is_utf_8_where_the_locale_knows_ascii_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tlab", "généré".encode().decode("utf-8", "surrogateescape"), "plain"])
    monkeypatch.setattr(os, "fsencode", lambda word: word.encode("utf-8", "surrogateescape"))
    assert words_typed() == ["généré", "plain"]
    monkeypatch.setattr(sys, "argv", ["tlab", "é".encode().decode("ascii", "surrogateescape")])
    assert words_typed() == ["é"]


def test_a_stream_of_another_kind_is_left_alone(monkeypatch):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    prepare_streams()
    assert sys.stdout is other


# --- readers who leave ---


class Gone(io.StringIO):
    """Nobody reads it any more; as a pipe, or as a terminal that was closed."""

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(5, "Input/output error")


def test_training_goes_on_without_a_reader(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert train("--sample-every", "5", "--validation-every", "5") == 0
    assert Checkpoint.load("run").step == 20


def test_a_sweep_and_its_plan_go_on_without_a_reader(monkeypatch, words, folder):
    import sweeps.__main__

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert sweeps.__main__.main(["plan", *words]) == 0
    assert sweeps.__main__.main(["run", *words, "--out", str(folder)]) == 0
    assert (folder / "cells.csv").exists()


def test_a_real_pipe_without_a_reader_makes_no_noise_at_the_end():
    program = (
        "import sys\nfrom tlab.cli.output import lasting_output\n"
        "with lasting_output():\n    for i in range(9): print('line', i)\nprint('end')\nsys.exit(3)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_stream_with_a_reader_is_as_it_was():
    stream = LastingStream(io.StringIO())
    stream.write("half a line")
    stream.flush()
    assert stream.getvalue() == "half a line" and not stream.isatty()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without a disk that is always full")
@pytest.mark.parametrize(
    "words",
    [
        "tlab --version",
        "tlab generate --help",
        "sweeps --help",
        "sweeps plan quick",
        "tlab sweep --help",
        "tlab.source",
    ],
)
def test_every_command_says_once_and_alike_that_its_output_is_lost(words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", *words.split()]
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: standard output cannot be written: [Errno 28] No space left on device. What is printed from here on "
        "is lost; files are written all the same. Make room, or send the output elsewhere\n"
    )


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_training_goes_on_where_its_output_is_lost_and_does_not_call_that_well(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    assert train("--sample-every", "5") == 1
    assert capsys.readouterr().err.count("error: standard output cannot be written: [Errno 28]") == 1
    assert Checkpoint.load("run").step == 20


def test_a_sweep_goes_on_where_its_output_is_lost_and_does_not_call_that_well(monkeypatch, capsys, words, folder):
    import sweeps.__main__

    monkeypatch.setattr(sys, "stdout", Full())
    assert sweeps.__main__.main(["run", *words, "--out", str(folder)]) == 1
    assert capsys.readouterr().err.count("error: standard output cannot be written: [Errno 28]") == 1
    assert (folder / "cells.csv").exists()


@pytest.mark.parametrize(("stream", "code"), [(Gone(), 0), (Full(), 1)])
def test_generating_ends_as_soon_as_its_output_is_lost(monkeypatch, stream, code):
    train()
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["generate", "run", "--max-new-tokens", "1000000000"]) == code


def test_a_complaint_that_nobody_can_read_ends_no_training(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    assert train() == 1
    assert Checkpoint.load("run").step == 20


# --- signals ---


def stop_after(step, monkeypatch, number=signal.SIGINT):
    original = Trainer.train_step

    def train_step(self):
        record = original(self)
        if record.step == step:
            signal.raise_signal(number)
            signal.raise_signal(number)  # impatience is no reason to lose it
        return record

    monkeypatch.setattr(Trainer, "train_step", train_step)


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_every_request_to_end_keeps_the_run(number, monkeypatch):
    stop_after(7, monkeypatch, number)
    assert train() == 130
    assert Checkpoint.load("run").step == 7


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_no_request_to_end_takes_the_time_in_which_a_run_is_saved(number, monkeypatch):
    save_state = run_folder.save_state

    def asked_meanwhile(folder, trainer):
        signal.raise_signal(number)
        signal.raise_signal(number)
        return save_state(folder, trainer)

    monkeypatch.setattr(run_folder, "save_state", asked_meanwhile)
    seconds = itertools.count(0, 2 * terminal.SECONDS_OF_PATIENCE)
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert train() == 0
    assert Checkpoint.load("run").step == 20


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without this signal")
@pytest.mark.parametrize("during", [stop_request, signals_as_interrupts])
def test_under_nohup_a_closed_terminal_is_ignored(during):
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with during():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_a_sweep_is_interrupted_by_every_request_to_end(number):
    usual = signal.getsignal(number)
    with signals_as_interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is usual


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_a_sweep_that_was_interrupted_ends_its_workers_and_writes_its_tables_whatever_comes_next(number):
    with signals_as_interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for again in END_SIGNALS:
            signal.raise_signal(again)


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_a_sweep_that_does_not_end_can_be_interrupted_once_more(number):
    with signals_as_interrupts(patience=0):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)


# --- two at once ---


def test_two_runs_do_not_share_a_folder(capsys):
    Path("run").mkdir()
    with sole_trainer(Path("run")):
        assert train() == 2
    assert "another process trains in run" in capsys.readouterr().err
    assert train() == 0
    with sole_trainer(Path("run")):
        assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 2
    assert "another process trains in run" in capsys.readouterr().err


def test_a_run_that_ended_while_another_one_waited_is_not_overwritten(monkeypatch, capsys):
    new_folder = run_folder.new_folder

    def overtaken(out, name):
        folder = new_folder(out, name)
        monkeypatch.setattr(run_folder, "new_folder", new_folder)
        assert train("--seed", "5") == 0
        return folder

    monkeypatch.setattr(run_folder, "new_folder", overtaken)
    assert train() == 2
    assert "holds a run already" in capsys.readouterr().err
    assert Checkpoint.load("run").train_config.seed == 5


def test_whoever_trains_in_a_folder_removes_what_a_killed_save_left_and_no_file_of_another_kind():
    train()
    left = [Path("run") / f".{name}.a1b2c3d4" for name in ("checkpoint.safetensors", "metrics.csv", "loss.svg")]
    own = Path("run/.notes.txt.a1b2c3d4")
    for path in (*left, own):
        path.touch()
    main(["train", "--resume", "run", "--corpus", "text.txt"])  # there is nothing to go on with
    assert [path for path in Path("run").iterdir() if path.name[0] == "."] == [own]


# --- full disks ---


def fill_disk(monkeypatch, *names):
    """From now on nothing can be written whose name begins so."""
    open_beside = tlab.files.open_beside

    def full(path):
        if path.name.startswith(names):
            raise OSError(28, "No space left on device")
        return open_beside(path)

    monkeypatch.setattr(tlab.files, "open_beside", full)


def fill_disk_after(step, monkeypatch, *names):
    original = Trainer.train_step

    def train_step(self):
        if self.step == step:
            fill_disk(monkeypatch, *names)
        return original(self)

    monkeypatch.setattr(Trainer, "train_step", train_step)


def test_training_outlasts_a_disk_that_is_full_for_a_while(monkeypatch, capsys):
    open_beside = tlab.files.open_beside
    fill_disk_after(3, monkeypatch, "metrics", "checkpoint")
    filled = Trainer.train_step

    def train_step(self):
        if self.step == 12:
            monkeypatch.setattr(tlab.files, "open_beside", open_beside)
        return filled(self)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    assert train("--validation-every", "5") == 0
    told = capsys.readouterr().out
    assert "warning: not saved at step 5: [Errno 28]" in told and "at step 15" not in told
    assert Checkpoint.load("run").step == 20


@pytest.mark.parametrize("step", [0, 20])
def test_a_snapshot_that_could_not_be_written_is_told(here, monkeypatch, capsys, step):
    fill_disk(monkeypatch, "checkpoint")
    assert train("--snapshots", "4") == 2
    told = capsys.readouterr()
    assert f"warning: no snapshot of step {step}: [Errno 28]" in told.out
    assert "run cannot be written: [Errno 28] No space left on device; nothing of this run is kept" in told.err
    monkeypatch.undo()
    monkeypatch.setattr(run_folder, "save_plot", lambda folder, trainer: None)
    assert main(["train", "--corpus", str(here / "text.txt"), *SHORT, "--out", str(here / "run")]) == 0  # it is free


def test_on_a_disk_that_stays_full_the_last_checkpoint_is_kept_and_named(monkeypatch, capsys):
    fill_disk_after(12, monkeypatch, "metrics", "checkpoint")
    assert train("--validation-every", "5") == 2
    assert "the last checkpoint of this run is kept" in capsys.readouterr().err
    assert Checkpoint.load("run").step == 10


# --- failed starts ---


def test_a_folder_of_a_run_that_failed_at_once_is_free_again(monkeypatch):
    def fail(self):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail)
        assert train() == 2
    assert {path.name for path in Path("run").iterdir()} == {"config.json", "lock"}
    assert train() == 0 and Checkpoint.load("run").step == 20


@pytest.mark.parametrize("left", ["metrics.csv", "snapshots/0000001/checkpoint.safetensors"])
def test_a_folder_with_results_but_no_checkpoint_is_neither_overwritten_nor_a_dead_end(left, capsys):
    (Path("run") / left).parent.mkdir(parents=True)
    (Path("run") / left).touch()
    assert train() == 2
    told = capsys.readouterr().err
    assert "--resume" not in told and "remove the folder" in told


def test_resuming_without_a_checkpoint_says_what_to_do(capsys):
    Path("run").mkdir()
    assert main(["train", "--resume", "run"]) == 2
    assert "start it again" in capsys.readouterr().err


def test_a_run_that_was_killed_after_its_last_step_gets_its_plot(capsys):
    train()
    Path("run/loss.png").unlink()
    Path("run/metrics.csv").unlink()
    assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 0
    assert Path("run/loss.png").exists() and Path("run/metrics.csv").exists()
    assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 2


@pytest.mark.parametrize("content", ["{", "{}", '{"sessions": [7]}'])
def test_a_damaged_config_is_told_and_the_run_goes_on(content, monkeypatch, capsys):
    stop_after(7, monkeypatch)
    train()
    Path("run/config.json").write_text(content)
    assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 0
    assert "run/config.json is damaged" in capsys.readouterr().err
    (session,) = run_folder.read_sessions(Path("run"))
    assert session["first_step"] == 8


# --- probes on one's own text ---


def test_a_run_on_a_file_is_probed_with_the_file_wherever_it_is(capsys):
    train()
    assert main(["probe", "lens", "run"]) == 0
    Path("text.txt").rename("moved.txt")
    assert main(["probe", "lens", "run"]) == 2
    assert "--corpus PATH" in capsys.readouterr().err
    for probe in ("lens", "effect", "places"):
        assert main(["probe", probe, "run", "--corpus", "moved.txt"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("text", ["Qui est moi !\n" * 40, "東京は日本の首都である\n" * 40])
def test_another_text_is_not_probed_as_the_one_of_the_run(text, capsys):
    train()
    Path("other.txt").write_text(text, encoding="utf-8")
    assert main(["probe", "lens", "run", "--corpus", "other.txt"]) == 2
    assert re.search(
        "'other.txt', which is another text here than it was: name the one with sha256 [0-9a-f]{12}",
        capsys.readouterr().err,
    )


def test_a_run_is_saved_without_a_second_copy_of_it_in_memory(here, verse):
    model = ModelConfig(vocab_size=verse.tokenizer.vocab_size, hidden_dim=192, context_length=8)
    trainer = Trainer(model, TrainConfig(steps=2, warmup_steps=0, batch_size=1), verse)
    trainer.train_step()
    tracemalloc.start()
    try:
        run_folder.save_state(here, trainer)
        terminal.keep_snapshot(trainer, here)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < trainer.model.parameters.data.nbytes / 2
    saved, kept = Checkpoint.load(here), trainer.checkpoint()
    for arrays, expected in ((saved.weights, kept.weights), (saved.optimizer_state, kept.optimizer_state)):
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array)

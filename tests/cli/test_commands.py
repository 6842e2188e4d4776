"""The `tlab` command: what it offers, what it writes, how it stops, and what it says to mistakes."""

import csv
import json
import math
import re
import shlex
import signal
import subprocess
import sys
import types
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tlab import Checkpoint, ModelConfig, TrainConfig, Trainer, Transformer
from tlab.cli import run_folder
from tlab.cli.commands import main
from tlab.cli.output import result_as_json
from tlab.cli.run_folder import last_threads, new_folder
from tlab.cli.terminal import stop_request, visible
from tlab.inside import probe
from tlab.nn.activations import ACTIVATIONS, Gelu
from tlab.text import ByteTokenizer, CharTokenizer, default_prompt, load_corpus
from tlab.training.trainer import evaluate
from tlab.wording import duration

SMALL = shlex.split("--hidden-dim 8 --num-heads 2 --num-layers 1 --context-length 8 --batch-size 2")
MODEL = SMALL[:-2]  # without the batch size
SHORT = [*SMALL, *shlex.split("--steps 20 --warmup-steps 2 --validation-every 10 --sample-every 0")]
RUNAWAY = shlex.split("--learning-rate 1e6 --min-learning-rate 0 --warmup-steps 0 --gradient-clip 0 --optimizer sgd")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test in a folder of its own, with a text in it. Plots are only promised: they take most of the time."""
    monkeypatch.setattr(run_folder, "save_plot", lambda folder, trainer: (folder / "loss.png").touch())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TLAB_DATA_DIR", raising=False)
    Path("text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 30, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, with real plots; not to be written into."""
    text = tmp_path_factory.mktemp("finished") / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 30, encoding="utf-8")
    assert main(["train", "--corpus", str(text), *SHORT, "--out", str(text.parent / "run")]) == 0
    return text.parent / "run"


@pytest.fixture
def newcomer():
    """An activation with a wrong gradient, registered while the program runs."""

    @ACTIVATIONS.add("newcomer", label="Newcomer")
    class Newcomer(Gelu):
        """Wrong on its way back."""

        def backward(self, dy, cache):
            return 1.1 * super().backward(dy, cache)

    yield "newcomer"
    ACTIVATIONS.remove("newcomer")


def train(*arguments):
    return main(["train", "--corpus", "text.txt", *SHORT, *arguments])


def metrics(folder):
    """The rows of metrics.csv without the one column that is a clock's."""
    with open(Path(folder) / "metrics.csv", encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def press_ctrl_c_after(step, monkeypatch):
    """Ctrl-C comes as soon as update number `step` is made; once."""
    original = Trainer.train_step

    def train_step(self):
        record = original(self)
        if record.step == step:
            signal.raise_signal(signal.SIGINT)
        return record

    monkeypatch.setattr(Trainer, "train_step", train_step)


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def error_of(capsys, arguments):
    """What a wrong command says: always one line on stderr, and exit code 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


# --- results as JSON ---


def test_a_probe_and_the_checks_print_json(finished, capsys):
    assert main(["probe", "lens", str(finished), "--text", "the quick", "--place", "3", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    rows = probe("lens", Checkpoint.load(finished), "the quick", place=3)
    assert made["rows"] == [row._asdict() for row in rows] and made["units"] == rows.units
    assert "leave out one" in error_of(capsys, ["probe", "lens", str(finished), "--text", "the", "--json", "--csv"])
    assert main(["check", *MODEL, "--corpus", "text.txt", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["passed"] and all(row["passed"] for row in made["rows"])
    assert main(["check", *MODEL, "--corpus", "text.txt", "--json", "--bug", "no-mask"]) == 1
    assert not json.loads(capsys.readouterr().out)["passed"]


class Row(NamedTuple):
    head: str
    entropy: float
    count: int


def test_json_has_every_digit_and_null_for_what_is_no_number():
    rows = [Row("a", 0.1 + 0.2, np.int64(3)), Row("b", math.nan, 4), Row("c", np.float32(math.inf), 5)]
    made = json.loads(result_as_json({"title": "x", "rows": rows}))
    assert made["title"] == "x" and made["rows"][0] == {"head": "a", "entropy": 0.1 + 0.2, "count": 3}
    assert [row["entropy"] for row in made["rows"][1:]] == [None, None]


def as_program(capsys, *argv):
    """What a command prints for a program, and that it is nothing else."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_command_with_a_result_prints_it_as_json_and_nothing_else(finished, capsys):
    trained = as_program(capsys, "train", "--corpus", "text.txt", *SHORT, "--out", "again")
    assert trained["finished"] and trained["steps"] == trained["step"] == 20 and trained["folder"] == "again"
    assert trained["validation_loss"] == float(metrics("again")[-1]["validation_loss"])
    assert main(["generate", str(finished), "--prompt", "the", "--max-new-tokens", "5"]) == 0
    words = capsys.readouterr().out
    generated = as_program(capsys, "generate", str(finished), "--prompt", "the", "--max-new-tokens", "5")
    assert generated["rows"][0]["seed"] == 0 and words == f"the{generated['rows'][0]['text']}\n"
    two = as_program(capsys, "generate", str(finished), "--prompt", "the", "--max-new-tokens", "5", "--samples", "2")
    assert [row["seed"] for row in two["rows"]] == [0, 1] and two["rows"][0] == generated["rows"][0]
    info = as_program(capsys, "info", *MODEL, "--corpus", "text.txt")
    assert info["parameters"] == sum(row["parameters"] for row in info["rows"]) and info["memory"][0]["bytes"] > 0
    winners = as_program(capsys, "false-winners", "--contests", "20")
    assert winners["rows"] and all(0 <= row["honest"] <= 1 for row in winners["rows"])
    one = as_program(capsys, "false-winners", "--contests", "20", "--mistake", winners["rows"][0]["mistake"])
    assert one["mistaken"] == winners["rows"][0]["mistaken"] and one["contest"]["honest"]
    profiled = as_program(capsys, "profile", *MODEL, "--corpus", "text.txt", "--profiled-steps", "2")
    assert profiled["steps"] == 2 and profiled["rows"]
    rope = ["--position", "rope", "--norm", "rmsnorm", "--activation", "swiglu", "--embedding-scale", "1", "--no-bias"]
    as_program(capsys, "train", "--corpus", "text.txt", *SHORT, *rope, "--steps", "2", "--out", "llama")
    exported = as_program(capsys, "export", "llama", "--out", "hf")
    assert "model.safetensors" in exported["files"] and "LlamaForCausalLM" in " ".join(exported["notes"])
    imported = as_program(capsys, "import", "hf", "--out", "back")
    assert imported["architecture"] == "llama" and imported["parameters"] and Path(imported["folder"]).is_dir()


def test_a_command_that_fails_prints_no_json(finished, capsys):
    assert main(["generate", "nowhere", "--json"]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: ")


# --- from a run or an import ---


def test_a_run_that_begins_with_trained_weights_says_how_good_these_are_before_its_first_step(finished, capsys):
    short = shlex.split("--corpus text.txt --steps 2 --warmup-steps 0 --sample-every 0")
    assert main(["train", "--from", str(finished), *short, "--out", "second"]) == 0
    loss = evaluate(Checkpoint.load(finished).model(), load_corpus("text.txt").validation)
    told = capsys.readouterr().out
    assert f"before    validation {loss:.3f}, " in told
    assert told.index("before    validation") < told.index("step 2  training")
    assert main(["train", *MODEL, *short, "--out", "third"]) == 0
    assert "before    validation" not in capsys.readouterr().out, "random weights say nothing of a text"


def test_slow_steps_are_estimated_as_soon_as_there_are_two(monkeypatch, capsys):
    monkeypatch.setattr("tlab.cli.terminal.SECONDS_UNTOLD", 0.0)
    short = shlex.split("--corpus text.txt --steps 5 --warmup-steps 0 --sample-every 0")
    assert main(["train", *SMALL, *short, "--out", "run"]) == 0
    assert len(re.findall(r"^about .* left$", capsys.readouterr().out, re.MULTILINE)) == 1


def test_a_run_goes_on_from_another_with_its_settings_and_tokenizer(finished, capsys):
    Path("dogs.txt").write_text("the lazy dog\n" * 60, encoding="utf-8")  # fewer characters than the first text
    training = shlex.split("--steps 6 --warmup-steps 0 --batch-size 3 --sample-every 0 --optimizer adamw")
    arguments = ["train", "--from", str(finished), "--corpus", "dogs.txt", *training, "--hidden-dim", "8"]
    assert main([*arguments, "--out", "second"]) == 0
    start = Checkpoint.load(finished)
    assert f"began as  run at step 20, weights of sha256 {start.weights_sha256[:12]}" in capsys.readouterr().out
    second = Checkpoint.load("second")
    assert second.model_config == start.model_config and second.tokenizer == start.tokenizer
    assert (second.step, second.train_config.batch_size) == (6, 3)
    config = json.loads(Path("second/config.json").read_text(encoding="utf-8"))
    assert config["started_from"] == {"name": "run", "step": 20, "sha256": start.weights_sha256}


def test_a_run_from_another_is_resumed_like_any(finished, monkeypatch, capsys):
    Path("dogs.txt").write_text("the lazy dog\n" * 60, encoding="utf-8")
    training = shlex.split("--corpus dogs.txt --steps 9 --warmup-steps 0 --batch-size 3 --sample-every 0")
    arguments = ["train", "--from", str(finished), *training]
    assert main([*arguments, "--out", "whole"]) == 0
    press_ctrl_c_after(4, monkeypatch)
    main([*arguments, "--out", "part"])
    assert main(["train", "--resume", "part", "--corpus", "dogs.txt"]) == 0
    assert metrics("part") == metrics("whole")
    assert "leave out --from" in error_of(capsys, ["train", "--resume", "part", "--from", "whole"])


@pytest.mark.parametrize(
    ("option", "told"),
    [(["--hidden-dim", "16"], "has hidden_dim = 8, and --from keeps its settings and its tokenizer; leave out "
                              "--hidden-dim"),
     (["--norm", "rmsnorm"], "norm = layernorm"), (["--no-bias"], "leave out --no-bias"),
     (["--tokenizer", "byte"], "tokenizer = char")],
)  # fmt: skip
def test_options_that_the_model_contradicts_are_refused(option, told, finished, capsys):
    assert told in error_of(capsys, ["train", "--from", str(finished), "--corpus", "text.txt", *option])
    assert not Path("runs").exists()


def test_a_text_that_the_models_tokenizer_cannot_read_is_told(finished, capsys):
    Path("other.txt").write_text("Ελληνικά " * 30, encoding="utf-8")
    error = error_of(capsys, ["train", "--from", str(finished), "--corpus", "other.txt"])
    assert "'Ε'" in error and "The tokenizer is that of the model in" in error
    assert "no checkpoint at nowhere" in error_of(capsys, ["train", "--from", "nowhere", "--corpus", "text.txt"])


# --- flags ---


@pytest.mark.parametrize("config", [ModelConfig, TrainConfig])
def test_every_field_is_a_flag_with_help(config, capsys):
    shown = help_of(capsys, "train")
    for field in fields(config):
        if field.name != "vocab_size":
            assert f"--{field.name.replace('_', '-')} " in shown or f"--{field.name.replace('_', '-')}," in shown
            assert field.metadata["option"].help.split()[0] in shown


def test_the_vocabulary_is_not_a_flag(capsys):
    assert "vocab" not in help_of(capsys, "train").replace("vocabulary", "")


def test_help_tells_the_range(capsys):
    assert "more than 0, at most 1" in " ".join(help_of(capsys, "generate").replace("│", "").split())


def test_help_tells_the_corpora_at_hand(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TLAB_DATA_DIR", str(tmp_path))
    shown = help_of(capsys, "train")
    assert "python-docs" in shown and "text, or the path" in " ".join(shown.replace("│", "").split())


def test_a_part_registered_just_now_is_a_choice(newcomer, capsys):
    assert newcomer in help_of(capsys, "train")
    assert main(["info", "--activation", newcomer]) == 0


def test_an_unknown_key_is_an_error_that_names_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["info", "--norm", "batchnorm"])
    assert stopped.value.code == 2 and "rmsnorm" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    program = (
        "import sys\nfrom tlab.cli.commands import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "tyro" in loaded
    assert loaded.isdisjoint({"matplotlib", "pandas", "gradio", "joblib", "scipy", "safetensors"})


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tlab ")


# --- what a run leaves behind ---


def test_what_a_killed_save_left_goes_when_the_run_is_resumed_and_other_hidden_files_stay(monkeypatch):
    press_ctrl_c_after(7, monkeypatch)
    train("--out", "run")
    half, mine = Path("run/.checkpoint.safetensors.a1b2c3d4"), Path("run/.notes.txt")
    for path in (half, mine):
        path.write_bytes(b"x")
    assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 0
    assert (half.exists(), mine.exists()) == (False, True)


def test_a_run_folder_holds_everything(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {"checkpoint.safetensors", "config.json", "metrics.csv", "loss.png", "loss.svg", "lock"}
    assert all(path.stat().st_size > 500 for path in finished.iterdir() if path.name != "lock")


def test_metrics_have_one_row_a_step(finished):
    rows = metrics(finished)
    assert [int(row["step"]) for row in rows] == [*range(1, 21)]
    assert [row["step"] for row in rows if row["validation_loss"]] == ["10", "20"]


def test_metrics_hold_bits_per_byte_where_there_is_a_validation(finished):
    of_validation = Path("text.txt").read_text(encoding="utf-8")
    of_validation = of_validation[len(of_validation) - len(of_validation) // 10 :]
    bytes_per_token = len(of_validation[1:].encode()) / len(of_validation[1:])
    for row in metrics(finished):
        loss, bits = row["validation_loss"], row["validation_bits_per_byte"]
        assert bits == loss == "" or float(bits) == pytest.approx(float(loss) / math.log(2) / bytes_per_token)


def test_metrics_hold_every_digit(finished):
    records = Checkpoint.load(finished).records
    assert [float(row["loss"]) for row in metrics(finished)] == [record.loss for record in records]


def test_config_json_tells_what_made_the_run(finished):
    config = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    assert ModelConfig.from_json(config["model"]).hidden_dim == 8
    assert TrainConfig.from_json(config["training"]).steps == 20
    assert config["corpus"]["name"] == "text" and len(config["corpus"]["sha256"]) == 64
    (session,) = config["sessions"]
    assert session["threads"] == 1 and session["numpy"] == np.__version__ and session["blas"]


def test_training_introduces_itself(capsys):
    train("--out", "run")
    shown = capsys.readouterr().out
    for told in ("text: 1,320 characters", "sha256", "vocabulary of 28", "parameters", "left", "validation"):
        assert told in shown, told


def test_samples_come_now_and_then(capsys):
    train("--out", "run", "--sample-every", "5", "--prompt", "the quick")
    assert capsys.readouterr().out.count("\n    the quick") == 4


def test_without_out_no_run_overwrites_another():
    assert train() == 0 and train() == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["text-001", "text-002"]


def test_a_corpus_name_becomes_a_readable_folder():
    assert new_folder(None, "my text/../x").parent == Path("runs")


def test_threads_are_recorded():
    train("--out", "run", "--threads", "2")
    assert last_threads(Path("run")) == 2


# --- stopping and going on ---


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(monkeypatch, capsys):
    press_ctrl_c_after(7, monkeypatch)
    assert train("--out", "a run") == 130
    assert "tlab train --resume 'a run' --corpus text.txt" in capsys.readouterr().out
    assert Checkpoint.load("a run").step == 7 and Path("a run/loss.png").exists()


def test_a_file_with_the_name_of_a_corpus_is_named_in_the_command_that_goes_on(monkeypatch, capsys):
    Path("text.txt").rename("names.txt")
    press_ctrl_c_after(7, monkeypatch)
    assert main(["train", "--corpus", "./names.txt", *SHORT, "--out", "run"]) == 130
    assert "tlab train --resume run --corpus ./names.txt" in capsys.readouterr().out


def test_a_resumed_run_is_the_same_to_the_bit(monkeypatch, finished):
    press_ctrl_c_after(7, monkeypatch)
    train("--out", "run")
    assert main(["train", "--resume", "run", "--corpus", "text.txt"]) == 0
    assert metrics("run") == metrics(finished)
    one, other = Checkpoint.load("run"), Checkpoint.load(finished)
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in other.weights)


def test_a_resumed_run_keeps_its_threads(monkeypatch):
    press_ctrl_c_after(7, monkeypatch)
    train("--out", "run", "--threads", "2")
    main(["train", "--resume", "run", "--corpus", "text.txt"])
    sessions = json.loads(Path("run/config.json").read_text(encoding="utf-8"))["sessions"]
    assert [(s["first_step"], s["threads"]) for s in sessions] == [(1, 2), (8, 2)]


def test_another_number_of_threads_is_pointed_out(monkeypatch, capsys):
    press_ctrl_c_after(7, monkeypatch)
    train("--out", "run", "--threads", "2")
    main(["train", "--resume", "run", "--corpus", "text.txt", "--threads", "1"])
    assert "this run had threads = 2 so far; with 1 the last bits" in capsys.readouterr().out


def test_a_run_can_be_resumed_by_its_checkpoint_and_without_its_config(monkeypatch):
    press_ctrl_c_after(7, monkeypatch)
    train("--out", "run")
    Path("run/config.json").write_text("damaged", encoding="utf-8")
    assert main(["train", "--resume", "run/checkpoint.safetensors", "--corpus", "text.txt"]) == 0


def test_a_later_ctrl_c_is_not_put_off():
    with stop_request(patience=0) as stop_requested:
        signal.raise_signal(signal.SIGINT)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_has_its_usual_meaning_afterwards():
    usual = signal.getsignal(signal.SIGINT)
    with stop_request():
        pass
    assert signal.getsignal(signal.SIGINT) is usual


def test_ctrl_c_elsewhere_ends_quietly(monkeypatch, capsys, finished):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "load", interrupted)
    assert main(["generate", str(finished)]) == 130
    assert capsys.readouterr().err == "\nstopped\n"


# --- runs that go wrong ---


def test_a_diverged_run_says_where_and_keeps_what_there_is(capsys):
    assert train("--out", "run", *RUNAWAY) == 1
    assert "diverged at step 2" in capsys.readouterr().err
    assert len(metrics("run")) == 2 and Path("run/loss.png").exists()


def test_weights_that_are_not_finite_are_not_saved(capsys):
    assert train("--out", "run", *RUNAWAY, "--learning-rate", "1e38", "--weight-decay", "1e38") == 1
    assert "not finite" in capsys.readouterr().err
    assert not Path("run/checkpoint.safetensors").exists() and Path("run/metrics.csv").exists()


def test_a_model_gone_wild_gives_no_sample_and_no_crash(capsys):
    train("--out", "run", *RUNAWAY, "--learning-rate", "1e38", "--weight-decay", "1e38", "--sample-every", "1")
    assert "no sample" in capsys.readouterr().out


# --- mistakes ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--hidden-dim", "9"], "num_heads = 2: must divide hidden_dim = 9"),
        (["--steps", "0"], "steps = 0"),
        (["--threads", "0"], "threads = 0"),
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
        (["--context-length", "5000"], "too few"),
        (["--prompt", "é"], "'é'"),
        (["--prompt", ""], "prompt is empty"),
        (["--out", "text.txt"], "is a file"),
        (["--resume", "nowhere"], "--hidden-dim"),
    ],
)
def test_a_mistake_in_training_is_one_plain_line_and_leaves_nothing(arguments, told, capsys):
    assert told in error_of(capsys, ["train", "--corpus", "text.txt", *SHORT, *arguments])
    assert [path.name for path in Path.cwd().iterdir()] == ["text.txt"]


def test_a_run_is_not_overwritten(finished, capsys):
    before = (finished / "metrics.csv").stat().st_mtime_ns
    assert "holds a run already" in error_of(capsys, ["train", "--corpus", "text.txt", *SHORT, "--out", str(finished)])
    assert (finished / "metrics.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("flag", [["--steps", "9"], ["--no-bias"], ["--out", "x"], ["--tokenizer=byte"]])
def test_a_resumed_run_takes_no_new_settings(flag, finished, capsys):
    assert flag[0].partition("=")[0] in error_of(capsys, ["train", "--resume", str(finished), *flag])


def test_a_finished_run_has_nothing_to_resume(finished, capsys):
    told = error_of(capsys, ["train", "--resume", str(finished), "--corpus", "text.txt"])
    assert "all of its 20 steps are made" in told


def test_a_diverged_run_has_nothing_to_resume(capsys):
    train("--out", "run", *RUNAWAY)
    capsys.readouterr()
    assert "diverged at step 2" in error_of(capsys, ["train", "--resume", "run", "--corpus", "text.txt"])


def test_a_run_is_resumed_on_its_own_text_only(finished, capsys):
    Path("other.txt").write_text("the quick brown fox jumps over the lazy dog!\n" * 30, encoding="utf-8")
    assert "trained on corpus 'text'" in error_of(capsys, ["train", "--resume", str(finished), "--corpus", "other.txt"])


def test_a_text_that_was_a_file_is_asked_for(finished, capsys):
    assert "with --corpus" in error_of(capsys, ["train", "--resume", str(finished)])


@pytest.mark.parametrize("arguments", [["--top-p", "2"], ["--temperature", "-1"], ["--prompt", "É"]])
def test_a_mistake_in_generating_is_one_plain_line(arguments, finished, capsys):
    error_of(capsys, ["generate", str(finished), *arguments])


def test_a_folder_without_a_run_is_one_plain_line(capsys):
    assert "no checkpoint" in error_of(capsys, ["generate", "nowhere"])


# --- the other commands ---


def test_generate_goes_on_from_the_prompt(finished, capsys):
    assert main(["generate", str(finished), "--prompt", "the ", "--max-new-tokens", "30"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("the ") and len(shown) == len("the ") + 30 + 1


def test_generate_repeats_itself_with_the_same_seed(finished, capsys):
    texts = []
    for seed in ("1", "1", "2"):
        main(["generate", str(finished), "--seed", seed])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_several_samples_are_each_what_their_seed_gives_alone(finished, capsys):
    settings = ["generate", str(finished), "--prompt", "the ", "--max-new-tokens", "20"]
    texts = []
    for seed in ("3", "4"):
        main([*settings, "--seed", seed])
        texts.append(f"--- seed {seed} ---\n{capsys.readouterr().out}")
    main([*settings, "--seed", "3", "--samples", "2"])
    assert capsys.readouterr().out == "\n".join(texts) + "\n"


def test_a_profile_is_printed_and_kept(capsys):
    sizes = ["--hidden-dim", "8", "--num-heads", "2", "--context-length", "8"]
    assert main(["profile", "--corpus", "text.txt", "--profiled-steps", "2", "--out", "p", *sizes]) == 0
    shown = capsys.readouterr().out
    assert "backward" in shown and "GFLOP/s" in shown and "being watched adds" in shown
    assert json.loads(Path("p/profile.json").read_text())["steps"] == 2
    assert Path("p/profile.png").exists() and Path("p/profile.svg").exists()


def test_info_tells_what_recomputing_and_pieces_save(capsys):
    totals = []
    for flags in ([], ["--recompute", "--micro-batches", "4"]):
        main(["info", "--corpus", "text.txt", *flags])
        totals.append(float(capsys.readouterr().out.split()[-1]))
    assert totals[1] < totals[0] / 2


def test_a_reader_who_leaves_is_no_error(finished, monkeypatch):
    class Closed:
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["generate", str(finished)]) == 0


def test_check_has_a_row_for_every_tensor_and_passes(capsys):
    assert main(["check", "--corpus", "text.txt", *SMALL[:8]]) == 0
    shown = capsys.readouterr().out
    config = ModelConfig(vocab_size=28, hidden_dim=8, num_heads=2, num_layers=1, context_length=8)
    assert all(f"gradient  {name} " in shown for name in Transformer(config).parameters)
    assert "all passed" in shown and "FAILED" not in shown


def test_check_fails_on_a_wrong_gradient(newcomer, capsys):
    assert main(["check", "--corpus", "text.txt", *SMALL[:8], "--activation", newcomer]) == 1
    failed = [row for row in capsys.readouterr().out.splitlines() if row.endswith("FAILED")]
    assert any("mlp.up.weight" in row for row in failed)


def test_info_adds_up(capsys):
    assert main(["info", "--corpus", "text.txt", *SMALL]) == 0
    parameters, memory = [row.split() for row in capsys.readouterr().out.splitlines() if row.startswith("total")]
    config = ModelConfig(vocab_size=28, hidden_dim=8, num_heads=2, num_layers=1, context_length=8)
    assert int(parameters[1].replace(",", "")) == Transformer(config).num_parameters and float(memory[1]) > 0


@pytest.mark.parametrize(("arguments", "code", "words"), [(["--help"], 0, "--model"), (["--port", "1"], 2, "--port")])
def test_the_file_of_the_app_takes_the_options_of_its_command_and_no_others(arguments, code, words):
    file = Path(__file__).parents[2] / "gradio_app.py"
    done = subprocess.run([sys.executable, str(file), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code and words in done.stdout + done.stderr


def test_app_launches_the_app_with_the_models_that_are_named(monkeypatch):
    launched = []
    monkeypatch.setitem(sys.modules, "tlab.ui.app", types.SimpleNamespace(launch=launched.append))
    assert main(["app"]) == main(["app", "--model", "a folder", "--model", "b/c"]) == 0
    assert launched == [(), ("a folder", "b/c")]


def test_sweep_hands_everything_on(monkeypatch):
    handed = []
    monkeypatch.setitem(sys.modules, "sweeps.__main__", types.SimpleNamespace(main=handed.append))
    assert main(["sweep", "run", "--axes", "norm", "--help"]) == 0
    assert handed == [["run", "--axes", "norm", "--help"]]


# --- small parts ---


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0203, "20 ms"), (3.16, "3.2 s"), (14.4, "14 s"), (150, "2.5 min"), (3 * 3600, "3.0 h")]
)
def test_durations_are_told_in_fitting_units(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("tokenizer", "prompt"), [(CharTokenizer("\nab"), "\n"), (CharTokenizer("ab"), "a"), (ByteTokenizer(), "\n")]
)
def test_the_default_prompt_is_in_the_vocabulary(tokenizer, prompt):
    assert default_prompt(tokenizer) == prompt


def test_a_sample_cannot_command_the_terminal():
    assert visible("a\x1b[2Jb\n") == "a\N{REPLACEMENT CHARACTER}[2Jb\n"


def test_a_model_beyond_all_memory_is_told_in_one_line(capsys):
    assert main(["profile", "--corpus", "text.txt", "--hidden-dim", "1000000", "--num-heads", "1"]) == 2
    assert "more memory than there is; make it smaller" in capsys.readouterr().err
    told = error_of(capsys, ["check", "--corpus", "text.txt", "--hidden-dim", "1000000", "--num-heads", "1"])
    assert "more memory than there is; make it smaller" in told


@pytest.mark.parametrize("command", ["train", "profile"])
@pytest.mark.parametrize("words", [["--batch-size", "1000000"], ["--hidden-dim", "1000000", "--num-heads", "1"]])
def test_a_training_beyond_all_memory_is_refused_before_the_system_ends_it(capsys, monkeypatch, command, words):
    monkeypatch.setattr("tlab.cost.total_memory", lambda: 2**36)  # whatever this machine has
    told = error_of(capsys, [command, "--corpus", "text.txt", *words])
    assert re.search(r"needs about [\d,]+\.\d GiB of memory, and this machine has [\d,]+\.\d GiB; take a smaller", told)
    assert not Path("runs").exists()


def test_a_run_that_ends_within_its_warm_up_says_so(capsys):
    assert train("--warmup-steps", "100", "--out", "cold") == 0
    assert "warm-up   100 steps, so the learning rate is never reached" in capsys.readouterr().out
    assert train("--warmup-steps", "1", "--out", "warm") == 0
    assert "warm-up" not in capsys.readouterr().out


@pytest.mark.parametrize("layers", ["1", "10000"])
def test_info_counts_the_largest_model_without_making_it(capsys, layers):
    assert main(["info", "--hidden-dim", "1000000", "--num-heads", "1", "--num-layers", layers]) == 0
    assert "activations, estimated" in capsys.readouterr().out


def test_check_finds_a_planted_bug_and_fails(capsys):
    assert main(["check", "--corpus", "text.txt", *SMALL[:8], "--bug", "no-mask"]) == 1
    failed = [row for row in capsys.readouterr().out.splitlines() if row.endswith("FAILED")]
    assert any("no token sees a later one" in row for row in failed)
    assert main(["check", "--corpus", "text.txt", *SMALL[:8], "--bug", "no-task"]) == 2
    assert "Did you mean 'no-mask'?" in capsys.readouterr().err


def test_probe_says_how_much_of_a_long_text_it_reads(finished, capsys):
    read = Checkpoint.load(finished).model_config.context_length
    text, told = "the quick " * 20, f"the text has 200 tokens, of which the model reads the last {read}"
    assert main(["probe", "lens", str(finished), "--text", text]) == 0
    assert f"note: {told}\n" in capsys.readouterr().err
    assert told in error_of(capsys, ["probe", "lens", str(finished), "--text", text, "--place", "150"])
    assert main(["probe", "lens", str(finished), "--text", "the"]) == 0 and "note" not in capsys.readouterr().err


def test_probe_prints_its_definition_and_a_table(finished, capsys):
    assert main(["probe", "lens", str(finished), "--text", "the quick", "--place", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("What the model would predict") and "depth  first  probability" in out
    assert main(["probe", "heads", str(finished), "--text", "the quick", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("head,entropy,distance")
    assert main(["probe", "lens", str(finished), "--text", "the", "--place", "99"]) == 2
    assert "allowed are -3 to 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("trian", "tlab has no command 'trian'; it has train, .* Did you mean 'train'\\? See tlab --help"),
        ("probe lenz", "tlab probe has no command 'lenz'; it has .*, lens, .* Did you mean 'lens'\\?"),
        ("sweep stauts", "python -m sweeps has no command 'stauts'; .* Did you mean 'status'\\?"),
        ("exercise zzz", "tlab exercise has no command 'zzz'; it has [^.]*\\. See tlab exercise --help"),
    ],
)
def test_a_mistyped_command_is_told_what_there_is_and_what_was_meant(capsys, typed, words):
    assert main(shlex.split(typed)) == 2
    assert re.search(words, capsys.readouterr().err)

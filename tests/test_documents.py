"""Every command and every piece of Python in the README and in docs/ is run, or understood where it cannot be run.

Sizes are reduced: a command gets a tiny model, a short text and a few steps, and the runs that it names are there.
"""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tyro

from support import VERSE
from sweeps.__main__ import SUBCOMMANDS, AnyCommand
from sweeps.__main__ import main as sweeps_main
from sweeps.findings.claims import CLAIMS
from sweeps.findings.contested import CONTESTED
from tlab import ModelConfig, TrainConfig, Trainer, load_corpus
from tlab.cli import run_folder
from tlab.cli.commands import COMMANDS
from tlab.cli.commands import main as tlab_main
from tlab.cli.flags import parse
from tlab.exercises import EXERCISES
from tlab.false_winners.mistakes import MISTAKES
from tlab.registry import REGISTRIES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:tlab|python -m) [^`\n]+)`")
TEXT = f"{VERSE * 8}\nROMEO: I will; JULIET, I won't.\nThe capital of France is the value of an argument.\n" * 12
OF_LAB, OF_SWEEPS = ["tlab"], ["python", "-m", "sweeps"]

TINY = "--hidden-dim 8 --num-heads 2 --num-layers 2 --context-length 64 --batch-size 2"
SHORT = "--steps 3 --warmup-steps 1 --sample-every 0"
SMALL_CELLS = (
    "--steps 2 --corpus my.txt --jobs 1 --set hidden_dim=8 --set num_heads=2 --set num_layers=1 --set context_length=8 "
    "--set validation_every=0"
)
ADDED = {  # the beginning of a command -> what reduces it
    "tlab train --corpus": f"{TINY} {SHORT}",
    "tlab train --from": SHORT,
    "tlab train --resume": "--corpus my.txt",
    "tlab train --activation": f"{TINY} {SHORT} --corpus my.txt --out runs/inline",
    "tlab generate": "--max-new-tokens 5",
    "tlab profile": f"{TINY} --corpus my.txt",
    "python -m sweeps run --from": "--steps 2 --jobs 1 --set batch_size=2",
    "python -m sweeps run": SMALL_CELLS,
    "python -m sweeps plan": SMALL_CELLS.replace("--jobs 1", ""),
}
REPLACED = {
    r"--steps \d+": "",
    r"(--corpus|load_corpus\()(\s*\"?)(shakespeare|python-docs|NAME)\b": r"\1\2my.txt",
    r"\bopenai-community/gpt2\b": "like-gpt2",  # a tiny model in the same format
    r"--jobs \d+": "",
    r"(?<=[( ]steps=)\d+": "3",
    r"(?<=max_new_tokens=)\d+": "5",
}
UNDERSTOOD_ONLY = {  # the beginning of a command -> why it is not run
    "tlab train --log": "needs a tracker that is not installed; tests/training/test_trackers.py looks at each",
    "tlab export runs/first --to tensorboard": "the same",
    "tlab app": "a server, which tests/ui starts",
    "tlab check": "tests/cli runs it on small models",
    "tlab import SmolLM2": "a download of 90 MB; tests/pretrained/test_gguf.py reads such files",
    'tlab generate runs/gpt2 --prompt "464': "a model without a tokenizer; tests/pretrained has one",
    "python -m sweeps findings": "minutes to hours; tests/sweeps/findings runs small ones",
}
NEEDED = {  # the beginning of a command -> a package without which it is only understood
    "tlab export runs/first --to hf": "torch",  # of this model with code of its own, which is PyTorch's
    "tlab export runs/first --to torch": "torch",
    "tlab export runs/first --to gguf": "gguf",
}
ELSEWHERE = {  # the beginning of a command of another program -> what can be said of it here
    "pip install": lambda words: check_installed(words[2:]),
    "python -m pip install": lambda words: check_installed(words[4:]),
    "python -m pytest": lambda words: None,
    "ruff": lambda words: None,
    "pyright": lambda words: None,
    "mkdocs serve": lambda words: None,
    "tensorboard": lambda words: None,
    "llama-completion": lambda words: None,
    "cd ": lambda words: None,
    "python -c": lambda words: ast.parse(words[2]),
    "python tests/": lambda words: check_file(words[1]),
    "python -m": lambda words: check_module(words[2]),
}
NOT_RUN = {  # a piece of Python -> why it is only parsed
    "AutoModelForCausalLM.from_pretrained(": "tests/pretrained/test_export.py does, where there is Transformers",
    "@": "a class to add, which tests/test_one_class.py does",
}


def check_installed(words):
    """What pip is to install: this project with extras that it has, or a package that an extra of it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for word in words:
        inside = re.fullmatch(r"\.(?:\[(.*)\])?", word)
        if inside:
            assert set(filter(None, (inside[1] or "").split(","))) <= extras.keys(), word
        elif word != "-e":
            assert any(line.startswith(word) for lines in extras.values() for line in lines), word


def check_file(path):
    assert (ROOT / path).is_file(), path


def check_module(name):
    assert importlib.util.find_spec(name) is not None, name


def blocks(language):
    found = []
    for path in PAGES:
        codes = [code for kind, code in BLOCK.findall(path.read_text(encoding="utf-8")) if kind == language]
        if codes:
            found.append(pytest.param(codes, id=path.relative_to(ROOT).as_posix()))
    return found


def commands_in(code):
    """The commands of a block, one after the other, without comments."""
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield shlex.join(words[:end]), words[:end]
            words = words[end + 1 :]


def begins(command, table):
    return next((table[start] for start in table if command.startswith(start)), None)


def understand(command, words):
    """Whether the command line's own parser takes the words as they are."""
    if words[: len(OF_SWEEPS)] == OF_SWEEPS:
        assert len(words) < 4 or words[3] in SUBCOMMANDS
        if len(words) > 4:
            known = tyro.cli(AnyCommand, args=words[len(OF_SWEEPS) :])
            grid = getattr(known, "grid", None)
            assert grid is None or "my.toml" in words or len(grid()) > 1
    elif words[:1] == OF_LAB:
        named = COMMANDS[words[1]]
        if named.run_argv is None and len(words) > 2:
            parse(COMMANDS, words[1:])
    else:
        check = begins(command, ELSEWHERE)
        assert check is not None, f"nobody knows how to test {command!r}: add it to one of the tables above"
        check(words)


def can_run(command):
    needed = begins(command, NEEDED)
    return begins(command, UNDERSTOOD_ONLY) is None and (needed is None or importlib.util.find_spec(needed) is not None)


def reduced(command):
    for pattern, other in REPLACED.items():
        command = re.sub(pattern, other, command)
    return f"{command} {begins(command, ADDED) or ''}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs by the names that pages use, and a model in the format of Hugging Face."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "my.txt").write_text(TEXT, encoding="utf-8")
    corpus = load_corpus(folder / "my.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(run_folder, "save_plot", lambda folder, trainer: None)
        assert tlab_main(shlex.split(reduced(command_of_first()))[1:]) == 0
    size = {"vocab_size": corpus.tokenizer.vocab_size, "context_length": 128, "hidden_dim": 8, "num_heads": 2}
    config = ModelConfig(**size, position="learned", embedding_scale=1.0)
    trainer = Trainer(config, TrainConfig(steps=2, batch_size=2, warmup_steps=1), corpus)
    list(trainer)
    trainer.checkpoint().save(folder / "runs/gpt2")
    trainer.checkpoint().export(folder / "like-gpt2")
    (folder / "base.toml").write_text(base_toml(), encoding="utf-8")
    return folder


def command_of_first():
    """By which README trains runs/first, that other commands then read; on other pages it is the same."""
    (command,) = {
        command
        for path in PAGES
        for kind, code in BLOCK.findall(path.read_text(encoding="utf-8"))
        for command, words in (commands_in(code) if kind == "sh" else ())
        if words[:2] == ["tlab", "train"] and words[-2:] == ["--out", "runs/first"] and "--log" not in words
    }
    return command


def base_toml():
    """The file that docs/instructors.md shows, and its commands read."""
    page = (ROOT / "docs/instructors.md").read_text(encoding="utf-8")
    (code,) = [code for kind, code in BLOCK.findall(page) if kind == "toml"]
    assert "seeds = 3\n" in code
    return code.replace("seeds = 3", "seeds = 1")


@pytest.fixture(scope="module")
def seen():
    """Commands of sweeps that ran: they take longest, and several pages name the same ones."""
    return set()


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """An empty folder with the text and the models; runs come when they are named."""
    for name in ("my.txt", "base.toml"):
        shutil.copy(made / name, tmp_path)
    shutil.copytree(made / "like-gpt2", tmp_path / "like-gpt2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder, "save_plot", lambda folder, trainer: None)
    return tmp_path


def run(command, made):
    """Run a command of ours, reduced, in this process and the current folder."""
    words = shlex.split(reduced(command))
    out = words[words.index("--out") + 1] if "--out" in words else None
    for name in ("runs/first", "runs/gpt2"):
        if name in words and name != out and not os.path.exists(name):
            shutil.copytree(made / name, name)
    if out is not None and out in ("runs/first", "runs/gpt2"):
        shutil.rmtree(out, ignore_errors=True)
    if "check rmsnorm" in command or "train rmsnorm" in command:
        Path("rmsnorm/rmsnorm.py").write_text(RMSNORM, encoding="utf-8")
    ours = words[:1] == OF_LAB
    try:
        code = tlab_main(words[1:]) if ours else sweeps_main(words[len(OF_SWEEPS) :])
    except SystemExit as end:  # --help
        code = end.code or 0
    assert code == 0, f"{command} (as {shlex.join(words)}) ended with {code}"


RMSNORM = """import numpy as np


def rmsnorm(x, scale, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale
"""


def is_ours(words):
    return (words[:1] == OF_LAB and len(words) > 2) or (words[:3] == OF_SWEEPS and len(words) > 4)


@pytest.mark.parametrize("codes", blocks("sh"))
def test_the_commands_of_a_page_run(codes, made, place, seen):
    for code in codes:
        for command, words in commands_in(code):
            understand(command, words)
            if is_ours(words) and command not in seen and can_run(command):
                run(command, made)
                seen |= {command} if words[:3] == OF_SWEEPS else set()


INLINE_COMMANDS = sorted(
    {(path.relative_to(ROOT).as_posix(), command) for path in PAGES
     for command in INLINE.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))}
)  # fmt: skip
INSTRUCTIVE = ("docs/instructors.md", "docs/tabs/", "README.md")


@pytest.mark.parametrize(("page", "command"), INLINE_COMMANDS)
def test_a_command_in_a_sentence_is_understood_and_runs(page, command, made, place, register):
    if "leaky_relu" in command:
        from tlab.nn.activations import ACTIVATIONS, Relu

        register(ACTIVATIONS, "leaky_relu", Relu)
    if command.startswith("tlab export RUN") or "FILE" in command or command.endswith("..."):
        pytest.skip("a form, not a command")
    words = shlex.split(command)
    understand(command, words)
    if page.startswith(INSTRUCTIVE) and is_ours(words) and can_run(command):
        run(command, made)


@pytest.fixture
def registries_as_before():
    """What a page registers is an example, and no part of the lab for the tests that come after it."""
    before = {slot: dict(registry.entries) for slot, registry in REGISTRIES.items()}
    yield
    for slot, registry in REGISTRIES.items():
        registry.entries.clear()
        registry.entries.update(before[slot])


@pytest.mark.parametrize("codes", blocks("python"))
def test_the_python_of_a_page_runs(codes, place, monkeypatch, registries_as_before):
    otter = types.SimpleNamespace(test_case=lambda: lambda test: test)
    monkeypatch.setitem(sys.modules, "otter.test_files", otter)
    names = {"__name__": "a_page"}
    exec(RMSNORM, names)
    for code in codes:
        tree = ast.parse(code)
        if begins(code, NOT_RUN) is None:
            exec(compile(reduced(code), "<page>", "exec"), names)
        assert tree.body
    if "test_rmsnorm" in names:
        names["test_rmsnorm"](names["rmsnorm"])
    if "trainer" in names:
        assert np.isfinite(names["trainer"].records[-1].loss)


def test_every_block_is_of_a_language_that_is_looked_at():
    for path in PAGES:
        kinds = {kind for kind, _ in BLOCK.findall(path.read_text(encoding="utf-8"))}
        assert kinds <= {"sh", "python", "text", "toml"}, path


NUMBERS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
COUNTED = {  # page -> what it has a number of, in words
    "README.md": {
        "published claims": CLAIMS, "contested ones": CONTESTED, "mistakes of method": MISTAKES,
        "parts to write yourself": EXERCISES,
    },
    "docs/command-line.md": {"mistakes of method": MISTAKES},
    "docs/exercises.md": {"parts of the lab to write oneself": EXERCISES},
    "docs/index.md": {"mistakes": MISTAKES},
    "docs/sweeps.md": {"published claims": CLAIMS},
    "tlab/false_winners/__init__.py": {"mistakes of method": MISTAKES},
    "tlab/ui/lessons/texts/8-false-winners.toml": {"mistakes": MISTAKES},
}  # fmt: skip


@pytest.mark.parametrize("page", COUNTED)
def test_a_page_that_says_how_many_there_are_is_right(page):
    text = (ROOT / page).read_text(encoding="utf-8").lower()
    for words, things in COUNTED[page].items():
        number = NUMBERS[len(things)] if len(things) < len(NUMBERS) else str(len(things))
        assert re.search(rf"\b{number} {words}", text), f"{page}: there are {number} {words} by now"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150

"""A new part is one class in one file: those of CONTRIBUTING.md, put into scratch copies of the project."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tlab.source  # noqa: F401, with it come all registries
from support import combinations
from tlab.exercises import EXERCISES
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
KEY, LABEL = "leaky_relu", "Leaky ReLU"
ROWS = combinations(tuple(NORMS), (*ACTIVATIONS, KEY), tuple(RESIDUALS), tuple(POSITIONS))
COMBINATIONS = sum(KEY in row for row in ROWS)


FILES = {
    "ACTIVATIONS": "nn/activations.py",
    "RESIDUALS": "nn/residuals.py",
    "NORMS": "nn/norms.py",
    "POSITIONS": "nn/positions.py",
    "ATTENTION_SOFTMAXES": "nn/scores/softmaxes.py",
    "OPTIMIZERS": "training/optimizers.py",
    "SCHEDULES": "training/schedules.py",
    "PROBES": "inside/probes/writing.py",  # a new file, which no other file imports by its name
}
JUDGES = {  # of an example's registry -> the tests that have to know it
    "RESIDUALS": ("tests/nn/test_gradients.py", "tests/nn/test_meaning.py", "tests/nn/test_further_switches.py"),
    "NORMS": ("tests/nn/test_gradients.py", "tests/nn/test_further_switches.py"),
    "POSITIONS": ("tests/nn/test_gradients.py", "tests/nn/test_further_switches.py"),
    "ATTENTION_SOFTMAXES": ("tests/nn/test_further_switches.py",),
    "OPTIMIZERS": ("tests/training/test_optimizers.py",),
    "SCHEDULES": ("tests/training/test_optimizers.py",),
    "PROBES": ("tests/inside/test_probes.py", "tests/inside/test_table_figure.py"),
}
EXAMPLES = {
    registry: code
    for code, registry in re.findall(
        r"```python\n((?:[^`]*\n)?@(\w+)\.add.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL
    )
}


def scratch_copy(folder, *registries):
    """A copy of the project with the classes of these examples added to their files, and no other edit."""
    for part in ("tlab", "sweeps", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    for registry in registries:
        with (folder / "tlab" / FILES[registry]).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{EXAMPLES[registry]}" if file.tell() else EXAMPLES[registry])
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """With the new activation alone."""
    return scratch_copy(tmp_path_factory.mktemp("scratch"), "ACTIVATIONS")


@pytest.fixture(scope="module")
def scratch_of_all(tmp_path_factory):
    """With all of the examples, so that they meet."""
    return scratch_copy(tmp_path_factory.mktemp("all"), *EXAMPLES)


def run(folder, *arguments):
    """What a Python process in the scratch copy prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    process = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    return process.stdout


def passed(folder, *arguments):
    """How many of these tests pass in the scratch copy; none may fail."""
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib")
    return int(re.search(r"\b(\d+) passed", run(folder, "-m", "pytest", *options, *arguments))[1])


def test_the_app_offers_it(scratch):
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import gradio; from tlab.ui.settings.controls import Controls\n"
        "controls = Controls({}, None, 1000)\n"
        "with gradio.Blocks(): controls.build()\n"
        "print(controls.components['activation'].choices)"
    )
    assert f"('{LABEL}', '{KEY}')" in run(scratch, "-c", program)


def test_a_sweep_over_activations_has_it(scratch):
    program = (
        "from sweeps.grid.grid import cells_of\nfrom sweeps.grid.parse import parse_grid\n"
        "grid = parse_grid('activation')\n"
        "print([cell.model.activation for cell in cells_of([grid])])"
    )
    assert f"'{KEY}'" in run(scratch, "-c", program)


def test_the_gradient_tests_judge_it_beside_every_two_other_parts(scratch):
    assert passed(scratch, "tests/nn/test_gradients.py", "-k", KEY) == COMBINATIONS + 1  # and alone


def test_it_decodes_beside_every_two_other_parts(scratch):
    # Each tied or not, with bias or without, and once past the window.
    assert passed(scratch, "tests/nn/test_decoder.py", "-k", KEY) == COMBINATIONS * (2 * 2 + 1)


def test_the_tests_of_the_registries_allow_it(scratch):
    assert passed(scratch, "tests/test_registry.py") > 0


def test_tlab_check_judges_it(scratch):
    printed = run(scratch, "-m", "tlab.cli.commands", "check", "--activation", KEY, "--num-layers", "1")
    assert "blocks.0.mlp.up.weight" in printed


def test_the_page_of_switches_lists_it(scratch):
    assert f"| activation | `{KEY}` | {LABEL} |" in run(
        scratch, "-c", "import tlab.source as s; print(s.switches_table())"
    )


def test_there_is_an_example_of_each_kind_of_part():
    assert EXAMPLES.keys() == FILES.keys() == {"ACTIVATIONS", *JUDGES}


@pytest.mark.parametrize("registry", JUDGES)
def test_the_tests_of_its_kind_judge_each_example(registry, scratch_of_all):
    key = re.search(r'add\(\s*"(\w+)"', EXAMPLES[registry])[1]
    assert passed(scratch_of_all, *JUDGES[registry], "-k", key) > 0


def test_the_table_of_kinds_has_the_file_of_every_class_and_tests_that_are_there():
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("### Where each kind goes")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:tlab|sweeps|tests|data)/[\w./-]+)", table)
    assert [path for path in named if not (ROOT / path).exists()] == []
    classes = [kind for registry in (*REGISTRIES.values(), EXERCISES) for kind in registry.values()]
    files = {Path(inspect.getfile(kind)).relative_to(ROOT).as_posix() for kind in classes}
    unnamed = {file for file in files if not file.startswith(tuple(named))}
    assert not unnamed, f"the table in CONTRIBUTING.md leads nobody to {unnamed}"

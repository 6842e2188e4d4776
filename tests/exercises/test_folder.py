"""The folder of an exercise: what is in it, what is not, and how the answer is found again."""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tlab.config import ConfigError
from tlab.exercises import EXERCISES, check_answer
from tlab.exercises.folder import examine_folder, find_answer, notebook, start
from tlab.exercises.parts import attention, losses, norms
from tlab.nn.activations import Gelu
from tlab.nn.scores import softmaxes

RIGHT = textwrap.dedent(
    """
    import numpy as np

    def rmsnorm(x, scale, epsilon):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale
    """
)


@pytest.fixture
def folder(tmp_path):
    """A started exercise."""
    start("rmsnorm", tmp_path / "mine")
    return tmp_path / "mine"


def write(folder, text, name="rmsnorm.py"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def problem_in(folder):
    """The words about the first promise that is not kept."""
    return next(check.problem for check in examine_folder(folder).checks if check.problem)


def code_lines(function):
    """The lines of a function or class that do something: no docstring, comment or signature."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    statements = [
        node for body in bodies for node in body if not isinstance(getattr(node, "value", None), ast.Constant)
    ]
    return {line.strip() for node in statements for line in ast.unparse(node).splitlines() if len(line.strip()) > 8}


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("as_notebook", [False, True])
def test_no_line_of_a_solution_is_in_a_started_folder(name, as_notebook, tmp_path):
    written = "\n".join(path.read_text("utf-8") for path in start(name, tmp_path, as_notebook=as_notebook))
    exercise = EXERCISES[name]
    sources = [exercise.solution, exercise.part, *(mistake.answer for mistake in exercise().mistakes)]
    shared = [norms.lab_norm, attention.attend, attention.row_softmax, losses.one_hot, softmaxes.softmax_backward, Gelu]
    lines = set().union(*map(code_lines, [*sources, *shared]))
    assert len(lines) > 20
    assert [line for line in lines if line in written] == []


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_says_what_is_given_and_asked_for_and_where_it_comes_from(name, tmp_path):
    path, test = start(name, tmp_path)
    text = path.read_text("utf-8")
    function = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    entry = EXERCISES.entries[name]
    assert function.name == name and [argument.arg for argument in function.args.args] == list(entry.component.takes)
    said = " ".join((ast.get_docstring(function) or "").split())
    assert all(meaning in said for meaning in [*entry.component.takes.values(), *entry.component.gives.values()])
    assert entry.formula in text and entry.source in text and "def test_" in test.read_text("utf-8")
    assert problem_in(tmp_path) == "it is not written yet"


def test_a_right_answer_in_the_folder_passes(folder):
    assert check_answer(write(folder, RIGHT)).passed
    assert check_answer(folder / "rmsnorm.py").passed
    assert check_answer(str(folder)).passed


def test_the_folder_s_own_test_says_what_the_check_says(folder):
    write(folder, RIGHT.replace("mean(-1", "mean(1"))
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "-c", "/dev/null", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())
    assert done.returncode == 1 and "a known mistake gives: mean over the wrong axis" in done.stdout
    assert "checking.py" not in done.stdout  # the words, and nothing of how they were found


def environment():
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_what_was_written_is_not_overwritten(folder):
    write(folder, RIGHT)
    for as_notebook in (False, True):
        with pytest.raises(ConfigError, match="here already"):
            start("rmsnorm", folder, as_notebook=as_notebook)
    assert (folder / "rmsnorm.py").read_text("utf-8") == RIGHT
    write(folder, "notes", "notes.txt")
    start("rmsnorm", folder, overwrite=True)
    assert (folder / "rmsnorm.py").read_text("utf-8") != RIGHT and (folder / "notes.txt").exists()


def test_a_place_that_cannot_be_written_is_said_in_words(tmp_path):
    write(tmp_path, "a file", "rope")
    with pytest.raises(ConfigError, match="cannot be written"):
        start("rope", tmp_path / "rope")


@pytest.mark.parametrize("name", EXERCISES)
def test_a_notebook_has_the_stub_and_a_check(name):
    cells = json.loads(notebook(name))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code"]
    assert f'check("{name}", {name})' in "".join(cells[2]["source"])
    assert len({cell["id"] for cell in cells}) == 3
    compile("".join(cells[1]["source"]), "stub", "exec")


def test_an_answer_in_a_notebook_is_found_without_its_check(tmp_path):
    path, _ = start("rmsnorm", tmp_path, as_notebook=True)
    content = json.loads(path.read_text("utf-8"))
    content["cells"][1]["source"] = "%matplotlib inline\n!ls\n" + RIGHT  # as one string, which is allowed as well
    content["cells"].insert(1, {"cell_type": "code", "source": ["import math\n"], "metadata": {}, "outputs": []})
    write(tmp_path, json.dumps(content), "rmsnorm.ipynb")
    assert check_answer(tmp_path).passed
    content["cells"][2]["source"] = RIGHT.replace("return x", "return x @ x")
    write(tmp_path, json.dumps(content), "rmsnorm.ipynb")
    assert "rmsnorm.ipynb: return x @ x" in problem_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def rmsnorm(x, scale, epsilon)\n    return x\n", "rmsnorm.py is not Python in line 1: expected ':'"),
        ("def rmsnom(x, scale, epsilon):\n    return x\n", "defines no function rmsnorm. Did you mean 'rmsnom'?"),
        ("", "defines no function rmsnorm."),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("x = 1 / 0\n", "in line 1 of rmsnorm.py: x = 1 / 0"),
        ("raise SystemExit\n", "exit()"),
        ("def rmsnorm(x, scale, epsilon):\n    return rmsnorm(x, scale, epsilon)\n", "RecursionError"),
        ("rmsnorm = 3\n", "3 is no function"),
        ("rmsnorm = '\0'\n", "is not Python"),
    ],
)
def test_a_file_that_cannot_be_judged_is_said_in_words(folder, text, words):
    assert words in problem_in(write(folder, text))


def test_an_answer_may_have_helpers_and_classes_beside_it(folder):
    write(folder, "def size(x):\n    return (x * x).mean(-1, keepdims=True)\n", "helping.py")
    write(
        folder,
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom helping import size\n\n"
        "@dataclass\nclass Root:\n    x: float\n\n"
        "def rmsnorm(x, scale, epsilon):\n    return x / Root((size(x) + epsilon) ** 0.5).x * scale\n",
    )
    assert check_answer(folder).passed
    sys.modules.pop("helping")


def test_where_there_is_no_answer_the_error_names_what_to_do(tmp_path, folder):
    with pytest.raises(ConfigError, match=r"tlab exercise start NAME`\. There is one in .*mine"):
        find_answer(tmp_path)
    with pytest.raises(ConfigError, match="not named after an exercise; allowed: rmsnorm"):
        find_answer(write(tmp_path, "", "other.py") / "other.py")
    write(folder, "", "rope.py")
    with pytest.raises(ConfigError, match=r"more than one answer: rmsnorm\.py and rope\.py"):
        find_answer(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"cells": [{}]}', b"\xff\xfe\xfa"])
def test_a_damaged_notebook_is_said_in_words(tmp_path, content):
    (tmp_path / "rope.ipynb").write_bytes(content)
    with pytest.raises(ConfigError, match=r"rope\.ipynb is damaged"):
        examine_folder(tmp_path)

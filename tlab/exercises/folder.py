"""The folder of an exercise: what is written into it to begin with, and how the answer is found in it again."""

from __future__ import annotations

import inspect
import json
import linecache
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

from tlab.config import ConfigError
from tlab.exercises.checking import STUB_ERROR, Report, examine
from tlab.exercises.exercise import EXERCISES, Attempt, Problem
from tlab.files import write_atomically
from tlab.wording import did_you_mean, listed

WIDTH = 100  # of the lines in what is written
CHECK_TAG = "check"  # of the cell of a notebook that is no part of the answer


def header(name: str) -> str:
    """What the exercise is about, for the top of a file."""
    exercise, entry = EXERCISES[name], EXERCISES.entries[name]
    paragraphs = [f"{entry.label}: {entry.summary}", *entry.description.split("\n\n")[1:]]
    part = exercise.part
    if inspect.isclass(part) and "Notice:" in (said := inspect.getdoc(part) or ""):
        paragraphs.append("Notice: " + said.partition("Notice:")[2].partition("\n\n")[0].strip())
    wrapped = [textwrap.fill(" ".join(paragraph.split()), WIDTH) for paragraph in paragraphs]
    facts = [f"Formula (LaTeX): {entry.formula}", f"Source: {entry.source}"]
    letters = "B, T, C, H, D, V: batch, time, channels, heads, head width, vocabulary. dx is the gradient of the loss"
    return "\n\n".join([*wrapped, "\n".join(facts), f"{letters}\nwith respect to x."])


def stub(name: str) -> str:
    """The function to be written: its name, what it takes and returns, and an error in place of a body."""
    exercise = EXERCISES[name]
    lines = [EXERCISES.entries[name].summary, "", "Args:"]
    lines += [f"    {argument}: {meaning}." for argument, meaning in exercise.takes.items()]
    lines += ["", "Returns:"] + [f"    {result}: {meaning}." for result, meaning in exercise.gives.items()]
    first, *rest = lines
    wrapped = [textwrap.fill(first, WIDTH - 8)] + [
        textwrap.fill(line, WIDTH - 4, subsequent_indent=" " * 8) for line in rest
    ]
    quotes = '"""'
    docstring = "\n".join([f"{quotes}{wrapped[0]}", *wrapped[1:], quotes])
    return (
        f"def {name}({', '.join(exercise.takes)}):\n{textwrap.indent(docstring, '    ')}\n"
        f'    raise NotImplementedError("{STUB_ERROR}")\n'
    )


def answer_file(name: str) -> str:
    """The Python file in which the answer is written."""
    raw = "r" if "\\" in header(name) else ""
    how = "Check it here with `tlab exercise check`, or with pytest; train with it: `tlab exercise train`."
    return f'{raw}"""{header(name)}\n\n{how}\n"""\n\nimport numpy as np\n\n\n{stub(name)}'


def test_file(name: str) -> str:
    """A file for pytest that makes the same check."""
    return (
        "from pathlib import Path\n\nfrom tlab.exercises import check_answer\n\n\n"
        f"def test_{name}():\n    check_answer(Path(__file__).parent)\n"
    )


test_file.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]  # its name is no promise to pytest


def notebook(name: str) -> str:
    """A notebook with the same text and stub, and a cell that checks what was written (nbformat 4.5)."""
    entry = EXERCISES.entries[name]
    words = header(name).replace(f"Formula (LaTeX): {entry.formula}", f"$$ {entry.formula} $$")
    cells = [
        ("markdown", f"# {words}", []),
        ("code", f"import numpy as np\n\n\n{stub(name)}", []),
        ("code", f'from tlab.exercises import check\n\ncheck("{name}", {name})', [CHECK_TAG]),
    ]
    content = {
        "cells": [notebook_cell(f"cell-{number}", *parts) for number, parts in enumerate(cells)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1) + "\n"


def notebook_cell(name: str, kind: str, source: str, tags: list[str]) -> dict[str, Any]:
    """One cell of a notebook."""
    made: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {"tags": tags} if tags else {}}
    if kind == "code":
        made.update(execution_count=None, outputs=[])
    return {**made, "source": source.splitlines(keepends=True)}


def start(name: str, folder: Path, *, as_notebook: bool = False, overwrite: bool = False) -> list[Path]:
    """Write an exercise into a folder; -> the files.

    Args:
        name: the exercise.
        folder: made where it is not there.
        as_notebook: the answer is written in a notebook, and not in a Python file.
        overwrite: begin anew where the exercise was begun already.

    Raises:
        UnknownKeyError: there is no such exercise.
        ConfigError: it was begun there already, or the folder cannot be written.
    """
    answer = {f"{name}.ipynb": notebook(name)} if as_notebook else {f"{name}.py": answer_file(name)}
    files = {folder / file: text for file, text in {**answer, f"test_{name}.py": test_file(name)}.items()}
    begun = [path for path in (*files, *answers_in(folder)) if path.exists()]
    if begun and not overwrite:
        raise ConfigError(
            f"{listed(sorted({str(path) for path in begun}))} are here already, and what was written is not "
            "overwritten; name another folder with --out, or begin anew with --overwrite"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            write_atomically(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; name another with --out") from error
    return list(files)


def answers_in(folder: Path) -> list[Path]:
    """The files in a folder that are named after an exercise."""
    return [path for name in EXERCISES for kind in ("py", "ipynb") if (path := folder / f"{name}.{kind}").is_file()]


def find_answer(place: Path) -> Path:
    """The file with the answer: the place itself, or the only one in the folder.

    Raises:
        ConfigError: there is none, or more than one.
    """
    if place.is_file():
        if place.suffix not in (".py", ".ipynb") or place.stem not in EXERCISES:
            raise ConfigError(f"{place} is not named after an exercise; allowed: {', '.join(EXERCISES)}")
        return place
    found = answers_in(place)
    if len(found) == 1:
        return found[0]
    if found:
        names = listed([path.name for path in found])
        raise ConfigError(f"{place} holds more than one answer: {names}; name the file")
    below = [path.parent for folder in sorted(place.glob("*/")) for path in answers_in(folder)]
    hint = f" There is one in {listed([str(path) for path in below])}." if below else ""
    raise ConfigError(f"{place} holds no exercise; begin one with `tlab exercise start NAME`.{hint}")


def read_source(path: Path) -> str:
    """The answer's code; of a notebook all of its code but the check, and without lines that are IPython's own.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".py":
            return text
        cells = json.loads(text)["cells"]
        sources = [
            "".join(cell["source"])
            for cell in cells
            if cell["cell_type"] == "code" and CHECK_TAG not in cell.get("metadata", {}).get("tags", [])
        ]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        kind = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else "a notebook"
        raise ConfigError(f"{path} is damaged: it is not {kind}") from error
    lines = "\n\n".join(sources).splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines) + "\n"


def load_answer(path: Path) -> Attempt:
    """The function that a file defines under the exercise's name.

    Raises:
        Problem: a syntax error, or no such function. Whatever else its code raises passes through.
    """
    name, source = path.stem, read_source(path)
    file = str(path.resolve())
    if path.suffix == ".ipynb":
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    else:
        linecache.checkcache(file)
    try:
        code = compile(source, file, "exec")
    except (SyntaxError, ValueError) as error:  # the latter of null bytes
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        text = (getattr(error, "text", None) or "").strip()
        message = error.msg if isinstance(error, SyntaxError) else error
        raise Problem(f"{path.name} is not Python{line}: {message}" + (f"\n{text}" if text else "")) from None
    module = types.ModuleType(f"answer_{name}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where dataclasses look for it
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(code, vars(module))
    finally:
        sys.path.remove(str(path.resolve().parent))
    if name not in vars(module):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise Problem(f"{path.name} defines no function {name}.{did_you_mean(name, known)}")
    return vars(module)[name]


def examine_folder(place: Path) -> Report:
    """Check the answer in a folder, or in a file.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = find_answer(place)
    read_source(path)  # what cannot be read is no wrong answer
    return examine(path.stem, lambda: load_answer(path))


def check_answer(place: str | Path) -> Report:
    """Check the answer in a folder that `tlab exercise start` made, or in a file.

    Returns:
        what is right, in words, where all of it is.

    Raises:
        AssertionError: something is wrong; the message says what, and names the mistake where it is a known one.
        ConfigError: there is no answer.
    """
    __tracebackhide__ = True  # of pytest, which then shows the words alone
    report = examine_folder(Path(place))
    if not report.passed:
        raise AssertionError(str(report))
    return report

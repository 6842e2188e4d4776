"""A lesson as its file has it: a title, what one needs to know, and steps.

A file `texts/NUMBER-NAME.toml` is a lesson, and its NAME stands in links: `?lesson=NAME&step=3`. Each `[[step]]` has a
`title`, a `text` and one `kind`:

- `explain`: the text, maybe with `bars`, an expression for rows of (words, number) or (words, number, how it is
  written), and a `picture` of pictures.html.
- `predict`: a question that is asked before its result can be seen. Its `name` is how later steps speak of it.
- `do`: something to do on another tab; `do.what` names one of `TASKS`. Its `name` is how later steps speak of what came
  of it. `now` is what the strip above the other tabs says.
- `check`: a question about what came of it.

Texts are Jinja templates in HTML, and the `right` of a choice is an expression. Both read what came of the steps before
by name (facts.py): no number of a run is written down in a lesson.
"""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlab.ui.lessons.tasks import TASKS, LessonTask

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

TEXTS = Path(__file__).parent / "texts"
LESSON_FILE = re.compile(r"(\d+)-([a-z-]+)")
EXPLAIN, PREDICT, DO, CHECK = "explain", "predict", "do", "check"
KINDS = {EXPLAIN: "Explanation", PREDICT: "Your prediction", DO: "Your turn", CHECK: "Question"}


@dataclass(frozen=True)
class Choice:
    """One answer to a question."""

    text: str
    right: str  # an expression: whether the learner's own run says so


@dataclass(frozen=True)
class Step:
    """One page of a lesson."""

    kind: str
    title: str
    text: str
    name: str = ""
    question: str = ""
    choices: tuple[Choice, ...] = ()
    hint: str = ""  # offered before the answer
    because: str = ""  # shown with the answer to a check
    now: str = ""
    picture: str = ""
    bars: str = ""
    task: LessonTask | None = None

    @classmethod
    def from_file(cls, given: dict[str, Any]) -> Step:
        """A step as its table has it.

        Raises:
            ValueError: a kind that there is not, or one that lacks what it is for.
            TypeError: a key that a step does not have.
        """
        told = dict(given)
        choices = tuple(Choice(**choice) for choice in told.pop("choice", ()))
        task = told.pop("do", None)
        step = cls(**told, choices=choices, task=None if task is None else TASKS[task.pop("what")](**task))
        asks = step.kind in (PREDICT, CHECK)
        needs = {"choices": asks, "question": asks, "hint": asks or step.kind == DO, "task": step.kind == DO}
        lacks = [what for what, is_needed in needs.items() if bool(getattr(step, what)) != is_needed]
        if step.kind not in KINDS or lacks:
            raise ValueError(f"step “{step.title}”, of kind {step.kind!r}: {lacks} too much, or missing")
        return step


@dataclass(frozen=True)
class Lesson:
    """One lesson."""

    number: int
    name: str
    title: str
    minutes: int  # that it takes a fresh reader, waiting included
    needs: str  # what one needs to know
    steps: list[Step] = field(default_factory=list)


def read_lesson(path: Path) -> Lesson:
    """The lesson of a file."""
    found = LESSON_FILE.fullmatch(path.stem)
    assert found, path
    told = tomllib.loads(path.read_text("utf-8"))
    steps = [Step.from_file(step) for step in told.pop("step")]
    return Lesson(int(found[1]), found[2], steps=steps, **told)


def lesson_files() -> list[Path]:
    """In the order in which they are offered."""
    return sorted(TEXTS.glob("*.toml"))


@functools.cache
def all_lessons() -> dict[str, Lesson]:
    """By name, in order; read when somebody first wants to learn."""
    return {lesson.name: lesson for lesson in map(read_lesson, lesson_files())}

"""How an answer is checked: what it returns, what it promises, and which known mistake it makes."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from tlab.exercises.deadline import DeadlineError, deadline
from tlab.exercises.exercise import (
    EXERCISES,
    Attempt,
    Exercise,
    KnownMistake,
    Problem,
    compare_shapes,
    compare_values,
    equals,
)
from tlab.types import Array

SECONDS = 5.0  # a right answer takes a few hundredths of one
STUB_ERROR = "this is yours to write"

LIBRARIES = (
    str(Path(__file__).resolve().parents[1]),
    *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
)

DOES_RUN, HAS_SHAPES = "it runs, and returns what is asked for", "shapes are right"
VALUES, UNTOUCHED = "values are right", "what it was given stays as it was"


class PromiseResult(NamedTuple):
    """One promise, and why it is not kept: "" where it is."""

    promise: str
    problem: str


class Report(NamedTuple):
    """What came of one answer. `print(report)` says it in words."""

    exercise: str
    checks: list[PromiseResult]
    mistake: KnownMistake | None = None

    @property
    def passed(self) -> bool:
        """Whether every promise is kept."""
        return not any(check.problem for check in self.checks)

    def __str__(self) -> str:
        lines = []
        for check in self.checks:
            lines.append(f"{'WRONG' if check.problem else 'right':<7}{check.promise}")
            lines += [f"       {line}" for line in check.problem.splitlines()]
        if self.mistake is not None:
            lines += ["", f"This is what a known mistake gives: {self.mistake.name}.", self.mistake.advice]
        right = sum(not check.problem for check in self.checks)
        verdict = "all right" if self.passed else f"{right} of {len(self.checks)} right"
        return "\n".join([f"{self.exercise}: {verdict}", "", *lines])

    def __repr__(self) -> str:
        return str(self)  # what a notebook shows where a cell ends with it


def examine(name: str, make_answer: Callable[[], Attempt]) -> Report:
    """Check the answer that `make_answer` returns; what happens in there belongs to the answer.

    Raises:
        UnknownKeyError: there is no such exercise.
    """
    exercise = EXERCISES[name]()
    checks: list[PromiseResult] = []
    outputs: list[dict[str, Array]] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the verdict is the same where warnings are errors
        expected = [exercise.outputs(exercise.solution, case) for case in cases_of(exercise)]
        try:
            with deadline(SECONDS):
                for promise, keep in promises_of(exercise, make_answer, expected, outputs):
                    problem = problem_of(keep)
                    checks.append(PromiseResult(promise, problem))
                    if problem and promise in (DOES_RUN, HAS_SHAPES):
                        break  # the rest would say the same again
        except DeadlineError as error:
            place = place_of(error)
            checks.append(
                PromiseResult("it comes to an end", f"it still ran after {SECONDS:g} seconds, and was ended{place}")
            )
        report = Report(name, checks)
        if report.passed or len(outputs) < len(expected):
            return report
        return report._replace(mistake=mistake_of(exercise, outputs))


def cases_of(exercise: Exercise) -> list[tuple[Any, ...]]:
    """The same ones at every call."""
    return exercise.cases(np.random.default_rng(0))


def promises_of(
    exercise: Exercise,
    make_answer: Callable[[], Attempt],
    expected: Sequence[Mapping[str, Array]],
    outputs: list[dict[str, Array]],
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each promise, and what raises an error where it is not kept; the first one fills `outputs`."""
    cases = cases_of(exercise)
    found: list[Attempt] = []

    def run() -> None:
        found.append(make_answer())
        if not callable(found[0]):
            raise Problem(f"{found[0]!r} is no function")
        outputs.extend(exercise.outputs(found[0], case) for case in cases)

    def compare(judge: Callable[[Mapping[str, Array], Mapping[str, Array]], None]) -> Callable[[], None]:
        def keep() -> None:
            for got, wanted in zip(outputs, expected, strict=True):
                judge(got, wanted)

        return keep

    def leave_alone() -> None:
        for case in cases:
            before_call, given = exercise.inputs(case), exercise.inputs(case)
            found[0](*given)
            for name, before, after in zip(exercise.takes, before_call, given, strict=True):
                if not unchanged(before, after):
                    raise Problem(f"it writes into {name}, which the caller still needs: make a new array instead")

    yield DOES_RUN, run
    yield HAS_SHAPES, compare(compare_shapes)
    yield VALUES, compare(compare_values)
    for promise, keep in exercise.promises().items():
        yield promise, lambda keep=keep: keep(found[0])
    yield UNTOUCHED, leave_alone


def unchanged(before: Any, after: Any) -> bool:
    """Whether an input is still what it was; lists of arrays are compared one by one."""
    if isinstance(before, dict):
        return before == after
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    return bool(np.array_equal(before, after))


def problem_of(keep: Callable[[], None]) -> str:
    """Why a promise is not kept, or ""."""
    try:
        keep()
    except Problem as problem:
        return str(problem)
    except NotImplementedError as error:
        return "it is not written yet" if str(error) == STUB_ERROR else error_words(error)
    except SystemExit:
        return "it ended Python with exit() or the like; let it return instead"
    except Exception as error:
        return error_words(error)
    return ""


def error_words(error: BaseException) -> str:
    """An error that the learner's code ended with, and at which of its own lines."""
    return f"it ended with {type(error).__name__}: {error}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """The learner's own line that an error comes from, as words to append; "" where it is in none."""
    own = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if is_own(frame)]
    if not own:
        return ""
    frame, number = own[-1]
    text = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    return f"\nin line {number} of {Path(frame.f_code.co_filename).name}" + (f": {text}" if text else "")


def is_own(frame: FrameType) -> bool:
    """Whether a frame is of the learner's code: neither of the lab's, nor of Python's or a library's."""
    file = frame.f_code.co_filename
    return not file.startswith((*LIBRARIES, "<frozen"))


def mistake_of(exercise: Exercise, outputs: Sequence[Mapping[str, Array]]) -> KnownMistake | None:
    """The known mistake that gives exactly these outputs, on all cases."""
    cases = cases_of(exercise)
    for known in exercise.mistakes:
        made = (exercise.outputs(known.answer, case) for case in cases)
        if all(equals(got, wrong) for got, wrong in zip(outputs, made, strict=True)):
            return known
    return None


def check(name: str, function: Attempt) -> Report:
    """Check a function that does what the exercise `name` asks for.

    Returns:
        what is right, in words, where all of it is.

    Raises:
        AssertionError: something is wrong; the message says what, and names the mistake where it is a known one.
        UnknownKeyError: there is no such exercise.
    """
    __tracebackhide__ = True  # of pytest, which then shows the words alone
    report = examine(name, lambda: function)
    if not report.passed:
        raise AssertionError(str(report))
    return report

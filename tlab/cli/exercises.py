"""The commands `tlab exercise ...`: begin an exercise, check what was written, and train with it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlab.cli.flags import Command, parse, unnamed
from tlab.config import Config, ConfigError, option
from tlab.exercises import EXERCISES
from tlab.exercises.beside import SAME_CURVE, generate_beside, train_beside
from tlab.exercises.checking import error_words, place_of
from tlab.exercises.exercise import Attempt
from tlab.exercises.folder import examine_folder, find_answer, load_answer, start
from tlab.text import DEFAULT_CORPUS
from tlab.wording import listed

PRINTED_STEPS = 10  # of a training, besides the first
EXERCISE_HELP = "Write a part of the lab yourself: a norm, attention, AdamW, top-p sampling ..."
FOLDER_HELP = "Folder of an exercise, or the file with the answer; by default the folder you are in."


@dataclasses.dataclass(frozen=True)
class StartConfig(Config):
    """Where an exercise is written, and as what."""

    out: str | None = option(None, help="Folder for the files; by default a new one of the exercise's name.")
    notebook: bool = option(False, help="Write the answer in a notebook, and not in a Python file.")
    overwrite: bool = option(False, help="Begin anew: what was written in the same files is lost.")

    def cross_check(self) -> list[str]:
        return unnamed(self, "out")


@dataclasses.dataclass(frozen=True)
class BesideConfig(Config):
    """What both models are trained on, and for how long."""

    corpus: str = option(DEFAULT_CORPUS, help="The text.")
    steps: int = option(100, low=2, high=100_000, help="Number of updates of each model.")


def show_list(values: Any, argv: Sequence[str]) -> int:
    print(f"{'exercise':<24} {'known mistakes':>14}  what to write\n")
    for name, entry in EXERCISES.entries.items():
        known = len({mistake.name for mistake in entry.component().mistakes})
        print(f"{name:<24} {known:>14}  {entry.summary or entry.label}")
    print("\nbegin with\n    tlab exercise start rmsnorm")
    return 0


def begin(values: Any, argv: Sequence[str]) -> int:
    asked = StartConfig(**vars(values.start))
    EXERCISES[values.name]  # the helpful error, where there is none
    folder = Path(asked.out or values.name)
    files = start(values.name, folder, as_notebook=asked.notebook, overwrite=asked.overwrite)
    print(f"written into {folder}: {listed([path.name for path in files])}")
    print(f"write {values.name} in {files[0]}, then\n    tlab exercise check {shlex.quote(str(folder))}")
    return 0


def print_check(values: Any, argv: Sequence[str]) -> int:
    report = examine_folder(Path(values.folder))
    print(report)
    if report.passed:
        exercise = EXERCISES[report.exercise]
        print(f"\nthe lab's own: {exercise.part.__qualname__} in {exercise.part.__module__.replace('.', '/')}.py")
        print(f"see it at work with\n    tlab exercise train {shlex.quote(values.folder)}")
    return 0 if report.passed else 1


def train_answer(values: Any, argv: Sequence[str]) -> int:
    asked = BesideConfig(**vars(values.beside))
    report = examine_folder(Path(values.folder))
    if not report.passed:
        print(f"{report}\n\nfirst make it right; then it is trained")
        return 1
    answer = load_answer(find_answer(Path(values.folder)))
    train = show_curves if EXERCISES[report.exercise].trains else show_texts
    try:
        return train(report.exercise, answer, asked)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if not place_of(error):  # it comes from no line of the answer, as where a corpus is not there
            raise
        raise ConfigError(f"in training {error_words(error)}") from error


def show_curves(name: str, answer: Attempt, asked: BesideConfig) -> int:
    print(f"the same model twice, on {asked.corpus}, in float64; loss in nats per token\n")
    print(f"{'step':>6}  {'lab':>10}  {'yours':>10}  {'difference':>10}")
    largest, every = 0.0, max(1, asked.steps // PRINTED_STEPS)
    for row in train_beside(name, answer, asked.corpus, asked.steps):
        difference = row.own - row.reference
        largest = max(largest, abs(difference)) if difference == difference else float("inf")
        if row.step == 1 or row.step % every == 0:
            print(f"{row.step:>6}  {row.reference:>10.6f}  {row.own:>10.6f}  {difference:>10.1e}", flush=True)
    is_same = largest <= SAME_CURVE
    verdict = "the same curve" if is_same else "not the same curve"
    print(f"\n{verdict}: the losses differ by {largest:.1e} at most; up to {SAME_CURVE:.0e} is rounding")
    return 0 if is_same else 1


def show_texts(name: str, answer: Attempt, asked: BesideConfig) -> int:
    print("it has no part in training: one model is trained, and generates with the lab's part and with yours\n")
    texts = generate_beside(name, answer, asked.corpus, asked.steps)
    print(f"lab    {texts.reference!r}\nyours  {texts.own!r}\n")
    is_same = texts.reference == texts.own
    print("the same text" if is_same else "not the same text")
    return 0 if is_same else 1


EXERCISE_COMMANDS = {
    "list": Command("All exercises.", show_list),
    "start": Command(
        "Write the files of an exercise: a stub, a test for pytest, or a notebook.",
        begin,
        {"start": (StartConfig, ())},
        name="Name of the exercise; tlab exercise list shows all.",
    ),
    "check": Command(
        "Check an answer: what is right, what is wrong, and which known mistake it makes.",
        print_check,
        folder=FOLDER_HELP,
        default_folder=".",
    ),
    "train": Command(
        "Train a model with an answer in it beside one with the lab's own part.",
        train_answer,
        {"beside": (BesideConfig, ())},
        folder=FOLDER_HELP,
        default_folder=".",
    ),
}


def run_exercise(argv: Sequence[str]) -> int:
    """Run the subcommand that the command line names; -> exit code."""
    command, values = parse(EXERCISE_COMMANDS, argv, "tlab exercise", EXERCISE_HELP)
    return command.execute(values, argv)

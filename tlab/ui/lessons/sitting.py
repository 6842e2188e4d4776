"""A learner at one step of a lesson: what is known by then, whether the way on is open, which answer is right."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tlab.ui.inspection.selection import clamp_int
from tlab.ui.lessons.facts import loss_at
from tlab.ui.lessons.learner import Evidence, Learner
from tlab.ui.lessons.lesson import CHECK, DO, EXPLAIN, PREDICT, Choice, Lesson, Step, all_lessons
from tlab.wording import layer_name, listed, part_name, percent, several, short_number, written

MOST_TRIES = 2  # at a question, after which its answer is shown
MAX_ANSWERS = 8  # that a browser may send of one step

WORDING = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
WORDING.filters |= {"percent": percent, "several": several, "short": short_number, "listed": listed, "written": written}
WORDING.filters["about"] = lambda value: f"{float(f'{value:.2g}'):,.10g}"  # 73,000
WORDING.filters["nats"] = lambda loss: written(loss, ".2f") if math.isfinite(loss) else "no number"
WORDING.filters["signed"] = lambda nats: written(nats, "+.2f" if abs(nats) >= 0.1 else "+.3f")
WORDING.filters["by_layer"] = lambda numbers: [(layer_name(layer), number) for layer, number in enumerate(numbers)]
WORDING.filters["head_words"] = part_name
WORDING.filters["in_nats"] = lambda rows: [(words, loss, written(loss, ".2f")) for words, loss in rows]
WORDING.filters["scores"] = lambda rows, column: [
    (part_name(row.head), getattr(row, column), percent(getattr(row, column))) for row in rows
]
WORDING.filters |= {"loss_at": loss_at, "rise": lambda rows, times: loss_at(rows, times) - loss_at(rows, 1)}
WORDING.globals |= {"exp": math.exp, "log": math.log, "inf": math.inf, "min": min, "max": max, "abs": abs, "len": len}


class OpenLesson(NamedTuple):
    """What a browser knows of the lesson that is open, after all checks: it may send anything."""

    lesson: Lesson
    step: int  # from 1
    answers: dict[int, list[int]]  # step, from 1 -> the choices that were tried, from 0, in order
    kept: dict[str, Evidence]  # name of a task -> what is kept of it


def read_open_lesson(sent: Any) -> OpenLesson | None:
    """The lesson that a browser says is open; None where none is."""
    told = sent if isinstance(sent, dict) else {}
    name = told.get("lesson")
    lesson = all_lessons().get(name) if isinstance(name, str) else None
    if lesson is None:
        return None
    answers: dict[int, list[int]] = {}
    given = told.get("answers")
    for number, step in enumerate(lesson.steps, 1):
        tried = given.get(str(number)) if isinstance(given, dict) else None
        tried = tried[:MAX_ANSWERS] if isinstance(tried, list) else []
        fit = [choice for choice in tried if type(choice) is int and 0 <= choice < len(step.choices)]
        if fit:
            answers[number] = list(dict.fromkeys(fit))
    given = told.get("kept")
    kept = {
        step.name: given[step.name]
        for step in lesson.steps
        if step.task and isinstance(given, dict) and isinstance(given.get(step.name), dict)
    }
    return OpenLesson(lesson, clamp_int(told.get("step"), 1, len(lesson.steps), 1), answers, kept)


class JudgedPrediction(NamedTuple):
    """What a learner said before, beside what came of it."""

    question: Markup
    said: Markup
    came: list[Markup]  # the choices that turned out right: one
    is_right: bool


class Sitting:
    """One learner at one step."""

    def __init__(self, progress: OpenLesson, learner: Learner) -> None:
        self.progress, self.learner = progress, learner
        self.lesson, self.number = progress.lesson, progress.step
        self.step: Step = self.lesson.steps[self.number - 1]
        self.kept = dict(progress.kept)
        self.known: dict[str, Any] = {}  # name of a step -> the facts of its task, or the answer to its question
        self.missing: int | None = None  # the first step before this one without which it cannot be shown
        self.follow()

    def follow(self) -> None:
        """Go through the steps up to this one, for what is known by then."""
        for number, step in enumerate(self.lesson.steps[: self.number], 1):
            if step.kind == PREDICT and self.tried(number):
                self.known[step.name] = step.choices[self.tried(number)[-1]]
            elif step.task is not None:
                self.look(step)
            is_there = step.kind in (EXPLAIN, CHECK) or step.name in self.known
            if number < self.number and not is_there:
                self.missing = number
                return

    def look(self, step: Step) -> None:
        """Find the facts of a task, by what the browser kept or as the lab is now."""
        assert step.task is not None
        for kept in (self.kept.get(step.name), step.task.done(self.learner, self.kept)):
            facts = None if kept is None else step.task.facts(self.learner, kept)
            if kept is not None and facts is not None:
                self.known[step.name], self.kept[step.name] = facts, kept
                return
        self.kept.pop(step.name, None)

    # -------------------------------------------------------------------------------- where it stands

    def tried(self, number: int | None = None) -> list[int]:
        """The choices that were tried, of this step or another one."""
        return self.progress.answers.get(self.number if number is None else number, [])

    @property
    def is_done(self) -> bool:
        """Whether the task of this step is done, or its question answered."""
        if self.step.kind == CHECK:
            return self.is_right or len(self.tried()) >= min(MOST_TRIES, len(self.step.choices) - 1)
        return self.step.kind == EXPLAIN or self.step.name in self.known

    @property
    def may_go_on(self) -> bool:
        """Whether the next step may be shown: no result before its prediction, nothing of a task before it is done."""
        return self.missing is None and (self.is_done or self.step.kind == CHECK)

    @property
    def is_seen(self) -> bool:
        """Of a prediction: whether its result is known already, so that it can no longer be changed."""
        following = self.lesson.steps[self.number :]
        task = next((step for step in following if step.task is not None), None)
        return self.step.kind == PREDICT and task is not None and task.name in self.progress.kept

    # -------------------------------------------------------------------------------- answers

    def is_choice_right(self, choice: Choice) -> bool:
        """As what came of it says."""
        return bool(self.value_of(choice.right))

    @cached_property
    def right(self) -> list[int]:
        """The choices of this step's question that are right."""
        return [place for place, choice in enumerate(self.step.choices) if self.is_choice_right(choice)]

    @property
    def is_right(self) -> bool:
        """Whether the last answer is."""
        return self.step.kind == CHECK and bool(self.tried()) and self.tried()[-1] in self.right

    def predictions(self) -> list[JudgedPrediction]:
        """The predictions whose results this step is the first to explain."""
        if self.step.kind != EXPLAIN or self.missing is not None:
            return []
        steps = self.lesson.steps[: self.number - 1]
        explained = max((place for place, step in enumerate(steps) if step.kind == EXPLAIN), default=-1)
        return [
            JudgedPrediction(
                self.words(step.question),
                self.words(self.known[step.name].text),
                [self.words(choice.text) for choice in step.choices if self.is_choice_right(choice)],
                self.is_choice_right(self.known[step.name]),
            )
            for step in steps[explained + 1 :]
            if step.kind == PREDICT
        ]

    # -------------------------------------------------------------------------------- words

    def words(self, template: str) -> Markup:
        """A text of the lesson, with what is known by now."""
        return Markup(WORDING.from_string(template.strip()).render(self.names))

    def value_of(self, expression: str) -> Any:
        """What an expression of the lesson gives."""
        found = WORDING.compile_expression(expression, undefined_to_none=False)(**self.names)
        if isinstance(found, StrictUndefined):
            raise ValueError(f"{expression!r} of lesson {self.lesson.name!r} reads what is not known")
        return found

    @cached_property
    def names(self) -> dict[str, Any]:
        """What texts may speak of."""
        return {**self.known, "minutes": self.lesson.minutes}

    @property
    def paragraphs(self) -> list[Markup]:
        return [self.words(part) for part in self.step.text.strip().split("\n\n")]

    @property
    def bars(self) -> list[tuple[Any, float, str]]:
        """Rows of the step's own numbers, and how each is written; what is not finite has none."""
        rows = self.value_of(self.step.bars) if self.step.bars and self.missing is None else []
        finite = [(words, float(value), told) for words, value, *told in rows if math.isfinite(value)]
        return [(words, value, told[0] if told else short_number(value)) for words, value, told in finite]

    @property
    def now(self) -> str:
        """What to do now, for the strip above the other tabs."""
        if self.step.kind != DO or self.missing is not None:
            return ""
        if self.is_done:
            return "Done."
        assert self.step.task is not None
        return self.step.task.progress(self.learner) or self.step.now

    @property
    def state(self) -> list[Any]:
        """What the page shows of it: as long as it stays the same, nothing is to be sent."""
        return [self.lesson.name, self.number, self.missing, self.is_done, self.now, self.tried()]

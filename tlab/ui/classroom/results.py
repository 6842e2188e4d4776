"""What the answers of a class say together: predictions beside outcomes, curves, the verdict, and all of it as CSV.

The statistics are those of the sweeps, by `tlab.ui.studies.five_seeds`: each student's run is one seed of a study.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tlab.judging.few_seeds import MARGIN, Estimate, estimate
from tlab.ui.classroom.question import SeedResult, question_job, seed_of, study_of
from tlab.ui.classroom.store import AnswerRow, QuestionRow
from tlab.ui.studies.five_seeds import Judgement, judge, pairs_of
from tlab.ui.studies.study import Study

CLASS_COLUMNS = (
    *("question", "settings", "a", "b", "student", "seed", "predicted_difference", "trained"),
    *("loss_a", "loss_b", "difference", "diverged_at_a", "diverged_at_b"),
)
FEWEST_FOR_MEAN = 2


class ClassResults(NamedTuple):
    """Of one question."""

    study: Study  # of the seeds that have trained
    judgement: Judgement
    predictions: list[float]  # B - A, of all who predicted
    outcomes: list[tuple[float, SeedResult]]  # of all who trained: what they predicted, and what came

    @property
    def right(self) -> int:
        """How many predicted what their own run came to."""
        return sum(is_right(predicted, result) for predicted, result in self.outcomes)


def lower_side(difference: float) -> str:
    """The letter of the side that has the lower loss, or nothing where both have the same."""
    return "" if difference == 0 else "A" if difference > 0 else "B"


def is_right(predicted: float, result: SeedResult) -> bool:
    """Whether a student's run came out for the side that they predicted, or for neither."""
    return lower_side(predicted) == side_of(result)


def side_of(result: SeedResult) -> str:
    """The side that did better, by as much as the lab calls a difference; neither: empty."""
    is_equal = result.difference is not None and abs(result.difference) < MARGIN
    return "" if is_equal else lower_of(result)


def lower_of(result: SeedResult) -> str:
    """The side that did better; one that diverged did worse than one that did not."""
    if result.difference is not None:
        return lower_side(result.difference)
    lost = (result.a.loss is None, result.b.loss is None)
    return "" if all(lost) else "B" if lost[0] else "A"


def results_of(query: str, answers: Sequence[AnswerRow]) -> ClassResults:
    study = study_of(query, answers)
    outcomes = [(one.predicted, SeedResult.from_json(one.result)) for one in answers if one.result is not None]
    return ClassResults(study, judge(pairs_of(study)), [one.predicted for one in answers], outcomes)


# ------------------------------------------------------------------------------------------------ curves


def mean_by_step(curves: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, Estimate]]:
    """The mean over curves with Student's interval, at each step that at least two of them have.

    Args:
        curves: [step, loss] points of each.
    """
    losses: dict[float, list[float]] = defaultdict(list)
    for points in curves:
        for step, loss in points:
            losses[step].append(loss)
    return [(step, estimate(values)) for step, values in sorted(losses.items()) if len(values) >= FEWEST_FOR_MEAN]


# ------------------------------------------------------------------------------------------------ CSV


def csv_of_class(questions: Sequence[QuestionRow], answers: Sequence[AnswerRow]) -> str:
    """One row for each prediction; losses in the fewest digits that give the same float again."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CLASS_COLUMNS)
    by_number = {question.number: question.query for question in questions}
    for answer in answers:
        query = by_number[answer.question]
        a, b = (plan.label for plan in question_job(query).plans)
        seed = seed_of(query, answer.student)
        asked = (answer.question, query, a, b, answer.student, seed, answer.predicted)
        if answer.result is None:
            writer.writerow([*asked, "no", *[""] * 5])
            continue
        result = SeedResult.from_json(answer.result)
        came = (result.a.loss, result.b.loss, result.difference, result.a.diverged_at, result.b.diverged_at)
        writer.writerow([*asked, "yes", *came])
    return table.getvalue()

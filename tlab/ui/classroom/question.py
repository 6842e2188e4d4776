"""What a class is asked: a comparison with a seed for each student, and what came of it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tlab.ui.classroom.code import ClassError
from tlab.ui.classroom.store import AnswerRow
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.messages import Job, later_seed
from tlab.ui.runs.run import Run
from tlab.ui.settings.fields import START_FROM
from tlab.ui.settings.links import Link, defaults, query_of, read_query
from tlab.ui.settings.plans import make_plans
from tlab.ui.studies.five_seeds import why_not
from tlab.ui.studies.study import SEEDS, Ended, Study, experiment_of, outcome_of, trial_of

MAX_LINK = 4000  # characters
POINTS_OF_SIDE = 60  # of one side of one student; a chart of a whole class shows no more
MAX_PREDICTED = 5.0  # nats per token: more than a model of a hundred characters can learn


class SideResult(NamedTuple):
    """One side of a student's run."""

    loss: float | None  # on the validation text after the last step, in nats per token; None if it diverged
    diverged_at: int | None
    points: list[list[float]]  # [step, moving average of the training loss]


class SeedResult(NamedTuple):
    """A student's run of both sides, from one seed."""

    a: SideResult
    b: SideResult
    bytes_per_token: float | None

    @property
    def sides(self) -> tuple[SideResult, SideResult]:
        return self.a, self.b

    @property
    def difference(self) -> float | None:
        """B - A; None where a side diverged."""
        return None if self.a.loss is None or self.b.loss is None else self.b.loss - self.a.loss

    def to_json(self) -> str:
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> SeedResult:
        a, b, bytes_per_token = json.loads(text)
        return cls(SideResult(*a), SideResult(*b), bytes_per_token)

    @classmethod
    def of_run(cls, run: Run) -> SeedResult:
        """Of a run of two sides that has ended by itself."""
        a, b = (outcome_of(run, side) for side in run.sides)
        return cls(side_result(a), side_result(b), a.bytes_per_token)


def side_result(outcome: Ended) -> SideResult:
    points = [[step, round(bin[3], 4)] for step, bin in outcome.curve.placed_bins()]
    every = -(-len(points) // POINTS_OF_SIDE) or 1
    thinned = points[::-every][::-1]  # the last one stays
    return SideResult(outcome.loss, outcome.diverged_at, thinned)


# ------------------------------------------------------------------------------------------------ the comparison


def query_in(link: object) -> str:
    """The settings of a link of the app, or of its query alone.

    Raises:
        ClassError: it is none, or sets what cannot be.
    """
    given = link.strip() if isinstance(link, str) else ""
    if len(given) > MAX_LINK:
        raise ClassError(f"This link has {len(given):,} characters; one of the lab has at most {MAX_LINK:,}.")
    try:
        query = urlsplit(given).query or given.lstrip("?")
        read = read_query(dict(parse_qsl(query, max_num_fields=200)))
    except ValueError:
        raise ClassError("This is not a link of the lab. Copy one by the button “Copy link”.") from None
    if read.problems or not (read.settings or read.other):
        problems = "; ".join(read.problems) or "it sets nothing"
        raise ClassError(f"This link cannot be used: {problems.rstrip('.')}.")
    if START_FROM in {*read.settings, *read.other}:
        raise ClassError("The models of a class begin with random weights, and those of this link do not.")
    return query_of(read.settings, read.other, read.hidden)


@functools.lru_cache(maxsize=256)
def question_job(query: str) -> Job:
    """The comparison of a query.

    Raises:
        ClassError: it is no comparison of two models that many seeds could judge.
        ValueError: a setting that is not allowed.
    """
    link = link_in(query)
    settings = {**defaults(), **link.settings}
    plans = make_plans(settings, next(iter(link.other.items()), None))
    job = Job(settings["corpus"], None, settings["tokenizer"], plans)
    reason = why_not(job)
    if reason:
        raise ClassError(f"{reason} Choose a comparison: side B with another value of one setting.")
    return job


def link_in(query: str) -> Link:
    """What the query sets, the one setting in which B differs, and what is hidden."""
    return read_query(dict(parse_qsl(query)))


def seed_of(query: str, student: int) -> int:
    """The seed that is dealt to the student of this number: that of the comparison, and those after it."""
    return later_seed(question_job(query).plans[0].training.seed, student - 1)


@functools.lru_cache(maxsize=1024)
def seeded_job(query: str, student: int) -> Job:
    """The run that a student is to make, with the seed that is theirs."""
    job, seed = question_job(query), seed_of(query, student)
    plans = tuple(plan._replace(training=dataclasses.replace(plan.training, seed=seed)) for plan in job.plans)
    return experiment_of(job._replace(plans=plans))


# ------------------------------------------------------------------------------------------------ the results


def read_prediction(winner: object, by: object) -> float:
    """B - A as a student predicts it, in nats per token.

    Raises:
        ClassError: nothing can be read from it.
    """
    if winner == "same":
        return 0.0
    if winner not in ("A", "B"):
        raise ClassError("Say which side will be lower: A, B, or neither.")
    try:
        by = by.replace(",", ".") if isinstance(by, str) else by  # as half of the world writes it
        size = float(by) if isinstance(by, (int, float, str)) and not isinstance(by, bool) else float("nan")
    except (ValueError, OverflowError):
        size = float("nan")
    if not 0 < size <= MAX_PREDICTED:  # not so for nan, either
        raise ClassError(f"Say by about how much, in nats per token: a number above 0 and at most {MAX_PREDICTED:g}.")
    return size if winner == "A" else -size


def study_of(query: str, answers: Sequence[AnswerRow]) -> Study:
    """All seeds that have trained, as the lab judges and writes several seeds of a comparison."""
    job = question_job(query)
    known = {}
    for answer in answers:
        if answer.result is None:
            continue
        result = SeedResult.from_json(answer.result)
        plans = seeded_job(query, answer.student).plans
        for side, (plan, one) in enumerate(zip(plans, result.sides, strict=True)):
            known[trial_of(side, plan)] = Ended(one.loss, one.diverged_at, Curve(), result.bytes_per_token)
    return Study("", SEEDS, job, list(known), known)

"""What the pages of a class show: the teacher's, and a student's own."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import segno
from markupsafe import Markup

from tlab.judging.few_seeds import MARGIN
from tlab.text.units import NATS_PER_TOKEN
from tlab.ui.classroom.classroom import RoomState, Seat, may_count
from tlab.ui.classroom.code import shown_code
from tlab.ui.classroom.question import MAX_PREDICTED, SeedResult, question_job
from tlab.ui.classroom.results import (
    FEWEST_FOR_MEAN,
    ClassResults,
    csv_of_class,
    is_right,
    lower_of,
    mean_by_step,
    results_of,
    side_of,
)
from tlab.ui.classroom.store import AnswerRow, QuestionRow
from tlab.ui.diagram.view import changed_setting
from tlab.ui.http_guard import HOSTS_VARIABLE
from tlab.ui.runs.run import PAUSED, RUNNING, SIDE_LETTERS, Run
from tlab.ui.settings.run_settings import other_settings_words
from tlab.ui.studies.five_seeds import diverged_words, words_of
from tlab.ui.studies.study import experiment_of
from tlab.ui.studies.view import Strip, signed, strip_at
from tlab.ui.widgets.line_chart import line, lines_value
from tlab.ui.widgets.markup import macros
from tlab.wording import duration, listed, several

markup = macros("classroom/view.html")

PLACE = re.compile(r"https?://[\w.:\[\]-]{1,250}(/[\w./~-]{0,250})?", re.ASCII)
USUAL_PLACE = "http://127.0.0.1:7860/"
USUAL_ROOM = 30  # students
SECONDS_OF_LESSON = 45 * 60
MAX_REACH = 3.0  # of a line of predictions: times the median one, or the outcome that is farthest from zero
OWN_NAMES = ("127.0.0.1", "localhost", "::1")
ONLY_HERE = (
    f"This address is of your own computer alone. For a room, start the lab with GRADIO_SERVER_NAME=0.0.0.0 and open "
    f"this page by the computer's address in the network; a name that is not its own has to be in {HOSTS_VARIABLE}."
)
CURVES_TITLE = "Training loss, moving average"
WHEN_ALL_PREDICT = "The predictions stand here when all who are in have predicted, or a run has ended."
WHEN_FROZEN = "No winner is named before the results are frozen: do that when the room is done, and not when it suits."


class TeacherShown(NamedTuple):
    """What the teacher's template reads, beside the class."""

    code: str
    link: str
    qr: Markup
    warning: str
    question: str
    takes: str
    unfinished: str  # what is asked before the next question is
    words: str
    predictions: Strip | None
    predictions_words: str
    outcomes: Strip | None
    sides: str
    before: Sequence[tuple[int, str, str]]  # number, words and verdict of each earlier question, the latest first
    file: str
    key: str  # in the answer to who has opened the class, and in no other
    is_new: bool  # whether the question has just been asked


class StudentShown(NamedTuple):
    """What a student's template reads, beside their seat."""

    state: str
    code: str
    question: str
    choices: Sequence[tuple[str, str]]
    most: str
    prediction: str
    words: str
    equal: str = f"{MARGIN:g}"  # nats per token: what is less counts as no difference


def link_of(place: object, code: str) -> str:
    """The link for students; `place` is where the teacher's browser has the page."""
    known = place if isinstance(place, str) and PLACE.fullmatch(place) else USUAL_PLACE
    return f"{known}?class={code}"


@functools.lru_cache(maxsize=256)
def qr_picture(link: str) -> Markup:
    """SVG, dark on white in both themes: cameras read it so."""
    svg = segno.make_qr(link).svg_inline(border=3, dark="#000", light="#fff", omitsize=True)
    return Markup(svg)


def question_words(query: str) -> str:
    """What is compared, and on what."""
    job = question_job(query)
    steps = several(job.plans[0].training.steps, "step")
    return f"One difference: {changed_setting(job.plans)}. All else is the same: {steps} on “{job.corpus}”."


# ------------------------------------------------------------------------------------------------ the teacher


def teacher_html(
    room: RoomState,
    results: ClassResults,
    verdicts: Sequence[str],
    answers: Sequence[AnswerRow],
    place: object,
    seconds: float | None = None,
    key: str = "",
    is_new: bool = False,
) -> str:
    """The teacher's page.

    Args:
        room: the class.
        results: of its last question.
        verdicts: of all questions before that, in order.
        answers: to all questions.
        place: where the teacher's browser has the page.
        seconds: what the runs of a usual room take.
        key: the teacher's, where the class has just been opened.
        is_new: whether the question has just been asked.
    """
    question = room.question
    link = link_of(place, room.code)
    found = results.judgement
    outcomes = [pair.difference for pair in found.pairs if pair.difference is not None]
    interval = [found.difference.low, found.difference.high] if found.difference.n > 1 else []
    # Who sees what others predict does not predict by themselves.
    is_open = question.frozen or room.trained > 0 or room.predicted == room.students
    predicted = within_reach(results.predictions, [*outcomes, *interval]) if is_open else []
    shown = TeacherShown(
        shown_code(room.code), link, qr_picture(link),
        ONLY_HERE if urlsplit(link).hostname in OWN_NAMES else "",
        question_words(question.query),
        "" if seconds is None else takes_words(seconds),
        unfinished_words(room),
        words_so_far_or_verdict(results, question.frozen),
        strip_at(predicted, found.difference._replace(n=0), "Predicted B − A", [*outcomes, *interval])
        if predicted else None,
        predictions_words(results.predictions, predicted) if predicted else "",
        strip_at(outcomes, found.difference, "B − A by seed", predicted) if outcomes else None,
        sides_words(results) if is_open else WHEN_ALL_PREDICT if results.predictions else "",
        [
            (one.number, question_words(one.query), verdict)
            for one, verdict in zip(room.questions[-2::-1], reversed(verdicts), strict=True)
        ],
        csv_link_of(room, answers),
        key, is_new,
    )  # fmt: skip
    return markup.teacher(room, shown)


def takes_words(seconds: float) -> str:
    words = f"The runs of {USUAL_ROOM} students take about {duration(seconds)} here."
    too_long = "No lesson is as long: take fewer steps or a smaller model, and ask again."
    return f"{words} {too_long}" if seconds > SECONDS_OF_LESSON else words


def unfinished_words(room: RoomState) -> str:
    """What the next question would leave without a result; nothing where all who predicted have one."""
    missing = room.predicted - room.trained
    if room.question.frozen or missing < 1:
        return ""
    return (
        f"{missing} of {several(room.predicted, 'prediction')} {'has' if missing == 1 else 'have'} no result yet, and "
        "what ends after the next question is asked is not taken in. Ask it now?"
    )


def results_to(question: QuestionRow, answers: Sequence[AnswerRow]) -> ClassResults:
    """Those of one question, of the answers to all."""
    return results_of(question.query, [one for one in answers if one.question == question.number])


def within_reach(predictions: Sequence[float], outcomes: Sequence[float]) -> list[float]:
    """Predictions as the line shows them: who predicts many times as much as all others does not squeeze these."""
    if not predictions:
        return []
    reach = MAX_REACH * max([median(map(abs, predictions)), *map(abs, outcomes)])
    return [min(max(one, -reach), reach) if reach else one for one in predictions]


def predictions_words(predictions: Sequence[float], shown: Sequence[float]) -> str:
    beyond = [signed(one) for one, at in zip(predictions, shown, strict=True) if one != at]
    words = "dots: B − A as each student predicts it"
    return f"{words}; further out than their dots: {listed(beyond)}" if beyond else words


def words_so_far_or_verdict(results: ClassResults, is_frozen: bool) -> str:
    """The verdict over all seeds once the results are frozen; before that what is there."""
    found, study = results.judgement, results.study
    count = len(found.pairs)
    if is_frozen:
        return (
            words_of(found, study.labels, study.bytes_per_token) if count else "No run has ended, so nothing is judged."
        )
    if not count:
        return f"The first result is awaited. {WHEN_FROZEN}"
    a, b = (sum(pair.lower == letter for pair in found.pairs) for letter in SIDE_LETTERS)
    estimate = found.difference
    mean = f" {diverged_words(found.lost, count)}" if any(found.lost) else ""
    if estimate.n > 1:
        mean += f" The mean of B − A is {signed(estimate.mean)} (95 % interval {estimate.interval_words('+.4f')})."
    return f"{several(count, 'seed')} so far: A is lower on {a} and B on {b}.{mean} {WHEN_FROZEN}"


def sides_words(results: ClassResults) -> str:
    """How the predictions were spread over the sides, and how many came out."""
    predicted = results.predictions
    if not predicted:
        return ""
    a, b = (sum(sign * one > 0 for one in predicted) for sign in (1, -1))
    words = f"Predicted lower: A by {a}, B by {b}, neither by {len(predicted) - a - b}."
    if results.outcomes:
        words += f" For {results.right} of {len(results.outcomes)} their own run came out as they predicted."
        words += f" Less than {MARGIN:g} {NATS_PER_TOKEN} apart counts as neither."
    return words


def csv_link_of(room: RoomState, answers: Sequence[AnswerRow]) -> str:
    """The address of the file: nothing of it is kept on the server."""
    content = csv_of_class(room.questions, answers).encode()
    return "data:text/csv;base64," + base64.b64encode(content).decode()


def class_curves(results: ClassResults | None) -> dict[str, Any]:
    """What the chart draws: each run thinly, and of each side the mean of those that did not diverge; None hides it."""
    if results is None:
        return lines_value(CURVES_TITLE, NATS_PER_TOKEN, [], "The results are hidden.")
    lines = []
    for place, (letter, label) in enumerate(zip(SIDE_LETTERS, results.study.labels, strict=True)):
        sides = [result.sides[place] for _, result in results.outcomes]
        lines += [line(f"{letter}: one seed", place, side.points, dash=0, is_faint=True) for side in sides]
        ended = [side.points for side in sides if side.loss is not None]
        found = mean_by_step(ended)
        points = [[step, round(one.mean, 4)] for step, one in found]
        band = [[step, round(one.low, 4), round(one.high, 4)] for step, one in found]
        if sides:  # its thin curves are seen, so that the key has to name them
            name = f"{letter}: {label}, {which_mean(len(ended), len(sides))}"
            lines.append(line(name, place, points, band=band, dash=place))
    return lines_value(CURVES_TITLE, NATS_PER_TOKEN, lines, "The curves come with the first result.")


def which_mean(ended: int, runs: int) -> str:
    """Of what the thick curve of a side is the mean, if there is one: of those of its runs that did not diverge."""
    if not ended:
        return "diverged in each run"
    if ended < FEWEST_FOR_MEAN:
        return "one run, so no mean" if runs == 1 else f"one of {runs} runs did not diverge, so no mean"
    return "mean with 95 % interval" + ("" if ended == runs else f" of the {ended} that did not diverge")


# ------------------------------------------------------------------------------------------------ a student


def student_html(seat: Seat, runs: Sequence[Run]) -> str:
    """A student's page; `runs` are those of their browser, the newest first."""
    return markup.student(seat, student_shown(seat, runs))


def student_shown(seat: Seat, runs: Sequence[Run]) -> StudentShown:
    labels = [plan.label for plan in question_job(seat.question.query).plans]
    state, words = state_of(seat, runs)
    choices = [*zip(SIDE_LETTERS, labels, strict=True), ("same", "Neither: they will be the same")]
    prediction = "" if seat.answer is None else f"You predict: {predicted_words(seat.answer.predicted, labels)}"
    return StudentShown(
        state, shown_code(seat.question.code), question_words(seat.question.query), choices, f"{MAX_PREDICTED:g}",
        prediction, words,
    )  # fmt: skip


def state_of(seat: Seat, runs: Sequence[Run]) -> tuple[str, str]:
    """How far a student is, and what there is to do or to know."""
    result = seat.result
    if result is not None and seat.answer is not None:
        return "done", result_words(seat, result)
    if seat.question.frozen:
        return "frozen", "The results are frozen: what ends now is not taken in. Wait for your teacher."
    if seat.answer is None:
        return "predict", ""
    active = next((run for run in runs if run.active), None)
    paused = next((r for r in runs if r.state == PAUSED and may_count(r, seat.job, seat.answer.predicted_at)), None)
    if active is None and paused is not None:
        return "train", f"Seed {seat.seed} pauses at step {paused.step:,} of {paused.steps:,}: press Resume."
    if active is None:
        in_place = f"Your seed is {seat.seed}, and its settings were put in place: press Start."
        return "train", uncounted_words(seat, runs) or in_place
    if experiment_of(active.job) != seat.job:
        what = "What trains now" if active.state == RUNNING else "What waits in the queue now"
        return (
            "train",
            f"{what} has other settings than the class: press Stop, put its settings in place, and press Start.",
        )
    if active.state == RUNNING:
        return "trains", f"Seed {seat.seed} trains. What came of it will stand here."
    return "trains", f"Seed {seat.seed} waits for its turn. Its place in the queue stands beside the buttons."


def uncounted_words(seat: Seat, runs: Sequence[Run]) -> str:
    """Why the last run since the prediction is not the result of this seat; nothing where there was none."""
    assert seat.answer is not None
    last = runs[0] if runs else None  # the newest
    if last is None or last.begun_at < seat.answer.predicted_at:
        return ""
    others = other_settings_words(experiment_of(last.job), seat.job)
    if not others:
        return "Your last run was ended early, so it does not count: press Start again."
    return f"Your last run does not count ({'; '.join(others)}): put the settings in place again, and press Start."


def predicted_words(predicted: float, labels: Sequence[str]) -> str:
    if predicted == 0:
        return "both sides end with the same loss."
    letter = "A" if predicted > 0 else "B"
    return f"{letter} ({labels[SIDE_LETTERS.index(letter)]}) ends lower, by {abs(predicted):g} {NATS_PER_TOKEN}."


def result_words(seat: Seat, result: SeedResult) -> str:
    """What came of a student's own run, beside what they predicted."""
    assert seat.answer is not None
    losses = " and ".join(
        f"{letter} {'diverged' if side.loss is None else f'{side.loss:.4f}'}"
        for letter, side in zip(SIDE_LETTERS, result.sides, strict=True)
    )
    lower = lower_of(result)
    by = "" if result.difference is None else f" by {abs(result.difference):.4f} {NATS_PER_TOKEN}"
    found = f"{lower} is lower{by}" if lower else "neither is lower"
    if lower and not side_of(result):
        found += f", less than the {MARGIN:g} that the lab calls equal"
    as_predicted = "as you predicted" if is_right(seat.answer.predicted, result) else "not as you predicted"
    return f"Seed {seat.seed}: {losses}; {found}: {as_predicted}. One seed names no winner; the class together may."

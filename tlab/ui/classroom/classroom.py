"""What teachers and students of all classes may do, and who is who.

A teacher is who has the key, a student is a browser. A result is never sent by a student's page: it is taken from the
run of the server that has the settings of the class, the student's seed, and began after the prediction.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tlab.ui.classroom.code import (
    ALPHABET,
    MAX_OPENED_BY_ADDRESS,
    MAX_OPENED_BY_BROWSER,
    ClassError,
    Tries,
    hash_of,
    is_key,
    new_code,
    new_key,
    read_code,
)
from tlab.ui.classroom.question import SeedResult, question_job, read_prediction, seed_of, seeded_job
from tlab.ui.classroom.store import MAX_CLASSES, MAX_QUESTIONS, MAX_STUDENTS, AnswerRow, ClassStore, QuestionRow
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import DIVERGED, DONE, Run
from tlab.ui.studies.study import experiment_of

CLASSES_FILE = "classes.sqlite"
NO_CLASS = (
    "There is no class with this code. It may have been mistyped, or the class has ended or is older than a day. "
    "Ask your teacher."
)
TOO_MANY_OPENED = "Too many classes were opened from here. Use one of them, or wait ten minutes."
NO_KEY = "This is not the browser that opened this class, or the class has ended or is older than a day."


class RoomState(NamedTuple):
    """A class as its teacher sees it: its last question, and how far it is."""

    code: str
    questions: list[QuestionRow]
    students: int
    predicted: int
    trained: int

    @property
    def question(self) -> QuestionRow:
        return self.questions[-1]


class Seat(NamedTuple):
    """A class as one student sees it: their own, and nothing of anybody else."""

    question: QuestionRow
    student: int
    answer: AnswerRow | None  # None before they have predicted

    @property
    def seed(self) -> int:
        return seed_of(self.question.query, self.student)

    @property
    def job(self) -> Job:
        return seeded_job(self.question.query, self.student)

    @property
    def result(self) -> SeedResult | None:
        return None if self.answer is None or self.answer.result is None else SeedResult.from_json(self.answer.result)


class Classroom:
    """All classes of a server.

    Args:
        runs: in which students train.
        folder: where they are kept; in memory without one.
    """

    def __init__(self, runs: Runs, folder: Path | None = None) -> None:
        self.runs = runs
        self.store = ClassStore(None if folder is None else folder / CLASSES_FILE)
        self.tries = Tries()
        self.opened = Tries(MAX_OPENED_BY_BROWSER, MAX_OPENED_BY_ADDRESS, TOO_MANY_OPENED)  # of classes
        runs.ended = self.take

    # -------------------------------------------------------------------------------- the teacher

    def open(self, query: str, session: str, address: str = "") -> tuple[str, str]:
        """A new class with its first question; -> its code, and the key, which only this answer has.

        Raises:
            ClassError: the comparison cannot be asked, or there is no room for a class.
            ValueError: a setting that is not allowed, or costs too much.
        """
        self.runs.check(question_job(query))
        self.opened.check(session, address)
        self.opened.failed(session, address)
        code, key = new_code(), new_key()
        if not self.store.add_class(code, hash_of(key), query):
            raise ClassError(f"This server holds {MAX_CLASSES} classes already, the most there are. Try again later.")
        return code, key

    def room(self, code: object, key: object, session: str = "", address: str = "") -> RoomState:
        """The class of this code, for who has its key.

        Raises:
            ClassError: there is none, or the key is not its own.
        """
        known = self.own_class(code, key, session, address)
        questions = self.store.questions(known)
        predicted, trained = self.store.counts(known, len(questions))
        return RoomState(known, questions, self.store.count_students(known), predicted, trained)

    def own_class(self, code: object, key: object, session: str = "", address: str = "") -> str:
        """The code as the store has it. Who has the key is let in, however often others of the room have failed."""
        known = code if isinstance(code, str) and set(code) <= set(ALPHABET) else ""
        key_hash = self.store.key_hash(known)
        if key_hash is None or not is_key(key, key_hash):
            self.tries.check(session, address)
            self.tries.failed(session, address)
            raise ClassError(NO_KEY)
        return known

    def ask(self, code: object, key: object, query: str) -> None:
        """Freeze what was asked so far, and ask the next.

        Raises:
            ClassError: it cannot be asked, or not by whoever asks.
            ValueError: a setting that is not allowed, or costs too much.
        """
        known = self.own_class(code, key)
        self.runs.check(question_job(query))
        if not self.store.add_question(known, query):
            raise ClassError(f"This class had {MAX_QUESTIONS} questions, the most there are. Open another one.")

    def mark(self, code: object, key: object, *, frozen: bool | None = None, hidden: bool | None = None) -> None:
        """Freeze or hide the results of the last question, or let them come and be seen again."""
        question = self.store.questions(self.own_class(code, key))[-1]
        self.store.mark_question(
            question._replace(
                frozen=question.frozen if frozen is None else frozen,
                hidden=question.hidden if hidden is None else hidden,
            )
        )

    def end(self, code: object, key: object) -> None:
        """Delete a class with all that is in it."""
        self.store.remove_class(self.own_class(code, key))

    # -------------------------------------------------------------------------------- a student

    def join(self, typed: object, session: str, address: str = "") -> Seat:
        """The place of a browser in the class of a code, a new one where it has none.

        Raises:
            ClassError: there is no such class, it is full, or too many codes were tried.
        """
        code = read_code(typed)
        is_open = self.store.key_hash(code) is not None
        if not is_open or self.store.student(code, session) is None:  # who is in already is let in again in any case
            self.tries.check(session, address)
        if not is_open:
            self.tries.failed(session, address)
            raise ClassError(NO_CLASS)
        number = self.store.add_student(code, session)
        if number is None:
            raise ClassError(f"This class is full: {MAX_STUDENTS} are in it.")
        seat = self.seat_of(code, number)
        if seat.answer is None or seat.result is not None:
            return seat
        for run in reversed(self.runs.history(session)):  # one may have ended when nothing was taken in
            self.take_for(code, run)
        return self.seat_of(code, number)

    def seat_of(self, code: str, number: int) -> Seat:
        question = self.store.questions(code)[-1]
        answers = self.store.answers(code, question.number, number)
        return Seat(question, number, answers[0] if answers else None)

    def predict(self, typed: object, session: str, winner: object, by: object, address: str = "") -> Seat:
        """Keep what a student predicts, before anything trains; a second prediction is none.

        Raises:
            ClassError: nothing can be read from it, or it comes too late.
        """
        seat = self.join(typed, session, address)
        predicted = read_prediction(winner, by)
        if seat.question.frozen:
            raise ClassError("Your teacher has frozen the results of this question. Wait for the next one.")
        self.store.add_prediction(seat.question.code, seat.question.number, seat.student, predicted)
        return self.seat_of(seat.question.code, seat.student)

    # -------------------------------------------------------------------------------- results

    def take(self, run: Run) -> None:
        """Take in the result of a run that has ended, if it is one that a class waits for."""
        for code in self.store.open_codes():
            self.take_for(code, run)

    def take_for(self, code: str, run: Run) -> None:
        """The same for one class."""
        student = self.store.student(code, run.session)
        if run.state not in (DONE, DIVERGED) or len(run.sides) < 2 or student is None:
            return
        question = self.store.questions(code)[-1]  # all before it are frozen
        for answer in self.store.answers(code, question.number, student):
            if not question.frozen and may_count(run, seeded_job(question.query, student), answer.predicted_at):
                self.store.add_result(code, question.number, student, SeedResult.of_run(run).to_json())


def may_count(run: Run, job: Job, predicted_at: float) -> bool:
    """Whether a run is that of a class, and began after the prediction."""
    return run.begun_at >= predicted_at and experiment_of(run.job) == job

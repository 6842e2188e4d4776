"""Classes in one SQLite file, so that a server that ends in the middle of a lesson loses nothing of it.

What is kept of a student is a number within the class, a digest by which their browser is known again, a prediction and
a result: no name, no address. A digest is another in each class. After a day all of a class is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SECONDS_OF_CLASS = 86_400.0
MAX_CLASSES, MAX_STUDENTS, MAX_QUESTIONS = 200, 200, 50

SCHEMA = """
CREATE TABLE IF NOT EXISTS classes (code TEXT PRIMARY KEY, key_hash TEXT NOT NULL, opened REAL NOT NULL);
CREATE TABLE IF NOT EXISTS questions (
    code TEXT NOT NULL REFERENCES classes ON DELETE CASCADE, number INTEGER NOT NULL, query TEXT NOT NULL,
    frozen INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (code, number));
CREATE TABLE IF NOT EXISTS students (
    code TEXT NOT NULL REFERENCES classes ON DELETE CASCADE, mark TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (code, mark));
CREATE TABLE IF NOT EXISTS answers (
    code TEXT NOT NULL REFERENCES classes ON DELETE CASCADE, question INTEGER NOT NULL, student INTEGER NOT NULL,
    predicted REAL NOT NULL, predicted_at REAL NOT NULL, result TEXT, PRIMARY KEY (code, question, student));
"""
class_log = logging.getLogger("tlab.ui")


class QuestionRow(NamedTuple):
    """One comparison that a class is asked about."""

    code: str
    number: int  # 1 for the first
    query: str  # its settings, as a link has them
    frozen: bool  # whether no further prediction or result counts
    hidden: bool  # whether the teacher's page shows no result


class AnswerRow(NamedTuple):
    """What a student said to a question, and what came of it."""

    question: int
    student: int  # 1 for the first who came
    predicted: float  # B - A in nats per token
    predicted_at: float  # seconds since 1970
    result: str | None  # JSON; None before the run has ended


class ClassStore:
    """All classes of a server, in a file or, without one, in memory.

    Args:
        path: of the file; made where it is missing.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.lock = threading.RLock()  # a connection is one for all threads of the server
        self.connection = opened(path)
        weakref.finalize(self, self.connection.close)  # Python 3.13 warns of one that nobody has closed

    def close(self) -> None:
        with self.lock:
            self.connection.close()

    @contextlib.contextmanager
    def changes(self) -> Iterator[sqlite3.Connection]:
        """All changes that are made here, or none of them."""
        with self.lock, self.connection:
            yield self.connection

    # -------------------------------------------------------------------------------- classes

    def add_class(self, code: str, key_hash: str, query: str) -> bool:
        """Open a class with its first question; -> whether there is room for one more and the code is a new one."""
        with self.changes() as changes:
            changes.execute("DELETE FROM classes WHERE opened < ?", (self.clock() - SECONDS_OF_CLASS,))
            (count,) = changes.execute("SELECT count(*) FROM classes").fetchone()
            if count >= MAX_CLASSES or self.key_hash(code) is not None:
                return False
            changes.execute("INSERT INTO classes VALUES (?, ?, ?)", (code, key_hash, self.clock()))
            changes.execute("INSERT INTO questions (code, number, query) VALUES (?, 1, ?)", (code, query))
        return True

    def remove_class(self, code: str) -> None:
        with self.changes() as changes:
            changes.execute("DELETE FROM classes WHERE code = ?", (code,))

    def key_hash(self, code: str) -> str | None:
        """That of the teacher's key; None where there is no such class, or not any more."""
        with self.lock:
            known = self.connection.execute(
                "SELECT key_hash FROM classes WHERE code = ? AND opened >= ?", (code, self.clock() - SECONDS_OF_CLASS)
            ).fetchone()
        return known[0] if known else None

    def open_codes(self) -> list[str]:
        with self.lock:
            since = self.clock() - SECONDS_OF_CLASS
            return [code for (code,) in self.connection.execute("SELECT code FROM classes WHERE opened >= ?", (since,))]

    # -------------------------------------------------------------------------------- questions

    def questions(self, code: str) -> list[QuestionRow]:
        """In the order in which they were asked."""
        with self.lock:
            rows = self.connection.execute("SELECT * FROM questions WHERE code = ? ORDER BY number", (code,)).fetchall()
        return [
            QuestionRow(of, number, query, bool(frozen), bool(hidden)) for of, number, query, frozen, hidden in rows
        ]

    def add_question(self, code: str, query: str) -> bool:
        """Freeze what was asked so far, and ask the next; -> whether there is room for one more."""
        with self.changes() as changes:
            number = len(self.questions(code)) + 1
            if number > MAX_QUESTIONS:
                return False
            changes.execute("UPDATE questions SET frozen = 1 WHERE code = ?", (code,))
            changes.execute("INSERT INTO questions (code, number, query) VALUES (?, ?, ?)", (code, number, query))
        return True

    def mark_question(self, question: QuestionRow) -> None:
        """Keep whether it is frozen and hidden."""
        marks = (question.frozen, question.hidden, question.code, question.number)
        with self.changes() as changes:
            changes.execute("UPDATE questions SET frozen = ?, hidden = ? WHERE code = ? AND number = ?", marks)

    # -------------------------------------------------------------------------------- students

    def add_student(self, code: str, session: str) -> int | None:
        """The number of a browser in a class, a new one where it has none; None where the class is full."""
        with self.changes() as changes:
            known = self.student(code, session)
            number = known or self.count_students(code) + 1
            if number > MAX_STUDENTS:
                return None
            if known is None:
                changes.execute("INSERT INTO students VALUES (?, ?, ?)", (code, mark_of(code, session), number))
        return number

    def student(self, code: str, session: str) -> int | None:
        """The number of a browser in a class; None where it is not in it."""
        with self.lock:
            known = self.connection.execute(
                "SELECT number FROM students WHERE code = ? AND mark = ?", (code, mark_of(code, session))
            ).fetchone()
        return known[0] if known else None

    def count_students(self, code: str) -> int:
        with self.lock:
            return self.connection.execute("SELECT count(*) FROM students WHERE code = ?", (code,)).fetchone()[0]

    # -------------------------------------------------------------------------------- answers

    def counts(self, code: str, question: int) -> tuple[int, int]:
        """How many have predicted, and how many have a result."""
        with self.lock:
            of = (code, question)
            where = "SELECT count(*), count(result) FROM answers WHERE code = ? AND question = ?"
            return tuple(self.connection.execute(where, of).fetchone())

    def add_prediction(self, code: str, question: int, student: int, predicted: float) -> bool:
        """Keep a first prediction; -> whether it is one."""
        row = (code, question, student, predicted, self.clock())
        with self.changes() as changes:
            made = changes.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, NULL)", row)
        return made.rowcount == 1

    def add_result(self, code: str, question: int, student: int, result: str) -> bool:
        """Keep the first result of who has predicted; -> whether it is one."""
        with self.changes() as changes:
            made = changes.execute(
                "UPDATE answers SET result = ? WHERE code = ? AND question = ? AND student = ? AND result IS NULL",
                (result, code, question, student),
            )
        return made.rowcount == 1

    def answers(self, code: str, question: int | None = None, student: int | None = None) -> list[AnswerRow]:
        """Of a class, of one of its questions, or of one student, in the order of questions and of students."""
        asked = "SELECT question, student, predicted, predicted_at, result FROM answers WHERE code = ?"
        narrowed = {"question": question, "student": student}
        values = [code, *(value for value in narrowed.values() if value is not None)]
        for name, value in narrowed.items():
            asked += f" AND {name} = ?" if value is not None else ""
        with self.lock:
            rows = self.connection.execute(f"{asked} ORDER BY question, student", values).fetchall()
        return [AnswerRow(*row) for row in rows]


def mark_of(code: str, session: str) -> str:
    """By which a browser is known again in one class, and in no other."""
    return hashlib.sha256(f"{code} {session}".encode("utf-8", "surrogatepass")).hexdigest()


def opened(path: Path | None) -> sqlite3.Connection:
    """The file, a new one where it is damaged, or a place in memory where none can be written."""
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return connected(path)
        except (OSError, sqlite3.OperationalError) as error:  # no place for it, or another server holds it for long
            class_log.warning("classes are kept in memory alone, and not in %s: %s", path, error)
        except sqlite3.DatabaseError as error:
            class_log.warning("%s is damaged and left out: %s", path, error)
            path.replace(path.with_suffix(".damaged"))
            return connected(path)
    return connected(":memory:")


def connected(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")  # whoever reads waits for no one who writes
        connection.execute("PRAGMA synchronous = NORMAL")  # enough for a server that is killed
        connection.executescript(SCHEMA)
        if path != ":memory:":
            Path(path).chmod(0o600)
    except sqlite3.Error:
        connection.close()
        raise
    return connection

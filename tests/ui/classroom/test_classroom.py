"""A class: who may do what, what is kept, and what its answers say together."""

import csv
import dataclasses
import gc
import io
import math
import sqlite3
from types import SimpleNamespace

import pytest

from studies.test_five_seeds import by_the_sweeps
from support import wait_for
from tlab.judging.few_seeds import estimate
from tlab.training.records import Divergence
from tlab.ui.classroom import code as codes
from tlab.ui.classroom.classroom import CLASSES_FILE, Classroom
from tlab.ui.classroom.code import (
    ALPHABET,
    CODE_LENGTH,
    MAX_OPENED_BY_BROWSER,
    MAX_TRIES_OF_ADDRESS,
    MAX_TRIES_OF_BROWSER,
    SECONDS_OF_TRIES,
    ClassError,
    Tries,
    read_code,
    shown_code,
)
from tlab.ui.classroom.question import query_in, question_job, read_prediction, seed_of, seeded_job
from tlab.ui.classroom.results import csv_of_class, mean_by_step, results_of
from tlab.ui.classroom.store import MAX_CLASSES, MAX_STUDENTS, SECONDS_OF_CLASS, ClassStore
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DIVERGED, DONE, PAUSED, STOPPED, Run
from tlab.ui.sharing.run_archive import RunArchive
from tlab.ui.tabs.learn.class_view import student_html

QUERY = "steps=20&b.norm=none"
TEACHER = "the teacher"
HOSTILE = [
    None,
    5,
    [],
    {},
    True,
    "",
    "K" * 10**6,
    "K7QM4T2!",
    "<script>x",
    "' OR 1=1 --",
    "K7QM4T2\0",
    "\ud800" * 8,
    "../../x",
]


@pytest.fixture(scope="module")
def runs():
    runs = Runs(LOCAL, slots=1)
    yield runs
    runs.close()


@pytest.fixture
def room(runs):
    """A classroom in memory, with the code and the key of an open class."""
    classroom = Classroom(runs)
    yield classroom, *classroom.open(QUERY, TEACHER)
    classroom.store.close()


def ended_run(session, job, losses, begun_at=math.inf):
    """A run of the server that has ended with these validation losses, None where a side diverged."""
    run = Run(session, job, LOCAL)
    run.begun_at = begun_at
    run.state = DIVERGED if None in losses else DONE
    for side, loss in zip(run.sides, losses, strict=True):
        for step in range(1, 6):
            side.curve.add(SimpleNamespace(step=step, loss=3.0 - 0.1 * step, validation_loss=None))
        side.validation_loss = loss
        side.divergence = Divergence(5, "loss", "nan") if loss is None else None
    return run


def train(classroom, code, session, losses, winner="A", by=0.1):
    """A student who joins, predicts and trains."""
    seat = classroom.predict(code, session, winner, by)
    classroom.take(ended_run(session, seat.job, losses))
    return classroom.join(code, session)


# ------------------------------------------------------------------------------------------------ codes and keys


def test_a_code_is_read_as_people_type_it():
    assert read_code(" k7qm-4t2p ") == read_code("K7QM 4T2P") == "K7QM4T2P"
    assert shown_code("K7QM4T2P") == "K7QM-4T2P"


def test_a_million_tries_find_no_class_even_if_all_are_open():
    chance = 1e6 * MAX_CLASSES / len(ALPHABET) ** CODE_LENGTH
    assert chance < 1e-3
    assert len({codes.new_code() for _ in range(2000)}) == 2000


def test_who_tries_codes_is_refused_after_a_few(room):
    classroom, code, _ = room
    for _ in range(MAX_TRIES_OF_BROWSER):
        with pytest.raises(ClassError, match="no class with this code"):
            classroom.join(codes.new_code(), "guesser", "10.0.0.1")
    with pytest.raises(ClassError, match="Too many codes were tried"):
        classroom.join(code, "guesser", "10.0.0.1")
    assert classroom.join(code, "another", "10.0.0.1").student == 1


def test_who_tries_as_many_browsers_is_refused_by_their_address():
    now = [0.0]
    tries = Tries(clock=lambda: now[0])
    for number in range(MAX_TRIES_OF_ADDRESS):
        tries.check(f"browser {number}", "10.0.0.1")
        tries.failed(f"browser {number}", "10.0.0.1")
    with pytest.raises(ClassError):
        tries.check("one more", "10.0.0.1")
    tries.check("one more", "10.0.0.2")
    now[0] = SECONDS_OF_TRIES + 1
    tries.check("one more", "10.0.0.1")


def test_who_is_in_a_class_stays_in_it_whatever_others_of_the_room_try(room):
    classroom, code, key = room
    seat = classroom.join(code, "a student", "10.0.0.1")
    for _ in range(MAX_TRIES_OF_ADDRESS):
        classroom.tries.failed("somebody", "10.0.0.1")
    assert classroom.join(code, "a student", "10.0.0.1") == seat
    assert classroom.room(code, key, TEACHER, "10.0.0.1").students == 1
    for newcomer in (
        lambda: classroom.join(code, "one more", "10.0.0.1"),
        lambda: classroom.room(code, "", "", "10.0.0.1"),
    ):
        with pytest.raises(ClassError, match="Too many codes were tried"):
            newcomer()


def test_the_server_keeps_no_key_and_no_session(room):
    classroom, code, key = room
    classroom.predict(code, "browser-of-a-student", "A", 0.1)
    kept = "\n".join(classroom.store.connection.iterdump())
    assert code in kept
    assert key not in kept
    assert "browser-of-a-student" not in kept


@pytest.mark.parametrize("key", [*HOSTILE, "A" * 43])
def test_without_the_key_nobody_is_the_teacher(room, key):
    classroom, code, _ = room
    for attempt in (
        lambda: classroom.room(code, key),
        lambda: classroom.ask(code, key, QUERY),
        lambda: classroom.mark(code, key, frozen=True),
        lambda: classroom.end(code, key),
    ):
        with pytest.raises(ClassError, match="not the browser that opened this class"):
            attempt()
    assert not classroom.join(code, "a student").question.frozen


def test_the_key_of_one_class_opens_no_other(room):
    classroom, code, key = room
    other, _ = classroom.open(QUERY, TEACHER)
    with pytest.raises(ClassError):
        classroom.room(other, key)
    assert classroom.room(code, key).code == code


# ------------------------------------------------------------------------------------------------ students


@pytest.mark.parametrize("typed", HOSTILE)
def test_a_hostile_code_is_refused_in_plain_words(room, typed):
    classroom, code, _ = room
    with pytest.raises(ClassError, match="A code has 8 letters and digits"):
        classroom.join(typed, "a student")
    assert classroom.store.count_students(code) == 0


@pytest.mark.parametrize(
    ("winner", "by"),
    [
        *(("A", by) for by in (None, "", "much", -1, 0, 1e9, math.nan, math.inf, "nan", "1e400", True, [1], 10**400)),
        *((winner, 0.1) for winner in (None, "C", "a", 1, ["A"], "<b>A</b>")),
    ],
)
def test_a_hostile_prediction_is_refused_in_plain_words(room, winner, by):
    classroom, code, key = room
    with pytest.raises(ClassError, match=r"Say (which|by)"):
        classroom.predict(code, "a student", winner, by)
    assert classroom.room(code, key).predicted == 0


def test_a_prediction_is_of_b_minus_a():
    assert [read_prediction(*said) for said in (("A", 0.25), ("B", "0,25"), ("same", None))] == [0.25, -0.25, 0.0]


def test_each_student_is_dealt_another_seed_and_keeps_it(room):
    classroom, code, _ = room
    seeds = [classroom.join(code, f"student {number}").seed for number in range(30)]
    assert len(set(seeds)) == 30
    assert [classroom.join(code, f"student {number}").seed for number in range(30)] == seeds


def test_a_student_is_seated_with_their_own_answer_alone(room):
    classroom, code, _ = room
    train(classroom, code, "first", (2.0, 2.5), "A", 0.3)
    other = classroom.join(code, "second")
    assert other.answer is None and other.result is None
    assert classroom.join(code, "first").result.difference == 0.5


def test_a_prediction_cannot_be_changed(room):
    classroom, code, _ = room
    classroom.predict(code, "a student", "A", 0.1)
    assert classroom.predict(code, "a student", "B", 5).answer.predicted == 0.1


def test_a_full_class_says_so(room):
    classroom, code, _ = room
    for number in range(MAX_STUDENTS):
        classroom.store.add_student(code, f"student {number}")
    with pytest.raises(ClassError, match="This class is full"):
        classroom.join(code, "one more")
    assert classroom.join(code, "student 3").student == 4


# ------------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda run, seat: setattr(run, "session", "somebody else"),
        lambda run, seat: setattr(run, "state", STOPPED),
        lambda run, seat: setattr(run, "begun_at", seat.answer.predicted_at - 1),
        lambda run, seat: setattr(run, "job", question_job(QUERY)._replace(corpus="repeat")),
        lambda run, seat: setattr(run, "job", seeded_job(QUERY, seat.student + 1)),
        lambda run, seat: setattr(run, "job", question_job("steps=21&b.norm=none")),
    ],
    ids=["of another", "stopped", "before the prediction", "another text", "another seed", "other steps"],
)
def test_a_run_counts_only_if_it_is_the_one_that_was_asked_for(room, spoiled):
    classroom, code, _ = room
    seat = classroom.predict(code, "a student", "A", 0.1)
    run = ended_run("a student", seat.job, (2.0, 2.5))
    spoiled(run, seat)
    classroom.take(run)
    assert classroom.join(code, "a student").result is None


def test_the_first_result_counts(room):
    classroom, code, _ = room
    train(classroom, code, "a student", (2.0, 2.5))
    seat = train(classroom, code, "a student", (2.0, 1.0))
    assert seat.result.difference == 0.5


def test_a_run_that_ended_when_results_were_frozen_counts_once_they_are_taken_again(room):
    classroom, code, key = room
    seat = classroom.predict(code, "a student", "A", 0.1)
    classroom.mark(code, key, frozen=True)
    run = ended_run("a student", seat.job, (2.0, 2.5))
    classroom.runs.add(run)
    assert classroom.join(code, "a student").result is None
    classroom.mark(code, key, frozen=False)
    assert classroom.join(code, "a student").result.difference == 0.5
    classroom.runs.forget(run)


def test_a_frozen_question_takes_nothing_in_and_the_next_one_does(room):
    classroom, code, key = room
    seat = classroom.predict(code, "a student", "A", 0.1)
    classroom.mark(code, key, frozen=True)
    classroom.take(ended_run("a student", seat.job, (2.0, 2.5)))
    assert classroom.room(code, key).trained == 0
    with pytest.raises(ClassError, match="frozen"):
        classroom.predict(code, "a late one", "A", 0.1)
    classroom.ask(code, key, "steps=30&b.norm=none")
    room = classroom.room(code, key)
    assert [one.frozen for one in room.questions] == [True, False]
    assert (room.students, room.predicted, room.trained) == (2, 0, 0)
    assert train(classroom, code, "a student", (2.0, 1.5)).result.difference == -0.5


def test_two_classes_never_mix(room):
    classroom, code, key = room
    other, other_key = classroom.open("steps=20&seed=900&b.norm=none", TEACHER)
    for number in range(6):
        in_class = code if number % 2 else other
        seat = classroom.predict(in_class, f"student {number}", "A", 0.1)
        classroom.take(ended_run(f"student {number}", seat.job, (2.0, 2.0 + number)))
    found = {}
    for which, its_key in ((code, key), (other, other_key)):
        room = classroom.room(which, its_key)
        assert (room.students, room.trained) == (3, 3)
        results = results_of(room.question.query, classroom.store.answers(which))
        found[which] = [pair.difference for pair in results.judgement.pairs]
    assert found == {code: [1.0, 3.0, 5.0], other: [0.0, 2.0, 4.0]}


LOSSES = [(2.1, 2.0), (2.2, 2.08), (2.15, 2.06), (2.3, 2.2), (2.05, 1.97), (2.11, 2.13), (2.17, 2.01)]


@pytest.mark.parametrize("losses", [LOSSES, [*LOSSES, (2.0, None)], [*LOSSES, (None, 2.0)], LOSSES[:1]])
def test_the_sweeps_say_the_same_of_the_runs_of_a_class(room, losses):
    classroom, code, key = room
    for number, both in enumerate(losses):
        train(classroom, code, f"student {number}", both)
    judgement = results_of(classroom.room(code, key).question.query, classroom.store.answers(code)).judgement
    theirs = by_the_sweeps(*zip(*losses, strict=True))
    if len(losses) == 1:
        assert judgement.verdict == theirs.verdict == "cannot tell"
        assert not judgement.winner
    else:
        assert (judgement.difference, judgement.verdict) == (theirs.estimate, theirs.verdict)


def test_the_mean_by_step_has_the_interval_of_the_statistics():
    curves = [[[1, 3.0], [2, 2.0]], [[1, 3.5], [2, 2.5]], [[1, 3.2]]]
    assert mean_by_step(curves) == [(1, estimate([3.0, 3.5, 3.2])), (2, estimate([2.0, 2.5]))]


def test_everything_can_be_had_as_csv(room):
    classroom, code, _ = room
    train(classroom, code, "first", (2.0, 2.5), "B", 0.5)
    train(classroom, code, "second", (2.0, None))
    classroom.predict(code, "third", "same", None)
    rows = [*csv.DictReader(io.StringIO(csv_of_class(classroom.store.questions(code), classroom.store.answers(code))))]
    assert [row["difference"] for row in rows] == ["0.5", "", ""]
    assert [row["predicted_difference"] for row in rows] == ["-0.5", "0.1", "0.0"]
    assert [row["trained"] for row in rows] == ["yes", "yes", "no"]
    assert rows[1]["diverged_at_b"] == "5"
    assert [row["seed"] for row in rows] == [str(seed_of(QUERY, number)) for number in (1, 2, 3)]


# ------------------------------------------------------------------------------------------------ questions


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("https://example.org/?norm=rmsnorm", "nothing to compare"),
        ("seed=1&b.seed=2", "differ in their seed|same for both sides|seed alone"),
        ("https://example.org/", "not be used|sets nothing|cannot be used"),
        ("?steps=many&b.norm=none", "cannot be used"),
        ("?corpus=own-text&b.norm=none", "cannot be used"),
        ("<script>alert(1)</script>", "cannot be used"),
        ("x" * 10_000, "at most 4,000"),
        ("&".join(f"a{n}=1" for n in range(500)), "not a link of the lab"),
        (None, "cannot be used"),
        ("http://[::1/?b.norm=none", "not a link of the lab"),
    ],
)
def test_a_link_that_asks_for_no_comparison_is_refused(link, words):
    with pytest.raises(ClassError, match=words):
        question_job(query_in(link))


def test_a_link_of_the_lab_is_a_question():
    assert query_in("http://127.0.0.1:7860/?steps=20&b.norm=none#train") == QUERY
    assert [plan.training.steps for plan in question_job(QUERY).plans] == [20, 20]


def test_a_comparison_beyond_the_limits_is_no_question():
    runs = Runs(PUBLIC, slots=1)
    classroom = Classroom(runs)
    with pytest.raises(ValueError, match="this public page"):
        classroom.open("steps=5000&num_layers=8&hidden_dim=256&b.norm=none", TEACHER)
    runs.close()


def test_all_students_train_the_same_but_for_their_seed():
    first, second = seeded_job(QUERY, 1), seeded_job(QUERY, 2)
    for a, b in zip(first.plans, second.plans, strict=True):
        assert dataclasses.replace(a.training, seed=0) == dataclasses.replace(b.training, seed=0)
        assert a.model == b.model
        assert b.training.seed == a.training.seed + 1


# ------------------------------------------------------------------------------------------------ the file


def test_a_server_that_is_started_again_has_lost_nothing(runs, tmp_path):
    before = Classroom(runs, tmp_path)
    code, key = before.open(QUERY, TEACHER)
    train(before, code, "first", (2.0, 2.5))
    waits = before.predict(code, "second", "B", 0.2)
    after = Classroom(runs, tmp_path)  # the first one is not even closed
    assert after.room(code, key)[2:] == (2, 2, 1)
    assert after.join(code, "second") == waits
    after.take(ended_run("second", waits.job, (2.0, 2.25)))
    assert after.room(code, key).trained == 2
    for classroom in (before, after):
        classroom.store.close()
    assert (tmp_path / CLASSES_FILE).stat().st_mode & 0o077 == 0


def test_a_run_that_the_end_of_the_server_interrupts_goes_on_and_counts(tmp_path):
    browser, query = "b" * 43, "corpus=repeat&steps=8&num_layers=1&hidden_dim=16&b.norm=none"

    def server():
        runs = Runs(LOCAL, slots=1)
        runs.archive = RunArchive(runs, tmp_path)
        return runs, Classroom(runs, tmp_path)

    def trained(runs, run):
        wait_for(lambda: not run.active and runs.free_slots == runs.slots)

    before, classroom = server()
    code, key = classroom.open(query, TEACHER)
    seat = classroom.predict(code, browser, "A", 0.1)
    trained(before, before.start(browser, seat.job._replace(pause_after=4)))
    after, classroom = server()
    after.archive.recall(browser)
    (run,) = after.history(browser)
    assert (run.state, run.step) == (PAUSED, 4)
    assert "pauses at step 4 of 8: press Resume" in student_html(classroom.join(code, browser), [run])
    after.resume(run)
    trained(after, run)
    wait_for(lambda: classroom.room(code, key).trained == 1)
    assert (
        classroom.join(code, browser).result.difference == run.sides[1].validation_loss - run.sides[0].validation_loss
    )
    for runs in (before, after):
        runs.close()


def test_a_class_is_gone_after_a_day(tmp_path):
    now = [1000.0]
    store = ClassStore(tmp_path / CLASSES_FILE, lambda: now[0])
    store.add_class("AAAA2222", "hash", QUERY)
    store.add_student("AAAA2222", "somebody")
    now[0] += SECONDS_OF_CLASS + 1
    assert store.key_hash("AAAA2222") is None
    store.add_class("BBBB2222", "hash", QUERY)
    assert "AAAA2222" not in "\n".join(store.connection.iterdump())
    store.close()


def test_a_server_holds_so_many_classes(room):
    classroom, _, _ = room
    for number in range(MAX_CLASSES - 1):
        assert classroom.store.add_class(f"code {number}", "hash", QUERY)
    with pytest.raises(ClassError, match="200 classes already"):
        classroom.open(QUERY, TEACHER)


def test_one_browser_opens_only_so_many_classes(runs):
    classroom = Classroom(runs)
    for _ in range(MAX_OPENED_BY_BROWSER):
        classroom.open(QUERY, TEACHER)
    with pytest.raises(ClassError, match="Too many classes were opened"):
        classroom.open(QUERY, TEACHER)
    classroom.store.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_damaged_file_is_left_out(runs, tmp_path, caplog):
    (tmp_path / CLASSES_FILE).write_bytes(b"no database at all" * 1000)
    classroom = Classroom(runs, tmp_path)
    assert classroom.open(QUERY, TEACHER)
    assert "damaged" in caplog.text
    classroom.store.close()


def test_a_folder_that_cannot_be_written_leaves_classes_in_memory(runs, tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    classroom = Classroom(runs, tmp_path / "file" / "folder")
    assert classroom.open(QUERY, TEACHER)
    assert "in memory alone" in caplog.text
    classroom.store.close()


def test_an_ended_class_is_deleted_with_all_that_was_in_it(room):
    classroom, code, key = room
    train(classroom, code, "a student", (2.0, 2.5))
    classroom.end(code, key)
    assert code not in "\n".join(classroom.store.connection.iterdump())
    with pytest.raises(ClassError, match="no class with this code"):
        classroom.join(code, "a student")


def test_a_store_that_nobody_holds_any_more_has_closed_its_file():
    store = ClassStore()
    connection = store.connection
    del store
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")

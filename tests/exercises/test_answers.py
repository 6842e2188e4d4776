"""Exercises: the lab's own part passes, each known mistake is named, and every other fault is put into words."""

import itertools
import sys
import time
import warnings

import numpy as np
import pytest

from tlab.exercises import EXERCISES, check
from tlab.exercises.checking import SECONDS, examine
from tlab.exercises.deadline import DeadlineError, deadline
from tlab.exercises.exercise import Problem, compare_values, equals
from tlab.registry import UnknownKeyError
from tlab.text.bpe import count_merges

MISTAKES = [(name, mistake) for name, kind in EXERCISES.items() for mistake in kind().mistakes]


@pytest.fixture
def watched(monkeypatch):
    """Deadlines hold here, also where coverage is measured: what is traced already has none."""
    before = sys.gettrace()
    sys.settrace(None)
    monkeypatch.setattr("tlab.exercises.checking.SECONDS", 0.2)
    yield
    sys.settrace(before)


def words_of(name, function):
    """What is said of a wrong answer."""
    with pytest.raises(AssertionError) as failed:
        check(name, function)
    return str(failed.value)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_lab_s_own_part_is_right(name):
    report = check(name, EXERCISES[name]().solution)
    assert report.passed and report.mistake is None
    assert "all right" in str(report) and "WRONG" not in str(report) and repr(report) == str(report)


def merges_by_the_words_of_the_exercise(words, num_merges):
    """As somebody writes it who has read nothing but these."""
    texts, merges = {tuple(word): count for word, count in words.items()}, []
    for token in range(256, 256 + num_merges):
        counts = {}
        for text, count in texts.items():
            for pair in itertools.pairwise(text):
                counts[pair] = counts.get(pair, 0) + count
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        joined = {}
        for text, count in texts.items():
            new = []
            for number in text:
                if new and (new[-1], number) == best:
                    new[-1] = token
                else:
                    new.append(number)
            joined[tuple(new)] = joined.get(tuple(new), 0) + count
        texts = joined
    return merges


def test_merges_that_follow_the_words_of_the_exercise_are_right():
    assert check("bpe_merges", merges_by_the_words_of_the_exercise).passed


def test_where_no_pairs_are_tied_the_merges_are_those_of_the_lab():
    words = {b" ab": 9, b" xab": 4}
    text = b"".join(word * count for word, count in words.items()).decode()
    expected = [(97, 98), (32, 256)]  # 13 times, and then 9 times
    assert EXERCISES["bpe_merges"].solution(words, 2) == list(count_merges(text, 256 + 2)) == expected


def test_of_whole_numbers_the_first_wrong_one_is_named_and_of_others_the_one_that_is_most_off():
    wrong = [(1, 2), (3, 5), (900, 4)]
    with pytest.raises(Problem, match=r"merges\[1, 1\] is 5 and should be 4"):
        compare_values({"merges": np.array(wrong, float)}, {"merges": np.array([(1, 2), (3, 4), (5, 4)], float)})
    with pytest.raises(Problem, match=r"y\[1\] is 3.5 and should be 2.5"):
        compare_values({"y": np.array([0.6, 3.5])}, {"y": np.array([0.5, 2.5])})


@pytest.mark.parametrize(("name", "mistake"), MISTAKES, ids=lambda value: getattr(value, "name", value))
def test_each_known_mistake_is_named(name, mistake):
    words = words_of(name, mistake.answer)
    assert f"a known mistake gives: {mistake.name}." in words and mistake.advice in words


def test_at_least_twelve_exercises_and_ten_mistakes_of_different_names():
    assert len(EXERCISES) >= 12
    assert len({mistake.name for _, mistake in MISTAKES}) >= 10
    few = [name for name, kind in EXERCISES.items() if len({mistake.name for mistake in kind().mistakes}) < 5]
    assert not few, "an exercise knows five mistakes at least"


@pytest.mark.parametrize("name", EXERCISES)
def test_the_cases_tell_mistakes_of_other_names_apart(name):
    exercise = EXERCISES[name]()
    cases = exercise.cases(np.random.default_rng(0))
    with np.errstate(all="ignore"):
        made = [(known.name, [exercise.outputs(known.answer, case) for case in cases]) for known in exercise.mistakes]
    for i, (one, outputs) in enumerate(made):
        for other, others in made[:i]:
            assert one == other or not all(map(equals, outputs, others)), f"{one} looks like {other}"


def test_a_mistake_is_found_by_what_it_gives_and_not_by_how_it_is_written():
    def rmsnorm(x, scale, epsilon):
        out = np.empty_like(x)
        for b in range(x.shape[0]):
            for c in range(x.shape[2]):
                column = [x[b, t, c] for t in range(x.shape[1])]
                size = (sum(value**2 for value in column) / len(column) + epsilon) ** 0.5
                for t, value in enumerate(column):
                    out[b, t, c] = value / size * scale[c]
        return out

    assert "mean over the wrong axis" in words_of("rmsnorm", rmsnorm)


def test_what_is_wrong_in_a_way_of_its_own_is_no_known_mistake():
    words = words_of("rmsnorm", lambda x, scale, epsilon: 1.01 * EXERCISES["rmsnorm"].solution(x, scale, epsilon))
    assert "known mistake" not in words and "should be" in words


def test_what_is_right_is_said_beside_what_is_wrong():
    known = {mistake.name: mistake for mistake in EXERCISES["attention"]().mistakes}
    lines = words_of("attention", known["scores not divided by sqrt(D)"].answer).splitlines()
    assert "right  no token sees a later one" in lines and "WRONG  values are right" in lines


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, scale, epsilon: None, "returned None: does it end with `return y`?"),
        (lambda x, scale, epsilon: x[0], "y has the shape (3, 8); asked is (2, 3, 8)"),
        (lambda x, scale, epsilon: "norm", "y is of the type str; asked is an array of numbers"),
        (lambda x, scale, epsilon: x + 0j, "complex numbers"),
        (lambda x, scale, epsilon: [[1.0], [1.0, 2.0]], "different lengths"),
        (lambda x, scale: x, "TypeError"),
        (lambda x, scale, epsilon: x / 0 * np.nan, "y[0, 0, 0] is nan and should be"),
        (lambda x, scale, epsilon: x @ x, "ValueError"),
        (lambda x, scale, epsilon: sys.exit(), "it ended Python with exit()"),
        (lambda x, scale, epsilon: exec("raise NotImplementedError('later')"), "NotImplementedError: later"),
        (7, "7 is no function"),
        (None, "None is no function"),
    ],
)
def test_what_cannot_be_judged_is_said_in_words(answer, words):
    assert words in words_of("rmsnorm", answer)


def test_another_number_of_results_is_said_in_words():
    assert "it returned one ndarray where 3 are asked for: w, m, v" in words_of("adamw", lambda w, *others: w)
    assert "it returned 2 where 3" in words_of("adamw", lambda w, *others: (w, w))
    assert "where two are asked for" in words_of("kv_cache", lambda queries, keys, values, past: queries)
    assert "a list of 3 arrays is asked for" in words_of("clip_gradients", lambda gradients, max_norm: None)
    assert "it returned 1 array where 3" in words_of("clip_gradients", lambda gradients, max_norm: gradients[:1])
    assert "asked is a list" in words_of("bpe_merges", lambda words, num_merges: None)
    assert "no pairs" in words_of("bpe_merges", lambda words, num_merges: [1, 2])


def test_who_writes_into_the_inputs_hears_of_it():
    def rmsnorm(x, scale, epsilon):
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
        return x * scale

    assert "it writes into x, which the caller still needs" in words_of("rmsnorm", rmsnorm)

    def clip_gradients(gradients, max_norm):
        right = EXERCISES["clip_gradients"].solution(gradients, max_norm)
        gradients[0][...] = right[0]
        return right

    assert "it writes into gradients" in words_of("clip_gradients", clip_gradients)


def test_an_error_is_reported_with_the_learner_s_own_line():
    def rope(heads, start):
        half = heads.shape[-1] // 2
        return np.concatenate([heads[..., :half], heads], axis=0)  # the line

    words = words_of("rope", rope)
    assert "ValueError" in words and "test_answers.py: return np.concatenate([heads[..., :half], heads]" in words


def test_a_loop_without_an_end_is_ended(watched):
    def rmsnorm(x, scale, epsilon):
        while True:
            try:
                x = x + 1
            except Exception:
                break

    began = time.monotonic()
    words = words_of("rmsnorm", rmsnorm)
    assert time.monotonic() - began < 10 * SECONDS
    assert "it still ran after 0.2 seconds, and was ended\n       in line " in words
    assert sys.gettrace() is None  # nothing is watched after it
    check("rmsnorm", EXERCISES["rmsnorm"].solution)


@pytest.mark.parametrize("loop", ["while True: pass", "while 1: continue", "while True:\n        pass"])
def test_a_loop_of_nothing_is_ended(watched, loop):
    known: dict = {}
    exec(f"def endless():\n    {loop}", known)
    began = time.monotonic()
    with pytest.raises(DeadlineError), deadline(0.2):
        known["endless"]()
    assert time.monotonic() - began < 10 and sys.gettrace() is None


def test_who_is_debugged_has_all_the_time(monkeypatch):
    monkeypatch.setattr("tlab.exercises.checking.SECONDS", 0.0)
    before, seen = sys.gettrace(), []
    sys.settrace(lambda *event: seen.append(event))
    try:
        check("rmsnorm", EXERCISES["rmsnorm"].solution)
    finally:
        sys.settrace(before)
    assert seen


def test_a_warning_that_is_an_error_changes_no_verdict():
    known = {mistake.name: mistake for mistake in EXERCISES["cross_entropy"]().mistakes}
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert "max not subtracted" in words_of("cross_entropy", known["max not subtracted"].answer)
        check("attention", EXERCISES["attention"].solution)


def test_what_an_answer_prints_changes_no_verdict(capsys):
    def clip_gradients(gradients, max_norm):
        print("here", max_norm)
        return EXERCISES["clip_gradients"].solution(gradients, max_norm)

    assert check("clip_gradients", clip_gradients).passed
    assert "here 2.0" in capsys.readouterr().out


def test_random_numbers_of_the_program_are_left_alone():
    np.random.seed(3)  # noqa: NPY002, what a program may do
    check("rope", EXERCISES["rope"].solution)
    after = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002


def test_float32_in_the_answer_is_near_enough():
    def gelu_backward(dy, x):
        return EXERCISES["gelu_backward"].solution(dy, x).astype(np.float32)

    assert examine("gelu_backward", lambda: gelu_backward).checks[2] == ("values are right", "")


def test_an_unknown_exercise_is_an_error_with_the_nearest():
    with pytest.raises(UnknownKeyError, match="Did you mean 'rmsnorm'"):
        check("rms-norm", abs)

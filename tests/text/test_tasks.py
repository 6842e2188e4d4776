"""Texts made by rule: what they ask, what follows from it, and what knowing the rule costs."""

import math
import re
from collections import Counter

import pytest

from support import TASKS
from tlab.judging.one_run import guesses_words
from tlab.text import CORPORA, corpus_from_text, load_corpus
from tlab.text.baselines import baseline_losses

ANSWERS = {
    "copy": lambda question: question,
    "reverse": lambda question: question[::-1],
    "sort": lambda question: "".join(sorted(question)),
    "parity": lambda question: str(question.count("1") % 2),
}


@pytest.mark.parametrize("key", ANSWERS)
def test_each_answer_follows_from_its_question(key):
    for line in CORPORA[key]().text().splitlines():
        question, answer = line.split("=")
        assert answer == ANSWERS[key](question) and len(line) == 15


def test_modular_sums_are_right_and_every_pair_is_asked_once():
    lines, digits = CORPORA["modular"]().text().splitlines(), CORPORA["modular"].digits
    for line in lines:
        a, b, total = (digits.index(digit) for digit in re.fullmatch(r"(\w)\+(\w) = (\w)", line).groups())
        assert (a + b) % 59 == total
    assert len(set(lines)) == len(lines) == 59**2


def test_parity_asks_no_question_twice_and_both_answers_are_as_frequent():
    lines = CORPORA["parity"]().text().splitlines()
    assert len(set(lines)) == len(lines) == 2**13 - 2
    counts = Counter(line[-1] for line in lines)
    assert abs(counts["0"] - counts["1"]) <= 2


@pytest.mark.parametrize("key", ["copy", "reverse", "sort", "parity", "modular"])
def test_lines_and_contexts_of_64_end_together_in_both_parts(key):
    corpus = load_corpus(key)
    length = CORPORA[key]().text().index("\n") + 1
    assert 64 % length == 0 and len(corpus.train) % length == 0 and len(corpus.validation) % length == 0


@pytest.mark.parametrize("key", TASKS)
def test_knowing_the_rule_is_worth_more_than_any_simple_guess(key):
    corpus = load_corpus(key)
    losses = baseline_losses(corpus)
    assert losses["known rule"] == corpus.known_loss
    assert 0 < corpus.known_loss < min(loss for name, loss in losses.items() if name != "known rule")


@pytest.mark.parametrize(
    ("key", "line", "nats"),
    [
        ("copy", "qhxbtwn=qhxbtwn", 7 * math.log(26)),
        ("parity", "0110100110110=1", 13 * math.log(2)),
        ("modular", "a+Q = s", 2 * math.log(59)),
        ("addition", "12+34=46", 2 * math.log(140)),
        ("repeat", "qhxbtwna qhxbtwna", math.log(9) + math.log(math.perm(26, 8))),
        ("brackets", "()()()()", math.log(21) + 4 * math.log(4) + 3 * math.log(2)),  # the last one has to be closed
        ("brackets", "([{<>}])", math.log(21) + 4 * math.log(4) + 3 * math.log(2)),
    ],
)
def test_a_line_costs_what_counting_its_choices_gives(key, line, nats):
    assert CORPORA[key]().line_nats(line) == pytest.approx(nats)


def test_the_known_loss_is_the_mean_over_the_text_whatever_the_tokens():
    text = CORPORA["copy"]().text()
    assert load_corpus("copy").known_loss == pytest.approx(7 * math.log(26) / 16)
    total = 7 * math.log(26) * text.count("\n")
    joined = load_corpus("copy", "bpe-512")
    assert joined.known_loss * (len(joined.train) + len(joined.validation)) == pytest.approx(total)


def test_of_other_texts_nobody_knows_the_rule():
    corpus = corpus_from_text("one two three " * 20)
    assert corpus.known_loss is None and corpus.answers_after is None
    assert "known rule" not in baseline_losses(corpus)


def test_how_far_a_run_is_from_the_rule_is_said():
    losses = {"uniform guess": 3.3, "token frequencies": 3.0, "token pairs": 2.5, "known rule": 1.4}
    assert "0.10 above a model that knows the rule of the text (1.40)" in guesses_words(1.5, losses)
    assert guesses_words(1.41, losses) == "about that of a model that knows the rule of the text (1.40)"

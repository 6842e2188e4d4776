"""The game of false winners: two curves, a guess, and what really differed."""

import html
import re

import pytest

from support import GRADIO
from tlab.false_winners.mistakes import CONTESTANTS, MISTAKES, NEITHER
from tlab.ui.tabs.compare.game import (
    BEFORE_THE_GAME,
    QUESTION,
    FalseWinnersGame,
    Round,
    answer_words,
    contest_curves,
)

pytestmark = GRADIO


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_answer_tells_the_mistake_only_after_the_guess_and_what_the_honest_method_says(mistake):
    asked = Round(mistake, 3)
    entry, words = MISTAKES.entries[mistake], answer_words(asked, "A")
    assert entry.label in words and asked.contest.honest.words in words
    assert entry.component.really in html.unescape(words)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_exactly_one_guess_is_right_and_its_model_is_named(mistake):
    right = [guess for guess in (*CONTESTANTS, NEITHER) if answer_words(Round(mistake, 3), guess).startswith("**Right")]
    assert right == [MISTAKES[mistake].better]


def test_a_model_of_twice_the_width_is_not_called_the_same():
    words = answer_words(Round("more-parameters", 3), NEITHER)
    assert words.startswith("**No: B would be better.**") and "same model" not in words


def test_nothing_before_the_guess_says_who_is_better():
    for words in (BEFORE_THE_GAME, QUESTION):
        assert not re.search("same|false|equal|neither|nobody", words.lower())


def test_the_curves_end_where_the_runs_ended():
    reading = Round("leaked-validation", 0).contest.mistaken
    drawn = contest_curves(reading)
    assert [one["name"] for one in drawn["lines"]] == ["A", "B"] and drawn["unit"] == reading.unit
    assert drawn["lines"][1]["points"][-1] == [200.0, reading.b.curve[-1]]


def test_each_mistake_comes_once_before_any_comes_again():
    game = FalseWinnersGame()
    rounds = []
    left = []
    for _ in range(2 * len(MISTAKES)):
        left, asked = game.next_round(left)
        rounds.append(asked.mistake)
    assert sorted(rounds[: len(MISTAKES)]) == sorted(rounds[len(MISTAKES) :]) == sorted(MISTAKES)

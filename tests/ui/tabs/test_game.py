"""The game of false winners: two curves, a guess, and that both were the same model."""

import pytest

from support import GRADIO
from tlab.false_winners.mistakes import MISTAKES
from tlab.ui.tabs.compare.game import NEITHER, FalseWinnersGame, Round, answer_words, contest_curves

pytestmark = GRADIO


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_answer_tells_the_mistake_only_after_the_guess_and_what_the_honest_method_says(mistake):
    asked = Round(mistake, 3)
    entry, words = MISTAKES.entries[mistake], answer_words(asked, "A")
    assert entry.label in words and asked.contest.honest.words in words
    assert words.startswith("**They were the same model.**")
    assert answer_words(asked, NEITHER).startswith("**Right: they were the same model.**")


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

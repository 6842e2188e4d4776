"""In what order a page's questions are answered, and which of them at all."""

import asyncio
import threading

import gradio as gr
import pytest

from support import GRADIO, SECONDS
from tlab.ui.listening import only_latest

pytestmark = GRADIO

NO_EVENT = gr.EventData(None, None)


def page(name: str) -> gr.Request:
    return gr.Request(session_hash=name)


class Desk:
    """Answers each question with itself, a slow one only when `go_on` is set."""

    def __init__(self):
        self.go_on = threading.Event()
        self.answered = []
        self.handler = only_latest(self.answer)

    def answer(self, *question):
        if question[0] == "slow":
            assert self.go_on.wait(SECONDS)
        self.answered.append(question)
        if question[0] == "wrong":
            raise ValueError("wrong")
        return question

    def ask(self, *questions):
        """The answers to what pages ask, one question right after the other; those to the slow ones come last."""

        async def all_at_once():
            waiting = []
            for name, *question in questions:
                waiting.append(asyncio.create_task(self.handler(page(name), NO_EVENT, *question)))
                await asyncio.sleep(0)  # it begins
            quick = [task for task, asked in zip(waiting, questions, strict=True) if asked[1] != "slow"]
            await asyncio.gather(*quick, return_exceptions=True)
            self.go_on.set()
            return await asyncio.gather(*waiting, return_exceptions=True)

        return asyncio.run(all_at_once())


@pytest.fixture
def desk():
    return Desk()


def test_an_answer_that_comes_after_a_newer_questions_tells_nothing(desk):
    assert desk.ask(("me", "slow", 1), ("me", "quick", 2)) == [gr.skip(), ("quick", 2)]


def test_a_newer_question_of_another_page_takes_no_answer_away(desk):
    assert desk.ask(("me", "slow", 1), ("you", "quick", 2)) == [("slow", 1), ("quick", 2)]


def test_equal_questions_at_once_are_answered_once(desk):
    assert desk.ask(("me", "slow"), ("me", "slow"), ("you", "slow")) == [("slow",), gr.skip(), ("slow",)]
    assert desk.answered == [("slow",), ("slow",)]


def test_a_question_that_was_answered_is_answered_again(desk):
    assert desk.ask(("me", "quick")) == desk.ask(("me", "quick")) == [("quick",)]


def test_a_question_that_comes_back_is_answered_by_its_last_asking(desk):
    assert desk.ask(("me", "slow"), ("me", "quick"), ("me", "slow")) == [gr.skip(), gr.skip(), ("slow",)]


def test_an_answer_that_fails_is_in_the_way_of_no_later_one(desk):
    (error,) = desk.ask(("me", "wrong"))
    assert isinstance(error, ValueError)
    (error,) = desk.ask(("me", "wrong"))
    assert isinstance(error, ValueError) and len(desk.answered) == 2


def test_an_answer_is_told_who_asks_and_what_has_happened_if_it_wants_to_know():
    def answer(first, *rest, event, request):
        return first, rest, request.session_hash, event.target

    happened = gr.EventData("a control", None)  # pyright: ignore[reportArgumentType]
    asked = only_latest(answer)(page("me"), happened, 1, 2, 3)
    assert asyncio.run(asked) == (1, (2, 3), "me", "a control")

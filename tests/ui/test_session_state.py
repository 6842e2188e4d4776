"""What the server does for the answers of its handlers, beside Gradio's own way."""

import asyncio

import gradio as gr
import pandas as pd
import pytest

from support import GRADIO
from tlab.ui.session_state import LightBlocks, LightState

pytestmark = GRADIO


@pytest.fixture
def page():
    """A page with one handler that has three outputs, the last of which nobody sees."""
    with LightBlocks(analytics_enabled=False) as page:
        page.first, page.second, page.kept = gr.Textbox(), gr.Textbox(), gr.State("kept")
        gr.Button().click(lambda: None, None, [page.first, page.second, page.kept])
    return page


ANSWERS = {
    "nothing": lambda page: gr.skip(),
    "the first": lambda page: {page.first: "one"},
    "the second and the last": lambda page: {page.second: "two", page.kept: "three"},
    "another look": lambda page: {page.second: gr.update(value="two", label="Second")},
    "one that it leaves": lambda page: {page.first: "one", page.second: gr.skip()},
    "a list": lambda page: ["one", gr.skip(), "three"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_page_is_sent_what_gradio_would_send_and_keeps_what_it_would_keep(page, name):
    def told(postprocess):
        state = LightState(page)
        sent = asyncio.run(postprocess(page.fns[0], ANSWERS[name](page), state))
        return sent, state[page.kept._id]

    theirs = super(LightBlocks, page).postprocess_data
    assert told(page.postprocess_data) == told(theirs)


def test_markup_that_an_answer_leaves_as_it_is_is_not_drawn_anew():
    """Gradio 6.31 would send an empty update of its properties, for which the page puts the same markup in place."""
    with LightBlocks(analytics_enabled=False) as page:
        text, markup = gr.Textbox(), gr.HTML("<p>Words</p>")
        gr.Button().click(lambda: None, None, [text, markup])
    assert asyncio.run(page.postprocess_data(page.fns[0], {text: "one"}, LightState(page))) == ["one", gr.skip()]


def test_an_answer_makes_no_component_for_what_it_leaves_as_it_is(page, monkeypatch):
    made = []
    monkeypatch.setattr(gr.Textbox, "__init__", lambda text, **arguments: made.append(text))
    asyncio.run(page.postprocess_data(page.fns[0], {page.first: "one"}, LightState(page)))
    assert made == []


def test_an_answer_for_what_is_no_output_is_refused(page):
    stranger = gr.Textbox(render=False)
    with pytest.raises(ValueError, match="not specified as output"):
        asyncio.run(page.postprocess_data(page.fns[0], {stranger: "one"}, LightState(page)))


def test_an_empty_dict_is_a_value_where_there_is_one_output():
    with LightBlocks(analytics_enabled=False) as page:
        values = gr.JSON()
        gr.Button().click(lambda: None, None, values)
    assert asyncio.run(page.postprocess_data(page.fns[0], {}, LightState(page)))[0].model_dump() == {}


def test_a_table_is_a_value_where_there_is_one_output():
    with LightBlocks(analytics_enabled=False) as page:
        table = gr.Dataframe()
        gr.Button().click(lambda: None, None, table)
    (sent,) = asyncio.run(page.postprocess_data(page.fns[0], pd.DataFrame({"a": [1, 2]}), LightState(page)))
    assert sent["data"] == [[1], [2]]

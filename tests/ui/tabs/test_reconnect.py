"""A page that comes again: it gets its run back, nobody else's, and is told what is gone."""

import asyncio
from urllib.parse import parse_qsl

import gradio as gr
import pytest

from pages import built
from support import GRADIO
from tlab.ui.demo.shipped_run import shipped_id
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, PAUSED, RUNNING, Run
from tlab.ui.settings.links import query_of
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_job
from tlab.ui.tabs.train.reconnect import LOST, NO_RESULT, NOT_FOUND, Reconnect
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.visit import COOKIE

pytestmark = GRADIO

ME, OTHER = "m" * 43, "o" * 43


@pytest.fixture
def page():
    """The handlers of a page that comes, with a finished run of mine."""
    runs = Runs(LOCAL, slots=1)
    page = Reconnect(built(TrainTab, runs))
    with gr.Blocks():
        page.build()
    run = Run(ME, preset_job(DEMO_PRESET), LOCAL)
    run.state = DONE
    runs.add(run)
    return page, run


def request(number: str, page: str = "again", **query) -> gr.Request:
    return gr.Request(session_hash=page, headers={"cookie": f"{COOKIE}={number}"}, query_params=query)


def test_a_page_that_is_loaded_again_shows_its_run(page):
    page, run = page
    shown = page.on_arrive(run.id, request(ME))
    assert shown[page.train.run_id] == run.id and page.train.runs.shown("again") is run


@pytest.mark.parametrize("number", [OTHER, "", "page first", "x" * 50_000])
def test_nobody_else_is_shown_it_by_its_id(page, number):
    page, run = page
    assert NOT_FOUND in page.on_arrive(run.id, request(number))[page.train.state]
    assert NO_RESULT in page.on_arrive("", request(number, result=run.id))[page.train.state]

    async def asked():
        return [frame async for frame in page.on_reconnect(run.id, "", request(number))]

    assert LOST in asyncio.run(asked())[-1][page.train.state]
    assert page.train.runs.shown("again") is None


def test_what_the_disk_has_and_nobody_can_read_is_told_once(page, monkeypatch):
    page, run = page
    found = [["My <run>"], [], ["Another", "and, one more"]]
    monkeypatch.setattr(page.train.runs.archive, "recall", lambda session: found.pop(0))
    words = "On the disk, “My <run>” cannot be read any more, and is left out."
    assert page.on_arrive(run.id, request(ME))[page.damaged] == words
    assert page.damaged not in page.on_arrive(run.id, request(ME))

    async def asked():
        return [frame async for frame in page.on_reconnect("gone", "", request(ME))]

    words = "On the disk, “Another” and “and, one more” cannot be read any more, and are left out."
    assert asyncio.run(asked())[-1][page.damaged] == words


def test_a_new_page_shows_what_came_with_the_lab(page):
    page, _ = page
    assert page.on_arrive("", request(ME)) == {page.train.state: gr.skip()}


@pytest.mark.parametrize("preset", list(PRESETS.values())[1:], ids=lambda preset: preset.label)
def test_a_page_with_the_settings_of_a_preset_shows_the_run_of_it(page, preset):
    page, _ = page
    settings = {**preset.settings, **({"corpus": preset.corpus} if preset.corpus else {})}
    query = dict(parse_qsl(query_of(settings, dict(filter(None, [preset.switch])))))
    assert page.on_arrive("", request(ME, **query))[page.train.run_id] == shipped_id(preset)
    for other in ({"seed": "7"}, {"nonsense": "1"}):
        assert page.on_arrive("", request(ME, **{**query, **other})) == {page.train.state: gr.skip()}


def test_a_link_whose_b_is_its_a_opens_as_any_that_no_run_is_of(page):
    page, _ = page
    query = {"residual": "post", "b.residual": "post"}
    assert page.on_arrive("", request(ME, **query)) == page.on_arrive("", request(ME, residual="post", steps="7"))


@pytest.mark.parametrize(
    ("state", "waits", "taken"), [(RUNNING, False, True), (PAUSED, True, True), (PAUSED, False, False)]
)
def test_a_new_page_takes_up_what_trains_and_no_page_shows(page, state, waits, taken):
    page, run = page
    run.state, run.awaits_page = state, waits
    page.on_arrive("", request(ME))
    assert (page.train.runs.shown("again") is run) == taken


def test_a_run_that_another_page_shows_is_left_to_it(page):
    page, run = page
    run.state = RUNNING
    run.followers.add("first")
    page.on_arrive("", request(ME))
    assert page.train.runs.shown("again") is None


@pytest.mark.parametrize(("session", "warned"), [(ME, False), ("page first", True)])
def test_leaving_a_run_is_warned_of_only_where_it_would_be_lost(page, session, warned):
    page, run = page
    run.session, run.state = session, RUNNING
    assert ("data-unkept" in page.train.state_of(run)) == warned
    run.state = DONE
    assert "data-unkept" not in page.train.state_of(run)

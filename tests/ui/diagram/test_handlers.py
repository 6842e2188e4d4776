"""What the server answers when a part or a choice is clicked in the drawing."""

import asyncio
import html
from urllib.parse import parse_qsl

import gradio as gr
import pytest

from pages import built
from support import GRADIO
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, RUNNING, Run
from tlab.ui.runs.time_estimate import Pace
from tlab.ui.settings.links import read_query
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_settings
from tlab.ui.settings.side_b import NOTHING
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

PAGE = gr.Request(session_hash="me")
OPENED = gr.EventData(None, None)  # of a page; of a change the target is the control


@pytest.fixture(scope="module")
def tab():
    runs = Runs(LOCAL, slots=1)
    yield built(TrainTab, runs)
    runs.close()


def values(tab, **changes):
    """What the page sends of all controls: as it opens, but for these."""
    return [changes.get(name, component.value) for name, component in tab.controls.components.items()]


def test_a_part_is_shown_with_its_switch_its_formula_and_its_code(tab):
    panel = tab.diagram
    shown = panel.on_part({"part": "norm"}, *values(tab))
    assert 'data-set="norm"' in shown[panel.head]
    assert "\\sigma" in shown[panel.formula]
    assert "<pre" in shown[panel.code]


@pytest.mark.parametrize("chosen", [None, {}, {"part": ""}, {"part": "no such part"}])
def test_no_part_empties_the_panel(tab, chosen):
    panel = tab.diagram
    assert panel.on_part(chosen, *values(tab)) == {panel.head: "", panel.formula: "", panel.code: ""}


def test_settings_that_do_not_fit_together_leave_drawing_and_panel_as_they_are(tab):
    wrong = values(tab, num_heads=7)
    assert tab.diagram.drawn(wrong) == gr.skip()
    assert tab.diagram.on_part({"part": "norm"}, *wrong) == {tab.diagram.head: gr.skip()}


def test_any_change_of_the_controls_draws_the_model_again(tab):
    shown = tab.on_change(PAGE, [], None, *values(tab, norm="rmsnorm"))
    assert "RMSNorm" in shown[tab.diagram.picture]


def test_a_page_is_sent_no_drawing_that_it_came_with(tab):
    def answer(target, **changes):
        event = gr.EventData(target, None)
        return tab.on_settings(None, [], None, *values(tab, **changes), request=PAGE, event=event)

    assert tab.diagram.picture not in answer(None) and tab.estimate in answer(None)
    assert tab.diagram.picture in answer(None, norm="rmsnorm"), "opened by a link"
    assert tab.diagram.picture in answer(tab.controls.components["norm"]), "changed back"


def test_a_run_that_ends_changes_what_the_estimate_hangs_on(tab):
    run = demo_run()
    tab.runs.show("me", run)

    async def frames():
        return [frame async for frame in tab.follow(run, "me")]

    (last,) = asyncio.run(frames())
    assert last[tab.renewed_by] == f"{run.id} {run.state}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"switch": NOTHING}, "“Tune both sides” is off. There is nothing to compare"),
        ({"switch": "seed", "switch_number": 7}, "“Tune both sides” is off. A and B differ in their seed alone"),
        ({"num_heads": 7}, "num_heads"),
    ],
)
def test_both_sides_can_be_tuned_where_there_are_two_to_tune_else_the_page_says_why_not(tab, settings, words):
    shown = tab.on_change(PAGE, [], None, *values(tab, **settings))
    assert shown[tab.rates.button]["interactive"] == (not words)
    assert words in html.unescape(shown[tab.estimate]) and ("is off" in words or "is off" not in shown[tab.estimate])


def test_nothing_is_tuned_while_the_run_that_is_shown_trains_and_then_it_is_asked_again(tab):
    run = Run("me", demo_run().job, LOCAL)
    run.state = RUNNING
    tab.runs.add(run)

    def can_tune():
        return tab.on_change(PAGE, [], run.id, *values(tab))[tab.rates.button]["interactive"]

    async def first_frame():
        tab.runs.show("me", run)
        frames = tab.follow(run, "me")
        frame = await anext(frames)
        await frames.aclose()
        return frame

    assert not can_tune() and tab.renewed_by in asyncio.run(first_frame())
    run.state = DONE
    assert can_tune() and tab.renewed_by in asyncio.run(first_frame())


def test_a_page_that_opens_before_the_pace_is_known_asks_again_once_it_is(tab, monkeypatch):
    async def opened():
        monkeypatch.setattr(tab.runs, "pace", None)
        opening = asyncio.create_task(tab.on_open(None))
        await asyncio.sleep(0)  # it begins to wait
        monkeypatch.setattr(tab.runs, "pace", Pace(1e-4, 1e-11, 1e-9))
        return await opening

    assert asyncio.run(opened()) != gr.skip()
    assert asyncio.run(tab.on_open(None)) == gr.skip()


@pytest.mark.parametrize("label", PRESETS)
def test_the_address_of_a_preset_opens_with_its_settings(tab, label):
    preset = PRESETS[label]
    name, value = preset.switch or (NOTHING, None)
    settings = preset_settings(preset)
    chosen = values(tab, **settings, switch=name, switch_choice=value, switch_number=value)
    query = tab.on_change(PAGE, [], None, *chosen)[tab.address]
    link = read_query(dict(parse_qsl(query)))
    assert query == "" if preset is DEMO_PRESET else {**settings, **link.settings} == settings
    assert link.problems == [] and (query == "" or link.other == dict(filter(None, [preset.switch])))


def test_what_a_link_hides_stays_in_the_address(tab):
    assert "hide=seed" in tab.on_change(PAGE, ["seed"], None, *values(tab))[tab.address]


def test_while_settings_do_not_fit_together_the_address_stays_as_it_was(tab):
    assert tab.on_change(PAGE, [], None, *values(tab, num_heads=7))[tab.address] == gr.skip()


def test_a_choice_sets_its_control(tab):
    assert tab.diagram.on_set({"field": "norm", "key": "rmsnorm"}) == {tab.controls.components["norm"]: "rmsnorm"}


@pytest.mark.parametrize(
    "chosen", [None, {"field": "norm", "key": "<b>"}, {"field": "steps", "key": "1"}, {"field": "x", "key": "y"}]
)
def test_what_is_no_choice_sets_nothing(tab, chosen):
    assert tab.diagram.on_set(chosen) == gr.skip()


@pytest.mark.parametrize(("switch", "choice", "is_half"), [("norm", "post", True), ("norm", "rmsnorm", False)])
def test_settings_that_are_half_of_a_preset_are_answered_by_nothing(tab, switch, choice, is_half):
    """As of B the setting of the new preset with the value of the one before; the rest is on its way."""
    half = values(tab, switch=switch, switch_choice=choice)
    answer = tab.on_settings(None, [], None, *half, request=PAGE, event=OPENED)
    assert (answer == gr.skip()) == is_half


def test_what_is_said_of_the_pictures_stays_while_a_setting_cannot_be(tab):
    """As the drawing does, which else would show the numbers of a run with other settings again."""
    shown = tab.on_change(PAGE, [], None, *values(tab, seed=7))
    assert "another run" in shown[tab.other] and shown[tab.take]["visible"]
    shown = tab.on_change(PAGE, [], None, *values(tab, seed=7, num_heads=7))
    assert "num_heads" in shown[tab.estimate] and not {tab.other, tab.take} & shown.keys()


def test_the_card_of_a_text_is_there_while_the_context_length_is_typed(tab):
    card = tab.controls.text_card(OWN_TEXT, "char", None, None, "the quick brown fox " * 100, None)
    assert "2,000" in card


def test_both_sides_are_not_tuned_in_runs_that_end_within_the_warm_up(tab):
    shown = tab.on_change(PAGE, [], None, *values(tab, steps=60, warmup_steps=30))
    assert "would have 30 steps" in html.unescape(shown[tab.estimate]) and not shown[tab.rates.button]["interactive"]
    assert tab.on_change(PAGE, [], None, *values(tab, steps=62, warmup_steps=30))[tab.rates.button]["interactive"]

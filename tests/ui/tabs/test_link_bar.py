"""What is said beside a link when it is made."""

from urllib.parse import parse_qsl

import gradio as gr
import pytest

from pages import built
from support import GRADIO
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.fields import field_names
from tlab.ui.settings.links import defaults, read_query
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.settings.side_b import NOTHING
from tlab.ui.tabs.train.link_bar import (
    ALL_BUT_COMPARED,
    ALL_HIDDEN,
    HIDES_DIFFERENCE,
    NOTHING_HIDDEN,
    SOME_HIDDEN,
    LinkBar,
)
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

assert DEMO_PRESET.switch is not None
COMPARED_SETTING, _ = DEMO_PRESET.switch


@pytest.fixture(scope="module")
def bar():
    runs = Runs(LOCAL, slots=1)
    bar = LinkBar(built(TrainTab, runs))
    with gr.Blocks(analytics_enabled=False):
        bar.build_panel()
    yield bar
    runs.close()


@pytest.mark.parametrize(
    ("hidden", "locked", "changes", "warned"),
    [
        ([COMPARED_SETTING], [], {}, True),
        ([], [COMPARED_SETTING], {}, True),
        (["seed"], [], {}, False),
        ([COMPARED_SETTING], [], {"switch": NOTHING}, False),
    ],
)
def test_a_link_that_hides_what_is_compared_says_so_when_it_is_made(bar, hidden, locked, changes, warned):
    values = [changes.get(name, control.value) for name, control in bar.controls.components.items()]
    said = bar.on_copy(locked, hidden, *values)[bar.link]["info"]
    assert (HIDES_DIFFERENCE in said) == warned


def test_what_is_hidden_and_empty_is_no_difference_from_a_preset(bar):
    hidden = ["min_learning_rate", "data_seed", "steps"]
    sent = {**defaults(), "min_learning_rate": "", "data_seed": "", "steps": 300}  # as the page sends empty fields
    updates = bar.train.on_preset("Too fast", None, hidden, *sent.values())
    assert "hides settings, which the preset does not set: Steps stays 300 instead of 400." in updates[bar.train.words]


def test_a_value_that_was_typed_is_no_proposal_for_b(bar):
    values = {name: control.value for name, control in bar.controls.components.items()}
    values |= {"switch": "data_seed", "data_seed": "1"}
    page = gr.Request(session_hash="me", headers={})
    assert bar.controls.on_switch(page, *values.values())[bar.controls.switch_number]["value"] != 1


def test_the_number_of_b_may_stay_empty(bar):
    assert isinstance(bar.controls.switch_number, gr.Textbox)  # an empty gr.Number becomes 0


@pytest.mark.parametrize(
    ("how_much", "left"),
    [(NOTHING_HIDDEN, {*defaults()}), (ALL_HIDDEN, set()), (ALL_BUT_COMPARED, {COMPARED_SETTING})],
)
def test_one_click_hides_much(bar, how_much, left):
    values = [control.value for control in bar.controls.components.values()]
    assert {*defaults()} - {*bar.on_how_much(how_much, [], *values)["value"]} == left


def test_a_list_that_was_chosen_by_one_click_can_be_changed(bar):
    values = [control.value for control in bar.controls.components.values()]
    shown = bar.on_how_much(SOME_HIDDEN, ["seed"], *values)
    assert shown["visible"] and "value" not in shown


def test_nothing_empty_is_left_of_what_is_hidden(bar):
    assert bar.controls.emptied([]) == []
    everything = bar.controls.emptied(defaults())
    assert {"size-settings", "pace-settings", "parts-settings", "schedule-settings", "more-settings"} <= {*everything}
    sizes = ["num_layers", "hidden_dim", "num_heads", "context_length"]
    assert bar.controls.emptied(sizes) == ["group-num_layers", "size-settings"]
    settings = {*field_names(), "tokenizer", "start_from"}
    assert {name for names in bar.controls.boxes.values() for name in names} == settings


def test_a_link_without_its_text_says_so_to_whoever_opens_it(bar):
    own = {"corpus": OWN_TEXT, "text": "a text that stays here"}
    values = [own.get(name, control.value) for name, control in bar.controls.components.items()]
    query = bar.on_copy([], [], *values)[bar.link]["value"]
    link = read_query(dict(parse_qsl(query)))
    assert link.settings["num_layers"] == DEMO_PRESET.settings["num_layers"] and "corpus" not in link.settings
    (problem,) = link.problems
    assert "one of their own" in problem and "stays here" not in query

"""What is said beside a link when it is made."""

import gradio as gr
import pytest

from pages import built
from support import GRADIO
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.settings.side_b import NOTHING
from tlab.ui.tabs.train.link_bar import HIDES_DIFFERENCE, LinkBar
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

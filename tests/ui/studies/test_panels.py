"""The panels of studies: what they show of a study whose thread goes on while they look at it."""

from collections import OrderedDict

import gradio as gr
import pytest

from support import GRADIO
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import STOPPED
from tlab.ui.settings.controls import Controls
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import Study, experiment_of
from tlab.ui.studies.tuning import tuning_study
from tlab.ui.tabs.train.panels.rates import RatesPanel
from tlab.ui.tabs.train.panels.seeds import SeedsPanel

pytestmark = GRADIO


@pytest.fixture(scope="module")
def studies():
    runs = Runs(LOCAL, slots=1)
    made, job = Studies(runs), demo_run().job
    known = [seeds_study("s", job, {}), tuning_study("s", job)]
    made.by_session["s"] = OrderedDict(((study.kind, experiment_of(study.job)), study) for study in known)
    yield made
    runs.close()


@pytest.fixture(scope="module")
def seeds(studies):
    panel = SeedsPanel(studies)
    with gr.Blocks():
        panel.build()
    return lambda: (panel.shown("s", demo_run()), panel.clock, panel.button)


@pytest.fixture(scope="module")
def rates(studies):
    with gr.Blocks():
        panel = RatesPanel(studies, Controls({}, None, LOCAL.text))
        panel.build()
    return lambda: (panel.shown("s", False), panel.clock, panel.more)


@pytest.mark.parametrize("panel", ["seeds", "rates"])
@pytest.mark.parametrize("reads", range(12))
def test_a_study_that_ends_while_its_panel_looks_is_looked_at_again_or_can_go_on(request, monkeypatch, panel, reads):
    look = request.getfixturevalue(panel)
    ends = iter([None] * reads)
    monkeypatch.setattr(Study, "end", property(lambda study: next(ends, STOPPED)), raising=False)
    updates, clock, go_on = look()
    assert updates[clock]["active"] != updates[go_on]["visible"]

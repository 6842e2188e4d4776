"""The panels of studies: what they show of a study whose thread goes on while they look at it."""

from collections import OrderedDict
from types import SimpleNamespace

import gradio as gr
import pytest

from support import GRADIO
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, STOPPED
from tlab.ui.settings.controls import Controls
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import SEEDS, Study, experiment_of
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


def test_the_words_of_a_study_come_with_its_end_also_where_its_last_run_was_seen_before(studies, monkeypatch):
    panel = SeedsPanel(studies)
    with gr.Blocks() as blocks:
        run_id, verdict = gr.State(None), gr.State(None)
        panel.build()
        panel.connect(run_id, {verdict: lambda session, run: "the words"})
    del blocks
    monkeypatch.setattr("tlab.ui.tabs.train.panels.seeds.visit_of", lambda _: SimpleNamespace(session="s"))
    (study,) = (one for one in studies.by_session["s"].values() if one.kind == SEEDS)
    monkeypatch.setattr(Study, "end", property(lambda _: None), raising=False)
    updates = panel.on_look(None, -1, None)
    seen = updates[panel.ended]
    assert seen == len(study.outcomes) and verdict not in panel.on_look(None, seen, None)
    monkeypatch.setattr(Study, "end", property(lambda _: DONE), raising=False)
    assert panel.on_look(None, seen, None)[verdict] == "the words"

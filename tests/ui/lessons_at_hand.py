"""Lessons whose runs are short enough for tests, and a learner who has done what they ask for; import after Gradio."""

import time
from types import SimpleNamespace

import gradio as gr

from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.lessons.lesson import all_lessons
from tlab.ui.lessons.sitting import Sitting, read_progress
from tlab.ui.lessons.tasks import SeedsTask, TrainTask
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.study import known_trials
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.compare.tab import CompareTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.learn.tab import LearnTab
from tlab.ui.tabs.tab import Page, Services
from tlab.ui.tabs.train.tab import TrainTab

STEPS = 30  # of a run in a lesson, where it would be longer
REQUEST = SimpleNamespace(session_hash="page", headers={}, query_params={})
SESSION = "page page"


def make_short(monkeypatch) -> None:
    """Let the runs of all lessons be short."""
    for lesson in all_lessons().values():
        for step in lesson.steps:
            if isinstance(step.task, TrainTask):
                monkeypatch.setitem(step.task.settings, "steps", STEPS)
                monkeypatch.setitem(step.task.settings, "validation_every", STEPS)
                monkeypatch.delitem(step.task.__dict__, "job", raising=False)


def learn_tab(runs, inspector) -> LearnTab:
    """The tab with those that it leads to."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        services = Services(runs, inspector, InspectionCache(), gr.State(None))
        tabs = [kind(services) for kind in (TrainTab, AttentionTab, InsideTab, CompareTab, LearnTab)]
        tabs[-1].build_strip()
        with gr.Tabs() as bar:
            for tab in tabs:
                with gr.Tab(tab.title, id=tab.key) as handle:
                    tab.build(Page(blocks, bar, handle, tabs))
    return tabs[-1]


class Pupil:
    """A learner who is at one page, and does what a lesson asks for."""

    def __init__(self, tab: LearnTab) -> None:
        self.tab, self.about = tab, [None, None, None, None, []]

    def sitting(self, lesson, step, answers=None, kept=None) -> Sitting:
        sent = {"lesson": lesson, "step": step, "answers": answers or {}, "kept": kept or {}}
        return Sitting(read_progress(sent), self.tab.learner(REQUEST, self.about))

    def train(self, task: TrainTask):
        """The run that a task asks for; trained once."""
        runs = self.tab.runs
        known = [run for run in task.runs_of(self.tab.learner(REQUEST, self.about)) if not run.active]
        run = known[0] if known else runs.start(SESSION, task.job, "page")
        wait_for(lambda: not run.active)
        return run

    def do(self, sitting: Sitting) -> None:
        """The task of a step."""
        task, tab = sitting.step.task, self.tab
        if isinstance(task, TrainTask):
            run = self.train(task)
            if isinstance(task, SeedsTask):
                study = seeds_study(SESSION, run.job, known_trials(run))
                tab.train.studies.start(study, "page")
                wait_for(lambda: not study.active)


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def finished(pupil: Pupil, lesson: str) -> tuple[dict, dict]:
    """All predictions made and all tasks done: the answers and what is kept."""
    answers, kept = {}, {}
    for number, step in enumerate(all_lessons()[lesson].steps, 1):
        if step.kind == "predict":
            answers[str(number)] = [0]
        elif step.task is not None:
            pupil.do(pupil.sitting(lesson, number, answers, kept))
            sitting = pupil.sitting(lesson, number, answers, kept)
            assert sitting.is_done, (lesson, number)
            kept = sitting.kept
    return answers, kept

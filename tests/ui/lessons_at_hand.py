"""Lessons whose runs are short enough for tests, and a learner who has done what they ask for; import after Gradio."""

from types import SimpleNamespace

import gradio as gr

from support import wait_for
from tlab.false_winners.mistakes import MISTAKES
from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.inspection.selection import find_model
from tlab.ui.lessons.facts import HeadFacts
from tlab.ui.lessons.lesson import all_lessons
from tlab.ui.lessons.sitting import Sitting, read_open_lesson
from tlab.ui.lessons.tasks import GameTask, HeadTask, ProbeTask, SeedsTask, TrainTask, WithoutTask
from tlab.ui.runs.run import DONE
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.study import Ended, Study, known_trials
from tlab.ui.tabs.attention.tab import AttentionTab, Shown
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
        self.tab, self.about = tab, [None, {"serial": 1}, None, None, None, []]
        self.difference_of_b = 0.0  # nats per token, of the five seeds that it says to have trained

    def sitting(self, lesson, step, answers=None, kept=None) -> Sitting:
        sent = {"lesson": lesson, "step": step, "answers": answers or {}, "kept": kept or {}}
        return Sitting(read_open_lesson(sent), self.tab.learner(REQUEST, self.about))

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
                tab.train.studies.add([finished_study(run, self.difference_of_b)])
        elif isinstance(task, HeadTask):
            self.about[0] = self.fitting_head(task)
        elif isinstance(task, WithoutTask):
            self.about[2] = f"attention.{self.about[0].head[0]}.head.{self.about[0].head[1]}"
        elif isinstance(task, ProbeTask):
            self.about[3:5] = [task.probe, "the name is bound to the object"]
            for side in task.sides(tab.learner(REQUEST, self.about), sitting.kept[task.of]):
                tab.table(side, self.about[4], task.probe)
        elif isinstance(task, GameTask):
            self.about[5] = [(mistake, 3, "Neither") for mistake in list(MISTAKES)[: task.rounds]]

    def fitting_head(self, task: HeadTask) -> Shown:
        """The first head that is what a task looks for, as the Attention tab shows it."""
        model = find_model(self.tab.runs, task.model_id)
        heads, tokens = self.tab.heads(model, model.excerpt)
        found = next(one for one in heads if task.fits(HeadFacts(heads, one.layer, one.head, tokens)))
        shown = (model.side, model.checkpoint.step, len(model.steps))
        return Shown(model.key, shown, model.excerpt, (found.layer, found.head), (None, None), None)


def finished_study(run, difference: float) -> Study:
    """Five seeds of a comparison as if they were trained: the losses of B are higher by so much, and scatter a bit.

    No two comparisons have quite the same mean, as no two that are trained have.
    """
    study = seeds_study(SESSION, run.job, known_trials(run))
    own = 1e-5 * sum(map(ord, run.sides[1].label))
    for trial in study.trials:
        loss = 2.5 + 0.01 * (trial.seed % 3) + trial.side * (difference + own + 0.05 * (-1) ** trial.seed)
        study.outcomes[trial] = Ended(loss, None, run.sides[0].curve)
    study.end = DONE
    return study


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

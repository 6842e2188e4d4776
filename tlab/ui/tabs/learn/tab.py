"""The Learn tab: lessons step by step, and on all other tabs a strip that says what to do now and leads back."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import gradio as gr

from tlab.ui.inspection.selection import SelectedModel, clamp_int, serial_of
from tlab.ui.lessons.facts import HeadPortrait
from tlab.ui.lessons.learner import Learner
from tlab.ui.lessons.lesson import KINDS, all_lessons, lesson_files
from tlab.ui.lessons.sitting import OpenLesson, Sitting, read_open_lesson
from tlab.ui.lessons.tasks import GameTask, HeadTask, ProbeTask, TrainTask, WithoutTask
from tlab.ui.listening import LATEST, QUIET, only_latest
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.compare.tab import CompareTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.tab import Page, Tab, Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import scripted_html, selection_component
from tlab.ui.widgets.markup import macros

SECONDS_BETWEEN_CHECKS = 1.0  # at what is to be done, as long as it is not
MAX_NAME = 40  # characters of a lesson that there is not
NUMBER_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
SET_UP = "These are the settings of a lesson."

markup = macros("tabs/learn/view.html")


def is_clicked(selection: Any) -> bool:
    """Whether what is selected on a tab was chosen there, and is not what it opened with."""
    return serial_of(selection) > 0


def lessons_words() -> str:
    """How many there are."""
    count = len(lesson_files())
    return NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else str(count)


class LearnTab(Tab):
    """Builds the tab and holds its handlers. What a visitor has done so far comes from the browser with each question.

    Nothing of it is sent before a visitor opens the tab or a link to a lesson.
    """

    title, key = "Learn", "learn"

    def build_strip(self) -> None:
        """The strip, above all tabs, where it has to be for all of them; its clock; and the script of the lessons.

        A page has what lies in a tab only once that tab was opened, and the strip waits on each of them.
        """
        self.strip = scripted_html("tabs/learn/learn", "", "lesson-strip")
        self.clock = gr.Timer(SECONDS_BETWEEN_CHECKS, active=False)
        self.asked = selection_component("learn", {})
        self.wanted = selection_component("learn-go", {})

    def build(self, page: Page) -> None:
        """Lay it out, empty, and connect it to what the tabs further left show. The strip is built before."""
        self.page = gr.HTML("", elem_id="learn-page", apply_default_css=False)
        self.state = gr.State(None)  # what the page shows, as `Sitting.state` has it
        self.bar = page.bar
        self.train, self.attention = page.find(TrainTab), page.find(AttentionTab)
        self.inside, compare = page.find(InsideTab), page.find(CompareTab)
        self.game = compare.game
        about = [
            self.attention.shown, self.attention.selection, self.inside.part, self.inside.probe, self.inside.text,
            self.game.played,
        ]  # fmt: skip
        shown = [self.page, self.strip, self.clock, self.state, self.bar]
        gr.on(
            [self.asked.input, page.handle.select], only_latest(self.on_ask), [self.asked, *about], shown,
            queue=False, **LATEST,
        )  # fmt: skip
        self.clock.tick(self.on_tick, [self.asked, self.state, *about], shown, queue=False, **QUIET)
        there = [
            self.bar, self.model_id, *self.train.settings, self.attention.selection, self.attention.shown,
            self.inside.group, self.inside.probe, self.game.fold,
        ]  # fmt: skip
        self.wanted.input(self.on_go, [self.wanted, self.train.locked, *about], there, queue=False, **LATEST)

    # -------------------------------------------------------------------------------- what is known

    def learner(self, request: gr.Request, about: Collection[Any]) -> Learner:
        """Whoever asks; `about` are the values of what the other tabs show."""
        shown, selection, part, probe, text, rounds = about
        head = shown if is_clicked(selection) else None
        session = visit_of(request).session
        return Learner(
            session, self.runs, self.train.studies, self.heads, self.table, self.known_table, self.effect,
            head, part, probe, text, rounds or (),
        )  # fmt: skip

    def heads(self, of: SelectedModel, text: str) -> tuple[list[HeadPortrait], int]:
        look = self.cache.look(of.checkpoint, text)
        return look.reading.heads, len(look.tokens)

    def table(self, of: SelectedModel, text: str, probe: str) -> Any:
        return self.inside.result(of, text, probe, self.inside.default_options(probe)).rows

    def known_table(self, of: SelectedModel, text: str, probe: str) -> bool:
        return self.inside.known_result(of, text, probe, self.inside.default_options(probe)) is not None

    def effect(self, of: SelectedModel, text: str, part: str) -> Any:
        return self.inside.intervention(of, text, part, "mean", "")

    # -------------------------------------------------------------------------------- handlers

    def on_ask(self, sent: Any, *about: Any, request: gr.Request) -> Updates:
        """The step that is open, or the list of all lessons."""
        progress = read_open_lesson(sent)
        show = {self.bar: gr.update(selected=self.key)} if isinstance(sent, dict) and sent.get("show") else {}
        if progress is None:
            return {**show, **self.contents(sent)}
        return {**show, **self.shown(Sitting(progress, self.learner(request, about)))}

    def on_tick(self, sent: Any, state: Any, request: gr.Request, *about: Any) -> Updates:
        """While something is to be done: whether it is by now."""
        progress = read_open_lesson(sent)
        if progress is None:
            return {self.clock: gr.update(active=False)}
        sitting = Sitting(progress, self.learner(request, about))
        return {self.state: gr.skip()} if sitting.state == state else self.shown(sitting)

    def contents(self, sent: Any) -> Updates:
        """All lessons, with how far the browser says it has come."""
        sent = sent if isinstance(sent, dict) else {}
        asked, given = sent.get("lesson"), sent.get("reached")
        unknown = asked[:MAX_NAME] if isinstance(asked, str) else ""
        given = given if isinstance(given, dict) else {}
        lessons = all_lessons().items()
        reached = {name: clamp_int(given[name], 0, len(one.steps), 0) for name, one in lessons if name in given}
        return {
            self.page: markup.contents(list(all_lessons().values()), lessons_words(), reached, unknown),
            self.strip: "",
            self.clock: gr.update(active=False),
            self.state: None,
        }

    def shown(self, sitting: Sitting) -> Updates:
        """The page, the strip, and whether to look again soon."""
        waits = sitting.step.task is not None and not sitting.is_done and sitting.missing is None
        return {
            self.page: markup.step(sitting, KINDS),
            self.strip: markup.strip(sitting, json.dumps(sitting.kept)),
            self.clock: gr.update(active=waits),
            self.state: sitting.state,
        }

    def on_go(self, sent: Any, locked: Collection[str], request: gr.Request, *about: Any) -> Updates:
        """Put in place what the step's task needs, and open the tab on which it is done."""
        progress = read_open_lesson(sent)
        task = None if progress is None else progress.lesson.steps[progress.step - 1].task
        if progress is None or task is None:
            return {self.bar: gr.skip()}
        return {self.bar: gr.update(selected=task.tab), **self.placed(task, progress, locked, request, about)}

    def placed(
        self, task: Any, progress: OpenLesson, locked: Collection[str], request: gr.Request, about: Collection[Any]
    ) -> Updates:
        """What a task needs on the other tabs."""
        if isinstance(task, TrainTask):
            settings = {**task.settings, "corpus": task.corpus}
            return self.train.settings_updates(settings, task.switch, SET_UP, locked)
        if isinstance(task, HeadTask):
            layer, head = task.opening(self.learner(request, about))
            selection = {"side": 0, "layer": layer, "head": head, "serial": 0}
            return {
                self.model_id: task.model_id,
                self.attention.selection: selection,
                self.attention.shown: None,
            }
        if isinstance(task, ProbeTask):
            run = progress.kept.get(task.of, {}).get("run")
            return {**self.inside.chosen_probe(task.probe), self.model_id: run if isinstance(run, str) else gr.skip()}
        if isinstance(task, GameTask):
            return {self.game.fold: gr.update(open=True)}
        assert isinstance(task, WithoutTask)
        return {}

"""A class, above all tabs: the teacher at `?teach`, a student at `?class=CODE`. On other pages nothing of it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import gradio as gr

from tlab.ui.classroom.classroom import NO_CLASS, NO_KEY, Classroom, RoomState, Seat
from tlab.ui.classroom.code import ClassError
from tlab.ui.classroom.question import link_in, query_in, question_job
from tlab.ui.classroom.store import QuestionRow
from tlab.ui.listening import LATEST, QUIET
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.tabs.learn.class_view import (
    USUAL_ROOM,
    class_curves,
    markup,
    results_to,
    student_html,
    teacher_html,
    words_so_far_or_verdict,
)
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.link_bar import LinkBar
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.visit import visit_of
from tlab.ui.visitor_share import visitor_of
from tlab.ui.widgets.component import scripted_html, selection_component
from tlab.ui.widgets.line_chart import lines_chart

MAX_VERDICTS = 1000  # of earlier questions, which are kept in words
SECONDS_OF_TEACHER = 1.0  # of the teacher's page, which shows a result that came since
SECONDS_OF_STUDENT = 3.0  # of a student's page, of which there are many
WITH_YOUR_SEED = "These are the settings of your class, with a seed that is yours."
NO_OWN_TEXT = "A class needs a text that everybody has. Choose one of the list in place of your own."
OVER = "The class is over, and all of it is deleted."
TEACHER = "teach"
MARKS: dict[str, dict[str, bool]] = {
    "freeze": {"frozen": True},
    "thaw": {"frozen": False},
    "hide": {"hidden": True},
    "show": {"hidden": False},
}


class ClassPanel:
    """Builds the panel, and holds its handlers. All that a page says of itself is looked up or checked each time."""

    def __init__(self, train: TrainTab, link: LinkBar) -> None:
        self.train, self.link = train, link
        self.classroom = Classroom(train.runs, train.runs.archive.kept_in)
        # The page is renewed with each result, and what an earlier question was answered by no longer changes.
        self.final_verdict = functools.lru_cache(MAX_VERDICTS)(self.verdict)

    def build(self) -> None:
        """Lay it out, empty."""
        self.panel = scripted_html("classroom/classroom", "", "class-panel")
        # Not a toast: Gradio 6.31 shows none of a handler that is asked beside its queue.
        self.refusal = gr.HTML("", elem_id="class-refusal", apply_default_css=False)
        with gr.Column(visible=False, min_width=0, elem_id="class-curves") as self.curves:
            self.chart = lines_chart(class_curves(None), "class-chart")
        self.asked = selection_component("class", {})
        self.taught = selection_component("class-teach", {})
        self.wanted = selection_component("class-go", {})
        self.clock = gr.Timer(SECONDS_OF_TEACHER, active=False)
        self.state = gr.State(None)  # what the page shows

    def connect(self, bar: gr.Tabs) -> None:
        """Connect it to the settings of the Train tab, which are built after it."""
        self.bar = bar
        shown = [self.panel, self.refusal, self.curves, self.chart, self.clock, self.state]
        at_once: dict[str, Any] = {"queue": False, **QUIET}
        self.asked.input(self.on_ask, self.asked, shown, queue=False, **LATEST)
        self.clock.tick(self.on_tick, [self.asked, self.state], shown, **at_once)
        self.taught.input(self.on_teach, [self.taught, *self.train.controls.inputs], shown, **at_once)
        there = [*shown, bar, *self.train.settings, self.link.notice, self.train.locked]
        self.wanted.input(self.on_go, self.wanted, there, **at_once)

    # -------------------------------------------------------------------------------- handlers

    def on_ask(self, sent: Any, request: gr.Request) -> Updates:
        """The page of whoever asks, after what they have pressed."""
        if role_of(sent) != TEACHER:
            return self.student(sent, request)
        if not sent.get("code"):
            return self.closed(markup.opening(""))
        code, key, act = sent.get("code"), sent.get("key"), str(sent.get("act"))
        try:
            room = self.classroom.room(code, key, *who_asks(request))
            if act == "end":
                self.classroom.end(code, key)
                return self.closed(markup.opening(OVER))
            if act in MARKS:
                self.classroom.mark(code, key, **MARKS[act])
                room = self.classroom.room(code, key)
        except ClassError as error:
            return self.closed(markup.opening(str(error)))
        return self.teacher(room, sent)

    def on_tick(self, sent: Any, state: Any, request: gr.Request) -> Updates:
        """What has come since, if anything has."""
        if role_of(sent) != TEACHER:
            return self.student(sent, request, state)
        try:
            room = self.classroom.room(sent.get("code"), sent.get("key"), *who_asks(request))
        except ClassError as error:
            return self.closed(markup.opening(why_gone(error, state)))
        if room == state:
            return self.unchanged()
        return {**self.teacher(room, sent), self.refusal: gr.skip()}  # until the teacher does something

    def on_teach(self, sent: Any, request: gr.Request, *values: Any) -> Updates:
        """Open a class, or ask it the next question: with the settings of a link, or those of the Train tab."""
        given = sent if isinstance(sent, dict) else {}
        try:
            query = self.chosen_query(given.get("link"), values)
            if given.get("act") == "next":
                code, key = given.get("code"), given.get("key")
                self.classroom.ask(code, key, query)
                return self.teacher(self.classroom.room(code, key), given, is_new=True)
            code, key = self.classroom.open(query, *who_asks(request))
        except ValueError as error:
            return self.refused(error)
        return self.teacher(self.classroom.room(code, key), given, key)

    def on_go(self, sent: Any, request: gr.Request) -> Updates:
        """Take a prediction in, and put the settings of the class in place with the seed of whoever predicted."""
        given = sent if isinstance(sent, dict) else {}
        session, address = who_asks(request)
        try:
            if given.get("act") == "predict":
                seat = self.classroom.predict(given.get("code"), session, given.get("winner"), given.get("by"), address)
            else:
                seat = self.classroom.join(given.get("code"), session, address)
        except ClassError as error:
            return self.refused(error)
        if seat.answer is None:
            return self.seated(seat, session)
        link = link_in(seat.question.query)
        switch = next(iter(link.other.items()), None)
        updates: Updates = {
            **self.train.settings_updates({**link.settings, "seed": seat.seed}, switch, WITH_YOUR_SEED),
            **self.link.hiding_updates(link),
            **self.seated(seat, session),
        }
        if given.get("act") != "restore":  # the page was loaded again, on the tab that its address names
            updates[self.bar] = gr.update(selected=self.train.key)
        return updates

    # -------------------------------------------------------------------------------- what is shown

    def chosen_query(self, link: object, values: Collection[Any]) -> str:
        """The settings of a link, or without one those of the Train tab.

        Raises:
            ClassError: they cannot be asked.
            ValueError: a setting that is not allowed.
        """
        if link:
            return query_in(link)
        if OWN_TEXT in values:
            raise ClassError(NO_OWN_TEXT)
        return self.train.controls.query([*values])

    def verdict(self, question: QuestionRow) -> str:
        """What came of a question that takes no results any more."""
        answers = self.classroom.store.answers(question.code, question.number)
        return words_so_far_or_verdict(results_to(question, answers), question.frozen)

    def teacher(self, room: RoomState, sent: Any, key: str = "", is_new: bool = False) -> Updates:
        answers = self.classroom.store.answers(room.code)
        results = results_to(room.question, answers)
        verdicts = [self.final_verdict(question) for question in room.questions[:-1]]
        seconds = self.train.runs.seconds_of_room(question_job(room.question.query), USUAL_ROOM)
        chart = class_curves(None if room.question.hidden else results)
        return {
            self.refusal: "",
            self.panel: teacher_html(room, results, verdicts, answers, sent.get("where"), seconds, key, is_new),
            self.curves: gr.update(visible=bool(chart["lines"])),
            self.chart: chart,
            self.clock: gr.update(active=True, value=SECONDS_OF_TEACHER),
            self.state: room,
        }

    def student(self, sent: Any, request: gr.Request, state: Any = None) -> Updates:
        """The page of a student, or where the code is asked for; nothing new where it shows `state` already."""
        typed = sent.get("code") if isinstance(sent, dict) else None
        if not typed:
            return self.closed(markup.entry("", ""))
        session, address = who_asks(request)
        try:
            seat = self.classroom.join(typed, session, address)
        except ClassError as error:
            return self.closed(markup.entry(why_gone(error, state), str(typed)[:20]))
        updates = self.seated(seat, session)
        return self.unchanged() if updates[self.state] == state else updates

    def seated(self, seat: Seat, session: str) -> Updates:
        shown = student_html(seat, self.train.runs.history(session))
        clock = gr.update(active=True, value=SECONDS_OF_STUDENT)
        return {self.panel: shown, self.refusal: "", self.clock: clock, self.state: shown}

    def closed(self, html: str) -> Updates:
        """A page without a class: nothing to look for."""
        clock = gr.update(active=False)
        curves = gr.update(visible=False)
        return {self.panel: html, self.refusal: "", self.curves: curves, self.clock: clock, self.state: None}

    def refused(self, error: Exception) -> Updates:
        """The page as it is, with what is chosen and typed there, and why it cannot be done."""
        return {self.refusal: markup.refusal(str(error))}

    def unchanged(self) -> Updates:
        return {self.state: gr.skip()}


def why_gone(error: ClassError, state: Any) -> str:
    """Why a page is without a class, of which it shows `state` if it had one; what it asked meanwhile finds none."""
    had_one = state is not None and str(error) in (NO_CLASS, NO_KEY)
    return OVER if had_one else str(error)


def role_of(sent: Any) -> str:
    return str(sent.get("role")) if isinstance(sent, dict) else ""


def who_asks(request: gr.Request) -> tuple[str, str]:
    """Session and address, by which tries are counted."""
    visit = visit_of(request)
    starlette = getattr(request, "request", None)
    return visit.session, visitor_of(starlette.scope, visit.page).address if starlette is not None else ""

"""Five seeds of the comparison that is shown: the card under its verdict, the buttons, and the bands in its chart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.events import Dependency

from tlab.ui.demo.shipped_run import demo_run, shipped_preset
from tlab.ui.listening import QUIET
from tlab.ui.runs.manager import BusyError
from tlab.ui.runs.run import Run
from tlab.ui.studies.five_seeds import seeds_study, why_not
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import SEEDS, Study, known_trials
from tlab.ui.studies.view import bands_value, seeds_html, seeds_words
from tlab.ui.tabs.tab import Updates
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import error_toast
from tlab.wording import several

SECONDS_BETWEEN_CARDS = 0.7  # of a page at a study that trains


class SeedsPanel:
    """Builds the card and its buttons, and holds their handlers."""

    def __init__(self, studies: Studies) -> None:
        self.studies = studies

    def build(self) -> None:
        demo = demo_run()
        self.card = gr.HTML(seeds_html(demo.job, None, None), elem_id="seeds", apply_default_css=False)
        with gr.Row(elem_classes="tl-buttons"):
            self.button = gr.Button("Repeat with 5 seeds", elem_id="repeat-seeds")
            self.stop = gr.Button("Stop the repeats", elem_id="stop-seeds", visible=False)
        self.clock = gr.Timer(SECONDS_BETWEEN_CARDS, active=False)
        self.ended = gr.State(0)  # runs of the study that the pictures show, and one more once its words are there

    def connect(self, run_id: gr.State, pictures: dict[gr.HTML, Callable[[str, Run], Any]]) -> list[Dependency]:
        """`pictures` are what else shows the seeds of a run: component -> its value for a session.

        Returns:
            the events by which a study begins or is stopped.
        """
        self.pictures = pictures
        outputs = [self.card, self.button, self.stop, self.clock, self.ended, *pictures]
        begun = self.button.click(self.on_repeat, run_id, outputs, concurrency_limit=None, **QUIET)
        stopped = self.stop.click(self.on_stop, run_id, outputs, queue=False, **QUIET)
        self.clock.tick(self.on_look, [run_id, self.ended], outputs, queue=False, **QUIET)
        return [begun, stopped]

    @property
    def outputs(self) -> list[gr.Component | gr.Timer]:
        """What `shown` may change."""
        return [self.card, self.button, self.stop, self.clock]

    # -------------------------------------------------------------------------------- handlers

    def on_repeat(self, run_id: str | None, request: gr.Request) -> Updates:
        """Train what is missing of the five seeds."""
        session, run = visit_of(request).session, self.run_of(run_id)
        study = self.study_of(session, run) or seeds_study(session, run.job, known_trials(run))
        try:
            self.studies.start(study, visit_of(request).page)
        except (ValueError, BusyError) as error:
            raise error_toast(error) from None
        return self.shown(session, run)

    def on_stop(self, run_id: str | None, request: gr.Request) -> Updates:
        session, run = visit_of(request).session, self.run_of(run_id)
        study = self.study_of(session, run)
        if study is not None:
            self.studies.stop(study)
        return self.shown(session, run)

    def on_look(self, run_id: str | None, ended: int, request: gr.Request) -> Updates:
        """While a study trains: how far it is; and the other pictures, where another run has ended."""
        session, run = visit_of(request).session, self.run_of(run_id)
        study = self.study_of(session, run)
        is_over = study is not None and not study.active  # read first: what ends meanwhile is shown by the next tick
        updates = self.shown(session, run)
        now = len(study.outcomes) + is_over if study else 0
        if now == ended:
            return updates
        pictures = {picture: value_of(session, run) for picture, value_of in self.pictures.items()}
        return {**updates, self.ended: now, **pictures}

    # -------------------------------------------------------------------------------- what is shown

    def run_of(self, run_id: str | None) -> Run:
        """The run on the page: a visitor's own, or the shipped one."""
        return self.studies.runs.get(run_id) or demo_run(shipped_preset(run_id))

    def study_of(self, session: str, run: Run) -> Study | None:
        return self.studies.get(session, SEEDS, run.job)

    def bands(self, session: str, run: Run) -> list[dict[str, Any]]:
        """For the chart of a run."""
        return bands_value(self.study_of(session, run))

    def words(self, session: str, run: Run) -> str:
        """What five seeds of a run's comparison tell; nothing before all are there."""
        return seeds_words(self.study_of(session, run))

    def shown(self, session: str, run: Run) -> Updates:
        """The card of a run's comparison, and which buttons it has."""
        study = self.study_of(session, run)
        # Read once, before all else: a study that ends meanwhile keeps the clock, whose next tick shows its end.
        active = study is not None and study.active
        possible = not why_not(run.job)
        missing = None if study is None else len(study.trials) - len(study.outcomes)
        open_ = possible and (study is None or (not active and bool(missing)))
        seconds = self.studies.expected_seconds(seeds_study(session, run.job, {})) if open_ and study is None else None
        words = "Repeat with 5 seeds" if study is None else f"Train the other {several(missing or 0, 'run')}"
        return {
            self.card: seeds_html(run.job, study, seconds),
            self.button: gr.update(value=words, visible=open_, interactive=not run.active),
            self.stop: gr.update(visible=active),
            self.clock: gr.update(active=active),
        }

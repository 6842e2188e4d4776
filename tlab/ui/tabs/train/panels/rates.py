"""Both sides at several learning rates: the button beside Start, the card, and the chart of loss against rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tlab.ui.listening import QUIET
from tlab.ui.runs.manager import BusyError
from tlab.ui.runs.run import DONE, Run
from tlab.ui.settings.controls import Controls
from tlab.ui.studies.rates_view import rates_html, rates_value
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import RATES, Study
from tlab.ui.studies.tuning import missing_rates, short_job, tuning_study, widen
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.panels.seeds import SECONDS_BETWEEN_CARDS
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import error_toast, js_component
from tlab.wording import listed, several


class RatesPanel:
    """Builds the button, and the panel that it opens, and holds their handlers."""

    def __init__(self, studies: Studies, controls: Controls) -> None:
        self.studies, self.controls = studies, controls

    def build_button(self) -> None:
        self.button = gr.Button("Tune both sides", elem_id="tune")

    def build(self) -> None:
        """What is shown once the button was pressed."""
        with gr.Column(visible=False, elem_id="tuning") as self.panel:
            self.card = gr.HTML("", elem_id="tuning-card", apply_default_css=False)
            self.chart = js_component("studies/rates_chart", rates_value(None), "rates-chart", "axes")
            with gr.Row(elem_classes="tl-buttons"):
                self.stop = gr.Button("Stop tuning", elem_id="stop-tuning")
                self.more = gr.Button("Train the others", elem_id="go-on-tuning", visible=False)
                self.close = gr.Button("Close", elem_id="close-tuning", visible=False)
        self.clock = gr.Timer(SECONDS_BETWEEN_CARDS, active=False)
        self.is_other = gr.State(False)  # whether the controls have other settings than those of the study

    @property
    def outputs(self) -> list[Block]:
        """What `shown` may change."""
        return [self.panel, self.card, self.chart, self.stop, self.more, self.close, self.clock]

    def connect(self) -> list[Dependency]:
        """-> the events by which a study begins or is stopped."""
        outputs = self.outputs
        settings = self.controls.inputs  # a text of any length among them, so nothing asks for them often
        # In the queue, as Start: what the controls refuse is refused before anything trains, and only there in a toast.
        begun = self.button.click(self.on_tune, settings, [*outputs, self.is_other], concurrency_limit=None, **QUIET)
        more = self.more.click(self.on_more, self.is_other, outputs, concurrency_limit=None, **QUIET)
        stopped = self.stop.click(self.on_stop, self.is_other, outputs, queue=False, **QUIET)
        self.clock.tick(self.on_look, self.is_other, outputs, queue=False, **QUIET)
        self.close.click(lambda: gr.update(visible=False), None, self.panel, queue=False, **QUIET)
        return [begun, more, stopped]

    # -------------------------------------------------------------------------------- handlers

    def on_tune(self, request: gr.Request, *values: Any) -> Updates:
        """Train both sides of these settings at several rates; what is known of them already is kept."""
        session, page = visit_of(request)
        try:
            asked = tuning_study(session, self.controls.job(values))
            study = self.studies.get(session, RATES, asked.job) or asked
            if (study.missing and not study.active) or study is asked:
                self.studies.start(study, page)
        except (ValueError, BusyError) as error:
            raise error_toast(error) from None
        self.studies.put_first(study)
        return {**self.shown(session, False), self.is_other: False}

    def on_more(self, is_other: bool, request: gr.Request) -> Updates:
        """Go on with what was stopped; or, where all is there, with rates beyond the edge."""
        session, page = visit_of(request)
        study = self.studies.latest(session, RATES)
        if study is not None:
            try:
                widen(study)
                self.studies.start(study, page)
            except (ValueError, BusyError) as error:
                raise error_toast(error) from None
        return self.shown(session, is_other)

    def on_stop(self, is_other: bool, request: gr.Request) -> Updates:
        session = visit_of(request).session
        study = self.studies.latest(session, RATES)
        if study is not None:
            self.studies.stop(study)
        return self.shown(session, is_other)

    def on_look(self, is_other: bool, request: gr.Request) -> Updates:
        """While a study trains: how far it is, and what it knows."""
        return self.shown(visit_of(request).session, is_other)

    # -------------------------------------------------------------------------------- what is shown

    def shown_with(self, session: str, run: Run) -> Updates:
        """The study of a run that comes onto the page, if there is one and no other trains."""
        study = self.studies.get(session, RATES, short_job(run.job))
        if study is None or not study.outcomes or self.studies.active(session) not in (None, study):
            return {}
        self.studies.put_first(study)
        return self.shown(session, False)

    def shown(self, session: str, is_other: bool) -> Updates:
        """The study that was asked for last, in a panel that is open."""
        study = self.studies.latest(session, RATES)
        if study is None:
            return {self.panel: gr.update(visible=False), self.clock: gr.update(active=False)}
        active = study.active  # read once, before all else, as in the panel of the seeds
        rates = missing_rates(study)
        left = len(study.trials) - len(study.outcomes)
        beyond = listed([f"{rate:g}" for rate in rates])
        words = f"Train the other {several(left, 'run')}" if study.state != DONE else f"Also try {beyond}"
        return {
            self.panel: gr.update(visible=True),
            self.card: rates_html(study, is_other),
            self.chart: rates_value(study),
            self.stop: gr.update(visible=active),
            self.more: gr.update(visible=not active and bool(left or rates), value=words),
            self.close: gr.update(visible=not active),
            self.clock: gr.update(active=active),
        }

    def marked(self, session: str, values: Sequence[Any]) -> Updates:
        """The card as the settings are now: marked where they are others than those of its runs."""
        study = self.studies.latest(session, RATES)
        if study is None:
            return {self.card: gr.skip()}
        is_other = self.differs(study, values)
        return {self.is_other: is_other, self.card: rates_html(study, is_other)}

    def differs(self, study: Study, values: Sequence[Any]) -> bool:
        """Whether these settings are not those of a study."""
        try:
            return tuning_study("", self.controls.job(values)).job != study.job
        except ValueError:
            return True

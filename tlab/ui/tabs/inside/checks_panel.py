"""The lower half of the Inside tab: is it right, what would a classic mistake do, where does the time go?"""

from __future__ import annotations

import asyncio
import dataclasses
import html
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from tlab.inside.bugs import BUGS
from tlab.ui.inspection import tasks
from tlab.ui.inspection.process import Inspector
from tlab.ui.inspection.selection import SelectedModel, selected_model
from tlab.ui.listening import QUIET
from tlab.ui.runs.manager import BusyError, Runs
from tlab.ui.runs.messages import Job, SidePlan
from tlab.ui.tabs.inside.view import checks_html, profile_html, refused_html
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.visit import visit_of
from tlab.ui.widgets.component import FORMULAS, error_toast, note_html

NO_BUG = ":none"  # no key of a registry
MAX_BUG_STEPS = 400  # most bugs show within two hundred

CHECK_HEAD = """<div class="tl-in-head"><h3>Is it right?</h3><p>Each gradient of this configuration against finite
differences, and what each part promises: no token sees a later one, one token at a time gives the same as all at once.
In float64, with random weights. Plant a classic mistake, and see which check catches it, and whether the loss would
have told you.</p></div>"""
PROFILE_HEAD = """<div class="tl-in-head"><h3>Where does the time go?</h3><p>Some steps of training with these settings,
part by part, forward and backward, on one core: the longer the bar, the more of the step is spent there. The share of
the peak tells how near its matrix products come to what the core can do.</p></div>"""
PRESS = note_html("Press the button: it takes a few seconds.")


class ChecksPanel:
    """Builds the panels and holds their handlers."""

    def __init__(self, runs: Runs, train: TrainTab, inspector: Inspector) -> None:
        self.runs = runs
        self.inspector = inspector
        self.train = train

    def build(self, run_id: gr.State, selection: gr.HTML, bar: gr.Tabs) -> None:
        self.bar = bar
        gr.HTML(CHECK_HEAD, apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                bugs = [("No bug", NO_BUG), *((entry.label.capitalize(), key) for key, entry in BUGS.entries.items())]
                bug = gr.Dropdown(bugs, value=NO_BUG, label="Bug to plant", elem_id="lab-bug", interactive=True)
                self.words = gr.Markdown(bug_words(NO_BUG), latex_delimiters=FORMULAS, elem_id="lab-bug-words")
                check = gr.Button("Check this configuration", variant="primary", elem_id="lab-check")
                self.train_bug = gr.Button("Train with the bug as B", interactive=False, elem_id="lab-train")
            with gr.Column(scale=8, min_width=320):
                self.checks = gr.HTML(PRESS, elem_id="lab-checks", apply_default_css=False)
        gr.HTML(PROFILE_HEAD, apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                profile = gr.Button("Profile a step", variant="primary", elem_id="lab-profile")
            with gr.Column(scale=8, min_width=320):
                made = gr.HTML(PRESS, elem_id="lab-profiled", apply_default_css=False)
        bug.change(self.on_bug, bug, [self.words, self.train_bug, self.checks], queue=False, **QUIET)
        check.click(self.on_check, [run_id, selection, bug], self.checks, **QUIET)
        profile.click(self.on_profile, [run_id, selection], made, **QUIET)
        self.train_bug.click(
            self.on_train, [run_id, selection, bug], [bar, *self.train.outputs], concurrency_limit=None, **QUIET
        )

    def on_bug(self, bug: str | None) -> Updates:
        """Its words, and no longer the checks of the bug before."""
        can_train = gr.update(interactive=bug in BUGS)
        return {self.words: bug_words(bug), self.train_bug: can_train, self.checks: PRESS}

    def on_check(self, run_id: str | None, selection: Any, bug: str | None) -> str:
        """The table of checks, of the configuration of the chosen model; or why there is none."""
        of = selected_model(self.runs, run_id, selection)
        config = of.checkpoint.model_config
        bug = bug if bug in BUGS else None
        try:
            checks = self.inspector.call(tasks.check_rows, config, bug)
        except ValueError as error:
            return refused_html(str(error))
        return checks_html(checks, BUGS.entries[bug].label if bug else None) + whose_html(of)

    def on_profile(self, run_id: str | None, selection: Any) -> str:
        """Where the time of a step of the chosen run goes; or why that is not known."""
        of = selected_model(self.runs, run_id, selection)
        training = of.plan.training
        try:
            return profile_html(self.inspector.call(tasks.profile_step, of.request(""), training)) + whose_html(of)
        except ValueError as error:
            return refused_html(str(error))

    async def on_train(
        self, run_id: str | None, selection: Any, bug: str | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Begin a run of the chosen settings against the same with the bug, and show it on the Train tab."""
        of, visit = selected_model(self.runs, run_id, selection), visit_of(request)
        try:
            job = await asyncio.to_thread(bug_job, of, bug or NO_BUG)
            run = await asyncio.to_thread(self.runs.start, visit.session, job, visit.page)
        except (ValueError, BusyError) as error:
            raise error_toast(error) from None
        opened: Updates = {self.bar: gr.update(selected=self.train.key)}
        async for frame in self.train.follow(run, visit.page):
            yield {**opened, **frame}
            opened = {}


def whose_html(of: SelectedModel) -> str:
    """Whose settings a result is of, which stays where another model is chosen."""
    side = f"{of.side_words} of " if of.side_words else ""
    return note_html(f"With the settings of {side}{of.whose}.")


def bug_words(bug: str | None) -> str:
    """The mistake in a formula and a few sentences, as Markdown."""
    if bug is None or bug not in BUGS:
        return "Choose a mistake to plant, or check the model as it is."
    entry = BUGS.entries[bug]
    words = " ".join((entry.component.__doc__ or "").split()).replace("$", r"\$")
    return f"$\\displaystyle {entry.formula}$\n\n{words}\n\n*{html.escape(entry.source)}*"


def bug_job(of: SelectedModel, bug: str) -> Job:
    """The settings of a model as A, and the same with a bug as B, in turns on the same batches.

    Raises:
        ValueError: no such bug, or it cannot be in this model.
    """
    if of.opened is not None:
        raise ValueError("An opened model is not trained here. Choose a run, or a shipped one.")
    BUGS[bug]  # an unknown one is refused with the names of all
    plan = of.plan
    reason = BUGS[bug]().why_not(plan.model)
    if reason:
        raise ValueError(f"“{BUGS.entries[bug].label}” cannot be planted: {reason}. Choose another, or another model.")
    steps = min(plan.training.steps, MAX_BUG_STEPS)
    training = dataclasses.replace(plan.training, steps=steps, validation_every=max(1, steps // 4))
    right = SidePlan("As it should be", plan.model, training)
    wrong = SidePlan(f"Bug: {BUGS.entries[bug].label}", plan.model, training, bug=bug)
    job = of.job
    return Job(job.corpus, job.text, job.tokenizer, (right, wrong))

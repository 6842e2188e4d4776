"""A page that is loaded again, or whose connection broke: it shows its run, follows it, or says that it is gone."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator

import gradio as gr

from tlab.ui.listening import LATEST, QUIET
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import PAUSED, Run
from tlab.ui.settings.fields import START_FROM
from tlab.ui.settings.links import RESULT, Link, defaults, read_query
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, Preset
from tlab.ui.settings.side_b import fields_of
from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.tab import TrainTab, shipped_twin
from tlab.ui.tabs.train.view import state_html
from tlab.ui.visit import Visit, visit_of
from tlab.wording import listed

AGAIN = "Your settings are as they were: Start trains the same run once more."
LOST = (
    "The server no longer has this run: this page was away for too long, or the server was started again. The \
pictures here are the last that came. "
    + AGAIN
)
NO_RESULT = "The server no longer has the result of this link, and shows the run that it came with. The settings are \
those of the link: Start trains the same run."
NOT_FOUND = "The server no longer has the run that was here, and shows the one that it came with. " + AGAIN
# A tab of a browser remembers which run it shows for as long as the tab is there, also while it is loaded again. Until
# the server has answered what it shows it is not asked: a page that is loaded twice in a row still knows its run.
REMEMBERED = """() => {
  try { return [sessionStorage.getItem("tlab-run") ?? ""]; } catch { return [""]; }
}"""
REMEMBER = """() => {
  const shown = () => document.querySelector("#run-state [data-run]")?.dataset.run ?? "";
  const remember = () => { try { sessionStorage.setItem("tlab-run", shown()); } catch {} };
  addEventListener("pagehide", remember);
  document.addEventListener("visibilitychange", remember);
}"""
# What the page shows, and what it asks when it may have missed something. A question opens a broken connection again.
SHOWN = """() => {
  const shown = document.querySelector("#run-state [data-run]");
  return [shown?.dataset.run ?? "", shown?.querySelector(".tl-badge").textContent ?? ""];
}"""
ASK = """() => {
  const ask = () => {
    if (document.querySelector("#run-state [data-run]")?.dataset.run) document.querySelector("#reconnect")?.click();
  };
  addEventListener("beforeunload", event => {
    if (document.querySelector("#run-state [data-unkept]")) event.preventDefault();
  });
  ask();
  let minutes = 0;
  setInterval(() => {
    const goes = document.querySelector("#run-state .tl-badge:is(.running, .waiting, .starting)");
    if (goes || ++minutes % 6 === 0) ask();
  }, 20000);
  addEventListener("online", ask);
  addEventListener("focus", ask);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}"""


class Reconnect:
    """Builds the hidden button that a page presses by itself, and holds its handlers."""

    def __init__(self, train: TrainTab) -> None:
        self.train = train

    def build(self) -> None:
        self.shown_run, self.shown_state = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        self.button = gr.Button(visible="hidden", elem_id="reconnect")
        self.damaged = gr.Textbox(visible="hidden")  # what cannot be read any more, in words

    def connect(self, demo: gr.Blocks) -> None:
        shown = [self.shown_run, self.shown_state]
        outputs = [*self.train.outputs, self.damaged]
        self.button.click(self.on_reconnect, shown, outputs, js=SHOWN, concurrency_limit=None, **QUIET)
        # Not by the queue, as every visitor comes this way; a run that still trains is then followed by the button.
        arrived = demo.load(self.on_arrive, self.shown_run, outputs, js=REMEMBERED, queue=False, **QUIET)
        arrived.success(None, js=REMEMBER, **QUIET)
        arrived.then(*self.train.tell_settings, queue=False, **LATEST)  # whether its settings are those of the page
        arrived.then(None, js=ASK, **QUIET)
        self.damaged.change(self.on_damaged, self.damaged, **QUIET)  # by the queue: without it Gradio shows no toast

    def on_arrive(self, remembered: str | None, request: gr.Request) -> Updates:
        """The run of the link, the one that this tab showed before, or one that trains and that no page shows.

        Without any, the shipped run of the preset whose settings the address has.
        """
        visit = visit_of(request)
        linked = str(dict(request.query_params).get(RESULT) or "")
        asked = linked or remembered
        run, damaged = self.recalled(visit, asked)
        if not asked:
            run = abandoned_run(self.train.runs, visit)
        if run is not None:
            return {**self.train.show(visit, run), **damaged}
        preset = linked_preset(read_query(dict(request.query_params)))
        shown = self.train.show(visit, None, preset) if preset is not DEMO_PRESET else {}
        lost = {self.train.state: state_html("lost", NO_RESULT if linked else NOT_FOUND)} if asked else {}
        return {**shown, **lost, **damaged} or {self.train.state: gr.skip()}

    def recalled(self, visit: Visit, run_id: str | None) -> tuple[Run | None, Updates]:
        """The run with this id, once all that the disk has of this browser is in memory; and what to say of damage."""
        runs = self.train.runs
        damaged = runs.archive.recall(visit.session)
        self.train.studies.add(runs.archive.recall_studies(visit.session))
        if run_id:
            runs.archive.recall_linked(run_id)
        names, are = listed([f"“{name}”" for name in damaged]), "is" if len(damaged) == 1 else "are"
        words = f"On the disk, {names} cannot be read any more, and {are} left out."
        return runs.get_visible(visit.session, run_id), {self.damaged: words} if damaged else {}

    def on_damaged(self, words: str | None) -> None:
        """Tell of it on the page."""
        if words:
            gr.Warning(html.escape(words))

    async def on_reconnect(
        self, shown_run: str | None, shown_state: str | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Nothing where the page shows what is; else the run as it goes on, or that it is gone."""
        runs, visit = self.train.runs, visit_of(request)
        run = runs.get_visible(visit.session, shown_run)
        if run is None and shown_run:  # the server may have been started again
            run, damaged = await asyncio.to_thread(self.recalled, visit, shown_run)
            lost = {self.train.state: state_html("lost", LOST, shown_run), self.train.run_id: None}
            yield {**(self.train.show(visit, run) if run else {**lost, **self.train.buttons(None)}), **damaged}
        elif run is None or runs.shown(visit.page) is not run or visit.page in run.followers:
            yield self.train.unchanged
        elif run.state == PAUSED and run.awaits_page:
            async for frame in self.train.go_on(run, visit.page):
                yield frame
        elif run.state == shown_state and not run.active:
            yield self.train.unchanged
        else:
            async for frame in self.train.follow(run, visit.page):
                yield frame


def linked_preset(link: Link) -> Preset:
    """The preset whose settings a link has; that of the page's opening where none has."""
    if link.problems or not link.settings or START_FROM in {*link.settings, *link.other}:
        return DEMO_PRESET
    given = {**defaults(), **link.settings}
    try:
        plans = make_plans(fields_of(given), next(iter(link.other.items()), None))
    except ValueError:  # each setting is allowed, and not all of them together: said beside Start
        return DEMO_PRESET
    return shipped_twin(Job(given["corpus"], None, given["tokenizer"], plans))


def abandoned_run(runs: Runs, visit: Visit) -> Run | None:
    """A run of this browser that trains, or waits for a page to go on, and that none of its pages shows."""
    going = (run for run in runs.history(visit.session) if run.active or (run.state == PAUSED and run.awaits_page))
    return next((run for run in going if not run.followers), None)

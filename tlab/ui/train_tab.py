"""The Train tab: settings on one side; on the other what comes of them, as it happens."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from tlab.ui.controls import Controls
from tlab.ui.demo import demo_run
from tlab.ui.parts import chart_value, loss_chart, run_words, sample_html, state_html, tiles_html
from tlab.ui.run import ACTIVE, FAILED, PAUSED, RUNNING, WAITING, Run
from tlab.ui.runs import BusyError, Runs

SECONDS_BETWEEN_FRAMES = 0.16  # six a second: smooth to the eye, and sixteen visitors are no load
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def refusal(error: Exception) -> gr.Error:
    """A toast with these words. Gradio shows its text as HTML, and texts of visitors may be in it."""
    return gr.Error(html.escape(str(error)), title="This cannot be done", print_exception=False)


class TrainTab:
    """Builds the tab and holds its handlers. `run_id` is all that a session's state has."""

    def __init__(self, runs: Runs, run_id: gr.State) -> None:
        self.runs = runs
        self.run_id = run_id
        self.controls = Controls()

    def build(self) -> None:
        """Lay it out, and connect the buttons."""
        demo = demo_run()
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                self.controls.build()
            with gr.Column(scale=7, min_width=320, elem_classes="tl-side"):
                with gr.Row(elem_classes="tl-buttons"):
                    self.start = gr.Button("Start", variant="primary", elem_id="start")
                    self.pause = gr.Button("Pause", interactive=False, elem_id="pause")
                    self.stop = gr.Button("Stop", interactive=False, elem_id="stop")
                    self.reset = gr.Button("Reset", interactive=False, elem_id="reset")
                self.state = gr.HTML(demo_state(demo), elem_id="run-state", apply_default_css=False)
                self.chart = loss_chart(chart_value(demo))
                self.tiles = gr.HTML(tiles_html(demo), elem_id="run-numbers", apply_default_css=False)
                self.sample = gr.HTML(sample_html(demo), elem_id="run-sample", apply_default_css=False)
        buttons = [self.start, self.pause, self.stop, self.reset]
        outputs = [self.run_id, self.state, self.chart, self.tiles, self.sample, *buttons]
        # No limit of Gradio's: a handler only waits for its run, and the runs have a queue of their own.
        self.start.click(self.on_start, self.controls.components, outputs, concurrency_limit=None, **QUIET)
        # "multiple": while the page follows a resumed run, the same button has to pause it again.
        self.pause.click(
            self.on_pause, self.run_id, outputs, concurrency_limit=None, trigger_mode="multiple", **QUIET
        )  # fmt: skip
        self.stop.click(self.on_stop, self.run_id, None, concurrency_limit=None, trigger_mode="multiple", **QUIET)
        self.reset.click(self.on_reset, self.run_id, outputs, concurrency_limit=None, **QUIET)

    async def on_start(self, request: gr.Request, *values: Any) -> AsyncIterator[list[Any]]:
        """Begin a new run with these settings, and show it until it ends."""
        try:
            run = self.runs.start(request.session_hash or "", self.controls.job(values))
        except (ValueError, BusyError) as error:
            raise refusal(error) from None
        async for frame in self.follow(run):
            yield frame

    async def on_pause(self, run_id: str | None) -> AsyncIterator[list[Any]]:
        """Pause a run that runs, go on with one that pauses."""
        run = self.runs.get(run_id)
        if run is None:
            return
        if run.active:
            self.runs.pause(run)
            return
        try:
            self.runs.resume(run)
        except (ValueError, BusyError) as error:
            raise refusal(error) from None
        async for frame in self.follow(run):
            yield frame

    def on_stop(self, run_id: str | None) -> None:
        """End the run; what it has learned is kept. The handler that follows it shows the end."""
        run = self.runs.get(run_id)
        if run is not None:
            self.runs.stop(run)

    def on_reset(self, run_id: str | None) -> list[Any]:
        """Forget the run and show the shipped one again; the settings stay, so Start gives the same curve again."""
        run = self.runs.get(run_id)
        if run is not None:
            self.runs.stop(run)
            self.runs.show(run.session, None)
        return shipped_frame()

    async def follow(self, run: Run) -> AsyncIterator[list[Any]]:
        """A frame of everything, several times a second, until the run ends or pauses."""
        shown_state, shown_sample = None, None
        while True:
            over = not run.active  # asked before the picture is made, so that the last picture shows the end
            if self.runs.shown(run.session) is not run:
                # Forgotten. When a generator ends, Gradio sends its last frame once more: that must be what the page
                # shows by now, or the end of the old run would cover it.
                begun_anew = self.runs.shown(run.session) is not None
                yield [gr.skip()] * len(shipped_frame()) if begun_anew else shipped_frame()
                return
            changed = run.state != shown_state
            sample = sample_html(run) if changed or run.sides[0].sample is not shown_sample else gr.skip()
            shown_state, shown_sample = run.state, run.sides[0].sample
            chart, tiles, _ = pictures(run)
            words = state_html(run, run.state, run_words(run, self.runs.place(run), (run.id, 0) in self.runs.store))
            yield [run.id, words, chart, tiles, sample, *(buttons_for(run) if changed else [gr.skip()] * 4)]
            if over:
                break
            await asyncio.sleep(SECONDS_BETWEEN_FRAMES)
        if run.state == FAILED:
            raise refusal(RuntimeError(run.error))


def pictures(run: Run) -> list[Any]:
    """Chart, numbers and sample of a run."""
    return [chart_value(run), tiles_html(run), sample_html(run)]


def shipped_frame() -> list[Any]:
    """All outputs of a page without a run: the shipped one, and no run id."""
    demo = demo_run()
    return [None, demo_state(demo), *pictures(demo), *buttons_for(None)]


def demo_state(demo: Run) -> str:
    """What to say of the shipped run. After a reset the settings may be any, so it never says "these"."""
    words = f"A finished run with the default settings, on “{demo.job.corpus}”. Change some, and press Start."
    return state_html(demo, "shipped", words)


def buttons_for(run: Run | None) -> list[Any]:
    """Which of Start, Pause, Stop and Reset can be pressed, and what Pause says."""
    state = run.state if run else None
    busy, running = state in ACTIVE, state in (RUNNING, WAITING)
    return [
        gr.update(interactive=not busy, value="Start anew" if state == PAUSED else "Start"),
        gr.update(interactive=running or state == PAUSED, value="Resume" if state == PAUSED else "Pause"),
        gr.update(interactive=busy or state == PAUSED),
        gr.update(interactive=run is not None),
    ]

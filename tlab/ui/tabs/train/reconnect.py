"""A page whose connection broke: it asks what has become of its run, follows it again, or says that it is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import gradio as gr

from tlab.ui.tabs.tab import Updates
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.tabs.train.view import state_html
from tlab.ui.widgets.component import QUIET

LOST = "The server no longer has this run: this page was away for too long, or the server was started again. The \
pictures here are the last that came. Your settings are as they were: Start trains the same run once more."
# What the page shows, and what it asks when it may have missed something. A question opens a broken connection again.
SHOWN = """() => {
  const shown = document.querySelector("#run-state [data-run]");
  return [shown?.dataset.run ?? "", shown?.querySelector(".tl-badge").textContent ?? ""];
}"""
ASK = """() => {
  const ask = () => {
    if (document.querySelector("#run-state [data-run]")?.dataset.run) document.querySelector("#reconnect")?.click();
  };
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
    """Builds the hidden button that a page presses by itself, and holds its handler."""

    def __init__(self, train: TrainTab) -> None:
        self.train = train

    def build(self) -> None:
        self.shown_run, self.shown_state = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        self.button = gr.Button(visible="hidden", elem_id="reconnect")

    def connect(self, demo: gr.Blocks) -> None:
        shown = [self.shown_run, self.shown_state]
        self.button.click(
            self.on_reconnect, shown, self.train.outputs, js=SHOWN, concurrency_limit=None, **QUIET
        )  # fmt: skip
        demo.load(None, js=ASK, **QUIET)

    async def on_reconnect(
        self, shown_run: str | None, shown_state: str | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Nothing where the page shows what is; else the run as it goes on, or that it is gone."""
        runs, session = self.train.runs, request.session_hash or ""
        run = runs.get_owned(session, shown_run)
        if run is None and shown_run:
            yield {self.train.state: state_html("lost", LOST), self.train.run_id: None, **self.train.buttons(None)}
        elif run is None or runs.shown(session) is not run or run.followers or run.state == shown_state:
            yield self.train.unchanged
        else:
            async for frame in self.train.follow(run):
                yield frame

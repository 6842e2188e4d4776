"""Which model the Inside tab looks at, and what of it the inspector has to know."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import demo_checkpoint, demo_run, demo_steps
from tlab.ui.inspection.tasks import InspectionRequest
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job, SidePlan
from tlab.ui.runs.run import Run

MAX_NUMBER = 1_000_000_000  # of any number that a page may send


def selected_model(runs: Runs, run_id: str | None, selection: Any) -> SelectedModel:
    """The model that a selection names, of the visitor's run or the shipped one."""
    selection = selection if isinstance(selection, dict) else {}
    step = selection.get("step")
    step = None if step is None else clamp_int(step, 0, MAX_NUMBER, 0)
    return find_model(runs, run_id, clamp_int(selection.get("side"), 0, 1, 0), step)


def serial_of(selection: Any) -> int:
    """The number of a selection, which its answer carries."""
    return clamp_int(selection.get("serial"), 0, MAX_NUMBER, 0) if isinstance(selection, dict) else 0


def every_step(runs: Runs, run_id: str | None, of: SelectedModel) -> list[SelectedModel]:
    """The same side at each step that is kept."""
    return [find_model(runs, run_id, of.side, step) for step in of.steps]


def job_of(of: SelectedModel) -> Job:
    """What was asked for when it was trained."""
    return (of.run or demo_run()).job


def plan_of(of: SelectedModel) -> SidePlan:
    """The settings of its side."""
    return job_of(of).plans[of.side]


def inspection_request(of: SelectedModel, text: str) -> InspectionRequest:
    """A subject as the inspector takes it, without what no probe reads."""
    job = job_of(of)
    checkpoint = dataclasses.replace(of.checkpoint, optimizer_state={}, records=[])
    return InspectionRequest(checkpoint, text, job.corpus, job.text, job.tokenizer)


def step_slider_value(of: SelectedModel, serial: int) -> dict[str, Any]:
    """What the slider over the training shows."""
    return {"steps": of.steps, "step": of.checkpoint.step, "labels": of.labels, "side": of.side, "serial": serial}


def selection_note(of: SelectedModel, text: str) -> str:
    """Whose model it is, and how much it reads; and, where it was trained with a mistake, how it is looked at."""
    most = of.checkpoint.model_config.context_length
    try:
        given = len(of.checkpoint.tokenizer.encode(text))
    except ValueError:  # said in place of the table
        given = 0
    read = f" It reads the first {most} of the {given:,} tokens." if given > most else ""
    return of.words + read + (" It was trained with the bug, and is looked at without it." if plan_of(of).bug else "")


def latest_checkpoint(
    runs: Runs, run_id: str | None, side: int = 0, step: int | None = None
) -> tuple[Checkpoint, Run | None]:
    """The model to look into: that of the visitor's run, or the shipped one (and None) while there is none.

    Args:
        runs: all of them.
        run_id: of the page's state.
        side: 0 for A, 1 for B; of a run with one side, always that.
        step: the nearest one that is kept; by default the latest.
    """
    run = runs.get(run_id)
    side = min(side, len(run.sides) - 1) if run else side
    checkpoint = runs.store.get((run.id, side), step) if run else None
    return (demo_checkpoint(side, step), None) if checkpoint is None else (checkpoint, run)


def checkpoint_steps(runs: Runs, run_id: str | None, side: int = 0) -> list[int]:
    """The steps that `latest_checkpoint` can give, in order."""
    run = runs.get(run_id)
    return (run and runs.store.steps((run.id, min(side, len(run.sides) - 1)))) or demo_steps(side)


class SelectedModel(NamedTuple):
    """The model that a tab looks into."""

    checkpoint: Checkpoint
    run: Run | None  # None for the shipped one
    side: int
    labels: list[str]  # of the sides of the run, A first; one or two
    steps: list[int]  # of which there are checkpoints, in order

    @property
    def whose(self) -> str:
        """Of which run it is."""
        return "the shipped run" if self.run is None else f"your run on “{self.run.job.corpus}”"

    @property
    def words(self) -> str:
        """The same as a sentence, with side and step."""
        which = f"{'AB'[self.side]} ({self.labels[self.side]})" if len(self.labels) > 1 else "that"
        return f"The model is {which} of {self.whose}, after {self.checkpoint.step:,} steps."

    @property
    def key(self) -> str:
        """Tells one run from another, whatever the step and the side."""
        return self.run.id if self.run else "shipped"

    @property
    def excerpt(self) -> str:
        """A text in this model's alphabet."""
        return (self.run or demo_run()).excerpt


def find_model(runs: Runs, run_id: str | None, side: int = 0, step: int | None = None) -> SelectedModel:
    """The model of a session's run, or the shipped one while it has none; of the step nearest to `step`."""
    checkpoint, run = latest_checkpoint(runs, run_id, side, step)
    labels = [s.label for s in (run or demo_run()).sides]
    side = min(side, len(labels) - 1)
    return SelectedModel(checkpoint, run, side, labels, checkpoint_steps(runs, run.id if run else None, side))


def readable_text(checkpoint: Checkpoint, text: str, otherwise: str) -> str:
    """`text` where this model knows its characters; else a text that it does know."""
    for candidate in (text, otherwise):
        try:
            if len(checkpoint.tokenizer.encode(candidate)) >= 2:
                return candidate
        except ValueError:
            continue
    return checkpoint.tokenizer.decode(np.arange(min(32, checkpoint.model_config.vocab_size)))


def clamp_int(value: Any, min_value: int, max_value: int, otherwise: int) -> int:
    """What a page sent, as a whole number within bounds; `otherwise` where it is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return otherwise
    return min(max(value, min_value), max_value)

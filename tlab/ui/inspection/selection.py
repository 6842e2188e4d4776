"""Which model a tab looks at: of the visitor's run or the shipped one, of which side, and after which step."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from tlab.files import file_name
from tlab.text import DEFAULT_CORPUS
from tlab.training.checkpoint import Checkpoint
from tlab.ui.demo.shipped_run import PROMPT, demo_checkpoint, demo_run, demo_steps, is_shipped, shipped_preset
from tlab.ui.inspection.tasks import InspectionRequest
from tlab.ui.opened_models import OpenedModel, shape_words
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job, SidePlan
from tlab.ui.runs.run import Run
from tlab.wording import several

PROMPT_CHARACTERS = 12  # a word or two
CAPITALS = "The capital of Italy is Rome. The capital of Japan is Tokyo. The capital of France is"
OTHER_CAPITALS = CAPITALS.replace("France", "Poland")
OPENED_PROMPT = "The capital of France is"
"""What an opened model is let read: it has no text of its own here."""
MAX_NUMBER = 1_000_000_000  # of any number that a page may send


class SelectedModel(NamedTuple):
    """The model that a tab looks into."""

    checkpoint: Checkpoint
    run: Run  # a visitor's, or a shipped one
    side: int
    labels: list[str]  # of the sides of the run, A first; one or two
    steps: list[int]  # of the checkpoints that there are, in order
    opened: OpenedModel | None = None  # that it is, where it was opened and not trained here
    why_not: str = ""  # why it is not the one that was asked for

    @property
    def whose(self) -> str:
        if self.opened is not None:
            return f"the opened model “{self.run.name}”"
        text = self.job.corpus
        return f"the shipped run “{self.run.name}” on “{text}”" if is_shipped(self.run) else f"your run on “{text}”"

    @property
    def words(self) -> str:
        if self.opened is not None and self.checkpoint.is_imported:
            return f"The model is {self.whose}: {shape_words(self.checkpoint)}."
        beginning = f"{self.why_not} " if self.why_not else ""
        which = self.side_words or "that"
        step = self.checkpoint.step
        losses = [loss for at, loss in self.run.sides[self.side].curve.validation if at == step]
        known = f" (validation loss {losses[0]:.2f})" if losses else ""
        return f"{beginning}The model is {which} of {self.whose}, after {several(step, 'step')}{known}."

    @property
    def side_words(self) -> str:
        """Which side of a run of two it is."""
        return f"{'AB'[self.side]} ({self.labels[self.side]})" if len(self.labels) > 1 else ""

    @property
    def step(self) -> int | None:
        """Of its training; None of a model that was trained elsewhere."""
        return None if self.opened is not None and self.checkpoint.is_imported else self.checkpoint.step

    @property
    def key(self) -> str:
        """Identifies the run, whatever the step and the side."""
        return self.run.id

    @property
    def excerpt(self) -> str:
        """A piece of the text that it was tested on, as long as it can read."""
        return readable_beginning(self.checkpoint, self.run.excerpt)

    @property
    def prompt(self) -> str:
        """The beginning of a text for it to go on with."""
        if self.opened is not None:
            return readable_text(self.checkpoint, OPENED_PROMPT, self.excerpt)
        has_own = is_shipped(self.run) and self.job.corpus == DEFAULT_CORPUS
        return PROMPT if has_own else self.excerpt[:PROMPT_CHARACTERS]

    @property
    def job(self) -> Job:
        return self.run.job

    @property
    def plan(self) -> SidePlan:
        """The settings of its side."""
        return self.job.plans[self.side]

    def file_name(self, what: str) -> str:
        """Of a file with a picture of this model, without an ending: which run, which side, what, and at which step."""
        side = f"{'AB'[self.side]} {self.labels[self.side]}" if len(self.labels) > 1 else ""
        parts = (self.run.name, side, what, "" if self.step is None else f"step {self.step}")
        return "_".join(file_name(part) for part in parts if part)

    def request(self, text: str) -> InspectionRequest:
        """What the inspector needs to look at this model reading a text; without what no probe reads."""
        if self.opened is not None:
            model = self.opened.source
        else:
            model = dataclasses.replace(self.checkpoint, optimizer_state={}, records=[])
        return InspectionRequest(model, text, self.job.corpus, self.job.text, self.job.tokenizer)

    def slider(self, serial: int) -> dict[str, Any]:
        """What the slider over the training steps shows."""
        step, side = self.step, self.side
        return {
            "steps": [] if step is None else self.steps,
            "step": step,
            "labels": self.labels,
            "side": side,
            "serial": serial,
        }

    def note(self, text: str, most: int = MAX_NUMBER) -> str:
        """Which model it is, how much of the text it reads, and how it is looked at if it was trained with a bug.

        `most` tokens at most are read, where a picture has no room for all of a long context.
        """
        longest = min(self.checkpoint.model_config.context_length, most)
        try:
            given = len(self.checkpoint.tokenizer.encode(text))
        except ValueError:  # shown in place of the table
            given = 0
        read = f" It reads the last {longest} of the {given:,} tokens." if given > longest else ""
        bug = " It was trained with the bug, and is looked at without it." if self.plan.bug else ""
        return self.words + read + bug


def selected_model(runs: Runs, run_id: str | None, selection: Any) -> SelectedModel:
    """The model that a page's selection names, from the visitor's run or the shipped one."""
    selection = selection if isinstance(selection, dict) else {}
    step = selection.get("step")
    step = None if step is None else clamp_int(step, 0, MAX_NUMBER, 0)
    return find_model(runs, run_id, clamp_int(selection.get("side"), 0, 1, 0), step)


def find_model(runs: Runs, run_id: str | None, side: int = 0, step: int | None = None) -> SelectedModel:
    """The model of a visitor's run or a shipped one, of the step nearest to `step`.

    It is that of the page's opening where there is no run, or where that has no model yet or not any more.
    """
    run = runs.get(run_id)
    own = min(side, len(run.sides) - 1) if run else 0
    checkpoint = runs.store.get((run.id, own), step) if run else None
    if run is not None and checkpoint is not None:
        steps = runs.store.steps((run.id, own)) or [checkpoint.step]
        return SelectedModel(checkpoint, run, own, [plan.label for plan in run.job.plans], steps)
    opened = runs.opened.get(run_id)
    if opened is not None:
        return SelectedModel(opened.checkpoint, run_of(opened), 0, ["that"], [opened.checkpoint.step], opened)
    preset = shipped_preset(run_id)
    run = demo_run(preset)
    side = min(side, len(run.sides) - 1)
    labels = [plan.label for plan in run.job.plans]
    why_not = runs.opened.why_not(run_id)
    return SelectedModel(
        demo_checkpoint(side, step, preset), run, side, labels, demo_steps(side, preset), why_not=why_not
    )


def run_of(opened: OpenedModel) -> Run:
    """An opened model as tabs know models: the one side of a finished run."""
    checkpoint = opened.checkpoint
    plan = SidePlan("that", checkpoint.model_config, checkpoint.train_config)
    about = checkpoint.corpus
    run = Run.finished("", Job(about["name"], None, about["tokenizer"]["tokenizer"], (plan,)), [checkpoint], LOCAL)
    run.id, run.name, run.excerpt = opened.id, opened.name, readable_text(checkpoint, CAPITALS, CAPITALS)
    return run


def every_step(runs: Runs, run_id: str | None, selected: SelectedModel) -> list[SelectedModel]:
    """The same side at each step that is kept."""
    return [find_model(runs, run_id, selected.side, step) for step in selected.steps]


def readable_beginning(checkpoint: Checkpoint, text: str) -> str:
    """As much of the beginning of a text as the model can read at once; all of a text that it cannot read."""
    try:
        ids = checkpoint.tokenizer.encode(text)
    except ValueError:
        return text
    return checkpoint.tokenizer.decode(ids[: checkpoint.model_config.context_length])


def text_for_new_model(model: SelectedModel, given: str, own: str, before: str) -> str:
    """What a tab lets a new model read: what a visitor has typed, if it can, and else what is its own.

    Args:
        model: the new one.
        given: what is in the box.
        own: what the new model offers by itself.
        before: what the model before offered; in the box it is nobody's choice.
    """
    return readable_text(model.checkpoint, own if given == before else given, own)


def readable_text(checkpoint: Checkpoint, text: str, otherwise: str) -> str:
    """`text` if this model knows its characters, else `otherwise`, else a text from its own vocabulary."""
    for candidate in (text, otherwise):
        try:
            if len(checkpoint.tokenizer.encode(candidate)) >= 2:
                return candidate
        except ValueError:
            continue
    return checkpoint.tokenizer.decode(np.arange(min(32, checkpoint.model_config.vocab_size)))


def serial_of(selection: Any) -> int:
    """The serial number of a selection, which its answer carries."""
    return clamp_int(selection.get("serial"), 0, MAX_NUMBER, 0) if isinstance(selection, dict) else 0


def clamp_int(value: Any, min_value: int, max_value: int, otherwise: int) -> int:
    """A value from a page as an integer within bounds; `otherwise` if it is not an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        return otherwise
    return min(max(value, min_value), max_value)

"""Which model the Inside tab looks at, and what of it the looker has to know."""

from __future__ import annotations

import dataclasses
from typing import Any

from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.inspection.cache import Subject, subject, whole
from tlab.ui.inspection.tasks import Scene
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.worker import Job, Plan

MOST = 1_000_000_000  # of any number that a page may send


def wished_subject(runs: Runs, run_id: str | None, wish: Any) -> Subject:
    """The model that a wish names, of the visitor's run or the shipped one."""
    wish = wish if isinstance(wish, dict) else {}
    step = wish.get("step")
    step = None if step is None else whole(step, 0, MOST, 0)
    return subject(runs, run_id, whole(wish.get("side"), 0, 1, 0), step)


def serial_of(wish: Any) -> int:
    """The number of a wish, which its answer carries."""
    return whole(wish.get("serial"), 0, MOST, 0) if isinstance(wish, dict) else 0


def every_step(runs: Runs, run_id: str | None, of: Subject) -> list[Subject]:
    """The same side at each step that is kept."""
    return [subject(runs, run_id, of.side, step) for step in of.steps]


def job_of(of: Subject) -> Job:
    """What was asked for when it was trained."""
    return (of.run or demo_run()).job


def plan_of(of: Subject) -> Plan:
    """The settings of its side."""
    return job_of(of).plans[of.side]


def scene_of(of: Subject, text: str) -> Scene:
    """A subject as the looker takes it, without what no probe reads."""
    job = job_of(of)
    checkpoint = dataclasses.replace(of.checkpoint, optimizer_state={}, records=[])
    return Scene(checkpoint, text, job.corpus, job.text, job.tokenizer)


def scrub_value(of: Subject, serial: int) -> dict[str, Any]:
    """What the slider over the training shows."""
    return {"steps": of.steps, "step": of.checkpoint.step, "labels": of.labels, "side": of.side, "serial": serial}


def note_words(of: Subject, text: str) -> str:
    """Whose model it is, and how much it reads; and, where it was trained with a mistake, how it is looked at."""
    most = of.checkpoint.model_config.context_length
    try:
        given = len(of.checkpoint.tokenizer.encode(text))
    except ValueError:  # said in place of the table
        given = 0
    read = f" It reads the first {most} of the {given:,} tokens." if given > most else ""
    return of.words + read + (" It was trained with the bug, and is looked at without it." if plan_of(of).bug else "")

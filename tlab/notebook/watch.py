"""A training that shows in a notebook, while it runs, how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from tlab.training.records import StepRecord
from tlab.training.trainer import Trainer

SECONDS_BETWEEN = 0.5  # two looks at it: often enough to see it move, too seldom to slow it down


def watch(trainer: Trainer) -> Iterator[StepRecord]:
    """Train, record by record as the trainer itself; a notebook shows a bar, and at the end the figure of the loss.

    Whoever stops half-way has the bar where it stood. Outside of a notebook nothing is shown.

        for record in watch(trainer):
            pass
    """
    handle = notebook_handle()
    shown = -SECONDS_BETWEEN
    for record in trainer:
        if handle is not None and time.perf_counter() - shown >= SECONDS_BETWEEN:
            handle.update(ProgressBar(trainer))
            shown = time.perf_counter()
        yield record
    if handle is not None:
        handle.update(trainer)


class ProgressBar:
    """The bar of a trainer without its figure, which takes as long as many steps."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def _repr_html_(self) -> str:
        return self.trainer.progress_html()


def notebook_handle() -> Any | None:
    """A place of the notebook's page that can be shown again and again; None where there is no notebook."""
    ipython = sys.modules.get("IPython")  # who is in a notebook has loaded it
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is None or getattr(shell, "kernel", None) is None:
        return None
    return ipython.display.display({}, raw=True, display_id=True)

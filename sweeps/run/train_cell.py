"""One cell: train one model from its configs, or measure it, and record how it went. Nothing here knows about grids."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from sweeps.grid.cell_id import DTYPE, Cell
from sweeps.store.record import DIVERGED, FAILED, OK, TIMEOUT, CurveRow, Record, cell_fields, failure
from tlab.machine import forget_peak_memory, one_blas_thread, peak_memory_mib
from tlab.nn.config import ModelConfig
from tlab.text.corpora import Corpus
from tlab.training.config import TrainConfig
from tlab.training.records import Divergence, StepRecord
from tlab.training.trainer import Trainer

MeasureFunction: TypeAlias = Callable[[ModelConfig, TrainConfig, Corpus], dict[str, Any]]
"""What is measured of a configuration in place of a whole training; a module's function, so that it can be pickled."""

TRACEBACK_LINES = 12  # its end, where the cause is


def train_cell(cell: Cell, corpus: Corpus, *, timeout: float | None = None, attempts: int = 1) -> Record:
    """Train the cell with one BLAS thread; -> its record. It never raises: an exception becomes a `failed` record.

    One thread is not for speed alone: two threads add up in a different order, and the last bits of every loss would
    depend on the machine's load and the number of jobs.

    Args:
        cell: what to train.
        corpus: the text that it was planned with.
        timeout: seconds after which no other step is started and the record says `timeout`; None for no limit.
        attempts: how often it was started, this time included.
    """
    began, cpu_began = time.perf_counter(), time.thread_time()
    forget_peak_memory()
    records: list[StepRecord] = []
    num_parameters = None
    try:
        with one_blas_thread():
            check_corpus(cell, corpus)
            trainer = Trainer(cell.model, cell.train, corpus, dtype=DTYPE)
            records = trainer.records
            num_parameters = trainer.model.num_parameters
            while not trainer.finished and (timeout is None or time.perf_counter() - began < timeout):
                trainer.train_step()
        outcome = outcome_fields(trainer.divergence) if trainer.finished else timeout_fields(timeout)
    except Exception as error:
        outcome = error_fields(error)
    return Record(
        **cell_fields(cell, attempts),
        **outcome,
        **loss_summary(records),
        n_params=num_parameters,
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=time.thread_time() - cpu_began,
        peak_memory_mib=peak_memory_mib(),
        curve=tuple(curve_points(cell.cell_id, records)),
    )


def measure_cell(cell: Cell, corpus: Corpus, measure: MeasureFunction, *, attempts: int = 1) -> Record:
    """Measure the cell with one BLAS thread, as `train_cell` trains it; -> its record.

    `measure` gives plain numbers and lists, as for JSON; "diverged" among them says why the run diverged.
    """
    began, cpu_began = time.perf_counter(), time.thread_time()
    forget_peak_memory()
    measured = None
    try:
        with one_blas_thread():
            check_corpus(cell, corpus)
            # Through JSON, so that nothing is returned which a record could not hold.
            measured = json.loads(json.dumps(measure(cell.model, cell.train, corpus), allow_nan=False))
        outcome = outcome_fields(measured.get("diverged"))
    except Exception as error:
        outcome = error_fields(error)
    return Record(
        **cell_fields(cell, attempts),
        **outcome,
        measured=measured,
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=time.thread_time() - cpu_began,
        peak_memory_mib=peak_memory_mib(),
    )


def check_corpus(cell: Cell, corpus: Corpus) -> None:
    if corpus.sha256 != cell.corpus_sha256:
        raise ValueError(f"corpus {corpus.name!r} is not the text that this cell was planned with; plan again")


def error_fields(error: Exception) -> dict[str, Any]:
    tail = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
    return failure(FAILED, type(error).__name__, str(error), "\n".join(tail))


def timeout_fields(timeout: float | None) -> dict[str, Any]:
    return failure(TIMEOUT, "Timeout", f"not done after {timeout:g} s")


def outcome_fields(divergence: Divergence | str | None) -> dict[str, Any]:
    if divergence is None:
        return {"status": OK}
    return {"status": DIVERGED, "error_type": "Divergence", "error_message": str(divergence)}


def loss_summary(records: list[StepRecord]) -> dict[str, Any]:
    if not records:
        return {}
    last = records[-1]
    made = [record for record in records if record.divergence is None]
    validations = [v for record in made if (v := finite(record.validation_loss)) is not None]
    recent = [record.loss for record in made[-max(1, len(made) // 10) :]]
    return {
        "steps_done": len(made),
        "val_loss": finite(last.validation_loss),
        "best_val_loss": min(validations, default=None),
        "train_loss": finite(sum(recent) / len(recent) if recent else None),
        "tokens_per_second": last.tokens / last.seconds if last.seconds else None,
    }


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def curve_points(cell_id: str, records: Iterable[StepRecord]) -> Iterable[CurveRow]:
    """A run's learning curve in long form. Nothing in it depends on the clock: the same run gives the same bytes."""
    for record in records:
        yield CurveRow(cell_id, record.step, "train", "loss", record.loss)
        yield CurveRow(cell_id, record.step, "train", "gradient_norm", record.gradient_norm)
        if record.validation_loss is not None:
            yield CurveRow(cell_id, record.step, "validation", "loss", record.validation_loss)

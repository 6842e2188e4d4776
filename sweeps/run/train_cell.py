"""One cell: train one model from its configs, or measure it, and record how it went. Nothing here knows about grids."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from sweeps.grid.begin import model_to_begin_with
from sweeps.grid.cell_id import DTYPE, Cell
from sweeps.store.record import DIVERGED, FAILED, OK, TIMEOUT, CurveRow, Record, cell_fields, failure
from tlab.machine import forget_peak_memory, one_blas_thread, peak_memory_mib
from tlab.nn.config import ModelConfig
from tlab.text.corpora import Corpus
from tlab.training.config import TrainConfig
from tlab.training.records import StepRecord
from tlab.training.trainer import Trainer

MeasureFunction: TypeAlias = Callable[[ModelConfig, TrainConfig, Corpus], dict[str, Any]]
"""What is measured of a configuration in place of a whole training; a module's function, so that it can be pickled."""

TRACEBACK_LINES = 12  # its end, where the cause is


def train_cell(
    cell: Cell,
    corpus: Corpus,
    *,
    measure: MeasureFunction | None = None,
    timeout: float | None = None,
    attempts: int = 1,
) -> Record:
    """Train the cell with one BLAS thread, or measure it; -> its record. An exception becomes a `failed` record.

    One thread is not for speed alone: two threads add up in a different order, and the last bits of every loss would
    depend on the machine's load and the number of jobs.

    Args:
        cell: what to train.
        corpus: the text that it was planned with, and the model that it begins with where there is one.
        measure: what to do in place of a whole training. It gives plain numbers and lists, as for JSON; "diverged"
            among them says why the run diverged.
        timeout: seconds after which no other step is started and the record says `timeout`; None for no limit.
        attempts: how often it was started, this time included.
    """
    began, cpu_began = time.perf_counter(), time.thread_time()
    forget_peak_memory()
    trainer, measured = None, None
    try:
        if corpus.sha256 != cell.corpus_sha256:
            raise ValueError(f"corpus {corpus.name!r} is not the text that this cell was planned with; plan again")
        with one_blas_thread():
            if measure is None:
                if (begun_with := model_to_begin_with(cell.text, corpus)) is None:
                    trainer = Trainer(cell.model, cell.train, corpus, dtype=DTYPE)
                else:
                    trainer = Trainer.start_from(begun_with, cell.train, corpus)
                while not trainer.finished and (timeout is None or time.perf_counter() - began < timeout):
                    trainer.train_step()
                diverged, in_time = trainer.divergence, trainer.finished
            else:
                # Through JSON, so that nothing is returned which a record could not hold.
                measured = json.loads(json.dumps(measure(cell.model, cell.train, corpus), allow_nan=False))
                diverged, in_time = measured.get("diverged"), True
        if not in_time:
            outcome = failure(TIMEOUT, "Timeout", f"not done after {timeout:g} s")
        elif diverged is not None:
            outcome = failure(DIVERGED, "Divergence", str(diverged))
        else:
            outcome = {"status": OK}
    except Exception as error:
        tail = "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])
        outcome = failure(FAILED, type(error).__name__, str(error), tail)
    records = trainer.records if trainer is not None else []
    return Record(
        **cell_fields(cell, attempts),
        **outcome,
        **loss_summary(records),
        n_params=trainer.model.num_parameters if trainer is not None else None,
        tokens_per_character=corpus.tokens_per_character if trainer is not None else None,
        train_bytes_per_token=corpus.bytes_per_token.train if trainer is not None else None,
        val_bytes_per_token=corpus.bytes_per_token.validation if trainer is not None else None,
        measured=measured,
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=time.thread_time() - cpu_began,
        peak_memory_mib=peak_memory_mib(),
        curve=tuple(curve_points(cell.cell_id, records)),
    )


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

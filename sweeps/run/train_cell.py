"""One cell: train one model from its configs, and say in a record how it went. Nothing here knows of a grid."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sweeps.grid.cell_id import DTYPE, SCHEMA, Cell
from sweeps.run.deadline import CellTimeout, deadline
from sweeps.store.provenance import source_hash
from tlab.text.corpora import Corpus
from tlab.training.parallel import one_blas_thread
from tlab.training.records import Divergence, StepRecord
from tlab.training.trainer import Trainer

OK, DIVERGED, FAILED, KILLED, TIMEOUT = STATUSES = ("ok", "diverged", "failed", "killed", "timeout")
"""What can become of a cell. `diverged` is an outcome like `ok`; the others are accidents."""

ACCIDENTS = (FAILED, KILLED, TIMEOUT)

TRACEBACK_LINES = 12  # the end of it, where the cause is


class CurvePoint(NamedTuple):
    """One number of a learning curve; the columns of curves.csv."""

    cell_id: str
    step: int
    split: str  # train or validation
    metric: str
    value: float


@dataclass(frozen=True)
class Record:
    """What became of a cell. Losses are in nats a token; None where there is none, or it is not finite."""

    cell_id: str
    status: str
    settings: Mapping[str, Any]
    """Every config field, so that a record is understood without the grid it came from."""
    corpus_sha256: str
    n_params: int | None = None
    steps_done: int = 0
    val_loss: float | None = None
    """On the whole validation split, after the last step."""
    best_val_loss: float | None = None
    """The lowest of all looks at the validation split."""
    train_loss: float | None = None
    """Mean of the last tenth of the steps, since one batch alone says little."""
    tokens_per_second: float | None = None
    """Of the updates alone, without validation."""
    wall_seconds: float = 0.0
    """Of the whole cell: set-up, updates and validation."""
    cpu_seconds: float = 0.0
    """Of the thread that trained it, which has no other BLAS thread beside it."""
    peak_memory_mib: float | None = None
    """Most that its process held during the cell; a model keeps what it frees, so a larger one before it counts."""
    attempts: int = 1
    """How often the cell was begun for this result; more than 1 where its process was killed."""
    host: str = ""
    source: str = ""
    """Hash of the core's code that made the numbers."""
    error_type: str | None = None
    error_message: str | None = None
    traceback_tail: str | None = None
    schema: int = SCHEMA
    curve: tuple[CurvePoint, ...] = field(default=(), compare=False)
    """The learning curve. It is stored in a file of its own."""

    def to_json(self) -> bytes:
        """Everything but the curve, of which it keeps the size; and the sha256 of all that, to know damage by."""
        content = {name: value for name, value in vars(self).items() if name != "curve"}
        content["curve_bytes"] = len(self.curve_as_csv())
        return json.dumps({**content, "sha256": fingerprint(content)}, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes, curve_bytes: int | None = None) -> Record:
        """The inverse of `to_json`, without the curve.

        Args:
            content: what `to_json` gave.
            curve_bytes: size of the curve's file; None does not compare it.

        Raises:
            ValueError: this is no record, or not a whole one, or not that of this curve.
        """
        values = json.loads(content)
        if not isinstance(values, dict) or values.pop("sha256", None) != fingerprint(values):
            raise ValueError("no record of a cell: its content is not what was written")
        written_bytes = values.pop("curve_bytes", None)
        if curve_bytes is not None and curve_bytes != written_bytes:
            raise ValueError(f"not the record of a curve of {curve_bytes} bytes")
        try:
            return cls(**values)
        except TypeError as error:  # of another version, with other fields
            raise ValueError(f"no record of a cell: {error}") from error

    def curve_as_csv(self) -> bytes:
        """The curve's rows, without the header: the files of all cells can be put one behind the other."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.curve)
        return text.getvalue().encode()


def fingerprint(content: Mapping[str, Any]) -> str:
    """The sha256 of a record's content, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def train_cell(cell: Cell, corpus: Corpus, *, timeout: float | None = None, attempts: int = 1) -> Record:
    """Train the cell with one BLAS thread; -> its record. It never raises: an exception becomes a `failed` record.

    One thread is not for speed alone: two threads add up in another order, and the last bits of every loss would
    depend on the machine's load and the number of jobs.

    Args:
        cell: what to train.
        corpus: the text that it was planned with.
        timeout: seconds after which it is given up.
        attempts: how often it was begun, this time included.
    """
    began, cpu_began = time.perf_counter(), time.thread_time()
    forget_peak_memory()
    records: list[StepRecord] = []
    num_parameters = None
    try:
        with deadline(timeout), one_blas_thread():
            if corpus.sha256 != cell.corpus_sha256:
                raise ValueError(f"corpus {corpus.name!r} is not the text that this cell was planned with; plan again")
            trainer = Trainer(cell.model, cell.train, corpus, dtype=DTYPE)
            records = trainer.records
            num_parameters = trainer.model.num_parameters
            for _ in trainer:
                pass
        outcome = outcome_of(trainer.divergence)
    except CellTimeout:
        outcome = accident(TIMEOUT, "Timeout", f"not done after {timeout:g} s")
    except Exception as error:
        tail = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
        outcome = accident(FAILED, type(error).__name__, str(error), "\n".join(tail))
    return Record(
        **about(cell, attempts),
        **outcome,
        **measures(records),
        n_params=num_parameters,
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=time.thread_time() - cpu_began,
        peak_memory_mib=peak_memory_mib(),
        curve=tuple(curve_points(cell.cell_id, records)),
    )


def about(cell: Cell, attempts: int) -> dict[str, Any]:
    """What a record says of the cell itself and of where it was run."""
    return {
        "cell_id": cell.cell_id,
        "settings": cell.settings(),
        "corpus_sha256": cell.corpus_sha256,
        "attempts": attempts,
        "host": platform.node(),
        "source": source_hash(),
    }


def accident(status: str, error_type: str, message: str, tail: str | None = None) -> dict[str, Any]:
    """A status with its reason."""
    return {"status": status, "error_type": error_type, "error_message": message, "traceback_tail": tail}


def lost_record(cell: Cell, attempts: int, status: str, why: str) -> Record:
    """The record of a cell that was begun `attempts` times and never came back."""
    return Record(**about(cell, attempts), **accident(status, status.capitalize(), why))


def forget_peak_memory() -> None:
    """Let the process's peak begin anew, where the system can do that (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def peak_memory_mib() -> float | None:
    """Most memory that this process held since `forget_peak_memory`, in MiB; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(line.split() for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(found[1]) / 1024  # the system counts in KiB


def outcome_of(divergence: Divergence | None) -> dict[str, Any]:
    """The status of a run that came to its end, and where it diverged, why."""
    if divergence is None:
        return {"status": OK}
    return {"status": DIVERGED, "error_type": "Divergence", "error_message": str(divergence)}


def measures(records: list[StepRecord]) -> dict[str, Any]:
    """What a run's records come to."""
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
    """`value`, or None where it is no number."""
    return value if value is not None and math.isfinite(value) else None


def curve_points(cell_id: str, records: Iterable[StepRecord]) -> Iterable[CurvePoint]:
    """A run's learning curve in long form. Nothing in it depends on the clock: the same run gives the same bytes."""
    for record in records:
        yield CurvePoint(cell_id, record.step, "train", "loss", record.loss)
        yield CurvePoint(cell_id, record.step, "train", "gradient_norm", record.gradient_norm)
        if record.validation_loss is not None:
            yield CurvePoint(cell_id, record.step, "validation", "loss", record.validation_loss)

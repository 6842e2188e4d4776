"""What becomes of a cell: its record, its learning curve, and how both are written and read back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sweeps.grid.cell_id import SCHEMA, Cell
from sweeps.store.provenance import source_hash
from tlab.text.units import bits_per_byte

OK, DIVERGED, FAILED, KILLED, TIMEOUT = STATUSES = ("ok", "diverged", "failed", "killed", "timeout")
"""How a cell can end. `diverged` is a result like `ok`; the others are failures."""

FAILURES = (FAILED, KILLED, TIMEOUT)


class CurveRow(NamedTuple):
    """One number of a learning curve; the columns of curves.csv."""

    cell_id: str
    step: int
    split: str  # train or validation
    metric: str
    value: float


@dataclass(frozen=True)
class Record:
    """How a cell ended. Losses are in nats per token; None if there is none, or it is not finite."""

    cell_id: str
    status: str
    settings: Mapping[str, Any]  # every config field, so that a record is understood without the grid it came from
    corpus_sha256: str
    n_params: int | None = None
    steps_done: int = 0
    val_loss: float | None = None  # on the whole validation split, after the last step
    best_val_loss: float | None = None  # the lowest of all evaluations on the validation split
    train_loss: float | None = None  # mean of the last tenth of the steps, since one batch alone says little
    tokens_per_character: float | None = None
    """Of the validation split, which is the same text for every tokenizer; None in a record of an early version."""
    train_bytes_per_token: float | None = None  # of each split, without its first token, which nobody predicts;
    val_bytes_per_token: float | None = None  # None in a record of an early version
    tokens_per_second: float | None = None  # of the updates alone, without validation
    wall_seconds: float = 0.0  # of the whole cell: set-up, updates and validation
    cpu_seconds: float = 0.0  # of the thread that trained it, which has no other BLAS thread beside it
    peak_memory_mib: float | None = None
    """Most that its process held during the cell; a model keeps what it frees, so a larger one before it counts."""
    attempts: int = 1  # how often the cell was started for this result; more than 1 if its process was killed
    host: str = ""
    source: str = ""  # hash of the core's code that made the numbers
    error_type: str | None = None
    error_message: str | None = None
    traceback_tail: str | None = None
    measured: Mapping[str, Any] | None = None
    """What the cell's measure returned; None for a cell that is trained to the end."""
    schema: int = SCHEMA
    curve: tuple[CurveRow, ...] = field(default=(), compare=False)  # the learning curve. It has its own file.

    @property
    def val_bits_per_byte(self) -> float | None:
        """`val_loss` in the unit that all tokenizers share."""
        if self.val_loss is None or self.val_bytes_per_token is None:
            return None
        return bits_per_byte(self.val_loss, self.val_bytes_per_token)

    def to_json(self) -> bytes:
        """Everything but the curve, of which it keeps size and sha256; and a sha256 of it all, to detect damage."""
        content = {name: value for name, value in vars(self).items() if name != "curve"}
        curve = self.curve_as_csv()
        content |= {"curve_bytes": len(curve), "curve_sha256": hashlib.sha256(curve).hexdigest()}
        return json.dumps({**content, "sha256": content_sha256(content)}, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes, curve: bytes | None = None) -> Record:
        """The inverse of `to_json`, without the curve; if its file's content is given, it must be what was written.

        Raises:
            ValueError: this is not a complete record, or not that of this curve.
        """
        values = json.loads(content)
        if not isinstance(values, dict) or values.pop("sha256", None) != content_sha256(values):
            raise ValueError("not the record of a cell: its content is not what was written")
        written_bytes, written_sha256 = values.pop("curve_bytes", None), values.pop("curve_sha256", None)
        if curve is not None:
            if len(curve) != written_bytes:
                raise ValueError(f"not the record of a curve of {len(curve)} bytes")
            if written_sha256 is None:  # an older version kept the size alone
                check_curve(curve)
            elif hashlib.sha256(curve).hexdigest() != written_sha256:
                raise ValueError("the curve is not what was written")
        try:
            # A driver holds all records, and each would have its own copy of the names of fifty settings.
            settings = {sys.intern(name): value for name, value in values.pop("settings").items()}
            return cls(**values, settings=settings)
        except (TypeError, KeyError, AttributeError) as error:  # of another version, with other fields
            raise ValueError(f"not the record of a cell: {error}") from error

    def curve_as_csv(self) -> bytes:
        """The curve's rows, without the header: the files of all cells can be concatenated."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.curve)
        return text.getvalue().encode()


def content_sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_curve(content: bytes) -> None:
    """Refuse what is no curve.

    Raises:
        ValueError: it is not text, or a row has other columns, or no number where one belongs.
    """
    for row in csv.reader(io.StringIO(content.decode(), newline="")):
        _, step, _, _, value = row
        for number, kind in ((step, int), (value, float)):
            kind(number)


def cell_fields(cell: Cell, attempts: int) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "settings": cell.settings(),
        "corpus_sha256": cell.corpus_sha256,
        "attempts": attempts,
        "host": platform.node(),
        "source": source_hash(),
    }


def failure(status: str, error_type: str, message: str, tail: str | None = None) -> dict[str, Any]:
    return {"status": status, "error_type": error_type, "error_message": message, "traceback_tail": tail}


def lost_record(cell: Cell, attempts: int, status: str, why: str) -> Record:
    """The record of a cell that was started `attempts` times and never came back."""
    return Record(**cell_fields(cell, attempts), **failure(status, status.capitalize(), why))

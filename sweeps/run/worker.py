"""What happens in the process that trains a cell, on this machine or another."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from sweeps.grid.cell_id import Cell, RegisteredPart, register_missing
from sweeps.run.train_cell import MeasureFunction, train_cell
from sweeps.store.folder import add_record, read_record, remove_mark
from sweeps.store.lock import driver_file
from sweeps.store.provenance import source_hash
from sweeps.store.record import FAILED, FAILURES, OK, TIMEOUT, Record, cell_fields, failure, lost_record
from tlab.text.corpora import Corpus

DRIVER_LOOKS = 0.25  # seconds between two checks that the driver is alive
MAX_GRACE = 10.0  # seconds that a step may take beyond the time limit before its process is ended
HUNG = 75  # exit code of a process that was ended for that; sysexits.h: EX_TEMPFAIL


class Task(NamedTuple):
    """A cell on its way to a worker, with what the worker has to know."""

    cell: Cell
    parts: list[RegisteredPart]
    """Classes that were registered outside the lab: a worker has imported only the lab's files."""
    folder: Path
    driver_file: bytes
    """The driver's driver.json. A worker that reads the same content shares the folder with the driver."""
    source: str  # hash of the driver's code; a worker with other code takes no part in this sweep
    attempts: int
    timeout: float | None
    driver: tuple[str, int]  # host and pid
    measure: MeasureFunction | None = None  # what to measure; None trains the cell to the end


class TaskResult(NamedTuple):
    """What travels back. The rest is on the disk already, or in `record`."""

    cell_id: str
    status: str
    message: str | None
    record: Record | None = None
    """Only from a worker that could not write it: it shares no disk with the driver, or the disk is full."""
    lost: str | None = None  # why nothing came back from the backend; `status` then says what the cell counts as
    cluster_is_lost: bool = False  # whether the cell is not to blame: there is no worker left


def run_task(task: Task, corpus: Corpus) -> TaskResult:
    """Train a cell and write its record. It never raises."""
    here = (platform.node(), os.getpid())
    if here != task.driver and not _pinned:  # a dask or ray worker, where our initializer has not run
        configure_worker()
    shared = bool(task.driver_file) and driver_file(task.folder) == task.driver_file
    cell_id = task.cell.cell_id
    earlier = read_record(task.folder, cell_id) if shared and task.attempts > 1 else None
    if earlier is not None and earlier.status not in FAILURES:
        return result_of(earlier)  # the first complete record wins: a backend may send a cell out twice
    register_missing(task.parts)
    _in_flight.update(folder=task.folder, cell_id=cell_id)
    if task.source == source_hash():
        with watchdog(task, shared):
            record = train_cell(
                task.cell,
                corpus,
                measure=task.measure,
                timeout=task.timeout,
                attempts=task.attempts,
            )
    else:
        what = failure(FAILED, "OtherSource", f"the code on {here[0]} is not the driver's; install the same version")
        record = Record(**cell_fields(task.cell, task.attempts), **what)
    try:
        if shared:
            add_record(task.folder, record)
            return result_of(record)
    except OSError:
        pass  # the driver will try as well, and report the error
    finally:
        _in_flight.clear()
    return result_of(record)._replace(record=record)


def result_of(record: Record) -> TaskResult:
    """What is reported about a record. The message of a diverged cell already says that it diverged."""
    message = record.error_message
    if record.status in FAILURES:
        message = f"{record.status} with {record.error_type}: {message}"
    return TaskResult(record.cell_id, record.status, None if record.status == OK else message)


# ------------------------------------------------------------------------------------------------ the process

_in_flight: dict[str, Any] = {}  # folder and id of the cell that this process trains; empty between cells

_pinned: list[threadpool_limits] = []
"""The limit on this process's BLAS threads: in every process that a backend started for cells, never in the driver."""


@contextmanager
def watchdog(task: Task, shared: bool) -> Iterator[None]:
    """End this process if a single step hangs: `train_cell` looks at the clock only between two steps.

    The cell's record then says `timeout`, if the driver's folder is within reach; else the cell counts as one whose
    process died, and so does one whose step lets no other thread run. The driver itself is never ended.
    """
    if task.timeout is None or not _pinned:
        yield
        return
    limit, finished = task.timeout, threading.Event()
    grace = min(MAX_GRACE, max(1.0, limit))

    def watch() -> None:
        if finished.wait(limit + grace):
            return
        if shared:
            with contextlib.suppress(OSError):
                why = f"not done after {limit:g} s, and in the middle of a step, so its process was ended"
                add_record(task.folder, lost_record(task.cell, task.attempts, TIMEOUT, why))
        os._exit(HUNG)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    with open(os.devnull, "w") as nowhere:
        # This needs no turn of Python's: a step that holds its lock would keep `watch` waiting as well.
        faulthandler.dump_traceback_later(limit + 2 * grace, exit=True, file=nowhere)
        try:
            yield
        finally:
            finished.set()
            faulthandler.cancel_dump_traceback_later()


def begin_worker(driver: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too, but the driver ends its workers
    configure_worker()
    threading.Thread(target=end_with_driver, args=(driver,), name="driver watch", daemon=True).start()


def configure_worker() -> None:
    """Make this a process that only trains cells.

    BLAS is limited for good, not only within each cell: nothing else it does is worth a second thread.
    """
    _pinned.append(threadpool_limits(1, user_api="blas"))


def end_with_driver(driver: int) -> None:
    """Wait until the driver is gone, however it went, and end this process: no one needs its results any more.

    The cell in flight is not to blame, so this attempt does not count. A thread does this rather than the system's
    death signal, which would arrive when the driver's thread that started this worker ends, long before the driver.
    """
    while os.getppid() == driver:
        time.sleep(DRIVER_LOOKS)
    if _in_flight:
        remove_mark(_in_flight["folder"], _in_flight["cell_id"])
    os._exit(1)

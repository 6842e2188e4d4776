"""Worker processes: one for each run that trains, and a spare one ready for the next."""

from __future__ import annotations

import contextlib
import threading

from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.messages import MEASURE_PACE
from tlab.ui.runs.time_estimate import Pace
from tlab.ui.runs.worker import serve


def start_worker() -> ChildProcess:
    """A process that waits for its one job."""
    return ChildProcess("tlab-worker", serve)


class SpareWorker:
    """A worker process that is ready, so that the next run starts at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: ChildProcess | None = None
        self.measuring: ChildProcess | None = None
        self.ended = False

    def prepare(self) -> None:
        with self.lock:
            if self.worker is None and not self.ended:
                self.worker = start_worker()

    def take(self) -> ChildProcess:
        """The spare one, or a new one if it is missing or no longer runs."""
        with self.lock:
            worker, self.worker = self.worker, None
        if worker is not None and worker.alive:
            return worker
        if worker is not None:
            worker.end()
        return start_worker()

    def measure(self) -> Pace | None:
        """How fast this machine is, measured by the spare worker; None if it ends meanwhile."""
        worker = self.take()
        with self.lock:
            self.measuring, is_over = worker, self.ended
        pace = None
        with contextlib.suppress(EOFError, OSError):
            if not is_over:
                worker.connection.send(MEASURE_PACE)
                pace = worker.connection.recv()
        with self.lock:
            self.measuring = None
            if pace is not None and self.worker is None and not self.ended:
                self.worker = worker
                return pace
        worker.end()
        return pace

    def end(self) -> None:
        """End it for good: the server shuts down."""
        with self.lock:
            self.ended = True
            workers, self.worker = (self.worker, self.measuring), None
        for worker in workers:
            if worker is not None:
                worker.end()

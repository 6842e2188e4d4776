"""Worker processes: one for each run that trains, and one at hand for the next."""

from __future__ import annotations

import multiprocessing
import threading

from tlab.ui.runs.messages import MEASURE
from tlab.ui.runs.time_estimate import Pace
from tlab.ui.runs.worker import serve


class Worker:
    """A process that waits for its one job."""

    def __init__(self) -> None:
        # Spawned and not forked: a fork of a server with threads may inherit a lock that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True, name="tlab-worker")
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Make sure that the process is gone. Once is enough, more does no harm."""
        if self.connection.closed:
            return
        self.connection.close()
        self.process.terminate()
        self.process.join(0.5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class Spare:
    """A worker process at hand, so that the next run begins at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: Worker | None = None
        self.ended = False

    def prepare(self) -> None:
        """Have one, if there is none."""
        with self.lock:
            if self.worker is None and not self.ended:
                self.worker = Worker()

    def take(self) -> Worker:
        """The spare one, or a new one where it is missing or has died of old age."""
        with self.lock:
            worker, self.worker = self.worker, None
        if worker is not None and worker.process.is_alive():
            return worker
        if worker is not None:
            worker.end()
        return Worker()

    def measure(self) -> Pace | None:
        """How fast this machine is, by the spare worker; None where it dies of it."""
        worker = self.take()
        try:
            worker.connection.send(MEASURE)
            pace = worker.connection.recv()
        except (EOFError, OSError):
            worker.end()
            return None
        with self.lock:
            if self.worker is None and not self.ended:
                self.worker, worker = worker, None
        if worker is not None:
            worker.end()
        return pace

    def end(self) -> None:
        """The server goes down."""
        with self.lock:
            self.ended = True
            worker, self.worker = self.worker, None
        if worker is not None:
            worker.end()

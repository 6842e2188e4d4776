"""The worker process that is ready for the next run."""

import multiprocessing
import threading

from tlab.ui.runs import spare_worker
from tlab.ui.runs.messages import MEASURE_PACE
from tlab.ui.runs.spare_worker import SpareWorker


class Worker:
    """In place of a process; it never answers."""

    def __init__(self):
        self.connection, self.theirs = multiprocessing.Pipe()
        self.alive = True

    def end(self):
        self.alive = False
        self.theirs.close()


def test_a_server_that_ends_waits_for_no_measurement_and_ends_its_worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(spare_worker, "start_worker", lambda: worker)
    spare, paces = SpareWorker(), []
    thread = threading.Thread(target=lambda: paces.append(spare.measure()), daemon=True)
    thread.start()
    assert worker.theirs.recv() == MEASURE_PACE
    spare.end()
    assert not worker.alive
    thread.join(20)
    assert paces == [None]
    worker.connection.close()


def test_a_server_that_has_ended_measures_nothing(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(spare_worker, "start_worker", lambda: worker)
    spare = SpareWorker()
    spare.end()
    assert spare.measure() is None and not worker.alive and spare.worker is None
    worker.connection.close()

"""The worker process that is ready for the next run."""

import contextlib
import multiprocessing
import os
import threading
import time
from types import SimpleNamespace

from tlab.ui.runs import spare_worker
from tlab.ui.runs.child_process import ChildProcess
from tlab.ui.runs.messages import MEASURE_PACE
from tlab.ui.runs.spare_worker import SpareWorker
from tlab.ui.runs.time_estimate import time_call


class Worker:
    """In place of a process; it never answers."""

    def __init__(self):
        self.connection, self.theirs = multiprocessing.Pipe()
        self.lock, self.alive = threading.Lock(), True

    def end(self):
        with self.lock:
            self.alive = False
            if not self.theirs.closed:
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


def test_a_process_that_two_threads_end_is_ended_once():
    class Connection:
        closed, closings, both = False, 0, threading.Barrier(2)

        def close(self):
            self.closings += 1
            with contextlib.suppress(threading.BrokenBarrierError):
                self.both.wait(0.2)  # until the other one is here too, if it can come so far
            self.closed = True

    def nothing(*_):
        pass

    child = ChildProcess.__new__(ChildProcess)
    child.lock, child.connection = threading.Lock(), Connection()
    child.process = SimpleNamespace(terminate=nothing, join=nothing, is_alive=bool, close=nothing)
    threads = [threading.Thread(target=child.end) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.connection.closings == 1 and not child.alive


def test_the_pace_leaves_out_what_other_programs_do_meanwhile():
    assert time_call(lambda: time.sleep(0.2)) < 0.1
    assert time_call(lambda: sum(range(300_000))) > 0


def test_a_process_whose_end_another_thread_has_learnt_of_is_ended_all_the_same():
    """Whoever starts a process asks the system for the end of all others, which tells it once."""
    worker = ChildProcess("test", time.sleep)
    worker.process.kill()
    os.waitpid(worker.process.pid, 0)
    worker.end()
    assert not worker.alive

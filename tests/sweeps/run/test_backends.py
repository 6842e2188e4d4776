"""Sweeps over processes and clusters: the same bits from all of them, and whatever is killed is got over."""

import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

import kill_sweeps
import sweeps.run.worker
from sweeps.__main__ import main
from sweeps.grid.grid import cells_of
from sweeps.run.driver import Execution, run_sweep
from sweeps.store.folder import CELLS, Store
from tlab.nn.activations import ACTIVATIONS, Gelu

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs dask[distributed]")
# Its servers and clients leave these open to the end of their own threads.
from_dask = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


class KillsItsProcess(Gelu):
    """As a cell that runs out of memory ends: without a word."""

    def forward(self, x):
        os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Slow(Gelu):
    """Takes its time, so that there is one in which to kill it."""

    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)


@linux
def test_a_cell_that_kills_its_process_is_killed_and_takes_no_other_with_it(small, folder, register):
    register(ACTIVATIONS, "kills", KillsItsProcess)
    grid = small(activation=("kills", "gelu", "relu"), seeds=(0, 1))
    result = run_sweep(grid, Store(folder), Execution(jobs=2, attempts=2))
    assert result.counts == {"killed": 2, "ok": 4} and result.problem is None
    killed = [row for row in result.table.rows if row["status"] == "killed"]
    assert {row["activation"] for row in killed} == {"kills"} and all(row["attempts"] == 2 for row in killed)


@linux
def test_after_a_kill_of_the_driver_no_orphan_computes_on_and_the_same_command_gets_over_a_killed_worker(tmp_path):
    assert main(["run", *kill_sweeps.GRID, "--jobs", "1", "--out", str(tmp_path / "quiet")]) == 0
    folder = tmp_path / "killed"
    assert kill_sweeps.kill_driver(folder, after=0.0, cells=2)
    assert kill_sweeps.kill_worker(folder, 0.0, random.Random(0))
    assert kill_sweeps.numbers(folder) == kill_sweeps.numbers(tmp_path / "quiet")


@dask
@pytest.mark.parametrize("kind", [pytest.param("dask", marks=from_dask)])
def test_a_dask_cluster_gives_the_same_bits_also_with_a_worker_killed(small, folder, register, kind):
    from distributed import LocalCluster

    register(ACTIVATIONS, "slow", Slow)
    grid = small(activation=("slow", "gelu"), seeds=(0, 1, 2), steps=(30,))
    run_sweep(grid, Store(folder / "here"))
    execution = {"backend": kind, "jobs": 2}
    killed = []

    def kill_one(folder_of_run):
        """Once the first results are there."""
        pids = [worker.pid for worker in cluster.workers.values() if worker.pid]
        killed.append(random.Random(0).choice(pids))
        os.kill(killed[0], signal.SIGKILL)

    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(n_workers=2, silence_logs=50, **options) as cluster:
        import threading

        def watch():
            cells = folder / "there" / CELLS
            while not cells.exists() or len(list(cells.glob("*.json"))) < 2:
                time.sleep(0.01)
            kill_one(folder)

        watcher = threading.Thread(target=watch)
        watcher.start()
        store = Store(folder / "there")
        result = run_sweep(grid, store, Execution(scheduler=cluster.scheduler_address, **execution))
        watcher.join()
    assert killed and result.counts == {"ok": 6} and result.problem is None
    for name in ("here", "there"):
        (folder / name / "numbers").write_text(repr(kill_sweeps.numbers(folder / name)))
    assert kill_sweeps.numbers(folder / "here") == kill_sweeps.numbers(folder / "there")


@dask
@pytest.mark.parametrize("kind", [pytest.param("dask", marks=from_dask)])
def test_a_cell_that_kills_every_dask_worker_is_killed_and_the_sweep_ends(small, folder, register, kind):
    import dask
    import distributed  # noqa: F401, its settings are known from then on

    register(ACTIVATIONS, "kills", KillsItsProcess)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        grid = small(activation=("kills", "gelu"))
        result = run_sweep(grid, Store(folder), Execution(jobs=2, backend=kind))
    assert result.counts == {"killed": 1, "ok": 1} and result.problem is None


@dask
@pytest.mark.parametrize("kind", [pytest.param("dask", marks=from_dask)])
def test_a_scheduler_that_goes_away_ends_the_sweep_with_what_is_done(small, folder, kind):
    import subprocess

    program = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)\n"
        "    print(cluster.scheduler_address, flush=True); input()\n"
    )
    (folder.parent / "cluster.py").write_text(program)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, str(folder.parent / "cluster.py")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment) as c:
        assert c.stdout is not None
        address = c.stdout.readline().strip()
        import threading

        def watch():
            while not (folder / CELLS).exists() or not list((folder / CELLS).glob("*.json")):
                time.sleep(0.01)
            c.kill()

        watcher = threading.Thread(target=watch)
        watcher.start()
        grid = small(seeds=tuple(range(8)), steps=(1000,))
        result = run_sweep(grid, Store(folder), Execution(backend=kind, scheduler=address))
        watcher.join()
    assert result.problem is not None and result.counts["ok"] >= 1 and result.missing >= 1


def test_a_backend_that_is_not_installed_is_told(small, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run_sweep(small(), Store(folder), Execution(backend="ray"))
    assert "needs ray" in result.problem and result.missing == 1


def test_no_scheduler_at_the_address_is_told(small, folder):
    pytest.importorskip("distributed")
    sweep = run_sweep(small(), Store(folder), Execution(backend="dask", scheduler="tcp://127.0.0.1:9"))
    assert "no dask scheduler answers" in sweep.problem and len(cells_of([small()])) == sweep.missing
    assert not sweeps.run.worker._in_flight

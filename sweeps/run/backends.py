"""The ways to train cells side by side, all through joblib: processes here (loky), a dask cluster, ray.

Each takes an iterable of tasks, drawn one by one as workers become free, and yields outcomes in the order in which they
come. None of them raises for a single cell; `BackendError` means that all workers are gone.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from sweeps.grid.begin import BeginConfig
from sweeps.run.worker import Task, TaskResult, begin_worker, run_task
from tlab.text.corpora import Corpus

Corpora: TypeAlias = dict[BeginConfig, Corpus]
Tasks: TypeAlias = Iterable[Task]
RunTasks: TypeAlias = Callable[[Tasks, bool], Iterator[TaskResult]]
"""(tasks, alone) -> outcomes; `alone`: one cell at a time, in a process where it can do no harm to another."""


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a cell; the cells in flight are lost, the others can go on."""


class BackendError(RuntimeError):
    """There are no workers, or no longer any; the message says why and what to do."""


def outcomes_of(tasks: Tasks, corpora: Corpora, at_once: Any) -> Iterator[TaskResult]:
    """Let joblib run the tasks, each outcome as soon as it is there.

    A worker gets its next cell when it has finished one (`at_once`), so a driver that is killed leaves no queue
    behind; and only one, since a whole batch would be lost with its worker.
    """
    calls = (delayed(run_task)(task, corpora[task.cell.text]) for task in tasks)
    options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": at_once, "return_as": "generator_unordered"}
    yield from Parallel(**options)(calls)  # pyright: ignore[reportReturnType]


def training_processes(count: int) -> parallel_config:
    """In this block joblib's calls go to so many processes of this machine, which only train cells."""
    return parallel_config(
        backend="loky", n_jobs=count, inner_max_num_threads=1, initializer=begin_worker, initargs=(os.getpid(),)
    )


def end_processes() -> None:
    """joblib keeps its processes for the next call; where there is none, no one waits for what they are doing."""
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)


@contextmanager
def loky(jobs: int, scheduler: str | None, corpora: Corpora) -> Iterator[RunTasks]:
    """Processes on this machine; with one job, this process itself."""

    def train(tasks: Tasks, alone: bool) -> Iterator[TaskResult]:
        processes, at_once = (2, 1) if alone else (jobs, jobs)  # joblib makes no process for a single job
        with training_processes(processes):
            try:
                yield from outcomes_of(tasks, corpora, at_once)
            except BrokenProcessPool as error:
                raise WorkerDied(str(error).partition("\n")[0]) from error

    try:
        yield train
    finally:
        end_processes()


@contextmanager
def dask(jobs: int, scheduler: str | None, corpora: Corpora) -> Iterator[RunTasks]:
    """A dask cluster: the one at the scheduler's address, or one that is started here and ended with the sweep."""
    try:
        from distributed import Client, LocalCluster

        from sweeps.run.dask_backend import NAME
    except ImportError as error:
        raise BackendError(
            f'--backend dask needs dask ({error}): pip install "transformer-intuition-lab[cluster]", or use loky'
        ) from error
    with ExitStack() as stack:
        if scheduler is None:
            # No dashboard: it would want a port and a package more. A cell that ends its worker gets a second chance
            # with a new one, as many times as dask's own setting says.
            options: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
            cluster: Any = stack.enter_context(LocalCluster(n_workers=jobs, **options))
            scheduler = cluster.scheduler_address
        if not re.fullmatch(r"(\w+://)?[^/:]+:\d+", scheduler or ""):
            raise BackendError(f"{scheduler!r} is no address of a dask scheduler, such as tcp://host:8786")
        try:
            client = stack.enter_context(Client(scheduler, timeout=10, set_as_default=False))
        except (OSError, ValueError, TimeoutError) as error:
            raise BackendError(
                f"no dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`, or name another"
            ) from error

        def train(tasks: Tasks, alone: bool) -> Iterator[TaskResult]:
            with parallel_config(backend=NAME, client=client):
                try:
                    yield from outcomes_of(tasks, corpora, 1 if alone else "n_jobs")
                except TimeoutError as error:  # joblib's, where no worker comes within ten seconds
                    raise BackendError(
                        f"the scheduler at {scheduler} has no workers; start some with `dask worker {scheduler}`"
                    ) from error

        yield train


@contextmanager
def ray(jobs: int, scheduler: str | None, corpora: Corpora) -> Iterator[RunTasks]:
    """A ray cluster. joblib's backend for it gives results as a list only, so it gets a few cells for each worker."""
    try:
        import ray as ray_package  # pyright: ignore[reportMissingImports]
        from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BackendError(f"--backend ray needs ray ({error}): pip install ray, or use loky") from error
    ray_package.init(address=scheduler, num_cpus=None if scheduler else jobs, log_to_driver=False)
    register_ray()
    at_once = int(ray_package.cluster_resources().get("CPU", jobs))

    def train(tasks: Tasks, alone: bool) -> Iterator[TaskResult]:
        tasks = iter(tasks)
        size = 1 if alone else 4 * at_once
        with parallel_config(backend="ray", n_jobs=2 if alone else at_once):
            while chunk := list(itertools.islice(tasks, size)):
                try:
                    calls = [delayed(run_task)(task, corpora[task.cell.text]) for task in chunk]
                    yield from Parallel(batch_size=1)(calls)  # pyright: ignore
                except ray_package.exceptions.RayError as error:
                    raise WorkerDied(str(error).partition("\n")[0]) from error

    try:
        yield train
    finally:
        ray_package.shutdown()


BACKENDS = {"loky": loky, "dask": dask, "ray": ray}

"""joblib's dask backend, extended to report lost tasks: a task that dask gives up has a result too.

joblib's own backend never hears of such a task (joblib 1.6: the callback is called for results alone), and waits for
ever: for a cell that killed every worker it was tried on, or when the scheduler disappears. Imported only where dask
is wanted, since it takes a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from distributed import KilledWorker
from joblib import register_parallel_backend
from joblib._dask import DaskDistributedBackend

from sweeps.run.worker import TaskResult
from sweeps.store.record import FAILED, KILLED

NAME = "dask-recovering"
LOOK_SECONDS = 1.0  # between two looks at the scheduler
PATIENCE_SECONDS = 60.0  # with a cluster that has no workers: they may be on their way back


class Reply:
    """What to do with a task's result, or without one."""

    def __init__(self, callback: Callable[[Any], None], cell_id: str) -> None:
        self.callback = callback
        self.cell_id = cell_id

    def __call__(self, result: Any) -> None:
        """The task's own result, in a list, since joblib knows batches only."""
        self.callback(result)

    def lost(self, status: str, why: str, cluster_is_lost: bool) -> None:
        self.callback([TaskResult(self.cell_id, status, None, None, why, cluster_is_lost)])


class RecoveringDaskBackend(DaskDistributedBackend):
    """joblib's backend, with the places overridden where a task is sent and where it comes back."""

    def effective_n_jobs(self, n_jobs: int | None = 1) -> int:
        """Cores of the cluster, but 2 at least: for one, joblib would train in the driver and leave dask out."""
        return max(2, super().effective_n_jobs(n_jobs))

    def submit(self, func: Any, callback: Any = None) -> Any:
        ((_, (task, *_), _),) = func.items  # a batch of one call
        return super().submit(func, Reply(callback, task.cell.cell_id))

    def start_call(self) -> None:
        super().start_call()
        loop: Any = self.client.loop
        loop.add_callback(self.watch)

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                waiting, reply = self._results.pop(future, None), self._callbacks.pop(future, None)
                if waiting is None or reply is None:  # given up already
                    continue
                if future.status == "finished":
                    waiting.set_result(result)
                    reply(result)
                elif future.status == "error":  # it killed all the workers it was tried on, or they cannot read it
                    waiting.set_result([])
                    status = KILLED if isinstance(result[1], KilledWorker) else FAILED
                    reply.lost(status, str(result[1]), cluster_is_lost=False)
                else:
                    self.give_up(waiting, reply, f"the dask scheduler let it go ({future.status})")
            await asyncio.sleep(0.01)

    def give_up(self, waiting: Any, reply: Reply, why: str) -> None:
        """Let joblib have something in place of a result that will not come, through no fault of its cell."""
        waiting.set_result([])
        reply.lost("", why, cluster_is_lost=True)

    async def watch(self) -> None:
        """Give up all tasks once the scheduler is gone, or has been without workers for a while."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while self._continue:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                scheduler: Any = self.client.scheduler
                about = await asyncio.wait_for(scheduler.identity(), PATIENCE_SECONDS)
            except (OSError, asyncio.TimeoutError, AttributeError) as error:
                self.give_up_all(f"the dask scheduler is gone ({error})")
                continue
            if about["workers"]:
                seen = loop.time()
            elif loop.time() - seen > PATIENCE_SECONDS:
                self.give_up_all(f"the dask cluster has had no workers for {PATIENCE_SECONDS:.0f} s")

    def give_up_all(self, why: str) -> None:
        for future in list(self._callbacks):
            self.give_up(self._results.pop(future), self._callbacks.pop(future), why)


register_parallel_backend(NAME, RecoveringDaskBackend)

"""One batch worked on in parts: by several threads at the same time, and in pieces one after another.

NumPy and the BLAS let go of Python's lock while they compute, so threads of one process do work at the same time. Each
has a replica of the model, with the same weights and a gradient vector of its own, and reads its share of every piece.
The vectors are added up in the order of the threads: so the bits depend on the number of parts, and never on which
thread was faster, or on how many cores there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from tlab.config import ConfigError
from tlab.machine import allowed_threads, one_blas_thread, touch_product_memory
from tlab.nn.model import Transformer
from tlab.training.config import ComputeConfig
from tlab.training.dropout import Dropout
from tlab.types import Ids

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")

# What two threads spend of the processors, over what one does, by the operations forward in each one's part: 1.8 at 15
# million, 1.5 at 29 (the default model on 2 sequences each), 1.2 at 58 and 1.02 at 670; at 2 there is nothing to win.
# The difference is Python's own work, and waking the other thread. Medians of processor time on 2 cores under load.
MIN_FLOPS_PER_THREAD = 32_000_000


class BatchPart(NamedTuple):
    """What one thread reads at once."""

    ids: Ids  # (b, T)
    targets: Ids  # (b, T)
    share: float  # b / B, its share of the batch
    dropout: Dropout | None  # of its sequences


class BatchThreads:
    """A model and its replicas on the same weights, one for each thread.

    Args:
        model: its gradient is what `accumulate_gradients` fills.
        compute: with the number of threads decided, see `decide_threads`.
    """

    def __init__(self, model: Transformer, compute: ComputeConfig) -> None:
        self.model, self.compute = model, compute
        self.threads = compute.threads or 1
        touch_product_memory(self.threads)
        grads = [model.parameters.grad, *(np.zeros_like(model.parameters.grad) for _ in range(1, self.threads))]
        self.replicas = [model.replica(grad, recompute=compute.recompute) for grad in grads]
        if not compute.recompute:
            self.replicas[0] = model
        self.pool: ThreadPoolExecutor | None = None
        self.pool_process = 0

    def helpers(self) -> ThreadPoolExecutor:
        """The threads beside the caller's own, which does the first part; a forked child has none, and makes its own.

        Idle ones end with the pool, when nobody holds it any more.
        """
        from concurrent.futures import ThreadPoolExecutor  # takes time, and most runs have one thread

        if self.pool is None or self.pool_process != os.getpid():
            self.pool = ThreadPoolExecutor(self.threads - 1, "tlab-batch")
            self.pool_process = os.getpid()
        return self.pool

    def accumulate_gradients(self, ids: Ids, targets: Ids, dropout: Dropout | None = None) -> float:
        """Add the gradients of one batch, (B, T) each, to the model's; -> its mean loss in nats per token."""
        work = self.split(ids, targets, dropout)

        def task(i: int) -> float:
            replica = self.replicas[i]
            if i:
                replica.parameters.grad[...] = 0
            return sum(part.share * replica.accumulate_gradients(*part)[0] for part in work[i])

        losses = self.map(task, range(self.threads))
        grads = [replica.parameters.grad for replica in self.replicas]
        for other in grads[1:]:
            grads[0] += other
        return sum(losses)

    def split(self, ids: Ids, targets: Ids, dropout: Dropout | None) -> list[list[BatchPart]]:
        """For each thread the parts that it reads one after another: its share of every piece of the batch."""
        B = len(ids)
        work: list[list[BatchPart]] = [[] for _ in range(self.threads)]
        for piece in np.array_split(np.arange(B), self.compute.micro_batches):
            for parts, rows in zip(work, np.array_split(piece, self.threads), strict=True):
                if len(rows):
                    some = slice(rows[0], rows[-1] + 1)
                    own = dropout.from_row(int(rows[0])) if dropout is not None else None
                    parts.append(BatchPart(ids[some], targets[some], len(rows) / B, own))
        return work

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`task` of each item, shared out in turn, the first ones to the caller's thread; the results are in order.

        An error, or Ctrl-C, is raised after every thread has finished its current item: none keeps working.
        """
        with one_blas_thread():
            if self.threads == 1:
                return [task(item) for item in items]
            from concurrent.futures import wait

            pool = self.helpers()

            errors: Any = np.geterr()  # the caller's; NumPy keeps them for each thread
            stop = threading.Event()

            def serve(i: int) -> list[Result]:
                with np.errstate(**errors):
                    return [task(item) for item in items[i :: self.threads] if not stop.is_set()]

            others: list[Future[list[Result]]] = []
            try:
                with defer_interrupt():
                    others += [pool.submit(serve, i) for i in range(1, self.threads)]
                results = [serve(0)]
            except BaseException:
                stop.set()
                raise
            finally:
                with defer_interrupt():
                    wait(others)
            results += [other.result() for other in others]
        return [results[i % self.threads][i // self.threads] for i in range(len(items))]


# --- how many ---


def decide_threads(compute: ComputeConfig, batch_size: int, operations: float) -> ComputeConfig:
    """`compute` with the number of threads decided: the requested one, or as many as make a step faster.

    How much of a machine a process may use is set by the thread limit of its BLAS: with OPENBLAS_NUM_THREADS or
    threadpoolctl, as in joblib's workers and the app's. The default takes no more than that. `operations` are those of
    the forward pass over one batch, see `tlab.cost.rough_forward_flops`.

    Raises:
        ConfigError: more parts than the batch has sequences.
    """
    most = batch_size // compute.micro_batches
    if most < (compute.threads or 1):
        raise ConfigError(
            f"threads = {compute.threads}, micro_batches = {compute.micro_batches}: a batch of {batch_size} sequences "
            f"has none for some of the parts; micro_batches times threads must be at most {batch_size}"
        )
    if compute.threads is not None:
        return compute
    pay = int(operations / compute.micro_batches / MIN_FLOPS_PER_THREAD)
    return dataclasses.replace(compute, threads=max(1, min(allowed_threads(), most, pay)))


# --- Ctrl-C ---


@contextlib.contextmanager
def defer_interrupt() -> Iterator[None]:
    """Put off Ctrl-C to the end of the block. Only the main thread gets it, so elsewhere nothing is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            signal.raise_signal(signal.SIGINT)

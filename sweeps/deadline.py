"""A time limit on a block of Python, in whichever thread of whichever backend it runs."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_SECONDS = 10.0  # for a block that is told to end; only one that hangs inside of compiled code takes longer
HUNG = 75  # exit code of a worker whose block did not end; sysexits.h: EX_TEMPFAIL


class CellTimeout(BaseException):
    """The time is over. No `Exception`, so that no part of a model takes it for one of its own."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `CellTimeout` inside of the block once it has run for so long; None for no limit.

    A watching thread asks Python to raise the exception in the block's thread, which happens between two bytecodes.
    An alarm signal would reach the main thread only, and dask runs its tasks in others. A block that is stuck in
    compiled code hears of it never; in a worker process, which has nothing else to do, the process then ends itself,
    and its cell counts as one that was killed.
    """
    if seconds is None:
        yield
        return
    thread, lock, over = threading.get_ident(), threading.Lock(), threading.Event()

    def watch() -> None:
        if over.wait(seconds):
            return
        with lock:
            if over.is_set():
                return
            raise_in(thread, CellTimeout)
        if not over.wait(GRACE_SECONDS) and is_worker():
            os._exit(HUNG)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()
        raise_in(thread, None)  # the block ended just as it was told to: nothing may be raised behind it


def raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """Have `exception` raised in another thread, or with None nothing that was asked for before."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(exception) if exception is not None else None
    )


# Set in every process that a backend started for cells; never in the driver, which must not end itself.
_worker: list[bool] = []


def this_is_a_worker() -> None:
    """Tell `deadline` that this process may be ended with the block."""
    _worker.append(True)


def is_worker() -> bool:
    """Whether this process was started for cells alone."""
    return bool(_worker)

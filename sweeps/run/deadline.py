"""A time limit on a block of Python, in whichever thread of whichever backend it runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterator

GRACE_SECONDS = 10.0  # for a block that is told to end; only one that hangs inside of compiled code takes longer
HUNG = 75  # exit code of a worker whose block did not end; sysexits.h: EX_TEMPFAIL


class CellTimeout(BaseException):
    """The time is over. No `Exception`, so that no part of a model takes it for one of its own."""


@contextlib.contextmanager
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
    thread, lock = threading.get_ident(), threading.Lock()
    asked, over = threading.Event(), threading.Event()

    def watch() -> None:
        if over.wait(seconds):
            return
        with lock:
            if over.is_set():
                return
            asked.set()
            raise_in(thread, CellTimeout)
        if not over.wait(GRACE_SECONDS) and is_worker():
            os._exit(HUNG)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    came = False
    try:
        yield
    except CellTimeout:
        came = True
        raise
    finally:
        if not came:
            with contextlib.suppress(CellTimeout):
                with lock:
                    over.set()
                # Asked for just as the block ended: it comes between two bytecodes, and must not come behind this.
                # To take it back instead would leave Python 3.11 on the watch for it, and slow, for good.
                while asked.is_set():
                    time.sleep(0.001)
        over.set()


def raise_in(thread: int, exception: type[BaseException]) -> None:
    """Have `exception` raised in another thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))


# Set in every process that a backend started for cells; never in the driver, which must not end itself.
_worker: list[bool] = []


def this_is_a_worker() -> None:
    """Tell `deadline` that this process may be ended with the block."""
    _worker.append(True)


def is_worker() -> bool:
    """Whether this process was started for cells alone."""
    return bool(_worker)

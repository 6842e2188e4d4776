"""The machine under the numbers: the threads of the BLAS, versions, and what becomes of memory that was freed."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "0.1.0"  # of the lab

# --- threads ---


def allowed_threads() -> int:
    """Number of cores that this process may use, at most the thread limit of its BLAS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [library.num_threads for library in blas().lib_controllers if library.user_api == "blas"]
    return min([cores, *limits])


@functools.cache
def blas() -> Any:
    """What sets the threads of the BLAS that NumPy has loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


class OneThread:
    """How many are inside `one_blas_thread`, and what to put back when the last of them leaves."""

    lock = threading.Lock()
    inside = 0
    before: Any = None


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit each matrix product to one thread inside the block: batches are split over threads instead.

    The setting is the process's. Nested and simultaneous uses are counted, so the last to leave puts it back.
    """
    with OneThread.lock:
        if not OneThread.inside:
            OneThread.before = blas().limit(limits=1)
        OneThread.inside += 1
    try:
        yield
    finally:
        with OneThread.lock:
            OneThread.inside -= 1
            if not OneThread.inside:
                OneThread.before.restore_original_limits()


def environment(threads: int) -> dict[str, Any]:
    """What determines the bits of a result besides seeds and configs: versions, the BLAS, and the number of threads."""
    from threadpoolctl import threadpool_info

    blas = [
        {name: library.get(name) for name in ("internal_api", "version", "architecture", "num_threads")}
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]
    return {
        "threads": threads,
        "tlab": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "blas": blas,
    }


# --- memory ---


def call_glibc(name: str, *arguments: int) -> bool:
    """Whether a function of the C library did what it was asked; False where there is none, as it is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        return bool(getattr(ctypes.CDLL(None), name)(*arguments))
    except (OSError, AttributeError):
        return False


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library's allocator, once a process, to reuse what is freed. A model calls it when it is made.

    A training step makes and drops some tens of megabytes of arrays. By default glibc returns them to the kernel
    each time, and the kernel hands out fresh pages, zeroed one by one, at the next step: half of a step's time.
    The price: a process keeps its peak memory until it ends.

    Returns:
        whether it took effect: on Linux with glibc. Elsewhere nothing is changed.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
    ONE_GIB = 1 << 30
    return call_glibc("mallopt", M_MMAP_THRESHOLD, ONE_GIB) and call_glibc("mallopt", M_TRIM_THRESHOLD, ONE_GIB)


class TouchedMemory:
    """For how many products at a time the BLAS's own memory has been written to."""

    products = 0


TRIES = 10  # to have all threads multiply at the same time; on a busy machine one of them may come late


def touch_product_memory(threads: int = 1) -> None:
    """Have the BLAS write, once a process, to a bit more of its own memory than the products of a small model need.

    A model calls this when it is made, and threads that share a batch when they are to begin. OpenBLAS copies blocks of
    both factors to a memory of its own, and its kernels fetch ahead of what they read: behind small blocks, where
    nothing was ever written, there is no page to be found, and each attempt costs the search. With those for AVX2 a
    transposed 1,024 x 64 matrix times 1,024 x 256 took 2.6 ms, and takes 0.9 once a larger product has been there; with
    that memory given back to the system it took 2.6 ms again. The larger product takes 4 ms.

    Args:
        threads: how many multiply at the same time, each in a memory of its own.
    """
    if threads <= TouchedMemory.products:
        return
    with one_blas_thread():  # else each of the BLAS's threads would write to its own share only
        for _ in range(TRIES):
            if multiply_at_once(threads):
                break
    TouchedMemory.products = threads


def multiply_at_once(threads: int) -> bool:
    """Make the larger product in so many threads, this one among them; -> whether there was a moment of all."""
    a, b = np.ones((128, 384), np.float32), np.ones((384, 1024), np.float32)
    start = threading.Barrier(threads, timeout=5.0)  # seconds; whoever waits for one that never comes gives up
    spans: list[tuple[float, float]] = []

    def multiply() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait()
            began = time.perf_counter()
            a.dot(b)
            spans.append((began, time.perf_counter()))

    helpers = [threading.Thread(target=multiply, daemon=True) for _ in range(1, threads)]
    for helper in helpers:
        helper.start()
    multiply()
    for helper in helpers:
        helper.join()
    return len(spans) == threads and max(began for began, _ in spans) < min(ended for _, ended in spans)


def share_heaps() -> bool:
    """Let all threads of this process take memory from two heaps, and not from one each: for a server of many threads.

    What a thread's own heap holds in free pieces is of use to no other thread, and hardly ever goes back to the system.

    Returns:
        whether it took effect: on Linux with glibc. Elsewhere nothing is changed.
    """
    M_ARENA_MAX = -8  # from malloc.h
    return call_glibc("mallopt", M_ARENA_MAX, 2)


def give_back_memory() -> bool:
    """Return to the operating system what is free now, in spite of `keep_freed_memory`: for a server between visitors.

    Returns:
        whether there was any to return: on Linux with glibc. Elsewhere nothing is done.
    """
    return call_glibc("malloc_trim", 0)


def forget_peak_memory() -> None:
    """Reset the process's peak memory, where the system can do that (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much a container may have: control groups of version 2, and of version 1."""


def total_memory() -> int | None:
    """Bytes of memory that this machine has, or its container may have; None where the system does not say."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # Windows has none of it
        return None
    for place in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the latter: "max", for no limit
            found.append(int(Path(place).read_text("ascii")))
    return min(found)


def peak_memory_mib() -> float | None:
    """Peak memory of this process since `forget_peak_memory`, in MiB; None where the system does not report it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024  # the system counts in KiB
    return None

"""Memory that was freed: kept for the next training step, shared, or given back when nobody will need it soon."""

from __future__ import annotations

import functools
import sys


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library's allocator, once a process, to reuse what is freed. A model calls it when it is made.

    A training step makes and drops some tens of megabytes of arrays. By default glibc returns them to the kernel
    each time, and the kernel hands out fresh pages, zeroed one by one, at the next step: half of a step's time.
    The price: a process keeps its peak memory until it ends.

    Returns:
        whether it took effect: on Linux with glibc. Elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
    ONE_GIB = 1 << 30
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, ONE_GIB)) and bool(mallopt(M_TRIM_THRESHOLD, ONE_GIB))


def share_heaps() -> bool:
    """Let all threads of this process take memory from two heaps, and not from one each: for a server of many threads.

    What a thread's own heap holds in free pieces is of use to no other thread, and hardly ever goes back to the system.

    Returns:
        whether it took effect: on Linux with glibc. Elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    M_ARENA_MAX = -8  # from malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_ARENA_MAX, 2))


def give_back_memory() -> bool:
    """Return to the operating system what is free now, in spite of `keep_freed_memory`: for a server between visitors.

    Returns:
        whether there was any to return: on Linux with glibc. Elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    return bool(trim(0))


def forget_peak_memory() -> None:
    """Let the process's peak begin anew, where the system can do that (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def peak_memory_mib() -> float | None:
    """Most memory that this process held since `forget_peak_memory`, in MiB; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(line.split() for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(found[1]) / 1024  # the system counts in KiB

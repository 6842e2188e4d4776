"""One driver per folder: a lock that is held as long as the driver lives, however it ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tlab.files import write_atomically

LOCK, DRIVER = "lock", "driver.json"


class LockedError(ValueError):
    """Another driver is at work in the folder, or nobody may write there; the message says which."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, and say in driver.json who holds it.

    The lock is the operating system's, so it ends with its process, even with one that was killed: neither file means
    anything without a process behind it. What driver.json holds, pid and host, is for people, and for workers, who
    compare it to find out whether they share the folder with the driver (`driver_file`).

    Raises:
        LockedError: another driver has it, or the folder cannot be written, or its file system has no locks.
    """
    try:
        lock = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout:
        holder = read_driver(folder)
        raise LockedError(
            f"another sweep is running in {folder}: process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'an unknown host')}. Wait for it or end it, or choose another folder"
        ) from None
    except OSError as error:
        raise LockedError(
            f"{folder} cannot be written: {error.strerror}. Copy it to where you may write, or choose another folder"
        ) from error
    with lock:
        mine = {"pid": os.getpid(), "host": platform.node(), "began": time.time()}
        write_atomically(folder / DRIVER, json.dumps(mine).encode())
        try:
            yield
        finally:
            (folder / DRIVER).unlink(missing_ok=True)


def holder_of(folder: Path) -> dict[str, Any]:
    """The pid and host of the driver that is running in the folder now; {} if there is none."""
    if not (folder / LOCK).exists():
        return {}
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return {}
    except Timeout:
        return read_driver(folder)
    except OSError:  # a folder that may only be read cannot be locked, so nobody can tell
        return {}


def read_driver(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(driver_file(folder)))
    except (ValueError, TypeError):  # it is not there, or damaged
        return {}


def driver_file(folder: Path) -> bytes:
    try:
        return (folder / DRIVER).read_bytes()
    except OSError:
        return b""

"""One driver a folder: a lock that a driver holds as long as it lives, however it ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"


class LockedError(ValueError):
    """Another driver is at work in the folder; the message says which."""


@contextmanager
def locked(folder: Path) -> Iterator[dict[str, Any]]:
    """Hold the folder's lock; -> what the lock's last holder left in it, {} where there was none.

    The lock is the system's (flock), so it ends with its process, also with one that was killed: a lock file
    without a process behind it is no lock. What is written in it, pid and host, is for people, and for workers,
    who see by it whether they share the folder with the driver (`lock_content`).

    Raises:
        LockedError: another driver has it.
        OSError: the folder, or its file system, cannot have one.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        take(file, folder)
        left = parse(os.read(file, 4096))
        mine = {"pid": os.getpid(), "host": platform.node(), "began": time.time()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(mine).encode(), 0)
        yield left
        os.ftruncate(file, 0)  # an end in order leaves nothing behind that would look like an accident
    finally:
        os.close(file)


def take(file: int, folder: Path) -> None:
    """Lock an open file, or say who has it."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = parse(os.read(file, 4096))
        raise LockedError(
            f"another sweep is at work in {folder}: process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'an unknown host')}. Wait for it or end it, or choose another folder"
        ) from None


def parse(content: bytes) -> dict[str, Any]:
    """What a holder wrote, {} where that is not whole."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def holder_of(folder: Path) -> dict[str, Any]:
    """Who is at work in the folder now, {} where nobody is."""
    try:
        with open(folder / LOCK, "rb") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return parse(file.read())
    except OSError:
        pass
    return {}


def lock_content(folder: Path) -> bytes:
    """What is in the lock file now; b"" where there is none."""
    try:
        return (folder / LOCK).read_bytes()
    except OSError:
        return b""

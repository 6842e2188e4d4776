"""Where uploads and exports lie on disk: in a folder of this server alone, for minutes, and within a budget of bytes.

A handler removes an upload as soon as it has read it. What is left (uploads that were broken off, or that no handler
was called for, and exports) goes when it is old, when room is needed, and with the server: also with one that was
killed, when the next one starts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

MAX_BYTES = 200 * 2**20  # of all files together
SECONDS_KEPT = 600.0  # an export is fetched at once, and an upload read
SECONDS_BETWEEN_TIDYINGS = 60.0
VARIABLE = "GRADIO_TEMP_DIR"  # where Gradio looks for the place of its files


class UploadFolder:
    """A new folder below `parent`, which goes with this process.

    Args:
        parent: where other servers may have theirs as well; of those that have ended all is removed.
        budget: bytes that all files together may have.
    """

    def __init__(self, parent: Path, budget: int = MAX_BYTES) -> None:
        self.budget = budget
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent)
        self.folder = parent / secrets.token_hex(8)
        self.owner = FileLock(lock_of(self.folder)).acquire(timeout=0)
        self.folder.mkdir()

    def tidy(self, room: int = 0) -> None:
        """Remove what is old; then the oldest, until there is room for so many bytes more."""
        now, left = time.time(), 0
        for changed, size, path in sorted(files_in(self.folder), reverse=True):
            left += size
            if now - changed > SECONDS_KEPT or left > self.budget - room:
                remove(path)

    def remove_unfinished(self) -> None:
        """Remove what uploads that were broken off have left; for when none is on its way.

        One that arrives whole is moved into a folder of its own.
        """
        for path in self.folder.glob("*"):
            if path.is_file():
                with contextlib.suppress(OSError):
                    path.unlink()

    def watch(self) -> None:
        """Tidy for as long as the process lives."""
        while True:
            time.sleep(SECONDS_BETWEEN_TIDYINGS)
            self.tidy()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.owner.lock.release(force=True)
            lock_of(self.folder).unlink()


@functools.cache
def upload_folder() -> UploadFolder:
    """That of this process, which Gradio takes from now on."""
    uploads = UploadFolder(Path(os.environ.get(VARIABLE) or Path(tempfile.gettempdir()) / "tlab-uploads"))
    os.environ[VARIABLE] = str(uploads.folder)
    atexit.register(uploads.close)
    threading.Thread(target=uploads.watch, daemon=True, name="tlab-uploads").start()
    return uploads


def lock_of(folder: Path) -> Path:
    """The file that its server holds locked as long as it lives, however it ends."""
    return folder.with_suffix(".lock")


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of servers that have ended."""
    for path in parent.glob("*.lock"):
        with contextlib.suppress(Timeout, OSError), FileLock(path).acquire(timeout=0):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink()


def files_in(folder: Path) -> list[tuple[float, int, Path]]:
    """When each file was changed, and its size."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it has just gone
            if path.is_file():
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
    return found


def remove(path: Path) -> None:
    """A file, and the folder that it was alone in."""
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()  # where others are left, this does nothing

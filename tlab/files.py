"""Files that are written whole or not at all, and tables as text for them."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can be neither removed nor replaced
    fcntl = None

RANDOM_LETTERS = 8  # that `tempfile` puts at the end of a name


# --- whole files ---


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole and on the disk; an error leaves it alone.

    What killed processes left of the same file is removed.
    """
    remove_half_written(path.parent, glob.escape(path.name))
    with open_beside(path) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are private, results are not
            if fcntl is not None:
                os.replace(file.name, path)  # before it is closed, and with that no longer ours
        except BaseException:
            os.unlink(file.name)
            raise
    if fcntl is None:
        os.replace(file.name, path)


def open_beside(path: Path) -> Any:
    """A new hidden file in the folder of `path`, locked as long as it is open: that says that somebody writes it."""
    import tempfile  # here, as it would be an eighth of the time of `import tlab`

    while True:
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
        if fcntl is None:
            return file
        with contextlib.suppress(OSError):  # a file system without locks: then nobody removes it either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):
            return file
        file.close()  # another process took it for left over, in the moment before it was locked


def remove_half_written(folder: Path, *names: str) -> None:
    """Remove what killed processes left half-written of files of these names, which may be patterns.

    A file that any process is writing stays.
    """
    for name in names:
        for path in folder.glob(f".{name}.{'?' * RANDOM_LETTERS}"):
            with contextlib.suppress(OSError):
                if fcntl is None:
                    path.unlink()
                    continue
                with open(path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where its writer lives
                    path.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, and put it in its place only when it is whole and on the disk."""
    with replaced(path) as file:
        file.write(content)


# --- tables ---


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Comma-separated under the names of the columns, every digit kept."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()

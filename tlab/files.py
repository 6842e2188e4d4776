"""Files that are written whole or not at all, and tables as text for them."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

RANDOM_LETTERS = 8  # that `tempfile` puts at the end of a name


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole and on the disk; an error leaves it alone."""
    import tempfile  # here, as it would be an eighth of the time of `import tlab`

    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are private, results are not
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)


def remove_half_written(folder: Path, names: Collection[str]) -> None:
    """Remove what a killed process left of files of these names; for the one process that writes into the folder."""
    for name in names:
        for path in folder.rglob(f".{name}.{'?' * RANDOM_LETTERS}"):
            with contextlib.suppress(OSError):
                path.unlink()


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Comma-separated under the names of the columns, every digit kept."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, and put it in its place only when it is whole and on the disk."""
    with replaced(path) as file:
        file.write(content)

"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, and put it in its place only when it is whole and on the disk."""
    with replaced(path) as file:
        file.write(content)

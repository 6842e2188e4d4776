"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, and put it in its place only when it is whole and on the disk."""
    import tempfile  # here, as it would be an eighth of the time of `import tlab`

    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are private, results are not
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)

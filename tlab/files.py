"""Files that are written whole or not at all, files of arrays, checksums that lie beside them, and tables as text."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can be neither removed nor replaced
    fcntl = None

RANDOM_LETTERS = 8  # that `tempfile` puts at the end of a name
SUMS_NAME = "SHA256SUMS"
"""Checksums of files beside it, in the form that `sha256sum --check` reads."""
READ_AT_ONCE = 1 << 20
PICTURE_KINDS = ("png", "svg")  # as which every figure is written


class DamagedFileError(ValueError):
    """A file whose content is not what was written."""


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


# --- arrays ---


def raw_bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array in order: where they lie, and a copy only of a strided view."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def safetensors_parts(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """A safetensors file piece by piece: its head, then the numbers of each array of float32 or float64.

    The library's own writer holds all of them twice more, and writes a strided view wrong without a word.
    Source: https://github.com/huggingface/safetensors.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # each begins at a multiple of its size
    head: dict[str, Any] = {"__metadata__": dict(metadata)}
    begin = 0
    for name in names:
        array, end = tensors[name], begin + tensors[name].nbytes
        kind = {"float32": "F32", "float64": "F64"}[array.dtype.name]
        head[name], begin = {"dtype": kind, "shape": array.shape, "data_offsets": (begin, end)}, end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield raw_bytes(tensors[name])


# --- checksums ---


@contextmanager
def with_checksums(folder: Path, names: Collection[str]) -> Iterator[None]:
    """Write files of `folder` inside; those of `names` that are there afterwards get a checksum in SHA256SUMS.

    In between they have none, so a process that is killed leaves no file beside the checksum of another one.
    """
    others = {name: checksum for name, checksum in read_checksums(folder).items() if name not in names}
    if (folder / SUMS_NAME).exists():
        write_checksums(folder, others)
    yield
    write_checksums(folder, others | {name: file_sha256(folder / name) for name in names if (folder / name).is_file()})


def write_checksums(folder: Path, checksums: dict[str, str]) -> None:
    """Write SHA256SUMS."""
    lines = [f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items())]
    write_atomically(folder / SUMS_NAME, "".join(lines).encode())


def read_checksums(folder: Path) -> dict[str, str]:
    """Name of a file -> the sha256 of what was written; nothing of a folder of an early version."""
    try:
        lines = (folder / SUMS_NAME).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}


def check_file(path: Path) -> None:
    """Refuse a file that has a checksum beside it, and another content.

    Raises:
        DamagedFileError: it has.
        OSError: it cannot be read.
    """
    written = read_checksums(path.parent).get(path.name)
    if written is not None and file_sha256(path) != written:
        raise DamagedFileError(f"it was damaged or changed since it was written: its sha256 is not that in {SUMS_NAME}")


def damaged_files(folder: Path) -> list[str]:
    """The names of the files that are not what was written."""
    written = read_checksums(folder)
    return [name for name in written if (folder / name).is_file() and file_sha256(folder / name) != written[name]]


def file_sha256(path: Path) -> str:
    """Read a part at a time: curves may not fit into memory."""
    import hashlib  # a twentieth of the time that `import tlab` takes

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(READ_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


# --- tables ---


def file_name(name: str) -> str:
    """A run's name as that of a file: letters and digits of any script, and hyphens between them."""
    return "-".join(re.findall(r"[\w.]+", name)).strip("-.") or "run"


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Comma-separated under the names of the columns, every digit kept."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()


def refuse_place(name: str, value: object, reader: str) -> None:
    """Refuse a path or a name where what lies there is wanted.

    Args:
        name: of the argument.
        value: what was given.
        reader: the call that reads it, such as "Checkpoint.load".

    Raises:
        TypeError: it is a string or a path.
    """
    if isinstance(value, (str, os.PathLike)):
        place = os.fspath(value)
        raise TypeError(f"{name} = {place!r} is where something lies; give what {reader}({place!r}) reads from there")

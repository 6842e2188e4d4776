"""Tensors of a folder of safetensors files, in one or in several: mapped into memory, and copied only to convert them.

The format is a length, a header in JSON, and the numbers: https://github.com/huggingface/safetensors. It is read here
because the library's reader for NumPy needs another package for bfloat16.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlab.pretrained.fields import PretrainedError
from tlab.types import Array, Shape

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
NUMBER_TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Types of numbers that are read. Of bfloat16, which NumPy does not have, the bits."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class StoredTensor(NamedTuple):
    """Where a tensor lies."""

    file: Path
    kind: str
    shape: Shape
    begin: int  # of its numbers, in bytes from the file's first
    end: int

    def numbers(self) -> Array:
        """In float32: a part of the file where it is so stored, else a copy."""
        stored = (
            np.memmap(self.file, NUMBER_TYPES[self.kind], "r", self.begin, self.shape)
            if self.size
            else np.empty(self.shape, NUMBER_TYPES[self.kind])
        )
        if self.kind == "BF16":  # the upper half of a float32
            return (np.asarray(stored, np.uint32) << 16).view(np.float32)
        return np.asarray(stored, np.float32)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder by name; their numbers are not read yet.

    Raises:
        PretrainedError: there is none, a file is missing, or one is damaged or of a kind that is not opened.
    """
    files = {path: tensors_of_file(path) for path in weight_files(folder)}
    found: dict[str, StoredTensor] = {}
    for tensors in files.values():
        if twice := sorted(found.keys() & tensors.keys()):
            raise PretrainedError(f"{folder} has {twice[0]} in two files; take them from one model's folder")
        found |= tensors
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the model of a folder."""
    if (folder / INDEX).is_file():
        names = names_in_index(folder / INDEX)
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise PretrainedError(
                f"{folder} has {len(names) - len(missing)} of the {len(names)} files that {INDEX} names; missing: "
                f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. Download them, too"
            )
        return [folder / name for name in names]
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
        raise PretrainedError(
            f"{folder} holds its weights as {pickles[0]}, a pickle: opening one runs whatever code is in it, so it was "
            "not opened. Take the model as safetensors; model.save_pretrained(FOLDER) writes them"
        )
    raise PretrainedError(f"{folder} has neither {ONE_FILE} nor {INDEX}; a model is a folder of safetensors files")


def names_in_index(path: Path) -> list[str]:
    """The files, of the index's own folder, that the weights are in."""
    names = sorted(set(map(str, json_object(path).get("weight_map", {}).values())))
    if not names or not all(Path(name).name == name for name in names):
        raise PretrainedError(f"{path} is damaged: it names no files of its own folder")
    return names


def tensors_of_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors that the header of a file lists, once they are found to fill the file.

    Raises:
        PretrainedError: they do not, or the header is none.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise PretrainedError(f"{path} is truncated, or no safetensors file")
        header = file.read(length)
    try:
        listed = json.loads(header)
        listed.pop("__metadata__", None)
        found = {name: stored_tensor(path, about, first=8 + length) for name, about in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PretrainedError(f"{path} is damaged or no safetensors file: its header cannot be read") from error
    if (needed := max((tensor.end for tensor in found.values()), default=0)) > size:
        raise PretrainedError(f"{path} is truncated: it has {size:,} of {needed:,} bytes; download it again")
    for name, tensor in found.items():
        if tensor.kind not in NUMBER_TYPES:
            raise PretrainedError(
                f"{name} in {path} is stored as {tensor.kind}; the lab reads {', '.join(NUMBER_TYPES)}, and no others"
            )
        if tensor.end - tensor.begin != tensor.size * NUMBER_TYPES[tensor.kind].itemsize:
            raise PretrainedError(f"{path} is damaged: {name} of shape {tensor.shape} fills another number of bytes")
    return found


def stored_tensor(path: Path, about: Mapping[str, Any], first: int) -> StoredTensor:
    """What a header says of one tensor; `first` is where the numbers of the file begin."""
    shape, (begin, end) = tuple(map(int, about["shape"])), map(int, about["data_offsets"])
    if min(begin, *shape, 0) < 0:
        raise ValueError("a negative size")
    return StoredTensor(path, about["dtype"], shape, first + begin, first + end)


def json_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        PretrainedError: there is none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PretrainedError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PretrainedError(f"{path} is damaged: it is not JSON ({error})") from error
    if not isinstance(values, Mapping):
        raise PretrainedError(f"{path} is damaged: it holds no names with values")
    return values

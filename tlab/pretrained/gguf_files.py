"""A model in one GGUF file, as llama.cpp has it: what is in it, and its bytes.

A file is read by the package gguf. Weights that are stored in fewer bits come as the float32 numbers that these stand
for; what is written is in float32. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tlab.pretrained.families  # noqa: F401, they fill the registry
from tlab.pretrained.family import GGUF_FAMILIES
from tlab.pretrained.fields import PretrainedError
from tlab.types import Array, Shape

SUFFIX = ".gguf"


class QuantizedTensor(NamedTuple):
    """A tensor of the file, which is made numbers when it is asked for."""

    file: Path
    stored: Any  # a ReaderTensor

    @property
    def shape(self) -> Shape:
        """GGUF counts from the innermost."""
        return tuple(map(int, reversed(self.stored.shape)))

    def numbers(self) -> Array:
        """In float32."""
        from gguf.quants import dequantize

        try:
            array = dequantize(self.stored.data, self.stored.tensor_type).reshape(self.shape)
        except (NotImplementedError, ValueError) as error:
            raise PretrainedError(
                f"{self.stored.name} in {self.file} is stored as {self.stored.tensor_type.name}, which the package "
                f"gguf cannot read ({error})"
            ) from error
        return np.asarray(array, np.float32)


class GgufFile(NamedTuple):
    """What is in a file."""

    architecture: str  # a key of `GGUF_FAMILIES`
    entries: Mapping[str, Any]  # without the architecture before their names, and with "tensors", the names of these
    tensors: Mapping[str, QuantizedTensor]
    tokenizer: Mapping[str, Any]  # its entries about tokens
    kinds: tuple[str, ...]  # of numbers in it


def read_gguf(path: Path) -> GgufFile:
    """What is in a GGUF file; its numbers are not read yet.

    Raises:
        PretrainedError: the package is missing, the file is damaged or none, or its architecture is not known.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise PretrainedError(f"{path} needs the package gguf ({error}): pip install gguf") from error
    try:
        reader = GGUFReader(path)
        found = {name: entry.contents() for name, entry in reader.fields.items()}
        tensors = {tensor.name: QuantizedTensor(path, tensor) for tensor in reader.tensors}
    except Exception as error:  # whatever the bytes of a damaged file lead the package to
        raise PretrainedError(f"{path} is truncated, damaged or no GGUF file ({type(error).__name__})") from error
    name = found.get("general.architecture")
    if not isinstance(name, str) or name not in GGUF_FAMILIES:
        raise PretrainedError(
            f"{path} is of the architecture {name!r}; of GGUF the lab reads {', '.join(GGUF_FAMILIES)}"
        )
    entries = {**after(f"{name}.", found), "tensors": frozenset(tensors)}
    if "token_embd.weight" in tensors:
        entries["vocab_size"] = tensors["token_embd.weight"].shape[0]
    kinds = sorted({tensor.stored.tensor_type.name for tensor in tensors.values()})
    return GgufFile(name, entries, tensors, after("tokenizer.ggml.", found), tuple(kinds))


def after(prefix: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): shortest(value) for name, value in entries.items() if name.startswith(prefix)}


def shortest(value: Any) -> Any:
    """A number of the file; of one in float32 the shortest that it stands for, 1e-05 and not 9.99999974e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


ALIGNMENT = 32  # bytes, of each tensor in a file
UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9  # kinds of entries


def packed_entry(value: Any) -> tuple[int, bytes]:
    """An entry's kind and bytes. The package gguf writes no empty list, and bytes that are never joined have one."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return UINT32, struct.pack("<I", value)
    if isinstance(value, float):
        return FLOAT32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, string(value)
    each = [packed_entry(one) for one in value]
    kind = each[0][0] if each else STRING
    return ARRAY, struct.pack("<IQ", kind, len(each)) + b"".join(part for _, part in each)


def string(text: str) -> bytes:
    """Its length in bytes, and its bytes."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def file_parts(entries: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[bytes]:
    """A file piece by piece: its head, then each tensor, in float32."""
    sizes = {name: 4 * array.size for name, array in tensors.items()}  # in bytes
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    for name, value in entries.items():
        kind, data = packed_entry(value)
        head += string(name) + struct.pack("<I", kind) + data
    begin = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]  # from the innermost
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, begin)
        begin += sizes[name] + -sizes[name] % ALIGNMENT
    yield head + bytes(-len(head) % ALIGNMENT)
    for name, array in tensors.items():
        yield np.asarray(array, np.float32).tobytes() + bytes(-sizes[name] % ALIGNMENT)

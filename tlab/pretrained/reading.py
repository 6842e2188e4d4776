"""A folder of Hugging Face, or a GGUF file -> config, weights and tokenizer of the lab."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tlab.pretrained.families  # noqa: F401, they fill the registry
from tlab.machine import total_memory
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.nn.params import all_finite
from tlab.pretrained.family import FAMILIES, GGUF_FAMILIES, Family
from tlab.pretrained.fields import ContextLength, PretrainedError
from tlab.pretrained.gguf_files import SUFFIX, QuantizedTensor, read_gguf
from tlab.pretrained.gguf_tokenizers import tokenizer_json
from tlab.pretrained.hub import CONFIG_FILE, EXAMPLE_NAME, TOKENIZER_FILE, downloaded, is_hub_name
from tlab.pretrained.safetensors_files import PICKLES, StoredTensor, json_object, stored_tensors
from tlab.text import Tokenizer
from tlab.text.given import EXAMPLE_IDS, IdsTokenizer, JsonTokenizer
from tlab.types import Array, Shape
from tlab.wording import several

COPIES = 2  # of the weights in float32, the file's counted, that are in memory while a model is imported and written


AnyTensor = StoredTensor | QuantizedTensor
Tell = Callable[[str], Any]
"""Is given what is about to be done, in a sentence."""
TellProgress = Callable[[float], Any]
"""Is given how much of the weights has been read, of 1."""


class Pretrained(NamedTuple):
    """A model from elsewhere, as the lab has it."""

    config: ModelConfig
    weights: dict[str, Array]  # of the lab's names and shapes; parts of the files where these are in float32
    tokenizer: Tokenizer
    architecture: str  # a key of `FAMILIES`, or of `GGUF_FAMILIES`
    remarks: tuple[str, ...]  # what is not as it was, or was not read, in sentences
    origin: str  # where it was found


def read_pretrained(
    place: str | os.PathLike[str],
    context_length: int | None = None,
    tell: Tell = lambda _: None,
    progress: TellProgress = lambda _: None,
) -> Pretrained:
    """Read a folder as `save_pretrained` of Transformers writes it, here or on the hub; or a GGUF file.

    Args:
        place: a folder with config.json, safetensors files and, where the model is to read text, tokenizer.json; the
            name of a model of the hub, OWNER/NAME; or a file that ends in .gguf.
        context_length: of the model in the lab, by default its own, or 2,048 where that is longer.
        tell: is given how much is downloaded and read, in sentences, before it is.
        progress: is given how much of the weights has been read, of 1, tensor by tensor.

    Raises:
        PretrainedError: there is no such model, it is damaged, or it cannot be represented exactly.
    """
    path = Path(place)
    if path.suffix == SUFFIX and path.is_file():
        return read_gguf_model(path, context_length, tell, progress)
    if path.suffix == SUFFIX or not is_hub_name(os.fspath(place)):
        return read_folder(path, context_length, tell, progress)

    def check(folder: Path) -> None:
        theirs = json_object(folder / CONFIG_FILE)
        check_machine(family_of(folder, theirs).model_config(theirs, context_length))

    folder = downloaded(os.fspath(place), check, tell)
    origin = f"{os.fspath(place)} of the Hugging Face hub, revision {folder.name[:12]}"
    return read_folder(folder, context_length, tell, progress)._replace(origin=origin)


def read_folder(folder: Path, context_length: int | None, tell: Tell, progress: TellProgress) -> Pretrained:
    """The model in a folder; arguments and errors as of `read_pretrained`."""
    check_folder(folder)
    theirs = json_object(folder / CONFIG_FILE)
    family = family_of(folder, theirs)
    config = family.model_config(theirs, context_length)
    weights = read_weights(folder, family, theirs, config, stored_tensors(folder), tell, progress)
    tokenizer, remarks = read_tokenizer(folder, config.vocab_size)
    remarks = (*remarks_on_config(family, theirs, config), *remarks)
    return Pretrained(config, weights, tokenizer, theirs["model_type"], remarks, folder.resolve().name)


def read_gguf_model(path: Path, context_length: int | None, tell: Tell, progress: TellProgress) -> Pretrained:
    """The model in a GGUF file; arguments and errors as of `read_pretrained`."""
    file = read_gguf(path)
    family = GGUF_FAMILIES[file.architecture]
    config = family.model_config(file.entries, context_length)
    weights = read_weights(path, family, file.entries, config, file.tensors, tell, progress)
    remarks = [*remarks_on_config(family, file.entries, config)]
    remarks.append(f"Its weights are stored as {', '.join(file.kinds)}; they are read as what these stand for.")
    try:
        tokenizer = JsonTokenizer(tokenizer_json(file.tokenizer), config.vocab_size)
    except (ValueError, KeyError, TypeError) as error:
        tokenizer = IdsTokenizer(config.vocab_size)
        remarks.append(f"Its tokenizer cannot be used ({error}): texts are ids, such as {EXAMPLE_IDS!r}.")
    return Pretrained(config, weights, tokenizer, file.architecture, tuple(remarks), path.resolve().name)


def read_weights(
    place: Path,
    family: type[Family],
    theirs: Mapping[str, Any],
    config: ModelConfig,
    tensors: Mapping[str, AnyTensor],
    tell: Tell,
    progress: TellProgress,
) -> dict[str, Array]:
    """The lab's weights, once names, shapes and numbers were found to be right."""
    stored = weights_among(family, tensors)
    head = tied_head(family, config)
    check_shapes_of(place, family.their_shapes(config, theirs), {n: t.shape for n, t in stored.items() if n != head})
    check_machine(config)
    tell(size_words(config))
    arrays: dict[str, Array] = {}
    whole, read = sum(math.prod(tensor.shape) for tensor in stored.values()), 0
    for name, tensor in stored.items():
        arrays[name] = tensor.numbers()
        if not all_finite(arrays[name]):
            raise PretrainedError(f"{name} in {tensor.file} holds NaN or infinity")
        read += arrays[name].size
        progress(read / whole)
    weights = family.weights(arrays, config)
    if head in arrays and not np.array_equal(arrays[head], weights["embedding.weight"]):
        raise PretrainedError(
            f"{family.described_in} says that {head} is the embedding's, but in {place} it is another one"
        )
    return weights


def check_folder(folder: Path) -> None:
    """Refuse what is no folder of a model; no file is opened."""
    if folder.suffix in PICKLES and folder.is_file():
        raise PretrainedError(
            f"{folder} is a pickle: opening one runs whatever code is in it, so it was not opened. Name a folder of "
            "safetensors files"
        )
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise PretrainedError(
            f"{folder} {what}; name a folder with {CONFIG_FILE} and safetensors files, a file that ends in {SUFFIX}, "
            f"or a model of the Hugging Face hub by owner and name, as {EXAMPLE_NAME}"
        )
    if not (folder / CONFIG_FILE).is_file():
        raise PretrainedError(f"{folder} has no {CONFIG_FILE}, so it is no folder of a model of Hugging Face")


def family_of(folder: Path, theirs: Mapping[str, Any]) -> type[Family]:
    """The declaration of the architecture that their config names."""
    name = theirs.get("model_type")
    if name is None:
        raise PretrainedError(f"{folder / CONFIG_FILE} names no model_type, so it is of no model of Hugging Face")
    if name not in FAMILIES:
        raise PretrainedError(f"{FAMILIES.explain(name)} What it would need is not in the lab, or was never compared")
    return FAMILIES[name]


def weights_among(family: type[Family], stored: Mapping[str, AnyTensor]) -> dict[str, AnyTensor]:
    """The tensors that are weights, by their names of now."""
    is_trunk = not any(name.startswith(family.trunk) for name in stored)
    named = {family.their_name(name, is_trunk): tensor for name, tensor in stored.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}


def tied_head(family: type[Family], config: ModelConfig) -> str | None:
    """What a head is called that a file may have beside the embedding, though both are one."""
    if not config.tied:
        return None
    untied = family.tensors(dataclasses.replace(config, tied=False))
    return next(tensor.theirs[0] for tensor in untied if tensor.ours == "head.weight")


def check_shapes_of(folder: Path, needed: Mapping[str, Shape], given: Mapping[str, Shape]) -> None:
    """Refuse a folder whose tensors are not those that its config describes; the first that differ are named."""
    for what, names in (("lacks", needed.keys() - given.keys()), ("also has", given.keys() - needed.keys())):
        if names:
            shown = ", ".join(sorted(names)[:4]) + (" ..." if len(names) > 4 else "")
            raise PretrainedError(f"{folder} {what} {several(len(names), 'tensor')} by what its config says: {shown}")
    differing = sorted(name for name in needed if needed[name] != given[name])
    if differing:
        details = ", ".join(f"{name} has {given[name]}, needs {needed[name]}" for name in differing[:4])
        raise PretrainedError(
            f"{folder}: {several(len(differing), 'tensor')} of another shape than its config says: {details}"
        )


def num_weights(config: ModelConfig) -> int:
    """How many numbers such a model is made of."""
    return sum(math.prod(shape) for shape in Transformer.parameter_shapes(config).values())


def needed_bytes(config: ModelConfig) -> int:
    """Memory that importing and writing such a model takes at its peak."""
    return COPIES * 4 * num_weights(config)


def size_words(config: ModelConfig) -> str:
    """How large a model is, before it is read."""
    layers, count = several(config.num_layers, "layer"), num_weights(config)
    return (
        f"Reading {count:,} weights in {layers}: {4 * count / 2**20:,.0f} MiB in float32, and up to "
        f"{needed_bytes(config) / 2**20:,.0f} MiB of memory at its peak"
    )


def check_machine(config: ModelConfig) -> None:
    """Refuse a model that this machine cannot hold, before it is read."""
    there = total_memory()
    if there is not None and (needed := needed_bytes(config)) > there:
        raise PretrainedError(
            f"this model needs {needed / 2**30:.0f} GiB of memory at its import, and this machine has "
            f"{there / 2**30:.0f}; take a smaller one"
        )


def remarks_on_config(family: type[Family], theirs: Mapping[str, Any], config: ModelConfig) -> Iterator[str]:
    """What of their config is not as it was, or was not read."""
    longest = next(theirs[field.theirs] for field in family.fields if isinstance(field, ContextLength))
    if longest > config.context_length:
        yield (
            f"It reads {config.context_length:,} tokens at once; its own limit is {longest:,}, which the commands take "
            "with --context-length."
        )
    if unread := family.unread(theirs):
        said = ", ".join(f"{name} = {str(value)[:40]}" for name, value in unread.items())
        yield f"Not read, as the lab does not know it: {said}."
    if family.remark:
        yield family.remark


def read_tokenizer(folder: Path, vocab_size: int) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of a folder, or one that shows ids; and what there is to say about it."""
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return IdsTokenizer(vocab_size), [f"There is no {TOKENIZER_FILE}: texts are ids, such as {EXAMPLE_IDS!r}."]
    try:
        return JsonTokenizer(path.read_text(encoding="utf-8"), vocab_size), []
    except ValueError as error:
        return IdsTokenizer(vocab_size), [f"{path} cannot be used ({error}): texts are ids, such as {EXAMPLE_IDS!r}."]

"""A model of the lab -> files for other programs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlab.files import replaced, safetensors_parts, write_atomically
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.nn.positions import rotated_width
from tlab.nn.residuals import RESIDUALS
from tlab.pretrained.family import FAMILIES, GGUF_FAMILIES, Family
from tlab.pretrained.fields import PretrainedError, parts_beyond
from tlab.pretrained.gguf_files import SUFFIX, file_parts
from tlab.pretrained.gguf_tokenizers import tokenizer_entries
from tlab.pretrained.reading import CONFIG_FILE, TOKENIZER_FILE
from tlab.pretrained.rewriting import REWRITINGS, OwnHead, Rewriting, rewritten, rewritten_config, ways_to_write
from tlab.pretrained.safetensors_files import ONE_FILE
from tlab.registry import Registry
from tlab.text import Tokenizer
from tlab.training.records import StepRecord
from tlab.training.trackers import TrackerError, numbers_of, opened_tracker
from tlab.types import Array
from tlab.wording import several

EXPORTS: Registry[type[Export]] = Registry("export")


class Model(NamedTuple):
    """What is exported."""

    config: ModelConfig
    weights: Mapping[str, Array]
    tokenizer: Tokenizer
    settings: Mapping[str, Any] = {}  # of model and training by name
    records: Sequence[StepRecord] = ()  # of its training, step by step


class Export:
    """The contract: one format."""

    def write(self, model: Model, folder: Path) -> list[str]:
        """Write the model's files into a new folder; -> what there is to say about them, in sentences.

        Raises:
            PretrainedError: this format cannot represent the model, or a package is missing.
        """
        raise NotImplementedError


class Target(NamedTuple):
    """An architecture of another program, and the model as it is written for it."""

    key: str
    family: type[Family]  # its declaration
    config: ModelConfig
    way: Sequence[Rewriting]
    complaints: Sequence[str]  # what of the config it does not have
    differing: Sequence[str] = ()  # where all of that fits: what of the weights it has no place for

    def tensors(self, model: Model) -> dict[str, Array]:
        """The model's weights as the architecture has them."""
        return self.family.their_weights(rewritten(model.weights, model.config, self.way), self.config)

    @property
    def words(self) -> list[str]:
        """What was done to the model so that the architecture has it, in sentences."""
        return [f"Written for it: {rewriting.words}." for rewriting in self.way]


def targets(
    config: ModelConfig,
    weights: Mapping[str, Array] | None,
    families: Mapping[str, type[Family]] = FAMILIES,
    rewritings: Sequence[Rewriting] = REWRITINGS,
) -> Iterator[Target]:
    """Every architecture with every way to write such a model, the ways with the fewest rewritings first."""
    for way in ways_to_write(config, rewritings):
        as_written = rewritten_config(config, way)
        for key, family in families.items():
            complaints = family.written(as_written)[1]
            if complaints:
                yield Target(key, family, as_written, way, complaints)
                continue
            as_read = rewritten(weights, config, way) if weights is not None else None
            yield Target(key, family, as_written, way, (), family.differing(as_read, as_written))


def target_of(config: ModelConfig, weights: Mapping[str, Array] | None = None) -> Target:
    """The stock class that computes exactly what such a model does, with these weights or with any.

    Raises:
        PretrainedError: there is none; the message names the nearest, and what it lacks.
    """
    none = "no stock class of Transformers computes what this model does"
    return nearest_of(targets(config, weights), none, lambda target: target.family.stock_class)


def nearest_of(found: Iterable[Target], none: str, name: Callable[[Target], str]) -> Target:
    """The target without a complaint.

    Raises:
        PretrainedError: there is none, which `none` says; the nearest is named, and what it lacks.
    """
    nearest = min(found, key=lambda target: (len(target.complaints), len(target.differing)))
    if complaints := [*nearest.complaints, *nearest.differing]:
        raise PretrainedError(f"{none}. The nearest is {name(nearest)}, but {'; '.join(complaints)}")
    return nearest


@EXPORTS.add("hf", label="Hugging Face", source="the library Transformers")
class HuggingFace(Export):
    """A folder that AutoModelForCausalLM and AutoTokenizer open, with a stock class or with code of its own.

    It is a stock class where one computes exactly the same; else two short files of code lie beside the weights.
    """

    def write(self, model: Model, folder: Path) -> list[str]:
        try:
            target = target_of(model.config, model.weights)
        except PretrainedError as why:
            return write_own_code(model, folder, str(why))
        about = {"model_type": target.key, "architectures": [target.family.stock_class]}
        write_folder(target.tensors(model), {**about, **target.family.their_config(target.config)}, folder)
        opened = f"AutoModelForCausalLM opens it as {target.family.stock_class}."
        return [opened, *target.words, *rounding(model), *write_tokenizer(model, folder)]


def write_folder(weights: Mapping[str, Array], about: Mapping[str, Any], folder: Path) -> None:
    """config.json and model.safetensors, in float32."""
    no_tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # a class's own are not the tokenizer's
    tensors = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    with replaced(folder / ONE_FILE) as file:
        file.writelines(safetensors_parts(tensors, {"format": "pt"}))
    write_json(folder / CONFIG_FILE, {**about, **no_tokens, "dtype": "float32"})


def write_own_code(model: Model, folder: Path, why: str) -> list[str]:
    """A folder with code of its own, for a model that no stock class is; -> what there is to say about it.

    Raises:
        PretrainedError: PyTorch is missing, or this code does not have all of the model's parts either.
    """
    try:
        about, state = as_module(model)
        from tlab.pretrained import torch_model
    except PretrainedError as error:
        raise PretrainedError(f"{why}. With code of its own: {error}") from error
    auto_map = {"AutoConfig": "modeling_tlab.TlabConfig", "AutoModelForCausalLM": "modeling_tlab.TlabForCausalLM"}
    settings = {"use_cache": False, "tie_word_embeddings": False}  # the module itself reads a tied head
    own = {"model_type": "tlab", "architectures": ["TlabForCausalLM"], "auto_map": auto_map, **settings}
    write_folder({f"model.{name}": array for name, array in state.items()}, {**about, **own}, folder)
    write_json(folder / "generation_config.json", {"use_cache": False})
    module = Path(torch_model.__file__)
    for path in (module, module.with_name("modeling_tlab.py")):
        write_atomically(folder / path.name, path.read_bytes())
    return [
        f"It has code of its own, modeling_tlab.py and torch_model.py: {why}.",
        "AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True) runs it, and so does AutoTokenizer.",
        *rounding(model),
        *write_tokenizer(model, folder),
    ]


@EXPORTS.add("torch", label="PyTorch", source="the library PyTorch")
class Torch(Export):
    """A state dict and one readable file with its nn.Module, which runs without the lab."""

    def write(self, model: Model, folder: Path) -> list[str]:
        about, state = as_module(model)
        import torch

        from tlab.pretrained import torch_model

        torch.save({name: torch.from_numpy(array) for name, array in state.items()}, folder / "weights.pt")
        write_json(folder / CONFIG_FILE, about)
        write_atomically(folder / "model.py", Path(torch_model.__file__).read_bytes())
        return [
            "In that folder: from model import load; load()(torch.tensor([[0, 1]])) are the logits.",
            *write_tokenizer(model, folder),
        ]


@EXPORTS.add("gguf", label="GGUF", source="the format of llama.cpp")
class Gguf(Export):
    """One file for llama.cpp, in float32, where GGUF has the architecture and the tokenizer."""

    def write(self, model: Model, folder: Path) -> list[str]:
        found = targets(model.config, model.weights, GGUF_FAMILIES, (OwnHead(), *REWRITINGS))
        none = f"of GGUF the lab writes {', '.join(GGUF_FAMILIES)}, and none computes what this model does"
        target = nearest_of(found, none, lambda target: target.key)
        said = target.family.their_config(target.config)
        entries = {"general.architecture": target.key, **{f"{target.key}.{name}": said[name] for name in said}}
        cutter = model.tokenizer.as_library()
        if cutter is None:
            tokens, about_tokens = {"tokenizer.ggml.model": "none"}, "It has no tokenizer, as the model has none."
        else:
            tokens = tokenizer_entries(cutter.to_str(), model.config.vocab_size)
            about_tokens = (
                "It names no token for the end of a text; llama.cpp then takes one of the others for it, unless it is "
                "run with --ignore-eos."
            )
        name = f"model{SUFFIX}"
        with replaced(folder / name) as file:
            file.writelines(file_parts({**entries, **tokens}, target.tensors(model)))
        what = f"{name} is of the architecture {target.key}, in float32."
        return [what, *target.words, about_tokens, *rounding(model)]


@EXPORTS.add("tensorboard", label="TensorBoard", source="https://www.tensorflow.org/tensorboard")
class TensorBoardEvents(Export):
    """The losses and all else that was recorded of a training, as a file of events for TensorBoard."""

    def write(self, model: Model, folder: Path) -> list[str]:
        if not model.records:
            raise PretrainedError("nothing was recorded of its training: the model was imported, or has made no step")
        try:
            with opened_tracker("tensorboard", folder, "", model.settings) as tracker:
                for record in model.records:
                    tracker.log(record.step, numbers_of(record))
        except TrackerError as error:
            raise PretrainedError(str(error)) from error
        return [f"It has {several(len(model.records), 'step')}; tensorboard --logdir on this folder shows them."]


def as_module(model: Model) -> tuple[dict[str, Any], dict[str, Array]]:
    """The config and the state, as arrays, of the module in PyTorch that computes what the model does.

    Raises:
        PretrainedError: PyTorch is missing, or the module does not have all of the model's parts.
    """
    try:
        import torch  # noqa: F401, so that its absence is told here

        from tlab.pretrained import torch_model
    except ImportError as error:
        raise PretrainedError(f"this needs PyTorch, which is not here ({error}): pip install torch") from error

    config = model.config
    known = {
        "norm": torch_model.NORM_CLASSES,
        "qk_norm": torch_model.NORM_CLASSES,
        "activation": torch_model.NONLINEARITIES,
        "residual": torch_model.ADDITIONS,
        "position": torch_model.PLACES_OF_ORDER,
        "attention_softmax": torch_model.WEIGHTINGS,
    }
    for field, parts in known.items():
        if (chosen := getattr(config, field)) not in parts:
            raise PretrainedError(f"{field} = {chosen!r}: the module in PyTorch has {', '.join(parts)} alone")
    if beyond := parts_beyond(config, torch_model.FIELDS):
        raise PretrainedError(f"of the module in PyTorch: {'; '.join(beyond)}")
    matrices = {
        name
        for name, param in Transformer.declared_parameters(config).items()
        if param.role == "matrix" or name == "head.weight"
    }
    state = {
        torch_name(name): np.array(array.T if name in matrices else array, order="C")
        for name, array in model.weights.items()
    }
    about = {
        **dataclasses.asdict(config),
        "head_dim": config.head_dim,
        "kv_heads": config.kv_heads,
        "mlp_dim": config.mlp_dim,
        "gated": ACTIVATIONS[config.activation].gated,
        "rotated_width": rotated_width(config.head_dim, config.rope_fraction),
        "final_norm": RESIDUALS[config.residual].final_norm,
    }
    return about, state


def torch_name(name: str) -> str:
    """What a parameter of the lab is called in the module: scale and shift of a norm as PyTorch has them."""
    for ours, theirs in ((".scale", ".weight"), (".shift", ".bias")):
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    return name


def rounding(model: Model) -> list[str]:
    """What there is to say of numbers that the format rounds."""
    kind = model.weights["embedding.weight"].dtype
    return [] if kind == np.float32 else [f"Its weights, of {kind}, are rounded to float32."]


def write_tokenizer(model: Model, folder: Path) -> list[str]:
    """Write tokenizer.json, and beside it what lets AutoTokenizer take it as it is; -> what there is to say."""
    cutter = model.tokenizer.as_library()
    if cutter is None:
        return [f"There is no {TOKENIZER_FILE}, as the model has no tokenizer."]
    write_atomically(folder / TOKENIZER_FILE, cutter.to_str(pretty=False).encode())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.config.context_length,
        },
    )
    return []


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """An object as a JSON file."""
    write_atomically(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def new_folder_of_files(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` once all is written; an error leaves nothing.

    Raises:
        PretrainedError: `folder` holds something already, or cannot be made.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise PretrainedError(f"{folder} is there already, and nothing is overwritten; name another one with --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise PretrainedError(f"{folder} cannot be made: {error.strerror}; name another one with --out") from error
    try:
        yield beside
        os.chmod(beside, 0o755)  # temporary folders are private
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        beside.rename(folder)
    except OSError as error:
        raise PretrainedError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)

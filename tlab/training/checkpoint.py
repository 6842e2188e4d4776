"""The only thing of a run that crosses the border of a process, a session or a disk.

On disk it is one safetensors file: weights under their public names, the optimizer's vectors and the records beside
them, and the configs as JSON in the file's header. One file is written or it is not; there is no half.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlab.config import ConfigError
from tlab.files import as_csv, raw_bytes, replaced, safetensors_parts
from tlab.machine import give_back_memory
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.nn.params import all_finite, check_shapes
from tlab.text import Tokenizer, tokenizer_from_json
from tlab.text.units import BytesPerToken, bits_per_byte
from tlab.training.config import ComputeConfig, TrainConfig
from tlab.training.optimizers import OPTIMIZERS
from tlab.training.records import Divergence, StepRecord
from tlab.types import Array, Ids

if TYPE_CHECKING:
    from tlab.pretrained.reading import Pretrained

FILE_NAME = "checkpoint.safetensors"
FORMAT = "tlab 1"
OPTIMIZER_PREFIX = "optimizer."
LIVE_WEIGHTS = "live_weights"  # in the optimizer's state, where the weights are an average of them
RECORDS_NAME = "records"
HOW_TO_IMPORT = "Of a pretrained model `tlab import` makes a run."
RECORD_COLUMNS = StepRecord._fields[:-1]  # all but the divergence, which is text


class CheckpointError(ValueError):
    """A file that is no usable checkpoint, or not one for this purpose."""


@dataclass(frozen=True, eq=False)  # eq would compare arrays
class Checkpoint:
    """A run at one step: configs, corpus record, weights, optimizer state, and all records up to it.

    With ema_decay the weights are the average that was validated, and those that are trained on are in the state.
    """

    model_config: ModelConfig
    train_config: TrainConfig
    corpus: Mapping[str, Any]  # `Corpus.describe()`: name, sha256, size, licence, origin, tokenizer
    step: int
    weights: Mapping[str, Array]
    optimizer_state: Mapping[str, Array] = field(default_factory=dict)
    """Vector name -> (num_parameters,). May be left out: then the run cannot be resumed."""
    records: list[StepRecord] = field(default_factory=list)
    compute: ComputeConfig = ComputeConfig()  # noqa: RUF009, frozen
    """How it was computed, so that a resumed run adds up in the same order."""
    started_from: Mapping[str, Any] | None = None
    """Where its first weights came from: name, step and sha256, as `weights_sha256` gives it; None for random ones."""

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with, made once: some have 50,000 tokens."""
        return tokenizer_from_json(self.corpus["tokenizer"])

    @property
    def bytes_per_token(self) -> BytesPerToken | None:
        """By which its losses become bits per byte; None in checkpoints of early versions."""
        recorded = self.corpus.get("bytes_per_token")
        return BytesPerToken(**recorded) if recorded is not None else None

    @property
    def is_imported(self) -> bool:
        """Whether it was trained elsewhere, on a text that is not known here."""
        return not self.corpus["sha256"]

    @cached_property
    def weights_sha256(self) -> str:
        """By which the weights are known, whatever file they are in; read once, as a large model takes a second."""
        return fingerprint("", self.weights)

    @property
    def divergence(self) -> Divergence | None:
        """Why the run ended early, or None."""
        return self.records[-1].divergence if self.records else None

    @property
    def dtype(self) -> np.dtype:
        """The weights' number type."""
        return next(iter(self.weights.values())).dtype

    def model(self) -> Transformer:
        """A live model with these weights."""
        return Transformer.of_weights(self.model_config, self.weights, self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # and nothing that was made of them

    def last_ids(self, text: str) -> Ids:
        """The ids (T,) of the end of a text, of as many tokens as the model reads at once.

        Raises:
            UnknownCharacterError: the vocabulary has not all of its characters.
        """
        return self.tokenizer.encode(text)[-self.model_config.context_length :]

    @classmethod
    def from_pretrained(cls, place: str | os.PathLike[str], context_length: int | None = None) -> Checkpoint:
        """A model of Hugging Face, from a folder or the hub: to look into, to generate with, to train further.

        Its weights are parts of the files where these hold them in float32: leave the files as they are.

        Args:
            place: a folder as `save_pretrained` writes it, with config.json, safetensors files and, where the model is
                to read text, tokenizer.json; or OWNER/NAME of the hub, which is downloaded into the library's cache.
            context_length: tokens that it reads at once; by default its own limit, or 2,048 where that is higher.

        Raises:
            PretrainedError: there is no such model, it is damaged, or the lab cannot represent it exactly.
        """
        from tlab.pretrained.reading import read_pretrained

        return cls.of_pretrained(read_pretrained(place, context_length), Path(place).resolve().name)

    @classmethod
    def of_pretrained(cls, model: Pretrained, name: str) -> Checkpoint:
        """A checkpoint, of no step and no text of ours, of a model that was read."""
        corpus = {
            "name": f"that of {name}",
            "sha256": "",
            "size": 0,
            "licence": "unknown",
            "origin": f"imported from {model.origin}, of the architecture {model.architecture}",
            "tokenizer": model.tokenizer.to_json(),
        }
        return cls(model.config, TrainConfig(), corpus, 0, model.weights)

    def export(self, folder: str | os.PathLike[str], to: str = "hf") -> list[str]:
        """Write the model for other programs into a new folder; -> what there is to say about it, in sentences.

        Args:
            folder: where to; it may be there, but has to be empty.
            to: a key of `tlab.pretrained.writing.EXPORTS`.

        Raises:
            PretrainedError: the format cannot represent the model exactly, a package is missing, or the folder cannot
                be written. Nothing is left of it then.
        """
        from tlab.pretrained.writing import EXPORTS, Model, new_folder_of_files

        export = EXPORTS[to]()
        with new_folder_of_files(Path(folder)) as beside:
            settings = {**self.train_config.to_json(), **self.model_config.to_json()}
            return export.write(Model(self.model_config, self.weights, self.tokenizer, settings, self.records), beside)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `checkpoint.safetensors` into `folder`, made where it is missing; -> the file's path.

        It is written beside its place and moved there when it is complete, so that an earlier checkpoint stays
        whole until this one is.
        """
        tensors = {
            **self.weights,
            **{OPTIMIZER_PREFIX + name: vector for name, vector in self.optimizer_state.items()},
            RECORDS_NAME: records_as_table(self.records),
        }
        about = {
            "format": FORMAT,
            "model_config": self.model_config.to_json(),
            "train_config": self.train_config.to_json(),
            "compute": self.compute.to_json(),
            "corpus": dict(self.corpus),
            "step": self.step,
            "divergence": self.divergence,
            "started_from": self.started_from,
        }
        header = json.dumps(about)
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as file:
            file.writelines(safetensors_parts(tensors, {"tlab": header, "sha256": fingerprint(header, tensors)}))
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Checkpoint:
        """Read what `save` wrote: `folder`, or the path of the file itself.

        Raises:
            CheckpointError: there is none, it is damaged, it is another program's, or its arrays do not fit its
                configs.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(folder)
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise CheckpointError(
                f"no checkpoint at {path}; expected a run folder with a {FILE_NAME} in it. A run that ended before its "
                f"first validation has none; start it again. {HOW_TO_IMPORT}"
            )
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = tensors_of(file, path.stat().st_size)
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            if path.suffix == ".gguf":
                raise CheckpointError(f"{path} is a GGUF file and not yet a run. {HOW_TO_IMPORT}") from error
            raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
        if not {"tlab", "sha256"} <= metadata.keys():
            raise CheckpointError(
                f"{path} was not written by this program: its header does not say what it is. {HOW_TO_IMPORT}"
            )
        if fingerprint(metadata["tlab"], tensors) != metadata["sha256"]:
            raise CheckpointError(f"{path} is damaged: its content is not what was written; take it from a copy")
        try:
            checkpoint = cls.from_tensors(json.loads(metadata["tlab"]), tensors)
            give_back_memory()  # what reading took besides the arrays: of a large tokenizer as much as a layer has
            return checkpoint
        except (TypeError, ValueError, AttributeError, OverflowError) as error:  # an UnknownKeyError is a ValueError
            raise CheckpointError(f"{path} cannot be used: {error}") from error
        except KeyError as error:
            raise CheckpointError(f"{path} cannot be used: its header has no {error}") from error

    @classmethod
    def from_tensors(cls, about: Mapping[str, Any], tensors: dict[str, Array]) -> Checkpoint:
        """A checkpoint of a file's header and arrays, once they are found to fit each other."""
        if about["format"] != FORMAT:
            raise CheckpointError(f"its format is {about['format']!r}; this version reads {FORMAT!r}")
        model_config = ModelConfig.from_json(about["model_config"])
        train_config = TrainConfig.from_json(about["train_config"])
        compute = ComputeConfig.from_json(about.get("compute", {}))  # files from before it was recorded have none
        for name, kind in {"name": str, "sha256": str, "size": int}.items():
            if not isinstance(about["corpus"][name], kind):
                raise CheckpointError(f"its corpus has the {name} {about['corpus'][name]!r}")
        check_bytes_per_token(about["corpus"].get("bytes_per_token"))
        started_from = about.get("started_from")
        check_started_from(started_from)
        tokenizer = tokenizer_from_json(about["corpus"]["tokenizer"])
        if tokenizer.vocab_size != model_config.vocab_size:
            raise ConfigError(f"vocab_size = {model_config.vocab_size}, but its tokenizer has {tokenizer.vocab_size}")
        divergence = read_divergence(about["divergence"])
        records = records_from_table(tensors.pop(RECORDS_NAME), divergence)
        check_step(about["step"], records, train_config.steps)
        state = {
            name.removeprefix(OPTIMIZER_PREFIX): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(OPTIMIZER_PREFIX)
        }
        kinds = {array.dtype for array in [*tensors.values(), *state.values()]}
        if kinds not in ({np.dtype(np.float32)}, {np.dtype(np.float64)}):
            raise CheckpointError(f"its arrays are of {', '.join(map(str, kinds))}; needed is one kind of float")
        if model_config.num_layers > len(tensors):
            raise CheckpointError(f"its config has {model_config.num_layers} layers, more than it has arrays")
        shapes = Transformer.parameter_shapes(model_config)
        check_shapes(tensors, shapes)
        check_optimizer_state(train_config, state, sum(math.prod(shape) for shape in shapes.values()))
        for name, array in [*tensors.items(), *state.items()]:
            if not all_finite(array):
                raise CheckpointError(f"{name} holds NaN or infinity")
        return cls(
            model_config, train_config, about["corpus"], about["step"], tensors, state, records, compute, started_from
        )


def tensors_of(file: Any, size: int) -> dict[str, Array]:
    """Every array of an open safetensors file of so many bytes; those of the model lie in one piece of memory.

    An allocator gives a large piece back to the system when it is freed, and keeps many small ones.
    """
    room, begin, tensors = np.empty(size, np.uint8), 0, {}
    for name in file.keys():  # noqa: SIM118, not a mapping
        array = file.get_tensor(name)
        if not name.startswith((OPTIMIZER_PREFIX, RECORDS_NAME)):
            place = room[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
            place[...] = array
            array, begin = place, begin + array.nbytes
        tensors[name] = array
    return tensors


def check_optimizer_state(config: TrainConfig, state: Mapping[str, Array], num_parameters: int) -> None:
    """Refuse an optimizer state of another optimizer or another model. None at all is for use, not for resuming."""
    if not state:
        return
    names = [*OPTIMIZERS[config.optimizer].state_names, *[LIVE_WEIGHTS] * (config.ema_decay > 0)]
    needed = dict.fromkeys(names, (num_parameters,))
    given = {name: vector.shape for name, vector in state.items()}
    if given != needed:
        raise CheckpointError(f"its optimizer state is {given}; {config.optimizer!r} needs {needed}")


def check_started_from(said: Any) -> None:
    """Refuse what does not say which weights a run began with."""
    kinds = {"name": str, "step": int, "sha256": str}
    if said is not None and any(type(dict(said).get(key)) is not kind for key, kind in kinds.items()):
        raise CheckpointError(f"it says that it started from {said!r}")


def check_bytes_per_token(recorded: Any) -> None:
    """Refuse what bits per byte cannot be computed with; none at all is of an early version."""
    if recorded is None:
        return
    ratios = BytesPerToken(**recorded)
    if not all(type(ratio) in (int, float) and 0 < ratio < math.inf for ratio in ratios):
        raise CheckpointError(f"its tokens have {ratios.train!r} and {ratios.validation!r} bytes on average")


def read_divergence(values: Any) -> Divergence | None:
    """The divergence recorded in a header, or None."""
    if values is None:
        return None
    if not isinstance(values, list) or [type(value) for value in values] != [int, str, str]:
        raise CheckpointError(f"its divergence is {values!r}; needed are a step, a place and a reason")
    return Divergence(*values)


def check_step(step: object, records: list[StepRecord], steps: int) -> None:
    """Refuse a step at which these records cannot end; a step that diverged may have left its update undone."""
    last = records[-1].step if records else 0
    is_undone = bool(records) and records[-1].divergence is not None and step == last - 1
    if not isinstance(step, int) or not 0 <= step <= steps or not (step == last or is_undone):
        raise CheckpointError(f"its step is {step!r}, but its records end at {last} of {steps}")


def fingerprint(header: str, tensors: Mapping[str, Array]) -> str:
    """The sha256 of everything in a file, by which a single changed bit is found out."""
    import hashlib

    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(raw_bytes(tensors[name]))
    return digest.hexdigest()


def records_as_csv(records: Sequence[StepRecord], bytes_per_token: BytesPerToken | None) -> str:
    """metrics.csv: a row a step, in the fewest digits that give the same float again; bits per byte where known."""
    columns = [*RECORD_COLUMNS]
    rows = [[*record[: len(RECORD_COLUMNS)]] for record in records]
    if bytes_per_token is not None:
        columns.append("validation_bits_per_byte")
        for row, record in zip(rows, records, strict=True):
            loss = record.validation_loss
            row.append(None if loss is None else bits_per_byte(loss, bytes_per_token.validation))
    return as_csv(columns, rows)


def records_as_table(records: list[StepRecord]) -> Array:
    """(number of records, columns) in float64, which holds every count exactly; None becomes NaN."""
    rows = [[np.nan if value is None else value for value in record[: len(RECORD_COLUMNS)]] for record in records]
    return np.array(rows, np.float64).reshape(len(rows), len(RECORD_COLUMNS))


def records_from_table(table: Array, divergence: Divergence | None) -> list[StepRecord]:
    """The inverse of `records_as_table`; the divergence belongs to the last record."""
    if table.ndim != 2 or table.shape[1] != len(RECORD_COLUMNS):
        raise CheckpointError(f"its records have shape {table.shape}; needed are {len(RECORD_COLUMNS)} columns")
    records = []
    for row in table.tolist():
        record = StepRecord(**dict(zip(RECORD_COLUMNS, row, strict=True)))
        loss = None if np.isnan(row[RECORD_COLUMNS.index("validation_loss")]) else record.validation_loss
        records.append(record._replace(step=int(record.step), tokens=int(record.tokens), validation_loss=loss))
    if divergence and records:
        records[-1] = records[-1]._replace(divergence=divergence)
    return records

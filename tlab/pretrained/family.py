"""What a family of pretrained models is: one declaration, from which import and export are both read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from tlab.config import ConfigError
from tlab.nn.config import MAX_WIDTH, ModelConfig
from tlab.nn.model import Transformer
from tlab.pretrained.fields import (
    ContextLength,
    Entries,
    Field,
    MissingEntryError,
    PretrainedError,
    parts_beyond,
)
from tlab.pretrained.tensors import Tensor
from tlab.registry import Registry
from tlab.types import Array, Shape

FAMILIES: Registry[type[Family]] = Registry("architecture")
"""What Transformers calls an architecture -> its declaration."""
GGUF_FAMILIES: Registry[type[Family]] = Registry("architecture of GGUF", is_shown=False)
"""What llama.cpp calls an architecture -> the declaration of its files."""

WITHOUT_EFFECT = frozenset((
    "model_type", "architectures", "torch_dtype", "dtype", "transformers_version", "tokenizer_class",
    "_name_or_path", "use_cache", "cache_implementation", "bos_token_id", "eos_token_id", "pad_token_id",
    "unk_token_id", "prefix",
    "task_specific_params", "id2label", "label2id", "num_labels", "attention_dropout", "attn_pdrop",
    "classifier_dropout", "dropout", "embd_pdrop", "hidden_dropout", "layerdrop", "resid_pdrop", "initializer_range",
    "init_std", "n_ctx", "pretraining_tp", "output_past", "gradient_checkpointing", "_attn_implementation",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
))  # fmt: skip
"""Names of their configs that change nothing of what a model computes when it is used."""
NEVER = {
    "quantization_config": "the lab reads weights as numbers of 16 or 32 bits, and none that are quantized",
    "auto_map": "it brings code of its own, which is not run",
}


class Family:
    """The contract. `fields` and `tensors` are the declaration; everything else is read from them."""

    fields: ClassVar[tuple[Field, ...]]
    stock_class: ClassVar[str]
    """The class of Transformers that such a model is."""
    trunk: ClassVar[str]
    """What their names begin with, but for the head's; a file of the trunk alone leaves it out."""
    early_names: ClassVar[Mapping[str, str]] = {}
    """How tensors begin in some versions' files -> what they are called here."""
    dropouts: ClassVar[tuple[str, ...]] = ()
    """Shares of dropout that are not 0 unless their config says so; what is exported has none."""
    described_in: ClassVar[str] = "config.json"
    """Where their config is, in words."""
    without_effect: ClassVar[Collection[str]] = WITHOUT_EFFECT
    """Names of their config that change nothing of what a model computes when it is used."""
    remark: ClassVar[str] = ""
    """What there is to say about every such model that is read, as a sentence."""
    buffers: ClassVar[str] = r"\.(attn|attention)\.(masked_)?bias$|\.rotary_emb\.inv_freq$"
    """Tensors of older files that are no weights: masks and tables."""

    @classmethod
    def tensors(cls, config: ModelConfig) -> Iterator[Tensor]:
        """Every tensor of such a model, in both."""
        raise NotImplementedError

    @classmethod
    def zeros(cls, config: ModelConfig) -> Mapping[str, tuple[Shape, str]]:
        """Tensors that theirs has and the lab does not: of each the shape, and the part that it would need if not 0."""
        return {}

    @classmethod
    def model_config(cls, theirs: Entries, context_length: int | None = None) -> ModelConfig:
        """The lab's config for theirs, with a shorter context where one is asked for.

        Raises:
            PretrainedError: the lab cannot represent it.
        """
        for name, why in NEVER.items():
            if theirs.get(name):
                raise PretrainedError(f"config.json says {name}: {why}")
        ours: dict[str, Any] = {"context_length": context_length}
        try:
            for field in cls.fields:
                ours.update(field.read(theirs, ours))
            return ModelConfig.from_json(ours)
        except PretrainedError:
            raise
        except MissingEntryError as error:
            raise PretrainedError(
                f"{cls.described_in} does not say {error}; take the file from the model's own folder"
            ) from error
        except ConfigError as error:
            raise PretrainedError(f"{cls.described_in} is of a model that the lab cannot represent: {error}") from error
        except (TypeError, ValueError, KeyError, ZeroDivisionError, AttributeError, OverflowError) as error:
            raise PretrainedError(f"{cls.described_in} is damaged: {type(error).__name__}: {error}") from error

    @classmethod
    def their_config(cls, ours: ModelConfig) -> dict[str, Any]:
        """Their config for one of the lab's.

        Raises:
            PretrainedError: it is none that this family has.
        """
        entries, complaints = cls.written(ours)
        if complaints:
            raise PretrainedError("; ".join(complaints))
        return {**entries, **dict.fromkeys(cls.dropouts, 0.0)}

    @classmethod
    def written(cls, ours: ModelConfig) -> tuple[dict[str, Any], list[str]]:
        """Entries of their config, and why there are none for some fields of ours."""
        entries: dict[str, Any] = {}
        complaints = parts_beyond(
            ours, {n for field in cls.fields for n in (*field.our_names, getattr(field, "ours", ""))}
        )
        for field in cls.fields:
            try:
                entries.update(field.write(ours))
            except PretrainedError as error:
                complaints.append(str(error))
        return entries, complaints

    @classmethod
    def unread(cls, theirs: Entries) -> dict[str, Any]:
        """What their config says besides that is not known to be without effect."""
        known = {name for field in cls.fields for name in (*field.names, getattr(field, "theirs", ""))}
        known.update(cls.without_effect)
        return {
            name: value
            for name, value in theirs.items()
            if name not in known and value is not None and value is not False
        }

    @classmethod
    def their_shapes(cls, config: ModelConfig, theirs: Entries) -> dict[str, Shape]:
        """Name -> shape of every tensor that a file of such a model has."""
        name = next(field.theirs for field in cls.fields if isinstance(field, ContextLength))
        full = dataclasses.replace(config, context_length=min(theirs[name], MAX_WIDTH))
        ours = Transformer.parameter_shapes(full)
        shapes = [tensor.their_shapes(ours[tensor.ours], full) for tensor in cls.tensors(full)]
        zeros = {name: shape for name, (shape, _) in cls.zeros(full).items()}
        return {name: shape for part in (*shapes, zeros) for name, shape in part.items()}

    @classmethod
    def their_name(cls, name: str, is_trunk: bool) -> str | None:
        """What a tensor of a file is called now, whose names may be older or, of the trunk alone, shorter.

        None where it is no weight.
        """
        for early, now in cls.early_names.items():
            if name.startswith(early):
                name = now + name.removeprefix(early)
        if re.search(cls.buffers, name):
            return None
        return cls.trunk + name if is_trunk else name

    @classmethod
    def weights(cls, theirs: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
        """Theirs by name -> ours by name.

        Raises:
            PretrainedError: what the lab does not have is not 0.
        """
        for name, (_, part) in cls.zeros(config).items():
            if theirs[name].any():
                raise PretrainedError(f"{name} is not 0: the lab has no {part}")
        return {
            tensor.ours: tensor.form.read([theirs[name] for name in tensor.theirs], config)
            for tensor in cls.tensors(config)
        }

    @classmethod
    def differing(cls, ours: Mapping[str, Array] | None, config: ModelConfig) -> list[str]:
        """What of our weights theirs has no place for; of weights that are not known, all that may be so.

        It has none for a tensor that it takes to be 0, and one place for two tensors that it takes to be the same.
        """
        first: dict[tuple[str, ...], str] = {}
        lost, unlike = [], []
        for tensor in cls.tensors(config):
            name = tensor.ours
            if not tensor.theirs:
                if ours is None or ours[name].any():
                    lost.append(name)
            elif (other := first.setdefault(tensor.theirs, name)) != name and (
                ours is None or not np.array_equal(ours[name], ours[other])
            ):
                unlike.append(f"{name} and {other}")
        kinds = ((lost, "no", "would have to be 0"), (unlike, "one for", "would have to be equal"))
        return [
            f"it has {what} {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}, which {would}"
            for names, what, would in kinds
            if names
        ]

    @classmethod
    def their_weights(cls, ours: Mapping[str, Array], config: ModelConfig) -> dict[str, Array]:
        """Ours by name -> theirs by name; `differing` says whether that is all of ours."""
        zeros = {name: np.zeros(shape, np.float32) for name, (shape, _) in cls.zeros(config).items()}
        named = {
            name: part
            for tensor in cls.tensors(config)
            for name, part in zip(tensor.theirs, tensor.form.write(ours[tensor.ours], config), strict=True)
        }
        return {**named, **zeros}

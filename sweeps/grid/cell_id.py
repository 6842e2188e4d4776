"""One cell: what decides its numbers, the id made of that, and which cells are one and the same run."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from sweeps.grid.fields import TextConfig
from tlab.config import Config, options
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS, Norm
from tlab.nn.params import ParamSpace
from tlab.nn.residuals import RESIDUALS, Residual
from tlab.registry import REGISTRIES, Entry
from tlab.training.config import TrainConfig
from tlab.types import Array

SCHEMA = 2
"""Part of every cell's id: to be raised when the same config comes to mean other numbers."""

DTYPE = "float32"
OneConfig = TypeVar("OneConfig", ModelConfig, TrainConfig)
Part = tuple[str, Entry[Any]]  # a registry's slot, and what stands there under some key


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run of a sweep: everything that decides its numbers, and nothing else."""

    cell_id: str
    text: TextConfig
    model: ModelConfig
    train: TrainConfig
    corpus_sha256: str
    alias_of: str | None = None
    """The cell that is run instead of this one, because it is the same function of the same weights."""

    @property
    def result_id(self) -> str:
        """The id under which this cell's numbers are stored."""
        return self.alias_of or self.cell_id

    @property
    def seed(self) -> int:
        """The replicate that this cell is."""
        return self.train.seed

    def value(self, field: str) -> Any:
        """What this cell has for any field of any config."""
        for config in (self.text, self.model, self.train):
            if hasattr(config, field):
                return getattr(config, field)
        raise KeyError(field)

    def settings(self) -> dict[str, Any]:
        """Every field with its value."""
        return {**vars(self.text), **vars(self.model), **vars(self.train)}

    def describe(self, axes: Sequence[str]) -> str:
        """What sets it apart in a sweep over `axes`, such as "norm=none seed=1"."""
        return " ".join(f"{field}={self.value(field)}" for field in (*axes, "seed"))


class Half(Generic[OneConfig]):
    """One of the two configs of a cell, with what its id needs of it: made once, used in thousands of cells."""

    def __init__(self, config: OneConfig) -> None:
        self.config = config
        deciding: dict[str, Any] = dict(vars(config))
        if isinstance(config, TrainConfig):  # a data_seed that is left out counts as the seed it then is
            deciding["data_seed"] = config.batch_seed
        # A class from outside the lab counts by its source text: its key may stand for another class tomorrow.
        foreign = {f"{slot} {entry.key}": source_text_sha256(entry.component) for slot, entry in foreign_parts(config)}
        self.json = json.dumps([deciding, foreign], sort_keys=True, separators=(",", ":"))


def identify(text: TextConfig, model: Half[ModelConfig], train: Half[TrainConfig], corpus_sha256: str) -> str:
    """A cell's id: the hash of everything that decides its numbers.

    The text counts by its sha256 and its tokenizer, not by its name or place. Host, time and number of jobs do not.
    """
    decided = "\n".join((str(SCHEMA), DTYPE, corpus_sha256, text.tokenizer, model.json, train.json))
    return hashlib.sha256(decided.encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------ foreign parts


def foreign_parts(*configs: Config) -> list[Part]:
    """(slot, entry) of each part that these configs choose and that is not the lab's own."""
    found = []
    for config in configs:
        for field, registry in chosen_fields(type(config)):
            entry = registry.entries[getattr(config, field)]
            if entry.component.__module__.partition(".")[0] != "tlab":
                found.append((registry.slot, entry))
    return found


@functools.cache
def chosen_fields(config_class: type[Config]) -> list[tuple[str, Any]]:
    """(field, registry) of each field whose value is a key of a registry."""
    return [(field, known.registry) for field, known in options(config_class).items() if known.registry is not None]


def register_missing(parts: Iterable[Part]) -> None:
    """Make parts known to this process that were registered in another one."""
    for slot, entry in parts:
        REGISTRIES[slot].entries.setdefault(entry.key, entry)


def source_text_sha256(component: type) -> str | None:
    """The hash of a class's source text, or None where Python has not kept it."""
    try:
        return hashlib.sha256(inspect.getsource(component).encode()).hexdigest()
    except (OSError, TypeError):
        return None


# ------------------------------------------------------------------------------------------------ aliases


def canonical(model: ModelConfig) -> ModelConfig:
    """The config that stands for all those that are the same function of the same weights; often `model` itself.

    Without a norm the layouts have nothing to place: whether it stands before a sublayer, behind the sum or behind
    the sublayer, nothing is there. Which of them then agree is not typed here but tried, by `layout_signature`.
    """
    norm = NORMS[model.norm]
    mine = layout_signature(norm, RESIDUALS[model.residual])
    if mine is None:
        return model
    for key, layout in RESIDUALS.items():
        if layout_signature(norm, layout) == mine:
            return model if key == model.residual else dataclasses.replace(model, residual=key)
    return model


@functools.cache
def layout_signature(norm: type[Norm], layout: type[Residual]) -> bytes | None:
    """What two blocks of this layout do, forward and backward, to some numbers: two that agree are one function.

    None where the pair has weights of its own, and so is no other's twin.
    """
    space = ParamSpace()
    x = np.linspace(-2.0, 3.0, 2 * 3 * 4, dtype=DTYPE).reshape(2, 3, 4)  # any numbers without a symmetry

    def make_norm(space: ParamSpace, name: str) -> Norm:
        return norm(space, name, x.shape[-1], 1e-5)

    def sublayer(h: Array) -> tuple[Array, Array]:
        return h * h + 0.5, h

    def sublayer_backward(dy: Array, h: Array) -> Array:
        return dy * (2.0 * h)

    layers = [layout(space, f"norm{i}", make_norm) for i in (1, 2)]
    final_norm = make_norm(space, "final_norm") if layout.final_norm else None
    if len(space):  # a norm's scale, or what a layout has learned to weigh by
        return None
    y, traces = x, []
    for layer in layers:
        y, trace = layer.forward(y, sublayer)
        traces.append(trace)
    final_cache = None
    if final_norm is not None:
        y, final_cache = final_norm.forward(y)
    dx = x + 1.0
    if final_norm is not None:
        dx = final_norm.backward(dx, final_cache)
    for layer, trace in zip(reversed(layers), reversed(traces), strict=True):
        dx = layer.backward(dx, trace, sublayer_backward)
    return y.tobytes() + dx.tobytes()

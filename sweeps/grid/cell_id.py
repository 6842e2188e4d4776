"""One cell: what decides its numbers, the id made of that, and which cells are the same run."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sweeps.grid.begin import BeginConfig, KnownText
from tlab.config import Config, ConfigError, options
from tlab.nn.config import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.residuals import RESIDUALS
from tlab.registry import REGISTRIES, Entry
from tlab.training.config import TrainConfig
from tlab.training.optimizers import OPTIMIZERS

SCHEMA = 2  # part of every cell's id: to be raised when the same config comes to mean other numbers

DTYPE = "float32"
OneConfig = TypeVar("OneConfig", ModelConfig, TrainConfig)
RegisteredPart = tuple[str, Entry[Any]]  # a registry's slot, and one of its entries


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run of a sweep: everything that decides its numbers, and nothing else."""

    cell_id: str
    text: BeginConfig
    model: ModelConfig
    train: TrainConfig
    corpus_sha256: str
    alias_of: str | None = None
    """The cell that is run instead of this one, because it is the same function of the same weights."""
    measure: str = ""  # the name of what is measured on the model instead of training it to the end, as for a finding

    @property
    def result_id(self) -> str:
        return self.alias_of or self.cell_id

    @property
    def seed(self) -> int:
        return self.train.seed

    def value(self, field: str) -> Any:
        for config in (self.text, self.model, self.train):
            if hasattr(config, field):
                return getattr(config, field)
        raise KeyError(field)

    def settings(self) -> dict[str, Any]:
        return {**vars(self.text), **vars(self.model), **vars(self.train)}

    def describe(self, fields: Iterable[str]) -> str:
        return " ".join(f"{field}={self.value(field)}" for field in fields)


class HashedConfig(Generic[OneConfig]):
    """A config with the texts that are hashed for ids and for aliases: made once, used in thousands of cells."""

    def __init__(self, config: OneConfig) -> None:
        self.config = config
        deciding = config.to_json()
        if isinstance(config, TrainConfig):  # a data_seed that is left out counts as the seed it then is
            deciding["data_seed"] = config.batch_seed
        # A class from outside the lab counts by its source text: its key may stand for another class tomorrow.
        foreign = {f"{slot} {entry.key}": source_text_sha256(entry.component) for slot, entry in foreign_parts(config)}
        self.json = json.dumps([deciding, foreign], sort_keys=True, separators=(",", ":"))
        self.function = json.dumps([effective(config), foreign], sort_keys=True, separators=(",", ":"))


def identify(
    text: BeginConfig,
    model: HashedConfig[ModelConfig],
    train: HashedConfig[TrainConfig],
    known: KnownText,
    measure: str = "",
) -> str:
    """A cell's id: the hash of everything that decides its numbers.

    The text counts by its sha256 and its tokenizer, a model to begin with by its settings, tokenizer and weights, and
    not by their names or places. Host, time and number of jobs do not.
    """
    return hashed(text, known, model.json, train.json, *filter(None, [measure]))


def function_id(
    text: BeginConfig, model: HashedConfig[ModelConfig], train: HashedConfig[TrainConfig], known: KnownText
) -> str:
    """The hash of what a cell computes: the same for all its aliases."""
    return hashed(text, known, model.function, train.function)


def hashed(text: BeginConfig, known: KnownText, *decided: str) -> str:
    begun = [] if known.model is None else [known.model.digest(text)]
    lines = [str(SCHEMA), DTYPE, known.sha256, text.tokenizer, *decided, *begun]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def identify_settings(settings: Mapping[str, Any], corpus_sha256: str) -> str | None:
    """The id that a cell with these settings has in this version of the lab, in which a new field has its default.

    None where this version knows a field no longer, or does not allow its value; and of a cell that begins with the
    model of a run, which its settings alone do not tell.
    """

    def part(owner: type[Config]) -> dict[str, Any]:
        return {name: settings[name] for name in options(owner) if name in settings}

    parts = part(BeginConfig), part(ModelConfig), part(TrainConfig)
    if sum(map(len, parts)) < len(settings):
        return None
    try:
        text, model, train = BeginConfig(**parts[0]), ModelConfig.from_json(parts[1]), TrainConfig.from_json(parts[2])
    except ConfigError:
        return None
    if text.start_from:
        return None
    return identify(text, HashedConfig(model), HashedConfig(train), KnownText(corpus_sha256, model.vocab_size))


# ------------------------------------------------------------------------------------------------ foreign parts


def foreign_parts(*configs: Config) -> list[RegisteredPart]:
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


def register_missing(parts: Iterable[RegisteredPart]) -> None:
    """Register parts in this process that were registered in another one."""
    for slot, entry in parts:
        REGISTRIES[slot].entries.setdefault(entry.key, entry)


def source_text_sha256(component: type) -> str | None:
    """The hash of a class's source text, or None where Python has not kept it."""
    try:
        return hashlib.sha256(inspect.getsource(component).encode()).hexdigest()
    except (OSError, TypeError):
        return None


# ------------------------------------------------------------------------------------------------ aliases


def effective(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """What of a config decides what is computed: configs with the same are one function of the same weights.

    What no part reads is left out: every slot whose classes have `options` says which of them reads which. Beyond that,
    without a norm all layouts that place norms and do nothing else are one.
    """
    deciding = dict(vars(config))
    known: set[str] = set()
    read: set[str] = set()
    for field, registry in chosen_fields(type(config)):
        known_here = {name for part in registry.values() for name in getattr(part, "options", ())}
        known |= known_here
        read |= set(getattr(registry[deciding[field]], "options", known_here))
    for unread in known - read:
        del deciding[unread]
    if isinstance(config, TrainConfig):
        deciding["data_seed"] = config.batch_seed
        if "min_learning_rate" in deciding:
            deciding["min_learning_rate"] = config.final_learning_rate
        if config.weight_decay == 0:
            deciding["optimizer"] = OPTIMIZERS[config.optimizer].without_decay or config.optimizer
    else:
        deciding["mlp_ratio"] = config.mlp_dim  # rounded: two ratios may be one width
        if NORMS[config.norm].is_identity and RESIDUALS[config.residual].only_norms_differ:
            deciding["residual"] = None
    return deciding

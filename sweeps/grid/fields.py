"""What a sweep can set: the fields of the configs, and how their values are parsed."""

from __future__ import annotations

import functools
from typing import Any

from sweeps.grid.begin import BeginConfig
from tlab.config import Config, options
from tlab.nn.config import ModelConfig
from tlab.registry import Registry
from tlab.text.corpora import CORPORA
from tlab.training.config import TrainConfig
from tlab.wording import did_you_mean

GIVEN_BY_CORPUS = "vocab_size"
RATE = "learning_rate"  # the field that can be tuned
REPLICATE = "seed"  # the field that repeats a configuration and so is never an axis


class GridError(ValueError):
    """An invalid grid; the message says what was given, what is allowed, and what to do."""


CONFIGS: tuple[type[Config], ...] = (BeginConfig, ModelConfig, TrainConfig)


@functools.cache
def sweepable() -> dict[str, type[Config]]:
    """Every field that `--set` takes, with the config that it belongs to."""
    return {name: owner for owner in CONFIGS for name in options(owner) if name != GIVEN_BY_CORPUS}


def owner_of(field: str) -> type[Config]:
    known = sweepable()
    if field in known:
        return known[field]
    if field == GIVEN_BY_CORPUS:
        raise GridError(f"{field} is given by the corpus and its tokenizer; choose those instead")
    raise GridError(f"unknown field {field!r}; allowed: {', '.join(known)}.{did_you_mean(field, known)}")


def registry_of(field: str) -> Registry[Any] | None:
    return CORPORA if field == "corpus" else options(owner_of(field))[field].registry


def registry_axes() -> list[str]:
    return [field for field in sweepable() if registry_of(field) is not None]


def parse_value(field: str, text: str) -> Any:
    """The value that `text` means for `field`: "3e-3" is a number for learning_rate, and "none" a key for norm.

    A text that is not a value of the field's type comes back unchanged, and the config then says why it is invalid.
    """
    return owner_of(field).parse(field, text)

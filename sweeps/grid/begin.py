"""What a cell begins with: a text, and random weights or those of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from tlab.config import ConfigError, option
from tlab.nn.config import ModelConfig
from tlab.text.config import TextConfig
from tlab.text.corpora import Corpus, load_corpus
from tlab.training.checkpoint import Checkpoint, CheckpointError


@dataclass(frozen=True)
class BeginConfig(TextConfig):
    """What is read, and which model a training begins with."""

    start_from: str = option(
        "", help="The folder of a run, whose settings, tokenizer and weights every model begins with.", is_extra=True
    )
    random_weights: bool = option(
        False, help="Whether to begin with random weights instead of those of start_from.", is_extra=True
    )

    def cross_check(self) -> list[str]:
        """There is nothing to replace by random weights where no run is named."""
        if self.random_weights and not self.start_from:
            return ["random_weights = True is for a model of another run: name that with start_from"]
        return []


class KnownModel(NamedTuple):
    """What of a run decides the numbers of a cell that begins with its model."""

    settings: Mapping[str, Any]  # of its `ModelConfig`
    tokenizer_sha256: str
    weights_sha256: str

    def digest(self, start: BeginConfig) -> str:
        """What of it a cell's id is made of, besides the settings."""
        return f"{self.tokenizer_sha256} {'random' if start.random_weights else self.weights_sha256}"

    def config(self, given: Mapping[str, Any], place: str) -> ModelConfig:
        """Its config.

        Raises:
            ConfigError: the grid gives a setting of the model another value.
        """
        config = ModelConfig.from_json(self.settings)
        if other := [name for name, value in given.items() if value != getattr(config, name)]:
            has = ", ".join(f"{name} = {getattr(config, name)}" for name in other)
            raise ConfigError(
                f"the model in {place} has {has}, and start_from keeps its settings; leave out {', '.join(other)}"
            )
        return config


class KnownText(NamedTuple):
    """What of a text decides the numbers of a cell; a sweep's folder keeps it, so that cells are known without it."""

    sha256: str
    vocab_size: int
    model: KnownModel | None = None  # that is begun with; None for a new one


@dataclass(frozen=True, eq=False)
class BegunCorpus(Corpus):
    """A text with the model that its cells begin with, as both were when the sweep was planned.

    A run that is trained on meanwhile, or removed, changes no cell.
    """

    begun_with: Checkpoint = field(kw_only=True)


def load_beginning(text: BeginConfig, read_model: Callable[[str], Checkpoint]) -> Corpus:
    """The text as its tokenizer reads it; of a run, with its model, read from its start_from as by `read_begun`.

    Raises:
        CheckpointError: as of `read_begun`.
        CorpusError, LookupError: the text is not there, or the tokenizer cannot read it.
    """
    if not text.start_from:
        return load_corpus(text.corpus, text.tokenizer)
    model = read_model(text.start_from)
    corpus = load_corpus(text.corpus, model.tokenizer)
    return BegunCorpus(**{one.name: getattr(corpus, one.name) for one in fields(Corpus)}, begun_with=model)


def model_to_begin_with(start: BeginConfig, corpus: Corpus) -> Checkpoint | None:
    """What a training on this text begins with; None where it is random weights."""
    return corpus.begun_with if isinstance(corpus, BegunCorpus) and not start.random_weights else None


def known_text(corpus: Corpus) -> KnownText:
    """What of a text that was read decides the numbers of its cells."""
    model = known_model(corpus.begun_with) if isinstance(corpus, BegunCorpus) else None
    return KnownText(corpus.sha256, corpus.tokenizer.vocab_size, model)


def known_model(checkpoint: Checkpoint) -> KnownModel:
    tokenizer = json.dumps(checkpoint.tokenizer.to_json(), sort_keys=True)
    return KnownModel(
        checkpoint.model_config.to_json(), hashlib.sha256(tokenizer.encode()).hexdigest(), checkpoint.weights_sha256
    )


def read_begun(place: str) -> Checkpoint:
    """The model of a run, without what only a resumed training needs.

    Raises:
        CheckpointError: there is none, it is damaged, or its numbers are not of the kind that sweeps have.
    """
    file = Path(place).expanduser()
    checkpoint = Checkpoint.load(file)
    if checkpoint.dtype != "float32":
        raise CheckpointError(f"the weights in {file} are of {checkpoint.dtype}; a sweep trains in float32")
    return replace(checkpoint, optimizer_state={}, records=[])

"""What a probe is, and what it looks at."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.config import Config
from tlab.files import refuse_place
from tlab.inside.pictures import PictureKind
from tlab.inside.tables import ProbeTable
from tlab.nn.model import Trace, Transformer
from tlab.registry import Registry
from tlab.text import Corpus, UnknownCharacterError, corpus_names, load_corpus
from tlab.training.checkpoint import Checkpoint
from tlab.types import Array, Ids

PROBES: Registry[type[Probe]] = Registry("probe")

Rows = Sequence[NamedTuple]


class ProbeError(ValueError):
    """A probe that has no meaning for this model or this text; the message says why."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained model and a text, with everything that probes ask of them made once and when asked."""

    checkpoint: Checkpoint
    text: str
    given_corpus: Corpus | None = None
    """The text that the model was trained on, for probes that search it; by default it is looked up by its name."""

    @cached_property
    def model(self) -> Transformer:
        """A live model; probes leave it as it is."""
        return self.checkpoint.model()

    @cached_property
    def ids(self) -> Ids:
        """The end of the text (T,), as long as the context at most.

        Raises:
            UnknownCharacterError: the model's vocabulary has not all of its characters.
            ProbeError: fewer than two tokens.
        """
        ids = self.checkpoint.last_ids(self.text)
        if len(ids) < 2:
            raise ProbeError("a probe needs a text of at least two tokens; give a longer one")
        return ids

    @cached_property
    def left_out(self) -> int:
        """How many tokens at the beginning of the text the model does not read, as it is longer than the context."""
        return len(self.checkpoint.tokenizer.encode(self.text)) - len(self.ids)

    @property
    def tokens_read(self) -> str:
        """How many tokens the text has, and how many of them the model reads where that is not all."""
        read = len(self.ids)
        if not self.left_out:
            return f"{read:,} tokens"
        return f"{read + self.left_out:,} tokens, of which the model reads the last {read:,}"

    @cached_property
    def tokens(self) -> list[str]:
        """The text, token by token, as people read it."""
        return [self.checkpoint.tokenizer.tokens[i] for i in self.ids]

    @cached_property
    def trace(self) -> Trace:
        """Of a forward pass over the text, as a batch of one."""
        return self.model.forward(self.ids[None])[1]

    @cached_property
    def corpus(self) -> Corpus:
        """What the model was trained on.

        Raises:
            ProbeError: it cannot be had here, or it is another text by now.
        """
        return self.given_corpus or trained_on(self.checkpoint)

    def token_id(self, token: str) -> int:
        """The id of a token that somebody named.

        Raises:
            ProbeError: it is none, or several.
        """
        ids = self.checkpoint.tokenizer.encode(token)
        if len(ids) != 1:
            raise ProbeError(f"{token!r} is {len(ids)} tokens for this model; name exactly one")
        return int(ids[0])

    def place(self, number: int) -> int:
        """A place in the text, from 0; negative counts from the end, as in Python.

        Raises:
            ProbeError: the text is shorter.
        """
        T = len(self.ids)
        if not -T <= number < T:
            raise ProbeError(
                f"the text has {self.tokens_read}; place {number} is not there, allowed are {-T} to {T - 1}"
            )
        return number % T


@dataclasses.dataclass(frozen=True)
class Probe(Config):
    """The contract. A probe is a small frozen config; its fields are its options, in the command and in the app.

    The docstring says what it measures in one sentence, then how it is defined, in which units, and what to notice.
    """

    looks_at: ClassVar[tuple[str, ...]] = ()
    """The parts of a model that it says something about: "tokens", "embedding", "position", "stream", "norm",
    "attention", "mlp", "block", "head", "training"."""
    units: ClassVar[dict[str, str]] = {}  # column -> unit, of columns that have one
    picture: ClassVar[PictureKind | None] = None  # what to draw of the table; of a short one, or one of words, nothing
    steady: ClassVar[bool] = True  # whether its rows are of the same things at every step, so that they can be followed

    def remark(self, subject: Subject) -> str:
        """What has to be known of this table before it is read, in sentences; usually nothing."""
        return ""

    def rows(self, subject: Subject) -> Rows:
        """The table, one NamedTuple a row.

        Raises:
            ProbeError: it has no meaning here.
        """
        raise NotImplementedError


def trained_on(checkpoint: Checkpoint, place: str | None = None) -> Corpus:
    """The text that a model was trained on, known by its sha256; for a model that was imported, any that is named.

    It is the one at `place`; if that is None the corpus of its name, or the file of its name in the current folder.

    Raises:
        ProbeError: there is none, or it is another text.
    """
    record = checkpoint.corpus
    if place is None:
        if checkpoint.is_imported:
            raise ProbeError(
                "this model was imported without the text that it was trained on: say with --text what it reads, or "
                "with --corpus PATH on which text to look"
            )
        file_name = str(record.get("origin", "")).removeprefix("the file ")
        place = file_name if record["name"] not in corpus_names() and os.path.isfile(file_name) else str(record["name"])
    why = "this probe searches the text that the model was trained on"
    try:
        corpus = load_corpus(place, checkpoint.tokenizer)
    except UnknownCharacterError:  # letters that the model never saw
        corpus = None
    except (ValueError, OSError) as error:
        raise ProbeError(f"{why}: {error}. Name it with --corpus PATH") from error
    if corpus is None or not (checkpoint.is_imported or corpus.sha256 == record["sha256"]):
        raise ProbeError(
            f"{why}, and not {place!r}, which is another text here than it was: name the one with sha256 "
            f"{record['sha256'][:12]} with --corpus PATH"
        )
    return corpus


def probe(name: str, checkpoint: Checkpoint, text: str, corpus: Corpus | None = None, /, **options: Any) -> ProbeTable:
    """The table of one probe: a list of rows that shows itself in a notebook, with `to_pandas()` and `figure()`.

    Args:
        name: a key of `PROBES`.
        checkpoint: a trained model.
        text: what it reads, the end of it if it is longer than the context.
        corpus: what it was trained on, for probes that need it; by default looked up by name.
        options: the fields of the probe's class.

    Raises:
        TypeError: a folder where a checkpoint is wanted.
        UnknownKeyError: no such probe.
        ConfigError: no such option, or one out of its range.
        ProbeError: the probe has no meaning for this model or text.
    """
    refuse_place("checkpoint", checkpoint, "Checkpoint.load")
    refuse_place("corpus", corpus, "load_corpus")
    asked = PROBES[name].from_json(options)
    rows = asked.rows(Subject(checkpoint, text, corpus))
    return ProbeTable(rows, PROBES.entries[name].label, asked.units, asked.picture)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities, in nats, over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

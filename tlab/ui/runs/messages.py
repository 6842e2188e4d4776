"""What the server and a worker process send each other: a job and orders there, messages about the training back."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, Union

from tlab.inside.layers import LayerInsight
from tlab.nn.config import ModelConfig
from tlab.text import Corpus, Tokenizer, UnknownCharacterError, corpus_from_text, load_corpus
from tlab.text.units import BytesPerToken
from tlab.training.checkpoint import Checkpoint
from tlab.training.config import TrainConfig
from tlab.training.records import Divergence, StepRecord
from tlab.ui.runs.limits import Limits
from tlab.wording import several

MAX_START_NAME = 40  # characters: it is part of the name of the run that begins there
SEED_RANGE = 2**32  # a seed is below it
ANY_VOCABULARY = 2  # stands for that of a text, which only reading it can tell


@dataclass(frozen=True)
class StartFrom:
    """The checkpoint with whose weights a side begins: all that is told of it, but not the weights themselves."""

    name: str = field(compare=False)  # of the run or the model, for people
    step: int  # after which the weights were taken
    sha256: str  # of the weights, as `Checkpoint.weights_sha256` gives it
    model: ModelConfig = field(compare=False)  # that they fit
    tokenizer: Tokenizer = field(compare=False)  # that they were trained with

    @classmethod
    def of(cls, name: str, checkpoint: Checkpoint) -> StartFrom:
        """A checkpoint as what a run begins with."""
        name = " ".join(name.split())
        name = name if len(name) <= MAX_START_NAME else f"{name[: MAX_START_NAME - 1]}…"
        return cls(name, checkpoint.step, checkpoint.weights_sha256, checkpoint.model_config, checkpoint.tokenizer)

    @classmethod
    def recorded_in(cls, checkpoint: Checkpoint) -> StartFrom | None:
        """What the run of a checkpoint began with; None where its first weights were random."""
        said = checkpoint.started_from
        if said is None:
            return None
        return replace(cls.of(said["name"], checkpoint), step=said["step"], sha256=said["sha256"])

    def __str__(self) -> str:
        return f"“{self.name}” after {several(self.step, 'step')}" if self.step else f"“{self.name}”"

    @property
    def tokenizer_key(self) -> str:
        """The kind of its tokenizer, as the registries call it."""
        return self.tokenizer.to_json()["tokenizer"]


class SidePlan(NamedTuple):
    """What one side of a run is to be."""

    label: str  # what distinguishes it, for people
    model: ModelConfig  # of ANY_VOCABULARY, until the text is read
    training: TrainConfig
    checkpoint: Checkpoint | None = None  # go on from here
    bug: str | None = None  # a key of `BUGS`, to plant in its model
    start_from: StartFrom | None = None  # whose weights its model begins with; None for random ones

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        """Both configs, for a text of this vocabulary."""
        return self.model.with_vocab(vocab_size), self.training


def later_seed(first: int, more: int) -> int:
    """The seed that comes `more` after the first one: after the last of all comes 0."""
    return (first + more) % SEED_RANGE


class Job(NamedTuple):
    """What to train: the corpus is read and the configs are checked where the work is done."""

    corpus: str  # a name of `corpus_names()`, or that of the text
    text: str | None  # a text of the visitor's own, instead of a corpus
    tokenizer: str
    plans: tuple[SidePlan, ...]  # one, or two that train in turns
    limits: Limits | None = None  # what it may cost, once the vocabulary is known
    pause_after: int | None = None  # so many steps; None to go on to the end
    name: str = ""  # what a run of one side is called at first
    losses_only: bool = False  # whether nobody looks inside or reads samples, as in the runs of a study
    seconds_between_kept: float = math.inf  # after which it sends all that it could go on from

    def anew(self) -> Job:
        """The same from its first step on: without the state that a run goes on from."""
        return self._replace(plans=tuple(plan._replace(checkpoint=None) for plan in self.plans))

    @property
    def starts(self) -> list[StartFrom]:
        """Whose weights its sides begin with, of those that do not begin with random ones."""
        return [plan.start_from for plan in self.plans if plan.start_from is not None]

    @property
    def shared_start(self) -> StartFrom | None:
        """Whose weights all sides begin with; None where they do not, or begin with random ones."""
        starts = {plan.start_from for plan in self.plans}
        return next(iter(starts)) if len(starts) == 1 else None

    @property
    def reader(self) -> str | Tokenizer:
        """What makes tokens of the text: the tokenizer of the weights, or the key of one that the text makes."""
        return self.starts[0].tokenizer if self.starts else self.tokenizer

    @property
    def first_weights(self) -> list[StartFrom]:
        """The weights that the worker has to be sent beside it: of sides that have no checkpoint to go on from."""
        return [plan.start_from for plan in self.plans if plan.start_from is not None and plan.checkpoint is None]


FirstWeights = Mapping[str, Checkpoint]
"""What follows a job to its worker, where that has `first_weights`: checkpoints by the sha256 of their weights."""
NO_WEIGHTS: FirstWeights = MappingProxyType({})


class RunStarted(NamedTuple):
    """The models are ready; the first step comes next."""

    num_parameters: list[int]  # of each side
    vocab_size: int
    excerpt: str  # the beginning of the text that is never trained on
    baselines: dict[str, float]  # what it has to beat, by name: losses of `baseline_losses`
    training_pairs: float  # the loss of "token pairs" on what it trains on
    bytes_per_token: BytesPerToken  # by which its losses become bits per byte
    text_sha256: str  # what was read: texts of one name differ


class NewRecords(NamedTuple):
    """Steps that a side has made."""

    side: int
    records: list[StepRecord]


class Validated(NamedTuple):
    """The validation loss of a side after `step` updates, whose record has been sent without it."""

    side: int
    step: int
    loss: float
    divergence: Divergence | None = None  # the loss is not finite, so the side ends here
    accuracy: float | None = None  # share of the answers that are right, where the text has answers


class Insight(NamedTuple):
    """What went on inside a side's model at one step, by layer."""

    side: int
    step: int
    layers: list[LayerInsight]


class SeedStart(NamedTuple):
    """What goes on at the first step inside the model that a side would be with another seed, by layer."""

    side: int
    seed: int
    layers: list[LayerInsight]  # whose updates are none


class Sample(NamedTuple):
    """A text that a side's model generated after `step` updates."""

    side: int
    step: int
    text: str


class Snapshot(NamedTuple):
    """A side's model as it is now, to look into while it trains; without what only a resumed training needs."""

    side: int
    checkpoint: Checkpoint
    keep: bool  # for the slider over the training, or only until the next one comes


class Kept(NamedTuple):
    """All that a run could go on from, should this be the last that is heard of it."""

    checkpoints: list[Checkpoint]  # of each side


class RunEnded(NamedTuple):
    """The last message: the whole run. After a pause it can be resumed from here."""

    order: str | None  # that ended it, if it did not end by itself
    checkpoints: list[Checkpoint]  # of each side


class RunFailed(NamedTuple):
    """The last message of a run that could not be trained, in words for the visitor."""

    message: str


Message = Union[  # noqa: UP007, for Python 3.10 at run time
    RunStarted, NewRecords, Validated, Insight, SeedStart, Sample, Snapshot, Kept, RunEnded, RunFailed
]


PAUSE, STOP = "pause", "stop"  # the orders that a worker takes while it trains
MEASURE_PACE = "measure"  # and the one before its job: how fast is it here?


def job_corpus(job: Job) -> Corpus:
    """What a job reads.

    Raises:
        UnknownCharacterError: it begins with weights whose tokenizer does not know the text.
    """
    with naming_tokenizer(job):
        if job.text is not None:
            return corpus_from_text(job.text, job.corpus, tokenizer=job.reader)
        return load_corpus(job.corpus, job.reader)


@contextlib.contextmanager
def naming_tokenizer(job: Job) -> Iterator[None]:
    """Of a text that cannot be read, say whose tokenizer it is that does not know it."""
    try:
        yield
    except UnknownCharacterError as error:
        if not job.starts:
            raise
        words = str(error)
        raise UnknownCharacterError(
            f"{words[:1].upper()}{words[1:]}. The tokenizer is that of {job.starts[0]}: choose another text, or random "
            "weights to start from."
        ) from error

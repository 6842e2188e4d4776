"""Models from elsewhere that are opened to look into: on one's own machine any, on a public page those of its list.

An opened model is not trained, is in no one's history, and takes nothing of the store of runs. The process that looks
into models is sent where one comes from, and not its weights.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tlab.nn.model import Transformer
from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.reading import Tell, TellProgress, needed_bytes, read_pretrained
from tlab.training.checkpoint import FILE_NAME, Checkpoint

LIST_VARIABLE = "TLAB_MODELS"  # of the environment: places, separated as those in PATH are
UNREADABLE = "This model cannot be read here at the moment."
OPENED_PREFIX = "opened: "  # of ids; that of a visitor's run has neither a colon nor a space
MAX_OPENED = 2  # that are in memory at once; the one that was not used for longest makes room
MAX_KNOWN = 20  # places that are remembered besides those of the list
MAX_PLACE = 1000  # characters
SECONDS_TO_RETRY = 60.0  # after a failure for which no file of its own has to change: of the hub, or for want of memory


@dataclasses.dataclass(frozen=True, eq=False)
class SharedCheckpoint(Checkpoint):
    """A checkpoint whose live models share its weights, which cannot be written to: large ones are not copied."""

    @cached_property
    def first_model(self) -> Transformer:
        """The one that the others share with."""
        model = super().model()
        model.parameters.data.setflags(write=False)
        model.parameters.lay_out(model.parameters.data, model.parameters.grad)  # views that know it
        return model

    def model(self) -> Transformer:
        """A live model to look into; who adds up gradients sets them to zero before."""
        return self.first_model.replica(self.first_model.parameters.grad)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SharedCheckpoint:
        """The same checkpoint, without what only a resumed training needs, and with its weights once in memory."""
        given = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
        first = cls(**{**given, "optimizer_state": {}})
        model = first.first_model
        shared = cls(**{**given, "optimizer_state": {}, "weights": {n: p.data for n, p in model.parameters.items()}})
        shared.__dict__["first_model"] = model
        return shared


class OpenedFrom(NamedTuple):
    """An opened model as it is sent to another process, which reads it for itself."""

    place: str
    needed: int  # bytes, at most, to read it and to make a live model of it


class OpenedModel(NamedTuple):
    """A model that is in memory."""

    id: str
    name: str
    place: str
    checkpoint: SharedCheckpoint
    remarks: tuple[str, ...]  # of its import: what is not as it was, in sentences

    @property
    def source(self) -> OpenedFrom:
        """What to send in its place."""
        return OpenedFrom(self.place, 2 * needed_bytes(self.checkpoint.model_config))


class Failure(NamedTuple):
    """Why a model could not be read, which holds while its files are what they were, and until some time."""

    words: str
    files: frozenset[tuple[str, int, int]]
    until: float  # of the monotonic clock


def files_of(place: str) -> frozenset[tuple[str, int, int]]:
    """Name, time of the last change in ns, and bytes of each file of a place; none of one that is not on the disk."""
    path = Path(place)
    try:
        found = [path, *(path.iterdir() if path.is_dir() else ())]
        return frozenset((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in found)
    except OSError:
        return frozenset()


def read_model(
    place: str, tell: Tell = lambda _: None, progress: TellProgress = lambda _: None
) -> tuple[SharedCheckpoint, tuple[str, ...]]:
    """A model and what there is to say about it, from a run folder or from anything that `read_pretrained` reads.

    Raises:
        ValueError: there is no such model, it is damaged, or it cannot be represented exactly.
    """
    path = Path(place)
    if path.name == FILE_NAME or (path / FILE_NAME).is_file():
        return SharedCheckpoint.of(Checkpoint.load(path)), ()
    model = read_pretrained(place, tell=tell, progress=progress)
    return SharedCheckpoint.of(Checkpoint.of_pretrained(model, place_name(place))), model.remarks


def place_name(place: str) -> str:
    """What people call the model of a place: the name on the hub, or that of its folder or file."""
    is_path = os.path.exists(place) or Path(place).is_absolute()
    return Path(place).resolve().name.removesuffix(".gguf") if is_path else place


def listed_here() -> list[str]:
    """The places that the environment lists."""
    return [place for place in os.environ.get(LIST_VARIABLE, "").split(os.pathsep) if place]


class OpenedModels:
    """What can be looked into beside runs: the models of a list, and on one's own machine any. Safe for many threads.

    Args:
        public: whether only those of the list are opened.
        listed: places of models; they are read when they are first asked for.
    """

    def __init__(self, public: bool, listed: Sequence[str] = ()) -> None:
        self.public = public
        self.places: dict[str, str] = {}  # id -> place, the list first
        self.models: OrderedDict[str, OpenedModel] = OrderedDict()  # least recently used first
        self.failures: dict[str, Failure] = {}  # id -> why it could not be read
        self.lock = threading.RLock()  # held while one is read: two at once might not fit into memory
        for place in listed:
            self.id_of(place)
        self.listed = frozenset(self.places)

    def id_of(self, place: str) -> str:
        """The id of a place, which is a new one where it was not known. It does not say where on the disk it is."""
        for known, its_place in self.places.items():
            if its_place == place:
                return known
        name, number = place_name(place), 1
        while (own := OPENED_PREFIX + (name if number == 1 else f"{name} ({number})")) in self.places:
            number += 1
        self.places[own] = place
        return own

    def open(self, place: str, tell: Tell = lambda _: None, progress: TellProgress = lambda _: None) -> OpenedModel:
        """The model at a place, read where it is not in memory; `tell` and `progress` as of `read_pretrained`.

        Raises:
            ValueError: this page does not open it, or it cannot be read; the message says why.
        """
        place = place.strip()
        if not place or len(place) > MAX_PLACE:
            raise PretrainedError("Name a folder, a file, or a model of the Hugging Face hub as OWNER/NAME.")
        with self.lock:
            is_new = place not in self.places.values()
            if self.public and is_new:
                raise PretrainedError("This public page opens no other models than those of its list.")
            own = self.id_of(place)
            try:
                return self.use(own, tell, progress)
            except Exception:
                if is_new:
                    self.places.pop(own)
                    self.failures.pop(own, None)
                raise

    def use(self, model_id: str, tell: Tell = lambda _: None, progress: TellProgress = lambda _: None) -> OpenedModel:
        """The model of an id that is known; arguments and errors as of `open`.

        One that could not be read is not read again before its files have changed.
        """
        with self.lock:
            if model_id not in self.models:
                if (failure := self.failure_of(model_id)) is not None:
                    raise PretrainedError(failure.words)
                self.models[model_id] = self.read(model_id, tell, progress)
                self.forget_oldest_place()
            self.models.move_to_end(model_id)
            return self.models[model_id]

    def read(self, model_id: str, tell: Tell, progress: TellProgress) -> OpenedModel:
        """The model of an id, from the disk; why that fails is remembered. Errors as of `open`."""
        place, files, until = self.places[model_id], files_of(self.places[model_id]), math.inf
        while len(self.models) >= MAX_OPENED:
            self.models.popitem(last=False)
        try:
            checkpoint, remarks = read_model(place, tell, progress)
        except (ValueError, OSError, MemoryError) as error:
            words = f"{place} cannot be read: {error}" if isinstance(error, OSError) else str(error)
            if isinstance(error, MemoryError):
                words = f"{place} needs more memory than there is"
            if isinstance(error, MemoryError) or not files:
                until = time.monotonic() + SECONDS_TO_RETRY
            self.failures[model_id] = Failure(words, files, until)
            raise PretrainedError(words) from error
        return OpenedModel(model_id, model_id.removeprefix(OPENED_PREFIX), place, checkpoint, remarks)

    def failure_of(self, model_id: str) -> Failure | None:
        """Why a model cannot be read, if that is known and nothing has changed since."""
        failure = self.failures.get(model_id)
        if failure is None or time.monotonic() > failure.until or files_of(self.places[model_id]) != failure.files:
            return None
        return failure

    def why_not(self, model_id: str | None) -> str:
        """Why the model of an id is not to be had; empty where it is, or where the id is not that of an opened one.

        A public page is told no more than that: the words may name folders of its owner.
        """
        if model_id is None or not model_id.startswith(OPENED_PREFIX) or model_id in self.models:
            return ""
        if model_id not in self.places:
            return f"“{model_id.removeprefix(OPENED_PREFIX)}” is not open here any more."
        failure = self.failure_of(model_id)
        if failure is None:
            return ""
        return UNREADABLE if self.public else failure.words

    def forget_oldest_place(self) -> None:
        """Keep the list of those that were opened short."""
        others = [known for known in self.places if known not in self.listed and known not in self.models]
        for known in others[: max(0, len(self.places) - len(self.listed) - MAX_KNOWN)]:
            self.places.pop(known)
            self.failures.pop(known, None)

    def get(self, model_id: str | None) -> OpenedModel | None:
        """The model of an id; None where the id is none, or its model cannot be read any more."""
        if model_id not in self.places:
            return None
        try:
            return self.use(model_id)
        except (ValueError, KeyError):
            return None


def shape_words(checkpoint: Checkpoint) -> str:
    """How large a model is."""
    config, count = checkpoint.model_config, sum(math.prod(array.shape) for array in checkpoint.weights.values())
    return f"{config.num_layers} layers of {config.num_heads} heads, {count:,} weights"

"""What a sweep trains: a grid over config fields, checked as a whole before anything runs, and cut into cells."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlab.config import (
    Config,
    ConfigError,
    ModelConfig,
    TrainConfig,
    as_plain,
    chosen_from,
    field_types,
    option,
    options,
    type_alternatives,
)
from tlab.nn.norms import NORMS, Norm
from tlab.nn.residuals import RESIDUALS, Residual
from tlab.params import ParamSpace
from tlab.registry import REGISTRIES, Entry, Registry
from tlab.text.corpora import CORPORA, DEFAULT_CORPUS, Corpus, CorpusError, load_corpus
from tlab.text.tokenizers import TOKENIZERS
from tlab.train import check_fit
from tlab.types import Array

SCHEMA = 1
"""Part of every cell's id: to be raised when the same config comes to mean other numbers."""

DTYPE = "float32"
GIVEN_BY_CORPUS = "vocab_size"
REPLICATE = "seed"
"""The field that repeats a configuration and so is never an axis."""

MOST_COMPLAINTS = 5  # in one message: a grid of a thousand cells may have hundreds
TRUE_WORDS, FALSE_WORDS, NONE_WORDS = ("true", "yes", "1"), ("false", "no", "0"), ("none", "null")


class GridError(ValueError):
    """A grid that cannot be; the message says what was given, what is allowed, and what to do."""


# ------------------------------------------------------------------------------------------------ fields


@dataclass(frozen=True)
class TextConfig(Config):
    """What a cell reads: the two choices that are no field of the other configs."""

    # No registry in its option: paths of files are allowed as well, and loading says what is not.
    corpus: str = option(DEFAULT_CORPUS, help="A registered corpus, or a UTF-8 text file by its path.")
    tokenizer: str = chosen_from(TOKENIZERS, "char", "How text becomes ids.")


CONFIGS: tuple[type[Config], ...] = (TextConfig, ModelConfig, TrainConfig)


def sweepable() -> dict[str, type[Config]]:
    """Every field that `--set` takes, with the config that it belongs to."""
    return {name: owner for owner in CONFIGS for name in options(owner) if name != GIVEN_BY_CORPUS}


def owner_of(field: str) -> type[Config]:
    """The config class that has `field`; a GridError with the nearest name where none has."""
    known = sweepable()
    if field in known:
        return known[field]
    if field == GIVEN_BY_CORPUS:
        raise GridError(f"{field} is given by the corpus and its tokenizer; choose those instead")
    close = difflib.get_close_matches(field, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise GridError(f"unknown field {field!r}; allowed: {', '.join(known)}.{hint}")


def registry_of(field: str) -> Registry[Any] | None:
    """The registry whose keys `field` takes, or None."""
    return CORPORA if field == "corpus" else options(owner_of(field))[field].registry


def registry_axes() -> list[str]:
    """The fields that `--axes` takes: those that choose from a registry."""
    return [field for field in sweepable() if registry_of(field) is not None]


def parse_value(field: str, text: str) -> Any:
    """The value that `text` means for `field`: "3e-3" is a number for learning_rate, and "none" a key for norm.

    What is no value of the field's type comes back as the text it was, and the config then says why not.
    """
    word = text.strip()
    for kind in type_alternatives(field_types(owner_of(field))[field]):
        if kind is str:
            return word
        if kind is bool and word.lower() in TRUE_WORDS + FALSE_WORDS:
            return word.lower() in TRUE_WORDS
        if kind is type(None) and word.lower() in NONE_WORDS:
            return None
        if kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                continue
    return word


# ------------------------------------------------------------------------------------------------ the grid


@dataclass(frozen=True)
class Grid:
    """Field -> its values, for every field that is not left at its default; and the seeds.

    A field with two or more values is an axis. Values are kept as they were at the time: a grid read back from a
    manifest means the same cells, whatever was registered since.
    """

    values: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        plain: dict[str, tuple[Any, ...]] = {}
        for field, values in self.values.items():
            if field == REPLICATE:
                raise GridError(f"{field} repeats every configuration and is no axis; give it as the grid's seeds")
            if not values:
                raise GridError(f"{field} was given no value; give one to fix it, or two and more to make it an axis")
            plain[field] = tuple(as_plain_as_can_be(field, value) for value in values)
            refuse_duplicates(field, plain[field])
        if not self.seeds:
            raise GridError("a grid without seeds has no cells; give at least one")
        refuse_duplicates(REPLICATE, self.seeds)
        object.__setattr__(self, "values", plain)

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields with more than one value, in the order in which they were given."""
        return tuple(field for field, values in self.values.items() if len(values) > 1)

    def __len__(self) -> int:
        """Number of cells, aliases included."""
        count = len(self.seeds)
        for values in self.values.values():
            count *= len(values)
        return count

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every combination of values, the last axis changing fastest."""
        for combination in itertools.product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that `from_json` turns back into an equal grid."""
        return {"values": {field: list(values) for field, values in self.values.items()}, "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Grid:
        """The inverse of `to_json`."""
        return cls({field: tuple(values) for field, values in content["values"].items()}, tuple(content["seeds"]))


def as_plain_as_can_be(field: str, value: Any) -> Any:
    """1.0 for a 1 where the field is a float, so that twice the same is seen; of a wrong type the config will tell."""
    try:
        return as_plain(value, type_alternatives(field_types(owner_of(field))[field]))
    except TypeError:
        return value


def refuse_duplicates(field: str, values: Sequence[Any]) -> None:
    """A value that is given twice is a slip of the pen: it would be one row twice."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise GridError(f"{field} is given {value!r} twice; give each value once")


def grid_from_words(
    axes: str = "",
    sets: Iterable[str] = (),
    seeds: int | None = None,
    steps: int | None = None,
    corpus: str | None = None,
) -> Grid:
    """The grid that a command line describes.

    Args:
        axes: "norm,activation": fields that get every key of their registry, as it is now.
        sets: "position=rope,alibi", each: a field and its values.
        seeds: how many seeds, from 0 on; `sets` may name them instead ("seed=3,7").
        steps: short for an entry of `sets`.
        corpus: likewise, and the only way to name a file with a comma in its path.

    Raises:
        GridError: an unknown field, one that is given twice, or no values.
    """
    values: dict[str, tuple[Any, ...]] = {}

    def add(field: str, new: tuple[Any, ...], given_as: str) -> None:
        if field in values:
            raise GridError(f"{field} is given twice, the second time by {given_as}; say it once")
        values[field] = new

    for field in filter(None, (word.strip() for word in axes.split(","))):
        registry = registry_of(field)
        if registry is None:
            raise GridError(
                f"--axes {field}: the values of {field} are in no registry; write --set {field}=... with two or more "
                f"values. Allowed for --axes: {', '.join(registry_axes())}"
            )
        add(field, tuple(registry), f"--axes {axes}")
    for text in sets:
        field, equals, listed = text.partition("=")
        field = field.strip()
        owner_of(field)
        words = [word for word in listed.split(",") if word.strip()]
        if not equals or not words:
            raise GridError(f"--set {text}: write a field and its values, such as --set {field}=first,second")
        add(field, tuple(parse_value(field, word) for word in words), f"--set {text}")
    if steps is not None:
        add("steps", (steps,), f"--steps {steps}")
    if corpus is not None:
        add("corpus", (corpus,), f"--corpus {corpus}")
    named_seeds = values.pop(REPLICATE, None)
    if named_seeds is not None and seeds is not None:
        raise GridError(f"--seeds {seeds} and --set seed=... both choose the seeds; give one of them")
    if named_seeds is None:
        if seeds is not None and seeds < 1:
            raise GridError(f"--seeds {seeds}: must be at least 1")
        named_seeds = tuple(range(seeds or 1))
    return Grid(values, named_seeds)


# ------------------------------------------------------------------------------------------------ cells


@dataclass(frozen=True)
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
            if field in options(type(config)):
                return getattr(config, field)
        raise KeyError(field)

    def settings(self) -> dict[str, Any]:
        """Every field with its value."""
        return {**self.text.to_json(), **self.model.to_json(), **self.train.to_json()}


def cells_of(grids: Sequence[Grid], corpora: Mapping[TextConfig, Corpus] | None = None) -> list[Cell]:
    """Every cell of one or more grids, each once, aliases marked; the seed changes fastest.

    Args:
        grids: what to cut. Of cells that are the same function, the first one in their order is run.
        corpora: the texts; loaded where they are not given.

    Raises:
        GridError: a value or a combination of values that the configs, or the text, do not allow. Every different
            complaint is in the message.
    """
    if corpora is None:
        corpora = load_corpora(grids)
    cells: dict[str, Cell] = {}
    first_of: dict[str, str] = {}  # canonical id -> the id of the first cell that has it
    complaints: dict[str, None] = {}  # a set that keeps its order
    for seeds, settings in ((grid.seeds, settings) for grid in grids for settings in grid.settings()):
        try:
            text, model, train = configs_for(settings, corpora)
            corpus = corpora[text]
            check_fit(model, corpus)
            seeded = [dataclasses.replace(train, seed=seed) for seed in seeds]
        except ConfigError as error:
            complaints.setdefault(str(error))
            continue
        twin = canonical(model)
        for train in seeded:
            cell_id = identify(text, model, train, corpus.sha256)
            canonical_id = cell_id if twin is model else identify(text, twin, train, corpus.sha256)
            first = first_of.setdefault(canonical_id, cell_id)
            alias_of = None if first == cell_id else first
            cells.setdefault(cell_id, Cell(cell_id, text, model, train, corpus.sha256, alias_of))
    if complaints:
        told = list(complaints)[:MOST_COMPLAINTS]
        more = f"; and {len(complaints) - len(told)} more" if len(complaints) > len(told) else ""
        raise GridError(f"this grid cannot be trained: {'; and '.join(told)}{more}")
    return list(cells.values())


def load_corpora(grids: Iterable[Grid]) -> dict[TextConfig, Corpus]:
    """Every text that the grids ask for."""
    default = TextConfig()
    loaded: dict[TextConfig, Corpus] = {}
    for grid in grids:
        names = grid.values.get("corpus", (default.corpus,))
        for corpus, tokenizer in itertools.product(names, grid.values.get("tokenizer", (default.tokenizer,))):
            try:
                text = TextConfig(corpus, tokenizer)
                loaded[text] = loaded[text] if text in loaded else load_corpus(corpus, tokenizer)
            except (ConfigError, CorpusError, LookupError) as error:
                raise GridError(f"corpus {corpus!r}: {error}") from error
    return loaded


def configs_for(
    settings: Mapping[str, Any], corpora: Mapping[TextConfig, Corpus]
) -> tuple[TextConfig, ModelConfig, TrainConfig]:
    """The three configs of one combination of values."""
    parts: dict[type[Config], dict[str, Any]] = {owner: {} for owner in CONFIGS}
    for field, value in settings.items():
        parts[owner_of(field)][field] = value
    text = TextConfig(**parts[TextConfig])
    vocab_size = corpora[text].tokenizer.vocab_size
    return text, ModelConfig(vocab_size=vocab_size, **parts[ModelConfig]), TrainConfig(**parts[TrainConfig])


def identify(text: TextConfig, model: ModelConfig, train: TrainConfig, corpus_sha256: str) -> str:
    """A cell's id: the hash of everything that decides its numbers.

    The text counts by its sha256 and not by its name or place; a data_seed that is left out, by the seed it then
    is; and a class from outside the lab by its source text, since the same key may stand for another class tomorrow.
    """
    deciding = {
        "schema": SCHEMA,
        "dtype": DTYPE,
        "corpus_sha256": corpus_sha256,
        "tokenizer": text.tokenizer,
        "model": vars(model),
        "train": {**vars(train), "data_seed": train.batch_seed},
    }
    foreign = {f"{slot} {entry.key}": source_sha256(entry.component) for slot, entry in foreign_parts(model, train)}
    if foreign:
        deciding["foreign"] = foreign
    canonical_json = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical_json.encode()).hexdigest()[:16]


def foreign_parts(*configs: Config) -> list[tuple[str, Entry[Any]]]:
    """(slot, entry) of each part that these configs choose and that is not the lab's own."""
    found = []
    for config in configs:
        for field, known in options(type(config)).items():
            if known.registry is not None:
                entry = known.registry.entries[getattr(config, field)]
                if entry.component.__module__.partition(".")[0] != "tlab":
                    found.append((known.registry.slot, entry))
    return found


def register_missing(parts: Iterable[tuple[str, Entry[Any]]]) -> None:
    """Make parts known to this process that were registered in another one."""
    for slot, entry in parts:
        REGISTRIES[slot].entries.setdefault(entry.key, entry)


def source_sha256(component: type) -> str | None:
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

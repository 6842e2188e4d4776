"""What a sweep trains: a grid over config fields, checked as a whole before anything runs, and expanded into cells."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.grid.begin import BeginConfig, KnownText, known_text, load_beginning, read_begun
from sweeps.grid.cell_id import Cell, HashedConfig, function_id, identify
from sweeps.grid.fields import CONFIGS, REPLICATE, GridError, owner_of
from tlab.config import Config, ConfigError, as_plain, field_types, options, type_alternatives
from tlab.nn.config import ModelConfig
from tlab.text.corpora import Corpus, CorpusError
from tlab.text.tokenizers import UnknownCharacterError
from tlab.training.checkpoint import CheckpointError
from tlab.training.config import TrainConfig
from tlab.training.trainer import check_fit

MAX_COMPLAINTS = 5  # in one message: a grid of a thousand cells may have hundreds
MAX_CELLS = 1_000_000  # surely a mistake: half a gigabyte of plans, and months of training


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
                raise GridError(f"{field} repeats every configuration and is not an axis; give it as the grid's seeds")
            if not values:
                raise GridError(f"{field} was given no value; give one to fix it, or two or more to make it an axis")
            plain[field] = tuple(as_plain_if_possible(field, value) for value in values)
            refuse_duplicates(field, plain[field])
        if not self.seeds:
            raise GridError("a grid without seeds has no cells; give at least one")
        refuse_duplicates(REPLICATE, self.seeds)
        object.__setattr__(self, "values", plain)
        if len(self) > MAX_CELLS:
            sizes = " x ".join(f"{len(values)} {field}" for field, values in plain.items() if len(values) > 1)
            raise GridError(
                f"{sizes} x {len(self.seeds)} seeds are {len(self):,} cells; allowed are {MAX_CELLS:,} in one grid: "
                "take fewer values, or several sweeps"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(field for field, values in self.values.items() if len(values) > 1)

    def __len__(self) -> int:
        return len(self.seeds) * math.prod(map(len, self.values.values()))

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every combination of values, the last axis changing fastest."""
        for combination in itertools.product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {"values": {field: list(values) for field, values in self.values.items()}, "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Grid:
        return cls({field: tuple(values) for field, values in content["values"].items()}, tuple(content["seeds"]))


def as_plain_if_possible(field: str, value: Any) -> Any:
    """1.0 for a 1 if the field is a float, so that duplicates are found; the config will refuse a wrong type."""
    try:
        return as_plain(value, type_alternatives(field_types(owner_of(field))[field]))
    except TypeError:
        return value


def refuse_duplicates(field: str, values: Sequence[Any]) -> None:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise GridError(f"{field} is given {value!r} twice; give each value once")


# ------------------------------------------------------------------------------------------------ cells


class GridExpander:
    """Expands grids into cells. Configs are checked and hashed once, however many cells share them."""

    def __init__(self, corpora: Mapping[BeginConfig, Corpus], known: Mapping[BeginConfig, KnownText]) -> None:
        self.corpora = corpora
        read = {text: known_text(corpus) for text, corpus in corpora.items()}
        self.texts = {**known, **read}
        self.made: dict[Any, Any] = {}  # what was asked for -> the result, or None if it is invalid
        self.complaints: dict[str, None] = {}  # a set that keeps its order

    def once(self, key: Any, make: Any) -> Any:
        """What `make()` gave the first time; None where the configs did not allow it, and the complaint is noted."""
        if key not in self.made:
            try:
                self.made[key] = make()
            except ConfigError as error:
                self.made[key] = None
                self.complaints.setdefault(str(error))
        return self.made[key]

    def seeds_of(
        self, grid: Grid, settings: Mapping[str, Any]
    ) -> Iterator[tuple[BeginConfig, HashedConfig[ModelConfig], HashedConfig[TrainConfig]]]:
        """For each seed: the text, the model and the training."""
        parts: dict[type[Config], dict[str, Any]] = {owner: {} for owner in CONFIGS}
        for field, value in settings.items():
            parts[owner_of(field)][field] = value
        words = {owner: repr(part) for owner, part in parts.items()}  # repr: 1, 1.0 and True are equal as keys
        text = self.once(words[BeginConfig], lambda: BeginConfig(**parts[BeginConfig]))
        if text is None:
            return

        def make_model() -> HashedConfig[ModelConfig]:
            known = self.texts[text]
            if known.model is None:
                model = ModelConfig(vocab_size=known.vocab_size, **parts[ModelConfig])
            else:
                model = known.model.config(parts[ModelConfig], text.start_from)
            if text in self.corpora:
                check_fit(model, self.corpora[text])
            return HashedConfig(model)

        model = self.once((words[BeginConfig], words[ModelConfig]), make_model)
        for seed in grid.seeds:
            train = self.once(
                (words[TrainConfig], repr(seed)),
                lambda seed=seed: HashedConfig(TrainConfig(**parts[TrainConfig], seed=seed)),
            )
            if model is not None and train is not None:
                yield text, model, train


NO_TEXTS: Mapping[BeginConfig, KnownText] = {}


def cells_of(
    grids: Sequence[Grid],
    corpora: Mapping[BeginConfig, Corpus] | None = None,
    known: Mapping[BeginConfig, KnownText] = NO_TEXTS,
) -> list[Cell]:
    """Every cell of one or more grids, each once, aliases marked; the seed changes fastest.

    Args:
        grids: what to expand. Of cells that are the same function, only the first is run.
        corpora: the texts; loaded where they are not given.
        known: what was kept about texts that are not among `corpora`.

    Raises:
        GridError: a value or a combination of values that the configs, or the text, do not allow. Every different
            complaint is in the message.
    """
    if corpora is None:
        corpora = load_corpora(grids)
    expander = GridExpander(corpora, known)
    cells: dict[str, Cell] = {}
    first_of: dict[str, str] = {}  # what is computed -> the id of the first cell that computes it
    for grid, settings in ((one, settings) for one in grids for settings in one.settings()):
        for text, model, train in expander.seeds_of(grid, settings):
            known_here = expander.texts[text]
            cell_id = identify(text, model, train, known_here)
            first = first_of.setdefault(function_id(text, model, train, known_here), cell_id)
            if cell_id not in cells:
                alias_of = None if first == cell_id else first
                cells[cell_id] = Cell(cell_id, text, model.config, train.config, known_here.sha256, alias_of)
    if expander.complaints:
        shown = list(expander.complaints)[:MAX_COMPLAINTS]
        more = len(expander.complaints) - len(shown)
        raise GridError(f"this grid cannot be trained: {'; and '.join(shown)}{f'; and {more} more' if more else ''}")
    return list(cells.values())


def load_corpora(grids: Iterable[Grid]) -> dict[BeginConfig, Corpus]:
    return load_texts(texts_of(grids))


def texts_of(grids: Iterable[Grid]) -> list[BeginConfig]:
    """Every text of the grids with what is begun with, each once.

    Raises:
        GridError: an unknown tokenizer, or one beside that of a run.
    """
    found: dict[BeginConfig, None] = {}
    for grid in grids:
        if "tokenizer" in grid.values and any(grid.values.get("start_from", ())):
            raise GridError("start_from keeps the tokenizer of that run; leave tokenizer out")
        fields = [field for field in options(BeginConfig) if field in grid.values]
        for values in itertools.product(*(grid.values[field] for field in fields)):
            given = dict(zip(fields, values, strict=True))
            try:
                found.setdefault(BeginConfig(**given))
            except ConfigError as error:
                raise GridError(f"corpus {given.get('corpus', BeginConfig.corpus)!r}: {error}") from error
    return list(found)


def load_texts(texts: Iterable[BeginConfig]) -> dict[BeginConfig, Corpus]:
    """Each text, as its tokenizer reads it, or that of the run that is begun with.

    Raises:
        GridError: a text or a run is not there, or the one cannot be read by the other's tokenizer.
    """
    loaded: dict[BeginConfig, Corpus] = {}
    read_once = functools.cache(read_begun)  # of a run, however many texts it begins with
    for text in texts:
        try:
            loaded[text] = load_beginning(text, read_once)
        except CheckpointError as error:
            raise GridError(f"start_from {text.start_from!r}: {error}") from error
        except UnknownCharacterError as error:
            raise GridError(
                f"corpus {text.corpus!r}: {error}. The tokenizer is that of the model in {text.start_from}; choose "
                "another corpus"
            ) from error
        except (CorpusError, LookupError) as error:
            raise GridError(f"corpus {text.corpus!r}: {error}") from error
    return loaded

"""A grid from a command line, from a small TOML file, or from a preset, which is such a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeps.grid.fields import RATE, REPLICATE, GridError, owner_of, parse_value, registry_axes, registry_of
from sweeps.grid.grid import Grid
from tlab.judging.learning_rates import rates_around
from tlab.training.config import TrainConfig
from tlab.wording import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

GRID_PRESETS = {path.stem: path for path in sorted((Path(__file__).parents[1] / "presets").glob("*.toml"))}
"""Name -> its file. Another file in that folder is another preset."""

FILE_KEYS = ("axes", "seeds", "set")
MAX_SEEDS = 10_000  # of a grid; five tell most differences
Values = dict[str, tuple[Any, ...]]


def parse_grid(
    axes: str = "",
    sets: Iterable[str] = (),
    seeds: int | None = None,
    steps: int | None = None,
    corpus: str | None = None,
    start_from: str | None = None,
    base: str | None = None,
    tune: str | None = None,
) -> Grid:
    """The grid that a command line describes.

    Args:
        axes: "norm,activation": fields that get every key of their registry, as it is now.
        sets: "position=rope,alibi", each: a field and its values.
        seeds: how many seeds, from 0 on; `sets` may name them instead ("seed=3,7").
        steps: short for an entry of `sets`.
        corpus: likewise, and the only way to name a file with a comma in its path.
        start_from: likewise, a run.
        base: a preset, or the path of a TOML file, to start from. Whatever else is given overrides what it says
            about the same field.
        tune: "learning_rate" for an axis of rates around the one that is given, or else the default.

    Raises:
        GridError: an unknown field, one that is given twice, or no values.
    """
    values: Values = {}

    def add(field: str, new: tuple[Any, ...], given_as: str) -> None:
        if field in values:
            raise GridError(f"{field} is given twice, the second time by {given_as}; give it once")
        values[field] = new

    for field in filter(None, (word.strip() for word in axes.split(","))):
        add(field, every_key(field, "--axes"), f"--axes {axes}")
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
    if start_from is not None:
        add("start_from", (start_from,), f"--from {start_from}")
    if seeds is not None:
        if REPLICATE in values:
            raise GridError(f"--seeds {seeds} and --set seed=... both choose the seeds; give one of them")
        values[REPLICATE] = first_seeds(seeds, "--seeds")
    values = {**(values_from_file(base) if base else {}), **values}
    if tune is not None:
        values[tune] = rates_to_tune(tune, values.get(tune))
    if not values:
        raise GridError(
            "nothing to sweep over; name axes (--axes norm,residual), values (--set position=rope,alibi), seeds "
            f"(--seeds 3), or a preset: {', '.join(GRID_PRESETS)}"
        )
    return Grid(values, values.pop(REPLICATE, (0,)))


def rates_to_tune(field: str, given: tuple[Any, ...] | None) -> tuple[float, ...]:
    """The rates around the one that was given, or around the default."""
    if field != RATE:
        raise GridError(f"--tune {field}: only {RATE} can be tuned")
    centre, *more = given if given is not None else (TrainConfig.learning_rate,)
    if more:
        raise GridError(
            f"--tune {RATE} makes {RATE} an axis around one value, and {len(more) + 1} were given; give one"
        )
    if isinstance(centre, str | bool) or not 0 < centre < math.inf:
        raise GridError(f"--tune {RATE}: there are no rates around {centre!r}; it has to be a number above 0")
    return rates_around(float(centre))


def every_key(field: str, place: str) -> tuple[str, ...]:
    registry = registry_of(field)
    if registry is None:
        raise GridError(
            f"{place} {field}: the values of {field} are not in a registry; write --set {field}=... with two or more "
            f"values. Allowed for {place}: {', '.join(registry_axes())}"
        )
    return tuple(registry)


def first_seeds(number: Any, place: str) -> tuple[int, ...]:
    if isinstance(number, list):
        raise GridError(f"{place} is how many, from 0 on; to name them, write seed = {number} in [set]")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise GridError(f"{place} {number!r}: must be a number and at least 1")
    if number > MAX_SEEDS:
        raise GridError(f"{place} {number}: at most {MAX_SEEDS:,}; with 5 seeds there are intervals to judge by")
    return tuple(range(number))


# ------------------------------------------------------------------------------------------------ files


def values_from_file(name: str) -> Values:
    """What a preset or a TOML file says: field -> its values, the seeds among them.

    Such a file holds `axes = ["norm", "residual"]`, `seeds = 3`, and a table `[set]` with a value or a list of
    values a field.

    Raises:
        GridError: no such preset or file, invalid TOML, or an unknown key.
    """
    path = GRID_PRESETS.get(name) or Path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark first
    except FileNotFoundError:
        raise GridError(
            f"{name!r} is neither a preset nor a file; presets are {', '.join(GRID_PRESETS)}."
            f"{did_you_mean(name, GRID_PRESETS)} A file is named by its path, such as my_sweep.toml"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are both ValueErrors
        raise GridError(f"{name} cannot be read as TOML: {error}") from error
    for key in content:
        if key not in FILE_KEYS:
            raise GridError(
                f"{name}: unknown key {key!r}; allowed: {', '.join(FILE_KEYS)}.{did_you_mean(key, FILE_KEYS)} "
                "Values of config fields belong in [set]"
            )
    fixed, axes = content.get("set", {}), content.get("axes", [])
    if not isinstance(fixed, Mapping) or not isinstance(axes, list):
        raise GridError(f'{name}: axes must be a list, such as axes = ["norm"], and [set] a table')
    values: Values = {str(field): every_key(str(field), f"{name}: axes") for field in axes}
    for field, given in fixed.items():
        owner_of(field)
        if field in values or (field == REPLICATE and "seeds" in content):
            raise GridError(f"{name}: {field} is given twice; give it once")
        values[field] = tuple(given) if isinstance(given, list) else (given,)
    if "seeds" in content:
        values[REPLICATE] = first_seeds(content["seeds"], f"{name}: seeds")
    return values

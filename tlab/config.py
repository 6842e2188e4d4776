"""What every config is: a frozen dataclass whose fields know their help, their range and their default.

The configs themselves are where they belong: `tlab.text.config`, `tlab.nn.config`, `tlab.training.config`. The command
line, the app and the sweeps are all made from their fields.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tlab.registry import Registry
from tlab.wording import did_you_mean, number

MAX_COUNT = 2**63 - 1  # more is what no array can count


class ConfigError(ValueError):
    """An invalid configuration; the message names every field that is wrong, what is allowed, and why."""


@dataclass(frozen=True)
class Option:
    """What is known of a config field besides its name, type and default."""

    help: str
    low: float = -math.inf
    high: float = math.inf
    low_is_allowed: bool = True
    typical: tuple[float, float] | None = None  # the range worth trying, for a slider
    default_words: str = ""  # what None means, where it is the default
    registry: Registry | None = None
    label: str = ""  # what people call it, where its name alone says too little
    formula: str = ""  # what a number switches on, in LaTeX; of what is chosen from a registry, each choice has its own
    source: str = ""  # the paper, likewise
    is_extra: bool = False  # of a part that few models have: folded away in the app, and unsaid at its default

    def words(self, value: Any) -> str:
        """A value for people: the label of a choice, yes or no, what None means, or the value itself."""
        if self.registry is not None and value in self.registry:
            return self.registry.entries[value].label
        if isinstance(value, bool):
            return "yes" if value else "no"
        if value is None:
            return self.default_words or "default"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def complaint(self, value: Any) -> str | None:
        """Why `value` is not allowed, or None."""
        if self.registry is not None:
            return None if value in self.registry else self.registry.explain(value)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        too_low = value < self.low or (value == self.low and not self.low_is_allowed)
        if isinstance(value, int) and MAX_COUNT < value <= self.high:
            return f"must be at most {MAX_COUNT}"
        if too_low or value > self.high or (isinstance(value, float) and not math.isfinite(value)):
            lower = f"{'at least' if self.low_is_allowed else 'more than'} {number(self.low)}"
            upper = f" and at most {number(self.high)}" if self.high < math.inf else ""
            return f"must be {lower}{upper}"
        return None


def option(default: Any = dataclasses.MISSING, **details: Any) -> Any:
    """A dataclass field that carries an `Option`."""
    return field(default=default, metadata={"option": Option(**details)})


def chosen_from(registry: Registry, default: str, help: str, label: str = "", **details: Any) -> Any:
    """A dataclass field whose value is a key of `registry`."""
    return option(default, help=help, registry=registry, label=label, **details)


@functools.cache
def options(config_class: type) -> Mapping[str, Option]:
    """Field name -> `Option`, in order."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(config_class)}


TRUE_WORDS, FALSE_WORDS, NONE_WORDS = ("true", "yes", "1"), ("false", "no", "0"), ("none", "null")

SelfConfig = TypeVar("SelfConfig", bound="Config")


@dataclass(frozen=True)
class Config:
    """Validation and JSON, for every config."""

    def __post_init__(self) -> None:
        problems, known = [], options(type(self))
        for name, expected in field_types(type(self)).items():
            given = getattr(self, name)
            try:
                value = as_plain(given, type_alternatives(expected))
                complaint = known[name].complaint(value)
                object.__setattr__(self, name, value)
            except (TypeError, OverflowError) as error:
                complaint = str(error)
            if complaint:
                problems.append(f"{name} = {given!r}: {complaint}")
        if not problems:
            problems = self.cross_check()
        if problems:
            raise ConfigError("; ".join(problems))

    def cross_check(self) -> list[str]:
        """Complaints about fields that do not fit each other."""
        return []

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that `from_json` turns back into an equal config.

        Extra fields are in it only where they are set: so what earlier versions wrote, and ids made of it, stay.
        """
        known, defaults = options(type(self)), {f.name: f.default for f in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if not known[name].is_extra or value != defaults[name]}

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """The value that `text` means for the field `name`: "3e-3" is a number for a rate, and "none" a key for a norm.

        What is not a value of the field's type comes back as the text it was, and the config then says why not.
        """
        word = text.strip()
        for kind in type_alternatives(field_types(cls)[name]):
            if kind is str:
                return word
            if kind is bool and word.lower() in TRUE_WORDS + FALSE_WORDS:
                return word.lower() in TRUE_WORDS
            if kind is type(None) and word.lower() in NONE_WORDS:
                return None
            if kind in (int, float):
                with contextlib.suppress(ValueError):
                    return kind(word)
        return word

    @classmethod
    def from_json(cls: type[SelfConfig], values: Mapping[str, Any]) -> SelfConfig:
        """The config with these values; fields that are missing have their defaults.

        JSON has one kind of number, so 3.0 is 3 where only an integer is allowed.

        Raises:
            ConfigError: an unknown field, a missing one that has no default, or a value out of range.
        """
        known = options(cls)
        for name in values:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{cls.__name__} has no field {name!r}; it has {', '.join(known)}.{hint}")
        for f in dataclasses.fields(cls):
            if f.default is dataclasses.MISSING and f.name not in values:
                raise ConfigError(f"{cls.__name__} needs {f.name}: {known[f.name].help}")
        types = field_types(cls)
        return cls(**{name: from_json_number(value, type_alternatives(types[name])) for name, value in values.items()})


@functools.cache
def field_types(config_class: type) -> dict[str, Any]:
    """Field name -> its type, in order."""
    hints = typing.get_type_hints(config_class)
    return {f.name: hints[f.name] for f in dataclasses.fields(config_class)}


def type_alternatives(expected: Any) -> tuple[type, ...]:
    """`int | None` -> (int, NoneType), `int` -> (int,)."""
    return typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)


def from_json_number(value: Any, kinds: tuple[type, ...]) -> Any:
    """3 for 3.0 where a field of these types takes integers only; any other value as it is."""
    is_whole = isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds
    return int(value) if is_whole else value


KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def as_plain(value: Any, kinds: tuple[type, ...]) -> Any:
    """`value` as a plain Python object of one of these types, so that it survives JSON: 3 for numpy.int64(3).

    Raises:
        TypeError: it is none of them. A bool does not count as a number here, nor a float as an int.
    """
    if type(value) in kinds:  # exactly: numpy.float64 is a float too, and would turn float32 arrays into float64
        return value
    if int in kinds and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if float in kinds and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    meant = " or ".join(KIND_WORDS[kind] for kind in kinds if kind in KIND_WORDS)
    raise TypeError(f"must be of type {' or '.join(kind.__name__ for kind in kinds)}{meant and f' ({meant})'}")

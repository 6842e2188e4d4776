"""One registry per slot of the lab: a norm, an activation, an optimizer, a corpus ...

A registered class is all there is to an alternative: the config checks its key here, the app and the command
line offer it, the sweep can grid over it, the tests run on it, the README lists it. Nothing else names it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from tlab.wording import did_you_mean

Component = TypeVar("Component", bound=type)
SameClass = TypeVar("SameClass", bound=type)

REGISTRIES: dict[str, Registry] = {}  # registries of parts of the lab by slot, in the order in which they were made


class UnknownKeyError(KeyError, ValueError):
    """A key that no class was registered under; the message says which ones were."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Entry(Generic[Component]):
    """A registered class, with its label, formula and source."""

    key: str
    component: Component
    label: str
    formula: str
    source: str

    @property
    def summary(self) -> str:
        """The first line of the class's docstring: one plain sentence."""
        return self.description.partition("\n")[0]

    @property
    def description(self) -> str:
        """The class's docstring; nothing under `python -OO`, where a dataclass has its signature in place of one."""
        return "" if sys.flags.optimize > 1 else inspect.cleandoc(self.component.__doc__ or "")


class Registry(Mapping[str, Component]):
    r"""An ordered mapping from key to class, for one slot.

    >>> ACTIVATIONS = Registry("activation")
    >>> @ACTIVATIONS.add("relu", label="ReLU", formula=r"\max(0, x)", source="Nair & Hinton 2010")
    ... class Relu: ...
    >>> ACTIVATIONS["relu"] is Relu
    True
    """

    def __init__(self, slot: str, *, is_shown: bool = True) -> None:
        """`is_shown` says whether the Code tab and docs/switches.md have a page and a line for each class."""
        self.slot = slot
        self.entries: dict[str, Entry[Component]] = {}
        if is_shown:
            REGISTRIES[slot] = self

    def add(self, key: str, *, label: str, formula: str = "", source: str = "") -> Callable[[SameClass], SameClass]:
        """Class decorator that registers under `key`.

        Args:
            key: what people type in configs, links and on the command line.
            label: what people read.
            formula: the definition, in LaTeX.
            source: author and year of the paper, or a short note where there is none.

        Raises:
            ValueError: the key is taken.
        """
        if key in self.entries:
            raise ValueError(f"{self.slot} {key!r} is registered already; choose another key")

        def register(component: SameClass) -> SameClass:
            self.entries[key] = Entry(key, cast("Component", component), label, formula, source)
            return component

        return register

    def remove(self, key: str) -> None:
        """Forget `key`: for notebooks and tests that define a part only for a while."""
        self[key]  # the helpful error, where there is none
        del self.entries[key]

    def __getitem__(self, key: str) -> Component:
        try:
            return self.entries[key].component
        except (KeyError, TypeError):
            raise UnknownKeyError(self.explain(key)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def explain(self, key: object) -> str:
        """The error message for a `key` that is not registered."""
        hint = did_you_mean(key, self.entries)
        return f"unknown {self.slot} {key!r}; allowed: {', '.join(self.entries)}.{hint}"


def register_all(package: str) -> None:
    """Import every file of a package, in the order of their names: the classes in it register themselves."""
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        importlib.import_module(f"{package}.{module.name}")

"""How the levels of a sweep and its configurations are labelled; plain text, to be escaped."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeps.grid.fields import owner_of, registry_of
from sweeps.results.summary import BEST, LOST_MORE, Configuration
from sweeps.store.provenance import without_folders
from tlab.config import options
from tlab.judging.few_seeds import BELOW_MARGIN, EQUIVALENT, INCONCLUSIVE, REAL


def level_name(axis: str, value: Any) -> str:
    """The label that its class was registered with, or the value in words, see `Option.words`; of a file its name."""
    registry = registry_of(axis)
    if registry is not None and value in registry:
        return registry.entries[value].label
    value = value.item() if isinstance(value, np.generic) else value
    return options(owner_of(axis))[axis].words(without_folders(value))


def level_phrase(axis: str, value: Any) -> str:
    """The same where the axis is not named beside it."""
    if axis == "random_weights":  # of a sweep that begins with a run
        return "random weights" if value else "trained weights"
    registry = registry_of(axis)
    name = level_name(axis, value)
    return name if registry is not None and value in registry else f"{axis_name(axis)} {name}"


def axis_name(axis: str) -> str:
    return axis.replace("_", " ")


def configuration_name(configuration: Configuration) -> str:
    """The labels of a configuration's levels; aliases are joined by an equals sign."""
    parts = [" = ".join(level_phrase(axis, level) for level in levels) for axis, levels in configuration.levels.items()]
    return " · ".join(parts) or "all runs"


VERDICT_NAMES = {
    REAL: "different",
    BELOW_MARGIN: "different, but by less than the margin",
    EQUIVALENT: "equivalent within the margin",
    INCONCLUSIVE: "inconclusive",
    BEST: "best",
    LOST_MORE: "lost more seeds",
}


def verdict_name(verdict: str) -> str:
    """What a reader sees for a verdict of the tables."""
    return VERDICT_NAMES[verdict]

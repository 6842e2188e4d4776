"""How the levels of a sweep and its configurations are labelled; plain text, to be escaped."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeps.grid.fields import owner_of, registry_of
from sweeps.results.summary import BEST, LOST_MORE, Configuration
from sweeps.store.provenance import without_folders
from tlab.config import options
from tlab.judging.few_seeds import BELOW_MARGIN, EQUIVALENT, INCONCLUSIVE, REAL

RANDOM_WEIGHTS = "random_weights"  # the axis of a sweep that begins with a run


def level_name(axis: str, value: Any) -> str:
    """The label that its class was registered with, or the value in words; of a file its name."""
    registry = registry_of(axis)
    if registry is not None and value in registry:
        return registry.entries[value].label
    if axis == RANDOM_WEIGHTS:
        return "random" if value else "trained"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None:
        return options(owner_of(axis))[axis].default_words or "default"
    return f"{value:g}" if isinstance(value, float) else str(without_folders(value))


def level_phrase(axis: str, value: Any) -> str:
    """The same where the axis is not named beside it."""
    registry = registry_of(axis)
    name = level_name(axis, value)
    if axis == RANDOM_WEIGHTS:
        return f"{name} weights"
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

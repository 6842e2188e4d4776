"""What a report says was run: the grid, the machine, what went wrong, the aliases; sections.html shows it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sweeps.grid.begin import BeginConfig
from sweeps.grid.cell_id import effective
from sweeps.grid.fields import CONFIGS, REPLICATE, GridError, owner_of, sweepable
from sweeps.report.analysis import Analysis
from sweeps.report.run_figures import levels_of
from sweeps.results.labels import axis_name, level_name, level_phrase
from sweeps.results.summary import Configuration, has_value
from sweeps.results.table import Table
from sweeps.store.provenance import without_folders
from sweeps.store.record import OK
from tlab.config import Config, ConfigError, options
from tlab.nn.config import ModelConfig
from tlab.training.config import TrainConfig
from tlab.training.shared_start import SharedStart, Start, shared_start
from tlab.wording import duration, listed, several

MAX_LEVELS = 24  # of an axis that are named
UNKNOWN_VOCABULARY = 256  # where the manifest does not say: whether weights are shared seldom depends on it


# ------------------------------------------------------------------------------------------------ what was run


def setup_section(analysis: Analysis) -> dict[str, str]:
    table = analysis.table
    runs = [run for run in analysis.manifest.get("runs", ()) if isinstance(run, dict)]
    entries = {
        **grid_entries(table, analysis.manifest),
        "defaults": defaults_in_words(analysis),
        "cells": cells_in_words(table, analysis.planned),
        **size_entries(table),
        **(machine_entries(runs) if runs else {}),
    }
    return {name: value for name, value in entries.items() if value}


def grid_entries(table: Table, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Axes with their levels, the seeds, and every setting that was given and is the same in all cells."""
    entries = {}
    for axis in table.axes:
        levels = [level_name(axis, level) for level in levels_of(table, axis)]
        more = f" and {len(levels) - MAX_LEVELS} more" if len(levels) > MAX_LEVELS else ""
        entries[axis_name(axis)] = ", ".join(levels[:MAX_LEVELS]) + more
    seeds = sorted({row[REPLICATE] for row in table.rows})
    entries["seeds"] = ", ".join(map(str, seeds[:MAX_LEVELS])) + (" ..." if len(seeds) > MAX_LEVELS else "")
    fixed: dict[str, set[str]] = {}
    for grid in manifest.get("grids", ()):
        for setting, values in grid.get("values", {}).items():
            if len(values) == 1 and setting not in table.axes:
                fixed.setdefault(setting, set()).add(level_name(setting, values[0]))
    entries["fixed"] = ", ".join(f"{axis_name(name)} {' or '.join(sorted(values))}" for name, values in fixed.items())
    return entries


def defaults_in_words(analysis: Analysis) -> str:
    """Every setting that nobody chose and that some cell goes by; of a model that was begun with, its training alone.

    Extra parts are left out, as they are off.
    """
    known: dict[str, Any] = {}
    grids, are_begun = analysis.manifest.get("grids", ()), bool(begun_with_models(analysis.manifest))
    chosen = {*analysis.table.axes, REPLICATE, *(field for grid in grids for field in grid["values"])}
    for row in analysis.table.rows:
        with contextlib.suppress(ConfigError, GridError):
            start = start_of(row, analysis)
            for config in [start.training] if are_begun else [start.model, start.training]:
                known |= {field: getattr(config, field) for field in effective(config)}
    return ", ".join(
        f"{axis_name(field)} {level_name(field, value)}"
        for field, value in known.items()
        if field in sweepable() and field not in chosen and not options(owner_of(field))[field].is_extra
    )


def cells_in_words(table: Table, planned: int) -> str:
    aliases = sum(bool(row["alias_of"]) for row in table.rows)
    trained = [row for row in table.rows if not row["alias_of"]]
    kinds = [f"{sum(has_value(row) for row in trained)} {OK}"]
    other = [row["status"] for row in trained if row["status"] != OK]
    kinds += [f"{other.count(status)} {status}" for status in dict.fromkeys(other)]
    words = f"{len(table.rows):,} of {several(planned, 'cell')}; {len(trained):,} trained: {listed(kinds)}"
    return f"{words}; {aliases:,} more by alias" if aliases else words


def size_entries(table: Table) -> dict[str, str]:
    trained = [row for row in table.rows if not row["alias_of"]]

    def values(column: str) -> list[float]:
        return sorted(row[column] for row in trained if row.get(column) is not None)

    entries = {}
    for name, column in (("steps done", "steps_done"), ("parameters", "n_params")):
        if found := values(column):
            entries[name] = f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"
    if seconds := values("wall_seconds"):
        median = seconds[len(seconds) // 2]
        entries["time"] = f"{duration(sum(seconds))} of training in total; {duration(median)} per cell (median)"
    if memory := values("peak_memory_mib"):
        entries["memory"] = f"at most {memory[-1]:,.0f} MiB per process"
    return entries


def machine_entries(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    last = runs[-1]
    corpora = {
        f"{text.get('name')}, {text.get('size', 0):,} bytes, "
        f"{begun_with(text).get('tokenizer', text.get('tokenizer'))} tokenizer with {text.get('vocab_size')} tokens, "
        f"sha256 {str(text.get('sha256'))[:12]}, licence {text.get('licence')}"
        for run in runs
        for text in run.get("corpora", ())
    }
    models = {
        f"{without_folders(begun.get('start_from'))}, sha256 of its weights {str(begun.get('weights_sha256'))[:12]}"
        for run in runs
        for text in run.get("corpora", ())
        if (begun := begun_with(text))
    }
    machines = {f"{run.get('processor')}, {run.get('cpu_count')} cores, {run.get('platform')}" for run in runs}
    blas = ", ".join(f"{library.get('internal_api')} {library.get('version')}" for library in last.get("blas") or ())
    packages = {"tlab": "tlab", "Python": "python", "NumPy": "numpy", "joblib": "joblib", "": "dtype"}
    versions = [f"{name} {last[key]}".strip() for name, key in packages.items() if last.get(key)]
    git = last.get("git") or {}
    changed = ", with uncommitted changes" if git.get("dirty") else ""
    return {
        "text": "; ".join(sorted(corpora)),
        "model": "; ".join(sorted(models)),
        "machine": "; ".join(sorted(machines)),
        "versions": ", ".join(filter(None, [*versions, blas])),
        "commit": f"{str(git['sha'])[:12]}{changed}" if git.get("sha") else "",
        "started": ", ".join(dict.fromkeys(readable_time(str(run.get("began", ""))) for run in runs)),
        "command": "; ".join(
            dict.fromkeys(shlex.join(map(str, without_folders(run["command"]))) for run in runs if run.get("command"))
        ),
    }


def begun_with_models(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the runs that the cells begin with; none where all begin with random weights."""
    places = {place for grid in manifest.get("grids", ()) for place in grid["values"].get("start_from", ()) if place}
    return sorted(str(without_folders(place)) for place in places)


def begun_with(text: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the manifest says of the run that was begun with on this text; nothing where it was none."""
    return text.get("begun_with") or {}


def readable_time(began: str) -> str:
    try:
        return datetime.fromisoformat(began).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return began


# ------------------------------------------------------------------------------------------------ what is shared


def shared_sentences(analysis: Analysis) -> list[str]:
    """What runs of one seed have in common before their first step, for the axes that they may differ in.

    Nothing is said of settings that this version cannot read.
    """
    if models := begun_with_models(analysis.manifest):
        whose = models[0] if len(models) == 1 else "its start_from"
        but = ", or where random_weights says so with random ones" if "random_weights" in analysis.table.axes else ""
        return [f"Every run begins with the weights of {whose}, whatever its seed{but}."]
    axes: dict[SharedStart, list[str]] = {}
    for axis in analysis.table.axes:
        try:
            starts = [start_of(row, analysis) for row in rows_along(analysis.table, axis)]
        except (ConfigError, GridError):
            continue
        if len(starts) > 1:
            axes.setdefault(shared_start(starts), []).append(axis_name(axis))
    return [found.sentence(f"Runs of one seed that differ in {either(names)} alone") for found, names in axes.items()]


def either(words: Sequence[str]) -> str:
    """a, b or c."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def rows_along(table: Table, axis: str) -> list[Mapping[str, Any]]:
    """Rows that differ in this axis alone: as many of them as there are anywhere."""
    others = [other for other in (*table.axes, REPLICATE) if other != axis]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in table.rows:
        groups.setdefault(tuple(row[other] for other in others), []).append(row)
    return max(groups.values(), key=len, default=[])


def start_of(row: Mapping[str, Any], analysis: Analysis) -> Start:
    """What a run began with."""
    runs = analysis.manifest.get("runs", ())
    settings = fields_of_row(row, analysis)
    text = BeginConfig.from_json(settings[BeginConfig])
    sizes = {
        (about.get("name"), about.get("tokenizer")): about.get("vocab_size")
        for run in runs
        for about in run.get("corpora", ())
    }
    of_tokenizer = [size for (_, tokenizer), size in sizes.items() if tokenizer == text.tokenizer]
    size = sizes.get((text.corpus, text.tokenizer)) or next(filter(None, of_tokenizer), UNKNOWN_VOCABULARY)
    model = ModelConfig.from_json({"vocab_size": size, **settings[ModelConfig]})
    return Start(f"{text.corpus}, {text.tokenizer}", model, TrainConfig.from_json(settings[TrainConfig]))


def fields_of_row(row: Mapping[str, Any], analysis: Analysis) -> dict[type[Config], dict[str, Any]]:
    """The fields of each config that a row or, of all else, the grids say; the others have their defaults."""
    grids = analysis.manifest.get("grids", ())
    fixed = {field: values[0] for grid in grids for field, values in grid["values"].items()}
    parts: dict[type[Config], dict[str, Any]] = {owner: {} for owner in CONFIGS}
    for field, value in {**fixed, **{field: row[field] for field in (*analysis.table.axes, REPLICATE)}}.items():
        parts[owner_of(field)][field] = value
    return parts


def trainings(analysis: Analysis) -> list[TrainConfig]:
    """How each trained cell was trained; without those whose settings this version cannot read."""
    found = []
    for row in analysis.table.rows:
        if not row["alias_of"]:
            with contextlib.suppress(ConfigError, GridError):
                found.append(TrainConfig.from_json(fields_of_row(row, analysis)[TrainConfig]))
    return found


# ------------------------------------------------------------------------------------------------ what went wrong


def failed_rows(table: Table) -> list[Mapping[str, Any]]:
    return [row for row in table.rows if not row["alias_of"] and not has_value(row)]


def cell_name(row: Mapping[str, Any], axes: Sequence[str]) -> str:
    return " · ".join(level_phrase(axis, row[axis]) for axis in axes) or "all runs"


def aliased(analysis: Analysis) -> list[Configuration]:
    found = [one.configuration for one in analysis.ranked]
    return [one for one in found if any(len(levels) > 1 for levels in one.levels.values())]

"""The sections of a report that say what was run, how it was computed, and what went wrong."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sweeps.grid.fields import REPLICATE
from sweeps.report.html import Html, details, joined, table, tag
from sweeps.report.run_figures import levels_of
from sweeps.report.sentences import listed
from sweeps.results.effects import Comparison
from sweeps.results.labels import axis_name, configuration_name, level_name, level_phrase
from sweeps.results.stats import ALPHA
from sweeps.results.summary import configurations, has_value
from sweeps.results.table import Table
from sweeps.store.provenance import without_folders
from sweeps.store.record import OK
from tlab.wording import duration, several

MOST_ACCIDENTS = 40
MOST_ALIASES = 40
MOST_LEVELS = 24  # of an axis that are named


# ------------------------------------------------------------------------------------------------ what was run


def setting_section(of_table: Table, manifest: Mapping[str, Any], planned: int) -> Html:
    """The grid, the text, the machine and the time."""
    runs = [run for run in manifest.get("runs", ()) if isinstance(run, dict)]
    entries = {
        **grid_entries(of_table, manifest),
        "cells": cells_words(of_table, planned),
        **size_entries(of_table),
        **(machine_entries(runs) if runs else {}),
    }
    told = ((tag("dt", name), tag("dd", value)) for name, value in entries.items() if value)
    return tag("dl", *(item for pair in told for item in pair))


def grid_entries(of_table: Table, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Axes with their levels, the seeds, and every setting that was given and is the same in all cells."""
    entries = {}
    for axis in of_table.axes:
        levels = [level_name(axis, level) for level in levels_of(of_table, axis)]
        more = f" and {len(levels) - MOST_LEVELS} more" if len(levels) > MOST_LEVELS else ""
        entries[axis_name(axis)] = ", ".join(levels[:MOST_LEVELS]) + more
    seeds = sorted({row[REPLICATE] for row in of_table.rows})
    entries["seeds"] = ", ".join(map(str, seeds[:MOST_LEVELS])) + (" ..." if len(seeds) > MOST_LEVELS else "")
    fixed: dict[str, set[str]] = {}
    for grid in manifest.get("grids", ()):
        for setting, values in grid.get("values", {}).items():
            if len(values) == 1 and setting not in of_table.axes:
                fixed.setdefault(setting, set()).add(level_name(setting, values[0]))
    entries["fixed"] = ", ".join(f"{axis_name(name)} {' or '.join(sorted(values))}" for name, values in fixed.items())
    return entries


def cells_words(of_table: Table, planned: int) -> str:
    """How many cells there are, and what became of them."""
    aliases = sum(bool(row["alias_of"]) for row in of_table.rows)
    trained = [row for row in of_table.rows if not row["alias_of"]]
    kinds = [f"{sum(has_value(row) for row in trained)} {OK}"]
    other = [row["status"] for row in trained if row["status"] != OK]
    kinds += [f"{other.count(status)} {status}" for status in dict.fromkeys(other)]
    words = f"{len(of_table.rows):,} of {several(planned, 'cell')}; {len(trained):,} trained: {listed(kinds)}"
    return f"{words}; {several(aliases, 'other')} of the same function as one of these" if aliases else words


def size_entries(of_table: Table) -> dict[str, str]:
    """Steps, weights, and what the cells took."""
    trained = [row for row in of_table.rows if not row["alias_of"]]

    def values(column: str) -> list[float]:
        return sorted(row[column] for row in trained if row.get(column) is not None)

    entries = {}
    for name, column in (("steps done", "steps_done"), ("weights", "n_params")):
        if found := values(column):
            entries[name] = f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"
    if seconds := values("wall_seconds"):
        middle = seconds[len(seconds) // 2]
        entries["time"] = f"{duration(sum(seconds))} of training in all; a cell {duration(middle)} (median)"
    if memory := values("peak_memory_mib"):
        entries["memory"] = f"at most {memory[-1]:,.0f} MiB a process"
    return entries


def machine_entries(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Text, machine, versions and commands, as the manifest has them."""
    last = runs[-1]
    corpora = {
        f"{text.get('name')}, {text.get('size', 0):,} bytes, {text.get('tokenizer')} tokenizer of "
        f"{text.get('vocab_size')} tokens, sha256 {str(text.get('sha256'))[:12]}, licence {text.get('licence')}"
        for run in runs
        for text in run.get("corpora", ())
    }
    machines = {f"{run.get('processor')}, {run.get('cpu_count')} cores, {run.get('platform')}" for run in runs}
    blas = ", ".join(f"{library.get('internal_api')} {library.get('version')}" for library in last.get("blas") or ())
    named = {"the lab": "tlab", "Python": "python", "NumPy": "numpy", "joblib": "joblib", "": "dtype"}
    versions = [f"{name} {last[key]}".strip() for name, key in named.items() if last.get(key)]
    git = last.get("git") or {}
    changed = ", with files changed since" if git.get("dirty") else ""
    return {
        "text": "; ".join(sorted(corpora)),
        "machine": "; ".join(sorted(machines)),
        "versions": ", ".join(filter(None, [*versions, blas])),
        "commit": f"{str(git['sha'])[:12]}{changed}" if git.get("sha") else "",
        "begun": ", ".join(dict.fromkeys(day_of(str(run.get("began", ""))) for run in runs)),
        "command": shlex.join(map(str, without_folders(last.get("command") or ()))),
    }


def day_of(began: str) -> str:
    """A time as people write it; unchanged where it is none."""
    try:
        return datetime.fromisoformat(began).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return began


# ------------------------------------------------------------------------------------------------ what went wrong


def accidents_section(of_table: Table) -> Html:
    """Every cell that did not end well, with what it said."""
    bad = [row for row in of_table.rows if not row["alias_of"] and not has_value(row)]
    if not bad:
        return tag("p", "Nothing: every cell that was trained ended well.")
    rows = []
    for row in bad[:MOST_ACCIDENTS]:
        name = " · ".join(level_phrase(axis, row[axis]) for axis in of_table.axes) or "all runs"
        message: object = ": ".join(filter(None, (row.get("error_type"), row.get("error_message")))) or "no message"
        if trace := row.get("traceback_tail"):
            message = joined([message, details("end of the traceback", tag("pre", trace))])
        status = row["status"] if row["status"] != OK else "ok without a loss"
        rows.append([name, row[REPLICATE], tag("span", status, class_="bad"), row.get("steps_done") or 0, message])
    shown = table(["configuration", "seed", "status", "steps", "what it said"], rows, (1, 3), (0, 4))
    more = len(bad) - len(rows)
    return joined([shown, tag("p", f"{more} more are in cells.csv.", class_="muted")]) if more else shown


def aliases_section(of_table: Table) -> Html:
    """Configurations that are one function and were trained once."""
    found = [one for one in configurations(of_table) if any(len(levels) > 1 for levels in one.levels.values())]
    if not found:
        return Html("")
    words = (
        "These are the same function of the same weights under several names. Each was trained once; where two of its "
        "names would be compared with each other, the pair is left out, as there is nothing to compare."
    )
    items = [tag("li", configuration_name(one)) for one in found[:MOST_ALIASES]]
    if len(found) > MOST_ALIASES:
        items.append(tag("li", f"and {len(found) - MOST_ALIASES} more"))
    return joined([tag("p", words), tag("ul", *items)])


# ------------------------------------------------------------------------------------------------ methods


def methods_section(found: Sequence[Comparison], interacting: Sequence[Comparison], margin: float) -> Html:
    """How the numbers came about, for whoever wants to doubt them."""
    paragraphs = (
        "All configurations of a seed read the same batches and share every initial weight that they can share. So "
        "they are compared within each seed: the difference of two levels is averaged over the combinations of the "
        "other axes, which gives one number a seed, and these numbers are then averaged.",
        "Intervals are Student's t over the seeds, at 95 %. The percentile bootstrap is not used for them: three seeds "
        "have only ten different resamples, and its intervals are far too narrow. Each interval stands for itself.",
        f"A difference is called real where the two-sided paired t-test has p of at most {ALPHA:g} after Holm's "
        f"correction over {several(len(found), 'comparison')} of levels; interactions are a family of their own, of "
        f"{len(interacting)}. So in a family without any difference, something is called real in at most 5 % of "
        "sweeps. Where an interval leaves zero out and that is not enough, the difference points one way.",
        f"Two levels are called equal where two one-sided tests (TOST) both show at {ALPHA:g} that the difference is "
        f"within ±{margin:g} nats per token; this is not corrected for the number of pairs. That a test finds no "
        "difference is never taken for equality. What is neither real nor equal, this sweep cannot tell; the number "
        "of seeds that might tell is a guess from the spread over the few that there are.",
        "Cells that diverged or failed are in no mean. They are counted beside it, and combinations that are not "
        "complete are left out for both sides of a comparison and for all of its seeds, so that the averages stay "
        "comparable: a comparison speaks of the combinations that it names as many of.",
    )
    return joined(tag("p", text) for text in paragraphs)

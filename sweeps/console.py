"""What the commands print, in words and for programs: a plan, an estimate, a status, a ranking, what went wrong."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweeps.grid.fields import REPLICATE
from sweeps.grid.grid import Grid
from sweeps.results.labels import axis_name, configuration_name
from sweeps.results.summary import configurations
from sweeps.results.table import Table, differing_fields, in_one_unit
from sweeps.run.driver import SweepResult
from sweeps.run.plan import CostEstimate, SweepPlan, no_curve_words, warmup_words
from sweeps.store.folder import Store
from sweeps.store.lock import holder_of
from sweeps.store.record import FAILURES, STATUSES
from tlab.files import damaged_files
from tlab.wording import duration, listed, several

WHAT_FAILED = ("status", "error_type", "error_message")  # of a record
MAX_LISTED = 20  # of configurations, or of failures; all are in cells.csv


def plan_summary(plan: SweepPlan) -> str:
    words = [several(len(plan.wanted), "cell")]
    if plan.num_aliases:
        words.append(f"{plan.num_aliases:,} of them the same function as another")
    if done := len({cell.result_id for cell in plan.wanted}) - len(plan.missing):
        words.append(f"{done:,} done before")
    return f"{', '.join(words)}: {len(plan.missing):,} to train"


def plan_data(plan: SweepPlan) -> dict[str, Any]:
    """What `plan_summary` says, for a program."""
    return {
        "cells": len(plan.wanted),
        "aliases": plan.num_aliases,
        "done": len({cell.result_id for cell in plan.wanted}) - len(plan.missing),
        "to_train": [cell.cell_id for cell in plan.missing],
        "notes": plan.notes,
    }


def plan_details(grid: Grid, plan: SweepPlan) -> str:
    levels = {**grid.values, "seed": grid.seeds}
    lines = [f"{field:>18}  {levels_in_words(values)}" for field, values in levels.items()]
    by_id = {cell.cell_id: cell for cell in plan.cells}
    first_seed = [cell for cell in plan.wanted if cell.alias_of and cell.seed == grid.seeds[0]]
    axes = [axis for axis in grid.axes if axis != "seed"]
    for cell in first_seed[:MAX_LISTED]:
        other = by_id[cell.alias_of or ""]
        differing = differing_fields([cell, other], ())  # no axis where the other is of an earlier grid
        named = list(dict.fromkeys([*axes, *differing]))
        lines.append(f"{'alias':>18}  {cell.describe(named)}: as {other.describe(differing)}")
    if len(first_seed) > MAX_LISTED:
        lines.append(f"{'':>18}  ... and {len(first_seed) - MAX_LISTED} more")
    configurations = several(len(grid) // len(grid.seeds), "configuration")
    total = f"{configurations} x {several(len(grid.seeds), 'seed')} = {plan_summary(plan)}"
    return "\n".join([*lines, *filter(None, [notes_on_steps(plan)]), total])


def levels_in_words(values: Sequence[Any]) -> str:
    """The levels of a field, of many the first and the last."""
    if len(values) <= MAX_LISTED:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[: MAX_LISTED // 2]))}, ... {values[-1]} ({len(values):,} in all)"


def notes_on_steps(plan: SweepPlan) -> str:
    trainings = [cell.train for cell in plan.wanted]
    return "\n".join(filter(None, [warmup_words(trainings), no_curve_words(trainings)]))


def note_on_earlier(plan: SweepPlan) -> str:
    """That the folder has cells that were not asked for now, and which settings differ by them; else nothing."""
    others = len(plan.cells) - len(plan.wanted)
    if not others:
        return ""
    asked = differing_fields(plan.wanted, ())
    new = [axis_name(field) for field in differing_fields(plan.cells, ()) if field not in asked]
    what = f", which also differ in {listed(new)}" if new else ""
    return f"The folder has {several(others, 'cell')} of earlier commands, too: its tables are of all{what}."


def cost_summary(cost: CostEstimate, jobs: int) -> str:
    return (
        f"about {duration(cost.seconds)} with {several(jobs, 'job')} on this machine, the longest cell "
        f"{duration(cost.longest)}; about {cost.mib_each:,.0f} MiB per job "
        f"(from a few steps of {several(cost.shapes_measured, 'model')})"
    )


def status_report(plan: SweepPlan, store: Store) -> tuple[str, bool]:
    """What is done in a folder and what went wrong; -> the text, and whether every cell is done and none failed."""
    records = plan.records
    counts = Counter(record.status for record in records.values())
    lines = [f"{store.folder}: {plan_summary(plan)}", *plan.notes]
    if counts:
        lines.append(", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status]))
    if holder := holder_of(store.folder):
        begun = len(store.started())
        lines.append(f"process {holder['pid']} on {holder['host']} is running, with {several(begun, 'cell')} in flight")
    if damaged := damaged_files(store.folder):
        lines.append(
            f"damaged or changed since written: {', '.join(sorted(damaged))}; "
            f"written again by python -m sweeps report {shlex.quote(str(store.folder))}"
        )
    fields = (*differing_fields(plan.cells, [axis for grid in plan.grids for axis in grid.axes]), REPLICATE)
    failed = {cell_id for cell_id, record in records.items() if record.status in FAILURES}
    wrong = [cell for cell in plan.cells if not cell.alias_of and cell.cell_id in failed]
    for cell in wrong[:MAX_LISTED]:
        record = records[cell.cell_id]
        message = f"{record.status} with {record.error_type}: {record.error_message}"
        lines.append(f"  {cell.cell_id}  {cell.describe(fields)}: {message}")
    if len(wrong) > MAX_LISTED:
        lines.append(f"  ... and {len(wrong) - MAX_LISTED} more in cells.csv")
    return "\n".join(lines), not plan.missing and not wrong


def status_data(plan: SweepPlan, store: Store) -> dict[str, Any]:
    """What `status_report` says, for a program, with every failure."""
    failed = {cell_id: record for cell_id, record in plan.records.items() if record.status in FAILURES}
    rows = [
        {
            "cell_id": cell.cell_id,
            **{name: getattr(failed[cell.cell_id], name) for name in WHAT_FAILED},
            "settings": cell.settings(),
        }
        for cell in plan.cells
        if not cell.alias_of and cell.cell_id in failed
    ]
    return {
        "folder": str(store.folder),
        **plan_data(plan),
        "statuses": Counter(record.status for record in plan.records.values()),
        "running": holder_of(store.folder) or None,
        "damaged": sorted(damaged_files(store.folder)),
        "failures": rows,
    }


def ranking(table: Table) -> str:
    table = in_one_unit(table)
    ranked = configurations(table)
    if not ranked:
        return "no cell has a result yet"
    names = [configuration_name(configuration) for configuration in ranked]
    heading = f"final validation loss, {table.unit}"
    width = max(map(len, [heading, *names]))
    lines = [f"\n{heading:<{width}}    mean  each seed"]
    for name, configuration in list(zip(names, ranked, strict=True))[:MAX_LISTED]:
        mean = f"{configuration.mean:8.4f}" if configuration.losses else " " * 8
        each = "  ".join(f"{configuration.losses[seed]:.4f}" for seed in sorted(configuration.losses))
        lines.append("  ".join(filter(None, (f"{name:<{width}}{mean}", each, configuration.caveat))))
    if len(ranked) > MAX_LISTED:
        lines.append(f"... and {len(ranked) - MAX_LISTED} more in summary.csv")
    return "\n".join(lines)


def outcome_data(result: SweepResult, store: Store) -> dict[str, Any]:
    """What a sweep came to, for a program, with every configuration: the best first, each with its seeds' losses."""
    table = in_one_unit(result.table)
    return {
        "folder": str(store.folder),
        "statuses": result.counts,
        "missing": result.missing,
        "interrupted": result.interrupted,
        "problem": result.problem,
        "notes": notes_on_records(result),
        "unit": table.unit,
        "rows": [
            {
                "levels": configuration.levels,
                "mean": configuration.mean,
                "losses": configuration.losses,
                **configuration.counts._asdict(),
            }
            for configuration in configurations(table)
        ],
    }


def notes_on_records(result: SweepResult) -> list[str]:
    """What a reader of the tables has to know about records that are not in them, or no longer."""
    return [*result.plan.notes, *filter(None, [result.tables_kept])]


def problem_lines(result: SweepResult, folder: Path) -> Iterator[str]:
    yield from notes_on_records(result)
    to_go = f"{several(result.missing, 'cell')} to go; the same command goes on"
    if result.interrupted:
        yield f"interrupted with {to_go}"
    elif result.problem:
        yield f"{result.problem}; {to_go}" if result.missing else result.problem
    elif result.missing:
        yield f"{several(result.missing, 'cell')} without a result; the command that began the sweep goes on"
    if failed := sum(result.counts[status] for status in FAILURES):
        where = shlex.quote(str(folder))
        yield f"{several(failed, 'row')} failed; tracebacks are in cells.csv; try again: python -m sweeps retry {where}"

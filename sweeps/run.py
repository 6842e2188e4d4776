"""The executor: train the cells that are missing, several at a time, each in a process that writes its own result."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import PicklingError
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool
from tqdm import tqdm

from sweeps.cell import FAILED, OK, STATUSES, train_cell
from sweeps.grid import REPLICATE, Cell, Grid, TextConfig, cells_of, foreign_parts, load_corpora, register_missing
from sweeps.store import Store, Table, add_record, differing_fields, table_of
from tlab.registry import Entry
from tlab.text.corpora import Corpus

LOG_SECONDS = 10.0  # between two lines of progress where nobody sees them replace each other


class Outcome(NamedTuple):
    """What travels back from a worker; the rest is on the disk already."""

    cell_id: str
    status: str
    message: str | None


@dataclass(frozen=True)
class Plan:
    """A grid against what is on the disk: every cell of the folder, and those that this run has to train."""

    cells: list[Cell]
    """Of all grids that were ever run into the folder, aliases included."""
    wanted: list[Cell]
    """Those of the grid of this run, aliases included."""
    missing: list[Cell]
    """What is left to train, each function once."""
    corpora: dict[TextConfig, Corpus]

    @property
    def num_aliases(self) -> int:
        """How many of the wanted cells are the same as another one and are not trained."""
        return sum(cell.alias_of is not None for cell in self.wanted)


@dataclass(frozen=True)
class SweepResult:
    """What a run of the executor came to."""

    table: Table
    missing: int
    """Wanted cells that still have no result."""
    interrupted: bool = False
    problem: str | None = None
    """What ended the run early, other than the user."""

    @property
    def counts(self) -> Counter[str]:
        """Status -> number of rows."""
        return Counter(row["status"] for row in self.table.rows)


def make_plan(grid: Grid, store: Store, *, retry_failed: bool = False) -> Plan:
    """What this grid asks for and what of it is still to be trained.

    Raises:
        GridError: a cell of the grid cannot be.
    """
    grids = store.grids if grid in store.grids else [*store.grids, grid]
    corpora = load_corpora(grids)
    cells = cells_of(grids, corpora)
    wanted = cells
    if len(grids) > 1:
        wanted_ids = {cell.cell_id for cell in cells_of([grid], corpora)}
        wanted = [cell for cell in cells if cell.cell_id in wanted_ids]
    needed = dict.fromkeys(cell.result_id for cell in wanted)
    records = store.records(needed)
    done = {i for i, record in records.items() if not (retry_failed and record.status == FAILED)}
    by_id = {cell.cell_id: cell for cell in cells}
    return Plan(cells, wanted, [by_id[i] for i in needed if i not in done], corpora)


def run_sweep(
    grid: Grid,
    store: Store,
    *,
    jobs: int = 1,
    command: Sequence[str] = (),
    retry_failed: bool = False,
    plan: Plan | None = None,
) -> SweepResult:
    """Train every cell of the grid that has no result yet, and write the tables.

    Ctrl-C, a killed worker and a full disk lose the cells in flight and nothing else: the same call goes on.

    Args:
        grid: what to train.
        store: where results are, and go.
        jobs: how many cells at once, each in a process of its own; 1 trains in this process.
        command: what was typed, for the manifest.
        retry_failed: train again what failed before.
        plan: from `make_plan`, where it was made already.

    Raises:
        GridError: a cell of the grid cannot be. Nothing was run.
        StoreError: the folder cannot be written.
    """
    plan = plan or make_plan(grid, store, retry_failed=retry_failed)
    store.begin(grid, command, plan.corpora.values())
    interrupted, problem = False, None
    try:
        axes = differing_fields(plan.cells, grid.axes)
        names = {cell.cell_id: describe(cell, axes) for cell in plan.missing}
        with contextlib.closing(outcomes(plan, store.folder, jobs)) as running:
            follow(running, names)
    except KeyboardInterrupt:
        interrupted = True
    except BrokenProcessPool as error:
        problem = f"a worker process was ended from outside, perhaps for want of memory ({type(error).__name__})"
    except PicklingError as error:
        problem = f"a part of the model cannot be sent to another process: {error}. Run it with one job"
    records = store.records(cell.result_id for cell in plan.cells)
    table = table_of(plan.cells, records, store.grids)
    store.write_tables(table)
    missing = sum(cell.result_id not in records for cell in plan.wanted)
    return SweepResult(table, missing, interrupted, problem)


def outcomes(plan: Plan, folder: Path, jobs: int) -> Generator[Outcome, None, None]:
    """Train the plan's missing cells; each outcome as soon as it is there, in no particular order."""
    tasks = (
        delayed(run_one)(cell, plan.corpora[cell.text], foreign_parts(cell.model, cell.train), folder)
        for cell in plan.missing
    )
    # pre_dispatch: a worker gets its next cell when it has finished one, so a killed driver leaves no queue behind.
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1, initializer=leave_interrupts_to_driver):
        options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "n_jobs"}  # joblib tells type checkers it is a str
        parallel = Parallel(return_as="generator_unordered", **options)
        yield from parallel(tasks)  # pyright: ignore[reportReturnType]


def run_one(cell: Cell, corpus: Corpus, parts: Sequence[tuple[str, Entry[Any]]], folder: Path) -> Outcome:
    """What a worker does with a cell: train it and write what became of it. It never raises.

    `parts` are classes that were registered outside of the lab: a worker has read the lab's files only, so they
    travel with the cell.
    """
    register_missing(parts)
    record = train_cell(cell, corpus)
    try:
        add_record(folder, record)
    except OSError as error:
        return Outcome(cell.cell_id, FAILED, f"its result could not be written: {error}")
    message = record.error_message  # of a diverged cell: its kind says no more than its status
    if record.status == FAILED:
        message = f"failed with {record.error_type}: {message}"
    return Outcome(cell.cell_id, record.status, message)


def leave_interrupts_to_driver() -> None:
    """Ctrl-C reaches every process of a terminal. A worker leaves it alone: the driver ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def describe(cell: Cell, axes: Sequence[str]) -> str:
    """A cell by what sets it apart, such as "norm=none seed=1"."""
    return " ".join(f"{field}={cell.value(field)}" for field in (*axes, REPLICATE))


def follow(running: Iterable[Outcome], names: Mapping[str, str]) -> None:
    """Show progress until all outcomes are there; what goes wrong has a line of its own, at once.

    `names` has what to call each cell that is to come, by its id.
    """
    counts: Counter[str] = Counter()
    bar = tqdm(
        total=len(names),
        unit="cell",
        disable=not names,
        mininterval=0.2 if sys.stderr.isatty() else LOG_SECONDS,
        bar_format="{percentage:3.0f}% |{bar:10}| {n_fmt}/{total_fmt}, {elapsed}, {remaining} left{postfix}",
    )
    with bar:
        for outcome in running:
            counts[outcome.status] += 1
            if outcome.status != OK:
                bar.write(f"{names[outcome.cell_id]}: {outcome.message}", file=sys.stderr)
            bar.set_postfix_str(", ".join(f"{counts[status]} {status}" for status in STATUSES), refresh=False)
            bar.update()

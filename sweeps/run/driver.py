"""The driver of a sweep: hand out the missing cells, collect the results, and survive whatever happens."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PicklingError
from typing import Any, NamedTuple

from sweeps.grid.cell_id import Cell, foreign_parts
from sweeps.grid.fields import REPLICATE, GridError
from sweeps.grid.grid import Grid
from sweeps.results.read import cells_as_text, check_written
from sweeps.results.table import Table, differing_fields, table_of
from sweeps.results.write import (
    TABLE_NAMES,
    table_files,
    write_cells,
    write_curves,
    write_effects,
    write_rates,
    write_summary,
)
from sweeps.run.backends import BACKENDS, BackendError, Corpora, RunTasks, WorkerDied
from sweeps.run.plan import SweepPlan, make_plan, work_of
from sweeps.run.progress import Progress
from sweeps.run.train_cell import MeasureFunction
from sweeps.run.worker import Task, TaskResult, result_of
from sweeps.store.folder import (
    LOG,
    Store,
    StoreError,
    add_record,
    curve_path,
    mark_started,
    read_record,
    record_path,
    remove_mark,
)
from sweeps.store.lock import driver_file, locked
from sweeps.store.provenance import changed_since, source_hash
from sweeps.store.record import FAILURES, KILLED, Record, lost_record
from tlab.cli.terminal import catch_end_signals
from tlab.files import with_checksums
from tlab.wording import did_you_mean, several

ATTEMPTS = 3  # of a cell whose process dies
SECONDS_TO_TIDY_UP = 10.0  # after an interrupt, for workers to end and tables to be written


@dataclass(frozen=True)
class Execution:
    """How cells are trained. Nothing here changes their numbers."""

    jobs: int = 1
    """Cells at once, each in a process of its own; 1 trains in this process if there is no timeout. Of a dask cluster
    the number of workers decides."""
    backend: str = "loky"
    scheduler: str | None = None
    timeout: float | None = None  # seconds after which a cell is given up
    attempts: int = ATTEMPTS  # how often a cell may be started whose process does not come back
    max_failures: int | None = None  # failures after which no other cell is started
    mixed_source: bool = False  # whether results of other code of the core may stay beside the new ones

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            known, hint = ", ".join(BACKENDS), did_you_mean(self.backend, BACKENDS)
            raise GridError(f"unknown backend {self.backend!r}; allowed: {known}.{hint}")
        if self.scheduler is not None and self.backend == "loky":
            raise GridError("--scheduler is the address of a cluster; add --backend dask, or leave it out")
        for name in ("jobs", "attempts", "max_failures"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise GridError(f"--{name.replace('_', '-')} {value}: must be at least 1")
        if self.timeout is not None and not self.timeout > 0:
            raise GridError(f"--timeout {self.timeout:g}: must be more than 0 seconds")


@dataclass(frozen=True)
class SweepResult:
    """What a run of the driver came to."""

    plan: SweepPlan  # as it was when the run started
    table: Table
    missing: int  # wanted cells that still have no result
    interrupted: bool = False
    problem: str | None = None  # what ended the run early, other than the user
    tables_kept: str | None = None  # why the tables are as they were, where new ones would have held less

    @property
    def counts(self) -> Counter[str]:
        return Counter(row["status"] for row in self.table.rows)


def run_sweep(
    grid: Grid | None,
    store: Store,
    execution: Execution = Execution(),
    *,
    command: Sequence[str] = (),
    again: Iterable[str] = (),
    only_again: bool = False,
    moved_to: str | None = None,
    announce: Callable[[SweepPlan], None] = lambda plan: None,
) -> SweepResult:
    """Train every cell of the grid that has no result yet, and write the tables.

    Ctrl-C, a killed worker and a full disk lose the cells in flight and nothing else: the same call goes on.

    Args:
        grid: what to train; None for all that were ever run into the folder.
        store: where results are, and go.
        execution: how.
        command: what was typed, for the manifest.
        again: statuses, or ids or their beginnings, of cells to train again although they have a result.
        only_again: whether cells that were never started are left for another time. Where no cell is to be trained
            again, nothing is written.
        moved_to: where the text of the cells to train again is now; by default where it was.
        announce: called with the plan before anything is trained.

    Raises:
        GridError: the grid cannot be trained; nothing was run.
        StoreError: the folder cannot hold it, or results in it are of other code.
        LockedError: another driver is at work in the folder.
    """
    again = tuple(again)
    # A grid that cannot be trained leaves no empty folder behind.
    which: dict[str, Any] = {"again": again, "only_again": only_again, "moved_to": moved_to}
    plan = None if store.folder.exists() else make_plan(grid, store, **which)
    if not only_again:  # what is exported has no folder of cells, and stays so where there is nothing to retry
        store.make_folder()
    with locked(store.folder):
        store.manifest = store.read_manifest()  # another driver may have been here since this one looked
        if plan is None or store.grids:
            plan = make_plan(grid, store, **which)
        if only_again and not plan.missing:
            return SweepResult(plan, table_of(plan.cells, plan.records, plan.grids), missing=0)
        store.make_folder()
        refuse_mixture(plan, store, execution)
        announce(plan)
        before = store.begin(plan.grids, command, plan.corpora, jobs=execution.jobs, backend=execution.backend)
        driver = Driver(plan, store, execution)
        if before and (changed := changed_since(before, store.manifest["runs"][-1])):
            driver.progress.say(f"warning: not as in the last run: {'; '.join(changed)}. Last bits may differ")
        with signals_as_interrupts():
            driver.run()
            return write_tables(plan, store, driver.interrupted, driver.problem)


def refuse_mixture(plan: SweepPlan, store: Store, execution: Execution) -> None:
    """Refuse to put the numbers of two versions of the core into one table.

    A warning would scroll by, and a difference between two cells could be one between two programs. Changes in comments
    and docstrings do not count.
    """
    if execution.mixed_source or not plan.missing:
        return
    redone = {cell.cell_id for cell in plan.missing}
    others = sorted({r.source for i, r in plan.records.items() if i not in redone} - {source_hash()})
    if others:
        raise StoreError(
            f"the results in {store.folder} were made by another version of the code in tlab ({', '.join(others)}; now "
            f"{source_hash()}), so new cells may not be comparable with them. If only files were moved or renamed in "
            "between, add --mixed-source to this command; the column `source` then says which version made which "
            "row. Otherwise choose another --out"
        )


def write_tables(
    plan: SweepPlan,
    store: Store,
    interrupted: bool = False,
    problem: str | None = None,
    folder: Path | None = None,
) -> SweepResult:
    """Write the tables from the records, those of the plan and the new ones; a full disk is one more problem.

    Tables that hold more cells than there are records for are never replaced; in another `folder` than the store's
    they are copied.
    """
    folder = folder or store.folder
    found = {**plan.records, **store.records(cell.cell_id for cell in plan.missing)}
    records = {i: found[i] for i in dict.fromkeys(cell.result_id for cell in plan.cells) if i in found}
    table = table_of(plan.cells, records, plan.grids)
    missing = sum(cell.result_id not in records for cell in plan.wanted)
    if (before := rows_in(store.folder)) > len(table.rows):
        tables_kept = (
            f"the tables in {store.folder} hold {several(before, 'cell')}, of which only {len(table.rows):,} have a "
            "record that can be read, so they were left as they are. The command that began the sweep trains the "
            "others again; to do without them, remove cells.csv"
        )
        if folder != store.folder:
            for path in table_files(store.folder):
                check_written(path)
                shutil.copyfile(path, folder / path.name)
        return SweepResult(plan, table, missing, interrupted, problem, tables_kept)
    try:
        with with_checksums(folder, TABLE_NAMES):
            write_cells(folder, table)
            write_summary(folder, table)
            write_effects(folder, table)
            write_rates(folder, table)
            write_curves(folder, [curve_path(store.folder, result_id) for result_id in records])
    except OSError as error:
        problem = problem or f"the tables could not be written: {error}"
    return SweepResult(plan, table, missing, interrupted, problem)


def rows_in(folder: Path) -> int:
    """How many cells the folder's table holds, damaged or not; 0 where there is none that can be read."""
    try:
        return len(cells_as_text(folder)[1])
    except StoreError:
        return 0


class RunEnd(NamedTuple):
    """How a run ended; what it made is in the store."""

    interrupted: bool
    problem: str | None


def run_measures(
    cells: Sequence[Cell],
    corpora: Corpora,
    measures: Mapping[str, MeasureFunction],
    store: Store,
    execution: Execution,
    *,
    names: Mapping[str, str],
    work: Mapping[str, float],
) -> RunEnd:
    """Measure every cell that has no result yet, or only a failure, with all that a sweep has: resume, log, retries.

    A sweep leaves failures to `retry`; here the same command repeats them, as there is no other. Of equal cells only
    one is measured. `names` and `work` say by cell id what to call it, and how many operations it
    takes, for the order and the time left.

    Raises:
        StoreError: the folder cannot hold them.
        LockedError: another driver is at work in the folder.
    """
    store.make_folder()
    with locked(store.folder):
        store.manifest = store.read_manifest()
        unique = list({cell.cell_id: cell for cell in cells}.values())
        records = store.records(cell.cell_id for cell in unique)
        missing = [c for c in unique if c.cell_id not in records or records[c.cell_id].status in FAILURES]
        plan = SweepPlan([], unique, unique, missing, corpora, records)
        if plan.missing:
            store.begin([], (), corpora, jobs=execution.jobs, backend=execution.backend)
        driver = Driver(plan, store, execution, measures, names, work)
        with signals_as_interrupts():
            driver.run()
        return RunEnd(driver.interrupted, driver.problem)


@dataclass
class Driver:
    """One run: what is still to be trained, how often it was started, and why it ended."""

    plan: SweepPlan
    store: Store
    execution: Execution
    measures: Mapping[str, MeasureFunction] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)  # cell id -> what to call it; made of the axes if empty
    work: Mapping[str, float] = field(default_factory=dict)
    """Cell id -> operations; counted for a whole training if empty."""
    interrupted: bool = False
    problem: str | None = None
    in_flight: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        work = self.work or work_of(self.plan.missing, self.plan.corpora)
        # Longest first: the other way round, the last one would run alone for long.
        self.pending = {c.cell_id: c for c in sorted(self.plan.missing, key=lambda c: -work[c.cell_id])}
        self.begun = {i: n for i, n in self.store.started().items() if i in self.pending}
        fields = (*differing_fields(self.plan.cells, [a for grid in self.plan.grids for a in grid.axes]), REPLICATE)
        names = self.names or {i: cell.describe(fields) for i, cell in self.pending.items()}
        self.progress = Progress({i: work[i] for i in self.pending}, names, self.store.folder / LOG)
        # Of cells that are trained again: until it is replaced, what is there is not this run's.
        self.old = {i: written_at(self.store.folder, i) for i in self.pending}
        self.failures = 0
        self.driver_file = driver_file(self.store.folder)

    def run(self) -> None:
        """Train until nothing is left, or something ends it. The caller holds the folder's lock."""
        with self.progress:
            if self.pending:
                self.train_pending()

    def train_pending(self) -> None:
        execution = self.execution
        try:
            # No more processes than cells; but two, as one alone would be this process, which no timeout can end.
            jobs = min(execution.jobs, max(2, len(self.pending)))
            with BACKENDS[execution.backend](jobs, execution.scheduler, self.plan.corpora) as train:
                while self.pending and self.problem is None:
                    self.round(train)
        except KeyboardInterrupt:
            self.interrupted = True
        except BackendError as error:
            self.problem = str(error)
        except PicklingError as error:
            why = f"a part of the model cannot be sent to another process: {error}"
            self.problem = f"{why}. Run it with one job and no timeout"
        except RuntimeError as error:  # joblib's, over an interrupt that came while it was starting its workers
            if not is_from_interrupt(error):
                raise
            self.interrupted = True
        for cell_id in self.in_flight:  # ended by us: they are not to blame
            if self.begun[cell_id] == 1:
                remove_mark(self.store.folder, cell_id)
            else:
                with contextlib.suppress(OSError):
                    mark_started(self.store.folder, cell_id, self.begun[cell_id] - 1)

    def round(self, train: RunTasks) -> None:
        """Hand out cells until all are done or a worker dies, which takes those in flight with it.

        Any of those may have caused it. So they are tried again one at a time, where each can harm only itself; and
        last, when all the others are done.
        """
        for cell_id in [i for i in self.pending if self.begun.get(i, 0) >= self.execution.attempts]:
            why = f"its process ended {self.begun[cell_id]} times before it was done, perhaps out of memory"
            self.keep(cell_id, KILLED, why)
        unsuspected = [cell for cell in self.pending.values() if cell.cell_id not in self.begun]
        suspects = [cell for cell in self.pending.values() if cell.cell_id in self.begun]
        cells, alone = (unsuspected, False) if unsuspected else (suspects, True)
        if self.execution.timeout is not None and self.execution.jobs == 1:
            alone = True  # in a process of its own, which can be ended where a cell hangs
        if not cells or self.problem:
            return
        before = len(self.pending), sum(self.begun.values())
        self.in_flight.clear()
        try:
            with warnings.catch_warnings(), closing(train(self.tasks(cells), alone)) as outcomes:  # pyright: ignore
                # About an early end, which is reported in our own words.
                for message in ("tasks have been successfully executed", "tasks which were still being processed"):
                    warnings.filterwarnings("ignore", f".*{message}")
                for outcome in outcomes:
                    self.take(outcome)
                    if self.problem:
                        break
        except WorkerDied as error:
            for cell_id in list(self.in_flight):
                self.adopt_result(cell_id)
            if self.in_flight:
                lost = several(len(self.in_flight), "cell")
                self.progress.say(f"a worker process died; {lost} in flight will be tried again")
            self.in_flight.clear()
            if (len(self.pending), sum(self.begun.values())) == before:
                self.problem = f"no worker process starts: {error}"

    def tasks(self, cells: Iterable[Cell]) -> Iterator[Task]:
        """The tasks, each made when a worker is free for it. joblib draws them in its own threads."""
        for cell in cells:
            if self.problem:
                return
            begun = self.begun.get(cell.cell_id, 0) + 1
            try:
                mark_started(self.store.folder, cell.cell_id, begun)
            except OSError as error:
                self.problem = f"{self.store.folder} cannot be written: {error}"
                return
            self.begun[cell.cell_id] = begun
            self.in_flight.add(cell.cell_id)
            parts = foreign_parts(cell.model, cell.train)
            driver = (platform.node(), os.getpid())
            timeout = self.execution.timeout
            measure = self.measures.get(cell.measure)
            yield Task(cell, parts, self.store.folder, self.driver_file, source_hash(), begun, timeout, driver, measure)

    def take(self, outcome: TaskResult) -> None:
        cell_id = outcome.cell_id
        if cell_id not in self.pending:  # sent out twice by its backend
            return
        if outcome.lost is not None:
            if outcome.cluster_is_lost:
                self.problem = outcome.lost
            elif not self.adopt_result(cell_id):
                self.keep(cell_id, outcome.status, outcome.lost)
            return
        if outcome.record is None or self.write(outcome.record):
            self.settle(outcome)

    def keep(self, cell_id: str, status: str, why: str) -> None:
        if self.write(lost_record(self.pending[cell_id], self.begun.get(cell_id, 1), status, why)):
            self.settle(TaskResult(cell_id, status, f"{status}: {why}"))

    def write(self, record: Record) -> bool:
        """Write a record that no worker could write; -> whether it was possible."""
        try:
            add_record(self.store.folder, record)
        except OSError as error:
            self.problem = f"the result of {self.progress.names[record.cell_id]} cannot be written: {error}"
        return self.problem is None

    def settle(self, outcome: TaskResult) -> None:
        del self.pending[outcome.cell_id]
        self.in_flight.discard(outcome.cell_id)
        self.begun.pop(outcome.cell_id, None)
        self.progress.take(outcome.cell_id, outcome.status, outcome.message)
        self.failures += outcome.status in FAILURES
        if self.execution.max_failures is not None and self.failures >= self.execution.max_failures:
            self.problem = f"stopped after {self.failures} failed"

    def adopt_result(self, cell_id: str) -> bool:
        """Take what a worker wrote but could not report before it died; -> whether there is anything."""
        record = read_record(self.store.folder, cell_id)
        if record is None or written_at(self.store.folder, cell_id) == self.old[cell_id]:
            return False
        self.settle(result_of(record))
        return True


def written_at(folder: Path, cell_id: str) -> int | None:
    """When a cell's record was written, in nanoseconds; None if there is none."""
    try:
        return record_path(folder, cell_id).stat().st_mtime_ns
    except OSError:
        return None


def is_from_interrupt(error: BaseException) -> bool:
    """Whether the error was raised while a KeyboardInterrupt was being handled."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, KeyboardInterrupt):
            return True
    return False


@contextmanager
def signals_as_interrupts(patience: float = SECONDS_TO_TIDY_UP) -> Iterator[None]:
    """Let other ends do what Ctrl-C does. Only a main thread receives signals; in others nothing is done.

    Whatever comes within `patience` seconds of the first is the same end, so that workers are ended and tables written;
    one after that interrupts these too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt() -> None:
        raise KeyboardInterrupt

    caught = catch_end_signals(interrupt, patience)
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)

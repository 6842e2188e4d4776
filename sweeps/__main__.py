"""`python -m sweeps`: the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import joblib
import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

from sweeps import console
from sweeps.findings.command import FindingsCommand, FindingsError, OutputArgs
from sweeps.grid.fields import GridError
from sweeps.grid.grid import Grid
from sweeps.grid.parse import GRID_PRESETS, parse_grid
from sweeps.report.archive import export, refresh, small_form
from sweeps.report.page import write_report
from sweeps.run.backends import BACKENDS
from sweeps.run.driver import ATTEMPTS, Execution, SweepResult, run_sweep
from sweeps.run.plan import SweepPlan, estimate_cost, make_plan
from sweeps.store.folder import Store, StoreError
from sweeps.store.lock import LockedError
from sweeps.store.record import FAILURES
from tlab.cli.flags import refuse_unknown_command
from tlab.cli.output import (
    CommandResult,
    LostOutputError,
    lasting_output,
    prepare_streams,
    run_and_print,
    words_typed,
)
from tlab.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from tlab.config import ConfigError
from tlab.text.corpora import DEFAULT_CORPUS, CorpusError
from tlab.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class GridArgs(OutputArgs):
    """Flags that describe the grid."""

    sweep: Annotated[Positional[str], arg(metavar=f"[{'|'.join(GRID_PRESETS)}|FILE.toml]", help_behavior_hint="")] = ""
    """A preset or a TOML file to start from; other flags override what it says about the same field."""
    axes: Annotated[str | None, arg(metavar="FIELD,...", help_behavior_hint="")] = None
    """Fields that get every key of their registry, such as norm,activation."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FIELD=VALUE,...")] = ()
    """Any field of the configs: one value fixes it, two or more make it an axis. May be given again."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1)")] = None
    """Train each configuration with the seeds 0 to N - 1; or name them with --set seed=3,7."""
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=f"(default: {TrainConfig.steps})")] = None
    """Updates in each run; short for --set steps=N."""
    corpus: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=f"(default: {DEFAULT_CORPUS})")] = None
    """A registered corpus, or the path of a UTF-8 text file."""
    from_: Annotated[str | None, arg(name="from", metavar="FOLDER", help_behavior_hint="(default: random weights)")] = (
        None
    )
    """A run, of the lab or imported: every cell begins with its weights, and keeps its settings and its tokenizer."""
    tune: Annotated[Literal["learning_rate"] | None, arg(help_behavior_hint="(default: none)")] = None
    """Train each configuration at five learning rates around its own, and report how they compare at their best."""
    out: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="(default: results/ and the name)")] = None
    """Where the results go, and where an earlier part of them is."""

    def grid(self) -> Grid:
        for flag, given, what in (("--axes", self.axes, "field"), ("--from", self.from_, "run")):
            if given is not None and not given.strip():  # as of "$RUN", where the variable was never set
                raise GridError(f"{flag} is empty, and names no {what}; leave it out or name one")
        return parse_grid(
            self.axes or "", self.set, self.seeds, self.steps, self.corpus, self.from_, self.sweep or None, self.tune
        )

    def store(self, grid: Grid) -> Store:
        if self.out == "":
            raise GridError("--out is empty, and names no folder; leave it out or give a path")
        return Store(self.out or Path("results") / (Path(self.sweep).stem or "-".join(grid.axes) or "seeds"))


@dataclass(frozen=True, kw_only=True)
class FolderArgs(OutputArgs):
    """The folder that most commands work on."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """The folder of a sweep."""

    def store(self) -> Store:
        return Store(self.folder, must_exist=True)


Jobs = Annotated[int, arg(metavar="N", help_behavior_hint="(default: one per processor core)")]


@dataclass(frozen=True, kw_only=True)
class RunArgs:
    """Flags about the execution. None of them changes a number."""

    jobs: Jobs = field(default_factory=joblib.cpu_count)
    """Cells trained at once, each in a process with one BLAS thread."""
    backend: Literal[tuple(BACKENDS)] = "loky"  # type: ignore[valid-type]
    """Processes of this machine (loky), or a dask or ray cluster."""
    scheduler: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: a cluster here)")] = None
    """Address of a running cluster, such as tcp://host:8786. Its workers need the lab installed, and no shared disk."""
    timeout: Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: none)")] = None
    """Give a cell up after this long."""
    attempts: Annotated[int, arg(metavar="K")] = ATTEMPTS
    """How often to start a cell whose process is killed."""
    on_error: Literal["continue", "stop"] = "continue"
    """Whether a failed cell ends the sweep. One that diverged does not: that is a result."""
    max_failures: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: any number)")] = None
    """End the sweep after this many failed cells."""
    mixed_source: FlagCreatePairsOff[bool] = False
    """Add cells to results that another version of tlab made; the column `source` says which made which."""

    def execution(self) -> Execution:
        if self.on_error == "stop" and self.max_failures not in (None, 1):
            raise GridError(
                f"--on-error stop ends at the first failure and --max-failures {self.max_failures} later; give one"
            )
        return Execution(
            jobs=self.jobs,
            backend=self.backend,
            scheduler=self.scheduler,
            timeout=self.timeout,
            attempts=self.attempts,
            max_failures=1 if self.on_error == "stop" else self.max_failures,
            mixed_source=self.mixed_source,
        )

    def run(self, grid: Grid | None, store: Store, argv: Sequence[str], **again: Any) -> SweepResult:
        """Train what is missing, and what `again` names to `run_sweep`."""
        execution = self.execution()

        def announce(plan: SweepPlan) -> None:
            how = f"{execution.backend}, {execution.jobs} at once"
            print(f"{console.plan_summary(plan)}; {how}; results in {store.folder}", flush=True)
            for note in filter(None, (console.notes_on_steps(plan), console.note_on_earlier(plan))):
                print(note, file=sys.stderr)

        return run_sweep(grid, store, execution, command=["python", "-m", "sweeps", *argv], announce=announce, **again)


@dataclass(frozen=True, kw_only=True)
class PlanCommand(GridArgs):
    """Check a grid, count its cells, estimate time and memory. Nothing is run, nothing is written."""

    jobs: Jobs = field(default_factory=joblib.cpu_count)
    """Cells that would be trained at once."""

    def execute(self, argv: Sequence[str]) -> CommandResult:
        grid = self.grid()
        plan = make_plan(grid, self.store(grid))
        print(console.plan_details(grid, plan), flush=True)
        cost = None
        if plan.missing:
            jobs = Execution(jobs=self.jobs).jobs
            cost = estimate_cost(plan.missing, plan.corpora, jobs)
            print(console.cost_summary(cost, min(jobs, len(plan.missing))))
        axes = {**grid.values, "seed": grid.seeds}
        return CommandResult({"axes": axes, **console.plan_data(plan), "cost": cost})


@dataclass(frozen=True, kw_only=True)
class RunCommand(RunArgs, GridArgs):
    """Train every cell of a grid and write the tables.

    The same command again continues where it stopped. More levels or more seeds train only the new cells.
    """

    def execute(self, argv: Sequence[str]) -> CommandResult:
        grid = self.grid()
        store = self.store(grid)
        return report_outcome(self.run(grid, store, argv), store)


@dataclass(frozen=True, kw_only=True)
class RetryCommand(RunArgs, FolderArgs):
    """Train cells again that failed, were killed or took too long; or those that `--cells` names.

    Cells that were never started are left to the command that started the sweep.
    """

    cells: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="ID", help_behavior_hint="(default: none)")] = ()
    """Only this cell, however it ended: its cell_id, or the start of it. May be given again."""
    corpus: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: where it was)")] = None
    """Where the text is now, if it was moved; it is known by its sha256."""

    def execute(self, argv: Sequence[str]) -> CommandResult:
        store = self.store()
        again = self.cells or FAILURES
        result = self.run(None, store, argv, again=again, only_again=True, moved_to=self.corpus)
        if not result.plan.missing:
            print(f"nothing to train again in {store.folder}: no cell failed, was killed or took too long")
            return CommandResult(console.outcome_data(result, store))
        return report_outcome(result, store)


@dataclass(frozen=True, kw_only=True)
class StatusCommand(FolderArgs):
    """Count what is done in a folder, and list what went wrong; also while a sweep is running there."""

    def execute(self, argv: Sequence[str]) -> CommandResult:
        """Print it; -> exit code 0 where all cells are done and none failed, else 1."""
        store = self.store()
        plan = make_plan(None, store)
        text, all_well = console.status_report(plan, store)
        print(text)
        return CommandResult(console.status_data(plan, store), EXIT_OK if all_well else EXIT_FAILED)


@dataclass(frozen=True, kw_only=True)
class ReportCommand(FolderArgs):
    """Write the figures and the report of a sweep: one HTML file that can be shared."""

    def execute(self, argv: Sequence[str]) -> CommandResult:
        store, notes = self.store(), []
        try:
            result = refresh(store)
        except (GridError, StoreError) as error:
            notes = [f"the tables are used as they are: {error}"]
        else:
            notes = console.notes_on_records(result)
        for line in notes:
            print(line, file=sys.stderr)
        try:
            page = write_report(self.folder)
        except OSError as error:
            way_on = (
                f"write the report elsewhere with python -m sweeps export {shlex.quote(str(self.folder))} --to FILE.zip"
            )
            raise StoreError(f"{self.folder} cannot be written: {error}; {way_on}") from error
        print(f"wrote {page}")
        return CommandResult({"file": str(page), "notes": notes})


@dataclass(frozen=True, kw_only=True)
class ExportCommand(FolderArgs):
    """Pack tables, manifest, figures and report into one file; or only what the app shows into a small one."""

    to: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: beside FOLDER)")] = None
    """A .zip, or a folder that does not exist yet."""
    small: FlagCreatePairsOff[bool] = False
    """Only what the app's Sweeps tab opens: the cells, and their curves in a few points each."""

    def execute(self, argv: Sequence[str]) -> CommandResult:
        store = self.store()
        path, result = (small_form if self.small else export)(store, self.to)
        notes = console.notes_on_records(result)
        for line in notes:
            print(line, file=sys.stderr)
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
        print(f"wrote {path}, {size / 2**10:,.0f} KiB")
        return CommandResult({"file": str(path), "bytes": size, "notes": notes})


SUBCOMMANDS = {
    "plan": PlanCommand, "run": RunCommand, "status": StatusCommand, "retry": RetryCommand, "report": ReportCommand,
    "export": ExportCommand, "findings": FindingsCommand,
}  # fmt: skip
AnyCommand = Union[tuple(Annotated[command, subcommand(name)] for name, command in SUBCOMMANDS.items())]  # noqa: UP007


def main(argv: Sequence[str] | None = None, prog: str = "python -m sweeps") -> int:
    """Run one command; -> the exit code.

    0 all well, 1 some cells failed or what was printed is lost, 2 wrong usage, 130 interrupted.
    """
    prepare_streams()
    argv = words_typed() if argv is None else list(argv)
    try:
        with lasting_output():
            refuse_unknown_command(SUBCOMMANDS, argv, prog)
            command = tyro.cli(AnyCommand, prog=prog, description="Grids of training runs.", args=argv)  # type: ignore[call-overload]
            return run_and_print(partial(command.execute, argv), command.json)
    except (ConfigError, GridError, StoreError, LockedError, FindingsError, CorpusError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except LostOutputError:
        return EXIT_FAILED
    except OSError as error:
        print(f"error: {error}; finished cells are kept, and the same command continues", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def report_outcome(result: SweepResult, store: Store) -> CommandResult:
    """Print what a sweep came to."""
    print(console.ranking(result.table))
    rows = console.several(len(result.table.rows), "row")
    print(f"\ntables in {store.folder}: cells ({rows}), curves, summary, each as .csv and .parquet")
    for line in console.problem_lines(result, store.folder):
        print(line, file=sys.stderr)
    if result.table.rows and not result.interrupted:
        print(f"figures and a report: python -m sweeps report {shlex.quote(str(store.folder))}")
    failed = sum(result.counts[status] for status in FAILURES)
    code = EXIT_FAILED if failed or result.missing or result.problem else EXIT_OK
    return CommandResult(console.outcome_data(result, store), EXIT_INTERRUPTED if result.interrupted else code)


if __name__ == "__main__":
    sys.exit(main())

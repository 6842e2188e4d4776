"""`python -m sweeps`: the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import joblib
import tyro
from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg, subcommand

from sweeps.cell import FAILED
from sweeps.figures import configuration_name, configurations, final_losses_figure, learning_curves_figure
from sweeps.grid import Grid, GridError, grid_from_words
from sweeps.run import Plan, SweepResult, make_plan, run_sweep
from sweeps.store import Store, StoreError, Table
from tlab.config import TrainConfig
from tlab.figures import save_figure
from tlab.text.corpora import DEFAULT_CORPUS

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
MOST_LINES = 20  # configurations listed at the end; all are in cells.csv


@dataclass(frozen=True, kw_only=True)
class GridWords:
    """What every command is told of the grid."""

    axes: Annotated[str, arg(metavar="FIELD,...", help_behavior_hint="")] = ""
    """Fields that get every key of their registry, such as norm,activation."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FIELD=VALUE,...")] = ()
    """Any field of the configs: one value fixes it, two or more make it an axis."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1)")] = None
    """Train each configuration with the seeds 0 to N - 1; or name them with --set seed=3,7."""
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=f"(default: {TrainConfig.steps})")] = None
    """Updates in each run; short for --set steps=N."""
    corpus: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=f"(default: {DEFAULT_CORPUS})")] = None
    """A registered corpus, or the path of a UTF-8 text file."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: results/ and the axes)")] = None
    """Where the results go, and where an earlier part of them is."""

    def grid(self) -> Grid:
        """The grid that these words describe."""
        return grid_from_words(self.axes, self.set, self.seeds, self.steps, self.corpus)

    def store(self, grid: Grid) -> Store:
        """Where its results are."""
        return Store(self.out or Path("results") / ("-".join(grid.axes) or "seeds"))


@dataclass(frozen=True, kw_only=True)
class RunCommand(GridWords):
    """Train every cell of a grid; write tables and figures.

    The same command again goes on where it was ended. More levels or more seeds train the new cells only.
    """

    jobs: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor core)")] = None
    """Cells trained at once, each in a process with one BLAS thread."""
    retry_failed: FlagCreatePairsOff[bool] = False
    """Train again what failed before."""

    def execute(self, argv: Sequence[str]) -> int:
        """Run it; -> the exit code."""
        jobs = joblib.cpu_count() if self.jobs is None else self.jobs
        if jobs < 1:
            raise GridError(f"--jobs {jobs}: must be at least 1")
        grid = self.grid()
        store = self.store(grid)
        plan = make_plan(grid, store, retry_failed=self.retry_failed)
        at_once = f", {min(jobs, len(plan.missing))} at once" if plan.missing else ""
        print(f"{plan_in_words(grid, plan)}{at_once}; results in {store.folder}", flush=True)
        result = run_sweep(grid, store, jobs=jobs, command=["python", "-m", "sweeps", *argv], plan=plan)
        pictures = draw(store, result.table)
        print(ranking(result.table))
        rows = several(len(result.table.rows), "row")
        print(f"\n{store.folder}: {', '.join([f'cells.csv ({rows})', 'curves.csv', *pictures])}")
        return report_end(result, store)


@dataclass(frozen=True, kw_only=True)
class PlanCommand(GridWords):
    """Check a grid and count its cells. Nothing is run, nothing is written."""

    def execute(self, argv: Sequence[str]) -> int:
        """Print it; -> the exit code."""
        grid = self.grid()
        store = self.store(grid)
        plan = make_plan(grid, store)
        for field, values in {**grid.values, "seed": grid.seeds}.items():
            print(f"{field:>18}  {', '.join(map(str, values))}")
        print(plan_in_words(grid, plan))
        return EXIT_OK


Command = Annotated[RunCommand, subcommand(name="run")] | Annotated[PlanCommand, subcommand(name="plan")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; -> the exit code: 0 all well, 1 some cells failed, 2 wrong usage, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = tyro.cli(Command, prog="python -m sweeps", description="Grids of training runs.", args=argv)  # type: ignore[call-overload]
    try:
        return command.execute(argv)
    except (GridError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {error}; finished cells are kept, and the same command goes on", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


# ------------------------------------------------------------------------------------------------ words


def plan_in_words(grid: Grid, plan: Plan) -> str:
    """How many cells there are, and how many are left to train."""
    num_seeds = len(grid.seeds)
    words = [
        f"{several(len(grid) // num_seeds, 'configuration')} x {several(num_seeds, 'seed')} = "
        f"{several(len(plan.wanted), 'cell')}"
    ]
    if plan.num_aliases:
        words.append(f"{plan.num_aliases} of them the same function as another")
    if done := len(plan.wanted) - plan.num_aliases - len(plan.missing):
        words.append(f"{done} done before")
    return f"{', '.join(words)}: {len(plan.missing)} to train"


def several(count: int, noun: str) -> str:
    """1 cell, 2 cells."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def ranking(table: Table) -> str:
    """The configurations, best first, with every seed's loss beside the mean."""
    ranked = configurations(table)
    if not ranked:
        return "no cell has a result yet"
    names = [configuration_name(configuration) for configuration in ranked]
    heading = "final validation loss, nats per token"
    width = max(map(len, [heading, *names]))
    lines = [f"\n{heading:<{width}}    mean  each seed"]
    for name, configuration in list(zip(names, ranked, strict=True))[:MOST_LINES]:
        mean = f"{configuration.mean:8.4f}" if configuration.losses else " " * 8
        each = "  ".join(f"{configuration.losses[seed]:.4f}" for seed in sorted(configuration.losses))
        remark = configuration.accidents
        lines.append("  ".join(filter(None, (f"{name:<{width}}{mean}", each, remark))))
    if len(ranked) > MOST_LINES:
        lines.append(f"... and {len(ranked) - MOST_LINES} more in cells.csv")
    return "\n".join(lines)


def draw(store: Store, table: Table) -> list[str]:
    """Write the figures; -> the names of their files."""
    if not table.rows:
        return []
    ran = {row["alias_of"] or row["cell_id"] for row in table.rows}
    curves = {result_id: store.curve(result_id, "train", "loss") for result_id in ran}
    figures = {
        "learning_curves": learning_curves_figure(table, curves),
        "final_losses": final_losses_figure(table),
    }
    return [path.name for name, figure in figures.items() for path in save_figure(figure, store.folder / name)]


def report_end(result: SweepResult, store: Store) -> int:
    """Say what did not go well, and what to do; -> the exit code."""
    if result.interrupted:
        print(f"interrupted with {several(result.missing, 'cell')} to go; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    if result.problem:
        print(f"{result.problem}; {several(result.missing, 'cell')} to go; the same command goes on", file=sys.stderr)
    if failed := result.counts[FAILED]:
        where = store.folder / "cells"
        print(
            f"{several(failed, 'cell')} failed; tracebacks are in {where}; --retry-failed trains them again",
            file=sys.stderr,
        )
    return EXIT_FAILED if failed or result.missing else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.sweeps`: what a sweep costs besides its training, and what a second core brings."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from benchmarks.machine import as_text, describe
from benchmarks.units import verdict
from sweeps.console import status_report
from sweeps.grid.cell_id import Cell
from sweeps.grid.grid import Grid, cells_of, load_corpora
from sweeps.run.driver import Execution, run_sweep
from sweeps.run.plan import make_plan, work_of
from sweeps.run.train_cell import curve_points, loss_summary, train_cell
from sweeps.store.folder import Store, add_record, mark_started
from tlab.machine import VERSION, peak_memory_mib
from tlab.training.trainer import Trainer

TINY = {"context_length": (8,), "hidden_dim": (8,), "num_heads": (2,), "num_layers": (1,), "corpus": ("brackets",)}
EFFICIENCY, OVERHEAD, PLAN_SECONDS, STATUS_SECONDS, GROWTH_MIB = 0.9, 0.02, 5.0, 2.0, 10.0


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call by the clock on the wall."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Time of one call on a processor: of work in one thread, what other programs on the machine hardly change."""
    began = time.process_time()
    work()
    return time.process_time() - began


def planning() -> None:
    """108,000 cells of many fields."""
    grid = Grid(
        {
            "norm": ("layernorm", "rmsnorm", "none"),
            "activation": ("relu", "gelu", "swish", "swiglu"),
            "residual": ("pre", "post", "sandwich"),
            "position": ("sinusoidal", "rope", "alibi", "learned", "none"),
            "learning_rate": (1e-3, 2e-3, 3e-3, 4e-3, 5e-3),
            "num_layers": (2, 3, 4, 5),
            "hidden_dim": (32, 64, 96),
            "warmup_steps": (0, 10),
        },
        (0, 1, 2, 3, 4),
    )
    corpora = load_corpora([grid])
    took = cpu_seconds(lambda: cells_of([grid], corpora))
    target = f"at most {PLAN_SECONDS:g} s: {verdict(took, most=PLAN_SECONDS)}"
    print(f"planning {len(grid):,} cells: {took:.2f} s of a processor   {target}")


def status(place: Path) -> None:
    """Of 10,000 finished cells, each with a record and a curve as they are in earnest."""
    grid = Grid({**TINY, "steps": (5,), "learning_rate": tuple(1e-3 + i * 1e-6 for i in range(2000))}, (0, 1, 2, 3, 4))
    store = Store(place / "status")
    plan = make_plan(grid, store)
    store.make_folder()
    store.begin(plan.grids, [], plan.corpora)
    record = train_cell(plan.missing[0], plan.corpora[plan.missing[0].text])
    for cell in plan.missing:
        (store.folder / "curves" / f"{cell.cell_id}.csv").write_bytes(record.curve_as_csv())
        own = dataclasses.replace(record, cell_id=cell.cell_id)
        (store.folder / "cells" / f"{cell.cell_id}.json").write_bytes(own.to_json())

    def look() -> None:
        again = Store(store.folder, must_exist=True)
        text, all_well = status_report(make_plan(None, again), again)
        assert all_well and f"{len(grid):,} ok" in text, text

    took = cpu_seconds(look)
    target = f"at most {STATUS_SECONDS:g} s: {verdict(took, most=STATUS_SECONDS)}"
    print(f"status of {len(grid):,} finished cells: {took:.2f} s of a processor   {target}")


def overhead(place: Path) -> None:
    """Everything around the training of one default cell, against that training."""
    grid = Grid({})
    (cell,), corpora = cells_of([grid]), load_corpora([grid])
    corpus = corpora[cell.text]
    trained = cpu_seconds(lambda: train_cell(cell, corpus))
    record = train_cell(cell, corpus)
    trainer = Trainer(cell.model, dataclasses.replace(cell.train, steps=1), corpus)
    list(trainer)
    records = trainer.records * cell.train.steps
    store = Store(place / "overhead")
    store.make_folder()
    parts = {
        "planning and ordering": lambda: work_of(cells_of([grid], corpora), corpora),
        "to the worker and back": lambda: pickle.loads(pickle.dumps((cell, corpus, record))),
        "setting up": lambda: Trainer(cell.model, cell.train, corpus),
        "the mark": lambda: mark_started(store.folder, cell.cell_id, 1),
        "the record and its curve": lambda: (loss_summary(records), list(curve_points(cell.cell_id, records))),
        "to the disk": lambda: add_record(store.folder, record),
        "from the disk": lambda: store.records([cell.cell_id]),
    }
    took = {name: statistics.median(cpu_seconds(part) for _ in range(5)) for name, part in parts.items()}
    share = sum(took.values()) / trained
    print(f"a default cell: {trained:.2f} CPU s; around it: {sum(took.values()) * 1e3:.0f} ms, {share:.2%}   "
          f"at most {OVERHEAD:.0%}: {verdict(share, most=OVERHEAD)}")  # fmt: skip
    for name, each in took.items():
        print(f"    {name:<26}{each * 1e3:8.1f} ms")


def peak_of_driver(place: Path, cells: int) -> float:
    """MiB that a driver of so many cells takes at most."""
    run_sweep(Grid({**TINY, "steps": (20,)}, tuple(range(cells))), Store(place / f"memory{cells}"))
    return peak_memory_mib() or 0.0


def memory(place: Path) -> None:
    """Of the driver, with few cells, with many, and with three times as many; each in a process of its own.

    From few to many the buffers fill up through which the tables go; what counts is that it ends there.
    """
    numbers = (50, 500, 1500)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = [pool.apply(peak_of_driver, (place, number)) for number in numbers]
    growth = peaks[2] - peaks[1]
    target = f"at most {GROWTH_MIB:g} MiB more: {verdict(growth, most=GROWTH_MIB)}"
    reported = ", ".join(f"{peak:.0f} MiB with {number:,} cells" for number, peak in zip(numbers, peaks, strict=True))
    print(f"memory of the driver: {reported}; from the second to the third {target}")


def efficiency(place: Path, turns: int, steps: int) -> None:
    """Cells a second with two jobs over twice those with one, in turn, each with its processes' start.

    A single job trains in the driver's process. Both have one BLAS thread a cell.
    """
    ratios = []
    cells: list[Cell] = cells_of([Grid({"steps": (steps,)}, tuple(range(6)))])
    for turn in range(turns):
        took = {}
        for jobs in (1, 2):
            grid = Grid({"steps": (steps,)}, tuple(range(len(cells))))
            store = Store(place / f"efficiency{turn}-{jobs}")
            took[jobs] = seconds(lambda grid=grid, store=store, jobs=jobs: run_sweep(grid, store, Execution(jobs=jobs)))
        ratios.append(took[1] / took[2] / 2)
        print(f"    turn {turn + 1}: {took[1]:.1f} s with 1 job, {took[2]:.1f} s with 2", flush=True)
    ratio = statistics.median(ratios)
    print(f"parallel efficiency of 2 jobs: {ratio:.2f} of double ({min(ratios):.2f} to {max(ratios):.2f})   "
          f"at least {EFFICIENCY:g}: {verdict(ratio, least=EFFICIENCY)}")  # fmt: skip


def main(turns: int = 5, steps: int = 1000) -> None:
    """Measure planning, status, overhead, memory and parallel efficiency, and compare each with its target.

    Args:
        turns: of the parallel efficiency.
        steps: of each of its six cells; a default cell's by default, as short ones would measure the processes' start.
    """
    print(f"{as_text(describe())}; lab {VERSION}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        planning()
        status(place)
        overhead(place)
        memory(place)
        efficiency(place, turns, steps)


if __name__ == "__main__":
    tyro.cli(main)

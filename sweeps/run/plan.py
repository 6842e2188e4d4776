"""A grid against what is on the disk: what is left to train, and what it will cost."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from sweeps.grid.begin import BeginConfig, KnownText, known_text
from sweeps.grid.cell_id import DTYPE, Cell, RegisteredPart, foreign_parts, identify_settings, register_missing
from sweeps.grid.fields import GridError
from sweeps.grid.grid import Grid, cells_of, load_corpora, load_texts, texts_of
from sweeps.run.backends import end_processes, training_processes
from sweeps.run.train_cell import train_cell
from sweeps.store.folder import CELLS, Store, read_record
from sweeps.store.record import FAILED, STATUSES, Record
from tlab.config import ConfigError
from tlab.cost import FORWARD_SHARE, process_bytes, refuse_beyond_memory, step_flops
from tlab.machine import one_blas_thread
from tlab.nn.config import ModelConfig
from tlab.text.corpora import CORPORA, Corpus
from tlab.training.config import TrainConfig
from tlab.training.trainer import VALIDATION_TOKENS, Trainer
from tlab.wording import did_you_mean, several


@dataclass(frozen=True)
class SweepPlan:
    """Every cell of the folder, and those that this run has to train."""

    grids: list[Grid]  # all that were ever run into the folder, and the one of this run
    cells: list[Cell]  # of all grids, aliases included
    wanted: list[Cell]  # those of this run, aliases included
    missing: list[Cell]  # what is left to train, each function once
    corpora: dict[BeginConfig, Corpus]  # of what is left to train, and of the grid of this run
    records: dict[str, Record]  # what is on the disk already: result id -> record
    notes: list[str] = field(default_factory=list)  # about results on the disk that belong to no cell

    @property
    def num_aliases(self) -> int:
        return sum(cell.alias_of is not None for cell in self.wanted)


def warmup_words(trainings: Sequence[TrainConfig]) -> str:
    """That cells are over before they have reached their learning rate; nothing where none is."""
    which = cells_that([training.ends_in_warmup for training in trainings], "ends", "end")
    return which and (
        f"{which} within the warm-up, before its learning rate is reached: take more --steps, or fewer of warm-up with "
        "--set warmup_steps=N."
    )


def no_curve_words(trainings: Sequence[TrainConfig]) -> str:
    """That cells end before their first validation is due; nothing where none does, or none is to have one (0)."""
    which = cells_that([training.validation_every >= training.steps for training in trainings], "is", "are")
    return which and (
        f"{which} validated at the end alone, so that there is no validation curve: for one, take less than its steps "
        "with --set validation_every=N."
    )


def cells_that(do_so: Sequence[bool], does: str, do: str) -> str:
    """How a sentence on cells begins, with its verb: "Every cell ends", "15 of 30 cells end"; nothing for none."""
    count = sum(do_so)
    some = f"{count:,} of {several(len(do_so), 'cell')} {do}" if count else ""
    return f"Every cell {does}" if count and count == len(do_so) else some


def make_plan(
    grid: Grid | None,
    store: Store,
    *,
    again: Collection[str] = (),
    only_again: bool = False,
    moved_to: str | None = None,
) -> SweepPlan:
    """What this grid asks for and what of it is still to be trained.

    Args:
        grid: the grid; None for all that were ever run into the folder.
        store: the folder.
        again: statuses, or ids or their beginnings, of cells to train again although they have a result.
        only_again: whether cells that were never started are left for another time.
        moved_to: where the text of the cells to train again is now; by default where it was.

    Texts are read only where something is to be trained: what is done is known without them.

    Raises:
        GridError: a cell of the grid is not possible, `again` names no cell, or a text is another one by now.
    """
    known = store.texts()
    corpora = {} if grid is None else load_corpora([grid])
    if grid is not None:
        grid, corpora = as_named_before(grid, corpora, store, known)
    grids = store.grids if grid is None or grid in store.grids else [*store.grids, grid]
    corpora |= load_texts(text for text in texts_of(grids) if text not in corpora and text not in known)
    cells = cells_of(grids, corpora, known)
    own_ids, notes = results_elsewhere(cells, store)
    cells = wanted = as_kept(cells, own_ids)
    if grid is not None and len(grids) > 1:
        wanted_ids = {cell.cell_id for cell in as_kept(cells_of([grid], corpora, known), own_ids)}
        wanted = [cell for cell in cells if cell.cell_id in wanted_ids]
    named = set(chosen_cells([name for name in again if name not in STATUSES], cells))
    records = store.records(cell.result_id for cell in cells)

    def is_missing(i: str) -> bool:  # a failure is a result, which `retry` repeats: most cells fail every time
        return i in named or (records[i].status in again if i in records else not only_again)

    by_id = {cell.cell_id: cell for cell in cells}
    needed = dict.fromkeys(cell.result_id for cell in wanted)
    missing = [by_id[i] for i in needed if is_missing(i)]
    if again:
        corpora |= texts_to_train_again(missing, corpora, known, moved_to)
    return SweepPlan(grids, cells, wanted, missing, corpora, records, notes)


def as_named_before(
    grid: Grid, corpora: Mapping[BeginConfig, Corpus], store: Store, known: Mapping[BeginConfig, KnownText]
) -> tuple[Grid, dict[BeginConfig, Corpus]]:
    """The grid with the names that its texts have in the folder already: a text that was moved is the same text.

    Raises:
        GridError: a name stands for another text or another model by now, whose losses cannot be compared with those in
            the folder.
    """
    refuse_other_models(corpora, known)
    first_name: dict[str, str] = {}
    for text, about in known.items():
        first_name.setdefault(about.sha256, text.corpus)
    for text, corpus in corpora.items():
        if text in known and known[text].sha256 != corpus.sha256:
            before, now = store.manifest["runs"][-1].get("python"), platform.python_version()
            pythons = (f", Python {before}", f", Python {now}") if text.corpus in CORPORA else ("", "")
            raise GridError(
                f"{text.corpus} is another text than the results in {store.folder} are of (sha256 "
                f"{known[text].sha256[:12]}{pythons[0]}; now {corpus.sha256[:12]}{pythons[1]}), so their losses cannot "
                "be compared: choose another --out"
            )
    renamed = {text.corpus: first_name.get(corpus.sha256, text.corpus) for text, corpus in corpora.items()}
    if "corpus" not in grid.values or len(set(renamed.values())) < len(renamed):  # the latter: one text under two names
        return grid, dict(corpora)
    names = tuple(renamed[name] for name in grid.values["corpus"])
    grid = dataclasses.replace(grid, values={**grid.values, "corpus": names})
    return grid, {dataclasses.replace(text, corpus=renamed[text.corpus]): one for text, one in corpora.items()}


def refuse_other_models(corpora: Mapping[BeginConfig, Corpus], known: Mapping[BeginConfig, KnownText]) -> None:
    """Refuse a model that is another one by now than earlier results began with."""
    for text, corpus in corpora.items():
        if text not in known or (before := known[text].model) == (now := known_text(corpus).model):
            continue
        raise GridError(
            f"the model in {text.start_from} is another one than the results in the folder began with (sha256 of its "
            f"weights {before and before.weights_sha256[:12]}, now {now and now.weights_sha256[:12]}), so their losses "
            "cannot be compared: choose another --out, or put that model back"
        )


def results_elsewhere(cells: list[Cell], store: Store) -> tuple[dict[str, str], list[str]]:
    """Results that are not kept under the id of one of the cells.

    A version of the lab with one field fewer gave the same cell another id; its record has the settings themselves.

    Returns:
        The id of a cell -> the id that its result is kept under; and what belongs to no cell, in sentences.
    """
    ids = {cell.cell_id for cell in cells}
    own_ids, of_other_texts, unreadable = {}, Counter(), 0
    texts = {cell.corpus_sha256 for cell in cells}
    for result_id in store.result_ids() - ids:
        record = read_record(store.folder, result_id)
        if record is None:
            unreadable += 1
        elif (today := identify_settings(record.settings, record.corpus_sha256)) in ids:
            own_ids[today] = result_id
        else:
            of_other_texts[record.corpus_sha256] += record.corpus_sha256 not in texts
    notes = [
        f"{several(count, 'record')} in {CELLS}/ {'is' if count == 1 else 'are'} of another text (sha256 {sha256[:12]})"
        for sha256, count in of_other_texts.items()
        if count
    ]
    if unreadable:
        notes.append(f"{several(unreadable, 'file')} in {CELLS}/ cannot be read as the record of a cell")
    return own_ids, notes


def as_kept(cells: list[Cell], own_ids: Mapping[str, str]) -> list[Cell]:
    """The cells under the ids that their results are kept under."""
    if not own_ids:
        return cells
    return [
        dataclasses.replace(
            cell,
            cell_id=own_ids.get(cell.cell_id, cell.cell_id),
            alias_of=cell.alias_of and own_ids.get(cell.alias_of, cell.alias_of),
        )
        for cell in cells
    ]


def texts_to_train_again(
    cells: Iterable[Cell],
    corpora: Mapping[BeginConfig, Corpus],
    known: Mapping[BeginConfig, KnownText],
    moved_to: str | None,
) -> dict[BeginConfig, Corpus]:
    """The texts of cells that are asked for by their outcome, not by a grid that names a text.

    Raises:
        GridError: a text is not there, or is another one by now.
    """
    found = {}
    for text in dict.fromkeys(cell.text for cell in cells if cell.text not in corpora):
        place = text if moved_to is None else dataclasses.replace(text, corpus=moved_to)
        try:
            (found[text],) = load_texts([place]).values()
        except GridError as error:
            raise GridError(
                f"{error}. If the text was moved, say where to with --corpus; the run of start_from has to be where "
                "it was"
            ) from error
        if found[text].sha256 != known[text].sha256:
            raise GridError(
                f"{place.corpus} is another text than these cells were trained on (sha256 {known[text].sha256[:12]}, "
                f"now {found[text].sha256[:12]}); name that one with --corpus"
            )
    refuse_other_models(found, known)
    return found


def chosen_cells(names: Iterable[str], cells: Sequence[Cell]) -> list[str]:
    """The result ids of the cells that are named by their id or its beginning.

    Raises:
        GridError: no cell, or more than one, is called so.
    """
    found = []
    for name in names:
        matches = [cell for cell in cells if cell.cell_id.startswith(name)]
        if len(matches) != 1:
            what = f"{len(matches)} cells' ids begin with" if matches else "no cell has an id that begins with"
            close = did_you_mean(name, [cell.cell_id for cell in cells])
            raise GridError(f"{what} {name!r}; take the cell_id of cells.csv.{close}")
        found.append(matches[0].result_id)
    return found


# ------------------------------------------------------------------------------------------------ cost


class CellShape(NamedTuple):
    """What the work of a cell depends on: not on learning rates, seeds and the like."""

    model: ModelConfig
    batch_size: int


def shape_of(cell: Cell) -> CellShape:
    return CellShape(cell.model, cell.train.batch_size)


def steps_of(cell: Cell, corpus: Corpus) -> float:
    """Updates of a cell, plus its validations, counted as the number of updates that would take as long."""
    train = cell.train
    looks = 1 + (train.steps - 1) // train.validation_every if train.validation_every else 1
    tokens = train.batch_size * cell.model.context_length
    return train.steps + looks * FORWARD_SHARE * len(corpus.validation) / tokens


def work_of(cells: Iterable[Cell], corpora: dict[BeginConfig, Corpus]) -> dict[str, float]:
    return {cell.cell_id: steps_of(cell, corpora[cell.text]) * step_flops(*shape_of(cell)) for cell in cells}


class CostEstimate(NamedTuple):
    """What training some cells will take."""

    seconds: float  # on this machine, with so many jobs, when nothing else runs
    longest: float  # seconds of the longest cell: with any number of jobs it does not end earlier
    mib_each: float  # memory of the largest cell, in its process
    shapes_measured: int


SHAPES_MEASURED = 12  # some seconds in all; the others lie between them in work, and are taken to do so in time
SHAPES_COUNTED = 400  # of which the operations are counted: a millisecond each
TIMED_STEPS = 3


def estimate_cost(cells: Sequence[Cell], corpora: dict[BeginConfig, Corpus], jobs: int) -> CostEstimate:
    """Time and memory for these cells, from a few steps of a few of them.

    Of many shapes an even choice is taken for all: first to count their operations, then, from those spread evenly
    in operations, to time a step. Between two that were timed, time is taken to be linear in operations.

    Raises:
        GridError: a cell needs more memory than this machine has.
    """
    steps: defaultdict[CellShape, list[float]] = defaultdict(list)  # of each cell of that shape
    example: dict[CellShape, Cell] = {}
    for cell in cells:
        steps[shape_of(cell)].append(steps_of(cell, corpora[cell.text]))
        example.setdefault(shape_of(cell), cell)
    counted = sorted(evenly(list(example), SHAPES_COUNTED), key=lambda shape: step_flops(*shape))
    timed = evenly(counted, SHAPES_MEASURED)
    for shape in timed:
        check_memory(example[shape])
    seconds = [seconds_per_step(example[shape], corpora) for shape in timed]
    per_step = np.interp([step_flops(*shape) for shape in counted], [step_flops(*shape) for shape in timed], seconds)
    share = sum(map(sum, steps.values())) / sum(sum(steps[shape]) for shape in counted)  # of all work to that
    total = share * sum(sum(steps[shape]) * t for shape, t in zip(counted, per_step, strict=True))
    longest = max(max(steps[shape]) * t for shape, t in zip(counted, per_step, strict=True))
    largest = example[counted[-1]]
    mib_each = job_mib(largest, corpora[largest.text])
    return CostEstimate(max(total / min(jobs, len(cells)), longest), longest, mib_each, len(timed))


def evenly(items: list[CellShape], maximum: int) -> list[CellShape]:
    if len(items) <= maximum:
        return items
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, maximum)]


def with_few_steps(cell: Cell) -> Cell:
    """The same with a few steps."""
    train = dataclasses.replace(cell.train, steps=TIMED_STEPS + 1, validation_every=0, warmup_steps=0)
    return dataclasses.replace(cell, train=train)


def seconds_per_step(cell: Cell, corpora: dict[BeginConfig, Corpus]) -> float:
    """Time of one update with one BLAS thread; the fastest of a few, as the machine may be busy."""
    took = []
    with one_blas_thread():
        trainer = Trainer(cell.model, with_few_steps(cell).train, corpora[cell.text], dtype=DTYPE)
        trainer.train_step()  # the first one warms up caches
        while len(took) < TIMED_STEPS - 1 and not trainer.finished:  # the last one would validate
            began = time.perf_counter()
            trainer.train_step()
            took.append(time.perf_counter() - began)
    return min(took, default=0.0)


def check_memory(cell: Cell) -> None:
    """Refuse a cell that cannot be trained on this machine, before anything of it is made.

    Raises:
        GridError: it needs more memory than there is.
    """
    try:
        refuse_beyond_memory(cell.model, cell.train)
    except ConfigError as error:
        raise GridError(f"cell {cell.cell_id}: {error}") from error


def job_mib(cell: Cell, corpus: Corpus) -> float:
    """Memory of a job that trains this cell: what a process like a sweep's takes for a few steps and a validation.

    Where that process fails, or the system tells nothing of it, the arrays of the training beside this process's own.
    """
    at_once = corpus.validation[: VALIDATION_TOKENS + 1]  # what one piece of the validation reads
    text = dataclasses.replace(corpus, validation=at_once)
    job = delayed(memory_of)(with_few_steps(cell), text, foreign_parts(cell.model, cell.train))
    try:
        with training_processes(2):  # joblib makes no process for a single job
            (found,) = Parallel()([job])
    except BrokenProcessPool:
        found = None
    finally:
        end_processes()
    return found or process_bytes(cell.model, cell.train) / 2**20


def memory_of(cell: Cell, corpus: Corpus, parts: list[RegisteredPart]) -> float | None:
    """Peak memory in MiB of this process while it trains the cell; None if that fails, or nobody knows."""
    register_missing(parts)
    record = train_cell(cell, corpus)
    return None if record.status == FAILED else record.peak_memory_mib

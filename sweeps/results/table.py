"""The table of a sweep: one row per cell that is done. docs/sweeps.md describes its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.grid.cell_id import Cell
from sweeps.grid.fields import REPLICATE, sweepable
from sweeps.grid.grid import Grid
from sweeps.store.provenance import without_folders
from sweeps.store.record import Record

CIRCUMSTANCES = ("tokens_per_second", "wall_seconds", "cpu_seconds", "peak_memory_mib", "attempts", "host")
"""Fields of a `Record` that depend on the run; in all others two runs of a cell are the same."""

OUTCOME_COLUMNS = (
    *("n_params", "steps_done", "val_loss", "best_val_loss", "train_loss", "tokens_per_character"),
    *("error_type", "error_message", "traceback_tail", "source", *CIRCUMSTANCES),
)
"""Fields of a `Record` that are columns of the table of cells."""


LOSSES = ("val_loss", "best_val_loss", "train_loss")
PER_TOKEN, PER_CHARACTER = "nats per token", "nats per character"
UNCOMPARED = "corpus"
"""The axis whose levels are not compared: one text is easier than another, whatever the model."""


@dataclass(frozen=True)
class Table:
    """The cells that are done, one row each: what cells.csv holds and the figures are drawn from."""

    axes: tuple[str, ...]  # the config fields in which rows differ, besides the seed
    rows: list[dict[str, Any]]
    unit: str = PER_TOKEN  # of the losses
    left_out: int = 0  # rows whose losses could not be brought to the unit

    @property
    def columns(self) -> list[str]:
        return ["cell_id", "alias_of", "status", *self.axes, REPLICATE, *OUTCOME_COLUMNS]

    @property
    def compared_axes(self) -> tuple[str, ...]:
        """The axes whose levels have losses of the same text."""
        return tuple(axis for axis in self.axes if axis != UNCOMPARED)


def in_one_unit(table: Table) -> Table:
    """The table with losses that can be compared: per character, where it has several tokenizers.

    A token of one tokenizer is not one of another, and neither is a loss per token. The validation split has the same
    characters for all.
    """
    if len({row.get("tokenizer") for row in table.rows}) < 2 or table.unit != PER_TOKEN:
        return table
    ratios = {row["cell_id"]: tokens_per_character(row) for row in table.rows}
    rows = []
    for row in table.rows:
        ratio, losses = ratios[row["cell_id"]], [name for name in LOSSES if row.get(name) is not None]
        if ratio is not None or not losses:
            rows.append({**row, **{name: row[name] * ratio for name in losses}})
    return Table(table.axes, rows, PER_CHARACTER, len(table.rows) - len(rows))


def tokens_per_character(row: Mapping[str, Any]) -> float | None:
    """Of a row of the table; None where a record of an early version does not say."""
    return row.get("tokens_per_character") or (1.0 if row.get("tokenizer", "char") == "char" else None)


def table_of(cells: Sequence[Cell], records: Mapping[str, Record], grids: Iterable[Grid]) -> Table:
    """One row per cell that has a record; an alias has the numbers of the cell that was run for it."""
    axes = differing_fields(cells, [axis for grid in grids for axis in grid.axes])
    names = names_of_texts(cell.text.corpus for cell in cells)
    rows = []
    for cell in cells:
        record = records.get(cell.result_id)
        if record is not None:
            rows.append(
                {
                    "cell_id": cell.cell_id,
                    "alias_of": cell.alias_of,
                    "status": record.status,
                    **{axis: names.get(cell.value(axis)) if axis == "corpus" else cell.value(axis) for axis in axes},
                    REPLICATE: cell.seed,
                    **{column: getattr(record, column) for column in OUTCOME_COLUMNS},
                }
            )
    return Table(axes, rows)


def names_of_texts(corpora: Iterable[str]) -> dict[str, str]:
    """What the tables call each corpus: a file by its name alone, as long as the names differ."""
    names = {corpus: without_folders(corpus) for corpus in dict.fromkeys(corpora)}
    return names if len(set(names.values())) == len(names) else {corpus: corpus for corpus in names}


def differing_fields(cells: Sequence[Cell], axes: Iterable[str]) -> tuple[str, ...]:
    """The axes, and every other field that is not the same in all cells: two grids may fix it at two values."""
    found = dict.fromkeys(axes)
    if cells:
        first = cells[0].settings()
        rest = [field for field in sweepable() if field != REPLICATE and field not in found]
        distinct = {id(config): config for cell in cells for config in (cell.text, cell.model, cell.train)}
        for field in rest:
            if any(getattr(config, field, first[field]) != first[field] for config in distinct.values()):
                found.setdefault(field)
    return tuple(found)

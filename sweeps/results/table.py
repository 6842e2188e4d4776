"""The table of a sweep: one row per cell that is done. docs/sweeps.md describes its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.grid.cell_id import Cell
from sweeps.grid.fields import REPLICATE, sweepable
from sweeps.grid.grid import Grid
from sweeps.store.provenance import without_folders
from sweeps.store.record import Record
from tlab.notebook.html import frame_of
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, bits_per_nat, has_one_token

if TYPE_CHECKING:
    from pandas import DataFrame

CIRCUMSTANCES = ("tokens_per_second", "wall_seconds", "cpu_seconds", "peak_memory_mib", "attempts", "host")
"""Fields of a `Record` that depend on the run; in all others two runs of a cell are the same."""

OUTCOME_COLUMNS = (
    *("n_params", "steps_done", "val_loss", "best_val_loss", "train_loss", "val_bits_per_byte"),
    *("tokens_per_character", "train_bytes_per_token", "val_bytes_per_token"),
    *("error_type", "error_message", "traceback_tail", "source", *CIRCUMSTANCES),
)
"""What of a `Record` is in the table of cells, each in a column."""

LOSSES = {"val_loss": "val", "best_val_loss": "val", "train_loss": "train"}
"""Column -> the part of the text that it is of, as `bits_per_nat` calls it."""
PATH_FIELDS = ("corpus", "start_from")
"""The fields whose values may be paths."""
UNCOMPARED = "corpus"
"""The axis whose levels are not compared: one text is easier than another, whatever the model."""


@dataclass(frozen=True)
class Table:
    """The cells that are done, one row each: what cells.csv holds and the figures are drawn from."""

    axes: tuple[str, ...]  # the config fields in which rows differ, besides the seed
    rows: list[dict[str, Any]]
    unit: str = NATS_PER_TOKEN  # of the losses
    left_out: int = 0  # rows whose losses could not be brought to the unit

    @property
    def columns(self) -> list[str]:
        return ["cell_id", "alias_of", "status", *self.axes, REPLICATE, *OUTCOME_COLUMNS]

    def to_pandas(self) -> DataFrame:
        """A row for each cell, a column for each of `columns`; the unit of the losses is in `attrs`."""
        return frame_of(
            ([row.get(name) for name in self.columns] for row in self.rows), self.columns, {"unit": self.unit}
        )

    @property
    def compared_axes(self) -> tuple[str, ...]:
        """The axes whose levels have losses of the same text."""
        return tuple(axis for axis in self.axes if axis != UNCOMPARED)


def in_one_unit(table: Table) -> Table:
    """The table with losses that can be compared: in bits per byte, where a token is not the same in all rows.

    Rows whose losses cannot be converted are left out.
    """
    if table.unit != NATS_PER_TOKEN or has_one_token(table.rows):
        return table
    factors = {part: bits_per_nat(table.rows, part) for part in ("val", "train")}
    rows = []
    for i, row in enumerate(table.rows):
        converted = {
            name: row[name] * factor if (factor := factors[part][i]) is not None else None
            for name, part in LOSSES.items()
            if row.get(name) is not None
        }
        if None not in converted.values():
            rows.append({**row, **converted})
    return Table(table.axes, rows, BITS_PER_BYTE, len(table.rows) - len(rows))


def table_of(cells: Sequence[Cell], records: Mapping[str, Record], grids: Iterable[Grid]) -> Table:
    """One row per cell that has a record; an alias has the numbers of the cell that was run for it."""
    axes = differing_fields(cells, [axis for grid in grids for axis in grid.axes])
    names = {field: names_of_places(cell.value(field) for cell in cells) for field in PATH_FIELDS}
    rows = []
    for cell in cells:
        record = records.get(cell.result_id)
        if record is not None:
            rows.append(
                {
                    "cell_id": cell.cell_id,
                    "alias_of": cell.alias_of,
                    "status": record.status,
                    **{axis: names[axis][cell.value(axis)] if axis in names else cell.value(axis) for axis in axes},
                    REPLICATE: cell.seed,
                    **{column: getattr(record, column) for column in OUTCOME_COLUMNS},
                }
            )
    return Table(axes, rows)


def names_of_places(places: Iterable[str]) -> dict[str, str]:
    """What the tables call each corpus or run: one that is a path by its name alone, as long as the names differ."""
    names = {place: without_folders(place) for place in dict.fromkeys(places)}
    return names if len(set(names.values())) == len(names) else {place: place for place in names}


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

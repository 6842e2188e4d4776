"""Probes over training time: one table of all snapshots of a run, so that a mechanism can be watched as it forms."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from tlab.inside.pictures import Curves
from tlab.inside.probing import PROBES, Probe, ProbeError, Rows, Subject
from tlab.inside.tables import ProbeTable
from tlab.text import Corpus
from tlab.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tlab.figures import ShownFigure

STEP_COLUMN = "step"


class TableOverTime(ProbeTable):
    """The rows of a probe at several steps of a run, drawn as lines over the steps."""

    def figure(self, column: str | None = None) -> ShownFigure:
        """A line for each row of the probe; the default column is the first number that changes with time.

        Raises:
            ProbeError: no such column, other rows at some step, or more lines than can be distinguished.
        """
        from tlab.inside.figures import over_time_figure

        drawn = curves(self, column)
        return over_time_figure(drawn, unit=self.units.get(drawn.column, ""), title=self.title)

    def picture_html(self) -> str:
        try:
            return super().picture_html()
        except ProbeError:  # the table alone says what there is
            return ""


def over_time(
    checkpoints: Iterable[Checkpoint], probe: Probe, text: str, corpus: Corpus | None = None
) -> TableOverTime:
    """The rows of a probe at every checkpoint, with the step as their first column.

    The checkpoints are of one run, in any order; one at a time is held in memory. `corpus` is what the run was trained
    on, for probes that need it; by default it is looked up by name.

    Raises:
        ProbeError: there is no checkpoint, the probe has no meaning for one of them, or its rows have a step already.
    """
    table: list[tuple[int, Any]] = []
    for checkpoint in checkpoints:
        subject = Subject(checkpoint, text, corpus)
        table += [(checkpoint.step, row) for row in probe.rows(subject)]
        corpus = corpus or subject.__dict__.get("corpus")  # one that was looked up need not be read once more
    label = next((entry.label for entry in PROBES.entries.values() if entry.component is type(probe)), "")
    return TableOverTime(with_steps(table), label, probe.units, probe.picture)


def with_steps(table: Sequence[tuple[int, Any]]) -> Rows:
    """Rows of a probe, each with the step that it is of, in order of the steps.

    Raises:
        ProbeError: there are none, or they have a step already.
    """
    if not table:
        raise ProbeError("no checkpoint, no table; give the snapshots of a run")
    kind = type(table[0][1])
    if STEP_COLUMN in kind._fields:
        raise ProbeError("this probe's rows are steps already, of one pass; over time it would have too many")
    with_step: Any = collections.namedtuple(f"{kind.__name__}AtStep", [STEP_COLUMN, *kind._fields])
    return [with_step(step, *row) for step, row in sorted(table, key=lambda pair: pair[0])]


def curves(rows: Rows, column: str | None = None) -> Curves:
    """A line for each row of the probe's table: named by what is the same at every step and tells the lines apart.

    `rows` are what `over_time` returns. The default column is the first number that changes with time.

    Raises:
        ProbeError: no such column of numbers, or another number of rows at some step.
    """
    fields = cast("Any", rows[0])._fields
    at: dict[int, list[Any]] = {}
    for row in rows:
        at.setdefault(cast("Any", row).step, []).append(row)
    if len({len(same) for same in at.values()}) > 1:
        raise ProbeError("the table has not the same rows at every step, so there are no lines to draw")
    lines = list(zip(*at.values(), strict=True))  # one for each row of the probe's table, a row for each step
    numbers = [name for name in fields[1:] if isinstance(getattr(rows[0], name), (int, float))]
    steady = [name for name in fields[1:] if all(len({getattr(row, name) for row in line}) == 1 for line in lines)]
    names = [
        name for name in steady
        if not isinstance(getattr(rows[0], name), float) and len({getattr(line[0], name) for line in lines}) > 1
    ]  # fmt: skip
    for count in range(1, len(names)):  # no more of them than tell all lines apart
        if len({tuple(getattr(line[0], name) for name in names[:count]) for line in lines}) == len(lines):
            names = names[:count]
            break
    moving = [name for name in numbers if name not in steady]
    chosen = column or next(iter(moving), "")
    if chosen not in numbers:
        raise ProbeError(f"no column {chosen!r} of numbers to draw; choose one of {', '.join(numbers) or 'none'}")
    values = {
        " ".join(str(getattr(line[0], name)) for name in names) or chosen: [float(getattr(row, chosen)) for row in line]
        for line in lines
    }
    if len(values) < len(lines):
        raise ProbeError("several rows of the table have the same name, so their lines cannot be distinguished")
    return Curves(chosen, " ".join(names), list(at), values)

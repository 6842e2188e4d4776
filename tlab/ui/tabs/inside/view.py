"""The tables of the Inside tab."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.checks import CheckResult
from tlab.files import as_csv
from tlab.inside import PROBES
from tlab.inside.over_time import Curves
from tlab.inside.pictures import SHARE
from tlab.inside.probing import Rows
from tlab.inside.tables import cell
from tlab.profile import STEP, Profile
from tlab.ui.tabs.inside.options import probe_words
from tlab.ui.tabs.inside.words import KEY_COLUMNS, column_name, largest_in_sight, usual_size
from tlab.ui.widgets.line_chart import COLOURS, DASHES, line, lines_value
from tlab.ui.widgets.markup import macros
from tlab.wording import head_of, part_name, several, without_latex

markup = macros("tabs/inside/view.html")
refused_html, intervention_html, remark_html = markup.refused, markup.intervention, markup.remark
BOUNDS = ("low", "high")  # of an interval, beside the number itself, which has the bar
B_FIRST = {0: 1, 1: 0}  # places of colours: what is drawn of side B has its colour first
MAX_DRAWN_LINES = 12  # more cannot be told apart
MIN_STEPS_OF_A_CURVE = 6  # of fewer the lines show where the steps lie and not how it went

# ------------------------------------------------------------------------------------------------ a probe


def about_html(key: str) -> str:
    first, rest = probe_words(PROBES[key])
    return markup.about(linked(first), [linked(part) for part in rest], PROBES.entries[key].source)


def linked(text: str) -> list[tuple[str, str]]:
    """A sentence in pieces: its text, and the probes that it names in backticks by their labels, with their keys."""
    pieces = []
    for i, piece in enumerate(text.split("`")):
        is_probe = i % 2 == 1 and piece in PROBES
        pieces.append((PROBES.entries[piece].label, piece) if is_probe else (piece, ""))
    return pieces


def probe_table(key: str, rows: Rows, side: int = 0) -> str:
    """The table of a probe of a side, with bars beside what can be compared, and itself as a file."""
    units, label = PROBES[key].units, PROBES.entries[key].label
    scales = bar_scales(rows, units)
    signed = any(negative for _, negative in scales.values())
    cut = [
        f"{column_name(name)} at {cell(largest)}"
        for name, (largest, _) in scales.items()
        if any(is_cut(getattr(row, name), largest) for row in rows)
    ]
    file = base64.b64encode(as_csv(rows[0]._fields, rows).encode("utf-8", "backslashreplace")).decode()
    made, is_open = table(rows, units, scales, label), PROBES[key].picture is None
    return markup.probe(key, label, len(rows), signed, cut, file, made, is_open, side)


def is_cut(value: float, largest: float) -> bool:
    return abs(value) > 1.001 * largest


def is_number(value: Any) -> bool:
    """An int or a float, and no yes or no."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def bar_scales(rows: Rows, units: dict[str, str]) -> dict[str, tuple[float, bool]]:
    """Column -> (the size of a full bar, whether some values are below zero), of the columns that have bars.

    These are fractional numbers with a unit; where no such column has one, all fractional numbers. A share's full bar
    is the whole, of other columns the largest value; but what is far beyond all others is cut.
    """
    numeric = [name for name in rows[0]._fields if all(isinstance(getattr(row, name), float) for row in rows)]
    numeric = [name for name in numeric if name not in BOUNDS]
    named = [name for name in numeric if name in units]
    scales = {}
    for name in named or numeric:
        values = sorted(value for row in rows if math.isfinite(value := getattr(row, name)))
        largest = usual_size(sorted(map(abs, values)))
        if units.get(name) == SHARE:
            largest = max(largest, 1.0)
        if largest > 0 and len(rows) > 1:
            scales[name] = (largest, values[0] < 0)
    return scales


class TableCell(NamedTuple):
    """One cell of a table."""

    kind: str  # "head", "text" or "number"
    text: str
    bar: str = ""
    key: str = ""  # of the part that it names
    head: bool = False  # whether that is a head, which has a map


def table(rows: Rows, units: dict[str, str], scales: dict[str, tuple[float, bool]], label: str) -> str:
    """Rows as an accessible table: numbers to the right, units in the head, names as heads of their rows."""
    names = rows[0]._fields
    numeric = {name for name in names if name not in KEY_COLUMNS and all(is_number(getattr(row, name)) for row in rows)}
    columns = []
    for name in names:
        kind = "tl-in-number tl-in-barred" if name in scales else "tl-in-number" if name in numeric else ""
        columns.append((column_name(name), units.get(name), kind))
    body = []
    for row in rows:
        cells = []
        for name, value in row._asdict().items():
            if name in KEY_COLUMNS:
                is_head = head_of(str(value)) is not None
                cells.append(
                    TableCell("text" if cells else "head", KEY_COLUMNS[name](value), key=str(value), head=is_head)
                )
            elif name in numeric:
                cells.append(TableCell("number", cell(value), bar(value, *scales[name]) if name in scales else ""))
            else:
                cells.append(TableCell("text" if cells else "head", without_latex(cell(value))))
        body.append(cells)
    return markup.cells(label, columns, body)


def bar(value: float, largest: float, signed: bool) -> str:
    """A bar behind a number: from the left, or from the middle to the side of its sign."""
    if not math.isfinite(value):
        return ""
    width = (50 if signed else 100) * min(abs(value) / largest, 1.0)
    left = (50 - width if value < 0 else 50) if signed else 0
    return markup.bar("minus" if value < 0 else "plus" if signed else "share", left, width, is_cut(value, largest))


def over_time_value(label: str, found: Curves, unit: str, side: int = 0) -> dict[str, Any]:
    """What the chart over steps draws of a side: the rows whose values moved farthest, in the order of the table."""
    moved = {name: max(values) - min(values) for name, values in found.values.items()}
    shown = sorted(moved, key=lambda name: -moved[name])[: min(MAX_DRAWN_LINES, COLOURS * DASHES)]
    lines = []
    for place, name in enumerate(name for name in found.values if name in shown):
        points = [[step, round(value, 5)] for step, value in zip(found.steps, found.values[name], strict=True)]
        lines.append(line(part_name(name), B_FIRST.get(place, place) if side else place, points))
    is_share = unit == SHARE
    unit = f"{column_name(found.column)}{f', {unit}' if unit else ''}"
    if len(shown) < len(found.values):
        unit += f"; the {len(shown)} of {len(found.values)} rows that moved farthest"
    sizes = sorted(max(map(abs, found.values[name])) for name in shown)
    limit = largest_in_sight([size for size in sizes if math.isfinite(size)])
    highest = limit if any(size > limit for size in sizes) else None
    title = f"{label}, over the training"
    if len(found.steps) < MIN_STEPS_OF_A_CURVE:
        title += f"; kept are {several(len(found.steps), 'step')} alone, straight lines join them"
    value = lines_value(title, unit, lines, "No step is kept.", highest)
    return {**value, "share": is_share}


# ------------------------------------------------------------------------------------------------ checks


def checks_html(checks: Sequence[CheckResult], bug: str | None) -> str:
    """Which checks passed; with a `bug`, in words, those that did not have caught it."""
    failed = [check for check in checks if not check.passed]
    if bug and failed:
        verdict = f"Caught: with “{bug}”, {len(failed)} of {len(checks)} checks fail."
    elif bug:
        verdict = f"Not caught: with “{bug}”, all {len(checks)} checks pass."
    else:
        verdict = f"{len(checks) - len(failed)} of {len(checks)} checks pass."
    return markup.checks(checks, verdict)


def profile_html(made: Profile) -> str:
    return markup.profile(made, max(row.own_seconds for row in made.rows), (STEP,))

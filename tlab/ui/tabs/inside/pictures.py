"""The picture of a probe's table, as the browser draws it: by the kind that the probe declares, never by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tlab.inside import PROBES
from tlab.inside.pictures import SHARE, WIDE_RATIO, Estimates, Histogram, LayerMap, Lines, Map, Matrix, Points
from tlab.inside.probing import Rows
from tlab.ui.tabs.inside.words import KEY_COLUMNS, column_name, largest_in_sight
from tlab.wording import head_of, part_name, several, short_head_name, sublayer_name

NO_LAYER = "outside"  # the column of what is in no layer
MAX_DRAWN_ROWS = 2000  # in a picture; the table has all
MAX_DRAWN_ESTIMATES = 80  # each has a line of its own,
LARGEST_ESTIMATES = 40  # so of more than that these are drawn

Parts = dict[str, Any]


def picture_value(key: str, rows: Rows, file: str) -> Parts:
    """What the picture's script reads; nothing of a probe that has no picture, or of a table of one row."""
    kind = PROBES[key].picture
    if kind is None or len(rows) < 2:
        return {"kind": ""}
    drawn = drawn_rows(kind, rows)
    table = DrawnTable(drawn, PROBES[key].units)
    made = MAKERS[type(kind)](kind, table)
    label = PROBES.entries[key].label
    which = "largest" if isinstance(kind, Estimates) else "first"
    left = "" if len(drawn) == len(rows) else f"the {which} {len(drawn)} of {len(rows):,} rows"
    words = "; ".join(part for part in (made.pop("words", ""), left) if part)
    said = f"{label}: {several(len(drawn), 'row')}. {words}".strip(" .")
    return {
        "title": label,
        "words": words,
        "alternative": f"{said}. The same numbers are in the table below.",
        "file": file,
        "columns": table.columns(),
        "rows": [[plain(value) for value in row] for row in drawn],
        "shown": [table.shown(row) for row in drawn],
        "heads": table.heads(),
        **made,
    }


def drawn_rows(kind: Any, rows: Rows) -> list[Any]:
    """What of a table is drawn, in its order: of many estimates the largest by size, of anything else the first."""
    if isinstance(kind, Estimates) and len(rows) > MAX_DRAWN_ESTIMATES:
        sizes = [abs(size) if math.isfinite(size := getattr(row, kind.value)) else math.inf for row in rows]
        largest = sorted(range(len(rows)), key=lambda i: -sizes[i])[:LARGEST_ESTIMATES]
        return [rows[i] for i in sorted(largest)]
    return [*rows][:MAX_DRAWN_ROWS]


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class DrawnTable:
    """Rows of a probe, with what people call their columns and keys."""

    def __init__(self, rows: Rows, units: dict[str, str]) -> None:
        self.rows, self.units, self.names = rows, units, rows[0]._fields

    def index(self, name: str | None) -> int | None:
        return None if name is None else self.names.index(name)

    def columns(self) -> list[Parts]:
        return [
            {"key": name, "name": column_name(name), "unit": self.units.get(name, ""),
             "share": self.units.get(name) == SHARE}
            for name in self.names
        ]  # fmt: skip

    def shown(self, row: Any) -> dict[str, str]:
        """Index of a column -> its words, of what is not shown as it is."""
        found = {}
        for i, name in enumerate(self.names):
            words = shown_value(name, row[i])
            if words != row[i]:
                found[str(i)] = words
        return found

    def heads(self) -> list[str | None]:
        """The key of the head that each row is of."""
        names = [name for name in self.names if KEY_COLUMNS.get(name) is part_name]
        keys = [str(getattr(row, names[0])) if names else "" for row in self.rows]
        return [key if head_of(key) else None for key in keys]

    def values(self, name: str) -> list[Any]:
        return [getattr(row, name) for row in self.rows]

    def words(self, name: str) -> list[str]:
        return [str(shown_value(name, value)) for value in self.values(name)]

    def numbers(self, *names: str) -> list[float]:
        return [value for name in names for value in self.values(name) if math.isfinite(value)]


def shown_value(column: str, value: Any) -> Any:
    """A key or an index of a layer as people say it; anything else as it is."""
    if column in KEY_COLUMNS:
        return KEY_COLUMNS[column](value)
    return value


def lines_picture(kind: Lines, table: DrawnTable) -> Parts:
    names = table.words(kind.by) if kind.by else [""] * len(table.rows)
    split = [name.partition(" of ") for name in names]  # "head 2 of layer 1": a line of a panel
    return {
        "kind": "lines",
        "x": table.index(kind.x),
        "x_name": table.index(kind.x_name or kind.x),
        "y": [table.index(name) for name in kind.y],
        "low": table.index(kind.low),
        "high": table.index(kind.high),
        "doubling": kind.doubling,
        "lines": [line for line, _, _ in split],
        "panels": [panel.capitalize() for _, _, panel in split],
        "words": "band: 95 % interval" if kind.low else "",
    }


def histogram_picture(kind: Histogram, table: DrawnTable) -> Parts:
    return {
        "kind": "histogram",
        "low": table.index(kind.low),
        "high": table.index(kind.high),
        "bar": table.index(kind.height),
        "curve": table.index(kind.curve),
        "panels": [name.capitalize() for name in table.words(kind.panel)],
    }


def estimates_picture(kind: Estimates, table: DrawnTable) -> Parts:
    values = table.numbers(kind.value, *filter(None, [kind.beside]))
    logarithmic = not kind.low and min(values, default=0.0) > 0 and max(values) / min(values) > WIDE_RATIO
    sizes = sorted(map(abs, table.numbers(kind.value)))
    cut = largest_in_sight(sizes)
    beyond = [] if logarithmic else [size for size in sizes if size > 1.001 * cut]
    words = ["line: two standard errors to either side; grey: it holds zero" if kind.low else ""]
    if beyond:
        words.append(f"an arrow: beyond the axis, {several(len(beyond), 'row')}")
    return {
        "kind": "estimates",
        "name": table.index(kind.name),
        "value": table.index(kind.value),
        "low": table.index(kind.low),
        "high": table.index(kind.high),
        "beside": table.index(kind.beside),
        "cut": 1.001 * cut if beyond else None,
        "logarithmic": logarithmic,
        "words": "; ".join(filter(None, words)),
    }


def points_picture(kind: Points, table: DrawnTable) -> Parts:
    heads, words = map(head_of, table.values(kind.name)), table.words(kind.name)
    return {
        "kind": "points",
        "x": table.index(kind.x),
        "y": table.index(kind.y),
        "shorts": [short_head_name(*head) if head else name for head, name in zip(heads, words, strict=True)],
    }


# --- cells ---


def cells(
    across: Sequence[str], down: Sequence[str], places: Sequence[tuple[str, str, int, float, str]], share: bool
) -> Parts:
    """Coloured cells: of each its names across and down, its row, its value, and the text in it."""
    columns, lines = {name: i for i, name in enumerate(across)}, {name: i for i, name in enumerate(down)}
    values = [value for *_, value, _ in places if math.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    positive = [value for value in values if value > 0]
    logarithmic = not share and low >= 0 and bool(positive) and high / min(positive) > WIDE_RATIO
    scale = {
        "low": min(positive) if logarithmic else min(low, 0.0) if share else low,
        "high": high,
        "log": logarithmic,
        "signed": low < 0,
    }
    return {
        "kind": "cells",
        "across": [*across],
        "down": [*down],
        "cells": [
            {"x": columns[x], "y": lines[y], "row": row, "value": plain(value), "text": text}
            for x, y, row, value, text in places
        ],
        "scale": scale,
        "tokens": False,
        "across_name": "",
        "up_name": "",
    }


def scale_words(made: Parts, name: str) -> str:
    """What colours say, for the title."""
    scale = made["scale"]
    ends = f"from {scale['low']:.2g} to {scale['high']:.2g}"
    if scale["signed"]:
        size = max(abs(scale["low"]), abs(scale["high"]))
        return f"colour: {name}, green above zero, purple below, to ±{size:.2g}"
    return f"colour: {name}, {ends}{', logarithmic' if scale['log'] else ''}"


def map_picture(kind: Map, table: DrawnTable) -> Parts:
    across = dict(zip(table.values(kind.x), table.values(kind.x_name), strict=True))
    down = sorted(set(table.values(kind.y)), reverse=True)  # the first layer at the bottom, as the drawing has it
    order = {x: i for i, x in enumerate(across)}
    places = [
        (str(order[getattr(row, kind.x)]), str(getattr(row, kind.y)), i, getattr(row, kind.colour),
         str(getattr(row, kind.text)))
        for i, row in enumerate(table.rows)
    ]  # fmt: skip
    made = cells([str(i) for i in order.values()], [str(y) for y in down], places, is_share(table, kind.colour))
    made["across"] = [str(name) for name in across.values()]
    made["across_name"], made["up_name"] = column_name(kind.x_name), column_name(kind.y)
    return {**made, "tokens": True, "words": scale_words(made, column_name(kind.colour))}


def matrix_picture(kind: Matrix, table: DrawnTable) -> Parts:
    down = table.words(kind.name)
    places = [
        (name, shown, i, getattr(row, name), f"{getattr(row, name):.2f}")
        for i, (row, shown) in enumerate(zip(table.rows, down, strict=True))
        for name in kind.values
    ]
    share = is_share(table, kind.values[0])
    made = cells(kind.values, list(dict.fromkeys(down)), places, share)
    if share:  # so that two sides, or two steps, can be compared by colour
        made["scale"]["high"] = 1.0
    made["across"] = [column_name(name) for name in kind.values]
    unit = table.units.get(kind.values[0], "")
    return {**made, "words": scale_words(made, unit)}


def layer_map_picture(kind: LayerMap, table: DrawnTable) -> Parts:
    split = [part_name(name).rpartition(" of ") for name in table.values(kind.name)]
    places, across, down = [], {}, {}
    for i, ((what, of, layer), row) in enumerate(zip(split, table.rows, strict=True)):
        in_layer = of and layer.startswith("layer ")
        x, y = (layer, what) if in_layer else (NO_LAYER, sublayer_name(getattr(row, kind.name)))
        across[x], down[y] = None, None
        places.append((x, y, i, getattr(row, kind.colour), f"{getattr(row, kind.colour):.2g}"))
    columns = sorted(across, key=lambda name: (name == NO_LAYER, len(name), name))
    made = cells(columns, list(down), places, is_share(table, kind.colour))
    return {**made, "words": scale_words(made, column_name(kind.colour))}


def is_share(table: DrawnTable, name: str) -> bool:
    return table.units.get(name) == SHARE


MAKERS: dict[type, Callable[[Any, DrawnTable], Parts]] = {
    Lines: lines_picture,
    Histogram: histogram_picture,
    Estimates: estimates_picture,
    Points: points_picture,
    Map: map_picture,
    Matrix: matrix_picture,
    LayerMap: layer_map_picture,
}

"""What the Sweeps tab shows of a sweep: the map of losses, the curves and numbers of the chosen cells, the effects."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from tlab.judging.few_seeds import DOUBTFUL
from tlab.ui.settings.fields import differing_words, field_label, format_value
from tlab.ui.settings.plans import difference_of
from tlab.ui.settings.presets import DEMO_PRESET, preset_job
from tlab.ui.settings.run_settings import settings_of
from tlab.ui.tabs.sweeps.results import (
    EFFECT_COLUMNS,
    OF_RUN,
    TEXT_AXIS,
    ConfigurationRuns,
    Results,
    Spread,
    apart_words,
    level_words,
)
from tlab.ui.widgets.component import note_html
from tlab.ui.widgets.line_chart import COLOURS, line, lines_value
from tlab.ui.widgets.markup import macros
from tlab.wording import listed, several, written

markup = macros("tabs/sweeps/view.html")
MAX_PANELS = 24
SCALE_QUANTILE = 0.9
SCALE_REACH = 1.5  # times the distance from the lowest loss to that quantile: what is worse than that is marked
MAX_NAMED_CELLS = 3
SAID_SIZES = {"num_layers": "layers", "warmup_steps": "warm-up steps", "steps": "steps"}  # that a finding depends on
ALWAYS_SAID = ("corpus", "num_layers", "hidden_dim", "learning_rate", "steps")  # also where they are at their defaults
COLOUR_FLOOR = 0.02  # nats per token within which a sweep's report calls losses equivalent


class Pictures(NamedTuple):
    """What the components of the tab show."""

    grid: dict[str, Any]
    words: str
    chart: dict[str, Any]
    table: str
    effects: str


def pictures(results: Results, chosen: Sequence[int], split: str) -> Pictures:
    """Map, words, curves, table of the chosen cells, and effects."""
    configurations = [results.configurations[number] for number in chosen]
    return Pictures(
        grid_value(results, chosen), sweep_words(results), curves_value(results, configurations, split),
        cells_table(configurations), effects_html(results),
    )  # fmt: skip


def sweep_words(results: Results) -> str:
    axes = (
        " x ".join(f"{len(levels)} {slot_words(axis)}" for axis, levels in results.axes.items()) or "one configuration"
    )
    seeds = several(results.cells.seed.nunique(), "seed")
    usual = {name: value for name, value in results.shared.items() if name in ALWAYS_SAID and name not in results.axes}
    fixed = ", ".join(
        f"{field_label(name).lower()} {format_value(name, value)}" if name in ALWAYS_SAID else level_words(name, value)
        for name, value in {**usual, **results.fixed}.items()
        if name not in OF_RUN
    )
    what = f"{results.name}: {axes}, {seeds} each."
    what = f"{what[:1].upper()}{what[1:]} The stronger its colour, the better a cell. Choose cells for their curves."
    beside = [what, *caveats(results), f"All with {fixed}." if fixed else "", unlike_opening(results)]
    return markup.about(finding_words(results) or what, [sentence for sentence in beside if sentence])


def finding_words(results: Results) -> str:
    """What the sweep found, in a sentence: the axis that moves the loss most, and how that compares with its seeds."""
    if not results.spreads:
        return ""
    most = results.spreads[0]
    mean, low, high, n = most.difference
    shared = results.shared
    said = [name for name in SAID_SIZES if name in shared and name not in results.axes]
    sizes = [f"{format_value(name, shared[name])} {SAID_SIZES[name]}" for name in said]
    models = f"In these models ({', '.join(sizes)})" if sizes else "Here"
    moves = (
        f"{models} the axis that moves the loss most on average is {field_label(most.axis).lower()}: by {mean:.2f} "
        f"{results.unit}, from {level_words(most.axis, most.lowest)} to {level_words(most.axis, most.highest)}."
    )
    interval = f"95 % interval over {several(n, 'seed')}: {written(low, '+.2f')} to {written(high, '+.2f')}"
    chance = "One seed says nothing about chance." if n < 2 else f"Its {interval}."
    if n > 1 and low <= 0:
        chance = f"Seeds alone may do that ({interval})."
    opening = settings_of(preset_job(DEMO_PRESET))
    others = [
        f"{format_value(name, opening[name])} {unit}"
        for name, unit in SAID_SIZES.items()
        if name in shared and shared[name] != opening[name]
    ]
    beside = f" The Train tab opens with others: {listed(others)}." if others and sizes else ""
    return f"{moves} {chance}{beside}"


def spread_words(results: Results, spread: Spread) -> str:
    """How far the levels of an axis are apart, and of how many cells that is known."""
    mean, low, high, n = spread.difference
    between = f"{level_words(spread.axis, spread.highest)} against {level_words(spread.axis, spread.lowest)}"
    interval = f" ({written(low, '+.3f')} to {written(high, '+.3f')})" if n > 1 else ""
    words = f"{field_label(spread.axis)}: {mean:.3f}{interval}, {between}"
    left_out = spread.all_cells - spread.cells
    if not left_out:
        return words
    return (
        f"{words}; of {spread.cells} of {spread.all_cells} cells, as in the other {left_out} its levels are the same "
        "function, or not each of them has a run that ended well"
    )


def caveats(results: Results) -> list[str]:
    """What else to know before one reads the map, in sentences: cells that share their runs, and seeds far apart."""
    sentences = []
    if run := results.fixed.get("start_from"):
        weights = "" if "random_weights" in results.axes else " and its weights"
        sentences.append(f"Every cell begins with the settings and the tokenizer of the model in {run}{weights}.")
    if same := results.same_functions:
        sentences.append(
            f"{several(len(same), 'cell')} share the runs of another one, as they are the same function: "
            f"{same[0][0]} is {same[0][1]}."
        )
    if far := results.far_seeds:
        names = listed([results.configurations[number].label for number in far][:MAX_NAMED_CELLS])
        more = " and others" if len(far) > MAX_NAMED_CELLS else ""
        sentences.append(f"Some seeds of {names}{more} ended far from the other runs. {DOUBTFUL}.")
    return sentences


def unlike_opening(results: Results) -> str:
    """How the settings that all cells share differ from those of the pair that the Train tab opens with."""
    job = preset_job(DEMO_PRESET)
    opening, difference = settings_of(job), difference_of(job.plans)
    compared = {difference.name} if difference else set()  # of no one value there
    shared = results.shared
    own = {name: shared[name] for name in opening if name in shared and name not in {*results.axes, *compared, "seed"}}
    found = differing_words(own, opening)
    if not found:
        return ""
    return f"These are not the settings with which the Train tab opens (“{DEMO_PRESET.label}”): {listed(found)}."


def slot_words(axis: str) -> str:
    """An axis in the plural: "norms", "layers"."""
    words = field_label(axis).lower()
    return words if words.endswith("s") else f"{words}s"


def grid_value(results: Results, chosen: Sequence[int]) -> dict[str, Any]:
    """The map: the first axis down, the second across, a panel for each combination of the others.

    A loss is that of its text: of several texts, colours are of the distance to the lowest loss of the same text.
    """
    (row_axis, rows), (column_axis, columns), *others = [*results.axes.items(), ("", [None]), ("", [None])]
    others = [(axis, levels) for axis, levels in others if axis]
    at = {tuple(one.levels.values()): one for one in results.configurations}
    above = results.comparable_losses()
    means = list(above.values())
    # One cell that went badly must not paint all others alike: well beyond most of the losses the scale ends. And it is
    # not shorter than the margin within which losses are called equivalent: noise alone would then look like a result.
    low, most = pd.Series(means, dtype=float).quantile([0, SCALE_QUANTILE]) if means else (0.0, 0.0)
    high = max(min(max(means, default=0.0), low + SCALE_REACH * (most - low)), low + COLOUR_FLOOR)
    colours = {number: place for place, number in enumerate(chosen)}
    far = results.far_seeds
    panels = []
    for levels in itertools.islice(itertools.product(*(levels for _, levels in others)), MAX_PANELS):
        lines = []
        for row in rows:
            found = [at.get((row, column, *levels)[: len(results.axes)]) for column in columns]
            cells = [
                grid_cell(one, above.get(one.number), colours, high, one.number in far) if one else None
                for one in found
            ]
            lines.append({"name": level_words(row_axis, row) if row_axis else "", "cells": cells})
        title = " · ".join(level_words(axis, level) for (axis, _), level in zip(others, levels, strict=True))
        names = [level_words(column_axis, column) if column_axis else "all" for column in columns]
        panels.append({"title": title, "corner": "", "columns": names, "rows": lines})
    beyond = " or more" if means and max(means) > high else ""
    unit = f"mean over seeds, {results.unit}" + (
        "; colours: above the lowest of the same text" if TEXT_AXIS in results.axes else ""
    )
    return {"unit": unit, "low": low, "high": high, "beyond": beyond, "panels": panels}


def grid_cell(
    one: ConfigurationRuns, value: float | None, colours: dict[int, int], worst: float, is_far: bool
) -> dict[str, Any]:
    """One button of the map. A mean hides no lost seed, which makes its colour the worst, nor one far off."""
    mean = float(one.losses.mean()) if len(one.losses) else None
    value = max(value, worst) if value is not None and one.accidents else value
    place = colours.get(one.number)
    spread = f"{one.losses.min():.2f} to {one.losses.max():.2f}" if is_far else ""
    return {
        "number": one.number, "value": value, "text": "–" if mean is None else f"{mean:.3f}",
        "note": ", ".join(filter(None, (one.accidents, spread))),
        "seeds": list(map(list, zip(one.losses.index.tolist(), one.losses.tolist(), strict=True))),
        "chosen": None if place is None else place % COLOURS,
    }  # fmt: skip


def curves_value(results: Results, configurations: Sequence[ConfigurationRuns], split: str) -> dict[str, Any]:
    """The curves of the chosen cells: mean over seeds in a band from the lowest to the highest."""
    lines = []
    for place, one in enumerate(configurations):
        curve = results.curve(one, split)
        rows = [(int(step), *map(float, values)) for step, *values in curve.itertuples()]
        points = [[step, round(mean, 4)] for step, mean, _, _ in rows]
        band = [[step, round(low, 4), round(high, 4)] for step, _, low, high in rows]
        dots = points if len(points) == 1 else []  # a line through one point cannot be seen
        lines.append(line(one.label or "all", place, points, band=band, dots=dots))
    title = "Validation loss" if split == "validation" else "Training loss"
    return lines_value(title, f"{results.unit}, mean and range over seeds", lines, "Choose a cell of the map.")


def cells_table(configurations: Sequence[ConfigurationRuns]) -> str:
    """The chosen cells, seed by seed, in the order of the chart's legend."""
    if not configurations:
        return note_html("No cell is chosen.")
    rows = []
    for place, one in enumerate(configurations):
        losses = one.losses
        mean = f"{losses.mean():.4f}" if len(losses) else "–"
        each = ", ".join(f"{loss:.3f}" for loss in losses) + (f"; {one.accidents}" if one.accidents else "")
        parameters = one.cells["n_params"].iloc[0] if "n_params" in one.cells.columns else None
        count = "–" if parameters is None or parameters != parameters else f"{int(parameters):,}"
        rows.append((place % COLOURS, one.label, mean, each, count))
    return markup.cells(rows)


def effects_html(results: Results) -> str:
    """What a level changes on average over all else, with its interval, as the sweep's own report found it."""
    if results.effects is None:
        return note_html(
            "What each level changes on average, with its interval, is shown here where the sweep wrote effects.csv."
        )
    effects = results.effects.dropna(subset=["effect"]).to_dict("records")
    reach = max([COLOUR_FLOOR, *(abs(row[end]) for row in effects for end in ("ci_low", "ci_high", "effect"))])
    rows = []
    for row in effects:
        axis = str(row["axis"])
        level = level_words(axis, row["level"])
        lost = row.get("n_lost") or 0  # older sweeps do not say
        rows.append((field_label(axis), level, row["effect"], row["ci_low"], row["ci_high"], int(lost)))
    words = apart_words(results.effects, results.cells.seed.nunique())
    columns = [*EFFECT_COLUMNS, *(name for name in ("n_seeds", "n_lost") if name in results.effects.columns)]
    table = results.effects[columns].to_csv(index=False)
    file = base64.b64encode(table.encode("utf-8", "backslashreplace")).decode()
    spreads = [spread_words(results, spread) for spread in results.spreads]
    return markup.effects(rows, reach, results.unit, words, spreads, file)

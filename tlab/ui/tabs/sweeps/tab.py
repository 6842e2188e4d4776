"""The Sweeps tab: many runs at once, as a map of their losses; behind each cell its curves, and the way to train it."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pandas as pd

from tlab.text import corpus_names
from tlab.ui.settings.fields import field_label
from tlab.ui.tabs.sweeps.results import Configuration, Results, ResultsError, demo_results, level_words, own_results
from tlab.ui.tabs.train.apply_settings import settings_outputs, settings_updates
from tlab.ui.tabs.train.tab import QUIET, TrainTab
from tlab.ui.widgets.component import drawing, note_html, refusal
from tlab.ui.widgets.line_chart import COLOURS, line, lines_chart, lines_value

MOST_CHOSEN = 6  # curves in one chart; the oldest choice makes room
MOST_PANELS = 24
MOST_OF_THEM = 0.9
UNIT = "nats per token"
SPLITS = [("Validation", "validation"), ("Training", "train")]

GRID = """
<div class="tl-card tl-sweep">
  <div class="tl-title"><b>Final validation loss</b><span class="tl-grid-unit"></span>
    <span class="tl-ramp"><span class="tl-grid-high"></span><i></i><span class="tl-grid-low"></span></span>
  </div>
  <div class="tl-grid-panels"></div>
</div>
"""


class SweepsTab:
    """Builds the tab and holds its handlers. A session's state is the numbers of the cells that it clicked."""

    def __init__(self, public: bool, train: TrainTab) -> None:
        self.public = public
        self.train_tab = train

    def build(self, tabs: gr.Tabs) -> None:
        """Lay it out with the shipped sweep and its best cells, and connect it."""
        results = demo_results()
        first = best_numbers(results, 2)
        grid, words, chart, table, effects = pictures(results, first, "validation")
        self.chosen = gr.State(first)
        # A path is the business of the machine's owner alone: on a public page there is no such box, and no such input.
        with gr.Row(visible=not self.public, elem_classes="tl-sweep-folder"):
            self.folder = gr.Textbox(
                label="Folder of a sweep", placeholder="results/norm-activation; empty for the shipped sweep",
                elem_id="sweep-folder", scale=5, max_lines=1,
            )  # fmt: skip
            self.open = gr.Button("Open", elem_id="sweep-open", scale=1, min_width=90)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.words = gr.HTML(words, elem_id="sweep-words", apply_default_css=False)
                self.grid = drawing("tabs/sweeps/sweep_map.js", GRID, grid, "sweep-grid")
                self.effects = gr.HTML(effects, elem_id="sweep-effects", apply_default_css=False)
            with gr.Column(scale=6, min_width=320, elem_classes="tl-keep-side"):
                self.split = gr.Radio(SPLITS, value="validation", label="Loss on", elem_id="sweep-split")
                self.chart = lines_chart(chart, "sweep-chart")
                self.table = gr.HTML(table, elem_id="sweep-table", apply_default_css=False)
                with gr.Row(elem_classes="tl-buttons"):
                    self.train = gr.Button("Train the cell clicked last", variant="primary", elem_id="sweep-train")
                    self.clear = gr.Button("Clear", elem_id="sweep-clear")
        outputs = [self.chosen, self.grid, self.words, self.chart, self.table, self.effects]
        where = [self.folder, self.chosen, self.split]
        self.grid.select(self.on_select, where, outputs, **QUIET)
        self.split.input(self.on_split, where, outputs, **QUIET)
        self.clear.click(self.on_clear, [self.folder, self.split], outputs, **QUIET)
        for event in (self.open.click, self.folder.submit):
            event(self.on_open, [self.folder, self.split], outputs, **QUIET)
        self.train.click(self.on_train, [self.folder, self.chosen], [tabs, *settings_outputs(self.train_tab)], **QUIET)

    def results(self, folder: str | None) -> Results:
        """The sweep that is looked at: an own one where that is allowed, else the shipped one."""
        if self.public or not (folder or "").strip():
            return demo_results()
        return own_results(str(folder))

    def shown(self, folder: str | None, chosen: Sequence[int], split: str | None) -> list[Any]:
        """All outputs."""
        split = "train" if split == "train" else "validation"
        try:
            results = self.results(folder)
        except (ResultsError, OSError) as error:
            raise refusal(error) from None
        chosen = [number for number in chosen if 0 <= number < len(results.configurations)][-MOST_CHOSEN:]
        return [chosen, *pictures(results, chosen, split)]

    def on_select(self, folder: str | None, chosen: list[int], split: str, event: gr.EventData) -> list[Any]:
        """A cell was clicked: one more curve, or one less."""
        number = event._data.get("number") if isinstance(event._data, dict) else None
        if not isinstance(number, int):
            return [gr.skip()] * 6
        rest = [other for other in chosen if other != number]
        return self.shown(folder, rest if number in chosen else [*rest, number], split)

    def on_split(self, folder: str | None, chosen: list[int], split: str | None) -> list[Any]:
        """The other loss."""
        return self.shown(folder, chosen, split)

    def on_clear(self, folder: str | None, split: str | None) -> list[Any]:
        """No curve."""
        return self.shown(folder, [], split)

    def on_open(self, folder: str | None, split: str | None) -> list[Any]:
        """Another folder, with its best cells."""
        try:
            chosen = best_numbers(self.results(folder), 2)
        except (ResultsError, OSError) as error:
            raise refusal(error) from None
        return self.shown(folder, chosen, split)

    def on_train(self, folder: str | None, chosen: list[int]) -> list[Any]:
        """Set the controls of the Train tab to the cell that was clicked last, and go there."""
        if not chosen:
            raise refusal(ValueError("Click a cell of the map first."))
        try:
            results = self.results(folder)
            settings = results.settings(results.configurations[chosen[-1]])
        except (ResultsError, OSError, IndexError) as error:
            raise refusal(error) from None
        corpus = settings.get("corpus")
        if corpus is not None and corpus not in corpus_names():
            raise refusal(ValueError(f"This cell was trained on “{corpus}”, which is not among the texts here."))
        words = "These are the settings of a cell of the sweep."
        return [gr.update(selected="train"), *settings_updates(self.train_tab, settings, None, words)]


def best_numbers(results: Results, count: int) -> list[int]:
    """The best configurations, as a report ranks them (fewest seeds lost, then lowest mean), the very best one last."""
    found = [
        (len(one.cells) - len(one.losses), one.losses.mean(), one.number)
        for one in results.configurations
        if len(one.losses)
    ]
    return [number for _, _, number in sorted(found)[:count]][::-1]


# ------------------------------------------------------------------------------------------------ pictures


def pictures(results: Results, chosen: Sequence[int], split: str) -> list[Any]:
    """Map, words, curves, table of the chosen cells, and effects."""
    configurations = [results.configurations[number] for number in chosen]
    return [
        grid_value(results, chosen), sweep_words(results), chart_value(results, configurations, split),
        cells_table(configurations), effects_html(results),
    ]  # fmt: skip


def sweep_words(results: Results) -> str:
    """What this sweep is."""
    axes = (
        " x ".join(f"{len(levels)} {slot_words(axis)}" for axis, levels in results.axes.items()) or "one configuration"
    )
    seeds = results.cells.seed.nunique()
    fixed = ", ".join(level_words(name, value) for name, value in results.fixed.items())
    words = (
        f"{results.name}: {axes}, {seeds} seed{'s' if seeds > 1 else ''} each. "
        f"{'All with ' + fixed + '. ' if fixed else ''}The stronger its colour, the better a cell. "
        "Click cells for their curves."
    )
    return f'<p class="tl-words">{html.escape(words[:1].upper() + words[1:])}</p>'


def slot_words(axis: str) -> str:
    """An axis in the plural: "norms", "layers"."""
    words = field_label(axis).lower()
    return words if words.endswith("s") else f"{words}s"


def grid_value(results: Results, chosen: Sequence[int]) -> dict[str, Any]:
    """The map: the first axis down, the second across, a panel for each combination of the others."""
    (row_axis, rows), (column_axis, columns), *others = [*results.axes.items(), ("", [None]), ("", [None])]
    others = [(axis, levels) for axis, levels in others if axis]
    at = {tuple(one.levels.values()): one for one in results.configurations}
    means = [one.losses.mean() for one in results.configurations if len(one.losses)]
    colours = {number: place for place, number in enumerate(chosen)}
    panels = []
    for levels in itertools.islice(itertools.product(*(levels for _, levels in others)), MOST_PANELS):
        lines = []
        for row in rows:
            found = [at.get((row, column, *levels)[: len(results.axes)]) for column in columns]
            cells = [grid_cell(one, colours) if one else None for one in found]
            lines.append({"name": level_words(row_axis, row) if row_axis else "", "cells": cells})
        title = " · ".join(level_words(axis, level) for (axis, _), level in zip(others, levels, strict=True))
        names = [level_words(column_axis, column) if column_axis else "all" for column in columns]
        panels.append({"title": title, "corner": "", "columns": names, "rows": lines})
    # One cell that went badly must not paint all others alike: beyond most of the losses the scale ends.
    low, high = pd.Series(means, dtype=float).quantile([0, MOST_OF_THEM]) if means else (0.0, 0.0)
    beyond = " or more" if means and max(means) > high else ""
    return {"unit": f"mean over seeds, {UNIT}", "low": low, "high": high, "beyond": beyond, "panels": panels}


def grid_cell(one: Configuration, colours: dict[int, int]) -> dict[str, Any]:
    """One button of the map. A mean never hides a seed that diverged: it stands below it."""
    mean = float(one.losses.mean()) if len(one.losses) else None
    place = colours.get(one.number)
    return {
        "number": one.number, "value": mean, "text": "–" if mean is None else f"{mean:.3f}", "note": one.accidents,
        "chosen": None if place is None else place % COLOURS,
    }  # fmt: skip


def chart_value(results: Results, configurations: Sequence[Configuration], split: str) -> dict[str, Any]:
    """The curves of the chosen cells: mean over seeds in a band from the lowest to the highest."""
    lines = []
    for place, one in enumerate(configurations):
        curve = results.curve(one, split)
        rows = [(int(step), *map(float, values)) for step, *values in curve.itertuples()]
        points = [[step, round(mean, 4)] for step, mean, _, _ in rows]
        band = [[step, round(low, 4), round(high, 4)] for step, _, low, high in rows]
        lines.append(line(one.label or "all", place, points, band=band))
    title = "Validation loss" if split == "validation" else "Training loss"
    return lines_value(title, f"{UNIT}, mean and range over seeds", lines, "Click a cell of the map.")


def cells_table(configurations: Sequence[Configuration]) -> str:
    """The chosen cells, seed by seed; the one clicked last first."""
    if not configurations:
        return note_html("No cell is chosen.")
    rows = []
    for place, one in reversed(list(enumerate(configurations))):
        losses = one.losses
        mean = f"{losses.mean():.4f}" if len(losses) else "–"
        each = ", ".join(f"{loss:.3f}" for loss in losses) + (f"; {one.accidents}" if one.accidents else "")
        parameters = one.cells["n_params"].iloc[0] if "n_params" in one.cells.columns else None
        count = "–" if parameters is None or parameters != parameters else f"{int(parameters):,}"
        rows.append(
            f'<tr><td><i class="tl-swatch" style="background:var(--tl-line-{place % COLOURS})"></i>'
            f"{html.escape(one.label)}</td><td>{mean}</td><td>{html.escape(each)}</td><td>{count}</td></tr>"
        )
    return (
        '<div class="tl-card tl-scroll" tabindex="0" aria-label="Chosen cells"><table class="tl-table"><thead><tr>'
        "<th>Cell</th><th>Mean</th><th>Each seed</th><th>Parameters</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def effects_html(results: Results) -> str:
    """What a level changes on average over all else, with its interval, as the sweep's own report found it."""
    if results.effects is None:
        return note_html(
            "What each level changes on average, with its interval, is shown here where the sweep wrote effects.csv."
        )
    effects = results.effects.dropna(subset=["effect"]).to_dict("records")
    reach = max([1e-9, *(abs(row[end]) for row in effects for end in ("ci_low", "ci_high", "effect"))])
    rows, before = [], None
    for row in effects:
        axis = str(row["axis"])
        first = f'<th scope="rowgroup">{html.escape(field_label(axis))}</th>' if axis != before else "<td></td>"
        before = axis
        level = html.escape(level_words(axis, row["level"]))
        rows.append(f"<tr>{first}<td>{level}</td>{forest_cells(row, reach)}</tr>")
    return (
        '<div class="tl-card tl-scroll" tabindex="0" aria-label="Main effects"><div class="tl-title">'
        f"<b>What a level changes on average</b><span>{UNIT} against the mean of its axis; 95 % interval over seeds; "
        'left is better</span></div><table class="tl-table tl-effects">'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def forest_cells(row: dict[Any, Any], reach: float) -> str:
    """An effect as a dot on its interval, zero in the middle; and in words."""
    low, effect, high = (50 + 46 * row[name] / reach for name in ("ci_low", "effect", "ci_high"))  # percent
    words = f"{row['effect']:+.3f} ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})"
    return (
        f'<td><span class="tl-forest" role="img" aria-label="{words}"><i style="left:{low:.1f}%;'
        f'width:{high - low:.1f}%"></i><b style="left:{effect:.1f}%"></b></span></td><td>{words}</td>'
    )

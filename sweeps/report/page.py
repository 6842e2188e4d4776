"""One HTML file that says what a sweep found: made from the tables in its folder, and asking nothing of any network."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sweeps.report.effect_figures import (
    PRICES,
    gradient_norm_figure,
    grid_figure,
    interaction_figure,
    main_effects_figure,
    price_figure,
)
from sweeps.report.html import Html, figure, joined, tag
from sweeps.report.result_sections import (
    comparisons_section,
    configurations_section,
    interactions_section,
    rates_section,
)
from sweeps.report.run_figures import final_losses_figure, learning_curves_figure
from sweeps.report.sentences import headline
from sweeps.report.setup_sections import accidents_section, aliases_section, methods_section, setting_section
from sweeps.results.effects import Comparison, Effect, comparisons, interactions, main_effects
from sweeps.results.labels import axis_name
from sweeps.results.read import Curves, planned_cells, read_curves, read_manifest, read_table
from sweeps.results.stats import MARGIN
from sweeps.results.summary import RATE, Summary, summaries
from sweeps.results.table import Table
from tlab.figures import save_figure
from tlab.files import write_atomically

REPORT, COMPARISONS, FIGURES = "report.html", "comparisons.csv", "figures"
MOST_PAIRS = 6  # of axes whose interaction is drawn; all are tested


@dataclass(frozen=True)
class Findings:
    """A sweep's tables and what was computed from them; every part once."""

    table: Table
    curves: Curves = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    margin: float = MARGIN

    @cached_property
    def ranked(self) -> list[Summary]:
        """The configurations, best first."""
        return summaries(self.table, self.margin)

    @cached_property
    def effects(self) -> list[Effect]:
        """Those of every level of every axis."""
        return [effect for axis in self.table.axes for effect in main_effects(self.table, axis)]

    @cached_property
    def compared(self) -> list[Comparison]:
        """Every pair of levels."""
        return comparisons(self.table, margin=self.margin)

    @cached_property
    def interacting(self) -> list[Comparison]:
        """Every difference of differences."""
        return interactions(self.table, margin=self.margin)

    @property
    def planned(self) -> int:
        """How many cells the grids ask for, aliases included."""
        return max(planned_cells(self.manifest), len(self.table.rows))

    @property
    def title(self) -> str:
        """What was swept."""
        return "Sweep of " + (", ".join(map(axis_name, self.table.axes)) or "seeds")


def write_report(folder: str | os.PathLike[str], *, margin: float = MARGIN) -> Path:
    """Make the report of what is in a sweep's folder, finished or not; -> its path.

    Beside report.html come comparisons.csv, with every number of the tests, and each figure as PNG and SVG.

    Args:
        folder: of the sweep; cells.csv must be there, and what else is there is used.
        margin: nats a token within which two losses are called equal.

    Raises:
        StoreError: there is no table of a sweep, or it cannot be read.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    found = Findings(read_table(folder), read_curves(folder), read_manifest(folder), margin)
    drawn = list(figures(found))
    (folder / FIGURES).mkdir(exist_ok=True)
    for one in drawn:
        save_figure(one.figure, folder / FIGURES / one.name)
    frame = comparison_frame([*found.compared, *found.interacting])
    write_atomically(folder / COMPARISONS, frame.to_csv(index=False).encode())
    path = folder / REPORT
    write_atomically(path, page(found, drawn).encode())
    return path


# ------------------------------------------------------------------------------------------------ figures


@dataclass(frozen=True)
class Drawn:
    """A figure, where it belongs, and how to read it."""

    section: str
    name: str
    figure: Figure
    caption: str


def figures(found: Findings) -> Iterator[Drawn]:
    """Every figure of the report, in order."""
    table = found.table
    if not table.rows:
        return
    if table.axes:
        words = "Each square is a configuration, its number the mean over seeds; diverged and failed seeds are counted."
        yield Drawn("overview", "grid", grid_figure(table), words)
        words = (
            "How far each level is from the mean of all levels of its axis, averaged over the other axes within each "
            "seed; left is better. A line that leaves the picture is longer than it shows."
        )
        yield Drawn("overview", "main_effects", main_effects_figure(found.effects), words)
    words = "A row for each configuration, best first; every seed is a dot and the mean a line."
    yield Drawn("seeds", "seeds", final_losses_figure(table), words)
    losses = found.curves.get(("train", "loss"), {})
    norms = found.curves.get(("train", "gradient_norm"), {})
    for axis in table.axes or ("",) if losses else ():
        words = (
            f"Training loss by {axis_name(axis) or 'seed'}; the band goes from the lowest seed to the highest. Below, "
            "the same minus the mean of all levels within each seed: what the seeds share is gone."
        )
        if axis:
            words += " Combinations of the other axes that a level lacks are left out for all."
        drawn = learning_curves_figure(table, losses, [axis] if axis else ())
        yield Drawn("curves", f"curves_{axis or 'seeds'}", drawn, words)
    for axis in table.axes if norms else ():
        words = f"Norm of all gradients before clipping, by {axis_name(axis)}; logarithmic."
        yield Drawn("gradients", f"gradient_norm_{axis}", gradient_norm_figure(table, norms, axis), words)
    for axes in itertools.islice(itertools.combinations(table.axes, 2), MOST_PAIRS):
        words = "What each pair of levels loses beyond the sum of the two levels' own effects; below zero is better."
        yield Drawn("interactions", "interaction_" + "_".join(axes), interaction_figure(table, axes), words)
    for price, meaning in PRICES.items():
        words = f"Loss against {meaning}; the broken line joins the configurations that no other beats in both."
        yield Drawn("price", f"loss_against_{price}", price_figure(table, price), words)


def gallery(drawn: Sequence[Drawn], section: str, kind: str = "") -> Html:
    """The figures of a section, as many beside each other as there is room for."""
    chosen = [figure(one.figure, one.caption) for one in drawn if one.section == section]
    return tag("div", *chosen, class_=f"figures {kind}".strip()) if chosen else Html("")


COLUMNS = (
    *("axis", "first", "minus", "other_axis", "at", "minus_at", "mean", "ci_low", "ci_high", "n_seeds"),
    *("blocks", "all_blocks", "p", "p_holm", "p_equal", "verdict"),
)
"""Of comparisons.csv. The mean is that of first minus `minus`; of an interaction, at one level minus at another."""


def comparison_frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """comparisons.csv: a row for each test, with all digits."""
    rows = []
    for one in found:
        interaction = (one.axes[1], *one.second) if one.second else ("", "", "")
        mean, low, high, n = one.estimate
        ends = (low, high) if n > 1 else (None, None)
        tests = (one.blocks, one.all_blocks, one.p, one.p_holm, one.p_equal, one.verdict)
        rows.append((one.axes[0], *one.first, *interaction, mean, *ends, n, *tests))
    return pd.DataFrame(rows, columns=list(COLUMNS))


# ------------------------------------------------------------------------------------------------ the page


def page(found: Findings, drawn: Sequence[Drawn]) -> str:
    """The whole page."""
    ranked, table = found.ranked, found.table
    words = headline(table, ranked, found.compared, found.margin, found.planned)
    parts = {
        "Overview": gallery(drawn, "overview", "wide"),
        "Which differences are real": comparisons_section(found.compared, found.margin),
        "Learning rates": rates_section(table, found.margin) if RATE in table.axes else Html(""),
        "Configurations": joined([configurations_section(ranked), gallery(drawn, "seeds", "wide")]),
        "Learning curves": gallery(drawn, "curves"),
        "Interactions": joined(
            [interactions_section(found.interacting, found.margin), gallery(drawn, "interactions")]
            if len(table.axes) > 1
            else []
        ),
        "Loss and its price": gallery(drawn, "price", "wide"),
        "Gradients": gallery(drawn, "gradients"),
        "What went wrong": accidents_section(table),
        "Aliases": aliases_section(table),
        "What was run": setting_section(table, found.manifest, found.planned),
        "Methods": methods_section(found.compared, found.interacting, found.margin),
    }
    parts = {title: content for title, content in parts.items() if content}
    links = (tag("a", title, href=f"#{anchor(title)}") for title in parts)
    content = joined(
        [
            tag("h1", found.title),
            tag("nav", *links),
            tag("section", tag("ul", *(tag("li", word) for word in words)), class_="headline"),
            *(tag("section", tag("h2", title), part, id=anchor(title)) for title, part in parts.items()),
            tag("footer", "Made by the Transformer Intuition Lab from the tables beside this file."),
        ]
    )
    style = (files("sweeps") / "report" / "report.css").read_text(encoding="utf-8")
    # Belt and braces: the policy refuses whatever would ask something of a network, or run a script.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{tag('title', found.title)}\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n</body>\n"
        "</html>\n"
    )


def anchor(title: str) -> str:
    """A section's id."""
    return title.lower().replace(" ", "-")

"""One HTML file that says what a sweep found: made from the tables in its folder, and it loads nothing from a network.

Each section computes its values and sentences in Python; report.html and sections.html lay them out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sweeps.report.analysis import Analysis, comparison_frame
from sweeps.report.gallery import ReportFigure, report_figures
from sweeps.report.result_sections import (
    VERDICT_COLOURS,
    colour_of,
    comparison_groups,
    interval_plot,
    rates_section,
    reach_of,
    real_interactions,
)
from sweeps.report.sentences import (
    basis_sentence,
    comparison_sentence,
    count_tests,
    estimate_in_words,
    headline,
    interactions_sentence,
    intervals_sentence,
    subtraction,
)
from sweeps.report.setup_sections import aliased, cell_name, failed_rows, setup_section, shared_sentences
from sweeps.results.labels import configuration_name, verdict_name
from sweeps.results.read import read_curves, read_manifest, read_table
from tlab.figures import PICTURE_KINDS, save_figure
from tlab.files import with_checksums, write_atomically
from tlab.judging.few_seeds import ALPHA, MARGIN
from tlab.ui.widgets.markup import template_environment
from tlab.wording import several

REPORT, COMPARISONS_TABLE, FIGURES = "report.html", "comparisons.csv", "figures"
FILTERS = (
    *(basis_sentence, cell_name, colour_of, comparison_sentence, configuration_name, count_tests),
    *(estimate_in_words, interval_plot, intervals_sentence, reach_of, several, subtraction, verdict_name),
)
"""Functions that the templates call, as value|function(further arguments)."""


def write_report(folder: str | os.PathLike[str], *, margin: float = MARGIN) -> Path:
    """Make the report of what is in a sweep's folder, finished or not; -> its path.

    Next to report.html come comparisons.csv, with every number of the tests, and each figure as PNG and SVG.

    Args:
        folder: of the sweep; cells.csv must be there, and whatever else is there is used.
        margin: nats per token within which two losses are called equivalent.

    Raises:
        StoreError: there is no table of a sweep, or it cannot be read.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    analysis = Analysis(read_table(folder), read_curves(folder), read_manifest(folder), margin)
    figures = list(report_figures(analysis))
    pictures = [f"{FIGURES}/{one.name}.{kind}" for one in figures for kind in PICTURE_KINDS]
    (folder / FIGURES).mkdir(exist_ok=True)
    with with_checksums(folder, [REPORT, COMPARISONS_TABLE, *pictures]):
        for one in figures:
            save_figure(one.figure, folder / FIGURES / one.name)
        frame = comparison_frame(analysis)
        write_atomically(folder / COMPARISONS_TABLE, frame.to_csv(index=False).encode())
        write_atomically(folder / REPORT, report_html(analysis, figures).encode("utf-8", "replace"))
    return folder / REPORT


def report_html(analysis: Analysis, figures: Sequence[ReportFigure]) -> str:
    templates = template_environment(Path(__file__).parent)
    templates.filters |= {"g": "{:g}".format, **{function.__name__: function for function in FILTERS}}
    return templates.get_template("report.html").render(
        analysis=analysis,
        alpha=ALPHA,
        colours=VERDICT_COLOURS,
        headline=headline(analysis),
        comparison_groups=comparison_groups(analysis),
        interactions_sentence=interactions_sentence(analysis),
        real_interactions=real_interactions(analysis),
        rates=rates_section(analysis),
        failures=failed_rows(analysis.table),
        aliases=aliased(analysis),
        setup=setup_section(analysis),
        shared=shared_sentences(analysis),
        figures=figures,
    )

"""Losses of several texts: each has a ranking of its own, and none is called better than another."""

import numpy as np
import pytest

from sweeps.console import ranking
from sweeps.report.analysis import Analysis
from sweeps.report.effect_figures import above_best_of_text, cost_figure, grid_figure
from sweeps.report.gallery import report_figures
from sweeps.report.sentences import headline
from sweeps.results.effects import effects_frame
from sweeps.results.summary import BEST, summaries, summary_frame
from sweeps.results.table import Table
from tlab.judging.few_seeds import BELOW_MARGIN, INCONCLUSIVE, REAL


def table(num_seeds=3):
    """Lists are easier than prose by 1.5; in both, Pre-LN is better than Post-LN by about 0.3."""
    rows = [
        {"cell_id": f"{text}-{residual}-{seed}", "alias_of": None, "status": "ok", "corpus": text, "residual": residual,
         "seed": seed, "val_loss": loss + 0.01 * seed + 0.001 * ((seed + len(text) * len(residual)) % 3),
         "n_params": 1000, "cpu_seconds": 1.0}
        for text, easier in (("prose.txt", 0.0), ("lists.txt", 1.5))
        for residual, loss in (("post", 2.8 - easier), ("pre", 2.5 - easier)) for seed in range(num_seeds)
    ]  # fmt: skip
    return Table(("corpus", "residual"), rows)


def test_texts_are_not_compared_and_levels_on_them_are():
    analysis = Analysis(table())
    assert {one.axes for one in analysis.comparisons} == {("residual",)}
    assert {one.axis for one in analysis.effects} == {"residual"}
    assert set(effects_frame(table()).axis) == {"residual"}
    assert analysis.comparisons[0].all_blocks == 2


def test_each_text_has_a_ranking_and_a_best_configuration_of_its_own():
    found = summaries(table())
    ranked = [(*one.configuration.levels["corpus"], *one.configuration.levels["residual"], one.rank) for one in found]
    assert ranked == [
        ("prose.txt", "pre", 1), ("prose.txt", "post", 2), ("lists.txt", "pre", 1), ("lists.txt", "post", 2)
    ]  # fmt: skip
    assert [one.verdict for one in found] == [BEST, REAL, BEST, REAL]
    assert [round(one.minus_best.mean, 1) for one in found] == [0.0, 0.3, 0.0, 0.3]
    assert summary_frame(table(), found)["rank"].tolist() == [1, 2, 1, 2]
    texts = [line.split()[1] for line in ranking(table()).splitlines()[2:]]
    assert texts == ["prose.txt", "prose.txt", "lists.txt", "lists.txt"]


def test_the_headline_says_that_texts_are_not_compared():
    first, prose, lists, *_ = headline(Analysis(table()))
    assert first.startswith("A loss is that of its text, so texts are not compared")
    assert prose.startswith("corpus prose.txt · Pre-LN has the lowest loss: 2.5")
    assert lists.startswith("corpus lists.txt · Pre-LN has the lowest loss: 1.0")


def test_texts_share_the_5_percent_of_false_claims():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        rows = [{**row, "val_loss": 2 + 0.03 * rng.standard_normal()} for row in table(5).rows]
        found = summaries(Table(("corpus", "residual"), rows))
        wrong += any(one.verdict in (REAL, BELOW_MARGIN) for one in found)
    assert wrong / 200 <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5


def test_a_text_of_which_nothing_ended_well_hides_no_other():
    rows = [
        {**row, "val_loss": None, "status": "diverged"} if row["corpus"] == "prose.txt" else row for row in table().rows
    ]
    _, lists, *_ = headline(Analysis(Table(("corpus", "residual"), rows)))
    assert lists.startswith("corpus lists.txt · Pre-LN has the lowest loss")


def test_colours_of_the_map_start_anew_with_each_text():
    means = np.array([[2.8, 2.5], [1.3, np.nan]])
    above = above_best_of_text(means, [("prose.txt",), ("lists.txt",)], ["post", "pre"], ("corpus", "residual"))
    assert above[0] == pytest.approx([0.3, 0.0]) and above[1, 0] == 0.0 and np.isnan(above[1, 1])
    figure = grid_figure(table())
    assert "above the lowest of the same text" in figure.axes[1].get_xlabel()
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1.011", "1.311", "2.511", "2.811"]


def test_the_front_of_each_text_is_drawn_by_itself():
    dashed = [line for line in cost_figure(table(), "n_params").axes[0].get_lines() if line.get_linestyle() == "--"]
    assert [round(float(line.get_ydata()[0]), 1) for line in dashed] == [2.5, 1.0]


def test_every_figure_of_a_sweep_over_texts_alone_can_be_drawn():
    rows = [row for row in table().rows if row["residual"] == "pre"]
    analysis = Analysis(Table(("corpus",), rows))
    assert [one.name for one in report_figures(analysis)][:2] == ["grid", "seeds"]
    assert analysis.comparisons == [] and INCONCLUSIVE not in {one.verdict for one in analysis.ranked}

"""The report of a sweep: one file, asking nothing of a network, true to its tables, whatever they hold."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from sweeps.report.analysis import COLUMNS, Analysis
from sweeps.report.effect_figures import (
    COSTS,
    cost_figure,
    gradient_norm_figure,
    grid_figure,
    interaction_figure,
    loss_limits,
    main_effects_figure,
    pareto,
)
from sweeps.report.gallery import report_figures
from sweeps.report.page import report_html, write_report
from sweeps.report.run_figures import step_label
from sweeps.report.sentences import comparison_sentence, headline
from sweeps.report.setup_sections import machine_entries, setup_section, shared_sentences
from sweeps.results.effects import comparisons, main_effects
from sweeps.results.read import planned_cells, read_curves, read_manifest, read_table
from sweeps.results.table import Table
from sweeps.store.folder import StoreError
from tlab.judging.few_seeds import VERDICTS
from tlab.training.config import TrainConfig
from tlab.wording import several

HEADS = ["cell_id", "alias_of", "status", "norm", "residual", "seed", "n_params", "steps_done", "val_loss",
         "wall_seconds", "cpu_seconds", "error_type", "error_message", "traceback_tail"]  # fmt: skip
EVIL = "<script>alert('$x$ & \"y\"')</script>"


def cell(norm, residual, seed, loss=None, status="ok", alias_of="", **error):
    cell_id = f"{norm}-{residual}-{seed}"
    outcome = {"n_params": 1000, "steps_done": 50, "val_loss": loss, "wall_seconds": 1.5, "cpu_seconds": 1.2}
    return {"cell_id": cell_id, "alias_of": alias_of, "status": status, "norm": norm, "residual": residual,
            "seed": seed, **outcome, **error}  # fmt: skip


def rows(seeds=3):
    """Pre-LN is better than Post-LN by 0.3, LayerNorm equal to RMSNorm; no norm is one function, and once diverged."""
    found = []
    for seed in range(seeds):
        for i, norm in enumerate(("layernorm", "rmsnorm")):
            for j, residual in enumerate(("pre", "post")):
                noise = 0.001 * ((7 * seed + 3 * i + 5 * j) % 4)
                found.append(cell(norm, residual, seed, 2.0 + 0.3 * j + 0.02 * seed + noise))
        found.append(cell("none", "pre", seed, 2.5 + 0.02 * seed))
        found.append(cell("none", "post", seed, 2.5 + 0.02 * seed, alias_of=f"none-pre-{seed}"))
    return found


def write(folder, found, curves=True, grids=None):
    folder.mkdir(exist_ok=True)
    pd.DataFrame(found, columns=HEADS).to_csv(folder / "cells.csv", index=False)
    if curves:
        points = [
            (row["cell_id"], step, "train", metric, 3.0 / step)
            for row in found if not row["alias_of"]
            for step in range(1, 30) for metric in ("loss", "gradient_norm")
        ]  # fmt: skip
        columns = ["cell_id", "step", "split", "metric", "value"]
        pd.DataFrame(points, columns=columns).to_csv(folder / "curves.csv", index=False)
    values = {"norm": ["layernorm", "rmsnorm", "none"], "residual": ["pre", "post"], "steps": [50]}
    grid = {"values": values, "seeds": [0, 1, 2]}
    run = {"began": "2026-01-02T03:04:05+00:00", "command": ["python", "-m", "sweeps", EVIL], "processor": "A CPU",
           "corpora": [{"name": EVIL, "size": 12, "sha256": "ab", "tokenizer": "char"}]}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"grids": grids or [grid], "runs": [run]}))
    return folder


def test_the_commands_of_all_runs_into_a_folder_are_named_each_once():
    runs = [{"command": ["sweeps", "run", word]} for word in ("one", "two", "one")]
    assert machine_entries(runs)["command"] == "sweeps run one; sweeps run two"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep with everything in it: a divergence, a failure with a nasty message, aliases."""
    found = rows()
    found[0] |= {"status": "diverged", "val_loss": None, "error_type": "Divergence", "error_message": "at step 7"}
    error = {"error_type": "ValueError", "error_message": EVIL, "traceback_tail": f"line 1\n{EVIL}"}
    found[8] |= {"status": "failed", "val_loss": None, **error}
    return write(tmp_path_factory.mktemp("sweep"), found)


@pytest.fixture(scope="module")
def html(folder):
    return write_report(folder).read_text(encoding="utf-8")


class Reader(HTMLParser):
    """What a browser would see: elements, their attributes, their text; and whether they are nested as they should."""

    VOID = ("meta", "img", "br", "line", "rect", "circle")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def words_of(folder):
    """What the report says, without its figures, which take their time."""
    return " ".join(read(report_html(Analysis(read_table(folder), {}, read_manifest(folder)), [])).text)


# ------------------------------------------------------------------------------------------------ the file


def test_the_report_asks_nothing_of_any_network(html):
    reader = read(html)
    for tag, attributes in reader.seen:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
        assert not any(name.startswith("on") for name in attributes)
    assert "http:" not in html and "https:" not in html and "url(" not in html and "@import" not in html


def test_whatever_a_cell_said_is_escaped(html):
    assert "<script" not in html
    assert "".join(read(html).text).count(EVIL) >= 3  # a message, a traceback, the command and the corpus


def test_the_report_is_readable_by_phone_at_night_and_on_paper(html):
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html and "max-width: 40rem" in html and "@media print" in html
    images = [attributes for tag, attributes in read(html).seen if tag == "img"]
    assert len(images) >= 10 and all(image["alt"] for image in images)


def test_a_broad_figure_has_a_row_of_its_own_and_is_not_cut_off_beside_another(html):
    assert '<figure class="broad">' in html and "figure.broad { grid-column: 1 / -1; }" in html


def test_every_section_is_there_and_linked(html):
    reader = read(html)
    ids = {attributes["id"] for _, attributes in reader.seen if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in reader.seen if tag == "a"}
    assert links == ids and len(ids) == 11


def test_the_report_of_a_small_sweep_is_small(html):
    assert len(html) < 3_000_000


def test_the_figures_and_every_test_lie_beside_the_report(folder, html):
    frame = pd.read_csv(folder / "comparisons.csv")
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 3 + 1 + 3  # pairs of norms, of layouts, and of both
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"grid.png", "grid.svg", "main_effects.svg", "gradient_norm_norm.png", "loss_against_n_params.svg"} <= names


# ------------------------------------------------------------------------------------------------ what it says


def test_the_report_says_what_is_real_and_what_is_equal(tmp_path):
    text = words_of(write(tmp_path, rows()))
    assert re.search(r"Pre-LN is better than Post-LN by 0\.30", text)
    assert "LayerNorm and RMSNorm are equivalent within 0.02" in text
    assert not re.search(r"(LayerNorm|RMSNorm) is better than (LayerNorm|RMSNorm)", text)
    assert "no norm · Pre-LN = Post-LN" in text  # the aliases


def test_what_diverged_and_failed_is_counted_and_reported(html):
    text = " ".join(read(html).text)
    assert "1 diverged and 1 failed" in text and "No mean includes them" in text
    assert "Divergence: at step 7" in text and "1 of 3 diverged" in text


def test_one_seed_claims_nothing(tmp_path):
    found = rows(seeds=1)
    table = read_table(write(tmp_path, found))
    words = " ".join(headline(Analysis(table)))
    assert "With one seed, no difference can be distinguished from noise" in words and "better than" not in words
    assert "Real differences (0)" in words_of(tmp_path)


def test_a_sweep_that_still_runs_says_so(tmp_path):
    found = rows()[:7]
    text = words_of(write(tmp_path, found))
    assert "Incomplete: 7 of 18 cells are done" in text


def test_beside_intervals_stands_that_the_words_are_corrected_and_they_are_not(tmp_path):
    told = "Each interval is of its own comparison alone; the words beside it are corrected for all 4 (Holm)."
    assert told in words_of(write(tmp_path, rows())) and len(comparisons(read_table(tmp_path))) == 4
    assert "Each interval is of its own comparison alone" not in words_of(write(tmp_path, rows()[:2]))


def test_what_could_not_be_tested_is_not_counted_among_what_is_corrected(tmp_path):
    found = [row for row in rows() if row["norm"] != "none"]
    found += [cell("dyt", "sandwich", seed, 2.2) for seed in range(3)]  # in no combination with any other level
    told = words_of(write(tmp_path, found))
    compared = comparisons(read_table(tmp_path))
    tested = sum(one.estimate.n > 1 for one in compared)
    assert 1 < tested < len(compared)
    assert f"the words beside it are corrected for all {tested} (Holm)" in told


def test_the_report_says_the_defaults_that_its_cells_go_by(tmp_path):
    training = TrainConfig()
    (entry,) = [value for name, value in setup_section(analysed(tmp_path, rows())).items() if name == "defaults"]
    entries = entry.split(", ")
    assert f"learning rate {training.learning_rate:g}" in entries and "optimizer AdamW" in entries
    assert f"warmup steps {training.warmup_steps}" in entries and "position sinusoidal" in entries
    unsaid = ("norm ", "residual", "steps", "seed", "dropout", "momentum")
    assert [one for one in entries if one.startswith(unsaid)] == ["norm epsilon 1e-05"]
    assert f"defaults {entry}" in " ".join(words_of(tmp_path).split())


def test_of_settings_that_cannot_be_read_no_defaults_are_named(tmp_path):
    assert "defaults" not in setup_section(analysed(tmp_path, [cell("a norm of somebody else", "pre", 0, 2.0)]))


def analysed(folder, found, **changes):
    return Analysis(read_table(write(folder, found, **changes)), {}, read_manifest(folder))


@pytest.mark.parametrize(
    ("warmup", "told"),
    [
        ([50], "Every cell ends within the warm-up, before its learning rate is reached"),
        ([49], None),
        ([10, 60], "15 of 30 cells end within the warm-up"),
    ],
)
def test_the_headline_says_where_runs_end_within_their_warm_up(tmp_path, warmup, told):
    values = {"norm": ["layernorm"], "residual": ["pre"], "steps": [50], "warmup_steps": warmup}
    found = [row | {"warmup_steps": steps} for steps in warmup for row in rows()]
    analysis = analysed(tmp_path, rows(), grids=[{"values": values, "seeds": [0, 1, 2]}])
    if len(warmup) > 1:
        analysis = replace(analysis, table=Table((*analysis.table.axes, "warmup_steps"), found))
    words = " ".join(headline(analysis))
    assert told in words if told else "warm-up" not in words


def test_every_column_of_the_comparisons_is_documented():
    page = (Path(__file__).parents[3] / "docs/sweeps.md").read_text(encoding="utf-8")
    part = page.partition("`comparisons`, only as .csv")[2].partition("manifest.json")[0]
    named = [
        name for line in part.splitlines() if line.startswith("| ") for name in line.split(" | ")[0][2:].split(", ")
    ]
    assert [name for name in named if name not in ("column", "---")] == list(COLUMNS)
    assert all(f'"{verdict}"' in part.replace("\n", " ") for verdict in VERDICTS)


def test_learning_rates_are_reported_fixed_and_at_their_best(tmp_path):
    HEADS.insert(5, "learning_rate")
    try:
        found = [
            row | {"learning_rate": rate, "cell_id": f"{row['cell_id']}-{rate}", "alias_of": "",
                   "val_loss": row["val_loss"] + rate * (row["residual"] == "pre")}
            for rate in (0.01, 1.0) for row in rows()
        ]  # fmt: skip
        text = words_of(write(tmp_path, found))
    finally:
        HEADS.remove("learning_rate")
    assert "rate 0.01" in text and "rate 1" in text and "each at its best rate" in text
    assert "Configurations at their best rate" in text
    number = len({(row["norm"], row["residual"]) for row in found if not row["alias_of"]})
    assert f"Best was 0.01 for {several(number, 'configuration')}." in text, "however many seeds each has"


def test_the_headline_names_what_was_asked_before_the_rates_it_was_tried_at(tmp_path):
    found = [
        row | {"learning_rate": rate, "cell_id": f"{row['cell_id']}-{rate}", "val_loss": row["val_loss"] + lift}
        for rate, lift in ((0.001, 2.0), (0.01, 0.0), (0.1, 3.0), (1.0, 5.0))
        for row in rows()
        if row["norm"] == "layernorm"
    ]
    words = " ".join(headline(Analysis(Table(("residual", "learning_rate"), found))))
    assert re.search(r"in \d of \d comparisons of levels: Pre-LN is better than Post-LN by", words), words
    assert "rate 1 " in words, "the largest of the others follow"


@pytest.mark.parametrize(
    "found",
    [[], rows()[:1], [row | {"status": "failed", "val_loss": None} for row in rows()]],
    ids=["no cell", "one cell", "only failures"],
)
def test_any_table_gives_a_report(tmp_path, found):
    read(write_report(write(tmp_path, found, curves=False)).read_text(encoding="utf-8"))


def test_a_report_before_any_cell_has_ended_says_no_more_than_that(tmp_path):
    text = words_of(write(tmp_path, [], curves=False))
    assert "no cell has been trained yet" in text and "every trained cell finished" not in text
    assert "No axis has two levels in the cells that have ended" in text


def test_a_folder_without_a_table_is_told_so(tmp_path):
    with pytest.raises(StoreError, match="is missing"):
        write_report(tmp_path)
    (tmp_path / "cells.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="no column"):
        write_report(tmp_path)


# ------------------------------------------------------------------------------------------------ tables


def test_tables_come_back_with_the_types_of_their_fields(folder):
    table = read_table(folder)
    assert table.axes == ("norm", "residual")
    assert table.rows[1]["val_loss"] == pytest.approx(2.301) and table.rows[0]["val_loss"] is None
    assert table.rows[4]["norm"] == "none" and table.rows[1]["seed"] == 0 and table.rows[1]["alias_of"] is None
    curve = read_curves(folder)["train", "loss"]["none-pre-0"]
    assert curve[:2] == [(1, 3.0), (2, 1.5)]


def test_cells_that_two_grids_ask_for_are_planned_once():
    first = {"values": {"norm": ["none", "layernorm"]}, "seeds": [0, 1]}
    second = {"values": {"norm": ["layernorm"], "residual": ["pre", "post"]}, "seeds": [0]}
    assert planned_cells({"grids": [first]}) == 4
    assert planned_cells({"grids": [first, second]}) == 5
    assert planned_cells({}) == 0


def test_the_better_level_is_named_first(folder, tmp_path):
    one = next(one for one in comparisons(read_table(write(tmp_path, rows()))) if one.axes == ("residual",))
    assert one.first == ("pre", "post") and comparison_sentence(one, 0.02).startswith("Pre-LN is better than Post-LN")
    turned = one._replace(first=("post", "pre"), estimate=one.estimate._replace(mean=-one.estimate.mean))
    assert comparison_sentence(turned, 0.02).startswith("Pre-LN is better than Post-LN")


# ------------------------------------------------------------------------------------------------ figures


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_grid_shows_each_mean_and_what_diverged(folder):
    table = read_table(folder)
    shown = texts(grid_figure(table))
    losses = [row["val_loss"] for row in table.rows if (row["norm"], row["residual"]) == ("none", "post")]
    assert f"{sum(losses) / 3:.3f}" in shown
    assert any("1 div." in text for text in shown) and any("1 fail." in text for text in shown)


def test_one_wild_cell_does_not_make_all_others_look_alike():
    low, high = loss_limits(pd.Series([2.0, 2.1, 2.2, 900.0]).to_numpy())
    assert low == 2.0 and high < 3.0


def test_colours_have_a_floor_at_the_margin():
    assert loss_limits(pd.Series([2.0, 2.001, 2.002]).to_numpy()) == pytest.approx((2.0, 2.02))
    same = [cell(norm, residual, 0, 2.0) for norm in ("none", "rmsnorm") for residual in ("pre", "post")]
    image = interaction_figure(Table(("norm", "residual"), same), ("norm", "residual")).axes[0].images[0]
    assert image.get_clim() == (-0.02, 0.02)


def test_a_configuration_that_lost_a_run_has_the_worst_colour_and_is_not_on_the_front():
    found = [cell("none", "pre", seed, 2.0 + 0.1 * seed) for seed in (0, 1)]
    found += [cell("none", "post", 0, 1.0), cell("none", "post", 1, None, "diverged")]
    table = Table(("residual",), [row | {"alias_of": None} for row in found])
    image = grid_figure(table).axes[0].images[0]
    assert image.get_array().tolist() == [[pytest.approx(2.05), image.get_clim()[1]]]
    (front,) = [line for line in cost_figure(table, "cpu_seconds").axes[0].get_lines() if line.get_linestyle() == "--"]
    assert list(front.get_ydata()) == pytest.approx([2.05])


def test_time_is_the_processors_and_curves_say_how_they_are_smoothed(folder):
    assert "cpu_seconds" in COSTS and "wall_seconds" not in COSTS
    assert step_label({"a": [(step, 1.0) for step in range(500)]}) == "step (curves: mean of up to 10 steps)"
    assert step_label({"a": [(1, 1.0)]}) == step_label({}) == "step"
    analysis = Analysis(read_table(folder))
    assert "the bar through it spans its seeds" in report_html(analysis, list(report_figures(analysis)))


def test_the_front_joins_what_nothing_beats_in_both():
    assert pareto([(3, 1.0), (1, 2.0), (2, 2.5), (4, 1.5)]) == [(1, 2.0), (3, 1.0)]


def test_many_levels_and_empty_tables_can_be_drawn():
    many = [
        {"cell_id": f"{i}-{j}-{s}", "alias_of": None, "status": "ok", "learning_rate": 10.0**-i, "num_layers": j,
         "seed": s, "val_loss": 2.0 + 0.1 * i + 0.01 * s, "n_params": 100 * j, "cpu_seconds": 1.0 * j}
        for i in range(1, 13) for j in range(1, 8) for s in range(2)
    ]  # fmt: skip
    for table in (Table(("learning_rate", "num_layers"), many), Table((), many[:1]), Table(("num_layers",), [])):
        effects = [effect for axis in table.axes for effect in main_effects(table, axis)]
        drawn = [grid_figure(table), main_effects_figure(effects), *(cost_figure(table, cost) for cost in COSTS)]
        drawn += [gradient_norm_figure(table, {}, axis) for axis in table.axes]
        if len(table.axes) == 2:
            drawn.append(interaction_figure(table, ("learning_rate", "num_layers")))
        for figure in drawn:
            figure.draw_without_rendering()


def test_of_weights_the_report_speaks_in_the_plural():
    found = [
        {"cell_id": f"{is_random}-{seed}", "alias_of": None, "status": "ok", "random_weights": is_random, "seed": seed,
         "val_loss": 2.0 + is_random + 0.01 * seed * (1 + is_random)}
        for is_random in (False, True) for seed in range(3)
    ]  # fmt: skip
    (one,) = comparisons(Table(("random_weights",), found))
    assert comparison_sentence(one, 0.02) == "trained weights are better than random weights by 1.010"


# ------------------------------------------------------------------------------------------------ what is shared


def test_what_runs_of_a_seed_share_is_worked_out_for_the_axes_at_hand():
    rows = [
        {"cell_id": f"{width}-{batch}-{residual}", "alias_of": None, "status": "ok", "hidden_dim": width, "seed": 0,
         "batch_size": batch, "residual": residual, "val_loss": 2.0}
        for width in (8, 16) for batch in (2, 4) for residual in ("pre", "post")
    ]  # fmt: skip
    grid = {"values": {"num_heads": [2], "num_layers": [1]}, "seeds": [0]}
    table = Table(("hidden_dim", "batch_size", "residual"), rows)
    assert shared_sentences(Analysis(table, {}, {"grids": [grid]})) == [
        "Runs of one seed that differ in hidden dim alone read the same batches and have no first weights in common.",
        "Runs of one seed that differ in batch size alone read different batches and start from the same first "
        "weights.",
        "Runs of one seed that differ in residual alone read the same batches and start from the same first weights.",
    ]
    both = Table(("norm", "residual"), [{"norm": norm, **row} for row in rows[:2] for norm in ("layernorm", "rmsnorm")])
    assert shared_sentences(Analysis(both)) == [
        "Runs of one seed that differ in norm or residual alone read the same batches and start from the same first "
        "weights."
    ]


def test_the_vocabulary_of_each_text_counts_for_what_is_shared():
    rows = [
        {"cell_id": text, "alias_of": None, "status": "ok", "corpus": text, "seed": 0, "val_loss": 2.0}
        for text in ("a.txt", "b.txt")
    ]
    manifest = {"runs": [{"corpora": [{"name": name, "tokenizer": "char", "vocab_size": size}
                                      for name, size in (("a.txt", 5), ("b.txt", 6))]}]}  # fmt: skip
    (sentence,) = shared_sentences(Analysis(Table(("corpus",), rows), {}, manifest))
    assert sentence.endswith("read different batches and start from the same first weights but for embedding.")


def test_of_settings_that_cannot_be_read_nothing_is_said_to_be_shared():
    rows = [
        {"cell_id": norm, "alias_of": None, "status": "ok", "norm": norm, "seed": 0, "val_loss": 2.0}
        for norm in ("layernorm", "a norm of somebody else")
    ]
    assert shared_sentences(Analysis(Table(("norm",), rows))) == []

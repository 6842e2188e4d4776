"""--tune learning_rate: the axis of rates, each configuration's curve in the tables, and its words in the report."""

import pandas as pd
import pytest

from support import parabola
from sweeps.grid.fields import GridError
from sweeps.grid.parse import parse_grid
from sweeps.report.analysis import Analysis
from sweeps.report.result_sections import rates_section
from sweeps.results.table import Table
from sweeps.results.tuned import rates_frame
from sweeps.run.driver import Execution, run_sweep
from sweeps.store.folder import Store

TINY = ("context_length=8", "hidden_dim=8", "num_layers=1", "num_heads=2", "warmup_steps=0", "corpus=names")


def tuned_table(optima, **options):
    """A sweep over norms and rates whose best rates are known."""
    rows = [
        {"cell_id": f"{norm}-{rate}-{seed}", "alias_of": None, "status": "ok", "norm": norm, "learning_rate": rate,
         "seed": seed, "val_loss": loss}
        for norm, optimum in optima.items()
        for rate, losses in parabola(optimum, noise=0.003, **options).items()
        for seed, loss in losses.items()
    ]  # fmt: skip
    return Table(("norm", "learning_rate"), rows)


def test_tuning_adds_five_rates_around_the_given_one_or_the_default():
    assert parse_grid("norm", tune="learning_rate").values["learning_rate"] == (4.8e-4, 1.2e-3, 3e-3, 7.5e-3, 0.0187)
    given = parse_grid("norm", ["learning_rate=0.01"], tune="learning_rate")
    assert given.values["learning_rate"] == (1.6e-3, 4e-3, 0.01, 0.025, 0.0625)


@pytest.mark.parametrize(
    ("value", "words"),
    [("0", "above 0"), ("-1", "above 0"), ("much", "above 0"), ("inf", "above 0"), ("0.1,0.2", "2 were given")],
)  # fmt: skip
def test_what_has_no_rates_around_it_is_refused_in_words(value, words):
    with pytest.raises(GridError, match=words):
        parse_grid("norm", [f"learning_rate={value}"], tune="learning_rate")


def test_nothing_but_the_rate_can_be_tuned():
    with pytest.raises(GridError, match="only learning_rate can be tuned"):
        parse_grid("norm", tune="batch_size")


def test_the_table_of_rates_has_the_best_one_of_each_configuration_and_says_where_it_may_lie_beyond():
    inside, edge = rates_frame(tuned_table({"layernorm": 4e-3, "none": 0.1})).to_dict("records")
    assert inside["norm"] == "layernorm" and inside["beyond"] == "" and inside["n_seeds"] == 3
    assert inside["optimum"] == pytest.approx(4e-3, rel=0.1)
    assert inside["optimum_low"] < 4e-3 < inside["optimum_high"] and inside["ci_low"] < 2.1 < inside["ci_high"]
    assert edge["beyond"] == "above" and pd.isna(edge["optimum_high"]) and edge["best_tried"] == 16e-3


def test_a_configuration_that_is_an_alias_at_every_rate_has_no_curve_of_its_own():
    table = tuned_table({"layernorm": 4e-3, "none": 4e-3})
    rows = [{**row, "alias_of": row["cell_id"].replace("none", "layernorm") if row["norm"] == "none" else None}
            for row in table.rows]  # fmt: skip
    assert rates_frame(Table(table.axes, rows))["norm"].tolist() == ["layernorm"]


def test_a_sweep_without_an_axis_of_rates_has_no_table_of_them():
    assert rates_frame(Table(("norm",), [])).empty


def test_the_report_says_which_rate_suits_which_configuration():
    found = rates_section(Analysis(tuned_table({"layernorm": 4e-3, "none": 0.1})))
    assert found is not None
    inside, edge = found.found
    assert inside.startswith("The best learning rate of LayerNorm is about 0.004 (95 % interval 0.0")
    assert edge == "The best learning rate of no norm is above 0.016, the highest that was tried: try higher ones."


def test_a_tuned_sweep_writes_its_table_in_both_formats_and_trains_no_cell_twice(tmp_path):
    grid = parse_grid("", TINY, seeds=2, steps=2, tune="learning_rate")
    store = Store(tmp_path)
    assert len(run_sweep(grid, store, Execution(jobs=1)).plan.missing) == 10
    csv, parquet = pd.read_csv(tmp_path / "rates.csv"), pd.read_parquet(tmp_path / "rates.parquet")
    assert len(csv) == len(parquet) == 1 and list(csv) == list(parquet) and csv["n_seeds"][0] == 2
    before = (tmp_path / "rates.csv").read_bytes()
    assert not run_sweep(grid, store, Execution(jobs=1)).plan.missing
    assert (tmp_path / "rates.csv").read_bytes() == before

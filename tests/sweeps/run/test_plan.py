"""What a plan says that a sweep will take, against what it took."""

import sys

import pytest

from sweeps.results.read import read_table
from sweeps.run.driver import Execution, run_sweep
from sweeps.run.plan import estimate_cost, make_plan
from sweeps.store.folder import Store
from tlab.cost import process_bytes

SHORT = {"steps": (2,), "validation_every": (2,), "warmup_steps": (0,)}
WIDE = {"num_layers": (4,), "hidden_dim": (128,), "num_heads": (4,), "context_length": (128,), "batch_size": (16,)}
LONG_TEXT = "".join(f"The {number} is followed by the {number + 1}, and that by another.\n" for number in range(1000))
SMALL_BATCH = {"num_layers": (4,), "hidden_dim": (64,), "num_heads": (4,), "context_length": (64,), "batch_size": (1,)}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("model", [WIDE, SMALL_BATCH], ids=["training takes more", "validation takes more"])
def test_a_job_takes_about_the_memory_that_the_plan_tells(small, folder, tmp_path, model):
    (tmp_path / "long.txt").write_text(LONG_TEXT, encoding="utf-8")
    grid = small((0, 1), corpus=(str(tmp_path / "long.txt"),), **model, **SHORT)
    plan = make_plan(grid, Store(folder))
    told = estimate_cost(plan.missing, plan.corpora, jobs=2).mib_each
    run_sweep(grid, Store(folder), Execution(jobs=2))
    took = max(row["peak_memory_mib"] for row in read_table(folder).rows)
    assert told == pytest.approx(took, rel=0.15)


def test_where_no_job_can_be_tried_the_plan_tells_what_this_process_would_take(small, folder, monkeypatch):
    plan = make_plan(small(), Store(folder))
    monkeypatch.setattr("sweeps.run.plan.memory_of", fails)
    told = estimate_cost(plan.missing, plan.corpora, jobs=2).mib_each
    cell = plan.missing[0]
    assert told == pytest.approx(process_bytes(cell.model, cell.train) / 2**20, rel=0.05)


def fails(*_):
    """In place of a job that fails, or of a system that does not tell."""

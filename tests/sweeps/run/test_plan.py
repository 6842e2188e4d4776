"""What a plan says that a sweep will take, against what it took."""

import sys

import pytest

from sweeps.results.read import read_table
from sweeps.run.driver import Execution, run_sweep
from sweeps.run.plan import estimate_cost, make_plan
from sweeps.store.folder import Store

WIDE = {"num_layers": (4,), "hidden_dim": (128,), "num_heads": (4,), "context_length": (128,), "batch_size": (16,)}
SHORT = {"steps": (2,), "validation_every": (2,), "warmup_steps": (0,)}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_a_job_takes_about_the_memory_that_the_plan_tells(small, folder):
    grid = small((0, 1), **WIDE, **SHORT)
    plan = make_plan(grid, Store(folder))
    told = estimate_cost(plan.missing, plan.corpora, jobs=2).mib_each
    run_sweep(grid, Store(folder), Execution(jobs=2))
    took = max(row["peak_memory_mib"] for row in read_table(folder).rows)
    assert told == pytest.approx(took, rel=0.3)

"""A level that is as good as another, but lost the runs where it would be worst, is seldom called better."""

import numpy as np

from sweeps.results.effects import comparisons
from sweeps.results.table import Table
from tlab.judging.few_seeds import BELOW_MARGIN, REAL

SWEEPS, ALLOWED = 200, 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5
rng = np.random.default_rng(0)
for seeds in (5, 10, 20):
    false = 0
    for _ in range(SWEEPS):
        losses = 2 + 0.03 * rng.standard_normal((2, seeds))
        worst = 2 + 0.03 * 0.524  # three in ten of normal numbers are above
        rows = [
            {"cell_id": f"{layout}-{seed}", "alias_of": None, "residual": layout, "seed": seed,
             "status": "diverged" if lost else "ok", "val_loss": None if lost else float(loss)}
            for layout, of_layout in zip(("pre", "post"), losses, strict=True)
            for seed, loss in enumerate(of_layout)
            for lost in [layout == "post" and loss > worst]
        ]  # fmt: skip
        (found,) = comparisons(Table(("residual",), rows))
        false += found.verdict in (REAL, BELOW_MARGIN)
    assert false / SWEEPS <= ALLOWED, (seeds, false)
print("ok")

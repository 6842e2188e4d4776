"""Where all configurations are alike, one is told from the best in at most 5 % of sweeps, the error of 200 added."""

import numpy as np

from sweeps.results.summary import summaries
from sweeps.results.table import Table
from tlab.judging.few_seeds import BELOW_MARGIN, REAL

SWEEPS, ALLOWED = 200, 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5
rng = np.random.default_rng(1)
for configurations, seeds in ((3, 5), (12, 3), (28, 5)):
    false = 0
    for _ in range(SWEEPS):
        losses = 2 + 0.03 * rng.standard_normal((configurations, seeds))
        rows = [
            {"cell_id": f"{rate}-{seed}", "alias_of": None, "status": "ok",
             "learning_rate": rate, "seed": seed, "val_loss": float(losses[rate, seed])}
            for rate in range(configurations) for seed in range(seeds)
        ]  # fmt: skip
        false += any(one.verdict in (REAL, BELOW_MARGIN) for one in summaries(Table(("learning_rate",), rows)))
    assert false / SWEEPS <= ALLOWED, (configurations, seeds, false)
print("ok")

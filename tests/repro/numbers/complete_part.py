"""Of a table with gaps no complete part is larger than the one that is compared."""

import itertools

import numpy as np

from sweeps.results.balance import balance

rng = np.random.default_rng(0)
for _ in range(200):
    present = rng.random((rng.integers(1, 6), rng.integers(1, 7))) > rng.choice([0.05, 0.2])
    seeds = range(len(present))
    choices = itertools.chain.from_iterable(itertools.combinations(seeds, n) for n in range(1, len(present) + 1))
    most = max(len(some) * int(present[list(some)].all(axis=0).sum()) for some in choices)
    kept = balance(present)
    assert len(kept.seeds) * len(kept.blocks) == most
    assert present[np.ix_(kept.seeds, kept.blocks)].all()
print("ok")

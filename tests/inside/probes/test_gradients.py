"""The table of gradients, against norms taken by hand."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.checks import random_model
from tlab.inside import probe
from tlab.training.trainer import draw_batch


def test_every_part_has_its_norms_and_the_gradient_is_divided_by_the_weights(verse, rng):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, tied=False)
    model = random_model(config, rng)
    weights = {name: param.data for name, param in model.parameters.items()}
    rows = probe("gradients", Checkpoint(config, TrainConfig(), verse.describe(), 0, weights), "the", verse, seed=3)
    batch = draw_batch(verse.train, 16, config.context_length, 3, 0)
    untrained = Transformer(config, TrainConfig().seed, np.float64)
    for each in (model, untrained):
        each.parameters.grad[...] = 0
        each.accumulate_gradients(*batch)

    def norm(of, field):
        return np.sqrt(sum(np.sum(getattr(p, field) ** 2) for p in of))

    found = {row.part: row for row in rows}
    (head,) = [row for part, row in found.items() if part.startswith(("head", "unembedding", "output"))]
    own = [[p for name, p in each.parameters.items() if name.startswith(head.part)] for each in (model, untrained)]
    assert head.now == pytest.approx(norm(own[0], "grad"))
    assert head.at_start == pytest.approx(norm(own[1], "grad"))
    assert head.weights == pytest.approx(norm(own[0], "data"))
    for row in rows:
        assert row.now_share == pytest.approx(row.now / row.weights)
    assert np.sqrt(sum(row.now**2 for row in rows)) == pytest.approx(norm(model.parameters.values(), "grad"))

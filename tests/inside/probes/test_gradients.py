"""The table of gradients, against norms taken by hand."""

import math

import numpy as np
import pytest

import tlab.inside.probes.gradients
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


@pytest.mark.parametrize(
    ("signal", "noise", "scale", "share"),
    [(2.0, 8.0, 4.0, 0.2), (0.0, 8.0, math.inf, 1.0), (-2.0, 8.0, math.inf, 1.0), (0.5, 8.0, 16.0, 0.5)],
)
def test_the_noise_scale_is_infinite_where_no_signal_is_left(signal, noise, scale, share, verse, monkeypatch):
    monkeypatch.setattr(tlab.inside.probes.gradients, "signal_and_noise", lambda *squares: (signal, noise))
    model = Transformer(tiny(vocab_size=verse.tokenizer.vocab_size))
    weights = {name: param.data for name, param in model.parameters.items()}
    checkpoint = Checkpoint(model.config, TrainConfig(batch_size=16), verse.describe(), 0, weights)
    assert probe("noise", checkpoint, "the", verse, batches=2) == [(signal, noise, scale, 16, share)]


def test_noise_is_measured_on_small_batches_and_all_of_them_together(verse, rng):
    model = random_model(tiny(vocab_size=verse.tokenizer.vocab_size), rng)
    weights = {name: param.data.copy() for name, param in model.parameters.items()}
    checkpoint = Checkpoint(model.config, TrainConfig(), verse.describe(), 0, weights)
    (row,) = probe("noise", checkpoint, "the", verse, batches=3, batch_size=2, seed=4)
    gradients = []
    for step in range(3):
        model.parameters.grad[...] = 0
        model.accumulate_gradients(*draw_batch(verse.train, 2, 8, 4, step))
        gradients.append(model.parameters.grad.copy())
    small, big = np.mean([g @ g for g in gradients]), np.sum(np.mean(gradients, axis=0) ** 2)
    # |G|^2 + S / 2 is the square of a small batch's gradient, |G|^2 + S / 6 that of all of them.
    assert row.noise == pytest.approx((small - big) / (1 / 2 - 1 / 6))
    assert row.signal == pytest.approx(big - row.noise / 6)

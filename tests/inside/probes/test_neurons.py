"""The counts of hidden units, on a layer whose units are known."""

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig, Transformer
from tlab.inside import probe


@pytest.fixture
def units(verse):
    """The probe's row of a layer with a ReLU that gives these numbers, whatever comes in."""

    def row(values):
        config = tiny(vocab_size=verse.tokenizer.vocab_size, activation="relu", num_layers=1)
        model = Transformer(config)
        model.parameters["blocks.0.mlp.up.weight"].data[...] = 0
        model.parameters["blocks.0.mlp.up.bias"].data[...] = np.resize(values, config.mlp_dim)
        weights = {name: param.data for name, param in model.parameters.items()}
        (found,) = probe("units", Checkpoint(config, TrainConfig(), verse.describe(), 0, weights), "the", verse)
        return found

    return row


def test_a_unit_is_dead_below_one_percent_of_the_layers_size(units):
    # 30 units: three tenths at 0.5 %, three at 5 % and 24 at 1; their root mean square is 0.89.
    found = units([0.005, 0.05, *[1.0] * 8])
    assert (found.units, found.dead) == (30, pytest.approx(0.1))
    assert found.rms == pytest.approx(np.sqrt(0.8 + 0.1 * (0.005**2 + 0.05**2)), rel=1e-5)


def test_a_unit_is_unbent_where_it_never_comes_below_three(units):
    found = units([2.9, 3.1, -4.0, 5.0, 1.0])
    assert (found.unbent, found.active, found.dead) == pytest.approx((0.4, 0.8, 0.2))

"""An independent implementation agrees: the same weights in PyTorch give the same loss and the same gradients.

Every parameter is drawn from N(0, 0.3), scales, shifts and biases too: at 1 and 0, where training starts, a wrong
use of them would not show.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")

from torch import tensor

from judge import alibi_slopes, cannot_judge, logits, loss_and_gradients, t5_bucket
from support import SWITCHES, combinations
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.config import ModelConfig
from tlab.nn.model import Transformer
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS, Alibi, T5Bias
from tlab.nn.residuals import RESIDUALS

COMBINATIONS = combinations(tuple(NORMS), tuple(ACTIVATIONS), tuple(RESIDUALS), tuple(POSITIONS))
SMALL = {"vocab_size": 11, "context_length": 9, "hidden_dim": 12, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2}
TOLERANCE = 1e-9  # in float64, of the largest entry of each gradient
ROUNDING = 2**-24  # relative, of a number that is kept in float32
ROUNDINGS, LEAST_EFFECT = 10, 1e-6  # in float32: so many times what one rounding of every weight changes, or this


def random_model(config, dtype):
    model = Transformer(config, dtype=dtype)
    model.parameters.data[...] = np.random.default_rng(7).normal(0.0, 0.3, model.num_parameters)
    return model


def random_batch(config, batch_size=3, length=None):
    shape = (batch_size, length or config.context_length)
    return np.random.default_rng(8).integers(0, config.vocab_size, (2, *shape))


def weights_of(model):
    return {name: param.data.copy() for name, param in model.parameters.items()}


def assert_judge_agrees(config, dtype):
    reason = cannot_judge(config)
    if reason:
        pytest.skip(reason)
    model = random_model(config, dtype)
    ids, targets = random_batch(config)
    loss, gradients = model.loss_and_gradients(ids, targets)
    weights = weights_of(model)
    judge_loss, judge_gradients = loss_and_gradients(config, weights, ids, targets)

    tolerance, truth = TOLERANCE, judge_gradients
    if dtype == "float32":
        exact = {name: weight.astype("float64") for name, weight in weights.items()}
        truth = loss_and_gradients(config, exact, ids, targets)[1]
        tolerance = ROUNDINGS * max(LEAST_EFFECT, effect_of_rounding(config, exact, truth, ids, targets))
    assert loss == pytest.approx(judge_loss, rel=tolerance)
    assert gradients.keys() == judge_gradients.keys()
    for name, expected in truth.items():
        given = gradients[name]
        assert given.dtype == judge_gradients[name].dtype == dtype, name
        error = apart(given, expected)
        assert error <= tolerance, f"{name}: off by {error:.1e} of its largest entry"


def effect_of_rounding(config, weights, truth, ids, targets):
    """How far gradients move when every weight is rounded once more, as many do where no norm holds the stream."""
    moved = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rounded = {name: w * (1 + ROUNDING * rng.choice([-1, 1], w.shape)) for name, w in weights.items()}
        gradients = loss_and_gradients(config, rounded, ids, targets)[1]
        moved += [apart(gradients[name], truth[name]) for name in truth]
    return max(moved)


def apart(given, expected):
    return np.abs(given - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(SWITCHES, COMBINATIONS)
def test_pytorch_has_the_same_loss_and_gradients_in_float64(norm, activation, residual, position):
    config = ModelConfig(**SMALL, norm=norm, activation=activation, residual=residual, position=position)
    assert_judge_agrees(config, "float64")


@pytest.mark.parametrize(SWITCHES, COMBINATIONS)
def test_pytorch_has_the_same_loss_and_gradients_in_float32(norm, activation, residual, position):
    config = ModelConfig(**SMALL, norm=norm, activation=activation, residual=residual, position=position)
    assert_judge_agrees(config, "float32")


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    "change",
    [
        {"tied": False},
        {"bias": False},
        {"tied": False, "bias": False, "activation": "swiglu"},
        {"num_heads": 1},
        {"num_heads": 3},
        {"num_heads": 6, "residual": "post"},
        {"num_layers": 1},
        {"num_layers": 5, "residual": "sandwich"},
        {"embedding_scale": 0.3},
        {"norm_epsilon": 0.1},  # large, so that its place inside the root is seen
        {"norm_epsilon": 0.1, "norm": "rmsnorm"},
    ],
    ids=lambda change: ",".join(f"{name}={value}" for name, value in change.items()),
)
def test_pytorch_agrees_on_every_other_field_of_the_model(change, position):
    assert_judge_agrees(ModelConfig(**{**SMALL, "position": position, **change}), "float64")


@pytest.mark.parametrize("num_heads", [1, 2, 3, 5, 6, 7, 8, 12, 16, 20])
def test_alibi_slopes_are_those_of_the_authors_recipe(num_heads):
    np.testing.assert_allclose(Alibi.reference(num_heads), alibi_slopes(num_heads), rtol=1e-12)


def test_the_buckets_of_t5_are_those_of_the_authors_recipe():
    distance = tensor(range(-5, 3000))
    ours = [T5Bias.reference(max(0, int(d))) for d in distance]
    assert ours == t5_bucket(distance).tolist()


def test_pytorch_agrees_on_the_bias_of_t5_where_distances_share_it():
    assert_judge_agrees(ModelConfig(**{**SMALL, "position": "t5", "context_length": 150}), "float64")


@pytest.mark.parametrize("position", [key for key, kind in POSITIONS.items() if kind.unbounded])
def test_a_text_longer_than_the_context_gives_pytorchs_logits(position):
    config = ModelConfig(**SMALL, position=position)
    if reason := cannot_judge(config):
        pytest.skip(reason)
    model = random_model(config, "float64")
    ids, _ = random_batch(config, length=3 * config.context_length)
    expected = logits(config, {name: tensor(array) for name, array in weights_of(model).items()}, tensor(ids))
    np.testing.assert_allclose(model.forward(ids)[0], expected.numpy(), rtol=1e-9, atol=1e-9)


def test_the_default_model_agrees_at_its_first_weights():
    config = ModelConfig(vocab_size=65)
    model = Transformer(config, seed=3, dtype="float64")
    ids, targets = random_batch(config, batch_size=4)
    loss, gradients = model.loss_and_gradients(ids, targets)
    judge_loss, judge_gradients = loss_and_gradients(config, weights_of(model), ids, targets)
    assert loss == pytest.approx(judge_loss, rel=1e-9)
    largest = max(np.abs(gradient).max() for gradient in judge_gradients.values())
    for name, expected in judge_gradients.items():
        assert np.abs(gradients[name] - expected).max() <= 1e-9 * largest, name

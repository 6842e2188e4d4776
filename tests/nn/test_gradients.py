"""Every gradient agrees with finite differences, in float64."""

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab.checks import GRADIENT_LIMIT, check_gradients, directional_error
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.inits import Gpt2Init
from tlab.nn.loss import CrossEntropy
from tlab.nn.norms import NORMS
from tlab.nn.params import ParamSpace
from tlab.nn.positions import POSITIONS


def assert_gradients_right(config):
    checks = list(check_gradients(config))
    assert {"input", "embedding.weight", "blocks.1.mlp.down.weight"} <= {check.name for check in checks}
    assert all(check.limit <= 1e-6 for check in checks)
    wrong = [f"{check.name}: {check.error:.1e}" for check in checks if not check.passed]
    assert not wrong


@pytest.mark.parametrize("config", all_combinations())
def test_every_parameter_and_the_input_of_every_combination(config):
    assert_gradients_right(config)


VARIANTS = {
    "untied": {"tied": False},
    "no bias": {"bias": False},
    "no bias, gated": {"bias": False, "activation": "swiglu"},
    "one head": {"num_heads": 1},
    "heads of width one": {"num_heads": 12, "position": "alibi"},
    "three layers": {"num_layers": 3},
    "xavier, embedding scale": {"init": "xavier", "embedding_scale": 3.0},
    "large epsilon": {"norm_epsilon": 0.1},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_other_switch(changes):
    assert_gradients_right(tiny(**changes))


@pytest.mark.parametrize("key", ACTIVATIONS)
def test_activation_alone_with_an_uneven_upstream_gradient(key, rng):
    activation = ACTIVATIONS[key]()
    inputs = [rng.normal(0, 2, (4, 7)) for _ in range(2 if activation.gated else 1)]
    upstream = rng.standard_normal((4, 7))
    _, cache = activation.forward(*inputs)
    gradients = activation.backward(upstream, cache)
    for i, gradient in enumerate(gradients if activation.gated else [gradients]):

        def f(x, i=i):
            y, _ = activation.forward(*inputs[:i], x, *inputs[i + 1 :])
            return float(np.sum(y * upstream))

        assert directional_error(f, inputs[i], gradient, rng) < GRADIENT_LIMIT


@pytest.mark.parametrize("key", NORMS)
def test_norm_alone_with_an_uneven_upstream_gradient(key, rng):
    space = ParamSpace()
    norm = NORMS[key](space, "norm", 9, 1e-5)
    space.pack(0, np.dtype(np.float64))
    for param in space.values():
        param.data += rng.standard_normal(param.shape)
    x, upstream = rng.normal(1, 2, (2, 3, 9)), rng.standard_normal((2, 3, 9))
    _, cache = norm.forward(x)
    gradient = norm.backward(upstream, cache)
    assert directional_error(lambda x: float(np.sum(norm.forward(x)[0] * upstream)), x, gradient, rng) < GRADIENT_LIMIT


@pytest.mark.parametrize("key", POSITIONS)
def test_rotating_back_is_the_transpose_of_rotating(key, rng):
    position = POSITIONS[key](ParamSpace(), "position", 8, 12, 3, Gpt2Init(2, False))
    heads, upstream = rng.standard_normal((2, 2, 3, 5, 4))  # queries and keys of each
    forward = np.sum(position.rotate(*heads, 2) * upstream)
    backward = np.sum(heads * position.rotate_backward(*upstream, 2))
    assert forward == pytest.approx(backward, rel=1e-12)


def test_cross_entropy_alone(rng):
    logits, targets = rng.normal(0, 3, (2, 3, 5)), rng.integers(0, 5, (2, 3))
    _, cache = CrossEntropy.forward(logits, targets)
    gradient = CrossEntropy.backward(cache, logits.shape)
    error = directional_error(lambda x: CrossEntropy.forward(x, targets)[0], logits, gradient, rng)
    assert error < GRADIENT_LIMIT


def test_the_gradient_check_judges_a_single_number_too():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert directional_error(lambda x: float(np.sum(x**2)), np.array([3.0]), np.array([6.0]), rng) < GRADIENT_LIMIT


@pytest.mark.parametrize("damage", [lambda g: 0 * g, lambda g: -g, lambda g: 1.001 * g, lambda g: g[:, ::-1]])
def test_the_gradient_check_itself_sees_a_wrong_gradient(damage, rng):
    x = rng.standard_normal((3, 4))
    assert directional_error(lambda x: float(np.sum(x**4)), x, damage(4 * x**3), rng) > GRADIENT_LIMIT

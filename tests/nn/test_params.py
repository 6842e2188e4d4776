"""The flat vectors and their views."""

import copy
import pickle

import numpy as np
import pytest

from support import tiny
from tlab import Transformer
from tlab.nn.params import ParamSpace, ones, zeros


def normal(rng, shape):
    return rng.standard_normal(shape)


@pytest.fixture
def space():
    space = ParamSpace()
    space.declare("a.scale", (3,), ones)
    space.declare("a.weight", (3, 4), normal)
    space.declare("a.bias", (4,), zeros)
    space.declare("b.weight", (4, 2), normal)
    space.pack(0, np.dtype(np.float32))
    return space


def test_data_and_grad_are_views_of_the_flat_vectors(space):
    space.data[...] = 5
    space.grad[...] = 7
    for param in space.values():
        assert (param.data == 5).all()
        assert (param.grad == 7).all()
        assert np.shares_memory(param.data, space.data)
        assert np.shares_memory(param.grad, space.grad)
    assert space.data.size == sum(param.size for param in space.values()) == 3 + 12 + 4 + 8


def test_matrices_lie_first_so_that_decay_is_one_slice(space):
    space.data[: space.num_decayed] = 5
    space.data[space.num_decayed :] = 7
    assert {name: param.data.flat[0] for name, param in space.items()} == {
        "a.scale": 7,
        "a.weight": 5,
        "a.bias": 7,
        "b.weight": 5,
    }


def test_a_flat_vector_is_split_into_the_parts_that_the_parameters_are(space):
    parts = space.split(space.data.copy())
    assert parts.keys() == dict(space).keys()
    for name, param in space.items():
        np.testing.assert_array_equal(parts[name], param.data)


def test_names_keep_the_order_of_declaration(space):
    assert list(space) == ["a.scale", "a.weight", "a.bias", "b.weight"]


def test_first_values_depend_on_seed_and_name_alone(space):
    other = ParamSpace()
    other.declare("b.weight", (4, 2), normal)
    other.declare("c.weight", (4, 2), normal)
    other.pack(0, np.dtype(np.float32))
    assert (other["b.weight"].data == space["b.weight"].data).all()
    assert (other["b.weight"].data != other["c.weight"].data).all()
    other.pack(1, np.dtype(np.float32))
    assert (other["b.weight"].data != space["b.weight"].data).all()


def test_a_name_cannot_be_declared_twice(space):
    with pytest.raises(ValueError, match=r"'a\.bias' is declared twice"):
        space.declare("a.bias", (1,), zeros)


@pytest.mark.parametrize("copier", [pickle.dumps, copy.deepcopy])
def test_a_live_model_refuses_to_be_copied_and_names_the_way(space, copier):
    with pytest.raises(TypeError, match="Checkpoint"):
        copier(space)


def test_a_parameter_says_what_it_is_to_an_optimizer():
    model = Transformer(tiny(position="learned", tied=False))
    roles = {name: param.role for name, param in model.parameters.items()}
    assert {name for name in roles if roles[name] == "embedding"} == {
        "embedding.weight", "position.weight", "head.weight"
    }  # fmt: skip
    matrices = {name for name in roles if roles[name] == "matrix"}
    assert matrices == {name for name in roles if name.startswith("blocks.") and model.parameters[name].data.ndim == 2}
    assert all(param.data.ndim == 1 for param in model.parameters.values() if param.role == "vector")


@pytest.mark.parametrize(("shape", "role"), [((3, 4), "table"), ((3,), "matrix"), ((3,), "embedding")])
def test_a_role_that_cannot_be_is_refused(shape, role):
    with pytest.raises(ValueError, match=role):
        ParamSpace().declare("a", shape, zeros, role)

"""PyTorch agrees on what the fields beside the classic switches do: loss, gradients, and every array on the way."""

import pytest

pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")

import torch
import torch.nn.functional as F

import judge
from support import further_combinations
from tlab.checks import random_model
from tlab.inside.probes.trace import GRADIENT, full_trace


@pytest.mark.parametrize("config", further_combinations())
def test_pytorch_has_the_same_weights_gradients_and_arrays_on_the_way(config, rng):
    if reason := judge.cannot_judge(config):
        pytest.skip(reason)
    model = random_model(config, rng)
    ids = rng.integers(0, config.vocab_size, 8)
    model.parameters.grad[...] = 0
    arrays = full_trace(model, ids).arrays
    weights = {name: torch.tensor(param.data, requires_grad=True) for name, param in model.parameters.items()}
    tensors = {}
    logits = judge.logits(config, weights, torch.tensor(ids[None, :-1]), lambda name, x: tensors.update({name: x}))
    for tensor in tensors.values():
        tensor.retain_grad()
    F.cross_entropy(logits.flatten(0, 1), torch.tensor(ids[1:])).backward()

    for name, param in model.parameters.items():
        judge.agree(name, param.grad, weights[name].grad)
    told = {name for name in arrays if not name.endswith(GRADIENT)} - {"probabilities"}
    assert told == set(tensors)
    for name in told:
        judge.agree(name, arrays[name], tensors[name])
        judge.agree(name + GRADIENT, arrays[name + GRADIENT], tensors[name].grad)

"""The optimizers, clipping and the loss are those of PyTorch, over several updates of a real model in float64."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="the independent judge needs PyTorch: pip install '.[parity]'")

import torch
import torch.nn.functional as F

from judge import loss_and_gradients
from tlab.nn.config import ModelConfig
from tlab.nn.loss import CrossEntropy, LabelSmoothing
from tlab.nn.model import Transformer
from tlab.nn.params import ROLES, ParamSpace, ones
from tlab.text import corpus_from_text
from tlab.training.config import TrainConfig
from tlab.training.optimizers import OPTIMIZERS, clip_gradient
from tlab.training.trainer import Trainer, make_optimizer

NUM_UPDATES = 10
CONFIG = ModelConfig(vocab_size=11, context_length=8, hidden_dim=12, num_layers=2, num_heads=3, position="learned")


def sgd(groups, config):
    return torch.optim.SGD(groups, lr=1.0, momentum=config.momentum)


def adam(groups, config):
    return torch.optim.Adam(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)


def adamw(groups, config):
    return torch.optim.AdamW(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)


class DirectionsOfMatrices(torch.optim.Optimizer):
    """Muon as its authors wrote it down: the momentum a sum of gradients, the weights (out, in); the rest by AdamW."""

    def __init__(self, groups, config):
        self.adamw = adamw([group for group in groups if group["role"] != "matrix"], config)
        self.ratio = config.adam_ratio
        super().__init__([group for group in groups if group["role"] == "matrix"], {"lr": 1.0})

    @torch.no_grad()
    def step(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.adamw.param_groups:
            group["lr"] = self.ratio * self.param_groups[0]["lr"]
        self.adamw.step()
        for group in self.param_groups:
            for tensor in group["params"]:
                gradient, weight = tensor.grad.T, tensor.T  # a view: what is done to it is done to the tensor
                memory = self.state[tensor].setdefault("momentum", torch.zeros_like(gradient))
                memory.mul_(0.95).add_(gradient)
                x = gradient + 0.95 * memory
                x = x / x.norm()
                for _ in range(5):
                    square = x @ x.T
                    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * x)


PYTORCH = {"sgd": sgd, "adam": adam, "adamw": adamw, "muon": DirectionsOfMatrices}


def groups_by_role(space, tensors, weight_decay):
    """Weight decay for matrices and embeddings only."""
    return [
        {
            "params": [tensors[name] for name, param in space.items() if param.role == role],
            "weight_decay": 0.0 if role == "vector" else weight_decay,
            "role": role,
        }
        for role in ROLES
    ]


def random_model():
    model = Transformer(CONFIG, dtype="float64")
    model.parameters.data[...] = np.random.default_rng(1).normal(0.0, 0.3, model.num_parameters)
    return model


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_updates_end_at_pytorchs_weights(optimizer, weight_decay):
    if optimizer not in PYTORCH:
        pytest.skip(f"PYTORCH has no counterpart of {optimizer!r}; name it there")
    config = TrainConfig(optimizer=optimizer, weight_decay=weight_decay, epsilon=1e-3)  # large, so that it is seen
    model = random_model()
    ours = make_optimizer(config, model.parameters)
    tensors = {name: torch.tensor(param.data) for name, param in model.parameters.items()}
    theirs = PYTORCH[optimizer](groups_by_role(model.parameters, tensors, weight_decay), config)

    rng = np.random.default_rng(2)
    for step in range(NUM_UPDATES):
        learning_rate = 0.01 * (1 + step)  # it changes from step to step, as under a schedule
        for name, param in model.parameters.items():
            param.grad[...] = rng.normal(0.0, 1.0 + step, param.shape)
            tensors[name].grad = torch.tensor(param.grad)
        ours.step(model.parameters, learning_rate)
        for group in theirs.param_groups:
            group["lr"] = learning_rate
        theirs.step()
        for name, param in model.parameters.items():
            np.testing.assert_allclose(
                param.data, tensors[name].numpy(), rtol=1e-10, atol=1e-12, err_msg=f"{name} after update {step + 1}"
            )


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
@pytest.mark.parametrize("shape", [(8, 24), (12, 12), (24, 8)])
def test_ten_updates_of_muon_end_where_pytorchs_own_does_but_for_its_bfloat16(shape):
    space = ParamSpace()
    space.declare("matrix", shape, ones)
    space.pack(0, np.dtype(np.float64))
    ours = make_optimizer(TrainConfig(optimizer="muon", weight_decay=0.1), space)
    weight = torch.nn.Parameter(torch.ones(shape[::-1], dtype=torch.float64))  # (out, in)
    theirs = torch.optim.Muon([weight], lr=0.1, weight_decay=0.1)
    rng = np.random.default_rng(6)
    for _ in range(NUM_UPDATES):
        space.grad[...] = rng.standard_normal(space.grad.size)
        weight.grad = torch.tensor(space["matrix"].grad.T.copy())
        ours.step(space, 0.1)
        theirs.step()
    moved = np.abs(space["matrix"].data - 1).max()
    assert np.abs(space["matrix"].data.T - weight.detach().numpy()).max() < 0.03 * moved


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_clipping_is_pytorchs(max_norm):
    model = random_model()
    rng = np.random.default_rng(3)
    tensors = []
    for param in model.parameters.values():
        param.grad[...] = rng.normal(size=param.shape)
        tensors.append(torch.zeros(param.shape, dtype=torch.float64))
        tensors[-1].grad = torch.tensor(param.grad)
    norm = clip_gradient(model.parameters.grad, max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(tensors, max_norm).item(), rel=1e-12)
    # PyTorch divides by norm + 1e-6, which leaves the gradient shorter by that share.
    shorter = norm / (norm + 1e-6) if norm > max_norm else 1.0
    for param, tensor in zip(model.parameters.values(), tensors, strict=True):
        np.testing.assert_allclose(param.grad * shorter, tensor.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
def test_cross_entropy_and_its_gradient_are_pytorchs(size):
    rng = np.random.default_rng(4)
    logits, targets = rng.normal(0.0, size, (3, 5, 13)), rng.integers(0, 13, (3, 5))
    loss, cache = CrossEntropy.forward(logits, targets)
    leaf = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(leaf.flatten(0, 1), torch.tensor(targets).flatten())
    expected.backward()
    assert leaf.grad is not None
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(CrossEntropy.backward(cache, logits.shape), leaf.grad.numpy(), rtol=1e-9, atol=1e-15)
    assert math.isfinite(loss)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_and_its_gradient_are_pytorchs(smoothing):
    rng = np.random.default_rng(7)
    logits, targets = rng.normal(0.0, 2.0, (3, 5, 13)), rng.integers(0, 13, (3, 5))
    ours = LabelSmoothing(smoothing)
    leaf = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(leaf.flatten(0, 1), torch.tensor(targets).flatten(), label_smoothing=smoothing)
    expected.backward()
    assert leaf.grad is not None
    assert float(ours.reference(logits, targets, smoothing)) == pytest.approx(expected.item(), rel=1e-12)
    gradient = ours.backward(ours.forward(logits, targets)[1], logits.shape)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-9, atol=1e-15)


def test_the_average_of_the_weights_is_pytorchs():
    corpus = corpus_from_text("a tale of two cities " * 20)
    training = TrainConfig(steps=8, batch_size=2, warmup_steps=0, ema_decay=0.9)
    config = dataclasses.replace(CONFIG, vocab_size=corpus.tokenizer.vocab_size)
    trainer = Trainer(config, training, corpus, dtype="float64")
    module = torch.nn.Linear(1, trainer.model.num_parameters, bias=False, dtype=torch.float64)
    average = torch.optim.swa_utils.AveragedModel(module, avg_fn=torch.optim.swa_utils.get_ema_avg_fn(0.9))
    for _ in trainer:
        module.weight.data[:, 0] = torch.tensor(trainer.model.parameters.data)
        average.update_parameters(module)
    theirs = average.module.weight.detach().numpy()[:, 0]
    np.testing.assert_allclose(trainer.result.parameters.data, theirs, rtol=1e-12, atol=1e-15)


def test_a_whole_training_ends_at_pytorchs_weights():
    """Gradient, clipping, AdamW and the weights they change, together: ten steps on one side and on the other."""
    config = TrainConfig(learning_rate=1e-2, gradient_clip=0.5)
    model = random_model()
    ours = make_optimizer(config, model.parameters)
    tensors = {name: torch.tensor(param.data) for name, param in model.parameters.items()}
    theirs = adamw(groups_by_role(model.parameters, tensors, config.weight_decay), config)
    rng = np.random.default_rng(5)
    for _ in range(NUM_UPDATES):
        ids, targets = rng.integers(0, CONFIG.vocab_size, (2, 4, CONFIG.context_length))
        _, gradients = loss_and_gradients(CONFIG, {name: t.numpy() for name, t in tensors.items()}, ids, targets)
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradients[name])
        torch.nn.utils.clip_grad_norm_(tensors.values(), config.gradient_clip)
        for group in theirs.param_groups:
            group["lr"] = config.learning_rate
        theirs.step()

        model.parameters.grad[...] = 0
        model.accumulate_gradients(ids, targets)
        clip_gradient(model.parameters.grad, config.gradient_clip)
        ours.step(model.parameters, config.learning_rate)
    for name, param in model.parameters.items():
        # Not tighter: PyTorch's 1e-6 in the clipping is in every one of the updates.
        np.testing.assert_allclose(param.data, tensors[name].numpy(), rtol=1e-5, atol=1e-6, err_msg=name)

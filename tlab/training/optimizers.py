"""Optimizers: what an update makes of a gradient. Each works on the flat vectors, a few lines for all weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tlab.nn.params import ParamSpace
from tlab.registry import Registry
from tlab.types import Array

if TYPE_CHECKING:
    from tlab.training.config import TrainConfig

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")


def clip_gradient(grad: Array, max_norm: float) -> float:
    """Shorten the whole gradient in place to `max_norm` where it is longer; 0 never shortens.

    Returns:
        The norm before, over all parameters together.
    """
    norm = math.sqrt(float(grad @ grad))
    if 0 < max_norm < norm:
        grad *= max_norm / norm
    return norm


class Optimizer:
    """The contract: `update(space, learning_rate)` changes `space.data` in place, by `space.grad`.

    `state` holds whatever the next update needs, as flat vectors by name: a checkpoint stores it. `num_updates`
    counts the updates made.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, config: TrainConfig, space: ParamSpace) -> None:
        self.config = config
        self.num_updates = 0
        self.state = {name: np.zeros_like(space.data) for name in self.state_names}

    def update(self, space: ParamSpace, learning_rate: float) -> None:
        raise NotImplementedError

    def add_weight_decay(self, space: ParamSpace) -> None:
        """The penalty (decay / 2) |W|^2 as part of the gradient, for the matrices."""
        decayed = slice(space.num_decayed)
        space.grad[decayed] += self.config.weight_decay * space.data[decayed]


@OPTIMIZERS.add(
    "sgd",
    label="SGD with momentum",
    formula=r"v \leftarrow \mu v + g,\quad w \leftarrow w - \eta v",
    source="Polyak 1964; Sutskever et al. 2013",
)
class Sgd(Optimizer):
    """Follows the gradient, with the swing of the steps before.

    Notice: one step size for all weights. A transformer's tensors have gradients of very different sizes, which is
    why it does so much worse here than Adam.
    """

    state_names = ("velocity",)

    def update(self, space: ParamSpace, learning_rate: float) -> None:
        self.num_updates += 1
        self.add_weight_decay(space)
        velocity = self.state["velocity"]
        velocity *= self.config.momentum
        velocity += space.grad
        space.data -= learning_rate * velocity


ADAM_FORMULA = (
    r"m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad "
    r"w \leftarrow w - \eta\,\hat m / (\sqrt{\hat v} + \epsilon)"
)


@OPTIMIZERS.add("adam", label="Adam", formula=ADAM_FORMULA, source="Kingma & Ba 2015")
class Adam(Optimizer):
    """Divides each weight's averaged gradient by its usual size, so that every weight moves at about the same pace.

    Notice: weight decay enters through the gradient and is divided as well: weights with large gradients are
    hardly decayed.
    """

    state_names = ("first_moment", "second_moment")

    def update(self, space: ParamSpace, learning_rate: float) -> None:
        self.add_weight_decay(space)
        self.step(space, learning_rate)

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        self.num_updates += 1
        beta1, beta2 = self.config.beta1, self.config.beta2
        # Both averages start at zero; the corrections make up for that (hats in the formula).
        correction1 = 1 - beta1**self.num_updates
        correction2 = 1 - beta2**self.num_updates
        grad, first, second = space.grad, self.state["first_moment"], self.state["second_moment"]
        change = grad * (1 - beta1)
        first *= beta1
        first += change
        np.multiply(grad, grad, out=change)
        change *= 1 - beta2
        second *= beta2
        second += change
        np.sqrt(second, out=change)
        change *= 1 / math.sqrt(correction2)
        change += self.config.epsilon
        np.divide(first, change, out=change)
        change *= learning_rate / correction1
        space.data -= change


@OPTIMIZERS.add(
    "adamw",
    label="AdamW",
    formula=ADAM_FORMULA + r" - \eta \lambda w",
    source="Loshchilov & Hutter 2019",
)
class AdamW(Adam):
    """Adam with the decay taken out of the gradient: every matrix shrinks by the same share at each step.

    Notice: the optimizer nearly all transformers are trained with.
    """

    def update(self, space: ParamSpace, learning_rate: float) -> None:
        space.data[: space.num_decayed] *= 1 - learning_rate * self.config.weight_decay
        self.step(space, learning_rate)

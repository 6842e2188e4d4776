"""Optimizers: what an update makes of a gradient. Each works on the flat vectors, a few lines for all weights."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tlab.nn.params import ParamSpace
from tlab.registry import Registry
from tlab.types import Array

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
    """The contract: `step(space, learning_rate)` changes `space.data` in place, by `space.grad`.

    `state` holds whatever the next step needs, as flat vectors by name: a checkpoint stores it. `num_updates` counts
    the steps made. `reference` is one step for weights that all decay: (weights, gradient, *state, number of the step,
    learning rate, *options) -> (weights, *state).
    """

    options: ClassVar[tuple[str, ...]] = ("weight_decay",)
    """The fields of the training config that it reads; it has them as attributes."""
    state_names: ClassVar[tuple[str, ...]] = ()
    without_decay: ClassVar[str | None] = None
    """The key of the optimizer that it is where weight_decay is 0; None for itself."""
    decouples_decay: ClassVar[bool] = False
    """Whether weight decay shrinks the matrices at each step by learning_rate * weight_decay, whatever the gradient."""

    weight_decay: float

    def __init_subclass__(cls) -> None:
        if "step" in vars(cls):  # another rule: what the class that it inherits from states is not about it
            cls.without_decay = vars(cls).get("without_decay")
            cls.decouples_decay = vars(cls).get("decouples_decay", False)

    def __init__(self, space: ParamSpace, **options: float) -> None:
        if options.keys() != set(self.options):
            raise TypeError(f"{type(self).__name__} needs {self.options}, and was given {tuple(options)}")
        vars(self).update(options)
        self.num_updates = 0
        self.state = {name: np.zeros_like(space.data) for name in self.state_names}

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        raise NotImplementedError

    def add_weight_decay(self, space: ParamSpace) -> None:
        """The penalty (decay / 2) |W|^2 as part of the gradient, for the matrices."""
        decayed = slice(space.num_decayed)
        space.grad[decayed] += self.weight_decay * space.data[decayed]


@OPTIMIZERS.add(
    "sgd",
    label="SGD with momentum",
    formula=r"v \leftarrow \mu v + g,\quad w \leftarrow w - \eta v",
    source="Polyak 1964; Sutskever et al. 2013",
)
class Sgd(Optimizer):
    """Follows a decaying sum of gradients, so that steady directions gain speed.

    Notice: one step size for all weights. A transformer's tensors have gradients of very different sizes, which is
    why it does so much worse here than Adam.
    """

    options = ("momentum", "weight_decay")
    state_names = ("velocity",)

    momentum: float

    @staticmethod
    def reference(w, gradient, v, t, learning_rate, momentum, weight_decay):
        g = gradient + weight_decay * w
        v = momentum * v + g
        return w - learning_rate * v, v

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        self.num_updates += 1
        self.add_weight_decay(space)
        v = self.state["velocity"]  # (num_parameters,), as are the gradient and the weights
        v *= self.momentum
        v += space.grad
        space.data -= learning_rate * v


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

    options = ("beta1", "beta2", "epsilon", "weight_decay")
    state_names = ("first_moment", "second_moment")

    beta1: float
    beta2: float
    epsilon: float

    @staticmethod
    def reference(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        g = gradient + weight_decay * w
        m = beta1 * m + (1 - beta1) * g  # running mean of the gradient
        v = beta2 * v + (1 - beta2) * g**2  # and of its square
        m_hat = m / (1 - beta1**t)  # both started at zero, which this makes up for
        v_hat = v / (1 - beta2**t)
        return w - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        self.add_weight_decay(space)
        self.follow_moments(space, learning_rate)

    def follow_moments(self, space: ParamSpace, learning_rate: float) -> None:
        """The step of `reference` without the decay, in place; all arrays are (num_parameters,)."""
        self.num_updates += 1
        t, beta1, beta2 = self.num_updates, self.beta1, self.beta2
        g, m, v = space.grad, self.state["first_moment"], self.state["second_moment"]
        m *= beta1
        m += (1 - beta1) * g  # running mean of the gradient
        v *= beta2
        squared = g * g
        squared *= 1 - beta2
        v += squared  # and of its square
        # Both started at zero, so early on they are too small by the factor 1 - beta^t. The hats divide by it: here two
        # numbers are divided instead of two arrays.
        denominator = np.sqrt(v, out=squared)
        denominator *= 1 / math.sqrt(1 - beta2**t)
        denominator += self.epsilon  # sqrt(v_hat) + epsilon
        update = np.divide(m, denominator, out=denominator)
        update *= learning_rate / (1 - beta1**t)  # learning_rate * m_hat / (sqrt(v_hat) + epsilon)
        space.data -= update


@OPTIMIZERS.add("adamw", label="AdamW", formula=ADAM_FORMULA + r" - \eta \lambda w", source="Loshchilov & Hutter 2019")
class AdamW(Adam):
    """Adam with decoupled weight decay: at each step all matrices also shrink by the same factor.

    Notice: the optimizer nearly all transformers are trained with.
    """

    without_decay = "adam"
    decouples_decay = True

    @staticmethod
    def reference(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        m = beta1 * m + (1 - beta1) * gradient  # running mean of the gradient
        v = beta2 * v + (1 - beta2) * gradient**2  # and of its square
        m_hat = m / (1 - beta1**t)  # both started at zero, which this makes up for
        v_hat = v / (1 - beta2**t)
        return w - learning_rate * (m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * w), m, v

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        space.data[: space.num_decayed] *= 1 - learning_rate * self.weight_decay
        self.follow_moments(space, learning_rate)

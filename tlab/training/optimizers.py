"""Optimizers: what an update makes of a gradient. Each works on the flat vectors, a few lines for all weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from tlab.config import ConfigError
from tlab.machine import one_blas_thread
from tlab.nn.params import ParamSpace
from tlab.registry import Registry
from tlab.types import Array

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")

PIECE = 1 << 17  # numbers: as many as stay in a processor's caches with those that a step makes of them


def clip_gradient(grad: Array, max_norm: float) -> float:
    """Shorten the whole gradient in place to `max_norm` where it is longer; 0 never shortens.

    Returns:
        The norm before, over all parameters together.
    """
    norm = math.sqrt(float(grad @ grad))
    if 0 < max_norm < norm:
        grad *= max_norm / norm
    return norm


def in_pieces(*arrays: Array) -> Iterator[list[Array]]:
    """Arrays of one shape, a stretch of all of them after the other: views, to read and to write through.

    So what is made on the way is as large as a stretch and not as the model, and is still in the caches when it is
    read again.
    """
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, PIECE):
        yield [vector[start : start + PIECE] for vector in flat]


class Optimizer:
    """The contract: `step(space, learning_rate)` changes `space.data` in place, by `space.grad`.

    `state` holds whatever the next step needs, as flat vectors by name: a checkpoint stores it. `num_updates` counts
    the steps made. `reference` is one step for weights that all decay: (weights, gradient, *state, number of the step,
    learning rate, *options) -> (weights, *state). They have one axis, but for a hidden matrix, (in, out).
    """

    options: ClassVar[tuple[str, ...]] = ("weight_decay",)
    """The fields of the training config that it reads, and has as attributes; without weight_decay nothing decays."""
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
        for grad, data in in_pieces(space.grad[decayed], space.data[decayed]):
            grad += self.weight_decay * data


@OPTIMIZERS.add(
    "sgd",
    label="SGD with momentum",
    formula=r"v \leftarrow \mu v + g,\quad w \leftarrow w - \eta v",
    source="Polyak 1964; Sutskever et al. 2013",
)
class Sgd(Optimizer):
    """Follows a decaying sum of gradients, so that steady directions gain speed.

    Notice: one step size for all weights, though a transformer's tensors have gradients of very different sizes. That
    is one reason that is given for its doing so much worse here than Adam; rare tokens are another (Kunstner et al.
    2024).
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
        for w, g, v in in_pieces(space.data, space.grad, self.state["velocity"]):
            v *= self.momentum
            v += g
            w -= learning_rate * v


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
        self.num_updates += 1
        self.add_weight_decay(space)
        self.follow_in_pieces(learning_rate, space.data, space.grad, *self.state.values())

    def follow_in_pieces(self, learning_rate: float, *vectors: Array) -> None:
        """`follow_moments` for weights, gradient and both moments, of any one shape and size."""
        for piece in in_pieces(*vectors):
            self.follow_moments(learning_rate, *piece)

    def follow_moments(self, learning_rate: float, w: Array, g: Array, m: Array, v: Array) -> None:
        """The step of `reference` without the decay, in place, for weights of any one shape."""
        t, beta1, beta2 = self.num_updates, self.beta1, self.beta2
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
        w -= update


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
        self.num_updates += 1
        space.data[: space.num_decayed] *= 1 - learning_rate * self.weight_decay
        self.follow_in_pieces(learning_rate, space.data, space.grad, *self.state.values())


@OPTIMIZERS.add(
    "muon",
    label="Muon",
    formula=(
        r"m \leftarrow \mu m + (1-\mu) g,\quad w \leftarrow w - \eta \sqrt{\max(1, d_\mathrm{out} / d_\mathrm{in})}\ "
        r"\mathrm{orth}(\mu m + (1-\mu) g) - \eta \lambda w"
    ),
    source="Jordan et al. 2024; weight decay: Liu et al. 2025",
)
class Muon(Adam):
    """Moves each hidden matrix equally far in all directions that its averaged gradient has, strong or weak.

    Embeddings, the head, biases, scales and shifts follow AdamW, at adam_ratio times the learning rate.

    Notice: a gradient is mostly a few strong directions, which Adam's update is as well. Here every singular value of
    the update is near 1, so directions that hardly show in the gradient are learned as fast as those that dominate it.
    Its learning rate has to be larger than Adam's: an entry of the update is about the rate divided by the root of the
    number of its matrix's inputs, where Adam's is about the rate itself.
    """

    options = ("adam_ratio", "beta1", "beta2", "epsilon", "weight_decay")
    decouples_decay = True

    MOMENTUM: ClassVar[float] = 0.95
    COEFFICIENTS: ClassVar[tuple[float, float, float]] = (3.4445, -4.7750, 2.0315)
    MIN_NORM: ClassVar[float] = 1e-7  # what is smaller is no direction, only rounding

    adam_ratio: float

    def __init__(self, space: ParamSpace, **options: float) -> None:
        super().__init__(space, **options)
        if not any(param.role == "matrix" for param in space.values()):
            raise ConfigError(
                "optimizer = 'muon': this model has no hidden matrix, and Muon is for nothing else; take 'adamw', "
                "which Muon leaves all other parameters to"
            )

    @staticmethod
    def reference(  # pyright: ignore[reportIncompatibleMethodOverride]
        w, gradient, m, v, t, learning_rate, adam_ratio, beta1, beta2, epsilon, weight_decay
    ):
        if w.ndim == 1:
            rate = adam_ratio * learning_rate
            return AdamW.reference(w, gradient, m, v, t, rate, beta1, beta2, epsilon, weight_decay)
        m = 0.95 * m + 0.05 * gradient  # running mean of the gradient
        x = 0.95 * m + 0.05 * gradient  # Nesterov: as it will be, should this gradient come again
        x = x / max(np.linalg.norm(x), 1e-7)
        for _ in range(5):  # a singular value s becomes 3.4445 s - 4.775 s^3 + 2.0315 s^5
            x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
        factor = math.sqrt(max(1, w.shape[1] / w.shape[0]))
        return w - learning_rate * (factor * x + weight_decay * w), m, v

    def step(self, space: ParamSpace, learning_rate: float) -> None:
        self.num_updates += 1
        adam_rate = self.adam_ratio * learning_rate
        first, second = (space.split(self.state[name]) for name in self.state_names)
        with one_blas_thread():  # so the last bits do not depend on how many there are
            for name, param in space.items():
                rate = learning_rate if param.role == "matrix" else adam_rate
                if param.is_decayed:
                    param.data *= 1 - rate * self.weight_decay
                if param.role == "matrix":
                    self.follow_directions(rate, param.data, param.grad, first[name])
                else:
                    self.follow_in_pieces(rate, param.data, param.grad, first[name], second[name])

    def follow_directions(self, learning_rate: float, w: Array, g: Array, m: Array) -> None:
        """The step of `reference` without the decay, in place; all arrays are (in, out)."""
        m *= self.MOMENTUM
        m += (1 - self.MOMENTUM) * g
        update = self.orthogonalize(self.MOMENTUM * m + (1 - self.MOMENTUM) * g)
        update *= learning_rate * math.sqrt(max(1, w.shape[1] / w.shape[0]))
        w -= update

    @classmethod
    def orthogonalize(cls, matrix: Array) -> Array:
        """About U V^T of a matrix U S V^T, its singular values all made one: five Newton-Schulz steps.

        Each step makes of a singular value s the polynomial a s + b s^3 + c s^5. The coefficients are chosen to lift
        small ones fast, and not to hit 1 exactly: what was above a hundredth of the norm ends between 0.68 and 1.14,
        and nothing above 1.21.

        The work is the same however small the batch: with two layers and batches of 1,024 tokens a step takes 1.15, 1.3
        and 1.7 times as long as with AdamW at widths of 64, 128 and 256, on one thread.
        """
        a, b, c = cls.COEFFICIENTS
        x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T  # the smaller side first: cheaper products
        x = x / max(math.sqrt(np.vdot(x, x)), cls.MIN_NORM)  # now none is above 1
        for _ in range(5):
            squared = x @ x.T
            polynomial = squared @ squared
            polynomial *= c
            squared *= b
            polynomial += squared
            polynomial.ravel()[:: len(x) + 1] += a  # along the diagonal
            x = polynomial @ x
        return x if x.shape == matrix.shape else x.T

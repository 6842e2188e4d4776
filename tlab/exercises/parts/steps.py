"""Exercises about the step of an optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, Problem, as_array, mistake, require, require_equal
from tlab.nn.params import ParamSpace, zeros
from tlab.training.optimizers import OPTIMIZERS, AdamW, clip_gradient
from tlab.training.trainer import Trainer
from tlab.types import Array

WEIGHTS = "(N,)"


@EXERCISES.add(
    "adamw", label="AdamW", formula=OPTIMIZERS.entries["adamw"].formula, source=OPTIMIZERS.entries["adamw"].source
)
class WriteAdamW(Exercise):
    """Make one update, given the gradient and the running means m and v, which begin as zeros."""

    part = AdamW
    takes = {
        "w": f"{WEIGHTS}, the weights",
        "gradient": WEIGHTS,
        "m": f"{WEIGHTS}, the running mean of the gradient",
        "v": f"{WEIGHTS}, that of its square",
        "t": "the number of this update; the first is 1",
        "learning_rate": "eta",
        "beta1": "how much of m stays",
        "beta2": "how much of v stays",
        "epsilon": "added to the root of v, corrected",
        "weight_decay": "lambda: all weights shrink by learning_rate * weight_decay of themselves",
    }
    gives = {"w": f"{WEIGHTS}, the new weights", "m": f"{WEIGHTS}, the new mean", "v": f"{WEIGHTS}, likewise"}
    OPTIONS = (0.9, 0.99, 1e-8, 0.1)

    @staticmethod
    def solution(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        space = ParamSpace()
        space.declare("w", (len(w), 1), zeros, "matrix")
        space.pack(0, np.dtype(np.float64))
        optimizer = AdamW(space, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay)
        space.data[...], space.grad[...] = w, gradient
        optimizer.num_updates = t - 1
        optimizer.state = {"first_moment": m.copy(), "second_moment": v.copy()}
        optimizer.step(space, learning_rate)
        return space.data, *optimizer.state.values()

    def cases(self, rng):
        w, gradient, m = (rng.normal(size=6) for _ in range(3))
        v = rng.uniform(0.1, 1.0, 6)
        return [
            (w, gradient, np.zeros(6), np.zeros(6), 1, 0.01, 0.9, 0.99, 0.1, 0.3),
            (w, gradient, m, v, 3, 0.02, 0.8, 0.95, 0.05, 0.2),
        ]

    def promises(self):
        return {
            "the first step is as long as the learning rate, however large the gradient": self.begin_evenly,
            "without a gradient the weights shrink by learning_rate * weight_decay": self.shrink,
        }

    def begin_evenly(self, answer: Attempt) -> None:
        nothing, gradient = np.zeros(4), np.array([1e-3, -1.0, 5.0, -1e4])
        w = answer(np.zeros(4), gradient, nothing, nothing.copy(), 1, 0.01, 0.9, 0.99, 1e-12, 0.0)[0]
        words = f"it moves the weights by {', '.join(f'{change:.3g}' for change in np.asarray(w))}"
        require_equal(w, [-0.01, 0.01, -0.01, 0.01], words)

    def shrink(self, answer: Attempt) -> None:
        w = np.array([1.0, -2.0, 0.5])
        after = np.asarray(answer(w.copy(), np.zeros(3), np.zeros(3), np.zeros(3), 1, 0.1, 0.9, 0.99, 1e-8, 0.5)[0])
        require_equal(after, 0.95 * w, f"a weight of 1 becomes {after[0]:.4g}; 0.95 is right for 0.1 * 0.5")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        optimizer: Any = trainer.optimizer

        def step(space: ParamSpace, learning_rate: float) -> None:
            optimizer.num_updates += 1
            m, v = optimizer.state.values()
            for part, decay in (
                (slice(space.num_decayed), optimizer.weight_decay),
                (slice(space.num_decayed, None), 0.0),
            ):
                arrays = (array[part].copy() for array in (space.data, space.grad, m, v))
                options = (optimizer.beta1, optimizer.beta2, optimizer.epsilon, decay)
                space.data[part], m[part], v[part] = answer(*arrays, optimizer.num_updates, learning_rate, *options)

        optimizer.step = step

    @staticmethod
    def varied(
        *inputs: Any, correct: tuple[bool, bool] = (True, True), root: Callable[[Array], Array] = np.sqrt
    ) -> Any:
        """The step, with one thing changed: what is corrected for the start, or how the denominator is made."""
        w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay = inputs
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient * gradient
        m_hat = m / (1 - beta1**t) if correct[0] else m
        v_hat = v / (1 - beta2**t) if correct[1] else v
        return w - learning_rate * (m_hat / (root(v_hat) + epsilon) + weight_decay * w), m, v

    @mistake(
        "bias correction forgotten",
        "m and v begin as zeros and are too small at first. Divide them by 1 - beta1^t and 1 - beta2^t.",
    )
    @staticmethod
    def uncorrected(*inputs):
        return WriteAdamW.varied(*inputs, correct=(False, False))

    @mistake("bias correction of v forgotten", "v begins as zeros, too: divide it by 1 - beta2^t.")
    @staticmethod
    def uncorrected_v(*inputs):
        return WriteAdamW.varied(*inputs, correct=(True, False))

    @mistake("bias correction of m forgotten", "m begins as zeros, too: divide it by 1 - beta1^t.")
    @staticmethod
    def uncorrected_m(*inputs):
        return WriteAdamW.varied(*inputs, correct=(False, True))

    @mistake(
        "weight decay in the gradient",
        "That is Adam with an L2 penalty, whose decay is divided by sqrt(v) as well. AdamW decouples it: it takes "
        "learning_rate * weight_decay * w off the weights, beside the update.",
    )
    @staticmethod
    def coupled(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        gradient = gradient + weight_decay * w
        return WriteAdamW.varied(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, 0.0)

    @mistake("weight decay forgotten", "The weights also shrink by learning_rate * weight_decay of themselves.")
    @staticmethod
    def without_decay(*inputs):
        *others, _ = inputs
        return WriteAdamW.varied(*others, 0.0)

    @mistake("weight decay without the learning rate", "The decay is multiplied with the learning rate as well.")
    @staticmethod
    def full_decay(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        decay = weight_decay / learning_rate
        return WriteAdamW.varied(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, decay)

    @mistake("epsilon inside the root", "Adam adds epsilon to the root: sqrt(v_hat) + epsilon.")
    @staticmethod
    def epsilon_inside(*inputs):
        *others, epsilon, weight_decay = inputs
        return WriteAdamW.varied(*others, 0.0, weight_decay, root=lambda v: np.sqrt(v + epsilon))

    @mistake(
        "root forgotten", "The mean of m is divided by the root of v, else gradients of all sizes are turned over."
    )
    @staticmethod
    def without_root(*inputs):
        return WriteAdamW.varied(*inputs, root=lambda v: v)

    @mistake("gradient not squared in v", "v is the running mean of the gradient's square.")
    @staticmethod
    def not_squared(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient
        update = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        return w - learning_rate * (update + weight_decay * w), m, v

    @mistake("updates counted from 0", "The first update has t = 1. With t - 1 its correction would divide by 0.")
    @staticmethod
    def from_zero(w, gradient, m, v, t, *options):
        return WriteAdamW.varied(w, gradient, m, v, t - 1, *options)

    @mistake("updates counted twice", "t is the number of this update already; do not add 1 to it.")
    @staticmethod
    def from_two(w, gradient, m, v, t, *options):
        return WriteAdamW.varied(w, gradient, m, v, t + 1, *options)

    @mistake("beta1 and beta2 exchanged", "beta1 belongs to m, the mean of the gradient, and beta2 to v.")
    @staticmethod
    def exchanged(w, gradient, m, v, t, learning_rate, beta1, beta2, *options):
        return WriteAdamW.varied(w, gradient, m, v, t, learning_rate, beta2, beta1, *options)

    @mistake(
        "corrected means returned",
        "m_hat and v_hat are for this update alone; return m and v as they are, or they are corrected again and again.",
    )
    @staticmethod
    def returns_hats(w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay):
        inputs = (w, gradient, m, v, t, learning_rate, beta1, beta2, epsilon, weight_decay)
        w, m, v = WriteAdamW.varied(*inputs)
        return w, m / (1 - beta1**t), v / (1 - beta2**t)


def total_norm(gradients: list[Array]) -> float:
    """The length of all gradients as one vector."""
    return float(np.sqrt(sum(float(np.sum(gradient * gradient)) for gradient in gradients)))


@EXERCISES.add(
    "clip_gradients",
    label="Gradient clipping",
    formula=r"g \to g \cdot \min\left(1,\ \frac{c}{\lVert g \rVert}\right)",
    source="Pascanu et al. 2013",
)
class WriteClipGradients(Exercise):
    """Shorten the gradients of all tensors together to a length of `max_norm`, where they are longer.

    Their length is that of one vector with all entries of all tensors.
    """

    part, training = clip_gradient, {"gradient_clip": 0.1}  # which every step's gradient is longer than
    takes = {"gradients": "a list of arrays of any shapes, one per tensor", "max_norm": "the length c, above 0"}
    gives = {"clipped": "a list of arrays of the same shapes"}

    @staticmethod
    def solution(gradients, max_norm):
        flat = np.concatenate([gradient.ravel() for gradient in gradients])
        clip_gradient(flat, max_norm)
        ends = np.cumsum([gradient.size for gradient in gradients])
        parts = np.split(flat, ends[:-1])
        return [part.reshape(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]

    def outputs(self, answer, case):
        gradients, max_norm = case
        returned = answer([gradient.copy() for gradient in gradients], max_norm)
        if not isinstance(returned, list | tuple):
            what = "None" if returned is None else f"one {type(returned).__name__}"
            raise Problem(f"it returned {what} where a list of {len(gradients)} arrays is asked for")
        return {f"clipped[{i}]": as_array(f"clipped[{i}]", array) for i, array in enumerate(returned)}

    def cases(self, rng):
        shapes = ((3, 4), (4,), (2, 2, 3))
        gradients = [size * rng.normal(size=shape) for size, shape in zip((3.0, 0.1, 1.0), shapes, strict=True)]
        return [(gradients, 2.0), (gradients, 0.5), (gradients, 1000.0)]

    def promises(self):
        return {
            "long gradients come out with the length max_norm": self.have_the_norm,
            "short ones stay as they are": self.spare_the_short,
            "gradients of 0 stay 0": self.stand_zeros,
        }

    def have_the_norm(self, answer: Attempt) -> None:
        rng = np.random.default_rng(50)
        norm = total_norm(list(answer([rng.normal(size=(5, 5)), 10 * rng.normal(size=3)], 1.5)))
        require_equal(norm, 1.5, f"with max_norm = 1.5 their length is {norm:.4g}")

    def spare_the_short(self, answer: Attempt) -> None:
        gradients = [np.array([0.3, -0.2]), np.array([[0.1]])]
        for got, wanted in zip(answer([g.copy() for g in gradients], 1.0), gradients, strict=True):
            require_equal(got, wanted, "they are changed")

    def stand_zeros(self, answer: Attempt) -> None:
        clipped = answer([np.zeros(3), np.zeros((2, 2))], 1.0)
        require(all(not np.any(array) for array in clipped), "they do not: is something divided by 0?")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        max_norm = trainer.train_config.gradient_clip
        trainer.train_config = dataclasses.replace(trainer.train_config, gradient_clip=0.0)
        params = list(trainer.model.parameters.values())

        def clip(step: int, gradient_norm: float, batch: Any) -> None:
            for param, clipped in zip(params, answer([p.grad.copy() for p in params], max_norm), strict=True):
                param.grad[...] = clipped

        trainer.observe = clip

    @mistake(
        "each tensor clipped alone",
        "The length is that of all tensors together, and all are multiplied with one factor. Clipped one by one, their "
        "sizes relative to each other change, and so does the direction.",
    )
    @staticmethod
    def one_by_one(gradients, max_norm):
        return [gradient * min(1.0, max_norm / total_norm([gradient])) for gradient in gradients]

    @mistake(
        "each entry clipped",
        "np.clip cuts entries one by one, which changes the direction. Multiply all gradients with one factor.",
    )
    @staticmethod
    def by_value(gradients, max_norm):
        return [np.clip(gradient, -max_norm, max_norm) for gradient in gradients]

    @mistake("short gradients lengthened", "Only what is longer than max_norm is scaled: the factor is never above 1.")
    @staticmethod
    def always(gradients, max_norm):
        return [gradient * (max_norm / total_norm(gradients)) for gradient in gradients]

    @mistake("root forgotten", "The length is the root of the sum of squares.")
    @staticmethod
    def without_root(gradients, max_norm):
        return [gradient * min(1.0, max_norm / total_norm(gradients) ** 2) for gradient in gradients]

    @mistake(
        "norms of the tensors added", "Squares add up, lengths do not: sum the squares of all entries, then the root."
    )
    @staticmethod
    def sum_of_norms(gradients, max_norm):
        norm = sum(total_norm([gradient]) for gradient in gradients)
        return [gradient * min(1.0, max_norm / norm) for gradient in gradients]

    @mistake("largest entry for the length", "The length is the root of the sum of all squares, not the largest entry.")
    @staticmethod
    def by_largest(gradients, max_norm):
        largest = max(float(np.abs(gradient).max()) for gradient in gradients)
        return [gradient * min(1.0, max_norm / largest) for gradient in gradients]

    @mistake("root mean square for the length", "The length is the root of the sum of squares, not of their mean.")
    @staticmethod
    def by_mean(gradients, max_norm):
        norm = total_norm(gradients) / np.sqrt(sum(gradient.size for gradient in gradients))
        return [gradient * min(1.0, max_norm / norm) for gradient in gradients]

    @mistake("nothing is shortened", "Where the length is above max_norm, multiply all with max_norm / length.")
    @staticmethod
    def nothing(gradients, max_norm):
        return gradients

"""Exercises about activations."""

from __future__ import annotations

import math

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, check_slopes, mistake, require_equal
from tlab.nn.activations import ACTIVATIONS, Gelu
from tlab.training.trainer import Trainer
from tlab.types import Array

SLOPE, CUBIC = math.sqrt(2 / math.pi), 0.044715


def tanh_and_slope(x: Array) -> tuple[Array, Array]:
    """tanh(u) and du/dx, where u is what GELU's tanh is taken of."""
    u = SLOPE * (x + CUBIC * x * x * x)
    return np.tanh(u), SLOPE * (1 + 3 * CUBIC * x * x)


@EXERCISES.add(
    "gelu_backward",
    label="GELU, backward",
    formula=ACTIVATIONS.entries["gelu"].formula,
    source=ACTIVATIONS.entries["gelu"].source,
)
class WriteGeluBackward(Exercise):
    """Given the gradient of GELU's output, in its tanh form, return that of its input."""

    part, model = Gelu, {"activation": "gelu"}
    takes = {"dy": "any shape, the gradient of the loss with respect to the output", "x": "that shape, the input"}
    gives = {"dx": "that shape"}

    @staticmethod
    def solution(dy, x):
        gelu = Gelu()
        return gelu.backward(dy, gelu.forward(x)[1])

    def cases(self, rng):
        far = np.array([[-40.0, -5.0, -1.0, 0.0, 1.0, 5.0, 40.0]])
        return [(rng.normal(size=(2, 3, 5)), rng.normal(0.0, 1.5, (2, 3, 5))), (rng.normal(size=(1, 7)), far)]

    def promises(self):
        return {
            "it agrees with finite differences": self.follow_x,
            "the slope is 0 far left, a half at 0 and 1 far right": self.have_slopes,
        }

    def follow_x(self, answer: Attempt) -> None:
        rng = np.random.default_rng(5)
        dy, x = rng.normal(size=(2, 6)), rng.normal(0.0, 1.5, (2, 6))
        check_slopes(lambda z: float(np.sum(dy * Gelu.reference(z))), x, answer(dy.copy(), x.copy()), "dx")

    def have_slopes(self, answer: Attempt) -> None:
        slopes = np.asarray(answer(np.ones(3), np.array([-30.0, 0.0, 30.0])))
        require_equal(slopes, [0.0, 0.5, 1.0], f"they are {', '.join(f'{slope:.4g}' for slope in slopes)}")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        for block in trainer.model.blocks:
            block.mlp.activation.backward = lambda dy, cache: np.asarray(answer(dy.copy(), cache.x.copy()))

    @mistake("gradient from above forgotten", "dx is dy times the slope of GELU at x; the slope alone is no gradient.")
    @staticmethod
    def without_dy(dy, x):
        return WriteGeluBackward.solution(np.ones_like(dy), x)

    @mistake(
        "second term of the product rule forgotten",
        "GELU is a product of x and the bracket, and both depend on x: the bracket plus x times its derivative.",
    )
    @staticmethod
    def first_term(dy, x):
        return dy * 0.5 * (1 + tanh_and_slope(x)[0])

    @mistake(
        "first term of the product rule forgotten",
        "GELU is a product of x and the bracket: add the bracket itself to x times its derivative.",
    )
    @staticmethod
    def second_term(dy, x):
        tanh, slope = tanh_and_slope(x)
        return dy * 0.5 * x * (1 - tanh * tanh) * slope

    @mistake("the 3 of the cube's derivative forgotten", "The derivative of 0.044715 x^3 is 3 times 0.044715 x^2.")
    @staticmethod
    def without_three(dy, x):
        tanh, _ = tanh_and_slope(x)
        slope = SLOPE * (1 + CUBIC * x * x)
        return dy * 0.5 * (1 + tanh + x * (1 - tanh * tanh) * slope)

    @mistake(
        "inner derivative forgotten",
        "By the chain rule the derivative of tanh(u) is (1 - tanh(u)^2) times du/dx, which is not 1 here.",
    )
    @staticmethod
    def without_inner(dy, x):
        tanh, _ = tanh_and_slope(x)
        return dy * 0.5 * (1 + tanh + x * (1 - tanh * tanh))

    @mistake(
        "1 - tanh in place of 1 - tanh^2", "The derivative of tanh is 1 - tanh^2; that of the sigmoid is s (1 - s)."
    )
    @staticmethod
    def not_squared(dy, x):
        tanh, slope = tanh_and_slope(x)
        return dy * 0.5 * (1 + tanh + x * (1 - tanh) * slope)

    @mistake("the half forgotten", "GELU is x / 2 times the bracket, so its slope has the factor 1/2, too.")
    @staticmethod
    def without_half(dy, x):
        return 2 * WriteGeluBackward.solution(dy, x)

    @mistake(
        "the exact form's derivative",
        "Phi(x) + x phi(x) belongs to GELU with the error function. What is asked for is the derivative of its tanh "
        "form, which differs by up to a thousandth.",
    )
    @staticmethod
    def exact_form(dy, x):
        cdf = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        return dy * (cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))

    @mistake("ReLU's slope", "GELU has a slope left of zero, too, and not 1 right of it.")
    @staticmethod
    def relu(dy, x):
        return dy * (x > 0)

"""Exercises about the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, check_slopes, mistake, require, require_equal
from tlab.nn.loss import CrossEntropy, softmax
from tlab.training.trainer import Trainer
from tlab.types import Array, Ids

LOGITS = "(B, T, V): for each of B x T tokens a score for each token of the vocabulary that may come next"
TARGETS = "(B, T), whole numbers from 0 to V - 1: the token that did come next"
LOSS_SOURCE = "Bridle 1990; Goodfellow et al. 2016, section 6.2"
OVERFLOW = "max not subtracted"
OVERFLOW_ADVICE = (
    "exp of a large logit overflows. Subtract each token's largest logit first: a softmax stays the same when all "
    "logits of a token are shifted."
)
SOFTMAX_AXIS_ADVICE = "The probabilities of one token's successors sum to 1: the softmax is over the last axis, V."


def random_case(rng: np.random.Generator, spread: float) -> tuple[Array, Ids]:
    """Logits (2, 3, 5) and targets (2, 3)."""
    return rng.normal(0.0, spread, (2, 3, 5)), rng.integers(0, 5, (2, 3))


def of_targets(x: Array, targets: Ids) -> Array:
    """(B, T, V) -> (B, T): the entry of each token's target."""
    return np.take_along_axis(x, targets[..., None], -1)[..., 0]


def one_hot(targets: Ids, V: int) -> Array:
    """(B, T) -> (B, T, V)."""
    return np.eye(V)[targets]


class PlantedLoss(CrossEntropy):
    """The cross-entropy, with an answer in one direction and the lab's own in the other."""

    def __init__(self, value: Attempt | None = None, gradient: Attempt | None = None) -> None:
        self.value, self.gradient = value, gradient

    def forward(self, logits: Array, targets: Ids) -> tuple[float, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss, cache = CrossEntropy.forward(logits, targets)
        if self.value is not None:
            loss = float(self.value(logits.copy(), targets.copy()))
        return loss, (cache, logits, targets)

    def backward(self, cache: Any, shape: tuple[int, ...], share: float = 1.0) -> Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        kept, logits, targets = cache
        if self.gradient is None:
            return CrossEntropy.backward(kept, shape, share)
        return share * np.asarray(self.gradient(logits.copy(), targets.copy()))


@EXERCISES.add(
    "cross_entropy",
    label="Softmax cross-entropy",
    formula=r"-\frac{1}{N} \sum_t \log \mathrm{softmax}(\mathrm{logits}_t)_{\mathrm{target}_t}",
    source=LOSS_SOURCE,
)
class WriteCrossEntropy(Exercise):
    """Return the mean over all tokens of -log p(target), in nats, where p is the softmax of a token's logits."""

    part = CrossEntropy
    takes = {"logits": LOGITS, "targets": TARGETS}
    gives = {"loss": "one number"}

    @staticmethod
    def solution(logits, targets):
        return CrossEntropy.forward(logits, targets)[0]

    def cases(self, rng):
        large = np.array([[[1000.0, 990.0, 0.0], [-1000.0, 1000.0, 999.0]]])
        far_apart = np.array([[[0.0, -2000.0, -1.0]]])
        return [
            random_case(rng, 2.0), random_case(rng, 1.0), (large, np.array([[1, 2]])), (far_apart, np.array([[1]]))
        ]  # fmt: skip

    def promises(self):
        return {
            "equal logits cost log V": self.cost_log_v,
            "a sure and right prediction costs nothing": self.cost_nothing,
            "adding a number to all logits of a token changes nothing": self.ignore_shifts,
        }

    def cost_log_v(self, answer: Attempt) -> None:
        loss = answer(np.zeros((2, 3, 7)), np.zeros((2, 3), np.int64))
        require_equal(loss, math.log(7), f"7 equal logits cost {loss:.4g}, and log 7 is {math.log(7):.4g}")

    def cost_nothing(self, answer: Attempt) -> None:
        targets = np.array([[0, 2]])
        loss = answer(50.0 * one_hot(targets, 3), targets)
        require(abs(loss) < 1e-9, f"it costs {loss:.4g}")

    def ignore_shifts(self, answer: Attempt) -> None:
        logits, targets = random_case(np.random.default_rng(6), 1.0)
        shifted = logits + np.random.default_rng(7).normal(size=(2, 3, 1))
        require_equal(answer(shifted, targets.copy()), answer(logits, targets.copy()), "the loss is another one")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        trainer.model.loss = PlantedLoss(value=answer)

    @mistake(OVERFLOW, OVERFLOW_ADVICE)
    @staticmethod
    def not_shifted(logits, targets):
        return (np.log(np.exp(logits).sum(-1)) - of_targets(logits, targets)).mean()

    @mistake(OVERFLOW, OVERFLOW_ADVICE)
    @staticmethod
    def divided_unshifted(logits, targets):
        exponentials = np.exp(logits)
        return -np.log(of_targets(exponentials / exponentials.sum(-1, keepdims=True), targets)).mean()

    @mistake(
        "logarithm of a probability that is 0",
        "A probability of exp(-2000) is rounded to 0, and its logarithm is minus infinity. Take the logarithm before "
        "the exponential: log p = logit - max - log(sum(exp(logits - max))).",
    )
    @staticmethod
    def of_rounded(logits, targets):
        return -np.log(of_targets(softmax(logits), targets)).mean()

    @mistake(
        "sum in place of the mean", "Divide by the number of tokens, B T: else the loss depends on the batch size."
    )
    @staticmethod
    def summed(logits, targets):
        return CrossEntropy.forward(logits, targets)[0] * targets.size

    @mistake("divided by B alone", "The mean is over all tokens, B T of them, not over texts.")
    @staticmethod
    def per_text(logits, targets):
        return CrossEntropy.forward(logits, targets)[0] * targets.shape[1]

    @mistake("divided by V as well", "The mean is over the tokens, B T of them; each has one target among the V.")
    @staticmethod
    def per_entry(logits, targets):
        return CrossEntropy.forward(logits, targets)[0] / logits.shape[-1]

    @mistake("bits in place of nats", "np.log2 gives bits. The loss is asked for in nats: np.log.")
    @staticmethod
    def in_bits(logits, targets):
        return CrossEntropy.forward(logits, targets)[0] / math.log(2)

    @mistake("sign forgotten", "A logarithm of a probability is negative; the loss is minus that.")
    @staticmethod
    def negative(logits, targets):
        return -CrossEntropy.forward(logits, targets)[0]

    @mistake("softmax over the wrong axis", SOFTMAX_AXIS_ADVICE)
    @staticmethod
    def over_tokens(logits, targets):
        return -np.log(of_targets(softmax(logits.swapaxes(1, 2)).swapaxes(1, 2), targets)).mean()

    @mistake("softmax over the wrong axis", SOFTMAX_AXIS_ADVICE)
    @staticmethod
    def over_everything(logits, targets):
        return -np.log(of_targets(softmax(logits.ravel()).reshape(logits.shape), targets)).mean()

    @mistake("logarithm forgotten", "The loss is minus the logarithm of the target's probability, not 1 minus it.")
    @staticmethod
    def one_minus(logits, targets):
        return (1 - of_targets(softmax(logits), targets)).mean()


@EXERCISES.add(
    "cross_entropy_backward",
    label="Softmax cross-entropy, backward",
    formula=r"\mathrm{d}\,\mathrm{logits}_t = \frac{1}{N} \left(\mathrm{softmax}(\mathrm{logits}_t) - "
    r"\mathrm{onehot}(\mathrm{target}_t)\right)",
    source=LOSS_SOURCE,
)
class WriteCrossEntropyBackward(Exercise):
    """Return the gradient of the mean cross-entropy with respect to the logits."""

    part = CrossEntropy
    takes = {"logits": LOGITS, "targets": TARGETS}
    gives = {"dlogits": "(B, T, V)"}

    @staticmethod
    def solution(logits, targets):
        return CrossEntropy.backward(CrossEntropy.forward(logits, targets)[1], logits.shape)

    def cases(self, rng):
        large = np.array([[[1000.0, 999.0, 0.0], [-1000.0, 1000.0, 999.0]]])
        return [random_case(rng, 2.0), random_case(rng, 1.0), (large, np.array([[1, 0]]))]

    def promises(self):
        return {
            "it agrees with finite differences": self.follow_logits,
            "what a token's logits get sums to 0": self.sum_to_nothing,
        }

    def follow_logits(self, answer: Attempt) -> None:
        logits, targets = random_case(np.random.default_rng(8), 1.0)
        dlogits = answer(logits.copy(), targets.copy())
        check_slopes(lambda z: CrossEntropy.forward(z, targets)[0], logits, dlogits, "dlogits")

    def sum_to_nothing(self, answer: Attempt) -> None:
        logits, targets = random_case(np.random.default_rng(9), 1.0)
        total = np.sum(answer(logits, targets), axis=-1)
        require_equal(total, np.zeros((2, 3)), f"one token's sum is {total[0, 0]:.4g}")

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        trainer.model.loss = PlantedLoss(gradient=answer)

    @mistake(
        "mean over the batch forgotten",
        "The loss is a mean over N = B T tokens, so each token's gradient has the factor 1 / N.",
    )
    @staticmethod
    def not_divided(logits, targets):
        return softmax(logits) - one_hot(targets, logits.shape[-1])

    @mistake("divided by B alone", "The loss is a mean over N = B T tokens, so divide by both B and T.")
    @staticmethod
    def per_text(logits, targets):
        return (softmax(logits) - one_hot(targets, logits.shape[-1])) / len(targets)

    @mistake("divided by V as well", "The loss is a mean over N = B T tokens; V does not count.")
    @staticmethod
    def per_entry(logits, targets):
        return (softmax(logits) - one_hot(targets, logits.shape[-1])) / logits.size

    @mistake("target's 1 not subtracted", "Each target's own entry is its probability minus 1.")
    @staticmethod
    def without_target(logits, targets):
        return softmax(logits) / targets.size

    @mistake("sign turned", "It is probability minus one-hot: a step against the gradient raises the target's logit.")
    @staticmethod
    def turned(logits, targets):
        return (one_hot(targets, logits.shape[-1]) - softmax(logits)) / targets.size

    @mistake(OVERFLOW, OVERFLOW_ADVICE)
    @staticmethod
    def not_shifted(logits, targets):
        exponentials = np.exp(logits)
        return (exponentials / exponentials.sum(-1, keepdims=True) - one_hot(targets, logits.shape[-1])) / targets.size

    @mistake("softmax over the wrong axis", SOFTMAX_AXIS_ADVICE)
    @staticmethod
    def over_tokens(logits, targets):
        p = softmax(logits.swapaxes(1, 2)).swapaxes(1, 2)
        return (p - one_hot(targets, logits.shape[-1])) / targets.size

    @mistake(
        "only the target's entry",
        "Raising any other logit lowers the target's probability: each of the V entries has a gradient.",
    )
    @staticmethod
    def target_alone(logits, targets):
        hot = one_hot(targets, logits.shape[-1])
        return (softmax(logits) - 1) * hot / targets.size

"""Exercises about the choice of a token."""

from __future__ import annotations

import numpy as np

from tlab.exercises.exercise import EXERCISES, Attempt, Exercise, mistake, require, require_equal
from tlab.generate import keep_top_p
from tlab.nn.loss import softmax
from tlab.types import Array, Ids


def kept_first(probabilities: Array, count: int, order: Ids | None = None) -> Array:
    """The first `count` of an order, by default from the likeliest on, made to sum to 1 again; 0 elsewhere."""
    order = np.argsort(-probabilities) if order is None else order
    kept = np.zeros_like(probabilities)
    kept[order[:count]] = probabilities[order[:count]]
    return kept / kept.sum()


def num_needed(probabilities: Array, p: float) -> int:
    """How many tokens, from the likeliest on, reach p together."""
    return int(np.searchsorted(np.cumsum(np.sort(probabilities)[::-1]), p)) + 1


@EXERCISES.add(
    "top_p",
    label="Top-p sampling",
    formula=r"\min \{k : p_{(1)} + \dots + p_{(k)} \ge p\}",
    source="Holtzman et al. 2020",
)
class WriteTopP(Exercise):
    """Keep the smallest set of likeliest tokens that have at least the probability p together.

    All others get the probability 0, and what is kept is made to sum to 1 again. Places stay as they are.
    """

    part, trains = keep_top_p, False
    takes = {"probabilities": "(V,), they sum to 1", "p": "above 0, below 1"}
    gives = {"kept": "(V,), they sum to 1"}

    @staticmethod
    def solution(probabilities, p):
        with np.errstate(divide="ignore"):
            return softmax(keep_top_p(np.log(probabilities), p))

    def cases(self, rng):
        first = np.array([0.05, 0.4, 0.02, 0.25, 0.15, 0.13])
        second = rng.permutation(softmax(rng.normal(0.0, 2.0, 9)))
        return [(first, p) for p in (0.3, 0.5, 0.9, 0.97)] + [(second, p) for p in (0.1, 0.7)]

    def promises(self):
        return {
            "what is kept sums to 1": self.sum_to_one,
            "at least one token is kept": self.keep_one,
            "what is kept had at least p, and without its least likely token less": self.reach_p,
        }

    def sum_to_one(self, answer: Attempt) -> None:
        total = float(np.sum(answer(np.array([0.1, 0.2, 0.3, 0.4]), 0.6)))
        require_equal(total, 1.0, f"it sums to {total:.4g}")

    def keep_one(self, answer: Attempt) -> None:
        kept = np.asarray(answer(np.array([0.3, 0.6, 0.1]), 0.05))
        require_equal(
            kept, [0.0, 1.0, 0.0], "for p = 0.05 and probabilities of 0.3, 0.6 and 0.1 it should be the second"
        )

    def reach_p(self, answer: Attempt) -> None:
        probabilities = softmax(np.random.default_rng(60).normal(0.0, 1.5, 20))
        for p in (0.2, 0.5, 0.8, 0.95):
            kept = probabilities[np.asarray(answer(probabilities.copy(), p)) > 0]
            least = kept.min() if len(kept) else 0.0
            require(kept.sum() >= p > kept.sum() - least, f"for p = {p:g} the kept ones had {kept.sum():.4g} together")

    def keep(self, answer: Attempt) -> Attempt:
        return answer

    @mistake(
        "the token that crosses p is left out",
        "The set has to reach p: it ends with the token whose probability carries the sum to p or above, that one "
        "included. Keep a token if the sum before it is below p.",
    )
    @staticmethod
    def below_p(probabilities, p):
        return kept_first(probabilities, num_needed(probabilities, p) - 1)

    @mistake(
        "the token that crosses p is left out",
        "The set has to reach p: it ends with the token whose probability carries the sum to p or above, that one "
        "included. Keep a token if the sum before it is below p.",
    )
    @staticmethod
    def below_p_but_one(probabilities, p):
        return kept_first(probabilities, max(1, num_needed(probabilities, p) - 1))

    @mistake("one token too many", "The set ends with the token that carries the sum to p; the next one is out.")
    @staticmethod
    def one_more(probabilities, p):
        return kept_first(probabilities, num_needed(probabilities, p) + 1)

    @mistake("kept tokens do not sum to 1", "Divide what is kept by its sum.")
    @staticmethod
    def not_normalized(probabilities, p):
        return np.where(WriteTopP.solution(probabilities, p) > 0, probabilities, 0.0)

    @mistake("least likely tokens first", "Add up from the likeliest token on: sort downwards.")
    @staticmethod
    def upwards(probabilities, p):
        order = np.argsort(probabilities)
        count = int(np.searchsorted(np.cumsum(probabilities[order]), p)) + 1
        return kept_first(probabilities, count, order)

    @mistake("not sorted", "Add up from the likeliest token on, not in the order of the vocabulary.")
    @staticmethod
    def unsorted(probabilities, p):
        count = int(np.searchsorted(np.cumsum(probabilities), p)) + 1
        return kept_first(probabilities, count, np.arange(len(probabilities)))

    @mistake(
        "returned in sorted order",
        "Place i belongs to token i: put what is kept back where it came from, or other tokens get its probability.",
    )
    @staticmethod
    def left_sorted(probabilities, p):
        return np.sort(WriteTopP.solution(probabilities, p))[::-1]

    @mistake(
        "p as a limit for each token",
        "p is what the kept tokens have together, not what each of them has to have.",
    )
    @staticmethod
    def each_above(probabilities, p):
        kept = np.where(probabilities >= p, probabilities, 0.0)
        return kept / kept.sum()

    @mistake("p relative to the likeliest token", "That is min-p. p is what the kept tokens have together.")
    @staticmethod
    def min_p(probabilities, p):
        kept = np.where(probabilities >= p * probabilities.max(), probabilities, 0.0)
        return kept / kept.sum()

    @mistake(
        "softmax of the kept probabilities", "These are probabilities, not logits: divide what is kept by its sum."
    )
    @staticmethod
    def softmax_again(probabilities, p):
        kept = WriteTopP.solution(probabilities, p) > 0
        return softmax(np.where(kept, probabilities, -np.inf))

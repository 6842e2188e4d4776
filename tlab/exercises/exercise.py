"""What an exercise is: one part of the lab to write oneself, and how an answer is told from a nearly right one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tlab.checks import GRADIENT_LIMIT, directional_error
from tlab.registry import Registry
from tlab.text import Corpus, load_corpus
from tlab.training.trainer import Trainer
from tlab.types import Array
from tlab.wording import several

EXERCISES: Registry[type[Exercise]] = Registry("exercise", is_shown=False)  # they are no parts of the lab

TOLERANCE = 1e-6  # relative to the largest value: sums in another order differ by 1e-15, mistakes by far more

Attempt = Callable[..., Any]
"""What the learner wrote; the lab's own part and every known mistake are called in the same way."""


class Problem(Exception):
    """What is wrong with an answer, in words."""


class KnownMistake(NamedTuple):
    """One that many make: what it is called, what to do about it, and an answer that makes it."""

    name: str
    advice: str
    answer: Attempt


def mistake(name: str, advice: str) -> Callable[[Any], KnownMistake]:
    """Decorator that makes an answer within an exercise, a static method, one of its known mistakes."""
    return lambda answer: KnownMistake(name, advice, answer.__func__)


class Exercise:
    """The contract. The docstring says what is to be written; `solution` does it, by the lab's own part where it can.

    An answer is a function of the exercise's key, which takes arrays of float64 and leaves them as they are.
    """

    part: ClassVar[Callable[..., Any]]
    """The class or function of the lab that does this."""
    takes: ClassVar[Mapping[str, str]]
    """What the answer is given, in order: name -> shape and meaning."""
    gives: ClassVar[Mapping[str, str]]
    """What it returns, likewise; several as a tuple."""
    model: ClassVar[Mapping[str, Any]] = {}
    """Settings of a model that has the part,"""
    training: ClassVar[Mapping[str, Any]] = {}
    """and of a training that uses it."""
    trains: ClassVar[bool] = True
    """Whether the part is used in training, and not in generation alone."""

    solution: Attempt

    def cases(self, rng: np.random.Generator) -> list[tuple[Any, ...]]:
        """Inputs on which a right answer and each known mistake differ from one another."""
        raise NotImplementedError

    def inputs(self, case: Sequence[Any]) -> tuple[Any, ...]:
        """What an answer is called with, as copies."""
        return tuple(copy.deepcopy(case))

    def outputs(self, answer: Attempt, case: Sequence[Any]) -> dict[str, Array]:
        """What an answer makes of a case: name -> array.

        Raises:
            Problem: it is not what was asked for.
        """
        return results_by_name(answer(*self.inputs(case)), self.gives)

    def promises(self) -> dict[str, Callable[[Attempt], None]]:
        """What has to hold of an answer whatever the numbers are: a sentence -> raises a Problem where it does not."""
        return {}

    def corpus(self, name: str, answer: Attempt) -> Corpus:
        """The text that is trained on; only a tokenizer makes a difference between two answers."""
        return load_corpus(name)

    def plant(self, trainer: Trainer, answer: Attempt) -> None:
        """Put an answer in the place of the lab's own part, in a trainer that nobody else uses."""

    def keep(self, answer: Attempt) -> Attempt:
        """What is left of the next token's probabilities (V,), given them and p; for what is used in generation."""
        return EXERCISES["top_p"].solution

    @property
    def mistakes(self) -> list[KnownMistake]:
        """The known ones, in the order in which they are looked for."""
        return [value for value in vars(type(self)).values() if isinstance(value, KnownMistake)]


def results_by_name(returned: Any, gives: Mapping[str, str]) -> dict[str, Array]:
    """What an answer has returned, by name.

    Raises:
        Problem: it is nothing, another number of values, or not made of numbers.
    """
    if returned is None:
        raise Problem(f"it returned None: does it end with `return {', '.join(gives)}`?")
    if len(gives) == 1:
        returned = (returned,)
    elif not isinstance(returned, tuple | list) or len(returned) != len(gives):
        count = f"{len(returned)}" if isinstance(returned, tuple | list) else f"one {type(returned).__name__}"
        raise Problem(f"it returned {count} where {len(gives)} are asked for: {', '.join(gives)}")
    return {name: as_array(name, value) for name, value in zip(gives, returned, strict=True)}


def as_array(name: str, value: Any) -> Array:
    """A returned value as an array of real numbers.

    Raises:
        Problem: it is not one.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise Problem(f"{name} is a list whose parts have different lengths; asked is an array") from None
    if array.dtype.kind == "c":
        raise Problem(f"{name} has complex numbers; asked are real ones, such as the parts .real and .imag")
    if array.dtype.kind not in "fiub":
        raise Problem(f"{name} is of the type {type(value).__name__}; asked is an array of numbers")
    return array


def compare_shapes(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Compare the shapes of two sets of outputs.

    Raises:
        Problem: other names, or another shape.
    """
    if outputs.keys() != expected.keys():
        raise Problem(f"it returned {several(len(outputs), 'array')} where {len(expected)} are asked for")
    for name, array in outputs.items():
        if array.shape != expected[name].shape:
            raise Problem(f"{name} has the shape {array.shape}; asked is {expected[name].shape}")


def compare_values(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Compare two sets of outputs of the same shapes.

    Raises:
        Problem: they differ; it names the place where they do most, or of whole numbers, as each may follow from those
            before, the first one.
    """
    for name, wanted in expected.items():
        got = outputs[name]
        distance = np.where(got == wanted, 0.0, np.abs(got - wanted))  # of infinities, too
        distance = np.where(np.isnan(got) & np.isnan(wanted), 0.0, distance)
        finite = np.abs(wanted[np.isfinite(wanted)])
        limit = TOLERANCE * float(finite.max(initial=0.0)) or TOLERANCE
        if not np.all(distance <= limit):
            are_whole = bool(np.all(wanted == np.rint(wanted)))
            wrong = ~(distance <= limit) if are_whole else np.where(np.isnan(distance), np.inf, distance)
            worst = np.unravel_index(np.argmax(wrong), distance.shape)
            place = f"[{', '.join(str(int(i)) for i in worst)}]" if worst else ""
            raise Problem(f"{name}{place} is {got[worst]:.6g} and should be {wanted[worst]:.6g}")


def equals(outputs: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    """Whether two sets of outputs are the same, but for rounding."""
    try:
        compare_shapes(outputs, others)
        compare_values(outputs, others)
    except Problem:
        return False
    return True


def require(kept: Any, words: str) -> None:
    """Raise a Problem in these words unless something holds."""
    if not kept:
        raise Problem(words)


def require_equal(got: Any, wanted: Any, words: str) -> None:
    """Raise a Problem in these words unless two arrays are equal, but for rounding."""
    require(np.shape(got) == np.shape(wanted) and np.allclose(got, wanted, TOLERANCE, TOLERANCE), words)


def check_slopes(f: Callable[[Array], float], x: Array, gradient: Array, name: str) -> None:
    """Compare a gradient with finite differences of the function that it is said to be the gradient of.

    Raises:
        Problem: they differ.
    """
    error = directional_error(f, x, np.asarray(gradient, np.float64), np.random.default_rng(1))
    require(
        error <= GRADIENT_LIMIT,
        f"along a direction {name} and the difference quotient differ by {error:.1e} of the larger; allowed is "
        f"{GRADIENT_LIMIT:.0e}",
    )

"""What one run alone says: how its loss compares with simple guesses, and whether it learns its text by heart.

All losses are in nats per token. The guesses are those of `tlab.text.baselines`, by their names there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tlab.wording import listed, written

SAME = 0.02  # losses no further apart than this are called about the same
PARTED = 0.1  # by which the gap between validation and training has to grow; batches alone move it by a third of that
RISEN = 0.05  # by which the validation loss has to rise above its lowest
UNIFORM, FREQUENCIES, PAIRS = "uniform guess", "token frequencies", "token pairs"
KNOWN_RULE = "known rule"  # of a text that was made by one
IN_WORDS = {
    UNIFORM: "a uniform guess",
    FREQUENCIES: "a guess by token frequencies",
    PAIRS: "a guess from the token before",
    KNOWN_RULE: "a model that knows the rule of the text",
}


class Point(NamedTuple):
    """Both losses at one step."""

    step: int
    validation: float
    training: float  # averaged over the steps around it

    @property
    def gap(self) -> float:
        """How far validation is above training."""
        return self.validation - self.training


def guesses_words(loss: float, baselines: Mapping[str, float]) -> str:
    """How a validation loss compares with the guesses, as the end of a sentence that begins with that loss."""

    def named(names: Sequence[str]) -> str:
        return listed([f"{IN_WORDS[name]} ({baselines[name]:.2f})" for name in names])

    uniform = baselines[UNIFORM]
    if loss > uniform + SAME:
        return f"worse than {named([UNIFORM])}: on unseen text, guessing without a model does better"
    if loss >= uniform - SAME:
        return f"about that of {named([UNIFORM])}: it learned little or nothing that helps on unseen text"
    best_first = sorted(baselines, key=lambda name: baselines[name])
    same = [name for name in best_first if abs(loss - baselines[name]) <= SAME]
    beaten = [name for name in best_first if loss < baselines[name] - SAME]
    ahead = [name for name in best_first if loss > baselines[name] + SAME]
    words = f"about that of {named(same)}" if same else f"{baselines[beaten[0]] - loss:.2f} below {named(beaten[:1])}"
    if ahead:
        return f"{words}, and {loss - baselines[ahead[-1]]:.2f} above {named(ahead[-1:])}"
    return words


def parting_points(points: Sequence[Point], text_gap: float) -> tuple[Point, Point] | None:
    """Where the gap was smallest, and the first point from which on, twice at least, it has grown by PARTED.

    `text_gap` is what the two parts of the text differ by for a guess that knows both: no growth up to there counts.
    """
    for number in range(1, len(points) - 1):
        closest = min(points[:number], key=lambda point: point.gap)
        if all(point.gap - max(closest.gap, text_gap) >= PARTED for point in points[number:]):
            return closest, points[number]
    return None


def heart_words(points: Sequence[Point], text_gap: float = 0.0) -> str:
    """Whether the run learns its text by heart, in a sentence or two; nothing where it does not.

    `text_gap` is the loss of "token pairs" on the validation part, minus that on the training part.
    """
    parted = parting_points(points, text_gap)
    if parted is None:
        return ""
    (closest, first), last = parted, points[-1]
    what = "the two losses move apart" if abs(last.gap) > abs(closest.gap) else "the validation loss loses its lead"
    words = (
        f"From step {first.step:,} on, {what}: validation minus training was "
        f"{written(closest.gap, '+.2f')} at step {closest.step:,} and is {written(last.gap, '+.2f')} at step "
        f"{last.step:,}."
    )
    if lowest := risen_since(points):
        return (
            f"{words} It learns its text by heart: the validation loss was lowest at step {lowest.step:,} "
            f"({lowest.validation:.2f}), and has risen while the training loss fell."
        )
    return f"{words} Part of what it learns holds for the training text alone."


def by_heart_since(points: Sequence[Point], text_gap: float = 0.0) -> Point | None:
    """The point with the lowest validation loss, of a run that has learned its text by heart since; else None."""
    return risen_since(points) if parting_points(points, text_gap) else None


def risen_since(points: Sequence[Point]) -> Point | None:
    """The point since which validation has risen while the training loss fell; None where it has not."""
    lowest, last = min(points, key=lambda point: point.validation), points[-1]
    has_risen = last.validation - lowest.validation >= RISEN and last.training < lowest.training
    return lowest if has_risen else None


def text_words(training_pairs: float, validation_pairs: float, is_kept: bool = True) -> str:
    """Which part of a text is easier, by the loss of "token pairs" on each; nothing where they are about the same.

    `is_kept`: whether what a model is expected to do is what the run beside it does, as far as one can see.
    """
    if abs(training_pairs - validation_pairs) < PARTED / 2:
        return ""
    easier, harder = ("validation", "training") if validation_pairs < training_pairs else ("training", "validation")
    low, high = sorted((training_pairs, validation_pairs))
    return (
        f"The {easier} part of this text is the easier one: {IN_WORDS[PAIRS]} loses {low:.2f} nats per token "
        f"there, and {high:.2f} on the {harder} part." + " Expect a model, too, to have a lower loss there." * is_kept
    )

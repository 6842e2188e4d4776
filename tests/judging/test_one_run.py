"""What is said of one run alone: true of its losses, over many curves, and nothing where there is nothing to say."""

import re

import numpy as np
import pytest

from tlab.judging.one_run import PARTED, RISEN, SAME, Point, guesses_words, heart_words, text_words
from tlab.wording import written

GUESSES = ("uniform guess", "token frequencies", "token pairs")


def random_losses(seed: int) -> tuple[float, dict[str, float]]:
    """A loss and guesses as texts have them: mostly apart, sometimes all but the same, in most orders."""
    random = np.random.default_rng(seed)
    uniform = random.uniform(0.7, 5.5)
    others = uniform - np.abs(random.normal(0, random.choice([0.005, 0.5, 1.5]), 2))
    baselines = dict(zip(GUESSES, [uniform, *others], strict=True))
    near = baselines[random.choice(GUESSES)]
    return max(0.0, near + random.normal(0, random.choice([0.01, 0.3]))), baselines


def rounded_is(written: str, value: float) -> bool:
    return abs(float(written) - value) <= 0.005 + 1e-9


@pytest.mark.parametrize("seed", range(200))
def test_every_comparison_with_a_guess_is_true_of_the_numbers(seed):
    loss, guesses = random_losses(seed)
    words = guesses_words(loss, guesses)
    names = {"a uniform guess": GUESSES[0], "a guess by token frequencies": GUESSES[1],
             "a guess from the token before": GUESSES[2]}  # fmt: skip
    for name, number in re.findall(r"(a (?:uniform )?guess(?: \w+)*) \((\d+\.\d\d)\)", words):
        assert rounded_is(number, guesses[names[name]])
    uniform = guesses["uniform guess"]
    assert ("worse than" in words) == (loss > uniform + SAME)
    assert ("little or nothing" in words) == (uniform - SAME <= loss <= uniform + SAME)
    for gap, direction, name in re.findall(r"(\d+\.\d\d) (below|above) (a (?:uniform )?guess(?: \w+)*)", words):
        difference = loss - guesses[names[name]]
        assert rounded_is(gap, abs(difference)) and (difference < 0) == (direction == "below")
        assert abs(difference) > SAME
        # Of all guesses that it is below, the best; of all that it is above, the nearest.
        between = [
            other
            for other in guesses.values()
            if min(loss, guesses[names[name]]) < other < max(loss, guesses[names[name]])
        ]
        assert all(abs(other - loss) <= SAME for other in between) or direction == "below"
    for name in re.findall(r"about that of (a (?:uniform )?guess(?: \w+)*)", words):
        assert abs(loss - guesses[names[name]]) <= SAME


def curve(seed: int, *, memorizes: bool, text_gap: float = 0.0) -> list[Point]:
    """A run of ten validations with the noise of batches; from its middle on it learns by heart, or not at all."""
    random = np.random.default_rng(seed)
    steps = np.arange(1, 11) * 100
    common = 1.5 + 2.5 * np.exp(-steps / random.uniform(150, 250))
    noise = random.normal(0, 0.012, (2, len(steps)))
    late = np.maximum(0, steps - 500) / 500
    training = common - (0.6 * late if memorizes else 0) + noise[0]
    validation = common + text_gap * np.minimum(1, steps / 400) + (0.4 * late if memorizes else 0) + noise[1]
    return [Point(int(s), float(v), float(t)) for s, v, t in zip(steps, validation, training, strict=True)]


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_said_of_learning_by_heart_where_both_losses_fall_together(seed):
    gap = np.random.default_rng(seed).uniform(-0.4, 0.4)  # one part of the text may be harder than the other
    assert heart_words(curve(seed, memorizes=False, text_gap=gap), gap) == ""


@pytest.mark.parametrize("seed", range(100))
def test_a_run_that_learns_by_heart_is_told_from_when_on(seed):
    points = curve(seed, memorizes=True)
    words = heart_words(points)
    assert "learns its text by heart" in words
    lowest = min(points, key=lambda point: point.validation)
    assert f"was lowest at step {lowest.step:,} ({lowest.validation:.2f})" in words
    step = int(re.search(r"From step ([\d,]+) on", words)[1].replace(",", ""))
    assert 500 < step <= 800
    before = min((p for p in points if p.step < step), key=lambda p: p.gap)
    gaps = [written(point.gap, "+.2f") for point in (before, points[-1])]
    assert f"was {gaps[0]} at step {before.step:,} and is {gaps[1]} at step 1,000" in words
    assert all(point.gap - before.gap >= PARTED for point in points if point.step >= step)


def test_a_gap_that_grows_while_validation_falls_is_not_called_learning_by_heart():
    points = [Point(100, 2.5, 2.5), Point(200, 2.2, 2.0), Point(300, 2.0, 1.6)]
    words = heart_words(points)
    assert words.startswith("From step 200 on, the two losses move apart: ") and "by heart" not in words
    risen = [*points, Point(400, 2.0 + 1.01 * RISEN, 1.4)]
    assert "by heart" in heart_words(risen)


def test_a_gap_that_closes_again_is_no_parting():
    assert heart_words([Point(100, 2.5, 2.5), Point(200, 2.4, 2.0), Point(300, 2.0, 1.95)]) == ""
    assert heart_words([Point(100, 2.5, 2.5), Point(200, 2.2, 2.2), Point(300, 2.0, 1.7)]) == ""  # seen once


def test_a_harder_validation_part_explains_as_much_of_a_gap_as_pairs_tell():
    points = [Point(100, 3.0, 3.0), Point(200, 2.5, 2.25), Point(300, 2.2, 1.95)]
    assert heart_words(points) and heart_words(points, text_gap=0.2) == ""


def test_the_easier_part_of_a_text_is_named_with_both_losses():
    words = text_words(2.49, 2.32)
    assert words.startswith("The validation part of this text is the easier one")
    assert "loses 2.32 nats per token there, and 2.49 on the training part" in words
    assert text_words(2.32, 2.49).startswith("The training part")
    assert text_words(2.32, 2.35) == ""


def test_a_loss_about_that_of_a_guess_is_said_to_be():
    guesses = dict(zip(GUESSES, (4.63, 3.24, 2.32), strict=True))
    assert guesses_words(3.25, guesses) == (
        "about that of a guess by token frequencies (3.24), and 0.93 above a guess from the token before (2.32)"
    )


def test_a_validation_loss_that_was_below_training_is_not_said_to_move_apart_from_it_while_it_comes_closer():
    points = [Point(250, 1.9, 2.08), Point(500, 1.6, 1.75), Point(750, 1.55, 1.58), Point(1000, 1.51, 1.52)]
    words = heart_words(points, text_gap=-0.17)
    assert "move apart" not in words
    assert "loses its lead: validation minus training was −0.18 at step 250 and is −0.01 at step 1,000" in words

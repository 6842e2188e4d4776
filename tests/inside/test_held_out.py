"""Windows and intervals of the held-out text, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from tlab.inside import ProbeError
from tlab.inside.held_out import SLICES, interval, window_losses, windows


def subject_of(tokens: int, context_length: int = 4):
    """What `windows` reads of a subject: a validation split of the ids 0, 1, 2 ..."""
    return SimpleNamespace(
        corpus=SimpleNamespace(validation=np.arange(tokens)),
        checkpoint=SimpleNamespace(model_config=SimpleNamespace(context_length=context_length)),
    )


def test_windows_are_spread_from_the_first_token_to_the_last_that_fits():
    ids, targets = windows(subject_of(41), 4)  # ten windows fit, the last from token 36 on
    assert ids[:, 0].tolist() == [0, 12, 24, 36]
    assert ids[-1].tolist() == [36, 37, 38, 39]
    assert targets.tolist() == (ids + 1).tolist()


@pytest.mark.parametrize(("tokens", "count"), [(9, 2), (8, 1), (5, 1)])
def test_no_more_windows_than_there_are_with_their_targets(tokens, count):
    assert len(windows(subject_of(tokens), 100)[0]) == count


def test_a_text_too_short_for_one_window_is_refused():
    with pytest.raises(ProbeError, match="4 tokens, too few for one window of 4"):
        windows(subject_of(4), 1)


def test_another_length_can_be_asked_for():
    assert windows(subject_of(41), 2, 20)[0][:, 0].tolist() == [0, 20]


def test_an_interval_reaches_two_standard_errors_to_each_side():
    # Deviations 1.5, 0.5, 0.5, 1.5: variance 5 / 3, standard error sqrt(5 / 3) / 2 = 0.645497.
    assert interval(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx((2.5, 2.5 - 1.290994, 2.5 + 1.290994), abs=1e-6)
    assert interval(np.array([1.0, 3.0])) == pytest.approx((2.0, 0.0, 4.0))


def test_the_interval_of_one_value_is_open():
    assert interval(np.array([3.0])) == (3.0, -np.inf, np.inf)


def test_a_windows_loss_is_the_mean_of_its_chosen_tokens_and_a_window_without_any_is_left_out():
    losses = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 6.0]])
    chosen = np.array([[True, False, True], [False, False, False]])
    assert window_losses(losses, chosen).tolist() == [3.5]
    chosen[1, 1] = True  # one token is enough
    assert window_losses(losses, chosen).tolist() == [3.5, 5.0]


def test_a_repeated_token_followed_the_same_token_earlier_if_only_one_place_back():
    ids, targets = np.array([[7, 7, 7, 8]]), np.array([[7, 7, 8, 7]])
    assert SLICES["repeated"]().chosen(ids, targets).tolist() == [[False, True, False, False]]
    assert SLICES["new"]().chosen(ids, targets).tolist() == [[True, False, True, True]]

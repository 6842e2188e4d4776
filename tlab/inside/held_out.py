"""Slices of the text that was never trained on, and the loss on them, token by token."""

from __future__ import annotations

import numpy as np

from tlab.inside.probing import ProbeError, Subject, log_softmax
from tlab.registry import Registry
from tlab.types import Array, Ids

STANDARD_ERRORS = 2.0  # to either side of a mean: about 95 % where there are a dozen windows or more

SLICES: Registry[type[Slice]] = Registry("slice")


def windows(subject: Subject, count: int, length: int | None = None) -> tuple[Ids, Ids]:
    """Ids and targets (N, T) of `count` windows, spread evenly over the validation split; fewer where it is short.

    T is `length`, by default the context length.

    Raises:
        ProbeError: the split has not one window of this length.
    """
    tokens = subject.corpus.validation
    T = length or subject.checkpoint.model_config.context_length
    possible = (len(tokens) - 1) // T
    if possible < 1:
        raise ProbeError(
            f"the held-out text has {len(tokens)} tokens, too few for one window of {T}; take a longer text"
        )
    starts = np.linspace(0, (possible - 1) * T, min(count, possible)).astype(int)
    cut = tokens[starts[:, None] + np.arange(T + 1)]
    return cut[:, :-1], cut[:, 1:]


def token_losses(logits: Array, targets: Ids) -> Array:
    """Loss of each token (B, T) in nats, from logits (B, T, V) and targets (B, T)."""
    return -np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0]


# --- which tokens count ---


class Slice:
    """The contract: which tokens of a window are looked at."""

    def chosen(self, ids: Ids, targets: Ids) -> Array:
        """Which targets count, (B, T) of bool, from ids and targets (B, T)."""
        raise NotImplementedError


@SLICES.add("all", label="every token")
class Every(Slice):
    """Every token."""

    def chosen(self, ids: Ids, targets: Ids) -> Array:
        return np.ones(targets.shape, bool)


@SLICES.add("repeated", label="tokens that copying would predict", source="Elhage et al. 2021; Olsson et al. 2022")
class Repeated(Slice):
    """Tokens that already followed the same token earlier in the window: the second "b" of "ab ... ab".

    What an induction head can predict. On the corpus `repeat` nearly all of these are letters of second copies.
    """

    def chosen(self, ids: Ids, targets: Ids) -> Array:
        T = ids.shape[1]
        same = (ids[:, :, None] == ids[:, None, :]) & np.tri(T, k=-1, dtype=bool)  # (B, T, S), S earlier than T
        followed = targets[:, :, None] == targets[:, None, :]  # what followed there follows here
        return (same & followed).any(-1)


@SLICES.add("new", label="tokens that copying cannot predict")
class New(Slice):
    """All tokens but the repeated ones."""

    def chosen(self, ids: Ids, targets: Ids) -> Array:
        return np.logical_not(Repeated().chosen(ids, targets))


def window_losses(losses: Array, chosen: Array) -> Array:
    """Mean loss of each window (N,) over its chosen tokens; losses and chosen (B, T). N: windows that have any.

    Raises:
        ProbeError: none has.
    """
    count = chosen.sum(1)
    if not count.any():
        raise ProbeError("the windows have no such token; take more of them, or choose all tokens")
    return (losses * chosen).sum(1)[count > 0] / count[count > 0]


def interval(values: Array) -> tuple[float, float, float]:
    """Mean of values (N,), and two standard errors below and above it; with one value alone the interval is open.

    About 95 % where there are a dozen windows or more; with fewer it is too narrow, for it is not Student's t.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = STANDARD_ERRORS * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half

"""Probes of length: how the loss falls along the context, and what happens past the trained length."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from tlab.config import option
from tlab.inside.held_out import interval, token_losses, windows
from tlab.inside.pictures import Lines
from tlab.inside.probing import PROBES, Probe, Subject

MAX_WINDOWS = 512
MAX_TOKENS = 2048  # in one window: its scores take T x T for each head


class PlaceRow(NamedTuple):
    """The loss at some positions of the context."""

    first: int  # position, from 0
    last: int
    loss: float
    low: float
    high: float


@PROBES.add("places", label="Loss by position", formula=r"\mathcal{L}(t)", source="Kaplan et al. 2020, section 3.2")
@dataclass(frozen=True)
class PlacesProbe(Probe):
    """The loss at each position of the context: how much it helps to have read more.

    Windows of held-out text, each read from its beginning; positions in groups that double in width. With two standard
    errors over the windows to either side.
    Notice: the first token's loss is that of a guess from one token. Where the curve is flat, the model makes
    no use of what is further away.
    """

    looks_at = ("position", "tokens")
    picture = Lines("last", ("loss",), low="low", high="high", doubling=True)
    units: ClassVar[dict[str, str]] = {"loss": "nats", "low": "nats", "high": "nats"}

    count: int = option(
        64, low=2, high=MAX_WINDOWS, label="Windows to read", help="How many windows of held-out text are read."
    )

    def rows(self, subject: Subject) -> list[PlaceRow]:
        ids, targets = windows(subject, self.count)
        losses = token_losses(subject.model.score(ids), targets)  # (N, T)
        T = losses.shape[1]
        edges = [0, *(2**k for k in range(20) if 2**k < T), T]
        return [
            PlaceRow(low, high - 1, *interval(losses[:, low:high].mean(1))) for low, high in itertools.pairwise(edges)
        ]


class LengthRow(NamedTuple):
    """The loss with a context of one length."""

    length: int
    of_trained: float  # length over the trained length
    loss: float
    low: float
    high: float


@PROBES.add("lengths", label="Length extrapolation", formula=r"\mathcal{L}(kT)", source="Press et al. 2022, Fig. 1")
@dataclass(frozen=True)
class LengthsProbe(Probe):
    """The loss on held-out text in windows shorter and longer than those the model was trained on.

    Mean over all positions of each window, a quarter of the trained length to eight times it, over about the same
    number of tokens, with two standard errors over windows. Learned positions end with the trained length.
    Notice: in Press et al. ALiBi went on as before, while RoPE and sinusoids got worse, sinusoids at once. Which falls
    off fastest depends on the model: small ones that read short texts may lose most with RoPE.
    """

    looks_at = ("position", "tokens")
    picture = Lines("length", ("loss",), low="low", high="high", doubling=True)
    units: ClassVar[dict[str, str]] = {"length": "tokens", "loss": "nats", "low": "nats", "high": "nats"}

    tokens: int = option(8192, low=256, high=65_536, label="Tokens to read", help="How many at each length, about.")

    def rows(self, subject: Subject) -> list[LengthRow]:
        trained = subject.checkpoint.model_config.context_length
        held_out = len(subject.corpus.validation)
        lengths = [trained // 4, trained // 2, *(trained * k for k in (1, 2, 4, 8))]
        unbounded = subject.model.position.unbounded
        table = []
        for length in lengths:
            enough = 2 <= length <= MAX_TOKENS and 2 * length < held_out  # two windows, for an interval
            if enough and (length <= trained or unbounded):
                ids, targets = windows(subject, max(2, self.tokens // length), length)
                losses = np.concatenate(
                    [token_losses(subject.model.score(row[None]), goal[None]).mean(1)
                     for row, goal in zip(ids, targets, strict=True)]
                )  # fmt: skip
                table.append(LengthRow(length, length / trained, *interval(losses)))
        return table

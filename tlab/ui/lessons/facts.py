"""What came of what a learner did, as lessons speak of it: numbers of the learner's own runs, and of heads and games.

In a lesson `run.b.loss` is that of side B of the step whose name is "run".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.false_winners.mistakes import CONTESTS, MISTAKES, drawn_contest, winner_shares
from tlab.inside.attention import HeadPortrait
from tlab.inside.probing import Rows
from tlab.judging.one_run import FREQUENCIES, PAIRS
from tlab.ui.inspection.tasks import InterventionEffect
from tlab.ui.runs.run import Run, Side
from tlab.ui.studies.five_seeds import Judgement, judge, pairs_of, words_of
from tlab.ui.studies.study import Study
from tlab.wording import head_name, written


class Layers(NamedTuple):
    """A look into a side at one step: a number for each layer, the first layer first."""

    step: int
    gradient: list[float]
    stream: list[float]

    @property
    def evenness(self) -> float:
        """The gradient norm of the first layer over that of the last."""
        return self.gradient[0] / self.gradient[-1] if self.gradient[-1] else math.inf

    @property
    def growth(self) -> float:
        """The size of the stream after the last layer over that after the first."""
        return self.stream[-1] / self.stream[0] if self.stream[0] else math.inf


class SideFacts:
    """One side of a run that has ended."""

    def __init__(self, side: Side, blind: float) -> None:
        self.label, self.letter = side.label, side.letter
        self.steps, self.parameters = side.step, side.num_parameters or 0
        self.diverged_at = side.divergence.step if side.divergence else None
        known = None if side.divergence else side.validation_loss
        self.loss = math.inf if known is None else known  # on validation text, in nats per token
        self.accuracy = (
            math.nan if side.accuracy is None else side.accuracy
        )  # share of right answers, of a text that asks
        self.first = side.curve.bins[0][0] if side.curve.bins else math.inf  # training loss of the first step
        self.shown_loss = round(self.loss, 2)  # differences are those of what is shown
        self.learned = round(blind, 2) - self.shown_loss
        self.side = side

    @property
    def outcome(self) -> str:
        """How it ended, for the middle of a sentence."""
        if self.diverged_at is not None:
            return f"diverged at step {self.diverged_at}"
        return f"ended at {written(self.loss, '.2f')} nats per token"

    def at(self, step: int) -> Layers:
        """The look that was taken nearest to a step; a negative one counts from the end."""
        looks = self.side.insights
        one = looks[-1] if step < 0 else min(looks, key=lambda look: abs(look.step - step))
        return Layers(one.step, [row.gradient_norm for row in one.layers], [row.stream_rms for row in one.layers])


class RunFacts:
    """A run that has ended."""

    def __init__(self, run: Run) -> None:
        self.vocabulary = run.vocab_size or 0
        self.blind = math.log(max(1, self.vocabulary))  # the loss of a blind guess, nats per token
        self.frequencies, self.pairs = run.baselines.get(FREQUENCIES, math.nan), run.baselines.get(PAIRS, math.nan)
        sides = [SideFacts(side, self.blind) for side in run.sides]
        self.a, self.b = sides[0], sides[-1]
        self.text = run.job.corpus
        self.gap = math.inf if self.a.loss == self.b.loss == math.inf else abs(self.b.loss - self.a.loss)
        self.shown_gap = self.gap if math.isinf(self.gap) else abs(self.b.shown_loss - self.a.shown_loss)
        self.lower = self.a if self.a.loss <= self.b.loss else self.b
        self.higher = self.b if self.lower is self.a else self.a


class SeedsFacts:
    """A comparison from five seeds, all of which have ended."""

    def __init__(self, study: Study) -> None:
        self.judgement: Judgement = judge(pairs_of(study))
        self.labels = study.labels
        self.pairs = self.judgement.pairs
        self.words = words_of(self.judgement, study.labels)
        self.winner = self.judgement.winner  # a letter, or nothing
        self.mean, self.low, self.high = self.judgement.difference[:3] if self.judgement.difference.n > 1 else [0.0] * 3

    @property
    def holds_zero(self) -> bool:
        """Whether the interval of B - A does."""
        return self.low <= 0 <= self.high

    @property
    def b_is_lower(self) -> int:
        """On so many seeds."""
        return sum(pair.lower == "B" for pair in self.pairs)

    def bar(self, words: str) -> tuple[str, float, str]:
        """The mean difference as a row of a step's bars, with its interval; where there is none, that."""
        if self.judgement.difference.n < 2:
            return words, 0.0, "none: runs diverged"
        mean, low, high = (written(nats, "+.3f") for nats in (self.mean, self.low, self.high))
        return words, self.mean, f"{mean} ({low} to {high})"

    @property
    def rows(self) -> list[tuple[str, float]]:
        """B - A of each seed, in nats per token; of a seed where one diverged there is none."""
        return [(f"seed {pair.seed}", pair.difference) for pair in self.pairs if pair.difference is not None]


class HeadFacts:
    """A head that the learner looked at, and all that stand beside it."""

    def __init__(self, heads: list[HeadPortrait], layer: int, head: int, tokens: int) -> None:
        self.of = next(one for one in heads if (one.layer, one.head) == (layer, head))
        self.heads, self.tokens = heads, tokens
        self.name = head_name(layer, head)
        self.looks_back = self.of.distance  # tokens, on average
        self.as_if_over = math.exp(self.of.entropy)  # tokens that it would look at, if all alike
        self.share, self.fair = self.of.share, self.of.fair

    def of_role(self, role: str, least: float = 0.3) -> list[HeadPortrait]:
        """The heads that give at least this share of their weight to one kind of place."""
        return [one for one in self.heads if one.role == role and one.share >= least]


class EffectFacts:
    """What it costs to switch a part off."""

    def __init__(self, effect: InterventionEffect) -> None:
        self.cost, self.low, self.high = effect.loss or (0.0, 0.0, 0.0)  # nats per token, with its interval
        self.windows = effect.windows


class ProbeFacts:
    """The tables of a probe for both sides of a run, or for its one side."""

    def __init__(self, tables: list[Rows]) -> None:
        self.a, self.b = list(tables[0]), list(tables[-1])


def loss_at(rows: Sequence[Any], times: float) -> float:
    """Of the table of the probe `lengths`: the loss in windows of so many times the trained length, nats per token."""
    return next(row.loss for row in rows if row.of_trained == times)


class Guess(NamedTuple):
    """A round of the game of false winners."""

    mistake: str  # a key of MISTAKES
    seed: int
    guess: str

    @property
    def label(self) -> str:
        """Of the mistake."""
        return MISTAKES.entries[self.mistake].label

    @property
    def is_right(self) -> bool:
        return self.guess == MISTAKES[self.mistake].better

    @property
    def winner(self) -> str:
        """Whom the mistake let win; nobody: empty."""
        return drawn_contest(self.mistake, self.seed).mistaken.winner

    @property
    def shares(self) -> tuple[float, float]:
        """Of CONTESTS contests, those in which the mistake finds a winner, and the honest method."""
        found = winner_shares(self.mistake)
        return found.mistaken, found.honest


class GameFacts:
    """Rounds of the game of false winners."""

    contests = CONTESTS

    def __init__(self, rounds: list[Guess]) -> None:
        self.rounds = rounds
        self.right = sum(one.is_right for one in rounds)
        self.with_winner = sum(bool(one.winner) for one in rounds)

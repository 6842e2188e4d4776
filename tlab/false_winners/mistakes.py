"""The lab of false winners: one mistake of method at a time, and the winner that it finds where there is none.

Two models are said to differ in one thing (`Mistake.claimed`), and really differ in another (`Mistake.really`) and in
their seeds. In all contests but one they are the same model; in that one B is wider, and a part gets the credit. Both
ways of judging use the lab's own test (`tlab.judging.two_models.compare`); only the losses that it is given differ.
Runs are drawn from those that are stored, so thousands of contests take seconds.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from tlab.false_winners.stored_runs import (
    DEFAULT_RATE,
    HIGH_RATE,
    LEAKED,
    LONG,
    SEEDS_PER_ORDER,
    SOUND,
    SOUND_RATE,
    TRIED_RATES,
    TWICE_AS_WIDE,
    UNSTABLE,
    StoredRuns,
    group_at,
    stored_runs,
)
from tlab.judging.few_seeds import BELOW_MARGIN, REAL
from tlab.judging.learning_rates import LossesByRate
from tlab.judging.two_models import Difference, compare, winner_words
from tlab.registry import Registry
from tlab.types import Array

MISTAKES: Registry[type[Mistake]] = Registry("mistake")
CONTESTS = 400  # drawn to measure how often a mistake finds a winner
CONTESTANTS = ("A", "B")
NEITHER = "Neither"


class Contestant(NamedTuple):
    """One of two models, as somebody reads its runs."""

    losses: LossesByRate  # as `compare` takes them
    curve: Array  # (steps,) the mean loss of the runs that are shown


class Reading(NamedTuple):
    """Two models, as somebody reads their runs."""

    a: Contestant
    b: Contestant
    unit: str = "nats per token"

    @property
    def difference(self) -> Difference:
        """B minus A, each at its best. As in the app one rate is asked about, too, and Holm's method pays for both."""
        return compare(self.a.losses, self.b.losses, rate=min(self.a.losses)).at_best

    @property
    def winner(self) -> str:
        """The one of `CONTESTANTS` that is said to be better; empty where nobody is."""
        found = self.difference
        if found.verdict not in (REAL, BELOW_MARGIN):
            return ""
        return CONTESTANTS[int(found.estimate.mean < 0)]

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        return winner_words(self.difference, CONTESTANTS, self.unit) + "."


class Contest(NamedTuple):
    """The runs of two models, read with the mistake, and without."""

    mistaken: Reading
    honest: Reading


class Draw:
    """Runs for one contest, none of them twice; losses are those of the validation text, where nothing else is said."""

    def __init__(self, runs: StoredRuns, rng: np.random.Generator) -> None:
        self.runs, self.rng = runs, rng
        self.unused: dict[str, np.ndarray] = {}

    def some(self, group: str, count: int) -> Array:
        """The curves of so many runs that were not drawn yet: (count, steps)."""
        if group not in self.unused:
            self.unused[group] = self.rng.permutation(len(self.runs.groups[group].validation))
        drawn, self.unused[group] = np.split(self.unused[group], [count])
        return self.runs.groups[group].validation[drawn]

    def last_batches(self) -> Array:
        """The training losses of all runs that read the same batches, in an order that was not drawn yet."""
        first = int(self.rng.choice(len(self.runs.groups[SOUND].training) // SEEDS_PER_ORDER)) * SEEDS_PER_ORDER
        return self.runs.groups[SOUND].training[first : first + SEEDS_PER_ORDER]


def side(curves: Array, rate: float = SOUND_RATE) -> Contestant:
    """A model whose runs, (runs, steps), count with their last loss; nan is a run that diverged."""
    last = [None if np.isnan(loss) else float(loss) for loss in curves[:, -1]]
    return Contestant({rate: dict(enumerate(last))}, curves.mean(axis=0))


class Mistake:
    """The contract: `contest` draws the runs of two models, and reads them twice."""

    pairs = 5  # runs of each model
    claimed = "the model"  # what A and B are said to differ in
    really: str  # what they differ in, besides their seeds
    better = NEITHER  # who would be better if both were trained and judged alike

    def contest(self, draw: Draw) -> Contest:
        raise NotImplementedError


def sound_pair(draw: Draw, pairs: int) -> Reading:
    """One model twice, as it should be read: other seeds, all else alike."""
    return Reading(side(draw.some(SOUND, pairs)), side(draw.some(SOUND, pairs)))


@MISTAKES.add(
    "untuned-baseline",
    label="tuned against untuned",
    source="Wen, Hall, Ma & Liang 2025: tuning AdamW's rate alone gives up to a factor 2",
)
class UntunedBaseline(Mistake):
    """Tries five learning rates for the new model, and leaves the old one at its default.

    The rate that a default happens to have is nobody's best. Who tunes only one side measures the tuning. Without the
    mistake both models are trained at the same five rates, and each is judged at its best.
    """

    really = "how many learning rates were tried: one of A, five of B"

    def contest(self, draw: Draw) -> Contest:
        tuned, also_tuned = self.tuned(draw), self.tuned(draw)
        return Contest(
            Reading(side(draw.some(group_at(DEFAULT_RATE), self.pairs), DEFAULT_RATE), tuned),
            Reading(also_tuned, tuned),
        )

    def tuned(self, draw: Draw) -> Contestant:
        """A model at each of the rates; its curve is that of the rate that ends lowest."""
        at = {rate: side(draw.some(group_at(rate), self.pairs), rate) for rate in TRIED_RATES}
        best = min(at.values(), key=lambda one: float(one.curve[-1]))
        return Contestant({rate: one.losses[rate] for rate, one in at.items()}, best.curve)


@MISTAKES.add(
    "last-batch",
    label="the loss of the last batch",
    source="a common mistake: five seeds of the weights, one of the batches",
)
class LastBatch(Mistake):
    """Compares the loss of the last training batch, where all seeds of a model read the same batches.

    All of its runs then end on the same hundred characters, which are easier or harder than those of the other model:
    one sample, read again and again. Without the mistake either model has runs of many batches, and the whole
    validation text counts.
    """

    really = "the batch that was read last: one in all runs of A, another in all runs of B"
    pairs = SEEDS_PER_ORDER

    def contest(self, draw: Draw) -> Contest:
        first, second = draw.last_batches(), draw.last_batches()
        while np.array_equal(first, second):
            second = draw.last_batches()
        return Contest(Reading(side(first), side(second)), sound_pair(draw, self.pairs))


@MISTAKES.add("best-seed", label="the best seed of several", source="Dodge et al. 2019; Henderson et al. 2018")
class BestSeed(Mistake):
    """Reports each result of the new model as the best of eight seeds, and each of the old one as it came.

    The lowest of eight losses is low by luck, every time. Without the mistake every run that was made counts, on both
    sides.
    """

    really = "how many runs are behind each result: one of A, the best of eight of B"
    pairs, tries = 10, 8

    def contest(self, draw: Draw) -> Contest:
        old = side(draw.some(SOUND, self.pairs))
        attempts = draw.some(SOUND, self.pairs * self.tries).reshape(self.pairs, self.tries, -1)
        best = attempts[np.arange(self.pairs), attempts[..., -1].argmin(axis=1)]
        return Contest(Reading(old, side(best)), Reading(old, side(attempts[:, 0])))


@MISTAKES.add(
    "dropped-runs",
    label="diverged runs dropped",
    source="survivorship: Wald 1943; Agarwal et al. 2021 on what few runs hide",
)
class DroppedRuns(Mistake):
    """Starts the new model's diverged runs again until they end well, and counts those of the old one as they are.

    At this rate two of three runs diverge. A run that diverged knows no more than a uniform guess, and has that
    loss; of the new model nobody hears of them. Without the mistake they count on both sides: who lost more is never
    the better one.
    """

    really = "what became of runs that diverged: A's count, B's were started again"
    pairs = 12

    def contest(self, draw: Draw) -> Contest:
        curves = draw.some(UNSTABLE, len(draw.runs.groups[UNSTABLE].validation))
        old, new, more = curves[: self.pairs], curves[self.pairs : 2 * self.pairs], curves[2 * self.pairs :]
        survivors = np.concatenate([new, more])
        survivors = survivors[~np.isnan(survivors[:, -1])][: self.pairs]
        counted = np.where(np.isnan(old), draw.runs.guess, old)
        return Contest(Reading(side(counted), side(survivors)), Reading(side(old), side(new)))


@MISTAKES.add(
    "nats-across-tokenizers",
    label="nats per token across tokenizers",
    source="units of the loss: Gao et al. 2020 (The Pile), bits per byte",
)
class NatsAcrossTokenizers(Mistake):
    """Compares nats per token of a model of characters with those of a model of longer tokens.

    B's tokens are characters and ten merged pairs. Its predictions of the text are those of A, multiplied within a
    token, so it is exactly as good. But the same nats are divided by fewer tokens. Without the mistake both count in
    bits per byte of the text.
    """

    claimed = "how well they predict the text"
    really = "what their losses are divided by: characters for A, longer tokens for B"

    def contest(self, draw: Draw) -> Contest:
        a, b = draw.some(SOUND, self.pairs), draw.some(SOUND, self.pairs)  # a token of A is a character, and a byte
        longer = draw.runs.characters / draw.runs.tokens  # characters per token of B
        bits = 1 / np.log(2)
        return Contest(Reading(side(a), side(longer * b)), Reading(side(bits * a), side(bits * b), "bits per byte"))


@MISTAKES.add(
    "more-parameters", label="unequal parameters", source="Shazeer 2020 narrows a gated MLP for this very reason"
)
class MoreParameters(Mistake):
    """Calls a part better that came with a wider model.

    B is A at twice the width, as a gated MLP has a third matrix unless it is made narrower. Without the mistake B is
    cut down to as many parameters, and then it is A.
    """

    claimed = "one part of the model"
    really = "the width, which is twice as large in B"
    better = "B"

    def contest(self, draw: Draw) -> Contest:
        honest = sound_pair(draw, self.pairs)
        return Contest(Reading(honest.a, side(draw.some(TWICE_AS_WIDE, self.pairs))), honest)


@MISTAKES.add(
    "mid-schedule",
    label="read in mid-schedule",
    source="Wen et al. 2025: rankings flip before the decay ends; Hägele et al. 2024",
)
class MidSchedule(Mistake):
    """Reads both models after the same number of steps, where the learning rate of one has not decayed yet.

    A's schedule is three times as long as B's, and is read at B's last step. A high rate keeps the loss high; most of
    the gain of a run comes while its rate decays. Without the mistake both have the same schedule, and are read at its
    end.
    """

    really = "how far their schedules have come: a third of the way in A, to the end in B"
    pairs = 7

    def contest(self, draw: Draw) -> Contest:
        decayed = group_at(HIGH_RATE)
        honest = Reading(side(draw.some(decayed, self.pairs)), side(draw.some(decayed, self.pairs)))
        return Contest(Reading(side(draw.some(LONG, self.pairs)), honest.b), honest)


@MISTAKES.add(
    "leaked-validation", label="leaked validation text", source="Lee et al. 2022: duplicates across the split"
)
class LeakedValidation(Mistake):
    """Trains one model on a text in which the validation text occurs as well.

    What B has read it predicts better, and nothing else. Texts that were copied, or cut into windows before they were
    split, leak like this. Without the mistake neither model reads a word of the validation text.
    """

    really = "the text that they were trained on, in which B found the validation text"

    def contest(self, draw: Draw) -> Contest:
        honest = sound_pair(draw, self.pairs)
        return Contest(Reading(honest.a, side(draw.some(LEAKED, self.pairs))), honest)


# ------------------------------------------------------------------------------------------------ what comes of it


class Shares(NamedTuple):
    """The share of contests in which one model was called better."""

    mistaken: float
    honest: float


def drawn_contest(mistake: str, seed: int = 0) -> Contest:
    """One contest; an unknown mistake is refused with the names of all."""
    return MISTAKES[mistake]().contest(Draw(stored_runs(), np.random.default_rng(seed)))


@functools.cache
def winner_shares(mistake: str, contests: int = CONTESTS) -> Shares:
    """How often the mistake, and the honest method, find a winner; of the first so many seeds."""
    drawn = (drawn_contest(mistake, seed) for seed in range(contests))
    winners = np.array([[bool(one.mistaken.winner), bool(one.honest.winner)] for one in drawn])
    return Shares(*winners.mean(axis=0).tolist())

"""What one run of A and one of B can tell: how far their losses are apart, and where inside the models parted first.

Two runs that differ in their seed alone differ too. What that amounts to was measured by `python -m
benchmarks.seed_noise`, on sides of the app's presets with eight seeds each; of losses, the sweep that the app ships
has more. It depends on the model: a loss moves by 0.03 nats in one, by 1.0 in another, and neither the other models
nor the run's own curve tell by how much. So one run of each never names a winner, whatever the gap is; and A and B are
said to part inside only where they do so farther than any pair of the runs that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from tlab.inside.bugs import BUGS
from tlab.inside.layers import LayerInsight, are_finite
from tlab.judging.few_seeds import CONFIDENCE, Estimate, estimate
from tlab.judging.one_run import (
    FREQUENCIES,
    PAIRS,
    SAME,
    UNIFORM,
    Point,
    by_heart_since,
    guesses_words,
    heart_words,
    text_words,
)
from tlab.text.corpora import validation_start
from tlab.text.tokenizers import utf8
from tlab.ui.runs.live_trainer import OTHER_SEEDS
from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import Run, Side
from tlab.wording import layer_name, listed, several, short_number

STEADY_GAP, SEED_GAP = 0.03, 1.02
"""Nats per token: how far apart validation losses of two seeds were at most, in the steadiest and noisiest model."""
SEED_WORDS = (
    f"One run of each names no winner: another seed alone moved a loss by up to {SEED_GAP:.2f} nats per token in the "
    f"noisiest of the models that were measured, and by up to {STEADY_GAP:.2f} in the steadiest"
)
NAMED_FROM = {"gradient_norm": math.log(1.2), "stream_rms": math.log(1.2), "dead_share": 0.02, "entropy": 0.05}
"""How much two sides have to differ at their first step, before any update, for that to be named."""
FEW_TOKENS = 4096
"""Of a validation part. Between parts of 512 tokens of one text the loss of a shipped model moved by 0.06 to 0.6 nats
per token (standard deviation), and the difference of two by 0.04 to 0.5; between parts of 4,096 by 0.02 to 0.4."""
MANY_TIMES = 100  # from here on two digits of a factor say enough
MOST_TIMES = 10**6  # and beyond this none
MAX_EXPONENT = 700.0  # that floats have room for
MEASURED_PAIRS = 252  # of runs that differ in their seed alone
LASTING = 3  # looked-at steps in a row, all in one direction, for which sides differ before they count as parted


class Quantity(NamedTuple):
    """A number of `LayerInsight`, and how two sides are compared by it."""

    words: str  # in a sentence
    as_ratio: bool  # by log(b / a), which suits what spans powers of ten; else by b - a
    seed_gaps: tuple[float, float, float, float]  # what another seed does, for steps up to each of UP_TO


UP_TO = (2, 10, 50, math.inf)  # seeds part ever further while they train: the gap of a step is that of its range
QUANTITIES = {
    "gradient_norm": Quantity("gradient norm", True, (2.4, 5.4, 7.9, 8.6)),
    "stream_rms": Quantity("size of the residual stream", True, (0.6, 1.7, 3.7, 4.0)),
    "update_ratio": Quantity("relative update", True, (0.09, 0.17, 1.8, 2.9)),
    "dead_share": Quantity("share of dead units", False, (0.06, 0.11, 0.21, 0.25)),
    "entropy": Quantity("attention entropy", False, (0.49, 0.82, 1.9, 2.4)),
}
"""With gaps that all measured pairs kept within, for LASTING steps in a row."""


class Parting(NamedTuple):
    """The first step from which on a quantity of one layer differs by more than by another seed in any measured run."""

    quantity: str  # a key of QUANTITIES
    step: int
    layer: int  # of B, from 0
    a: float
    b: float

    def phrase(self, named: Callable[[int], str] = layer_name) -> str:
        """The quantity, its layer as it is `named` and both values, for the middle of a sentence."""
        words = QUANTITIES[self.quantity].words
        return f"the {words} of {named(self.layer)} (A {short_number(self.a)}, B {short_number(self.b)})"


FOUND: WeakKeyDictionary[Run, tuple[list[int], list[Parting]]] = WeakKeyDictionary()
"""Run -> how often each side was looked into, and where they had parted by then; a page asks several times a second."""
STARTS: WeakKeyDictionary[Run, list[StartDifference]] = WeakKeyDictionary()
"""Run -> how its sides differ at their first step, once all seeds are known."""


def signed_gap(quantity: str, a: float, b: float) -> float:
    """How far B is from A, signed: by the logarithm of their ratio, or by b - a; 0 where a ratio is not defined."""
    if not QUANTITIES[quantity].as_ratio:
        return b - a
    return math.log(b / a) if a > 0 and b > 0 else 0.0


def distance(quantity: str, step: int, a: float, b: float) -> float:
    """The same at a step, in units of what another seed does."""
    gaps = zip(UP_TO, QUANTITIES[quantity].seed_gaps, strict=True)
    return signed_gap(quantity, a, b) / next(gap for limit, gap in gaps if step <= limit)


def partings(a: Side, b: Side) -> list[Parting]:
    """For each quantity in which the sides part, where it does so first; the earliest comes first."""
    rows = [{insight.step: insight.layers for insight in side.insights} for side in (a, b)]
    steps = sorted(rows[0].keys() & rows[1].keys())
    found: list[tuple[int, float, Parting]] = []
    for quantity in QUANTITIES:
        for of_a, of_b in compared_layers(rows, steps):
            pairs = [(getattr(rows[0][s][of_a], quantity), getattr(rows[1][s][of_b], quantity)) for s in steps]
            distances = [distance(quantity, step, *pair) for step, pair in zip(steps, pairs, strict=True)]
            start = first_lasting(distances)
            if start is not None:
                parting = Parting(quantity, steps[start], of_b, *pairs[start])
                found.append((steps[start], -abs(distances[start]), parting))
    found.sort(key=lambda each: each[:2])
    firsts: dict[str, Parting] = {}
    for _, _, parting in found:
        firsts.setdefault(parting.quantity, parting)
    return list(firsts.values())


def partings_of(run: Run) -> list[Parting]:
    """`partings` of the sides of a run, none for one side; worked out again only when a step more was looked at."""
    looks = [len(side.insights) for side in run.sides]
    if run not in FOUND or FOUND[run][0] != looks:
        FOUND[run] = looks, partings(*run.sides) if len(run.sides) > 1 else []
    return FOUND[run][1]


def compared_layers(rows: Sequence[dict[int, list]], steps: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of layers of A and B: each with its like, or the first and the last where there are not as many.

    Of a single layer beside several the last is its like: the loss follows it.
    """
    if not steps:
        return []
    a, b = (len(side[steps[0]]) for side in rows)
    if a == b:
        return [(layer, layer) for layer in range(a)]
    return [(a - 1, b - 1)] if 1 in (a, b) else [(0, 0), (a - 1, b - 1)]


def layer_namer(run: Run) -> Callable[[int], str]:
    """What the layers of B are called beside their like in A."""
    a, b = (side.model.num_layers for side in run.sides)
    if a == b:
        return layer_name
    return lambda layer: "the last layer" if layer == b - 1 else "the first layer"


def first_lasting(distances: Sequence[float]) -> int | None:
    """Where they first exceed 1, or fall below -1, for LASTING in a row."""
    return next((start for start, size in enumerate(lasting(distances)) if size > 1), None)


def lasting(distances: Sequence[float]) -> list[float]:
    """From each place on, how far they are from 0 for LASTING in a row, all on one side."""
    windows = [distances[start : start + LASTING] for start in range(len(distances) - LASTING + 1)]
    return [max(min(some), -max(some)) for some in windows]


def first_parting(run: Run) -> Parting | None:
    """Where the sides of a run parted first while they trained; else, where they differed from the start.

    None where they did not part, or where there is one side only.
    """
    found = partings_of(run)
    return next((parting for parting in found if parting.step > 1), found[0] if found else None)


class StartDifference(NamedTuple):
    """How B differs from A at the first step in one quantity of one layer, over several seeds of both."""

    quantity: str  # a key of NAMED_FROM
    layer: int  # of B, from 0
    found: Estimate  # of `signed_gap`, whose interval holds for all that are compared at once

    @property
    def is_clear(self) -> bool:
        """Whether no seed can have made it, and it is large enough to be named."""
        return self.found.excludes_zero and abs(self.found.mean) >= NAMED_FROM[self.quantity]

    def phrase(self, named: Callable[[int], str] = layer_name) -> str:
        """What it is in B beside A, with its interval; the layer as it is `named`."""
        quantity = QUANTITIES[self.quantity]
        if quantity.as_ratio:
            size, low, high = (short_number(math.exp(min(one, MAX_EXPONENT)), 2) for one in self.found[:3])
            beside = f"{size} times A's ({low} to {high})"
        else:
            gap, where = (self.found, "above") if self.found.mean > 0 else (self.found.times(-1), "below")
            digits = gap.specification(2)
            beside = f"{gap.mean:{digits}} {where} A's ({gap.interval_words(digits)})"
        return f"its {quantity.words} of {named(self.layer)} is {beside}"


def start_differences(a: Side, b: Side) -> list[StartDifference]:
    """How B differs from A at the first step, before any update: each quantity of each layer that both have.

    What is compared is the difference within a seed. The intervals are Student's, for all of these at once
    (Bonferroni), so that naming the largest ones picks no luck. Empty where the seeds are not all known.
    """
    starts = [looks_at_start(side) for side in (a, b)]
    seeds = [seed for seed, rows in starts[0].items() if rows and starts[1].get(seed)]
    if len(seeds) <= OTHER_SEEDS:
        return []
    layers = compared_layers(starts, seeds)
    confidence = 1 - (1 - CONFIDENCE) / (len(layers) * len(NAMED_FROM))
    found = []
    for quantity in NAMED_FROM:
        for of_a, of_b in layers:
            pairs = [[getattr(of[seed][at], quantity) for of, at in zip(starts, (of_a, of_b), strict=True)]
                     for seed in seeds]  # fmt: skip
            gaps = [signed_gap(quantity, *pair) for pair in pairs]
            found.append(StartDifference(quantity, of_b, estimate(gaps, confidence=confidence)))
    return found


def looks_at_start(side: Side) -> dict[int, list[LayerInsight]]:
    """By seed, what went on in each layer of a side at its first step; nothing of one that overflowed."""
    own = [(side.training.seed, look.layers) for look in side.insights if look.step == 1]
    looks = [*own, *((start.seed, start.layers) for start in side.starts)]
    return {seed: layers for seed, layers in looks if are_finite(layers)}


def start_words(run: Run) -> str:
    """What several seeds say of the first step, in a sentence; nothing where they are not all known."""
    if run not in STARTS:
        found = start_differences(*run.sides)
        if not found:
            return ""
        STARTS[run] = found
    seeds = several(OTHER_SEEDS + 1, "seed")
    if all(one.found.mean == one.found.low == one.found.high == 0 for one in STARTS[run]):
        return "At the first step, before any update, A and B are alike."
    named = [
        max(clear, key=lambda one: abs(one.found.mean))
        for quantity in NAMED_FROM
        if (clear := [one for one in STARTS[run] if one.quantity == quantity and one.is_clear])
    ]
    if not named:
        large = "large " if any(one.found.excludes_zero for one in STARTS[run]) else ""
        return f"At the first step, before any update, {seeds} of each tell no {large}difference inside."
    phrases = listed([one.phrase(layer_namer(run)) for one in named])
    return (
        f"At the first step, before any update, B differs from A over {seeds}: {phrases}. All {len(STARTS[run])} "
        "intervals that were compared hold at once in 95 % of cases."
    )


def parting_words(run: Run) -> str:
    """Where inside the two models parted, and what followed; nothing for a run of one side."""
    if len(run.sides) < 2 or len(run.sides[0].insights) < LASTING:
        return ""
    at_start, named = start_words(run), layer_namer(run)
    found = partings_of(run)
    if not found:
        where = f"{at_start} While they train" if at_start else "Inside"
        layers = "a layer that both have" if named is layer_name else "the first and the last layer"
        return (
            f"{where}, A and B have not parted by more than another seed alone made of other models: no difference "
            f"that lasts, in {layers}, is larger than the largest in {MEASURED_PAIRS} measured pairs of runs."
        )
    if at_start:  # it tells more of the same
        found = [parting for parting in found if parting.step > 1 or parting.quantity not in NAMED_FROM]
    from_start = listed([parting.phrase(named) for parting in found if parting.step == 1])
    later = listed([f"{parting.phrase(named)} at step {parting.step:,}" for parting in found if parting.step > 1])
    first = "At the first step, A and B differ in"
    sentences = [
        at_start,
        from_start and f"{'Their first update differs:' if at_start else first} {from_start}.",
        later and f"While they train, they first part in {later}.",
    ]
    if found:
        each = "each of these" if len(found) > 1 else "this"
        sentences.append(
            f"Another seed alone changed {each} less, in all {MEASURED_PAIRS} pairs of runs that were measured; in a "
            "model unlike those it may change more."
        )
    return " ".join(filter(None, sentences))


# --- the losses ---


def last_losses(run: Run) -> tuple[int, float, float] | None:
    """The last step at which both sides were validated, and their losses there, in nats per token."""
    losses = [{int(step): loss for step, loss in side.curve.validation} for side in run.sides]
    common = losses[0].keys() & losses[1].keys()
    return (step := max(common), losses[0][step], losses[1][step]) if common else None


def verdict(run: Run) -> str:
    """How far the validation losses of A and B are apart, and what another seed alone did; no winner.

    Of a run of one side, how its loss compares with simple guesses, and whether it learns by heart.
    """
    bug = planted_words(run)
    if bug:
        return bug
    if len(run.sides) < 2:
        return single_words(run)
    found = last_losses(run)
    if found is None:
        return "Their losses on unseen text are known at the first validation." if run.active else ""
    few = few_tokens_words(run.job, run.bytes_per_token.validation if run.bytes_per_token else None)
    return " ".join(filter(None, [gap_words(run, *found), by_heart_words(run), few]))


def gap_words(run: Run, step: int, a: float, b: float) -> str:
    """How far the losses of both sides are apart at a step, and what that is worth."""
    low, high = run.sides if a <= b else run.sides[::-1]
    gap = abs(b - a)
    after = f"After {several(step, 'step')}"
    beside = f" {high.letter}'s is {guesses_words(max(a, b), run.baselines)}." if run.baselines else ""
    if run.baselines and (gap < SAME or min(a, b) > run.baselines[UNIFORM] + SAME):
        beside = f" Both are {guesses_words(min(a, b), run.baselines)}."
    if gap < SEED_GAP:
        learned = not run.baselines or max(a, b) < run.baselines[FREQUENCIES] - SAME
        differ = f"{after} the validation losses of A and B differ by {in_both_units(run, gap)}."
        return f"{differ}{'' if learned else beside} {SEED_WORDS}."
    return (
        f"{after} the validation loss of {low.letter} ({low.label}) is {in_both_units(run, gap)} lower "
        f"than that of {high.letter} ({high.label}).{beside} {low.letter} gives the right token "
        f"{times_words(math.exp(min(gap, MAX_EXPONENT)))}, as a geometric mean. One run of each names no winner, but "
        f"another seed alone moved no loss that far in any model that was measured (by {SEED_GAP:.2f} at most)."
    )


def few_tokens_words(job: Job, bytes_per_token: float | None) -> str:
    """That the validation part of a visitor's own text is small; nothing where it is not, or not known yet."""
    if job.text is None or bytes_per_token is None:
        return ""
    tokens = round(len(utf8(job.text[validation_start(job.text) :])) / bytes_per_token)
    if tokens >= FEW_TOKENS:
        return ""
    what = "another loss, and another difference" if len(job.plans) > 1 else "another loss"
    return (
        f"The validation part of this text has {tokens:,} tokens: another part of it would give {what}, which no seed "
        "shows."
    )


def in_both_units(run: Run, nats: float) -> str:
    """A validation loss or a difference of two: per token, and where that is known per byte, for other tokenizers."""
    bits = run.bits_per_byte(nats)
    return f"{nats:.2f} nats per token" + ("" if bits is None else f" ({bits:.2f} bits per byte)")


def points_of(side: Side) -> list[Point]:
    """Both losses at each validation, as far as both are known."""
    if not side.curve.bins:
        return []
    return [Point(int(step), loss, side.curve.training_at(int(step))) for step, loss in side.curve.validation]


def text_gap(run: Run) -> float:
    """By how much the validation part of its text is harder than the training part, as far as token pairs tell."""
    if run.training_pairs is None or PAIRS not in run.baselines:
        return 0.0
    return run.baselines[PAIRS] - run.training_pairs


def by_heart_words(run: Run) -> str:
    """Which sides have learned their text by heart, in a sentence; nothing where none has."""
    since = {side.letter: by_heart_since(points_of(side), text_gap(run)) for side in run.sides}
    found = [f"{letter} since step {low.step:,} ({low.validation:.2f})" for letter, low in since.items() if low]
    if not found:
        return ""
    return f"Learned by heart, so that the validation loss rises while the training loss falls: {listed(found)}."


def single_words(run: Run) -> str:
    """What the curves of a run of one side say."""
    (side,) = run.sides
    if not side.curve.validation or not run.baselines:
        return "Its loss on unseen text is known at the first validation." if run.active else ""
    points = points_of(side)
    last = points[-1]
    words = f"After {several(last.step, 'step')} the validation loss is {in_both_units(run, last.validation)}, "
    by_heart = heart_words(points, text_gap(run))
    few = few_tokens_words(run.job, run.bytes_per_token.validation if run.bytes_per_token else None)
    return " ".join(filter(None, [f"{words}{guesses_words(last.validation, run.baselines)}.", by_heart, few]))


def easier_part(run: Run) -> str:
    """Which part of the text is easier, so that nobody wonders at validation below training; else nothing."""
    if run.training_pairs is None or PAIRS not in run.baselines:
        return ""
    is_easier = text_gap(run) < 0  # the validation part
    ends = [points[-1] for side in run.sides if (points := points_of(side))]
    is_kept = all((end.validation < end.training) == is_easier for end in ends)
    return text_words(run.training_pairs, run.baselines[PAIRS], is_kept)


def times_words(times: float) -> str:
    if times > MOST_TIMES:
        return "more than a million times the probability"
    if times >= MANY_TIMES:
        return f"about {float(f'{times:.2g}'):,.0f} times the probability"
    return f"{times:.1f} times the probability" if times >= 1.5 else f"a probability {times - 1:.0%} larger"


def planted_words(run: Run) -> str:
    """What is to be said in place of a verdict where a side has a bug: its loss is no score."""
    for side, plan in zip(run.sides, run.job.plans, strict=True):
        if plan.bug is not None:
            sees_ahead = BUGS[plan.bug].sees_ahead
            reason = "it sees the tokens that it has to predict" if sees_ahead else "it is here to be found"
            return (
                f"{side.letter} has a bug that was planted ({BUGS.entries[plan.bug].label}), so its loss is not to be "
                f"compared: {reason}. Look at its sample, and at the checks under Inside."
            )
    return ""

"""Claims that compare two settings, judged both ways: at one learning rate, and each setting at its best.

A difference at one rate may say no more than that the rate suits one setting better. So both are trained at several
rates around that of the claim; curves, intervals and verdicts are those of `tlab.judging`, as behind the app's button.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sweeps.findings.claim import loss, loss_of_longest, loss_per_byte
from sweeps.findings.setups import BRIEF, BY_TOKENIZER, Settings, copier, deep, short_context
from sweeps.findings.verdicts import Outcome
from tlab.judging.few_seeds import (
    ALPHA,
    BELOW_MARGIN,
    EQUIVALENT,
    REAL,
    Estimate,
    difference_p,
    estimate,
    paired,
)
from tlab.judging.learning_rates import LossesByRate, Valley, ended_well, rate_words, rates_around
from tlab.judging.two_models import Comparison, Difference, compare
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN
from tlab.training.config import TrainConfig

SEEDS_TO_TUNE = 3
NOT_TUNED = "not tuned yet"
FLIPS, SHRINKS, GROWS, STAYS, CANNOT_TELL = "flips", "shrinks", "grows", "stays", "cannot tell"


@dataclass(frozen=True, eq=False)  # there is one of each, and its settings have no hash
class SettingPair:
    """Two settings that a claim compares, and the learning rates at which both are trained."""

    claim: str  # its key
    names: tuple[str, str]  # of A and B
    sides: tuple[Settings, Settings]
    centre: float = 0.0075  # of the rates to try: short trainings want more than long ones
    measure: str = "trained"  # a key of `sweeps.findings.measures.MEASURES`

    @property
    def rate(self) -> float:
        """That of the claim, at which both are compared as well."""
        return self.sides[0].get("learning_rate", TrainConfig().learning_rate)

    @property
    def rates(self) -> tuple[float, ...]:
        return rates_around(self.centre)

    @property
    def label(self) -> str:
        """What it is called on the page."""
        return f"{self.names[1]} - {self.names[0]}"

    @property
    def unit(self) -> str:
        """Losses of two tokenizers are compared by what they have in common."""
        in_bytes = self.sides[0].get("tokenizer") != self.sides[1].get("tokenizer")
        return BITS_PER_BYTE if in_bytes else NATS_PER_TOKEN

    def loss(self, outcome: Outcome) -> float:
        """What is compared of a run; nan where it diverged."""
        if self.measure == "extrapolated":
            return loss_of_longest(outcome)
        return loss_per_byte(outcome) if self.unit == BITS_PER_BYTE else loss(outcome)


def against(claim: str, names: tuple[str, str], **change: str | bool) -> SettingPair:
    """The small model, briefly trained, against itself with one change."""
    return SettingPair(claim, names, (BRIEF, {**BRIEF, **change}))


def warmed_up(names: tuple[str, str], *sides: tuple[str, int]) -> SettingPair:
    """Two of the deep models of `warmup-layout`, each a layout and its steps of warm-up."""
    first, second = (deep(*side) for side in sides)
    return SettingPair("warmup-layout", names, (first, second), centre=0.004)


def by_tokenizer(first: str, second: str) -> SettingPair:
    return SettingPair("tokenizers", (first, second), (BY_TOKENIZER[first], BY_TOKENIZER[second]))


SETTING_PAIRS = (
    against("noise-floor", ("Pre-LN", "Post-LN"), residual="post"),
    against("no-norm", ("LayerNorm", "no norm"), norm="none"),
    against("rmsnorm-parity", ("LayerNorm", "RMSNorm"), norm="rmsnorm"),
    against("swiglu", ("GELU", "SwiGLU"), activation="swiglu"),
    against("noise-floor", ("GELU", "ReLU"), activation="relu"),
    against("noise-floor", ("sinusoidal", "RoPE"), position="rope"),
    against("noise-floor", ("sinusoidal", "ALiBi"), position="alibi"),
    against("noise-floor", ("sinusoidal", "learned positions"), position="learned"),
    warmed_up(("Post-LN with warm-up", "Post-LN without"), ("post", 200), ("post", 0)),
    warmed_up(("Pre-LN with warm-up", "Pre-LN without"), ("pre", 200), ("pre", 0)),
    by_tokenizer("characters", "bytes"),
    by_tokenizer("characters", "BPE"),
    by_tokenizer("bytes", "BPE"),
    against("noise-floor", ("GELU", "Swish"), activation="swish"),
    against("noise-floor", ("Pre-LN", "Sandwich-LN"), residual="sandwich"),
    against("noise-floor", ("biases", "no biases"), bias=False),
    SettingPair(
        "extrapolation",
        ("ALiBi, longer texts", "RoPE, longer texts"),
        (short_context("alibi"), short_context("rope")),
        measure="extrapolated",
    ),
    SettingPair("induction", ("two layers, copying", "one layer, copying"), (copier(2), copier(1)), centre=0.01),
)
"""In the order of the page."""

NOTHING_TO_TUNE = {
    "gradient-depth": "the models are not trained",
    "residual-growth": "the models are not trained",
    "nanogpt-anchor": "there is one setting",
}
"""Claim -> why no learning rate decides it."""


class TunedPair(NamedTuple):
    """A pair with its results."""

    pair: SettingPair
    losses: tuple[LossesByRate, LossesByRate]  # of A and B
    found: Comparison
    change: Estimate  # how much higher B - A is with each at its best than at one rate, over the seeds that have both
    change_p: float  # that this is none

    @property
    def verdict(self) -> str:
        """What tuning does to the difference."""
        return effect_of_tuning(self.found, self.change, self.change_p)


def judge_pair(pair: SettingPair, losses: tuple[LossesByRate, LossesByRate]) -> TunedPair:
    """From the losses of A and B, by rate and seed."""
    found = compare(*losses, pair.rate)
    at_rate, at_best = (
        {seed: side_b[seed] - side_a[seed] for seed in side_a.keys() & side_b.keys()}
        for side_a, side_b in (
            tuple(ended_well(side[pair.rate]) for side in losses),
            tuple(valley.losses for valley in found.valleys),
        )
    )
    change = paired(at_best, at_rate)
    return TunedPair(pair, losses, found, estimate(change), difference_p(change))


def effect_of_tuning(found: Comparison, change: Estimate, change_p: float) -> str:
    """What becomes of the difference at one rate when each setting has its best.

    It flips when the other one is better; it shrinks or grows when the change itself is more than chance, or when it
    goes to or comes from what the lab calls equal; it stays when both verdicts are the same and no change is shown.
    """
    if found.at_rate is None or not all(valley.is_inside for valley in found.valleys):
        return CANNOT_TELL
    before, after = winner(found.at_rate), winner(found.at_best)
    if before * after < 0:
        return FLIPS
    if before and (after or found.at_best.verdict == EQUIVALENT):
        changed = change_p <= ALPHA or not after
        return STAYS if not changed else SHRINKS if not after or change.mean * before < 0 else GROWS
    if found.at_rate.verdict == EQUIVALENT and (after or found.at_best.verdict == EQUIVALENT):
        return GROWS if after else STAYS
    return CANNOT_TELL


def winner(one: Difference) -> int:
    """The sign of B - A, where it is more than chance; else 0."""
    if one.verdict not in (REAL, BELOW_MARGIN):
        return 0
    return 1 if one.estimate.mean > 0 else -1


def pairs_by_verdict(tuned: Mapping[SettingPair, TunedPair]) -> dict[str, list[str]]:
    """What tuning does -> the pairs of which it is true, each in the order of the page."""
    verdicts = (FLIPS, SHRINKS, GROWS, STAYS, CANNOT_TELL, NOT_TUNED)
    found: dict[str, list[str]] = {verdict: [] for verdict in verdicts}
    for pair in SETTING_PAIRS:
        found[tuned[pair].verdict if pair in tuned else NOT_TUNED].append(pair.label)
    return found


def best_rate_words(valley: Valley) -> str:
    """The rate that suits a setting with its 95 % interval, or how far it may lie beyond those that were tried."""
    if valley.problem:
        return "no curve"
    low = f"below {rate_words(valley.rates[0])}" if valley.may_be_below else valley.rate_words(valley.low)
    high = f"beyond {rate_words(valley.rates[-1])}" if valley.may_be_above else valley.rate_words(valley.high)
    return f"{valley.rate_words(valley.optimum)} ({low} to {high})"


# ------------------------------------------------------------------------------------------------ the table of losses

LOSS_COLUMNS = ("pair", "setting", "learning_rate", "seed", "loss")


def losses_as_csv(tuned: Mapping[SettingPair, TunedPair]) -> str:
    """All losses behind the verdicts, a row for each run; none for one that diverged."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(LOSS_COLUMNS)
    for pair, one in tuned.items():
        for name, of_side in zip(pair.names, one.losses, strict=True):
            for rate, of_rate in of_side.items():
                writer.writerows((pair.label, name, rate, seed, loss) for seed, loss in of_rate.items())
    return table.getvalue()


def losses_from_csv(text: str) -> dict[SettingPair, TunedPair]:
    """The verdicts on what `losses_as_csv` wrote."""
    found: dict[tuple[str, str], dict[float, dict[int, float | None]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        of_rate = found.setdefault((row["pair"], row["setting"]), {}).setdefault(float(row["learning_rate"]), {})
        of_rate[int(row["seed"])] = float(row["loss"]) if row["loss"] else None
    return {
        pair: judge_pair(pair, (found[pair.label, pair.names[0]], found[pair.label, pair.names[1]]))
        for pair in SETTING_PAIRS
        if (pair.label, pair.names[0]) in found
    }

"""Claims that are contested: each setting at its best of several learning rates, five seeds, and who says what.

There is no criterion: published results are on both sides. What the seeds allow to say is said, also that they show no
difference, and how large one could still hide. Of a claim that compares several pairs, the pairs share the 5 %.

To add one, add a `Contested` to `CONTESTED`, and what is new in it to `CHANGES`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sweeps.findings.setups import BASELINE, SHAKESPEARE, Settings
from tlab.inside.attention import SETTLED_ROWS
from tlab.judging.few_seeds import (
    ALPHA,
    BELOW_MARGIN,
    EQUIVALENT,
    MARGIN,
    REAL,
    Estimate,
    difference_p,
    estimate,
    holm,
    paired,
)
from tlab.judging.learning_rates import LossesByRate, Valley, rate_beside
from tlab.judging.two_models import Comparison, Difference, compare, differences_at_best
from tlab.training.config import TrainConfig

SEEDS_OF_CONTESTED = 5
CENTRE = 0.0075  # of the rates to try: short trainings want more than long ones
LARGE = 50.0  # embeddings of variance one: the initial ones have a deviation of 0.02
COMPARED_AT = TrainConfig().learning_rate  # at which both are compared as well

MODEL: Settings = {
    **SHAKESPEARE, "num_layers": 3, "hidden_dim": 48, "mlp_ratio": 4.0, "tied": False, "context_length": 32,
    "steps": 400,
}  # fmt: skip
"""91,152 weights: Pre-LN, LayerNorm, GELU, sinusoidal positions; AdamW and a cosine after 50 steps of warm-up."""

CHANGES: Mapping[str, Mapping[str, Any]] = {
    BASELINE: {},
    "SwiGLU": {"activation": "swiglu"},
    "ReLU²": {"activation": "relu2"},
    "Muon": {"optimizer": "muon"},
    "LayerNorm, large embeddings": {"embedding_scale": LARGE},
    "DyT": {"norm": "dyt", "embedding_scale": LARGE},
    "QK-norm": {"qk_norm": "rmsnorm"},
    "value residual": {"value_residual": True},
    "softmax-plus-one": {"attention_softmax": "plus_one"},
    "sinks": {"attention_softmax": "sink"},
    "parallel": {"residual": "parallel"},
    "inside": {"residual": "inside"},
    "Sandwich-LN": {"residual": "sandwich"},
    "WSD": {"schedule": "wsd"},
    "WSD by 1 - sqrt": {"schedule": "wsd_sqrt"},
    "EMA": {"ema_decay": 0.98},
    "constant with EMA": {"schedule": "constant", "ema_decay": 0.98},
}
"""What each setting changes in `MODEL`."""

ALL_AROUND, HIGHER = range(-3, 4), range(-1, 4)
STEPS = {BASELINE: ALL_AROUND, "QK-norm": ALL_AROUND, "Muon": HIGHER}
"""Setting -> its rates as steps of the grid from `CENTRE`; five around it where none are given."""


def rates_tried(setting: str) -> list[float]:
    return [rate_beside(CENTRE, step) if step else CENTRE for step in STEPS.get(setting, range(-2, 3))]


@dataclass(frozen=True)
class Contested:
    """A claim that is contested."""

    key: str  # its name on the command line
    claim: str  # one sentence
    pairs: tuple[tuple[str, str], ...]  # A and B of each comparison, settings of `CHANGES`
    baseline: str  # what the baseline is called here
    supported: str  # the public record for it
    disputed: str  # and against it
    note: str = ""  # what else to know about the comparison
    shows_width: bool = False  # whether it is about the width of the valley of good rates
    shows_first_token: bool = False  # whether it is about the attention weight on the first token

    @property
    def settings(self) -> list[str]:
        return list(dict.fromkeys(setting for pair in self.pairs for setting in pair))

    def name(self, setting: str) -> str:
        return self.baseline if setting == BASELINE else setting


CONTESTED = {
    one.key: one
    for one in (
        Contested(
            "relu2", "ReLU² is as good as SwiGLU, and better than GELU, at equal parameters.",
            ((BASELINE, "ReLU²"), ("SwiGLU", "ReLU²"), (BASELINE, "SwiGLU")), "GELU",
            "So et al. 2021, Primer (arXiv 2109.08668): one of two changes that make most of the gain; "
            "Zhang et al. 2024, ReLU² Wins (arXiv 2402.03804)",
            "Shazeer 2020, GLU Variants (arXiv 2002.05202): the gated ones are best; qlabs-eng/slowrun, pull request "
            "16 (2026): SwiGLU in place of ReLU² lowers the loss",
            note="SwiGLU's hidden width is a third smaller: all three have the same number of weights within 1 %.",
        ),
        Contested(
            "muon", "Muon beats AdamW when both are tuned.", ((BASELINE, "Muon"),), "AdamW",
            "Jordan et al. 2024, Muon; Liu et al. 2025, Muon is Scalable for LLM Training (arXiv 2502.16982)",
            "Wen et al. 2025, Fantastic Pretraining Optimizers (arXiv 2509.02046): against a tuned AdamW the gain is "
            "smaller than was claimed, at most 1.4 times the speed, and shrinks to 1.1 times at 1.2B parameters",
            note="Only the learning rate is tuned; AdamW's rate beside Muon's stays 0.3 times that. Both make as many "
            "steps, and one with Muon takes longer (docs/performance.md).",
        ),
        Contested(
            "dyt", "DyT is as good as a norm.",
            ((BASELINE, "DyT"), ("LayerNorm, large embeddings", "DyT")), "LayerNorm",
            "Zhu et al. 2025, Transformers without Normalization (arXiv 2503.10622)",
            "When Does Removing LayerNorm Help? 2026 (arXiv 2604.23434): it helps where data are scarce and "
            "hurts where they are not",
            note="Alpha starts at 0.5. DyT has embeddings of variance one: with the usual ones, a sixth as large, it "
            "learns little but how frequent each character is, at any rate. LayerNorm is compared with both.",
        ),
        Contested(
            "qk-norm", "QK-norm widens the valley of good learning rates.", ((BASELINE, "QK-norm"),), "without",
            "Dehghani et al. 2023 (arXiv 2302.05442); Wortsman et al. 2023, Small-scale Proxies (arXiv 2309.14322): "
            "the loss depends less on the rate with it",
            "Rybakov et al. 2024, Methods of Improving LLM Training Stability (arXiv 2410.16682): norms elsewhere bear "
            "rates 1.5 times as high as QK-norm does",
            note="RMSNorm on queries and keys. Seven rates, so that both ends of the valley are seen.",
            shows_width=True,
        ),
        Contested(
            "value-residual", "A value residual lowers the loss.", ((BASELINE, "value residual"),), "without",
            "Zhou et al. 2024, Value Residual Learning (arXiv 2410.17897): the same loss with 16 % fewer parameters",
            "Narang et al. 2021 (arXiv 2102.11972): most modifications do not carry over to another implementation",
            note="Of three blocks, two get values from the first.",
        ),
        Contested(
            "sinks", "Softmax-plus-one or learned sinks take the attention weight off the first token, at no cost.",
            ((BASELINE, "softmax-plus-one"), (BASELINE, "sinks")), "softmax",
            "Miller 2023, Attention Is Off By One; Kaul et al. 2024 (arXiv 2410.17174): from 65 to 3.3 %; OpenAI 2025, "
            "gpt-oss, for learned sinks",
            "Xiao et al. 2023 (arXiv 2309.17453): with softmax-plus-one the first tokens are still used; Gu et al. "
            "2024 (arXiv 2410.10781): it is the normalization over a row that makes the sink, and both keep a "
            "denominator that all scores of a row share",
            shows_first_token=True,
        ),
        Contested(
            "parallel", "Parallel blocks are as good as serial ones.", ((BASELINE, "parallel"),), "serial",
            "Wang & Komatsuzaki 2021, GPT-J; Chowdhery et al. 2022, PaLM (arXiv 2204.02311): no loss of quality at 62B",
            "the same PaLM: a small loss of quality at 8B",
        ),
        Contested(
            "inside", "Norms inside the residual are better than Pre-LN and Sandwich-LN.",
            ((BASELINE, "inside"), ("Sandwich-LN", "inside"), (BASELINE, "Sandwich-LN")), "Pre-LN",
            "Liu et al. 2021, Swin V2 (arXiv 2111.09883); OLMo 2, 2024 (arXiv 2501.00656): more stable",
            "Kim et al. 2025, Peri-LN (arXiv 2502.02732): norms on both sides of a sublayer, as in Sandwich-LN, are "
            "better than Pre-LN and Post-LN",
        ),
        Contested(
            "wsd", "WSD is as good as a cosine at an equal budget, and better with a fall of 1 - sqrt.",
            ((BASELINE, "WSD"), (BASELINE, "WSD by 1 - sqrt"), ("WSD", "WSD by 1 - sqrt")), "cosine",
            "Hu et al. 2024, MiniCPM (arXiv 2404.06395); Haegele et al. 2024 (arXiv 2405.18392): as good as the cosine "
            "or better, and 1 - sqrt better than the line",
            "Bergsma et al. 2025, Straight to Zero (arXiv 2502.15938): a line over the whole run is better than other "
            "schedules",
            note="All three fall to a tenth of the peak, WSD over the last fifth.",
        ),
        Contested(
            "ema", "An average of the weights lowers the loss, and can stand in for the fall of the learning rate.",
            ((BASELINE, "EMA"), (BASELINE, "constant with EMA")), "cosine",
            "Morales-Brotons et al. 2024 (arXiv 2411.18704): with the average less decay is needed",
            "Ajroldi et al. 2025, When, Where and Why to Average Weights? (arXiv 2502.06761): averaging and a falling "
            "rate together are best",
            note="The decay rate of the average is 0.98, about the last 50 of 400 steps, and not tuned.",
        ),
    )
}  # fmt: skip
"""Every contested claim by its key, in the order of the page."""


# ------------------------------------------------------------------------------------------------ results


class ContestedRun(NamedTuple):
    """What is kept of one run."""

    loss: float | None  # None of a run that diverged
    first_token: float | None  # attention weight on the first token of a text
    seconds: float  # wall time


ContestedRuns = Mapping[str, Mapping[float, Mapping[int, ContestedRun]]]
"""Setting -> learning rate -> seed -> the run."""


class ContestedPair(NamedTuple):
    """One comparison of a claim with its results."""

    names: tuple[str, str]  # of A and B
    found: Comparison  # after Holm's correction over the pairs of the claim
    first_token: tuple[Estimate, Estimate, Estimate, float]
    """Attention weight on the first token at the best rate tried: of A, of B, of B - A, and the p-value of that."""

    @property
    def label(self) -> str:
        """What it is called on the page."""
        return f"{self.names[1]} - {self.names[0]}"

    @property
    def hidden(self) -> float:
        """The largest difference, either way, that the 95 % intervals of all readings leave possible."""
        found = [estimate(one) for one in differences_at_best(*self.found.valleys) if len(one) > 1]
        return max((max(-one.low, one.high) for one in found), default=math.inf)

    @property
    def verdict(self) -> str:
        """What the seeds allow to say of the two, each at its best."""
        one, (a, b) = self.found.at_best, self.names
        unsure = [name for name, valley in zip(self.names, self.found.valleys, strict=True) if not valley.is_inside]
        if unsure:
            return f"cannot tell: the best rate of {' and of '.join(unsure)} may lie beyond those that were tried"
        better = b if one.estimate.mean < 0 else a
        size = f"{abs(one.estimate.mean):.3f} nats"
        if one.verdict == REAL:
            return f"{better} is better by {size}"
        if one.verdict == BELOW_MARGIN:
            return f"{better} is better, but only by {size}"
        seeds = f"{one.estimate.n} seeds"
        if one.verdict == EQUIVALENT:
            return f"equal within {MARGIN:g} nats, as far as {seeds} can show"
        return f"no difference that {seeds} could show, and smaller than {self.hidden:.3f} nats"


def judge_contested(claim: Contested, runs: ContestedRuns) -> list[ContestedPair]:
    """The pairs of a claim, of which all runs have to be there."""
    losses = {setting: losses_by_rate(runs[setting]) for setting in claim.settings}
    found = [compare(losses[a], losses[b], COMPARED_AT) for a, b in claim.pairs]
    at_best = corrected([one.at_best for one in found])
    at_rate = corrected([one.at_rate for one in found if one.at_rate is not None])
    return [
        ContestedPair(
            (claim.name(a), claim.name(b)),
            one._replace(at_best=best, at_rate=rate),
            first_tokens(runs[a], runs[b], one.valleys),
        )
        for (a, b), one, best, rate in zip(claim.pairs, found, at_best, at_rate, strict=True)
    ]


def corrected(differences: list[Difference]) -> list[Difference]:
    """The same with p-values by Holm's method over all of them."""
    different, equal = holm([one.p for one in differences]), holm([one.p_equal for one in differences])
    return [one._replace(p=p, p_equal=q) for one, p, q in zip(differences, different, equal, strict=True)]


def losses_by_rate(of_setting: Mapping[float, Mapping[int, ContestedRun]]) -> LossesByRate:
    return {rate: {seed: run.loss for seed, run in of_rate.items()} for rate, of_rate in of_setting.items()}


def first_tokens(
    a: Mapping[float, Mapping[int, ContestedRun]],
    b: Mapping[float, Mapping[int, ContestedRun]],
    valleys: tuple[Valley, Valley],
) -> tuple[Estimate, Estimate, Estimate, float]:
    of_a, of_b = (
        {seed: run.first_token for seed, run in side[valley.best_tried].items() if run.first_token is not None}
        for side, valley in zip((a, b), valleys, strict=True)
    )
    difference = paired(of_b, of_a)
    first_of_a, first_of_b = (estimate(list(one.values())) for one in (of_a, of_b))
    return first_of_a, first_of_b, estimate(difference), difference_p(difference)


def seconds_trained(claim: Contested, runs: ContestedRuns) -> float:
    return sum(run.seconds for one in claim.settings for of_rate in runs[one].values() for run in of_rate.values())


def fair_share(context_length: int = MODEL["context_length"]) -> float:
    """The weight on the first token of a head that looks at all tokens alike."""
    return float(np.mean(1 / np.arange(SETTLED_ROWS + 1, context_length + 1)))


# ------------------------------------------------------------------------------------------------ in words


def width_words(valley: Valley) -> str:
    return str(valley.width) if valley.width else "unknown"


def widths_in_words(pair: ContestedPair) -> str:
    """Whose valley of good rates is wider, in a sentence: only where the intervals do not overlap."""
    (a, b), (of_a, of_b) = pair.names, (valley.width for valley in pair.found.valleys)
    if of_a is None or of_b is None:
        return "Width of the valley: not known, as a best rate was not found."
    words = f"Width of the valley: {b} {of_b}, {a} {of_a}"
    if of_b.low > of_a.high:
        return f"{words}; {b} has the wider one."
    if of_a.low > of_b.high:
        return f"{words}; {a} has the wider one."
    return f"{words}; the intervals overlap, so these runs do not tell which is wider."


def first_token_in_words(pair: ContestedPair) -> str:
    """Whether B puts less weight on the first token than A, in a sentence."""
    (a, b), (of_a, of_b, difference, p) = pair.names, pair.first_token
    less = "less" if difference.mean < 0 else "more"
    told = f"{b} has {less}" if p <= ALPHA else "no difference is shown"
    return (
        f"Weight on the first token, each at its best rate tried: {b} {of_b.mean:.3f}, {a} {of_a.mean:.3f}; the "
        f"difference is {difference.mean:.3f} [{difference.low:.3f}, {difference.high:.3f}], so {told}. A head that "
        f"looks at all tokens alike has {fair_share():.3f}."
    )


# ------------------------------------------------------------------------------------------------ the table of runs

RUN_COLUMNS = ("setting", "learning_rate", "seed", *ContestedRun._fields)


def runs_as_csv(runs: ContestedRuns) -> str:
    """All runs, a row for each; no loss of one that diverged."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(RUN_COLUMNS)
    for setting, of_setting in runs.items():
        for rate, of_rate in of_setting.items():
            writer.writerows((setting, rate, seed, *run) for seed, run in of_rate.items())
    return table.getvalue()


def runs_from_csv(text: str) -> ContestedRuns:
    """The inverse of `runs_as_csv`."""
    found: dict[str, dict[float, dict[int, ContestedRun]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        loss, first_token = (float(row[name]) if row[name] else None for name in ("loss", "first_token"))
        of_rate = found.setdefault(row["setting"], {}).setdefault(float(row["learning_rate"]), {})
        of_rate[int(row["seed"])] = ContestedRun(loss, first_token, float(row["seconds"]))
    return found

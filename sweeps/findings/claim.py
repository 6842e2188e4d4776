"""What a claim and a question are, and the numbers that are computed from a seed's runs to judge them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from sweeps.findings.measures import FIRST_STEPS, LENGTH_FACTORS, MEASURE_EVERY
from sweeps.findings.setups import DEPTHS, Measurement
from sweeps.findings.verdicts import Check, Noise, Number, Outcome, SeedResults
from tlab.judging.few_seeds import MARGIN
from tlab.text.units import bits_per_byte


@dataclass(frozen=True)
class Claim:
    """A published claim as it is repeated here."""

    key: str  # its name on the command line and in the file name of its figure
    claim: str  # one sentence
    source: str  # who found it, where, with the published number
    how: str  # what is run and measured here
    runs: Mapping[str, Measurement]  # label -> what is measured of which configuration
    seeds: int  # how many
    checks: Sequence[Check | Noise]  # the criteria, all of which have to hold
    draw: Callable[[Sequence[SeedResults]], Figure]  # the results of all seeds -> the figure
    quick: bool = False  # whether it takes only seconds
    tried: str = ""  # what was tried before this setup and did not work, or what else to know about it
    changed: str = ""  # how it is judged otherwise than in the first edition of the page, and why


@dataclass(frozen=True)
class Question:
    """Something published or believed that is not graded here, because it does not hold everywhere."""

    question: str  # in a few words
    believed: str  # the common answer, and whose it is
    claim: Claim  # the claim whose runs answer it
    what: str  # the number, in words
    number: Number
    unit: str = "nats"
    margin: float = MARGIN  # a difference too small to matter


# ------------------------------------------------------------------------------------------------ numbers of a seed


def loss(outcome: Outcome) -> float:
    """The loss on the whole validation split after the last step; nan where the run diverged."""
    value = outcome["val_loss"]
    return math.nan if value is None else value


def loss_per_byte(outcome: Outcome) -> float:
    """The same in bits per byte, by which models of two tokenizers can be compared."""
    return bits_per_byte(loss(outcome), outcome["val_bytes_per_token"])


def loss_of_longest(outcome: Outcome) -> float:
    """The validation loss with the longest windows, of an outcome that has them; nan where the run diverged."""
    return math.nan if outcome["diverged"] else outcome["longer_losses"][-1]


def difference(first: str, second: str) -> Number:
    return lambda results: loss(results[first]) - loss(results[second])


def per_byte_difference(first: str, second: str) -> Number:
    return lambda results: loss_per_byte(results[first]) - loss_per_byte(results[second])


def minus(first: Number, second: Number) -> Number:
    return lambda results: first(results) - second(results)


def parameter_ratio(first: str, second: str) -> Number:
    return lambda results: results[first]["n_params"] / results[second]["n_params"]


def slope(kind: str) -> Number:
    """The exponent of depth in the last MLP matrix's gradient norm: the slope of a line through the logarithms."""
    return lambda results: float(
        np.polyfit(np.log(DEPTHS), np.log(by_depth(results, kind, "last_down_gradient")), 1)[0]
    )


def by_depth(results: SeedResults, kind: str, name: str) -> list[float]:
    """One number of each depth; of a list, such as the stream's sizes, the last one."""
    found = [results[f"{kind} {L}"][name] for L in DEPTHS]
    return [value[-1] if isinstance(value, list) else value for value in found]


def deepest_over_shallowest(kind: str, name: str) -> Number:
    return lambda results: by_depth(results, kind, name)[-1] / by_depth(results, kind, name)[0]


def r_squared(results: SeedResults) -> float:
    """R² of a line through x² by depth."""
    return float(np.corrcoef(DEPTHS, by_depth(results, "plain", "stream"))[0, 1] ** 2)


def extrapolation_gap(position: str, k: int) -> Number:
    """How much higher the loss is on texts `k` times as long as those in training."""

    def of(results: SeedResults) -> float:
        losses = results[position]["longer_losses"]
        return losses[LENGTH_FACTORS.index(k)] - losses[LENGTH_FACTORS.index(1)]

    return of


def largest_jump(accuracies: Sequence[float], steps: int = 300) -> float:
    """The largest rise of an accuracy, measured every `MEASURE_EVERY` steps, within `steps` steps."""
    width = steps // MEASURE_EVERY
    return max(later - earlier for i, earlier in enumerate(accuracies) for later in accuracies[i : i + width + 1])


def loss_after_first_steps(results: SeedResults) -> float:
    """The loss of the last of the first 20 steps without norms minus that with LayerNorm; nan where it diverged."""
    without, normed = results["no norm, 20 steps"]["losses"], results["LayerNorm, 20 steps"]["losses"]
    return without[-1] - normed[-1] if len(without) == FIRST_STEPS else math.nan


def spike(results: SeedResults) -> float:
    """The highest loss of the first 20 steps without norms, over that with LayerNorm."""
    return max(results["no norm, 20 steps"]["losses"]) / max(results["LayerNorm, 20 steps"]["losses"])


def step_time(results: SeedResults) -> float:
    """How much longer a step takes with RMSNorm than with LayerNorm, in percent of processor time."""
    return 100 * (results["RMSNorm"]["step_seconds"] / results["LayerNorm"]["step_seconds"] - 1)


def at_trained_length(first: str, second: str) -> Number:
    """The difference of two kinds of positions on texts of the trained length."""
    return lambda results: results[first]["longer_losses"][0] - results[second]["longer_losses"][0]

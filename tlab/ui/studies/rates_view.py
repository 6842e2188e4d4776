"""What a page shows of both sides at several learning rates: a card, and a chart of loss against rate."""

from __future__ import annotations

import math
from typing import Any

from tlab.judging.learning_rates import Valley, rate_words
from tlab.ui.runs.run import DONE, SIDE_LETTERS
from tlab.ui.studies.csv_link import csv_link
from tlab.ui.studies.loss_units import bits_unit, brackets, units_words
from tlab.ui.studies.study import Study
from tlab.ui.studies.tuning import (
    NUM_SEEDS_TUNED,
    SHORTER,
    judge_tuning,
    rates_of,
    valley_words,
    verdict_words,
)
from tlab.ui.studies.view import Card, markup, progress_words
from tlab.wording import several

OTHER_SETTINGS = "These runs are of other settings than the ones that are chosen now."


def rates_html(study: Study | None, is_other: bool = False) -> str:
    """The card; nothing where nothing was tuned. `is_other` says that the controls have other settings by now."""
    return "" if study is None else markup.study(rates_card(study, is_other))


def rates_card(study: Study, is_other: bool) -> Card:
    tuned = judge_tuning(study)
    done = study.state == DONE
    steps = " and ".join(dict.fromkeys(f"{plan.training.steps:,}" for plan in study.job.plans))
    how = f"Runs of {steps} steps, {'half' if SHORTER == 2 else f'1/{SHORTER}'} of the setting's."
    notes = [
        OTHER_SETTINGS if is_other else "",
        "" if study.active else study.words,
        how,
        units_words(bits_unit(study)),
    ]
    return Card(
        "Each side at its best learning rate",
        [*verdict_words(study), *(valley_words(tuned) if tuned and done else [])],
        state=study.state,
        progress=progress_words(study),
        share=None if done else min(1.0, study.steps_made / study.steps),
        note=" ".join(filter(None, notes)),
        columns=[("", "Learning rate"), *zip(SIDE_LETTERS, study.labels, strict=False)],
        rows=[[rate_words(rate), *(mean_words(study, side, rate) for side in (0, 1))] for rate in rates_of(study)],
        file="" if study.active or not study.outcomes else csv_link(study),
        file_name="learning-rates.csv",
        is_other=is_other,
    )


def ended_at(study: Study, side: int, rate: float) -> list[float | None]:
    """The losses of a side at a rate that there are."""
    of_rate = [trial for trial in study.trials if (trial.side, trial.learning_rate) == (side, rate)]
    return [study.outcomes[trial].loss for trial in of_rate if trial in study.outcomes]


def mean_words(study: Study, side: int, rate: float) -> str:
    """The mean loss at a rate, in both units; of how many seeds if not of all, and how many diverged."""
    losses = ended_at(study, side, rate)
    finite = [loss for loss in losses if loss is not None]
    lost = len(losses) - len(finite)
    words = []
    if finite:
        mean = math.fsum(finite) / len(finite)
        words.append(f"{mean:.3f}{brackets(mean, bits_unit(study), '.3f')}")
        if len(finite) < NUM_SEEDS_TUNED:
            words.append(several(len(finite), "seed"))
    if lost:
        words.append(f"{lost} diverged")
    return ", ".join(words) or "–"


# ------------------------------------------------------------------------------------------------ chart


def rates_value(study: Study | None) -> dict[str, Any]:
    """What the chart draws: each loss, the curve of each side, and its lowest point with the interval."""
    if study is None:
        return {"rates": [], "sides": [], "own": 0, "signs": "", "alternative": ""}
    tuned = judge_tuning(study)
    valleys = tuned.found.valleys if tuned else (None, None)
    sides = [side_value(study, side, valley) for side, valley in enumerate(valleys)]
    words = [
        f"{side['letter']}: " + ", ".join(f"{mean:.2f} at {rate_words(rate)}" for rate, mean in side["means"])
        for side in sides
    ]
    return {
        "rates": [[rate, rate_words(rate)] for rate in rates_of(study)],
        "own": study.job.plans[0].training.learning_rate,
        "sides": sides,
        "signs": signs(sides),
        "alternative": f"Validation loss against learning rate. {'; '.join(words)}.",
    }


def signs(sides: list[dict[str, Any]]) -> str:
    """What the marks in the chart mean, of those that it has."""
    known = ["dots: runs, thin line: their means"]
    if any(side["curve"] for side in sides):
        known.append("line: fitted curve, dot below: where it is lowest")
    if any(side["interval"] for side in sides):
        known.append("bar: 95 % interval of the best rate")
    if any(side["lost"] for side in sides):
        known.append("×: diverged")
    return f"{', '.join(known)}; nats per token"


def side_value(study: Study, side: int, valley: Valley | None) -> dict[str, Any]:
    losses = {rate: ended_at(study, side, rate) for rate in rates_of(study)}
    points = [(rate, loss) for rate, some in losses.items() for loss in some if loss is not None]
    finite = {rate: [loss for loss in some if loss is not None] for rate, some in losses.items()}
    value: dict[str, Any] = {
        "letter": SIDE_LETTERS[side],
        "label": study.job.plans[side].label,
        "points": [[rate, round(loss, 4)] for rate, loss in points],
        "means": [[rate, round(math.fsum(some) / len(some), 4)] for rate, some in finite.items() if some],
        "lost": [[rate, some.count(None)] for rate, some in losses.items() if None in some],
        "curve": [],
        "optimum": None,
        "interval": None,
    }
    if valley is not None and valley.curve:
        value["curve"] = [[rate, round(loss, 4)] for rate, loss in valley.curve]
        value["optimum"] = valley.optimum
        if not valley.problem:
            value["interval"] = [valley.low or None, None if math.isinf(valley.high) else valley.high]
    return value

"""What has come of a study as JSON, for a file beside the runs and for the zip of its run, and back."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from tlab.nn.config import ModelConfig
from tlab.text import tokenizer_from_json
from tlab.training.config import TrainConfig
from tlab.ui.runs.loss_curve import MAX_BINS, Curve
from tlab.ui.runs.messages import Job, SidePlan, StartFrom
from tlab.ui.runs.run import DONE, STOPPED
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.study import RATES, SEEDS, Ended, Study, Trial
from tlab.ui.studies.tuning import MOST_RATES, rates_of, trials_at

MAX_VALIDATIONS = 10_000  # of one run


def study_as_json(study: Study) -> dict[str, Any]:
    """What has ended; the comparison itself is not in it."""
    ended = [
        {**trial._asdict(), **outcome._asdict(), "curve": curve_as_json(outcome.curve)}
        for trial, outcome in list(study.outcomes.items())
    ]
    return {"kind": study.kind, "rates": rates_of(study), "ended": ended}


def study_from_json(session: str, job: Job, values: Any) -> Study:
    """A study that has ended, or was stopped where something is missing.

    Args:
        session: that owns it.
        job: the comparison that it repeats.
        values: of `study_as_json`, or anybody's claim to be.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError: it is none of this comparison.
    """
    if values["kind"] == SEEDS:
        study = seeds_study(session, job, {})
    elif values["kind"] == RATES and 0 < len(values["rates"]) <= MOST_RATES:
        study = Study(session, RATES, job, trials_at(job, [positive(rate) for rate in values["rates"]]))
    else:
        raise ValueError("it is a study of no kind that the lab has")
    for one in values["ended"]:
        trial = Trial(*(one[name] for name in Trial._fields))
        if trial not in study.trials:
            raise ValueError("a run in it is none of its study")
        study.outcomes[trial] = ended_from_json(one)
    study.end = DONE if len(study.outcomes) == len(study.trials) else STOPPED
    return study


def ended_from_json(one: Any) -> Ended:
    loss, step, per_token = one["loss"], one["diverged_at"], one["bytes_per_token"]
    if (loss is None) == (step is None):
        raise ValueError("a run in it has a loss and diverged, or neither")
    return Ended(
        None if loss is None else finite_number(loss),
        None if step is None else int(step),
        curve_from_json(one["curve"]),
        None if per_token is None else positive(per_token),
    )


def curve_as_json(curve: Curve) -> dict[str, Any]:
    return {"width": curve.width, "filled": curve.filled, "bins": curve.bins, "validation": curve.validation}


def curve_from_json(values: Any) -> Curve:
    curve = Curve()
    curve.width, curve.filled = (int(values[name]) for name in ("width", "filled"))
    if curve.width < 1 or not 0 <= curve.filled <= curve.width:
        raise ValueError("a curve in it has no steps")
    if len(values["bins"]) > MAX_BINS or len(values["validation"]) > MAX_VALIDATIONS:
        raise ValueError("a curve in it is longer than any")
    for mean, low, high, average in values["bins"]:
        curve.bins.append([finite_number(mean), finite_number(low), finite_number(high), finite_number(average)])
    for step, loss in values["validation"]:
        curve.validation.append([int(step), finite_number(loss)])
    return curve


def finite_number(value: Any) -> float:
    number = float(value)
    if isinstance(value, str) or not math.isfinite(number):
        raise ValueError(f"{value!r} in it is no finite number")
    return number


def positive(value: Any) -> float:
    if not finite_number(value) > 0:
        raise ValueError(f"{value!r} in it is not above 0")
    return float(value)


# ------------------------------------------------------------------------------------------------ the comparison


def job_as_json(job: Job) -> dict[str, Any]:
    """Of a comparison without what only its progress has."""
    plans = [
        {
            "label": p.label, "model": p.model.to_json(), "training": p.training.to_json(), "bug": p.bug,
            **({"start_from": start_as_json(p.start_from)} if p.start_from else {}),
        }
        for p in job.plans
    ]  # fmt: skip
    return {"corpus": job.corpus, "text": job.text, "tokenizer": job.tokenizer, "plans": plans}


def job_from_json(values: Any) -> Job:
    plans = tuple(
        SidePlan(
            p["label"],
            ModelConfig.from_json(p["model"]),
            TrainConfig.from_json(p["training"]),
            None,
            p["bug"],
            start_from_json(p["start_from"]) if "start_from" in p else None,
        )
        for p in values["plans"]
    )
    return Job(values["corpus"], values["text"], values["tokenizer"], plans)


def start_as_json(start: StartFrom) -> dict[str, Any]:
    """Which weights a side begins with."""
    return {
        "name": start.name, "step": start.step, "sha256": start.sha256, "model": start.model.to_json(),
        "tokenizer": start.tokenizer.to_json(),
    }  # fmt: skip


def start_from_json(values: Any) -> StartFrom:
    return StartFrom(
        values["name"],
        values["step"],
        values["sha256"],
        ModelConfig.from_json(values["model"]),
        tokenizer_from_json(values["tokenizer"]),
    )


def study_name(study: Study) -> str:
    """The same for a study of the same kind and comparison."""
    about = json.dumps([study.kind, job_as_json(study.job)], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:32]

"""The settings that a run was made of: told from its job, as the controls take them, and against others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlab.ui.runs.messages import Job
from tlab.ui.settings.fields import field_label, format_value, values_of
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.plans import side_label

MAX_NAMED_SETTINGS = 4  # settings in one sentence


def settings_of(job: Job, side: int = 0) -> dict[str, Any]:
    """Text, tokenizer and every field of a side, by name."""
    plan = job.plans[side]
    return {"corpus": job.corpus, "tokenizer": job.tokenizer, **values_of(plan.model, plan.training)}


def switch_of(job: Job) -> tuple[str, Any] | None:
    """What B changes, and to which value; None where there is no B, or nothing that a control has."""
    a, b = settings_of(job), settings_of(job, -1)
    return next(((name, value) for name, value in b.items() if value != a[name]), None)


def control_values(job: Job) -> dict[str, Any]:
    """What the controls have to hold for side A, with a visitor's own text."""
    own = {} if job.text is None else {"corpus": OWN_TEXT, "text": job.text}
    return {**settings_of(job), **own}


def other_settings_words(shown: Job, chosen: Job) -> list[str]:
    """In what a run that is shown differs from the chosen settings, both values of each; at most a few.

    What is compared comes first, and is always named.
    """
    has, wants = settings_of(shown), settings_of(chosen)
    pairs = [side_b_words(shown), side_b_words(chosen)]
    found = [" instead of ".join(pairs)] if pairs[0] != pairs[1] else []
    found += differing_words(has, wants)
    if has["corpus"] == wants["corpus"] and shown.text != chosen.text:
        found.append("another text of your own")
    more = len(found) - MAX_NAMED_SETTINGS
    return found if more < 2 else [*found[:MAX_NAMED_SETTINGS], f"{more} more"]


def differing_words(has: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The settings that differ from the same ones of `others`, both values of each."""
    return [
        f"{field_label(name)} {format_value(name, value)} instead of {format_value(name, others[name])}"
        for name, value in has.items()
        if value != others[name]
    ]


def side_b_words(job: Job) -> str:
    """Such as: B with Post-LN."""
    switch = switch_of(job)
    if job.plans[-1].bug is not None:
        return "B with a planted bug"
    if switch is not None:
        return f"B with {side_label(*switch)}"
    return "no B" if len(job.plans) < 2 else "a B of the same settings"

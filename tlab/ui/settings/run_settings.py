"""The settings that a run was made of: told from its job, as the controls take them, and against others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlab.ui.runs.messages import Job
from tlab.ui.runs.run import Run
from tlab.ui.settings.fields import differing_words
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.plans import difference_of, settings_of_plan, side_label

MAX_NAMED_SETTINGS = 4  # settings in one sentence
SHA256_SHOWN = 12  # digits, as the commands show them


def settings_of(job: Job, side: int = 0) -> dict[str, Any]:
    """Text, tokenizer, what a side begins with and every field of it, by name."""
    return {"corpus": job.corpus, "tokenizer": job.tokenizer, **settings_of_plan(job.plans[side])}


def switch_of(job: Job) -> tuple[str, Any] | None:
    """What B changes, and to which value; None where there is no B, or nothing that a control has."""
    difference = difference_of(job.plans)
    return difference and (difference.name, difference.b)


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


def side_b_words(job: Job) -> str:
    """Such as: B with Post-LN."""
    switch = switch_of(job)
    if job.plans[-1].bug is not None:
        return "B with a planted bug"
    if switch is not None:
        return f"B with {side_label(*switch)}"
    return "no B" if len(job.plans) < 2 else "a B of the same settings"


# ------------------------------------------------------------------------------------------------ several runs


def text_name(job: Job) -> str:
    """The text of a run; one of a visitor's own with its length."""
    return job.corpus if job.text is None else f"{job.corpus}, {len(job.text):,} characters"


def text_names(runs: Sequence[Run]) -> list[str]:
    """The text of each run: of one text one name, the first that it has; and with its sha256 where another has it, too.

    What has not been read yet is known by its name alone.
    """
    keys = [run.text_sha256 or run.job[:2] for run in runs]
    names = {key: text_name(run.job) for key, run in reversed(list(zip(keys, runs, strict=True)))}
    read = Counter(name for key, name in names.items() if isinstance(key, str))
    return [
        f"{names[key]}, sha256 {key[:SHA256_SHOWN]}" if isinstance(key, str) and read[names[key]] > 1 else names[key]
        for key in keys
    ]


def distinguishing_words(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """For each run what sets it apart from those of the same name, in few words; nothing where no other has its name.

    Text and settings come first, then how far it has come, and at last in which order they began.
    """
    words: list[list[str]] = [[] for _ in runs]
    facts: list[dict[str, str]] = [{} for _ in runs]
    for same in alike(names):
        order = sorted(same, key=lambda i: runs[i].begun_at)
        for i, text in zip(same, text_names([runs[i] for i in same]), strict=True):
            facts[i] = {**telling_facts(runs[i], text), "begun": f"begun as no. {order.index(i) + 1} of {len(same)}"}
    for fact in next(filter(None, facts), {}):
        for same in alike([(name, *told) for name, told in zip(names, words, strict=True)]):
            if len({facts[i][fact] for i in same}) > 1:
                for i in same:
                    words[i].append(facts[i][fact])
    return [", ".join(each) for each in words]


def alike(values: Sequence[Any]) -> list[list[int]]:
    """The places of each value that stands more than once."""
    return [
        [i for i, value in enumerate(values) if value == one] for one, count in Counter(values).items() if count > 1
    ]


def telling_facts(run: Run, text: str) -> dict[str, str]:
    """What may set a run apart, by what it is, in the order in which it is said."""
    settings = {name: value for name, value in settings_of(run.job).items() if name not in ("corpus", "tokenizer")}
    return {
        "text": f"on {text}",
        "tokenizer": f"tokenizer {run.job.tokenizer}",
        **{name: side_label(name, value) for name, value in settings.items()},
        "b": side_b_words(run.job),
        "step": f"{run.step:,} of {run.steps:,} steps",
        "state": run.state,
    }

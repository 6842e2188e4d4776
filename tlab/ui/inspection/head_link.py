"""Links to a head: `?model=SmolLM2-135M&layer=17&head=1&text=...`, of a shipped run or an opened model.

The address of the page holds what the Attention tab shows, unless that is a run of the visitor's own, which nobody else
has. Behind its # is the tab that it leads to, which may be Inside or Generate: they read the same model and text.
Layers and heads count from 1, as everywhere on the page. What is wrong in a link is said, and the rest of it used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tlab.ui.demo.shipped_run import SHIPPED_IDS, SHIPPED_PREFIX, is_shipped
from tlab.ui.inspection.selection import SelectedModel
from tlab.ui.opened_models import OPENED_PREFIX
from tlab.ui.runs.manager import Runs
from tlab.wording import did_you_mean

MAX_TEXT = 1000  # characters in a link; of a longer text it has what the model reads
MAX_SHOWN = 60  # characters of a name that is not known
FEW_DIGITS = re.compile("[0-9]{1,9}")


class HeadLink(NamedTuple):
    """What a link asks for; None where it says nothing, or what is wrong."""

    model_id: str | None
    text: str | None
    layer: int | None  # from 0
    head: int | None
    side: int
    step: int | None
    problems: list[str]  # plain text, to be escaped


def head_query(of: SelectedModel, chosen: Sequence[int], text: str, read: str) -> str:
    """The query, without its question mark, that `read_head_link` reads as this head; empty of a visitor's own run.

    Args:
        of: the model.
        chosen: layer and head, from 0.
        text: what is in the box.
        read: as much of it as the model reads.
    """
    if of.opened is None and not is_shipped(of.run):
        return ""
    pairs: list[tuple[str, Any]] = [("model", link_name(of.key))]
    if of.side:
        pairs.append(("side", "b"))
    if of.step is not None and of.step != of.steps[-1]:
        pairs.append(("after", of.step))
    pairs += [(name, index + 1) for name, index in zip(("layer", "head"), chosen, strict=True)]
    if text != of.excerpt:
        pairs.append(("text", text if len(text) <= MAX_TEXT else read))
    return urlencode(pairs)


def model_query(runs: Runs, model_id: str | None) -> str:
    """The query that leads to a model, whatever its head; empty of a visitor's own run."""
    names = {known: name for name, known in models_by_link_name(runs).items()}
    return urlencode({"model": names[model_id]}) if model_id in names else ""


def read_head_link(query: Mapping[str, str], runs: Runs) -> HeadLink:
    """What the query of an address asks for. It never raises: what is wrong becomes one of the `problems`."""
    problems: list[str] = []

    def number(name: str, low: int) -> int | None:
        word = query.get(name)
        if word is None or (FEW_DIGITS.fullmatch(word) and int(word) >= low):
            return None if word is None else int(word) - low
        problems.append(f"{name} = “{word[:MAX_SHOWN]}” is no number from {low} on.")
        return None

    model_id = None
    if "model" in query:
        name, known = query["model"], models_by_link_name(runs)
        model_id = known.get(name)
        if model_id is None:
            problems.append(f"There is no model called “{name[:MAX_SHOWN]}” here.{did_you_mean(name, known)}")
    side = "ab".find(query.get("side", "a")) if len(query.get("side", "a")) == 1 else -1
    if side < 0:
        problems.append(f"side = “{query['side'][:MAX_SHOWN]}” is neither a nor b.")
    layer, head, step = number("layer", 1), number("head", 1), number("after", 0)
    return HeadLink(model_id, query.get("text"), layer, head, max(0, side), step, problems)


def models_by_link_name(runs: Runs) -> dict[str, str]:
    """What links call the models that every visitor can look into -> their ids. An opened one goes first."""
    ids = [*SHIPPED_IDS, *runs.opened.places]
    return {link_name(key): key for key in ids}


def link_name(model_id: str) -> str:
    """What links call the model of an id."""
    return model_id.removeprefix(OPENED_PREFIX).removeprefix(SHIPPED_PREFIX)

"""A learner, as far as the server knows: the runs of the session, and what is chosen on the other tabs of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlab.inside.attention import HeadPortrait
from tlab.inside.probing import Rows
from tlab.ui.inspection.selection import SelectedModel
from tlab.ui.inspection.tasks import InterventionEffect
from tlab.ui.runs.manager import Runs
from tlab.ui.studies.studies import Studies


@dataclass(frozen=True)
class Learner:
    """What tasks look at, to see whether they are done. What comes from the page may be anything."""

    session: str
    runs: Runs
    studies: Studies
    heads: Callable[[SelectedModel, str], tuple[list[HeadPortrait], int]]
    """All heads of a model that reads a text, and how many tokens it reads."""
    table: Callable[[SelectedModel, str, str], Rows]
    """A model, a text, the key of a probe -> its table."""
    known_table: Callable[[SelectedModel, str, str], bool]
    """Whether somebody has asked for that already."""
    effect: Callable[[SelectedModel, str, str], InterventionEffect]
    """A model, a text, the key of a part -> what is lost without it."""
    head: Any = None  # what is on the Attention tab, an `attention.tab.Shown`
    part: Any = None  # the one that is chosen below "What happens without it?"
    probe: Any = None  # the one that is chosen on the Inside tab
    text: Any = None  # that is read there
    rounds: Sequence[tuple[str, int, str]] = ()  # of the game that were played on this page, as `Guess` has them


Evidence = Mapping[str, Any]
"""What the browser keeps of a task that is done, by which the server finds what came of it again."""

"""With which weights a run can begin: random ones, or those of a model that is at hand."""

from __future__ import annotations

from typing import Any

from tlab.ui.runs.manager import gone_words
from tlab.ui.runs.messages import StartFrom
from tlab.ui.settings.fields import RANDOM

GONE = "gone: "  # before the words for weights that are not here any more


class Starts:
    """What there is to choose from. This one has random weights alone; see tlab/ui/tabs/train/models_at_hand.py."""

    def choices(self, session: str) -> list[tuple[str, str]]:
        """(words, key) of all that a visitor can choose."""
        return [(RANDOM, RANDOM)]

    def get(self, key: Any) -> StartFrom | str:
        """What a key stands for, which a page has sent: a `StartFrom`, or RANDOM.

        Raises:
            ValueError: its weights are not here.
        """
        if key == RANDOM:
            return RANDOM
        is_named = isinstance(key, str) and key.startswith(GONE)
        raise ValueError(gone_words(f"of {key.removeprefix(GONE)}" if is_named else "that were chosen"))

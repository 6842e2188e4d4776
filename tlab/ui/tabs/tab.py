"""What a tab of the page is, and what all tabs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import gradio as gr
from gradio.blocks import Block

from tlab.ui.demo.shipped_run import shipped_id
from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.inspection.process import Inspector
from tlab.ui.runs.manager import Runs
from tlab.ui.settings.presets import TRAINED

Updates = dict[Block, Any]
"""What a handler returns: a value for each component that changes. All others stay as they are."""

KnownTab = TypeVar("KnownTab", bound="Tab")


@dataclass(frozen=True)
class Services:
    """What is behind the tabs of one page."""

    runs: Runs  # what trains
    inspector: Inspector  # the process that looks into models
    cache: InspectionCache  # what has been computed of models
    run_id: gr.State  # the run on the Train tab, a visitor's or a shipped one; None for that of the opening
    model_id: gr.State = field(default_factory=lambda: gr.State(shipped_id(TRAINED)))
    """The run whose models the other tabs look into: the one on the Train tab, until another is chosen there."""


class Page(NamedTuple):
    """The page while it is built: all that a tab needs in order to connect itself to the rest."""

    blocks: gr.Blocks  # the whole page
    bar: gr.Tabs  # the row of tabs; a handler opens one with `gr.update(selected=key)`
    handle: gr.Tab  # the tab that is being built; its `select` event says that it comes into view
    tabs: Sequence[Tab]  # all of them, of which those further left are built already

    def find(self, kind: type[KnownTab]) -> KnownTab:
        """The tab of this class, for tabs that bring something onto another."""
        return next(tab for tab in self.tabs if isinstance(tab, kind))


class Tab(ABC):
    """One tab: it lays itself out, and its methods are its handlers.

    A new tab is a folder beside this file (tab.py with a subclass; scripts, styles and templates beside it) and one
    entry in the list `TABS` of `tlab.ui.app`.
    """

    title: ClassVar[str]  # what the visitor reads
    key: ClassVar[str]  # its name in links and in `gr.update(selected=key)`

    def __init__(self, services: Services) -> None:
        self.runs, self.inspector = services.runs, services.inspector
        self.cache, self.run_id, self.model_id = services.cache, services.run_id, services.model_id

    @abstractmethod
    def build(self, page: Page) -> None:
        """Lay the tab out where the `with` of the caller is, and connect its handlers."""

    def keeps(self, session: str) -> bool:
        """Whether it has something of a visitor for which the visitor is to be waited."""
        return False

    def leave(self, page: str) -> None:  # noqa: B027, most tabs keep nothing
        """A page has been closed: forget what was kept for it."""

    def end(self, session: str) -> None:  # noqa: B027
        """A visitor has left: forget what was kept for all of its pages."""

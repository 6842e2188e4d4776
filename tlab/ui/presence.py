"""Which pages are open, and what becomes of those that are not: a connection that breaks is no goodbye.

A page keeps one connection open. Where it ends, the page may have been closed, or a train has gone into a tunnel; the
server cannot tell. So a visitor who has trained something is waited for, before it is forgotten.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from tlab.ui.runs.manager import Runs

SECONDS_WITHOUT_PAGE = 30.0  # without its page a run goes on for so long
SECONDS_TO_FORGET = 600.0


class Presence:
    """Follows the pages of one server; safe to use from many threads.

    Args:
        runs: in which the run of an absent visitor pauses.
        forget: called with the session of a visitor who has not come back.
        seconds_to_forget: how long a visitor with runs is waited for.
    """

    def __init__(self, runs: Runs, forget: Callable[[str], None], seconds_to_forget: float = SECONDS_TO_FORGET) -> None:
        self.runs, self.forget, self.seconds_to_forget = runs, forget, seconds_to_forget
        self.lock = threading.Lock()
        self.open: Counter[str] = Counter()  # connections of each session
        self.timers: dict[str, list[threading.Timer]] = {}  # of the absent

    def came(self, session: str) -> None:
        """A connection has opened, perhaps again."""
        with self.lock:
            self.open[session] += 1
            for timer in self.timers.pop(session, []):
                timer.cancel()

    def left(self, session: str) -> None:
        """A connection has ended. Who has nothing to lose is forgotten at once."""
        with self.lock:
            self.open[session] -= 1
            if self.open[session] > 0:
                return
            del self.open[session]
            if self.seconds_to_forget and self.runs.history(session):
                orders = [(SECONDS_WITHOUT_PAGE, self.pause), (self.seconds_to_forget, self.end)]
                self.timers[session] = [threading.Timer(seconds, do, [session]) for seconds, do in orders]
                for timer in self.timers[session]:
                    timer.daemon = True
                    timer.start()
                return
        self.forget(session)

    def pause(self, session: str) -> None:
        """Give the worker of an absent visitor to others; the run can be resumed."""
        for run in self.runs.history(session):
            if run.active:
                self.runs.pause(run)

    def end(self, session: str) -> None:
        with self.lock:
            if self.open[session]:
                return
            self.timers.pop(session, None)
        self.forget(session)

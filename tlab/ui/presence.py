"""Which pages are open, and what becomes of those that are not: a connection that breaks is no goodbye.

A page keeps one connection open. Where it ends, the page may have been closed or loaded again, or a train has gone into
a tunnel; the server cannot tell. So a visitor who has trained something is waited for, before it is forgotten.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from tlab.ui.failure_log import logger
from tlab.ui.runs.manager import Runs

SECONDS_WITHOUT_PAGE = 30.0  # without its page a run goes on for so long
SECONDS_TO_FORGET = 600.0
MAX_AWAITED = 8  # pages of one browser that are waited for at the same time
MAX_FORGOTTEN = 1000  # pages of which it is known that they have been forgotten


class Presence:
    """Follows the pages of one server; safe to use from many threads.

    Args:
        runs: in which what an absent visitor trains pauses, and which forget who does not come back.
        forget: called with a page that is gone for good.
        seconds_to_forget: how long a visitor with runs is waited for.
        end_session: called with a session that has no page any more; by default its runs are forgotten.
        has_trained: whether a session has something to lose; by default whether it has runs.
    """

    def __init__(
        self,
        runs: Runs,
        forget: Callable[[str], None],
        seconds_to_forget: float = SECONDS_TO_FORGET,
        end_session: Callable[[str], None] | None = None,
        has_trained: Callable[[str], object] | None = None,
    ) -> None:
        self.runs, self.forget, self.seconds_to_forget = runs, forget, seconds_to_forget
        self.end_session = end_session or runs.end_session
        self.has_trained = has_trained or runs.of_session
        self.lock = threading.Lock()
        self.open: Counter[str] = Counter()  # connections of each page
        self.sessions: dict[str, str] = {}  # page -> whose it is, for those that are open or waited for; these in order
        self.timers: dict[str, list[threading.Timer]] = {}  # of sessions with pages that are waited for
        self.forgotten: OrderedDict[str, None] = OrderedDict()  # pages, lately
        # Of its own: no farewell waits until a large file has been compressed.
        self.farewells = ThreadPoolExecutor(2, "tlab-farewell")
        runs.expect = self.expect

    def expect(self, session: str, page: str) -> None:
        """A visitor gets a run on a page: without any page it is waited for, as if the last had just been closed.

        A page may have been closed before its connection could open; its end would never be noticed. And one that is
        open belongs to whoever has its runs, also where another page has given the browser a new number meanwhile.
        """
        with self.lock:
            before = self.sessions.get(page)
            if self.open[page] and before not in (session, None):
                self.sessions[page] = session
                self.runs.mark_gone(session, False)
                self.wait_if_absent(before)
            self.wait_if_absent(session)

    def wait_if_absent(self, session: str) -> None:
        """Let the time begin in which the first page of a session may come."""
        is_here = any(of == session and self.open[page] for page, of in self.sessions.items())
        if not (is_here or session in self.timers or session in self.runs.gone):
            self.wait(session, (max(self.seconds_to_forget, SECONDS_WITHOUT_PAGE), self.give_up))

    def came(self, page: str, session: str = "") -> None:
        """A connection of a page has opened, perhaps again; without a session the page is one of its own."""
        with self.lock:
            self.open[page] += 1
            self.forgotten.pop(page, None)
            self.sessions[page] = session or page
            self.runs.mark_gone(self.sessions[page], False)
            if not self.awaited(self.sessions[page]):
                self.cancel(self.sessions[page])

    def say_farewell(self, page: str) -> None:
        """A connection has ended; what that ends waits for processes, so a thread does it."""

        def leave() -> None:
            try:
                self.left(page)
            except Exception as error:
                logger.error("a page could not be forgotten", exc_info=error)

        self.farewells.submit(leave)

    def left(self, page: str) -> None:
        """A connection has ended. Who has nothing to lose is forgotten at once."""
        with self.lock:
            self.open[page] -= 1
            if self.open[page] > 0:
                return
            del self.open[page]
            session = self.sessions[page] = self.sessions.pop(page)  # the last one to leave is the last to be forgotten
            gone = [page]
            if self.seconds_to_forget and self.has_trained(session):
                self.wait(session, (SECONDS_WITHOUT_PAGE, self.pause), (self.seconds_to_forget, self.give_up))
                gone = self.awaited(session)[:-MAX_AWAITED]
        for each in gone:
            self.end(each)

    def awaited(self, session: str) -> list[str]:
        """The pages of a session that are gone and may come back."""
        return [page for page, of in self.sessions.items() if of == session and not self.open[page]]

    def wait(self, session: str, *orders: tuple[float, Callable[[str], None]]) -> None:
        """Let the time begin in which pages of a session may come back: what happens to it after how many seconds."""
        self.cancel(session)
        self.timers[session] = [threading.Timer(seconds, do, [session]) for seconds, do in orders]
        for timer in self.timers[session]:
            timer.daemon = True
            timer.start()

    def cancel(self, session: str) -> None:
        for timer in self.timers.pop(session, []):
            timer.cancel()

    def pause(self, session: str) -> None:
        """Give the worker of an absent visitor to others; the run goes on when a page shows it again."""
        with self.lock:
            open_pages = list(self.open)
        for run in self.runs.history(session):
            if run.active and not any(self.runs.shown(page) is run for page in open_pages):
                run.awaits_page = True
                self.runs.pause(run)

    def give_up(self, session: str) -> None:
        """Forget the pages that have not come back, or the session alone if none ever came."""
        with self.lock:
            self.timers.pop(session, None)
            gone = self.awaited(session) or [session]
        for page in gone:
            self.end(page)

    def end(self, page: str) -> None:
        """Forget a page, and its visitor with the last one; a failure at one thing leaves no other undone."""
        with self.lock:
            if self.open[page]:
                return
            self.forgotten[page] = None
            while len(self.forgotten) > MAX_FORGOTTEN:
                self.forgotten.popitem(last=False)
            session = self.sessions.pop(page, page)
            is_last = session not in self.sessions.values()
            if is_last:
                self.runs.mark_gone(session, True)
        with contextlib.ExitStack() as all_of_it:  # from the last to the first
            all_of_it.callback(self.forget, page)
            all_of_it.callback(self.runs.show, page, None)
            if is_last:
                all_of_it.callback(self.end_session, session)

    def forget_late_orders(self, demo: gr.Blocks) -> None:
        """Forget a page once more after each order that its server carries out when it has been closed already."""
        process = demo.process_api

        async def processed(*args: Any, **options: Any) -> Any:
            try:
                return await process(*args, **options)
            finally:
                page = options.get("session_hash")
                if page in self.forgotten:
                    self.forget(page)

        demo.process_api = processed

"""How much of the server one visitor may have at the same time: places in Gradio's queue, and open connections.

Who sends requests by hand may call itself another page, or another browser, with each of them; its address is what it
cannot choose. A class has one address too, so an address may have more than a browser.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

import gradio as gr
from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from tlab.ui.request_guard import refuse
from tlab.ui.visit import behind_proxy, heartbeat_page, session_in

EVENTS = "/gradio_api/queue/data"  # where a page listens to what its events bring
IPV6_PREFIX = 64  # bits of an address that one household or machine chooses the rest of


class Visitor(NamedTuple):
    """Whose a request is, from what is easily changed to what is not."""

    page: str
    session: str
    address: str


class Share(NamedTuple):
    """The most that a page, a browser, an address and all together may have of something at the same time."""

    page: int
    session: int
    address: int
    everybody: int


QUEUE_SHARE = Share(8, 24, 100, 200)  # events that wait for their handlers; a page has one or two at a time
CONNECTION_SHARE = Share(6, 60, 300, 600)  # that stay open; a page has two
# Gradio looks into its queue 1,000 times a second, and 100 times for progress bars, of which there are none. That takes
# 9 % of a core on the slowest kind of processor, with no page open.
SECONDS_BETWEEN_POLLS = 0.01
SECONDS_BETWEEN_PROGRESS = 1.0


def visitor_of(scope: Scope, page: str) -> Visitor:
    """Of a request of a page; it is asked for again and again while the request waits, and kept with it."""
    if "tlab.visitor" not in scope:
        scope["tlab.visitor"] = read_visitor(scope, page)
    return scope["tlab.visitor"]


def read_visitor(scope: Scope, page: str) -> Visitor:
    headers = Headers(scope=scope)
    client = scope.get("client") or ("",)
    # Of what proxies say the last one's word counts; a visitor can send the others.
    address = headers.get("x-forwarded-for", "").split(",")[-1].strip() if behind_proxy() else ""
    return Visitor(page, session_in(headers.get("cookie"), page), network_of(address or client[0]))


def network_of(address: str) -> str:
    """The addresses that one visitor can choose among; all that are none count as one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))


def fullest(others: Collection[Visitor], visitor: Visitor, share: Share) -> str | None:
    """Who has no room for one more, in words; None where there is room."""
    if sum(other.page == visitor.page for other in others) >= share.page:
        return "this page"
    if sum(other.session == visitor.session for other in others) >= share.session:
        return "this browser"
    if sum(other.address == visitor.address for other in others) >= share.address:
        return "this address"
    return "all visitors" if len(others) >= share.everybody else None


class ConnectionLimit:
    """Refuses connections that stay open where a visitor, or all together, have as many as they may."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.open: list[Visitor] = []  # one for each connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = connected_page(scope)
        if page is None:
            await self.app(scope, receive, send)
            return
        visitor = visitor_of(scope, page)
        full = fullest(self.open, visitor, CONNECTION_SHARE)
        if full:
            words = f"Too many connections of {full} are open already. Close some pages, or try again in a minute."
            await refuse(scope, receive, send, 429, words)
            return
        self.open.append(visitor)
        try:
            await self.app(scope, receive, send)
        finally:
            self.open.remove(visitor)


def connected_page(scope: Scope) -> str | None:
    """The page that opens a connection which stays open; None where this request is answered at once."""
    if scope["type"] != "http":
        return None
    if scope["path"] == EVENTS:
        return QueryParams(scope["query_string"]).get("session_hash", "")
    return heartbeat_page(scope["path"])


def share_queue(demo: gr.Blocks) -> None:
    """Give each visitor a share of Gradio's queue, and let visitors take turns in it.

    It is first come, first served, so that one visitor with many requests would keep all others waiting, or out.
    """
    demo.queue(max_size=QUEUE_SHARE.everybody, api_open=False)
    queue = demo._queue
    queue.sleep_when_free = max(queue.sleep_when_free, SECONDS_BETWEEN_POLLS)
    queue.progress_update_sleep_when_free = SECONDS_BETWEEN_PROGRESS
    push = queue.push

    async def push_share(body: Any, request: Any, username: str | None) -> Any:
        queues = queue.event_queue_per_concurrency_id.values()
        waiting = [visitor_behind(event) for each in queues for event in each.queue]
        full = fullest(waiting, visitor_of(request.scope, body.session_hash or ""), QUEUE_SHARE)
        if full:
            return False, f"Too many requests of {full} are waiting already. Try again in a moment.", "queue_full"
        answer = await push(body=body, request=request, username=username)
        for each in queue.event_queue_per_concurrency_id.values():
            take_turns(each.queue)
        return answer

    queue.push = push_share


def visitor_behind(event: Any) -> Visitor:
    """Of an event in Gradio's queue."""
    return visitor_of(event.request.scope, event.session_hash)


def take_turns(events: list[Any]) -> None:
    """Order waiting events: the first of each browser before the second of any, and so with addresses among these."""
    had: Counter[str] = Counter()
    turns = {}
    for event in events:
        visitor = visitor_behind(event)
        turns[event._id] = had[visitor.session], had[visitor.address]
        had.update((visitor.session, visitor.address))
    events.sort(key=lambda event: turns[event._id])

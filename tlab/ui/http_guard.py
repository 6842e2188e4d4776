"""What every request passes first: is it addressed to this server, and what does a browser have to know of the answer?

It also notices when a visitor leaves: a page keeps one request open for as long as it is there.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlab.ui.failure_log import logger
from tlab.ui.presence import Presence
from tlab.ui.request_guard import refuse
from tlab.ui.visit import behind_proxy, cookie_for, heartbeat_page, session_in

HOST = re.compile(r"(?P<name>[\w.-]{1,255}|\[[0-9a-fA-F:.]{2,45}\])(:\d{1,5})?", re.ASCII)
HOSTS_VARIABLE = "TLAB_HOSTS"  # further names of this machine, separated by commas
# No word on frames: a Space is shown in one.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "base-uri 'self'; object-src 'none'",
}


class HttpGuard:
    """Refuses what is not addressed to this server, and follows who is there.

    Args:
        app: what answers.
        names: of this machine; None where any will do, as behind a proxy.
        presence: of the visitors.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] | None, presence: Presence) -> None:
        self.app, self.names, self.presence = app, names, presence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        words = complaint(headers, self.names)
        if words:
            await refuse(scope, receive, send, 400, words)
            return

        page = heartbeat_page(scope["path"])
        if page is None:
            await self.answer(scope, receive, send)
            return
        self.presence.came(page, session_in(headers.get("cookie"), page))
        try:
            await self.answer(scope, receive, send)
        finally:
            self.presence.say_farewell(page)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """With what a browser has to know; in words also where a request was nonsense to all that read it."""
        answered = False
        opens_page = (scope["method"], scope["path"]) == ("GET", "/")

        async def with_headers(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if opens_page:
                    headers.append("Set-Cookie", cookie_for(Headers(scope=scope).get("cookie")))
                    headers["Cache-Control"] = "private"
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except Exception as error:
            logger.error("a request failed", exc_info=error)
            if not answered:
                await refuse(scope, receive, with_headers, 400, "The server cannot make anything of this request.")


def complaint(headers: Headers, names: Collection[str] | None) -> str | None:
    """What is wrong with the address that a request names, or None."""
    hosts = [headers.get("host", "localhost"), *headers.get("x-forwarded-host", "localhost").split(",")]
    if not all(HOST.fullmatch(host.strip()) for host in hosts):
        return "The address of this request names no host."
    found = HOST.fullmatch(headers.get("host", "localhost"))
    name = found["name"].lower() if found else ""
    if names is None or name in names or is_address(name):
        return None
    # Any page of the web may give its own name this machine's address, and would then be let in as this server's.
    return f"This server is not called {name}. Open it as 127.0.0.1, or name it in the variable {HOSTS_VARIABLE}."


def is_address(name: str) -> bool:
    """Whether this is an address itself, which nobody else can give a name."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def names_here() -> set[str] | None:
    """By which names a browser may reach this machine; None on a Space and elsewhere behind a proxy."""
    if behind_proxy():
        return None
    own = socket.gethostname().lower()
    given = os.environ.get(HOSTS_VARIABLE, "").lower().split(",")
    return {"localhost", own, f"{own}.local", *(name.strip() for name in given)}

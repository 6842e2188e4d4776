"""Whose a request is: a browser is known again by a cookie, and each of its pages by the name that Gradio gives it.

There is no login. The cookie holds nothing but a random number that no script of the page can read; who does not have
it cannot guess it, and it opens nothing but what its own browser has trained. A browser that takes no cookies has a
session for each page, which ends with it.
"""

from __future__ import annotations

import os
import re
import secrets
from typing import Any, NamedTuple

from starlette.requests import cookie_parser

HEARTBEAT = "/gradio_api/heartbeat/"  # what a page keeps open for as long as it is there
COOKIE = "tlab-session"
NUMBER_BYTES = 32  # of the random number
NUMBER = re.compile(r"[\w-]{43}", re.ASCII)
SECONDS_KNOWN = 30 * 86400


class Visit(NamedTuple):
    """Whose a request is."""

    session: str  # of a browser; what it has trained is its own
    page: str  # in that browser, until it is loaded again


def visit_of(request: Any) -> Visit:
    """Of a request as Gradio gives it to a handler."""
    page = request.session_hash or ""
    return Visit(session_in(getattr(request, "headers", {}).get("cookie"), page), page)


def session_in(cookies: str | None, page: str) -> str:
    """That of the cookie, or one for this page alone."""
    number = cookie_parser(cookies or "").get(COOKIE, "")
    return number if NUMBER.fullmatch(number) else f"page {page}"  # no cookie has a space in it


def heartbeat_page(path: str) -> str | None:
    """The page that says by this path that it is there; None for any other path."""
    return path.removeprefix(HEARTBEAT) if path.startswith(HEARTBEAT) else None


def behind_proxy() -> bool:
    """Whether visitors reach this server by another one, as on a Space."""
    return bool(os.environ.get("SPACE_ID") or os.environ.get("GRADIO_ROOT_PATH"))


def lasts(session: str) -> bool:
    """Whether its browser is known again when the page is loaded again."""
    return NUMBER.fullmatch(session) is not None


def cookie_for(cookies: str | None) -> str:
    """The header that lets this browser be known for a while, again or from now on."""
    known = session_in(cookies, "")
    number = known if lasts(known) else secrets.token_urlsafe(NUMBER_BYTES)
    # A Space is shown in a frame of another site, where only such a cookie is kept; it is that site's alone.
    where = "SameSite=None; Secure; Partitioned" if os.environ.get("SPACE_ID") else "SameSite=Lax"
    return f"{COOKIE}={number}; Path=/; Max-Age={SECONDS_KNOWN}; HttpOnly; {where}"

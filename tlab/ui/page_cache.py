"""The page as it was sent before: Gradio writes its 700 kB anew for each visitor, and a class comes at once."""

from __future__ import annotations

from collections.abc import Hashable
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_PAGES = 8  # one for each address by which visitors reach this server
ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")  # what Gradio reads of them
OTHER_PAGES = {"page", "deep_link", "all_endpoints"}  # words of a link by which it sends something else


class PageCache:
    """Keeps the answer to GET / for each address, since nothing else about a visitor is in it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.pages: dict[Hashable, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = page_key(scope)
        if key is None:
            await self.app(scope, receive, send)
            return
        if key not in self.pages:
            sent: list[Message] = []

            async def kept(message: Message) -> None:
                sent.append(dict(message))
                await send(message)

            await self.app(scope, receive, kept)
            if sent and sent[0].get("status") == 200 and len(self.pages) < MAX_PAGES:
                self.pages[key] = sent
            return
        for message in self.pages[key]:
            await send(dict(message))


def page_key(scope: Scope) -> Hashable | None:
    """All that the page depends on; None where something else was asked for, or not everybody may see it."""
    if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", "/"):
        return None
    if any(getattr(scope["app"], name, None) is not None for name in ("auth", "auth_dependency")):
        return None
    words = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if not OTHER_PAGES.isdisjoint(words):
        return None
    headers = Headers(scope=scope)
    return scope["scheme"], scope.get("root_path"), *(headers.get(name) for name in ADDRESS_HEADERS)

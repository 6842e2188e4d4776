"""What is the same for everybody, made and compressed once: the page, and the files that it is shown with.

Gradio writes a page of 700 kB anew for each visitor, sends it as it is, and compresses each of its files again.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Hashable
from urllib.parse import parse_qs

import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlab.ui.runs.byte_budget_cache import ByteBudgetCache

MAX_ANSWER_BYTES = 2**25  # of all answers; what was asked for longest ago goes first
ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")  # what Gradio reads of them
OTHER_PAGES = {"page", "deep_link", "all_endpoints"}  # words of a link by which it sends something else
ASSETS = "/assets/"  # each is named by its content: what a browser has once it need not ask for again
FILES = (ASSETS, "/static/js/", "/theme.css")
OF_THE_FILE = ("content-length", "etag", "last-modified", "accept-ranges")  # headers that are not true of what is sent
LEAST_BYTES = 400  # what is smaller does not become smaller
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {  # the best first; browsers know Brotli by HTTPS or locally alone
    "br": lambda body: brotli.compress(body, quality=11),  # a second for the page, once; by 10 it is 2 % longer
    "gzip": gzip.compress,
}


class PageCache:
    """Keeps the answers that depend on no visitor, for each address by which they reach this server.

    Args:
        app: what makes them.
        head: HTML for the head of the page.
    """

    def __init__(self, app: ASGIApp, head: str = "") -> None:
        self.app, self.head = app, head.encode()
        self.answers: ByteBudgetCache[Hashable, list[Message]] = ByteBudgetCache(MAX_ANSWER_BYTES)
        self.making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = page_key(scope) or file_key(scope)
        if asked is None:
            await self.app(scope, receive, send)
            return
        key = (asked, encoding_for(scope))
        answer = self.answers.get(key)
        if answer is None:
            async with self.making:  # a class comes at once, and waits for the first
                answer = self.answers.get(key) or await self.make(key, scope, receive)
        for message in answer:
            await send(dict(message))

    async def make(self, key: tuple[Hashable, str], scope: Scope, receive: Receive) -> list[Message]:
        """Ask the app, and keep its answer unless it is a failure."""
        sent: list[Message] = []

        async def collect(message: Message) -> None:
            sent.append(dict(message))

        await self.app(scope, receive, collect)
        if not sent or sent[0].get("status") != 200:
            return sent
        start, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
        if page_key(scope):
            body = body.replace(b"</head>", self.head + b"</head>", 1)
        headers = MutableHeaders(raw=[pair for pair in start["headers"] if pair[0].decode() not in OF_THE_FILE])
        if scope["path"].startswith(ASSETS):
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        encoding = key[1]
        if encoding and len(body) >= LEAST_BYTES:
            body = await asyncio.to_thread(ENCODINGS[encoding], body)
            headers["Content-Encoding"] = encoding
        headers.add_vary_header("Accept-Encoding")
        headers["Content-Length"] = str(len(body))
        answer: list[Message] = [{**start, "headers": headers.raw}, {"type": "http.response.body", "body": body}]
        self.answers.put(key, answer, len(body))
        return answer


def encoding_for(scope: Scope) -> str:
    """The best that the browser understands; none where it names none of these."""
    named = {word.split(";")[0].strip() for word in Headers(scope=scope).get("accept-encoding", "").split(",")}
    return next((name for name in ENCODINGS if name in named), "")


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


def file_key(scope: Scope) -> Hashable | None:
    """The path of a script or a sheet that pages ask for."""
    if scope["type"] != "http" or scope["method"] != "GET" or "range" in Headers(scope=scope):
        return None
    path = scope["path"]
    return path if path.startswith(FILES) and path.endswith((".js", ".css")) else None

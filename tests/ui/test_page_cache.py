"""What is the same for everybody is made and compressed once, and the page brings its styles along."""

import asyncio
import gzip
import json

import brotli
import pytest

from support import GRADIO
from tlab.ui.page.cache import PageCache
from tlab.ui.page.styles import sheet_names, styles_of

pytestmark = GRADIO

SHEET = b"p { color: teal } " * 500


class Server:
    """An app of one answer behind the cache, which counts how often it is asked."""

    def __init__(self, body: bytes = SHEET, status: int = 200, head: str = ""):
        self.body, self.status, self.asked = body, status, 0
        self.cache = PageCache(self.answer, head)

    async def answer(self, scope, receive, send):
        self.asked += 1
        await asyncio.sleep(0)  # others come meanwhile
        headers = [(b"content-type", b"text/css"), (b"etag", b"x"), (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[:100], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[100:]})

    async def get(self, path: str = "/assets/a.css", accepts: str = "gzip, deflate, br", **more):
        headers = [(b"host", b"localhost"), (b"accept-encoding", accepts.encode()), *more.pop("headers", [])]
        scope = {"type": "http", "method": "GET", "path": path, "scheme": "http", "query_string": b"", "app": None}
        sent = []

        async def send(message):
            sent.append(message)

        await self.cache({**scope, "headers": headers, **more}, None, send)
        return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize(
    ("accepts", "encoding", "unpacked"),
    [
        ("gzip, deflate, br", b"br", brotli.decompress),
        ("gzip;q=1.0, deflate", b"gzip", gzip.decompress),
        ("identity", None, bytes),
    ],
)
def test_a_browser_gets_the_best_encoding_that_it_understands(accepts, encoding, unpacked):
    headers, body = asyncio.run(Server().get(accepts=accepts))
    assert headers.get(b"content-encoding") == encoding
    assert int(headers[b"content-length"]) == len(body)
    assert unpacked(body) == SHEET


def test_sixty_who_come_at_once_are_answered_with_what_was_made_for_the_first():
    server = Server()

    async def a_class():
        return await asyncio.gather(*(server.get() for _ in range(60)))

    assert len({body for _, body in asyncio.run(a_class())}) == 1
    assert server.asked == 1


def test_a_failure_is_answered_and_not_kept():
    server = Server(status=404)

    async def twice():
        return [await server.get(), await server.get()]

    assert [body for _, body in asyncio.run(twice())] == [SHEET, SHEET]
    assert server.asked == 2


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/gradio_api/queue/data"},
        {"path": "/assets/a.wasm"},
        {"method": "HEAD"},
        {"headers": [(b"range", b"bytes=0-1")]},
    ],
    ids=["a stream", "no text", "no body", "a part"],
)
def test_anything_else_goes_straight_to_the_app(other):
    server = Server()

    async def twice():
        return [await server.get(**other), await server.get(**other)]

    headers, body = asyncio.run(twice())[1]
    assert body == SHEET and b"content-encoding" not in headers and server.asked == 2


def test_a_browser_need_not_ask_again_for_a_file_that_is_named_by_its_content():
    headers, _ = asyncio.run(Server().get())
    assert b"immutable" in headers[b"cache-control"] and b"etag" not in headers
    assert b"cache-control" not in asyncio.run(Server().get("/theme.css"))[0]


def test_the_head_is_in_the_page_and_in_no_other_file():
    server = Server(b"<head></head>" + SHEET, head="<style>b{}</style>")
    assert asyncio.run(server.get("/", accepts=""))[1].startswith(b"<head><style>b{}</style></head>")
    assert b"<style>" not in asyncio.run(server.get(accepts=""))[1]


def test_the_styles_are_those_of_the_kinds_on_the_page_each_with_a_link_that_is_not_followed():
    names = sheet_names({"slider"})
    assert len(names) == len(set(names)) < len(sheet_names({"slider", "chatbot"}))
    html = styles_of({"slider"})
    linked = json.loads(html[html.index("[") : html.index("]") + 1])
    assert len(linked) >= 5 and set(linked) <= set(names)
    assert "link.disabled = true" in html and "<link" not in html  # which a browser that looks ahead would follow
    assert "url(" not in html  # of a file beside the sheet, which would be looked for beside the page

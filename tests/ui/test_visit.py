"""Whose a request is: a browser is known again by its cookie, and nobody becomes another by what is sent."""

import asyncio

import gradio as gr
import pytest
from starlette.responses import Response

from support import GRADIO
from tlab.ui.http_guard import HttpGuard
from tlab.ui.page.cache import PageCache
from tlab.ui.visit import COOKIE, cookie_for, lasts, session_in, visit_of

pytestmark = GRADIO

NUMBER = "n" * 43


def answered(path: str = "/", method: str = "GET", cookie: str = "", app=None) -> dict[str, str]:
    """The headers of an answer to a browser with this cookie."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    given = [(b"host", b"localhost"), *([(b"cookie", cookie.encode())] if cookie else [])]
    scope = {"type": "http", "method": method, "path": path, "headers": given, "query_string": b"", "scheme": "http"}
    guard = HttpGuard(app or Response(b"page"), {"localhost"}, None)
    asyncio.run(guard({**scope, "app": None}, receive, send))
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def number_in(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0].removeprefix(f"{COOKIE}=")


def test_the_page_gives_a_browser_a_number_that_its_scripts_cannot_read():
    words = answered()["set-cookie"]
    assert lasts(number_in({"set-cookie": words}))
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(words.split("; "))


def test_no_two_browsers_get_the_same_number_also_where_the_page_is_kept():
    cached = PageCache(Response(b"page"))
    assert len({number_in(answered(app=cached)) for _ in range(3)}) == 3


def test_a_browser_keeps_its_number():
    assert number_in(answered(cookie=f"other=1; {COOKIE}={NUMBER}")) == NUMBER


def test_no_store_between_keeps_the_page_with_the_number_for_others():
    assert answered()["cache-control"] == "private"


@pytest.mark.parametrize(("path", "method"), [("/config", "GET"), ("/", "POST"), ("/gradio_api/queue/join", "POST")])
def test_the_page_alone_gives_numbers(path, method):
    assert "set-cookie" not in answered(path, method)


def test_in_the_frame_of_a_space_the_cookie_is_that_sites_alone(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/lab")
    assert {"SameSite=None", "Secure", "Partitioned", "HttpOnly"} <= set(cookie_for(None).split("; "))


@pytest.mark.parametrize(
    "forged",
    ["", "x", "n" * 42, "n" * 44, "n" * 60_000, "../" + "n" * 40, "é" * 43, "n" * 42 + "\n", "page one" + "n" * 35],
)
def test_what_no_server_gave_is_no_number_and_is_replaced(forged):
    assert session_in(f"{COOKIE}={forged}", "one") == "page one"
    assert lasts(number_in({"set-cookie": cookie_for(f"{COOKIE}={forged}")}))


def test_a_page_without_a_cookie_is_a_session_of_its_own_that_no_cookie_can_name():
    session, page = visit_of(gr.Request(session_hash="one"))
    assert (session, page) == ("page one", "one") and not lasts(session)

"""What one visitor may have at the same time, whatever it calls itself."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest

from support import GRADIO
from tlab.ui import visitor_share
from tlab.ui.visit import COOKIE
from tlab.ui.visitor_share import (
    CONNECTION_SHARE,
    QUEUE_SHARE,
    ConnectionLimit,
    network_of,
    share_queue,
    take_turns,
    visitor_of,
)

pytestmark = GRADIO


def scope_of(address="192.0.2.1", browser="", path="/gradio_api/queue/join", query="", forwarded=""):
    """Of a request; a browser is known by a letter."""
    headers = [(b"cookie", f"{COOKIE}={browser * 43}".encode())] if browser else []
    headers += [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return {"type": "http", "path": path, "headers": headers, "client": (address, 1), "query_string": query.encode()}


def event(page, number=0, **request):
    """In Gradio's queue."""
    return SimpleNamespace(session_hash=page, _id=f"{page}{number}", request=SimpleNamespace(scope=scope_of(**request)))


@pytest.fixture
def answers(monkeypatch):
    """Sends a request of a page to a queue that lets nobody through; -> the words of the refusal, or None."""
    with gr.Blocks() as demo:
        pass
    waiting = []
    demo.queue()
    monkeypatch.setattr(demo, "queue", lambda **_: None)
    demo._queue.event_queue_per_concurrency_id = {"all": SimpleNamespace(queue=waiting)}

    async def push(body, request, username):
        waiting.append(SimpleNamespace(session_hash=body.session_hash, _id=str(len(waiting)), request=request))
        return True, "event", "success"

    demo._queue.push = push
    share_queue(demo)

    def ask(page, **request):
        body, request = SimpleNamespace(session_hash=page), SimpleNamespace(scope=scope_of(**request))
        success, words, _ = asyncio.run(demo._queue.push(body, request, None))
        return None if success else words

    return ask


def test_one_page_has_a_few_places_in_the_queue(answers):
    assert [answers("one") for _ in range(QUEUE_SHARE.page)] == [None] * QUEUE_SHARE.page
    assert "this page" in answers("one")
    assert answers("other") is None


def test_a_browser_that_names_another_page_each_time_does_not_fill_the_queue(answers):
    for number in range(QUEUE_SHARE.session):
        assert answers(str(number), browser="a") is None
    assert "this browser" in answers("another", browser="a")
    assert answers("other", browser="b") is None


def test_an_address_that_names_another_browser_each_time_does_not_fill_the_queue(answers):
    for number in range(QUEUE_SHARE.address):
        assert answers(str(number)) is None
    assert "this address" in answers("another")
    assert answers("other", address="192.0.2.2") is None


def test_behind_a_proxy_the_word_of_the_last_one_counts(monkeypatch):
    forged = {"address": "10.0.0.1", "forwarded": "203.0.113.7, 198.51.100.2"}
    assert visitor_of(scope_of(**forged), "one").address == "10.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/lab")
    assert visitor_of(scope_of(**forged), "one").address == "198.51.100.2"


def test_the_addresses_that_one_machine_may_choose_count_as_one():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("nonsense") == network_of("1.2.3") == ""


def test_browsers_take_turns_in_the_queue():
    names = ["a", "a", "a", "a", "b", "c", "b"]
    events = [event(name, number, browser=name, address=name) for number, name in enumerate(names)]
    take_turns(events)
    assert [each._id for each in events] == ["a0", "b4", "c5", "a1", "b6", "a2", "a3"]


def test_who_calls_itself_another_browser_each_time_waits_for_everybody_else():
    events = [event(f"forged {number}") for number in range(5)] + [event("honest", address="192.0.2.2")]
    take_turns(events)
    assert [each.session_hash for each in events][:3] == ["forged 0", "honest", "forged 1"]


# ------------------------------------------------------------------------------------------- connections


@pytest.fixture
def connect():
    """Opens a connection that stays; -> the status of the answer, and how to close it."""
    loop, tasks = asyncio.new_event_loop(), []  # a task that only waits would be collected if nobody else held it

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Future()

    limit = ConnectionLimit(app)

    def open_one(page="one", path="/gradio_api/queue/data", **request):
        status = loop.create_future()

        async def send(message):
            if message["type"] == "http.response.start":
                status.set_result(message["status"])

        query = f"session_hash={page}"
        task = loop.create_task(limit(scope_of(path=path, query=query, **request), None, send))
        tasks.append(task)
        answer = loop.run_until_complete(status)

        def close():
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))

        return answer, close

    yield open_one
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def test_a_page_has_a_few_connections_and_again_when_one_has_ended(connect):
    closes = [connect() for _ in range(CONNECTION_SHARE.page)]
    assert {status for status, _ in closes} == {200}
    assert connect()[0] == 429
    closes[0][1]()
    assert connect()[0] == 200


@pytest.mark.parametrize("path", ["/gradio_api/queue/data", "/gradio_api/heartbeat/{}"])
@pytest.mark.parametrize(("kind", "request_of"), [("session", {"browser": "a"}), ("address", {})])
def test_connections_under_many_names_are_bounded(connect, monkeypatch, path, kind, request_of):
    monkeypatch.setattr(visitor_share, "CONNECTION_SHARE", CONNECTION_SHARE._replace(**{kind: 3}))
    codes = [connect(str(number), path.format(number), **request_of)[0] for number in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert connect("other", browser="b", address="192.0.2.2")[0] == 200


def test_all_connections_together_are_bounded(connect, monkeypatch):
    monkeypatch.setattr(visitor_share, "CONNECTION_SHARE", CONNECTION_SHARE._replace(everybody=2))
    assert [connect(str(number), address=f"192.0.2.{number}")[0] for number in range(3)] == [200, 200, 429]


def test_what_is_answered_at_once_is_not_counted(connect):
    assert {connect(path="/")[0] for _ in range(CONNECTION_SHARE.page + 1)} == {200}


def test_an_idle_server_looks_into_its_queue_at_most_a_hundred_times_a_second(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        demo._queue.stopped = len(slept) == 50

    with gr.Blocks() as demo:
        pass
    share_queue(demo)
    monkeypatch.setattr(gr.queueing.asyncio, "sleep", sleep)
    asyncio.run(demo._queue.start_processing())
    assert sum(slept) >= 0.01 * len(slept) > 0

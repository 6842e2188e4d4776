"""What stands before the handlers: large requests and nonsense are answered in words, and the log stays empty."""

import asyncio
import html

import gradio as gr
import pytest

from support import GRADIO
from tlab.ui import request_guard
from tlab.ui.request_guard import BodyLimit, largest_body, refuse_quietly, whole_characters
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.session_state import LightState
from tlab.ui.widgets.component import js_component

pytestmark = GRADIO


def request(most: int, pieces: list[bytes], headers=(), path="/gradio_api/queue/join"):
    """Send it through a limit to an application that reads all of it; -> status and body of the answer."""
    sent, waiting = [], list(pieces)

    async def receive():
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})

    scope = {"type": "http", "path": path, "headers": list(headers)}
    asyncio.run(BodyLimit(app, most)(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_request_within_the_limit_is_read():
    assert request(10, [b"12345", b"67890"], [(b"content-length", b"10")]) == (200, b"read")


def test_a_request_that_says_it_is_larger_is_refused_before_it_is_read():
    status, words = request(2_000_000, [], [(b"content-length", b"2000001")])
    assert status == 413
    assert b"more than 2 MB, the most that can be sent here at once" in words


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"3")], [(b"content-length", b"many")]])
def test_a_request_that_lies_about_its_size_is_refused_where_it_goes_beyond(headers):
    assert request(10, [b"12345", b"678901"], headers)[0] == 413


def test_only_the_route_for_uploads_takes_what_is_larger_than_a_page_sends():
    assert request(1, [b"12345"], path="/gradio_api/upload")[0] == 200
    for path in ("/gradio_api/run/upload", "/gradio_api/call/upload", "/upload", "/gradio_api/upload/"):
        assert request(1, [b"12345"], path=path)[0] == 413


def test_an_upload_of_many_files_has_the_limit_of_one():
    assert request(1, [b"x" * 2**20] * 22, path="/gradio_api/upload")[0] == 413


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_a_request_that_never_ends_is_refused(path, monkeypatch):
    monkeypatch.setattr(request_guard, "MAX_SECONDS_TO_ARRIVE", 0.01)
    sent, first = [], [{"type": "http.request", "body": b"1", "more_body": True}]

    async def receive():
        return first.pop() if first else await asyncio.Future()

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while True:
            await receive()

    asyncio.run(BodyLimit(app, 10)({"type": "http", "path": path, "headers": []}, receive, send))
    assert sent[0]["status"] == 413 and b"too long to arrive" in sent[1]["body"]


def test_who_has_sent_a_whole_request_may_stay_as_long_as_the_answer_takes(monkeypatch):
    limits = []

    async def wait_for(waiting, seconds):
        limits.append(seconds)
        return await waiting

    monkeypatch.setattr(request_guard.asyncio, "wait_for", wait_for)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return messages.pop()

    async def app(scope, receive, send):
        await receive()
        await receive()

    asyncio.run(BodyLimit(app, 10)({"type": "http", "path": "/gradio_api/queue/data", "headers": []}, receive, None))
    assert limits[0] is not None and limits[1] is None


def test_an_answer_that_began_while_the_request_was_awaited_is_not_cut_short(monkeypatch):
    # Two await the request, as with a stream of Starlette's: one gets it, and the other learns when the visitor leaves.
    monkeypatch.setattr(request_guard, "MAX_SECONDS_TO_ARRIVE", 0.01)
    sent = []

    async def receive():
        await asyncio.Future()

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        leaves = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await send("begin")
        done, _ = await asyncio.wait([leaves], timeout=0.1)
        assert not done
        leaves.cancel()
        await send("end")

    asyncio.run(BodyLimit(app, 10)({"type": "http", "path": "/", "headers": []}, receive, send))
    assert sent == ["begin", "end"]


def test_a_full_disk_is_told_in_words():
    sent = []

    async def app(scope, receive, send):
        raise OSError(28, "No space left on device", "/tmp/secret")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/gradio_api/upload", "headers": []}
    asyncio.run(BodyLimit(app, 10)(scope, None, send))
    assert sent[0]["status"] == 507
    assert b"No space left on device" in sent[1]["body"] and b"secret" not in sent[1]["body"]


@pytest.mark.parametrize("limits", [PUBLIC, LOCAL])
def test_the_longest_text_that_is_allowed_goes_through(limits):
    assert largest_body(limits) > len("ü".encode()) * limits.text


def test_nonsense_is_refused_in_words_without_a_traceback():
    with gr.Blocks() as demo:
        number, path = gr.Number(minimum=0), gr.File()
        gr.Button().click(lambda *_: None, [number, path])
    refuse_quietly(demo)
    function = demo.fns[0]
    for values in ([-1, None], [1], [1, "/etc/passwd"], [1, {"path": 7}]):
        with pytest.raises(gr.Error) as refused:
            print(values, asyncio.run(demo.preprocess_data(function, values, None)))
        assert not refused.value.print_exception
        assert len(refused.value.message) > 15
    assert asyncio.run(demo.preprocess_data(function, [1, None], None)) == [1, None]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.5, 1], "“Steps” is 0: it has to be at least 1 and at most 100,000."),
        ([5, 2, 1], "“Dropout” is 2: it has to be at least 0 and at most 1."),
        ([5, 0.5, -3], "“Seed” is -3: it has to be at least 0."),
    ],
)
def test_a_number_that_is_out_of_bounds_is_named_with_what_it_may_be(values, words):
    with gr.Blocks() as demo:
        numbers = [
            gr.Number(label="Steps", minimum=1, maximum=1e5),
            gr.Slider(0, 1, label="Dropout"),
            gr.Number(label="Seed", minimum=0),
        ]
        gr.Button().click(lambda *_: None, numbers)
    refuse_quietly(demo)
    with pytest.raises(gr.Error) as refused:
        asyncio.run(demo.preprocess_data(demo.fns[0], values, None))
    assert html.unescape(refused.value.message) == words


def test_an_event_outside_of_the_queue_is_given_what_no_control_takes_and_finds_words_for_it():
    with gr.Blocks() as demo:
        number, slider, choice, state = gr.Number(minimum=0), gr.Slider(0, 1), gr.Dropdown(["a", "b"]), gr.State(3)
        number.change(lambda *_: None, [number, slider, choice, state], queue=False)
    refuse_quietly(demo)
    assert asyncio.run(demo.preprocess_data(demo.fns[0], [-1, None, "c", None], None)) == [-1, None, "c", 3]
    with pytest.raises(gr.Error):
        asyncio.run(demo.preprocess_data(demo.fns[0], [1, [], "a", None], None))


@pytest.mark.parametrize("nonsense", [1e308, None, True, [], {}])
def test_where_a_number_is_out_of_bounds_a_text_and_a_choice_are_texts_all_the_same(nonsense):
    with gr.Blocks() as demo:
        number, choice, text = gr.Number(minimum=0), gr.Dropdown(["a", "b"], value="a"), gr.Textbox("")
        number.change(lambda *_: None, [number, choice, text], queue=False)
    refuse_quietly(demo)
    for values in ([-1, nonsense, ""], [-1, "a", nonsense]):
        with pytest.raises(gr.Error) as refused:
            asyncio.run(demo.preprocess_data(demo.fns[0], values, None))
        assert not refused.value.print_exception


@pytest.mark.parametrize("queue", [True, False])
@pytest.mark.parametrize("nonsense", ["x", 7, True, [{"part": "norm"}]])
def test_what_no_script_reports_reaches_no_handler(nonsense, queue):
    with gr.Blocks() as demo:
        report = js_component("widgets/select", {}, "some-selection", tab="some")
        gr.Button().click(lambda *_: None, [report], queue=queue)
    refuse_quietly(demo)
    with pytest.raises(gr.Error) as refused:
        asyncio.run(demo.preprocess_data(demo.fns[0], [nonsense], None))
    assert not refused.value.print_exception
    for value in (None, {"part": "norm"}):
        assert asyncio.run(demo.preprocess_data(demo.fns[0], [value], None)) == [value]


@pytest.mark.parametrize("kind", [gr.Radio, gr.Dropdown])
def test_a_choice_of_a_list_that_was_replaced_meanwhile_becomes_what_the_control_shows_now(kind):
    with gr.Blocks() as demo:
        choice = kind(["a", "b"], value="a")
        gr.Button().click(lambda: gr.update(choices=["c", "d", "e"], value="d"), None, choice)
        gr.Button().click(lambda *_: None, [choice])
    refuse_quietly(demo)
    replace, ask = demo.fns.values()
    state = LightState(demo)

    async def answers():
        await demo.postprocess_data(replace, replace.fn(), state)
        return [await demo.preprocess_data(ask, [value], state) for value in ("a", "e", "b")]

    assert asyncio.run(answers()) == [["d"], ["e"], ["e"]]


def test_a_choice_that_no_list_ever_had_is_refused_in_words():
    with gr.Blocks() as demo:
        gr.Button().click(lambda *_: None, [gr.Radio(["a", "b"])])
    refuse_quietly(demo)
    with pytest.raises(gr.Error, match="Choose again") as refused:
        asyncio.run(demo.preprocess_data(demo.fns[0], ["c"], LightState(demo)))
    assert "class" not in refused.value.message


def test_half_a_character_is_replaced_wherever_a_request_holds_it():
    given = ["a\ud800", {"b\udc00": ["\ud83d\ude00", 1, None]}, "whole ü"]
    assert whole_characters(given) == ["a\ufffd", {"b\ufffd": ["😀", 1, None]}, "whole ü"]

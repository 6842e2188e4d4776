"""What every request passes first, who is there, and what is logged."""

import asyncio
import contextlib
import logging
import sys
import threading
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from starlette.requests import ClientDisconnect

from support import GRADIO
from tlab.ui import failure_log
from tlab.ui.app import build
from tlab.ui.failure_log import OncePerKind, answer_failures
from tlab.ui.http_guard import HEADERS, HttpGuard, names_here
from tlab.ui.page.cache import PageCache
from tlab.ui.presence import MAX_AWAITED, Presence
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import STOP
from tlab.ui.runs.run import DONE, PAUSED, WAITING, Run
from tlab.ui.session_state import LightState
from tlab.ui.settings.presets import DEMO_PRESET, preset_job
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import Studies
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO


class Visits:
    """Notes who comes and leaves, in place of `Presence`."""

    def __init__(self):
        self.seen = []

    def came(self, page, session):
        self.seen.append(("came", page))

    def say_farewell(self, page):
        self.seen.append(("left", page))


def get(path="/", host=b"127.0.0.1:7860", names=frozenset({"localhost"}), visits=None, more=()):
    """Status and headers of the answer."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(message):
        sent.append(message)

    async def ask():
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", host), *more]}
        await HttpGuard(app, names, visits)(scope, None, send)

    asyncio.run(ask())
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("host", [b"localhost", b"localhost:7860", b"127.0.0.1:7860", b"[::1]:7860", b"192.168.1.4"])
def test_a_local_server_answers_to_its_names_and_to_addresses(host):
    assert get(host=host)[0] == 200


@pytest.mark.parametrize("host", [b"evil.example:7860", b"localhost.evil.example", b"127.0.0.1.evil.example"])
def test_a_local_server_does_not_answer_to_a_name_that_somebody_gave_it(host):
    assert get(host=host)[0] == 400
    assert get(host=host, names=None)[0] == 200


@pytest.mark.parametrize("host", [b"a" * 60_000, b"", b"[", b"a b", b"a/b", b"\xff"])
@pytest.mark.parametrize("names", [None, {"localhost"}])
def test_what_is_no_host_is_refused(host, names):
    assert get(host=host, names=names)[0] == 400
    assert get(names=names, more=[(b"x-forwarded-host", host)])[0] == 400


def test_several_proxies_may_name_a_host_each():
    assert get(more=[(b"x-forwarded-host", b"lab.example, proxy.internal:8080")])[0] == 200


def test_a_further_name_can_be_given(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("TLAB_HOSTS", "lab.school.example, other")
    assert {"lab.school.example", "other", "localhost"} <= names_here()
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert names_here() is None


def test_every_answer_has_the_security_headers_and_may_stand_in_a_frame():
    names = {name.decode() for name in get("/config")[1]}
    assert names == {name.lower() for name in HEADERS} and "x-frame-options" not in names
    assert "frame-ancestors" not in HEADERS["Content-Security-Policy"]


def test_a_request_that_nothing_can_read_is_answered_in_words(caplog):
    sent = []

    async def app(scope, receive, send):
        raise ValueError("a secret path")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(HttpGuard(app, None, None)(scope, None, send))
    assert sent[0]["status"] == 400 and dict(sent[0]["headers"])[b"x-content-type-options"] == b"nosniff"
    assert b"cannot make anything of this" in sent[1]["body"]
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]


def test_the_connection_of_a_page_says_when_it_comes_and_leaves():
    visits = Visits()
    get("/gradio_api/heartbeat/me", visits=visits)
    assert visits.seen == [("came", "me"), ("left", "me")]


# ------------------------------------------------------------------------------------------------ the page


def pages_of(*requests: dict) -> list[bytes]:
    """Bodies of the answers, of which each has a number: that of the time when it was made."""
    made = []

    async def app(scope, receive, send):
        made.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(made)).encode()})

    guarded = HttpGuard(PageCache(app), None, None)
    bodies = []

    async def send(message):
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
        else:
            assert {name.lower().encode() for name in HEADERS} <= {name for name, _ in message["headers"]}
            names = [name for name, _ in message["headers"]]
            assert len(set(names)) == len(names)

    for request in requests:
        scope = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "query_string": b"", "app": None}
        asyncio.run(guarded({**scope, "headers": [(b"host", b"localhost")], **request}, None, send))
    return bodies


def test_the_page_is_made_once_and_sent_to_all_whatever_settings_they_open_it_with():
    assert pages_of({}, {"query_string": b"steps=5"}, {}) == [b"1", b"1", b"1"]


@pytest.mark.parametrize(
    "other",
    [
        {"headers": [(b"host", b"other")]},
        {"query_string": b"deep_link=x"},
        {"path": "/config"},
        {"method": "HEAD"},
        {"app": Visits},
    ],
    ids=["address", "deep link", "path", "method", "with a password"],
)
def test_what_is_another_page_is_made_for_its_visitor(other, monkeypatch):
    monkeypatch.setattr(Visits, "auth", [("user", "password")], raising=False)
    assert pages_of({}, other, other)[1] == b"2"


def test_the_page_of_the_lab_is_the_same_for_everybody(url):
    made = [httpx.get(f"{url}config{query}").json() for query in ("", "?steps=5")]
    assert made[0] == made[1]


def test_no_handler_waits_for_gradio_to_import_matplotlib(url, served, monkeypatch):
    asked = []
    matplotlib = SimpleNamespace(get_backend=lambda: asked.append("backend"), use=asked.append)
    monkeypatch.setitem(sys.modules, "matplotlib", matplotlib)
    handler = next(number for number, function in served.fns.items() if function.api_name == "on_load")
    answer = httpx.post(f"{url}gradio_api/run/predict", json={"data": [], "fn_index": handler, "session_hash": "me"})
    assert answer.status_code == 200 and not asked


def test_a_session_keeps_what_its_page_changed_and_no_description_of_the_rest(served):
    state = LightState(served)
    number = next(key for key, block in served.blocks.items() if getattr(block, "elem_id", "") == "field-steps")
    changed = served.blocks[number].__class__(value=7)
    state[number] = changed
    state._update_value_in_config(number, 8)
    assert state[number] is changed and state.config_values == {}


# ------------------------------------------------------------------------------------------------ who is there


@pytest.fixture
def idle_runs():
    return Runs(LOCAL, slots=1)


@pytest.fixture
def forgotten():
    return []


@pytest.fixture
def presence(idle_runs, forgotten):
    presence = Presence(idle_runs, forgotten.append)
    yield presence
    for timers in presence.timers.values():
        for timer in timers:
            timer.cancel()


def a_run(idle_runs, session, state=DONE):
    run = Run(session, preset_job(DEMO_PRESET), LOCAL)
    run.state = state
    idle_runs.add(run)
    return run


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_done_for_a_page_after_it_was_forgotten_is_forgotten_too(presence, forgotten, fails):
    async def process(**_):
        if fails:
            raise ZeroDivisionError

    demo = SimpleNamespace(process_api=process)
    presence.forget_late_orders(demo)

    def do(page):
        with contextlib.suppress(ZeroDivisionError):
            asyncio.run(demo.process_api(session_hash=page))

    for page in ("gone", "back", "here"):
        presence.came(page)
    for page in ("gone", "back"):
        presence.left(page)
    presence.came("back")
    before = forgotten[:]
    for page in ("gone", "back", "here", "never seen"):
        do(page)
    assert before == ["gone", "back"]
    assert forgotten == ["gone", "back", "gone"]


def test_a_visitor_with_runs_is_waited_for_when_the_connection_ends(idle_runs, presence, forgotten):
    a_run(idle_runs, "me")
    presence.came("me")
    presence.left("me")
    assert forgotten == []
    presence.came("me")
    assert presence.timers == {}


def test_a_visitor_who_does_not_come_back_is_forgotten(idle_runs, forgotten):
    a_run(idle_runs, "me")
    over = threading.Event()
    presence = Presence(idle_runs, lambda session: (forgotten.append(session), over.set()), seconds_to_forget=1e-6)
    presence.came("me")
    presence.left("me")
    assert over.wait(20)
    assert forgotten == ["me"]


def test_a_visitor_with_something_else_to_lose_is_waited_for_too(idle_runs, forgotten):
    presence = Presence(idle_runs, forgotten.append, has_trained={"me"}.__contains__)
    for page in ("me", "other"):
        presence.came(page)
        presence.left(page)
    assert forgotten == ["other"]
    presence.came("me")  # which ends its timer
    assert presence.timers == {}


def test_of_too_many_pages_that_are_waited_for_the_first_to_leave_is_forgotten(idle_runs, presence, forgotten):
    a_run(idle_runs, "session")
    pages = [f"page {number}" for number in range(MAX_AWAITED + 1)]
    for page in reversed(pages):
        presence.came(page, "session")
    for page in pages:
        presence.left(page)
    assert forgotten == pages[:1]


def test_what_a_visitor_who_has_left_asked_for_last_is_not_trained():
    runs = Runs(LOCAL, slots=1)
    studies = Studies(runs)
    presence = Presence(runs, lambda page: None)
    job = preset_job(DEMO_PRESET)
    presence.came("page", "me")
    presence.left("page")
    assert runs.start("me", job, "page").order == STOP
    study = seeds_study("me", job, {})
    studies.start(study, "page")
    study.thread.join(60)
    assert not studies.by_session and not runs.runs
    presence.came("page", "me")
    assert runs.start("me", job, "page").id in runs.runs
    runs.close()


def test_a_run_whose_page_never_comes_is_forgotten(idle_runs, presence):
    a_run(idle_runs, "me", WAITING)
    [timer] = presence.timers["me"]
    assert timer.interval == presence.seconds_to_forget
    timer.function(*timer.args)
    assert not idle_runs.runs and not presence.timers


def test_a_page_that_comes_late_keeps_its_run(idle_runs, presence):
    run = a_run(idle_runs, "session", WAITING)
    [timer] = presence.timers["session"]
    presence.came("page", "session")
    timer.function(*timer.args)
    assert run.id in idle_runs.runs and not presence.timers


def test_a_page_whose_browser_has_got_another_number_keeps_its_run(idle_runs, presence, monkeypatch):
    monkeypatch.setattr(idle_runs, "enqueue", lambda run: None)
    earlier = a_run(idle_runs, "first number")
    presence.came("page", "first number")
    idle_runs.mark_gone("second number", True)
    run = idle_runs.start("second number", preset_job(DEMO_PRESET), "page")
    assert run.order is None and list(presence.timers) == ["first number"]
    presence.give_up("first number")
    assert earlier.id not in idle_runs.runs and run.id in idle_runs.runs
    presence.left("page")
    presence.give_up("second number")
    assert not idle_runs.runs


def test_a_tab_that_cannot_forget_a_visitor_keeps_no_run_alive_and_is_logged(idle_runs, forgotten, caplog):
    def fail(session):
        raise ZeroDivisionError

    page = build(idle_runs, seconds_to_forget=0)
    page.presence.forget = forgotten.append
    a_run(idle_runs, "me")
    page.presence.came("page", "me")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainTab, "end", lambda tab, session: fail(session))
        page.presence.say_farewell("page")
        page.presence.farewells.shutdown()
    assert not idle_runs.runs and forgotten == ["page"]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_visitor_without_runs_is_forgotten_at_once(presence, forgotten):
    presence.came("me")
    presence.left("me")
    assert forgotten == ["me"]


def test_a_page_with_two_connections_is_there_until_both_have_ended(presence, forgotten):
    presence.came("me")
    presence.came("me")
    presence.left("me")
    assert forgotten == []


def test_the_run_of_an_absent_visitor_pauses_and_makes_room(idle_runs, presence):
    run = a_run(idle_runs, "me", WAITING)
    presence.pause("me")
    assert run.order == "pause" and run.state != PAUSED


def test_what_another_page_of_the_browser_shows_goes_on(idle_runs, presence):
    run = a_run(idle_runs, "me", WAITING)
    presence.came("first", "me")
    presence.came("second", "me")
    idle_runs.show("second", run)
    presence.left("first")
    presence.pause("me")
    assert run.order is None
    presence.left("second")
    presence.pause("me")
    assert run.order == "pause" and run.awaits_page


def test_a_page_that_is_loaded_again_is_forgotten_and_its_visitor_is_not(idle_runs, presence, forgotten):
    a_run(idle_runs, "me")
    presence.came("first", "me")
    presence.left("first")
    presence.came("again", "me")
    presence.give_up("me")
    assert forgotten == ["first"] and len(idle_runs.history("me")) == 1
    presence.left("again")
    presence.give_up("me")
    assert forgotten == ["first", "again"] and idle_runs.history("me") == []


def test_a_browser_that_loads_its_page_again_and_again_costs_a_few_pages(idle_runs, presence, forgotten):
    a_run(idle_runs, "me")
    for number in range(3 * MAX_AWAITED):
        presence.came(f"page {number}", "me")
        presence.left(f"page {number}")
    assert len(forgotten) == 2 * MAX_AWAITED and len(presence.timers["me"]) == 2


# ------------------------------------------------------------------------------------------------ the log


def record_of(error: Exception) -> logging.LogRecord:
    return logging.LogRecord("tlab.ui", logging.ERROR, "", 0, "failed", None, (type(error), error, error.__traceback__))


def raised(kind: type[Exception]) -> Exception:
    try:
        raise kind
    except kind as error:
        return error


def test_of_each_kind_of_failure_one_is_logged():
    once = OncePerKind()
    assert [once.filter(record_of(raised(kind))) for kind in (ValueError, ValueError, KeyError)] == [True, False, True]


def test_a_closed_page_is_no_failure_and_words_are_always_logged():
    once = OncePerKind()
    assert not once.filter(record_of(raised(ClientDisconnect)))
    words = logging.LogRecord("tlab.ui", logging.WARNING, "", 0, "words", None, None)
    assert once.filter(words) and once.filter(words)


def test_a_handler_that_fails_answers_in_words_and_is_logged(caplog):
    def fails(_):
        raise ZeroDivisionError("a secret path")

    with gr.Blocks() as demo:
        gr.Button().click(fails, gr.Textbox(), None)
    answer_failures(demo)
    with pytest.raises(gr.Error, match="Something went wrong") as refused:
        asyncio.run(demo.process_api(demo.fns[0], ["x"]))
    assert not refused.value.print_exception and "secret" not in refused.value.message
    assert [record.name for record in caplog.records] == [failure_log.logger.name]

"""A server under people who mean no good: whatever a handler is sent, the other pages come."""

import asyncio
import contextlib
import http.client
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest

from support import GRADIO
from tlab.ui import failure_log
from tlab.ui.runs import manager
from tlab.ui.tabs.train import tab as train_tab
from tlab.ui.upload_folder import files_in, upload_folder

pytestmark = GRADIO

HUGE, LARGEST = 9_200_000_000_000_000_000, 1.7976931348623157e308
SECONDS = 20.0  # that any answer may take, on a busy machine
TEXT = "the quick brown fox jumps over the lazy dog; " * 5000
SELECTION = {"serial": HUGE, "step": HUGE, "side": HUGE, "a": [HUGE, HUGE], "b": [-HUGE, LARGEST], "number": "x" * 999}
IGNORED = ("on_upload",)  # of these the server wants a file that it has


def post(url: str, body: dict) -> tuple[int, bytes]:
    """Status and body of the answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_until_completed(url: str, session: str) -> None:
    """Until the first event of the session has its answer; one that streams for long is left."""
    until = time.monotonic() + SECONDS
    with urllib.request.urlopen(f"{url}/queue/data?session_hash={session}", timeout=SECONDS) as lines:
        for line in lines:
            if b"process_completed" in line or b"process_generating" in line or b"close_stream" in line:
                return
            assert time.monotonic() < until, "no answer came"


@pytest.fixture
def in_the_loop(monkeypatch):
    """Names of what takes long for large input and was called in the server's event loop, where every page waits."""
    found = []

    def watched(module, name):
        function = getattr(module, name)

        def call(*args, **options):
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                found.append(name)
            return function(*args, **options)

        monkeypatch.setattr(module, name, call)

    for name in ("tokenizer_of", "corpus_from_text", "check_limits"):
        watched(manager, name)
    for name in ("text_size", "check_limits", "estimated_seconds"):
        watched(train_tab, name)
    return found


def dearest(component, sizes: dict) -> object:
    """The value of this control that asks for most work."""
    name = (getattr(component, "elem_id", None) or "").removeprefix("field-")
    if name in sizes:
        return sizes[name]
    if isinstance(component, gr.Slider):
        return component.maximum
    if isinstance(component, gr.Number):
        return component.maximum if component.maximum is not None else HUGE
    if isinstance(component, gr.Textbox):
        return TEXT
    if isinstance(component, gr.JSON):
        return SELECTION
    return getattr(component, "value", None)


def index_of(page, name: str) -> int:
    return next(index for index, function in page.fns.items() if getattr(function.fn, "__name__", "") == name)


WIDTH = {"hidden_dim": 48, "num_heads": 3, "switch": "hidden_dim", "switch-number": HUGE}
RATIO = {"switch": "mlp_ratio", "switch-number": LARGEST}
OWN = {"corpus": ":own", "text": TEXT}


@pytest.mark.parametrize("sizes", [WIDTH, RATIO, OWN, {}], ids=["width", "ratio", "text", "controls"])
def test_every_handler_answers_the_dearest_request_and_reads_it_outside_of_the_event_loop(
    served, url, in_the_loop, sizes
):
    api = url.rstrip("/") + "/gradio_api"
    for index, function in served.fns.items():
        name = getattr(function.fn, "__name__", "")
        if function.fn is None or name in IGNORED:
            continue
        session = f"hostile-{index}"
        data = [dearest(component, sizes) for component in function.inputs]
        body = {"data": data, "fn_index": index, "session_hash": session, "event_data": SELECTION}
        if function.queue:
            post(f"{api}/queue/join", body)
            wait_until_completed(api, session)
        else:
            post(f"{api}/run/predict", body)
    assert not in_the_loop


ODD_REPORT = {"part": [1], "field": {}, "key": [], "serial": "x", "step": None, "side": "7", "number": {}, "a": {}}


@pytest.mark.parametrize(
    "nonsense", [LARGEST, None, "x", [], ODD_REPORT], ids=["number", "none", "text", "list", "dict"]
)
def test_no_handler_fails_at_what_no_control_sends(served, url, monkeypatch, nonsense):
    failures = []
    monkeypatch.setattr(failure_log.logger, "error", lambda words, exc_info: failures.append(exc_info))
    api = url.rstrip("/") + "/gradio_api"
    for index, function in served.fns.items():
        session = f"odd-{index}"
        data = [nonsense] * len(function.inputs)
        body = {"data": data, "fn_index": index, "session_hash": session, "event_data": nonsense}
        if function.fn is not None and function.queue:
            post(f"{api}/queue/join", body)
            wait_until_completed(api, session)
        elif function.fn is not None:
            post(f"{api}/run/predict", body)
    assert not failures


@pytest.mark.parametrize("name", ["hidden_dim", "num_heads", "steps", "context_length", "b.hidden_dim", "mlp_ratio"])
def test_a_link_of_any_size_is_answered(served, url, name):
    api = url.rstrip("/") + "/gradio_api"
    load = index_of(served, "on_load")
    for word in (str(HUGE - 1), "1e308", "9" * 60):
        body = {"data": [], "fn_index": load, "session_hash": name}
        assert post(f"{api}/run/predict?{name}={word}", body)[0] == 200


def test_a_class_that_opens_a_link_at_once_has_its_settings(served, url):
    body = {"data": [], "fn_index": index_of(served, "on_load")}
    at = f"{url.rstrip('/')}/gradio_api/run/predict?hidden_dim=32&steps=100&norm=rmsnorm"
    with ThreadPoolExecutor(60) as pupils:
        answers = list(pupils.map(lambda i: post(at, {**body, "session_hash": f"pupil-{i}"}), range(60)))
    assert [status for status, _ in answers] == [200] * 60
    outputs = [getattr(block, "elem_id", None) for block in served.fns[body["fn_index"]].outputs]
    sent = [json.loads(words)["data"] for _, words in answers]
    words = [[value for value in data if str(value).startswith("These are the settings of the link.")] for data in sent]
    assert [len(found) for found in words] == [1] * 60
    assert [data[outputs.index("field-hidden_dim")] for data in sent] == [32] * 60


def test_one_session_with_many_requests_leaves_the_queue_to_the_others(served, url):
    api = url.rstrip("/") + "/gradio_api"
    index = index_of(served, "on_write")
    data = [getattr(component, "value", None) for component in served.fns[index].inputs]
    body = {"data": data, "fn_index": index}
    answers = [post(f"{api}/queue/join", {**body, "session_hash": "greedy"}) for _ in range(45)]
    refused = [words for status, words in answers if status == 503]
    assert refused and b"requests of this page are waiting already" in refused[0]
    assert post(f"{api}/queue/join", {**body, "session_hash": "modest"})[0] == 200
    wait_until_completed(api, "modest")


# ------------------------------------------------------------------------------------------------ files


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.split("/")[2], timeout=SECONDS)


def multipart(files: dict[str, bytes]) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join([*parts, b"--b--\r\n"])


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def upload(url: str, body: bytes) -> tuple[int, bytes]:
    connection = connect(url)
    with contextlib.closing(connection):
        with contextlib.suppress(OSError):  # who is refused may find the connection closed while sending
            connection.request("POST", "/gradio_api/upload", body, FORM)
        answer = connection.getresponse()
        return answer.status, answer.read()


def files_on_disk() -> list[str]:
    """Those that hold anything; Gradio makes empty ones as well, which go when they are old."""
    return [path.name for _, size, path in files_in(upload_folder().folder) if size]


def wait_for_files(count: int) -> None:
    until = time.monotonic() + SECONDS
    while len(files_on_disk()) != count:
        assert time.monotonic() < until, files_on_disk()
        time.sleep(0.05)


def test_a_text_that_is_uploaded_leaves_the_disk_when_it_is_read(served, url):
    status, paths = upload(url, multipart({"mine.txt": b"a secret of mine, " * 9}))
    assert status == 200 and files_on_disk() == ["mine.txt"]
    index = next(i for i, fn in served.fns.items() if [c.elem_id for c in fn.inputs] == ["upload-text"])
    data = [{"path": json.loads(paths)[0], "meta": {"_type": "gradio.FileData"}}]
    api = url.rstrip("/") + "/gradio_api"
    post(f"{api}/queue/join", {"data": data, "fn_index": index, "session_hash": "writer"})
    wait_until_completed(api, "writer")
    wait_for_files(0)


def test_an_upload_that_is_broken_off_leaves_nothing(url):
    connection = connect(url)
    connection.putrequest("POST", "/gradio_api/upload")
    for name, value in {**FORM, "Content-Length": "5000000"}.items():
        connection.putheader(name, value)
    connection.endheaders(multipart({"half.txt": b"x" * 1_000_000})[:900_000])
    wait_for_files(1)
    connection.close()
    wait_for_files(0)


def test_many_files_in_one_request_are_refused_and_leave_nothing(url):
    assert upload(url, multipart({f"{i}.txt": b"x" * 5_000_000 for i in range(8)}))[0] == 413
    wait_for_files(0)


@pytest.mark.parametrize("path", ["/run/upload", "/call/upload", "/queue/join", "/component_server", "/upload"])
def test_no_route_reads_more_than_a_page_sends(url, path):
    connection = connect(url)
    with contextlib.closing(connection):
        connection.putrequest("POST", f"/gradio_api{path}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(300_000_000))
        connection.endheaders()
        assert connection.getresponse().status == 413

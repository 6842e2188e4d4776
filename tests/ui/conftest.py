"""What tests of the app share: Gradio, imported once and quietly, and a browser on a page that is served."""

import contextlib
import gc
import shutil
import socket
import time
import warnings

import pytest

with warnings.catch_warnings():
    # While it is imported, Gradio makes event loops that it never closes. Nothing of ours is imported here.
    warnings.simplefilter("ignore", ResourceWarning)
    import gradio  # noqa: F401

    gc.collect()

from support import SECONDS
from tlab.ui.app import build, launch_options
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    """What uses a browser comes last, so that its server and its browser stand beside no other test.

    The first of these share visitors who take a minute to arrive: a worker of pytest-xdist that has nothing left to do
    takes tests from another one's end, and what is taken makes its fixtures anew.
    """
    fixtures = {item: getattr(item, "fixturenames", ()) for item in items}
    items.sort(key=lambda item: ("browser" in fixtures[item], "visitors" not in fixtures[item]))


@contextlib.contextmanager
def untraced():
    """Processes that the app starts are not traced for coverage, which would slow down all of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def untraced_workers():
    with untraced():
        yield


@pytest.fixture(scope="session")
def runs():
    """Of the one server that all browser tests visit, each as new visitors."""
    runs = Runs(LOCAL, slots=2)
    with untraced():
        runs.prepare()
    yield runs
    runs.close()


@pytest.fixture(scope="session")
def served(runs):
    """The app as Gradio serves it."""
    page = build(runs, seconds_to_forget=0)  # tests look at what is left of those who have gone
    with socket.create_server(("127.0.0.1", 0)) as free:  # Gradio's own search for one may find what another test finds
        port = free.getsockname()[1]
    page.launch(**launch_options(page), server_port=port, prevent_thread_lock=True, quiet=True)
    yield page
    page.close(verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def url(served):
    return served.local_url


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install -y chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url, runs, served):
    """Opens the page as a new visitor, at rest: their page, what its console complained of, and where it asked."""
    from browsing import settle  # it needs Playwright

    contexts = []

    def open_page(width: int = 1440, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.complaints, page.requested, page.unanswered = [], [], set()
        page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url) or page.unanswered.add(request))
        page.on("requestfinished", lambda request: page.unanswered.discard(request))
        page.on("requestfailed", lambda request: page.unanswered.discard(request))
        page.goto(url)
        page.wait_for_selector("#loss-chart canvas")
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    until = time.monotonic() + SECONDS
    while runs.runs:  # the server forgets them, and the next test finds no run of theirs
        presence = served.presence
        assert time.monotonic() < until, (
            f"runs outlive their visitor: {[(run.session, run.page, run.state) for run in runs.runs.values()]}; "
            f"pages that are open: {dict(presence.open)}, of {presence.sessions}; who has left: {list(runs.gone)[-5:]}"
        )
        time.sleep(0.01)

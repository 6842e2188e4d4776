"""What a visitor has outlives the page: each way of losing it, in each state of a run. Nothing finished is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import playwright.sync_api
import pytest

from browsing import open_tab, wait_for_state
from support import GRADIO

pytestmark = GRADIO

ROOT = Path(__file__).parents[2]
SERVE = """
import signal
from tlab.ui import app

if __name__ == "__main__":
    made = []

    class Runs(app.Runs):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    def fail(*_):
        for run in list(made[0].runs.values()):
            if run.worker:
                run.worker.process.kill()

    app.Runs = Runs
    signal.signal(signal.SIGUSR1, fail)
    app.launch(inbrowser=False, quiet=True)
"""
FINISHED = "context_length=32&hidden_dim=16&num_layers=1&num_heads=2&steps=20&validation_every=10"
LONG = "hidden_dim=128&num_layers=4&steps=4000&seed=5"
SECONDS = 120_000  # milliseconds that anything may take on a busy machine
BADGES = {"empty": "shipped", "running": "running", "paused": "paused", "done": "done", "failed": "failed"}


class Server:
    """The app in a process of its own, which can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.begin()

    def begin(self) -> None:
        environment = {
            **os.environ, "GRADIO_SERVER_PORT": str(self.port), "TLAB_RUNS_DIR": str(self.folder / "runs"),
            "GRADIO_TEMP_DIR": str(self.folder / "uploads"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, str(self.folder / "serve.py")], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + SECONDS / 1000
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < until
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(SECONDS / 1000)

    def kept(self) -> int:
        """Runs on its disk."""
        return len(list(self.folder.glob("runs/*/*.json")))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "serve.py").write_text(SERVE)
    server = Server(folder)
    yield server
    server.end(signal.SIGTERM)


class Visitor:
    """A browser of its own with a page in one of the states.

    What had been finished before is `finished`, as Compare lists it; the page's address then is `address`.
    """

    def __init__(self, browser, server, state: str) -> None:
        self.state, self.server = state, server
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page = page = context.new_page()
        page.set_default_timeout(SECONDS)
        if state != "empty":
            self.open(FINISHED)
            page.click("#start")
            wait_for_state(page, "done")
        if state != "done":
            self.open(LONG)
        if state in ("running", "paused", "failed"):
            page.click("#start")
            wait_for_state(page, "running")
        if state == "paused":
            page.click("#pause")
        if state == "failed":
            server.process.send_signal(signal.SIGUSR1)
        wait_for_state(page, BADGES[state])
        self.address, self.finished = page.url, self.finished_runs()

    def open(self, query: str) -> None:
        """And let its settings arrive."""
        self.page.goto(f"{self.server.url}/?{query}")
        self.page.wait_for_selector("#link-notice [data-link-read]", state="attached")
        steps = dict(pair.split("=") for pair in query.split("&"))["steps"]
        self.page.wait_for_function("steps => document.querySelector('#field-steps input')?.value === steps", arg=steps)
        self.page.wait_for_function("query => location.search === `?${query}`", arg=query)

    def finished_runs(self) -> list[str]:
        """What Compare lists as done, with its losses; the page is on the Train tab again afterwards."""
        try:
            return self.listed_as_done()
        except playwright.sync_api.Error as error:
            if "context was destroyed" not in str(error):
                raise
            return self.listed_as_done()  # Gradio has found a stream broken, and has loaded the page again meanwhile

    def listed_as_done(self) -> list[str]:
        open_tab(self.page, "Compare")
        done = self.page.locator("#history .tl-run:has(.tl-badge.done)")
        if self.state != "empty":
            done.first.wait_for()
        texts = ["".join(text.split()) for text in done.all_inner_texts()]  # of what is not drawn, it has no breaks
        open_tab(self.page, "Train")
        return texts


@pytest.fixture(scope="module")
def visitors(browser, server):
    """One in each state. Who fails comes first, as the order to fail is for all that trains."""
    visitors = {state: Visitor(browser, server, state) for state in ("failed", "empty", "done", "paused", "running")}
    yield visitors
    for visitor in visitors.values():
        visitor.page.context.close()


def load_again(visitor) -> None:
    try:
        visitor.page.reload()
    except playwright.sync_api.Error as error:  # the page itself has just begun to load again
        if "ERR_ABORTED" not in str(error):
            raise
        visitor.page.reload()


def go_away_and_back(visitor) -> None:
    visitor.page.goto("about:blank")
    visitor.page.go_back()


def close_the_lid(visitor) -> None:
    """The page stays, and its connections end."""
    visitor.page.context.set_offline(True)
    visitor.page.wait_for_function("!navigator.onLine")
    visitor.page.context.set_offline(False)


@pytest.mark.parametrize("state", BADGES)
@pytest.mark.parametrize("lose_it", [load_again, go_away_and_back, close_the_lid])
def test_a_page_that_comes_back_finds_all_and_what_trains_goes_on(visitors, lose_it, state):
    visitor = visitors[state]
    lose_it(visitor)
    wait_for_state(visitor.page, BADGES[state])
    if state == "running":
        before = visitor.page.inner_text("#run-state")
        visitor.page.wait_for_function(
            "before => document.querySelector('#run-state').innerText !== before", arg=before
        )
    assert_all_is_there(visitor)


def assert_all_is_there(visitor) -> None:
    page, address = visitor.page, visitor.address
    page.wait_for_selector("#link-notice [data-link-read]", state="attached")
    assert visitor.finished_runs() == visitor.finished
    assert len(visitor.finished) == (visitor.state != "empty")
    page.wait_for_function("address => location.href === address", arg=address)
    seed = "5" if "seed=5" in address else "0"
    page.wait_for_function("seed => document.querySelector('#field-seed input')?.value === seed", arg=seed)


def test_a_page_that_is_loaded_again_before_it_has_its_answer_still_knows_its_run(visitors):
    page = visitors["done"].page
    asked = []
    page.route("**/gradio_api/run/**", lambda route: asked.append(route))  # and never answered
    load_again(visitors["done"])
    page.wait_for_selector("#run-state .tl-badge.shipped")
    while not asked:
        page.wait_for_timeout(50)
    page.unroute("**/gradio_api/run/**")
    load_again(visitors["done"])
    wait_for_state(page, "done")
    assert_all_is_there(visitors["done"])


@pytest.fixture(scope="module")
def restarted(visitors, server):
    """The server, told to end in the middle of a training, as a container is, and started again."""
    server.end(signal.SIGTERM)
    server.begin()
    for visitor in visitors.values():
        load_again(visitor)
    return visitors


@pytest.mark.parametrize("state", BADGES)
def test_a_server_that_is_started_again_has_all_that_was_finished(restarted, state):
    visitor = restarted[state]
    # What trained pauses; a run whose worker was killed goes on from what was kept of it by then, if anything was.
    wait_for_state(visitor.page, *{"running": ["paused"], "failed": ["lost", "paused"]}.get(state, [BADGES[state]]))
    assert_all_is_there(visitor)
    if state in ("running", "paused"):
        assert visitor.page.inner_text("#pause") == "Resume"


def test_a_page_is_told_which_of_its_runs_the_disk_has_lost(restarted, server):
    page, address = restarted["done"].page, restarted["done"].address
    page.goto("about:blank")  # or it asks by itself, and has been told before it is looked at
    server.end(signal.SIGTERM)
    for file in server.folder.glob("runs/*/*.zip"):
        file.write_bytes(file.read_bytes()[:-200])
    server.begin()
    page.goto(address)
    page.get_by_text("cannot be read any more, and is left out.").wait_for()

"""What the browser tests do on a page."""

import os
import time

import playwright.sync_api

from support import SECONDS
from tlab.ui.settings.presets import PRESETS

SECONDS_FOR_STREAM = 20
MILLISECONDS_OF_RUN = 4000 * SECONDS  # a run has the lowest priority: beside another browser it takes long


def unfold(page, title: str) -> None:
    """Open a part of the settings that is folded when the page opens."""
    page.locator(".tl-settings").get_by_role("button", name=title).click()


def come_to_rest(page) -> None:
    """Until the page has nothing to do: Gradio sets a field that it has just shown once more, milliseconds later."""
    page.evaluate("new Promise(done => requestIdleCallback(() => requestIdleCallback(done)))")


def set_number(page, name: str, value: float) -> None:
    field = page.locator(f"#field-{name} input[type=number]").first
    field.wait_for()
    come_to_rest(page)
    field.fill(str(value))
    field.press("Tab")


def choose_preset(page, label: str) -> None:
    """Its settings have arrived when the sentence below the presets is its own."""
    radio = page.get_by_role("radio", name=label, exact=True)
    if not radio.is_visible():
        unfold(page, "More models people know")
    radio.check()
    page.wait_for_function(
        "words => document.querySelector('#presets .tl-why').innerText.trim().startsWith(words)",
        arg=PRESETS[label].words[:40],
    )


def start(page, steps: int = 100, preset: str = "Tiny and instant") -> None:
    """A run of one side, small enough to be quick unless told otherwise."""
    choose_preset(page, preset)
    set_number(page, "steps", steps)
    page.click("#start")


def wait_for_state(page, *states: str, of: str = "#run-state") -> None:
    badges = ", ".join(f"{of} .tl-badge.{state}" for state in states)
    try:
        page.wait_for_selector(badges, timeout=MILLISECONDS_OF_RUN)
    except playwright.sync_api.TimeoutError as error:
        raise AssertionError(f"waited for {states}, saw {page.inner_text(of)!r} at {page.url}") from error


def open_tab(page, name: str) -> None:
    """By its button or, where there is no room for it, by the menu behind the last one."""
    page.wait_for_function(
        "name => [...document.querySelectorAll('[role=tab], .overflow-dropdown button')]"
        ".some(tab => tab.offsetParent && tab.textContent.trim() === name)"
        " || document.querySelector('.overflow-menu > button')?.offsetParent",
        arg=name,
    )
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button").get_by_text(name, exact=True)
    tab.click()


def choose_model(page, tab: str, name: str) -> None:
    """In the list above the pictures of a tab; its answer has come when the note names it."""
    page.locator(f"#{tab}-model input").click()
    page.get_by_role("option", name=name, exact=True).click()
    page.locator(f"#{tab}-note").get_by_text(f"the shipped run “{name}”").wait_for()


def generate_text(page, *texts: str, ask=lambda page: page.click("#write")) -> None:
    """Press Generate, or `ask` otherwise, and wait until each of `texts` is another one, of 300 tokens; by default that
    of A.
    """
    page.evaluate("document.querySelectorAll('.tl-token').forEach(token => (token.dataset.before = ''))")
    ask(page)
    for text in texts or ["#written-text"]:
        new = f"document.querySelectorAll('{text} .tl-token:not([data-before])')"
        page.wait_for_function(f"{new}.length === 300")


def open_beside(page, url: str) -> None:
    """Another page of the same visitor: while the server knows of one, it forgets nobody."""
    beside = page.context.new_page()
    with beside.expect_response(lambda answer: "/heartbeat/" in answer.url, timeout=1000 * SECONDS):
        beside.goto(url, timeout=1000 * SECONDS)


def settle(page) -> None:
    """Until the page waits for no answer of the server, twice in a row when it had nothing to do, and has drawn it.

    Gradio may leave the stream of a session's answers open without a need, so the wait for it alone has an end.
    """
    began, at_rest = time.monotonic(), 0
    while at_rest < 2:
        come_to_rest(page)  # so that what was clicked has asked, and what came has been put in place
        page.wait_for_timeout(100)  # for what follows from the last answer
        waits = [request.url for request in page.unanswered if "/heartbeat/" not in request.url]
        calls = [url for url in waits if "/queue/data" not in url]
        waited = time.monotonic() - began
        assert not calls or waited < SECONDS, f"still no answer from {calls}"
        at_rest = at_rest + 1 if not waits or (not calls and waited > SECONDS_FOR_STREAM) else 0
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawn(page, selector: str) -> bool:
    """Whether a canvas shows more than one colour."""
    return page.evaluate(
        """selector => {
          const canvas = document.querySelector(selector);
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          return new Set(new Uint32Array(data.buffer)).size > 8;
        }""",
        selector,
    )


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def worker_of_only_run(runs) -> int:
    active = [run for run in list(runs.runs.values()) if run.active]
    assert len(active) == 1
    return active[0].worker.process.pid


def assert_enlarges(page, chart, every, step_at_left, least_by_keys: int) -> None:
    """By dragging from its middle to the right, or by a key; all of it comes back by the button `every`, or a key.

    `step_at_left` reads the first step that is drawn; after a key it is no less than `least_by_keys`.
    """
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 100)
    page.mouse.up()
    every.wait_for()
    assert step_at_left() > 150
    every.click()
    every.wait_for(state="hidden")
    assert step_at_left() < 10
    chart.press("+")
    every.wait_for()
    assert step_at_left() >= least_by_keys
    chart.press("Escape")
    every.wait_for(state="hidden")

"""How soon the app is there: from the command to the server, from the server to the first paint, to the first insight.

    python -m benchmarks.app [--times 5]

Medians of several starts, each with a new server and a new browser. Needs Chromium and `pip install playwright`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.visitors import Row, Server, finish, table

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
# Seconds from moving a slider to the frame in which its picture is another.
SLIDER = """([slider, picture]) => new Promise((resolve) => {
  const input = document.querySelector(slider), shown = () => document.querySelector(picture).innerText;
  const before = shown(), begun = performance.now();
  input.value = Number(input.value) === 1 ? 0.5 : 1;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  const look = () => shown() !== before ? resolve((performance.now() - begun) / 1000) : requestAnimationFrame(look);
  look();
})"""
# Of the run that is shown: pictures a second until it is done, and the longest seconds between two animation frames.
STREAM = """() => new Promise((done) => {
  const plot = document.querySelector('#loss-chart .tl-plot');
  const over = () => document.querySelector('#run-state .tl-badge.done');
  const began = performance.now();
  let pictures = 0, gap = 0, before = began;
  new MutationObserver(() => { pictures += 1; }).observe(plot, {attributes: true, attributeFilter: ['aria-label']});
  const look = (now) => {
    gap = Math.max(gap, now - before);
    before = now;
    if (over()) done([1000 * pictures / (now - began), gap / 1000]);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


class Insight(NamedTuple):
    """What a visitor saw of the first comparison."""

    seconds: float  # from the page's opening to the end of both curves, with their why panel
    pictures: float  # a second
    gap: float  # the longest seconds without a frame


class Visit(NamedTuple):
    """Seconds of one start and one visit."""

    server: float
    paint: float
    usable: float
    slider: float  # in the browser
    insight: Insight | None


def visit(browser: Browser, insight: bool) -> Visit:
    """Start a server, and see it as its first visitor."""
    with Server() as server:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        page.goto(server.url)
        page.wait_for_selector("#loss-chart canvas")
        page.wait_for_selector("#start:enabled")
        usable = time.perf_counter() - began
        paint = float(page.evaluate(PAINT))
        seen = first_insight(page, began) if insight else None
        page.get_by_role("tab", name="Generate").click()
        page.wait_for_selector("#chain tbody tr")
        page.wait_for_timeout(500)
        slider = min(page.evaluate(SLIDER, ["#temperature input[type=range]", "#chain"]) for _ in range(5))
        page.close()
        return Visit(server.seconds_to_start, paint, usable, slider, seen)


def first_insight(page: Page, began: float) -> Insight:
    """One click, and wait for both curves and the last step of the why panel."""
    page.click("#start")
    page.wait_for_selector("#run-state .tl-badge.running", timeout=120_000)
    pictures, gap = page.evaluate(STREAM)
    page.wait_for_function("document.querySelector('#why-panel .tl-why-at').textContent === 'step 400'")
    return Insight(time.perf_counter() - began, pictures, gap)


def main() -> int:
    """Print the table; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        visits = [visit(browser, insight=i == 0) for i in range(times)]
        browser.close()
    insight = visits[0].insight
    assert insight is not None
    rows = [
        seconds_row("server up after the command", 5, [v.server for v in visits]),
        seconds_row("first paint of the page's first visit", 1, [v.paint for v in visits]),
        seconds_row("usable", 2, [v.usable for v in visits]),
        seconds_row("a slider on Generate, in the browser", 0.25, [v.slider for v in visits]),
        Row(
            "opening to a finished Pre-LN or Post-LN, 1 click",
            "< 60 s",
            f"{insight.seconds:.1f} s",
            insight.seconds < 60,
        ),
        Row("pictures a second meanwhile", ">= 5", f"{insight.pictures:.1f}", insight.pictures >= 5),
        Row("longest time without a frame meanwhile", "< 0.25 s", f"{insight.gap:.2f} s", insight.gap < 0.25),
    ]
    print(table(f"the app, medians of {times} starts", rows))
    return finish(rows)


def seconds_row(what: str, target: float, seconds: list[float]) -> Row:
    """A median beside its target."""
    median = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    return Row(what, f"< {target:g} s", f"{median:.2f} s ({spread})", median < target)


if __name__ == "__main__":
    sys.exit(main())

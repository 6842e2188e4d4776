"""The pictures of the app in docs/images, from the app as it is now.

    python -m benchmarks.screenshots [NAMES] [--folder docs/images]

Needs Chromium and `pip install playwright`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.visitors import ROOT, Server

WIDE, PHONE = (1440, 900), (390, 844)
FLAGS = ["--no-sandbox", "--disable-gpu"]
STATE = "#run-state .tl-badge"
SETTLE = 1200  # milliseconds for fonts and pictures


def running(page: Page) -> None:
    """A comparison in the middle of its training."""
    page.click("#start")
    page.wait_for_selector(f"{STATE}.running")
    page.wait_for_function(
        "Number((document.querySelector('#loss-chart [role=img]').ariaLabel.match(/over (\\d+) of/) || [])[1]) > 150"
    )


def done(page: Page) -> None:
    """The same at its end."""
    page.click("#start")
    page.wait_for_selector(f"{STATE}.running")
    page.wait_for_selector(f"{STATE}.done", timeout=120_000)


def tab(name: str) -> Callable[[Page], None]:
    """A tab, as it opens."""
    return lambda page: page.get_by_role("tab", name=name, exact=True).click()


def part(page: Page) -> None:
    """The panel of the residual stream, in which the shipped sides differ."""
    page.locator("#diagram svg:visible [data-part=stream]").first.click()
    page.wait_for_selector("#diagram-part .tl-d-bars i")


def nothing(_: Page) -> None:
    """The page as it opens."""


PICTURES: dict[str, tuple[tuple[int, int], str, Callable[[Page], None]]] = {
    "app-train-running": (WIDE, "light", running),
    "app-train-done": (WIDE, "light", done),
    "app-train-dark": (WIDE, "dark", nothing),
    "app-model": (WIDE, "light", part),
    "app-attention": (WIDE, "light", tab("Attention")),
    "app-generate": (WIDE, "light", tab("Generate")),
    "app-inside": (WIDE, "light", tab("Inside")),
    "app-compare": (WIDE, "light", tab("Compare")),
    "app-sweeps": (WIDE, "light", tab("Sweeps")),
    "app-code": (WIDE, "light", tab("Code")),
    "app-phone": (PHONE, "light", nothing),
}


def take(browser: Browser, url: str, name: str, folder: Path) -> None:
    """One picture, of a new visitor's page."""
    (width, height), scheme, prepare = PICTURES[name]
    dark = scheme == "dark"
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page.set_default_timeout(60_000)
    page.goto(url)
    page.wait_for_selector("#loss-chart canvas")
    page.wait_for_timeout(SETTLE)
    prepare(page)
    if prepare is not running:
        page.wait_for_timeout(SETTLE)
    page.screenshot(path=folder / f"{name}.png")
    page.close()


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], help="of pictures; by default all")
    given = parser.parse_args()
    folder: Path = given.folder
    with Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name in given.names or PICTURES:
            take(browser, server.url, name, folder)
            print(folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()

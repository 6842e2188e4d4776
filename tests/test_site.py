"""The documentation as a site: built without a warning, and read without a request to another machine."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tlab.ui.settings.links import read_query

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPENED = ("", "tour/", "switches/", "api/train/")  # a picture, many pictures, formulas, docstrings
FETCHING = re.compile(r"<(?:link|script|img|iframe|source|video|audio|embed|object)\b[^>]*>")
ELSEWHERE = re.compile(r"""(?:src|href|srcset|data|poster)=["']?\s*(?:https?:)?//[^"'\s>]*""")
APP = "http://127.0.0.1:7860/"
LINKS = sorted(
    {(path.name, link) for path in (ROOT / "docs").rglob("*.md")
     for link in re.findall(rf"\({re.escape(APP)}([^)]*)\)", path.read_text(encoding="utf-8"))}
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the site needs mkdocs and its plugins: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_site_and_none_holds_a_formula_that_was_not_drawn(site):
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix("")
        page = site / ("index.html" if name.name == "index" else f"{name}/index.html")
        assert "$<code>" not in page.read_text(encoding="utf-8"), page
    assert (site / "switches/index.html").read_text(encoding="utf-8").count("<math") > 30


def test_no_page_and_no_style_names_a_file_of_another_machine_to_be_fetched(site):
    for path in site.rglob("*.html"):
        for tag in FETCHING.findall(path.read_text(encoding="utf-8")):
            assert "canonical" in tag or not ELSEWHERE.search(tag), (path, tag)
    for path in site.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        assert not re.findall(r"""url\(["']?(?:https?:)?//|@import""", style), path


def test_a_browser_that_reads_the_site_asks_nobody_else(site):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install -y chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    home = f"http://127.0.0.1:{server.server_port}/"
    asked, failed = [], []
    try:
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(120_000)  # a busy machine
            page.on("request", lambda request: asked.append(request.url))
            page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
            page.on("pageerror", lambda error: failed.append(str(error)))
            for name in OPENED:
                page.goto(home + name, wait_until="load")
            page.locator(".md-search__input").press_sequentially("norm")  # the site listens to keys
            page.wait_for_selector(".md-search-result__item")
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert len(asked) > 4 * len(OPENED) and not failed
    assert not [url for url in asked if not url.startswith((home, "data:", "blob:"))]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_into_the_app_sets_what_it_says(page, link):
    pairs = dict(pair.split("=") for pair in urlsplit(link).query.split("&"))
    read = read_query(pairs)
    assert not read.problems, read.problems
    assert len(read.settings) + len(read.other) == len(pairs)

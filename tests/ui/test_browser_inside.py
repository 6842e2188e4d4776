"""The Inside tab in a real browser: alive on load, one click a probe, and nothing that is typed becomes markup."""

from browsing import drawn, open_tab, settle, start, wait_for_state
from support import EVIL, GRADIO

pytestmark = GRADIO


def inside(visit, **options):
    page = visit(**options)
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-table table")
    settle(page)  # what the tab's opening asks for has come
    return page


def choose(page, group: str, probe: str) -> None:
    page.locator("#inside-group").get_by_role("radio", name=group).check()
    page.locator("#inside-probe").get_by_role("radio", name=probe, exact=True).check()
    page.locator("#inside-table .tl-title b").get_by_text(probe, exact=True).wait_for()


def test_a_table_a_chart_and_an_intervention_are_there_before_any_click(visit):
    page = inside(visit)
    assert page.locator("#inside-table tbody tr").count() > 3
    assert page.locator("#inside-formula .katex").count() == 1
    page.wait_for_function("document.querySelector('#inside-over-time canvas').width > 50")
    assert drawn(page, "#inside-over-time canvas")
    assert "nats per token" in page.inner_text("#what-if-effect")
    assert not [words for words in page.complaints if "inside" in words.lower()]


def test_a_probe_is_two_clicks_and_shows_its_own_options(visit):
    page = inside(visit)
    choose(page, "Neurons", "Neuron output logits")
    assert page.locator("#probe-says-neuron input").is_visible()
    assert not page.locator("#probe-lens-place").is_visible()
    before = page.inner_text("#inside-table")
    page.fill("#probe-says-neuron input", "7")
    page.keyboard.press("Tab")
    page.wait_for_function("before => document.querySelector('#inside-table').innerText !== before", arg=before)


def test_the_slider_shows_an_earlier_model(visit):
    page = inside(visit)
    before = page.inner_text("#inside-table")
    page.locator("#inside-scrub input").focus()
    page.keyboard.press("Home")
    page.locator("#inside-note").get_by_text("after 0 steps").wait_for()
    assert page.inner_text("#inside-table") != before


def test_what_is_typed_stays_text(visit):
    page = inside(visit)
    page.locator("#inside-text textarea").fill(EVIL)
    page.locator("#inside-table").get_by_text("a").first.wait_for()
    choose(page, "Ablation", "Next token under ablation")
    page.fill("#probe-next-part input, #probe-next-part textarea", EVIL)
    page.keyboard.press("Tab")
    page.locator("#inside-table .tl-in-refused").get_by_text("no part").wait_for()
    assert page.evaluate("window.hacked") is None


def test_a_planted_bug_is_caught_and_trained_beside_the_right_model(visit):
    page = inside(visit)
    page.locator("#lab-bug input").click()
    page.get_by_role("option", name="No causal mask").click()
    page.click("#lab-check")
    page.locator("#lab-checks").get_by_text("Caught").wait_for()
    assert "no token sees a later one" in page.locator("#lab-checks tr.tl-in-failed").all_inner_texts()[1]
    page.locator("#lab-train:enabled").click()
    wait_for_state(page, "running", "done")
    page.locator("#run-numbers").get_by_text("Bug: no causal mask").first.wait_for()
    page.click("#stop")
    wait_for_state(page, "stopped", "done")


def test_a_model_trained_here_is_looked_into(visit):
    page = visit()
    start(page, steps=20)
    wait_for_state(page, "done")
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("your run").wait_for()
    page.locator("#inside-table table").wait_for()
    page.click("#lab-profile")
    page.locator("#lab-profiled").get_by_text("Timing the parts").wait_for()


def test_no_table_is_wider_than_a_phone(visit):
    page = inside(visit, width=390, height=844)
    choose(page, "Trace", "One token's path")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

"""The page on a phone: the buttons at hand, what is touched as large as a finger, and nothing wider than the page."""

from xml.etree import ElementTree

import pytest

from browsing import choose_preset, open_tab, settle, start, wait_for_state
from support import GRADIO

pytestmark = GRADIO

PHONE = {"width": 390, "height": 844}
FINGER = 43.5  # pixels, of which 44 leave half a one for rounding

# What is touched, but for words within a sentence; a box with a label is touched there.
SMALL = """finger => {
  const touched = document.querySelectorAll('button, input, select, textarea, summary, [role=radio], [data-part]');
  return [...touched].filter((e) => !e.closest('[inert], [aria-hidden=true]') && e.type !== 'file'
      && e.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .map((e) => [e, (e.matches('[type=checkbox], [type=radio]') && e.closest('label') || e).getBoundingClientRect()])
    .filter(([, box]) => box.width > 2 && box.height > 2 && Math.min(box.width, box.height) < finger)
    .map(([e, box]) => `${e.tagName} #${e.id} "${e.textContent.trim().slice(0, 20)}" ${box.width} x ${box.height}`);
}"""


# Folds in view whose content scrolls sideways in its box.
SCROLLING = """() => [...document.querySelectorAll('.block:has(> .label-wrap)')]
  .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== 'visible')
  .map((e) => `${e.id} ${e.scrollWidth} of ${e.clientWidth}`)"""


@pytest.mark.parametrize("tab", ["Train", "Attention", "Compare"])
def test_no_fold_scrolls_sideways(visit, tab):
    page = visit(**PHONE)
    open_tab(page, tab)
    settle(page)
    assert page.locator(".label-wrap:visible").count()
    assert page.evaluate(SCROLLING) == []


@pytest.mark.parametrize("tab", ["Train", "Attention", "Inside", "Generate", "Compare", "Sweeps", "Code", "Learn"])
def test_what_is_touched_is_as_large_as_a_finger_and_the_page_does_not_scroll_sideways(visit, tab):
    page = visit(**PHONE)
    open_tab(page, tab)
    settle(page)
    assert page.evaluate(SMALL, FINGER) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_no_column_of_the_result_runs_off_its_card(visit):
    page = visit(**PHONE)
    choose_preset(page, "Post-LN and its warm-up")
    page.locator("#run-numbers").get_by_text("Warmup steps 100").wait_for()
    over = "[...document.querySelectorAll('#run-numbers table')].map(t => t.scrollWidth - t.parentElement.clientWidth)"
    assert max(page.evaluate(over)) <= 0


def test_the_names_of_all_tabs_are_in_view_and_none_is_cut_off(visit):
    page = visit(**PHONE)
    cut = "e.offsetParent && e.scrollWidth > e.clientWidth || e.getBoundingClientRect().right > innerWidth"
    tabs = page.get_by_role("tab")
    assert tabs.count() == 8
    assert tabs.evaluate_all(f"tabs => tabs.filter(e => {cut}).map(e => e.textContent)") == []


def test_no_column_of_a_chain_is_cut_off_however_long_the_tokens_are(visit):
    """As those of a model from elsewhere are: of many letters, with logits before and after a penalty."""
    page = visit(**PHONE)
    open_tab(page, "Generate")
    page.locator("#written-text .tl-token").nth(5).click()
    page.locator("#chain tbody th button").first.wait_for()
    settle(page)
    page.evaluate("""() => {
      const all = (where) => document.querySelectorAll(`#chain ${where}`);
      all("tbody th button").forEach((token) => (token.textContent = "internationalization"));
      all(".tl-logit span").forEach((logit) => (logit.textContent = "-14.89 → -22.34"));
    }""")
    assert page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('#chain .tl-scroll'))") <= 0


def test_what_is_told_of_a_model_takes_no_room_where_it_says_nothing(visit):
    page = visit(**PHONE)
    open_tab(page, "Generate")
    settle(page)
    assert page.inner_text("#generate-told").strip() == ""
    assert page.locator("#generate-told").evaluate("e => getComputedStyle(e).position") == "absolute"


@pytest.mark.parametrize("window", [PHONE, {"width": 1440, "height": 900}], ids=["phone", "wide"])
def test_start_pause_and_the_state_stay_in_view_while_the_page_scrolls(visit, window):
    page = visit(**window)
    start(page, 20)
    wait_for_state(page, "done")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 500
    for selector in ("#start", "#pause", "#stop", "#run-state .tl-badge"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"]
        assert box["y"] >= 0 and box["y"] + box["height"] <= window["height"]


def test_a_text_above_its_cells_has_every_letter(visit):
    """And not every second one, which is read as another text."""
    page = visit(**PHONE)
    open_tab(page, "Inside")
    settle(page)
    read = page.locator("#inside-text textarea").input_value()
    with page.expect_download() as download:
        page.locator("#inside-picture").get_by_role("button", name="SVG").click()
    drawing = ElementTree.parse(download.value.path()).getroot()
    texts = [(float(node.get("y")), node.text) for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    letters = [(y, text) for y, text in texts if len(text) == 1 and not text.isdigit()]
    highest = min(y for y, _ in letters)
    above = "".join(text for y, text in letters if y == highest)
    assert above.replace("␣", " ") == read[-32:]


@pytest.mark.parametrize("width", [390, 1440])
def test_what_is_said_of_a_head_stays_in_its_frame(visit, width):
    page = visit(width=width)
    open_tab(page, "Attention")
    settle(page)
    over = """[...document.querySelectorAll('.tl-thumb')].map((thumb) =>
      Math.max(...[...thumb.querySelectorAll('b, i')].map((e) => e.getBoundingClientRect().right))
      - thumb.getBoundingClientRect().right)"""
    found = page.evaluate(over)
    assert len(found) == 16 and max(found) < 0


def test_the_words_on_a_heads_numbers_have_the_width_of_the_phone(visit):
    page = visit(**PHONE)
    open_tab(page, "Attention")
    settle(page)
    widths = page.evaluate(
        "[...document.querySelectorAll('.tl-stats td:last-child')].map((e) => e.getBoundingClientRect().width)"
    )
    assert widths and min(widths) > 300


def test_what_came_of_the_run_is_read_on_the_first_screen(visit):
    page = visit(**PHONE)
    verdict, bar = (page.locator(selector).bounding_box() for selector in ("#verdict p", "#run-bar"))
    assert verdict["y"] > 0 and verdict["y"] + verdict["height"] <= bar["y"]


def test_the_presets_come_before_the_curves(visit):
    page = visit(**PHONE)
    boxes = [page.locator(selector).bounding_box()["y"] for selector in ("#presets", "#loss-chart", "#comparison")]
    assert boxes == sorted(boxes)


def test_the_last_setting_is_not_covered_by_the_buttons(visit):
    page = visit(**PHONE)
    settle(page)  # what comes later may make it longer
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last, bar = (page.locator(selector).bounding_box() for selector in ("#more-settings", "#run-bar"))
    assert last["y"] + last["height"] <= bar["y"]

"""What the page says and asks for is what the visitor set, and what the run shows."""

import math

import pytest

from browsing import choose_model, choose_preset, open_tab, set_number, settle, start, wait_for_state
from support import GRADIO
from tlab.cost import step_flops
from tlab.text.units import bits_per_byte
from tlab.ui.demo.shipped_run import demo_run

pytestmark = GRADIO

EMPTY = "fields => fields.map(id => document.querySelector(`#${id} :is(input, textarea)`).value)"


def test_a_field_that_was_left_empty_stays_so_when_it_is_shown(visit, runs):
    page = visit()
    page.click("#more-settings > button")
    page.wait_for_selector("#field-data_seed :is(input, textarea)")
    settle(page)
    assert page.evaluate(EMPTY, ["field-data_seed", "field-min_learning_rate"]) == ["", ""]
    start(page, steps=50)
    wait_for_state(page, "done")
    (run,) = runs.runs.values()
    assert run.sides[0].training.data_seed is None and run.sides[0].training.min_learning_rate is None


def test_a_field_that_a_visitor_empties_stays_so_when_it_comes_back(visit):
    page = visit()
    page.click("#more-settings > button")
    page.fill("#field-data_seed :is(input, textarea)", "3")
    page.fill("#field-data_seed :is(input, textarea)", "")
    page.click("#more-settings > button")
    page.wait_for_selector("#field-data_seed :is(input, textarea)", state="hidden")
    page.click("#more-settings > button")
    page.wait_for_selector("#field-data_seed :is(input, textarea)")
    settle(page)
    assert page.evaluate(EMPTY, ["field-data_seed"]) == [""]


def test_an_option_of_a_probe_that_was_left_empty_stays_so(visit):
    page = visit()
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-table table", state="attached")  # folded under its picture
    page.locator("#inside-group").get_by_role("radio", name="Residual", exact=True).check()
    page.locator("#inside-probe").get_by_role("radio", name="Residual stream decomposition", exact=True).check()
    page.locator("#inside-table .tl-title b").get_by_text("Residual stream decomposition", exact=True).wait_for()
    settle(page)
    assert page.input_value("#probe-stream-depth input, #probe-stream-depth textarea") == ""
    assert page.locator("#inside-table tbody tr").count() > 3  # every part of the model, not the embeddings alone


def test_a_chart_that_comes_late_is_not_drawn_under_another_probe(visit):
    page = visit()
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-table table", state="attached")  # folded under its picture
    page.locator("#inside-group").get_by_role("radio", name="Ablation", exact=True).check()
    page.locator("#inside-table .tl-title b").get_by_text("Ablation effect").wait_for()
    page.click("#inside-follow")
    page.locator("#inside-group").get_by_role("radio", name="Gradients", exact=True).check()
    settle(page)
    assert page.inner_text("#inside-over-time .tl-title b") == "Gradient norm by depth, over the training"


def test_a_chart_over_the_training_does_not_stay_under_another_model(visit):
    page = visit()
    open_tab(page, "Inside")
    choose_model(page, "inside", "Pre-LN or Post-LN")
    page.locator("#inside-group").get_by_role("radio", name="Gradients", exact=True).check()
    page.locator("#inside-table .tl-title b").get_by_text("Gradient norm by depth", exact=True).wait_for()
    page.click("#inside-follow")
    page.wait_for_function("document.querySelector('#inside-over-time')?.innerText.includes('Pre-LN')")
    open_tab(page, "Train")
    start(page, steps=50)
    wait_for_state(page, "done")
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("after 50 steps").wait_for()
    settle(page)
    assert "Pre-LN" not in page.inner_text("#inside-over-time")


def test_the_why_panel_follows_a_new_run_after_its_slider_was_used(visit):
    page = visit()
    page.locator(".tl-why-step").focus()
    page.keyboard.press("Home")
    page.locator(".tl-why-at").get_by_text("step 1", exact=True).wait_for()
    start(page, steps=50)
    wait_for_state(page, "done")
    page.locator(".tl-why-at").get_by_text("step 50", exact=True).wait_for()


def test_pictures_of_other_settings_say_so_until_the_settings_are_trained(visit):
    page = visit()
    set_number(page, "steps", 60)
    page.locator("#other-settings").get_by_text("These pictures are of another run: Pre-LN or Post-LN").wait_for()
    choose_preset(page, "Tiny and instant")
    page.locator("#other-settings p").wait_for(state="detached")  # it has a finished run of its own
    start(page, steps=50)
    wait_for_state(page, "done")
    page.locator("#other-settings p").wait_for(state="detached")
    set_number(page, "steps", 60)
    page.locator("#other-settings").get_by_text("These pictures are of another run").wait_for()


def test_the_settings_of_the_run_that_is_shown_are_named_and_one_click_away(visit):
    page = visit()
    set_number(page, "steps", 60)
    page.locator("#other-settings").get_by_text("Steps 400 instead of 60").wait_for()
    page.click("#take-settings")
    page.locator("#other-settings p").wait_for(state="detached")
    page.locator("#take-settings").wait_for(state="hidden")
    assert page.locator("#field-steps input[type=number]").input_value() == "400"
    page.get_by_role("radio", name="Pre-LN or Post-LN").and_(page.locator(":checked")).wait_for()


def test_a_cell_of_a_sweep_is_trained_at_once_and_seen_from_the_top(visit):
    page = visit()
    open_tab(page, "Sweeps")
    page.wait_for_selector("#sweep-grid canvas, #sweep-grid table, #sweep-grid svg")
    page.click("#sweep-train")
    wait_for_state(page, "waiting", "starting", "running")
    assert page.locator("#start").is_visible() and page.evaluate("window.scrollY") == 0
    page.evaluate("document.querySelector('#stop').click()")  # it may be over by now, and the button disabled


MARKED = """within => [...CSS.highlights.get("tl-word")]
  .filter(range => !range.collapsed && range.startContainer.parentElement?.closest(within))
  .map(range => range.startContainer.data.slice(range.startOffset, range.endOffset))"""
PLACE = """([within, word]) => {
  const marked = [...CSS.highlights.get("tl-word")].find(range =>
    !range.collapsed && range.startContainer.parentElement?.closest(within)
    && range.startContainer.data.slice(range.startOffset, range.endOffset) === word);
  const live = document.createRange();
  live.setStart(marked.startContainer, marked.startOffset);
  live.setEnd(marked.endContainer, marked.endOffset);
  live.startContainer.parentElement.scrollIntoView({ block: "center" });
  const { x, y, width, height } = live.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
}"""


def test_the_words_of_the_verdict_have_tips(visit):
    page = visit()
    page.wait_for_function(f"({MARKED})('#verdict').length > 4")
    assert {"validation loss", "nats", "Pre-LN", "Post-LN", "seed"} <= set(page.evaluate(MARKED, "#verdict"))
    page.mouse.move(*page.evaluate(PLACE, ["#verdict", "nats"]))
    page.locator(".tl-word-tip").get_by_text("natural logarithms").wait_for()
    page.keyboard.press("Escape")
    page.locator(".tl-word-tip").wait_for(state="hidden")


def test_a_text_that_has_just_changed_has_no_mark_under_other_letters(visit):
    page = visit()
    page.wait_for_function(f"({MARKED})('#verdict').length > 4")
    marked = page.evaluate("""() => {
      const marks = [...CSS.highlights.get("tl-word")]
        .filter(mark => mark.startContainer.parentElement?.closest("#verdict"));
      for (const node of new Set(marks.map(mark => mark.startContainer))) node.data = "other letters ".repeat(50);
      return marks.map(mark => mark.startContainer.data.slice(mark.startOffset, mark.endOffset));
    }""")
    assert len(marked) > 4 and set(marked) == {""}


def test_a_touch_on_a_marked_word_shows_its_tip_and_a_touch_elsewhere_hides_it(visit):
    page = visit(390, 844, is_mobile=True, has_touch=True)
    page.wait_for_function(f"({MARKED})('#verdict').length > 4")
    settle(page)
    tip = page.locator(".tl-word-tip")
    for word, meaning in (("nats", "natural logarithms"), ("validation loss", "never learns from")):
        page.touchscreen.tap(*page.evaluate(PLACE, ["#verdict", word]))
        tip.get_by_text(meaning).wait_for()
        assert tip.bounding_box()["width"] > 300, "as wide as it may be, wherever the word stands"
        page.touchscreen.tap(5, 5)
        tip.wait_for(state="hidden")


def test_the_list_of_words_is_reached_and_searched_by_keyboard(visit):
    page = visit()
    page.locator(".tl-words-open").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("residual stream")
    page.locator(".tl-glossary dt").get_by_text("residual stream", exact=True).wait_for()
    assert page.locator(".tl-glossary dl > div:visible").count() < 10
    assert page.locator(".tl-glossary-none").is_hidden()
    page.locator(".tl-glossary input").fill("no such word")
    page.locator(".tl-glossary-none").wait_for()
    page.keyboard.press("Escape")
    page.locator(".tl-glossary").wait_for(state="hidden")


def test_each_word_with_a_tip_is_reached_by_the_arrow_keys_from_one_stop(visit):
    page = visit()
    page.wait_for_function(f"({MARKED})('#verdict').length > 4")
    page.locator(".tl-words-open").focus()
    tip, told = page.locator(".tl-word-tip"), []
    for _ in range(len(page.evaluate(MARKED, "body"))):
        page.keyboard.press("ArrowDown")
        tip.wait_for()
        told.append(tip.locator("b").inner_text().strip().removesuffix(":"))
    assert {"validation loss", "nats", "Pre-LN", "Post-LN", "seed"} <= {*told}
    page.keyboard.press("ArrowUp")
    tip.get_by_text(told[-2]).first.wait_for()
    page.keyboard.press("Escape")
    tip.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "Words"


def test_the_loss_is_drawn_in_the_unit_and_over_the_cost_that_are_chosen(visit):
    page = visit()
    page.wait_for_selector("#loss-chart canvas")
    shown = {}
    chosen = (("nats", "steps"), ("bits", "tokens"), ("bytes", "steps"), ("perplexity", "FLOPs"), ("nats", "seconds"))
    for unit, axis in chosen:
        page.select_option(".tl-unit", unit)
        page.select_option(".tl-axis", axis)
        page.hover("#loss-chart canvas")
        page.locator("#loss-chart .tl-tip th").first.get_by_text(axis.removesuffix("s")).wait_for()
        row = page.locator("#loss-chart .tl-tip tr").nth(1).inner_text().split()
        shown[unit, axis] = page.locator("#loss-chart .tl-tip th").first.inner_text(), float(row[1])
    (at_step, nats), (at_token, bits) = shown["nats", "steps"], shown["bits", "tokens"]
    (at_flop, perplexity) = shown["perplexity", "FLOPs"]
    assert bits == pytest.approx(nats / math.log(2), abs=2e-3)
    assert perplexity == pytest.approx(math.exp(nats), rel=2e-3)
    step = int(at_step.split()[-1])
    run = demo_run()
    (_, in_bytes) = shown["bytes", "steps"]
    assert in_bytes == pytest.approx(bits_per_byte(nats, run.bytes_per_token.train), abs=2e-3)
    assert int(at_token.split()[0].replace(",", "")) == step * run.sides[0].last.tokens // run.sides[0].step
    flops = step * step_flops(run.sides[0].model.with_vocab(run.vocab_size), run.sides[0].training.batch_size)
    assert at_flop == f"{flops / 1e9:.1f}B FLOPs"

"""The page in a real browser: alive on load, streaming, stopping, safe, and nobody's business but the visitor's."""

import os
from xml.etree import ElementTree

import pytest

from browsing import (
    assert_enlarges,
    choose_preset,
    drawn,
    generate_text,
    is_gone,
    open_tab,
    set_number,
    settle,
    start,
    unfold,
    wait_for_state,
    worker_of_only_run,
)
from support import EVIL, GRADIO, wait_for
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.tabs.train.view import WHY_CHARTS
from tlab.wording import short_number

pytestmark = GRADIO

BUTTONS = ("start", "pause", "step", "stop", "reset")


def test_the_chart_and_a_sample_are_there_before_any_click(visit):
    page = visit()
    page.wait_for_function(
        "document.querySelector('#loss-chart [role=img]').ariaLabel.includes('B, Post-LN: training loss')"
    )
    assert drawn(page, "#loss-chart canvas")
    assert len(page.inner_text("#run-sample pre")) > 50


def test_the_attention_map_is_there_when_its_tab_opens(visit):
    page = visit()
    open_tab(page, "Attention")
    page.wait_for_selector("#attention-map canvas[data-drawn]")
    assert drawn(page, "#attention-map canvas")


def test_a_choice_shows_its_sentence_and_its_formula(visit):
    page = visit()
    unfold(page, "What it is made of")
    page.locator("#field-norm").get_by_text("RMSNorm").click()
    page.locator(".tl-why").get_by_text("root mean square of 1").wait_for()
    page.wait_for_function("document.querySelectorAll('.tl-why .katex').length === 5")  # each choice of this fold
    assert page.locator(".katex-error").count() == 0


def test_the_last_point_of_the_chart_claims_no_step_that_was_not_made(visit):
    page = visit()
    start(page, 301)  # one more than there are bins: each is two steps wide, and the last is half full
    wait_for_state(page, "done")
    chart = page.locator("#loss-chart canvas")
    chart.hover(position={"x": chart.bounding_box()["width"] - 15, "y": 100})
    page.locator("#loss-chart .tl-tip").get_by_text("step 301", exact=True).wait_for()


def test_the_other_tabs_use_the_run_of_the_visitor(visit):
    page = visit()
    start(page, 50)
    wait_for_state(page, "done")
    open_tab(page, "Attention")
    page.get_by_text("your run on “python-docs”, after 50 steps").first.wait_for()
    open_tab(page, "Generate")
    generate_text(page)


def test_stop_ends_the_worker_process_in_the_middle_of_a_run(visit, runs):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    pid = worker_of_only_run(runs)
    page.click("#stop")
    wait_for(lambda: is_gone(pid))
    wait_for_state(page, "stopped")


def test_a_closed_tab_takes_its_worker_along_in_the_middle_of_a_run(visit, runs):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    pid = worker_of_only_run(runs)
    page.close()
    wait_for(lambda: is_gone(pid))


def test_a_worker_is_less_urgent_than_the_server(visit, runs):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    assert os.getpriority(os.PRIO_PROCESS, worker_of_only_run(runs)) > os.getpriority(os.PRIO_PROCESS, 0)
    page.click("#stop")


def test_gradio_keeps_nothing_of_a_closed_tab(visit, served):
    known = served.state_holder.session_data
    others = set(known)
    page = visit()
    set_number(page, "steps", 70)
    wait_for(lambda: set(known) - others)
    own = set(known) - others
    page.close()
    wait_for(lambda: not own & set(known))


def test_a_paused_run_can_go_on_and_pause_again(visit):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    for _ in range(2):
        page.get_by_role("button", name="Pause").click()
        wait_for_state(page, "paused")
        page.get_by_role("button", name="Resume").click()
        wait_for_state(page, "running")
    page.click("#stop")
    wait_for_state(page, "stopped")


def test_a_paused_run_can_be_stopped(visit):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    page.click("#pause")
    wait_for_state(page, "paused")
    page.click("#stop")
    wait_for_state(page, "stopped")
    assert page.is_disabled("#stop")


def test_reset_brings_the_shipped_run_back(visit):
    page = visit()
    start(page, 50)
    wait_for_state(page, "done")
    page.click("#reset")
    wait_for_state(page, "shipped")
    page.get_by_text("after 400 steps").first.wait_for()


def test_reset_of_a_run_that_runs_leaves_the_shipped_one_on_every_tab(visit, runs):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    pid = worker_of_only_run(runs)
    shown = page.get_attribute("#loss-chart [role=img]", "aria-label")
    page.wait_for_function(
        "shown => document.querySelector('#loss-chart [role=img]').ariaLabel !== shown", arg=shown
    )  # frames come
    page.click("#reset")
    wait_for_state(page, "shipped")
    wait_for(lambda: is_gone(pid))
    settle(page)  # what the ended handler sends has come
    assert page.inner_text("#run-state .tl-badge") == "shipped"
    assert "Post-LN" in page.inner_text("#run-numbers")
    assert "over 400 of 400 steps" in page.get_attribute("#loss-chart [role=img]", "aria-label")
    assert [page.is_enabled(f"#{name}") for name in BUTTONS] == [True, False, True, False, False]
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("the shipped run").wait_for()
    open_tab(page, "Train")
    start(page, 50)  # and the page is as good as new
    wait_for_state(page, "done")


def test_pasted_and_deleted_text_is_read_as_typed_text_is(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    open_tab(page, "Attention")
    page.wait_for_selector("#attention-map canvas[data-drawn]")
    reads = "text => document.querySelector('.tl-reading').textContent === text"
    page.click("#attention-text textarea")
    page.evaluate("navigator.clipboard.writeText('pasted text')")
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+v")
    page.wait_for_function(reads, arg="pasted␣text")
    page.keyboard.press("Backspace")
    page.wait_for_function(reads, arg="pasted␣tex")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("from an input method")
    page.wait_for_function(reads, arg="from␣an␣input␣method")


def test_a_new_model_begins_with_an_empty_page(visit):
    page = visit()
    start(page, 50)
    wait_for_state(page, "done")
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("after 50 steps").wait_for()
    assert page.locator("#written-text .tl-token").count() == 0


def test_two_visitors_never_see_each_others_run(visit):
    first, second = visit(), visit()
    start(first, 50)
    start(second, 100)
    wait_for_state(first, "done")
    wait_for_state(second, "done")
    assert "50 of 50 steps" in first.get_attribute("#loss-chart [role=img]", "aria-label")
    assert "100 of 100 steps" in second.get_attribute("#loss-chart [role=img]", "aria-label")
    open_tab(first, "Generate")
    first.get_by_text("your run on “python-docs”, after 50 steps").last.wait_for()


def test_markup_in_a_visitors_text_stays_text_on_every_tab(visit):
    page = visit()
    page.click("#field-corpus input")
    page.get_by_role("option", name="Your own text").click()
    page.locator("#field-text textarea").fill(EVIL * 60)
    start(page, 200)
    wait_for_state(page, "done")
    assert "<" in page.inner_text("#run-sample pre")
    assert page.locator("#run-sample pre *").count() == 0
    open_tab(page, "Attention")
    page.wait_for_function(
        "document.querySelector('#attention-text textarea')?.value.includes('<img')"
    )  # it has opened
    page.locator("#attention-text textarea").fill("x<img src=x onerror=hacked=1>")  # short: only the end is read
    page.wait_for_function("document.querySelector('.tl-reading').textContent.startsWith('x<img␣src=x')")
    open_tab(page, "Generate")
    page.locator("#prompt textarea").fill(EVIL)
    generate_text(page)
    page.locator("#prompt textarea").fill("<b>日本語</b>")  # and in the words of a refusal
    page.click("#write")
    page.locator("#chain").get_by_text("no id for").wait_for()
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_settings_that_do_not_fit_are_refused_in_words(visit):
    page = visit()
    unfold(page, "How large it is")
    set_number(page, "num_heads", 7)
    page.click("#start")
    page.locator(".toast-wrap").get_by_text("must divide hidden_dim = 32").wait_for()
    assert page.locator("#run-state .error:visible").count() == 0  # Gradio's own mark, over what the line says


def test_a_side_that_diverges_says_when_and_the_other_goes_on(visit):
    page = visit()
    choose_preset(page, "Too fast")
    page.click("#start")
    page.get_by_text("B (Learning rate 1) diverged at step").wait_for()
    wait_for_state(page, "done")
    assert "400 of 400 steps" in page.get_attribute("#loss-chart [role=img]", "aria-label")


# What makes a page stutter, counted: pictures drawn more than once in a frame, and a layout that changes meanwhile.
COUNT_DRAWINGS = """() => {
  const plot = document.querySelector('#loss-chart .tl-plot');
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  let frame = new Map();
  window.pictures = new Set();
  window.heights = new Set();
  window.mostDrawings = 0;
  CanvasRenderingContext2D.prototype.clearRect = function (...area) {
    if (!frame.size) requestAnimationFrame(() => { frame = new Map(); });
    frame.set(this.canvas, (frame.get(this.canvas) || 0) + 1);
    window.mostDrawings = Math.max(window.mostDrawings, frame.get(this.canvas));
    return clear.apply(this, area);
  };
  new MutationObserver(() => {
    window.pictures.add(plot.ariaLabel);
    window.heights.add(plot.getBoundingClientRect().height);
  }).observe(plot, {attributes: true, attributeFilter: ['aria-label']});
}"""


def test_the_first_comparison_needs_one_click_and_is_drawn_often_without_waste_and_at_one_height(visit):
    page = visit()
    page.evaluate(COUNT_DRAWINGS)
    page.click("#start")
    wait_for_state(page, "running")
    wait_for_state(page, "done")
    # The panel opens where A and B part: where the gradient of the first layer breaks.
    page.wait_for_function("document.querySelector('#why-panel .tl-why-at').textContent === 'step 10'")
    assert "A (Pre-LN) is 1.19 nats per token (1.71 bits per byte) lower" in page.inner_text("#verdict")
    assert all(drawn(page, f"#why-panel .tl-small:nth-child({i}) canvas") for i in range(1, 6))
    assert page.evaluate("window.pictures.size") >= 10
    assert page.evaluate("window.heights.size") == 1
    assert page.evaluate("window.mostDrawings") == 1


def test_one_step_makes_one_step(visit):
    page = visit()
    choose_preset(page, "Tiny and instant")
    page.click("#step")
    page.get_by_text("Paused at step 1.").wait_for()
    page.click("#step")
    page.get_by_text("Paused at step 2.").wait_for()
    page.get_by_role("button", name="Resume").click()
    wait_for_state(page, "done")


def test_the_slider_of_the_why_panel_goes_back_to_the_first_step(visit):
    page = visit()
    panel = page.locator("#why-panel")
    panel.locator(".tl-why-at").get_by_text("step 10", exact=True).wait_for()
    before = panel.locator("[role=img]").first.get_attribute("aria-label")
    panel.get_by_role("slider", name="Step to look at").fill("0")
    panel.locator(".tl-why-at").get_by_text("step 1", exact=True).wait_for()
    a, b = (side.insights[0].layers[0].gradient_norm for side in demo_run().sides)
    panel.get_by_text(f"At step 1, gradient (norm), layer 1: A {short_number(a)}, B {short_number(b)}.").wait_for()
    page.wait_for_function("before => document.querySelector('#why-panel [role=img]').ariaLabel !== before", arg=before)


def test_a_value_of_the_why_panel_is_the_same_wherever_it_is_written(visit):
    page = visit()
    page.locator("#why-panel .tl-why-at").get_by_text("step 10", exact=True).wait_for()
    a, b = (next(look for look in side.insights if look.step == 10).layers[0] for side in demo_run().sides)
    values = f"A {short_number(a.gradient_norm)}, B {short_number(b.gradient_norm)}"
    assert page.inner_text("#why-panel .tl-why-words").count(values) == 1
    heard = page.locator("#why-panel [role=img]").first.get_attribute("aria-label")
    assert f"A: {short_number(a.gradient_norm)}," in heard and f"B: {short_number(b.gradient_norm)}," in heard


def test_the_loss_chart_is_enlarged_by_dragging_and_by_keys(visit):
    page = visit()
    chart = page.locator("#loss-chart .tl-plot")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()

    def first_step() -> int:
        page.mouse.move(box["x"] + 50, box["y"] + 150)
        return int(page.locator("#loss-chart .tl-tip th").first.inner_text().split()[1])

    assert_enlarges(page, chart, page.locator("#loss-chart .tl-all"), first_step, least_by_keys=99)


def test_an_exported_chart_names_its_axes_and_units(visit, tmp_path):
    page = visit(accept_downloads=True)
    page.select_option("#loss-chart .tl-unit", "bits")
    page.select_option("#loss-chart .tl-axis", "tokens")
    words = {}
    for chart in ("#loss-chart", "#why-panel"):
        with page.expect_download() as download:
            page.locator(chart).get_by_role("button", name="SVG").click()
        download.value.save_as(tmp_path / "chart.svg")
        texts = ElementTree.parse(tmp_path / "chart.svg").iter("{http://www.w3.org/2000/svg}text")
        words[chart] = [node.text for node in texts]
    assert "Unit of the loss: bits per token" in words["#loss-chart"]
    assert "Horizontal axis: tokens" in words["#loss-chart"]
    assert words["#why-panel"].count("layer") == len(WHY_CHARTS)
    assert {chart.title for chart in WHY_CHARTS.values()} <= {*words["#why-panel"]}


def test_no_place_among_the_charts_by_layer_is_empty(visit):
    page = visit()
    rows = """[...document.querySelectorAll('#why-panel .tl-small')].reduce((rows, chart) => {
      const { top, right } = chart.getBoundingClientRect();
      return { ...rows, [top]: Math.round(right) };
    }, {})"""
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        edge = page.evaluate("Math.round(document.querySelector('.tl-smalls').getBoundingClientRect().right)")
        assert {*page.evaluate(rows).values()} == {edge}, width


def test_the_axis_of_a_chart_by_layer_holds_the_smallest_value_of_all_steps(visit, tmp_path):
    page = visit(accept_downloads=True)
    page.locator("#why-panel .tl-why-at").get_by_text("step 10", exact=True).wait_for()
    with page.expect_download() as download:
        page.locator("#why-panel").get_by_role("button", name="SVG").click()
    download.value.save_as(tmp_path / "why.svg")
    texts = [node.text for node in ElementTree.parse(tmp_path / "why.svg").iter("{http://www.w3.org/2000/svg}text")]
    looks = [look for side in demo_run().sides for look in side.insights]
    lowest = min(layer.gradient_norm for look in looks for layer in look.layers)
    assert short_number(0.8 * float(f"{lowest:.3g}"), 2) in texts


def test_the_thing_that_b_changes_can_be_any_setting(visit):
    page = visit()
    page.click("#switch input")
    page.get_by_role("option", name="Learning rate", exact=True).click()
    page.locator("#switch-number").get_by_text("Learning rate of B").wait_for()
    page.click("#switch input")
    page.get_by_role("option", name="Tied", exact=True).click()
    page.locator("#switch-choice").get_by_text("Tied of B").wait_for()
    assert page.locator("#switch-choice input").input_value() == "no"
    set_number(page, "steps", 50)
    page.click("#start")
    wait_for_state(page, "done")
    assert "Tied no" in page.inner_text("#run-numbers")


def test_the_estimate_follows_the_settings(visit):
    page = visit()
    words = page.locator("#estimate")
    words.get_by_text("both sides would take about").wait_for()
    unfold(page, "How large it is")
    set_number(page, "num_heads", 7)
    words.get_by_text("must divide hidden_dim = 32").wait_for()
    choose_preset(page, "Tiny and instant")
    words.get_by_text("the run would take about").wait_for()


def test_beside_settings_that_cannot_be_nobody_is_asked_to_press_start(visit):
    page = visit()
    unfold(page, "How large it is")
    set_number(page, "num_layers", 3)
    page.locator("#other-settings .tl-press").get_by_text("Press Start").wait_for()
    set_number(page, "num_heads", 7)
    page.locator("#estimate").get_by_text("must divide hidden_dim = 32").wait_for()
    page.locator("#other-settings .tl-press").wait_for(state="hidden")
    assert page.locator("#other-settings").get_by_text("These pictures are of another run").is_visible()
    set_number(page, "num_heads", 2)
    page.locator("#other-settings .tl-press").wait_for()


def test_a_late_answer_never_covers_a_newer_one(visit):
    page = visit()
    held, holding = [], True
    page.route("**/run/predict*", lambda route: held.append(route) if holding else route.continue_())
    page.reload()
    unfold(page, "How large it is")
    set_number(page, "num_heads", 7)
    page.wait_for_timeout(300)  # for the request that follows, if there is one
    holding = False
    for route in reversed(held):  # the newest first
        route.fulfill(response=route.fetch())
    page.locator("#estimate").get_by_text("must divide hidden_dim = 32").wait_for()
    settle(page)
    assert "must divide hidden_dim = 32" in page.inner_text("#estimate")


def test_an_uploaded_file_is_what_is_trained_on(visit, tmp_path):
    file = tmp_path / "own.txt"
    file.write_text(f"ü {EVIL} and so on. " * 80, "utf-8")
    page = visit()
    page.locator("#upload-text input, input[type=file]").first.set_input_files(file)
    page.wait_for_function("document.querySelector('#field-text textarea')?.value.startsWith('ü <img')")
    page.locator("#text-card").get_by_text("own.txt, read as UTF-8").wait_for()
    settle(page)
    page.reload()
    page.locator("#text-card").get_by_text("own.txt, read as UTF-8").wait_for()
    settle(page)
    start(page, 50)
    wait_for_state(page, "done")
    assert "your own text" in page.inner_text("#run-state")
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_the_log_scale_redraws_the_chart(visit):
    page = visit()
    picture = "document.querySelector('#loss-chart canvas').toDataURL()"
    for name in ("log scale", "moving average"):
        before = page.evaluate(picture)
        page.get_by_role("checkbox", name=name).click()
        page.wait_for_function(f"before => {picture} !== before", arg=before)


def test_a_logarithmic_axis_is_ticked_and_can_be_left(visit):
    page = visit()
    ticked = page.get_by_role("checkbox", name="log scale")
    assert not ticked.is_checked()
    choose_preset(page, "Too fast")  # its losses are of many sizes
    page.wait_for_function("document.querySelector('#loss-chart .tl-log').checked")
    picture = "document.querySelector('#loss-chart canvas').toDataURL()"
    before = page.evaluate(picture)
    ticked.uncheck()
    page.wait_for_function(f"before => {picture} !== before", arg=before)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_a_whole_visit_fits_the_page_leaves_the_console_empty_and_asks_nobody_outside(visit, url, scheme, width):
    page = visit(width=width, color_scheme=scheme)
    start(page, 50)
    wait_for_state(page, "done")
    open_tab(page, "Attention")
    page.wait_for_selector("#attention-map canvas[data-drawn]")
    page.hover("#attention-map canvas")
    page.locator("#attention-heads [role=radio]").nth(1).click()
    page.get_by_text("Head 2 of layer").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    open_tab(page, "Generate")
    generate_text(page)
    page.locator("#written-text .tl-token").nth(5).click()
    page.locator("#chain").get_by_text("token 6 of the text").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for tab in ("Compare", "Sweeps", "Code"):
        open_tab(page, tab)
        settle(page)
    page.locator("#code-entry").get_by_text("RMSNorm").click()
    page.locator("#code-head h2", has_text="RMSNorm").wait_for()
    page.locator("#code-other").get_by_text("LayerNorm").click()
    page.locator("#code-difference", has_text="RMSNorm to LayerNorm").wait_for()
    assert page.complaints == []
    assert [to for to in page.requested if not to.startswith((url, "data:", "blob:"))] == []

"""The drawing of the model on the page: alive with the controls, by pointer and by keyboard, at any width."""

from browsing import choose_preset, set_number, settle, unfold
from support import GRADIO

pytestmark = GRADIO

PANEL = "#diagram-panel .tl-d-part"


def drawing(page):
    """The drawing that this width shows."""
    return page.locator("#diagram svg[role=toolbar]:visible")


def test_the_drawing_follows_the_controls(visit):
    page = visit()
    assert drawing(page).count() == 2
    choose_preset(page, "Llama style")
    page.wait_for_function("[...document.querySelectorAll('#diagram svg text')].some(t => t.textContent === 'SwiGLU')")
    assert drawing(page).count() == 1
    assert "↻ RoPE" in drawing(page).text_content()


def test_a_part_is_a_button_that_shows_its_switch_its_code_and_its_control(visit):
    page = visit()
    drawing(page).first.get_by_role("button", name="LayerNorm before attention").click()
    page.locator(PANEL).get_by_role("button", name="RMSNorm").click()
    drawing(page).first.get_by_role("button", name="RMSNorm before attention").wait_for()
    page.locator("#diagram-code").get_by_text("RMSNorm: forward").wait_for()
    page.locator(PANEL).get_by_role("button", name="Norm", exact=True).click()
    page.wait_for_function("document.activeElement.closest('#field-norm')")
    assert page.evaluate("document.activeElement.value") == "rmsnorm"


def test_a_control_that_is_folded_away_is_opened(visit):
    page = visit()
    drawing(page).first.get_by_role("button", name="Unembedding, tied").click()
    page.locator(PANEL).get_by_role("button", name="Tied", exact=True).click()
    page.wait_for_function("document.activeElement.closest('#field-tied')")
    assert page.locator("#field-tied").is_visible()


def test_the_drawing_is_used_with_the_keyboard_alone(visit):
    page = visit()
    page.locator("#diagram svg:visible [tabindex='0']").first.focus()
    page.keyboard.press("End")
    page.wait_for_function("document.activeElement.dataset.part === 'training'")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.locator(PANEL).get_by_text("Unembedding").wait_for()
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    page.keyboard.press("Escape")
    page.locator(PANEL).wait_for(state="detached")


def test_the_panel_shows_the_gradient_at_the_step_of_the_why_panel(visit):
    page = visit()
    drawing(page).first.get_by_role("button", name="Attention, 4 heads").click()
    page.locator(PANEL).get_by_text("at step 10 of").wait_for()
    page.get_by_role("slider", name="Step to look at").fill("0")
    page.locator(PANEL).get_by_text("at step 1 of").wait_for()
    assert page.locator(f"{PANEL} .tl-d-bars i").count() == 16


def test_the_gradient_stands_beside_a_drawing_only_while_the_run_below_is_of_such_a_model(visit):
    page = visit()
    live = page.locator("#diagram .tl-d-wide .tl-d-live:visible")
    live.first.wait_for()
    assert live.count() == 2
    assert live.first.inner_text().split("\n") == ["gradient by layer, step 10:", "first 1.2 × the last"]
    assert live.nth(1).inner_text().split("\n") == ["gradient by layer, step 10:", "first 1/2,200 the last"]
    unfold(page, "How large it is")
    set_number(page, "num_layers", 3)
    live.first.wait_for(state="hidden")


def test_the_drawing_shows_the_loss_of_both_sides_in_small_only_while_the_run_below_is_of_such_models(visit):
    page = visit()
    shown = page.locator("#diagram .tl-d-wide .tl-d-loss:visible")
    shown.first.wait_for()
    assert [text.split("\n") for text in shown.all_inner_texts()] == [
        ["validation loss 2.07", "at step 400"],
        ["validation loss 3.26", "at step 400"],
    ]
    ends = shown.locator("polyline").evaluate_all("them => them.map((one) => one.points[one.points.length - 1].y)")
    assert 0.5 < ends[1] < ends[0] < 1  # of the plot's height, from above: A ends lower
    page.select_option("#loss-chart .tl-unit", "bits")
    page.wait_for_function("document.querySelector('.tl-d-wide .tl-d-loss small').innerText.includes('2.98')")
    page.locator("#presets").get_by_text("Llama style", exact=True).click()
    shown.nth(1).wait_for(state="hidden")


def test_the_drawing_shows_no_numbers_of_a_run_with_other_settings_even_if_its_sides_have_the_same_names(visit):
    page = visit()
    shown = page.locator("#diagram .tl-d-wide :is(.tl-d-loss, .tl-d-live):visible")
    shown.first.wait_for()
    set_number(page, "seed", 7)
    shown.first.wait_for(state="hidden")
    set_number(page, "seed", 0)
    shown.first.wait_for()


def test_what_the_pointer_is_over_in_the_drawing_is_explained_at_once(visit):
    page = visit()
    tip = page.locator(".tl-word-tip")
    first = drawing(page).first
    first.get_by_text("softmax", exact=True).hover()
    assert tip.inner_text() == "softmax: Turns scores into probabilities that sum to 1."
    first.get_by_role("button", name="LayerNorm before attention").hover()
    page.wait_for_function("document.querySelector('.tl-word-tip').innerText.startsWith('LayerNorm')")
    assert "mean 0" in tip.inner_text()
    first.get_by_text("Q", exact=True).hover()
    page.wait_for_function("document.querySelector('.tl-word-tip').innerText.includes('query (Q)')")
    first.get_by_text("K", exact=True).click()
    first.get_by_text("V", exact=True).hover()
    page.wait_for_timeout(150)
    assert tip.is_hidden()  # the panel says more


def test_a_phone_shows_the_drawing_upwards_and_a_part_in_view(visit):
    page = visit(width=390, height=844)
    first, second = (drawing(page).nth(i).bounding_box() for i in (0, 1))
    assert first["height"] > 2 * first["width"]
    assert second["x"] > first["x"] + first["width"] and second["y"] == first["y"]  # A and B side by side
    drawing(page).first.get_by_role("button", name="MLP, GELU").click()
    page.locator(PANEL).get_by_role("button", name="SwiGLU").wait_for()
    settle(page)
    box = page.locator(PANEL).bounding_box()
    assert 0 <= box["y"] < 844
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.complaints == []


def test_a_probe_of_a_part_opens_in_the_inside_tab(visit):
    page = visit()
    drawing(page).first.get_by_role("button", name="MLP, GELU").click()
    page.locator(PANEL).get_by_role("button", name="Dead and saturated units").click()
    page.locator("#inside-about").get_by_text("How many hidden units of each MLP are dead").wait_for()
    assert page.locator("#inside-probe input:checked").get_attribute("value") == "units"
    page.locator("#inside-note").get_by_text("the shipped run “Pre-LN or Post-LN”").wait_for()  # that of the Train tab

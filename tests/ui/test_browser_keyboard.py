"""The page by keyboard, and a page whose server is away."""

from browsing import choose_preset, generate_text, open_tab, set_number, settle, start, wait_for_state
from support import GRADIO
from tlab.ui.settings.presets import PRESETS

pytestmark = GRADIO


def focused(page) -> str:
    return page.evaluate("document.activeElement.id")


def test_start_is_two_keys_away_and_hands_the_focus_on(visit):
    page = visit()
    choose_preset(page, "Tiny and instant")
    set_number(page, "steps", 20)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.locator("h1").click()
    page.evaluate("getSelection().removeAllRanges()")
    page.keyboard.press("Shift+Tab")
    page.locator(".tl-skip:focus").wait_for()
    page.keyboard.press("Enter")
    assert focused(page) == "start"
    page.keyboard.press("Enter")
    page.wait_for_function("['pause', 'start', 'reset'].includes(document.activeElement.id)")
    wait_for_state(page, "done")
    page.wait_for_function("!document.activeElement.disabled && document.activeElement.closest('.tl-buttons')")


def test_start_is_at_most_ten_tabs_from_the_top_of_the_page(visit):
    page = visit()
    for _ in range(10):
        page.keyboard.press("Tab")
        if focused(page) == "start":
            break
    assert focused(page) == "start"


def test_arrows_go_from_tab_to_tab_and_from_preset_to_preset(visit):
    page = visit()
    settle(page)
    page.get_by_role("tab", name="Train", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Attention"
    page.get_by_role("radio", name="Pre-LN or Post-LN").focus()
    page.keyboard.press("ArrowDown")
    page.locator("#presets .tl-why").get_by_text(PRESETS["Norm or none"].words[:40]).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('fieldset').id") == "model"


def test_control_and_enter_starts_from_a_text_field_and_types_nothing(visit):
    page = visit()
    choose_preset(page, "Tiny and instant")
    assert page.locator(".tl-shortcut").is_visible()
    set_number(page, "steps", 20)
    page.locator("#field-seed input").fill("5")
    page.keyboard.press("Control+Enter")
    wait_for_state(page, "done")
    assert page.locator("#field-seed input").input_value() == "5"


def test_the_choice_that_has_the_focus_has_a_ring_in_light_and_dark(visit):
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        page.locator("#compare input:checked").focus()
        page.keyboard.press("ArrowRight")
        ring = {"light": "2px solid rgb(15, 23, 42)", "dark": "2px solid rgb(255, 255, 255)"}[scheme]
        page.wait_for_function(
            """ring => {
              const style = getComputedStyle(document.querySelector("label:has(> input:focus-visible)"));
              return `${style.outlineWidth} ${style.outlineStyle} ${style.outlineColor}` === ring;
            }""",
            arg=ring,
        )


def test_tab_passes_a_list_without_opening_it(visit):
    page = visit()
    field = page.locator("#switch input")
    options = page.locator("[role=option], ul.options")
    page.locator("#comparison button").first.focus()
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.matches('#switch input')")
    page.wait_for_timeout(150)  # a list that would open
    options.first.wait_for(state="detached")  # it may open for a moment; on a busy machine the moment is longer
    page.keyboard.press("ArrowDown")
    options.first.wait_for()
    page.keyboard.press("Tab")
    options.first.wait_for(state="detached")
    assert field.input_value() == "Residual"


def test_a_page_says_that_the_server_is_away_and_goes_on_by_itself(visit):
    page = visit()
    page.context.set_offline(True)
    page.locator("#server-away").wait_for()
    page.context.set_offline(False)
    page.locator("#server-away").wait_for(state="hidden")
    page.wait_for_selector("#loss-chart canvas")
    start(page, 20)
    wait_for_state(page, "done")


def test_control_and_enter_in_a_prompt_writes_a_text(visit):
    page = visit()
    open_tab(page, "Generate")
    settle(page)
    generate_text(page, ask=lambda page: page.locator("textarea:visible").first.press("Control+Enter"))

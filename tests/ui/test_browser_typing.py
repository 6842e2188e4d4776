"""Nothing that is chosen or typed on the page fails on the server, or turns its console red."""

import pytest

from browsing import choose_preset, open_tab, settle
from support import GRADIO
from tlab.config import options
from tlab.inside import PROBES
from tlab.ui.settings.presets import PRESETS
from tlab.ui.settings.side_b import switch_choices
from tlab.ui.tabs.inside.options import groups, is_amount

pytestmark = GRADIO

UNFOLD = "document.querySelectorAll('.tl-settings button.label-wrap:not(.open)').forEach(button => button.click())"
TYPED = ("", "-1", "1e308")
# As fast as a browser draws, and so faster than the server answers: each field, or each choice, after the other.
TYPE = """async (fields, typed) => {
  for (const field of fields.filter(field => field.offsetParent)) {
    for (const text of typed) {
      field.value = text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise(requestAnimationFrame);
    }
  }
}"""
CHOOSE = """async choices => {
  for (const choice of choices.filter(choice => choice.offsetParent)) {
    choice.click();
    await new Promise(requestAnimationFrame);
  }
}"""


@pytest.fixture
def quiet_page(visit):
    """A page of which each answer has to be a good one, and whose console has to stay empty."""
    page = visit()
    failed = []
    page.on("response", lambda answer: answer.status >= 400 and failed.append((answer.status, answer.url)))
    yield page
    settle(page)  # each of many events has its answer
    assert failed == [] and page.complaints == []


def type_everywhere(page, where: str, kind: str = "number") -> None:
    """Type into each number field of a part of the page; `kind` is "text" where such a field may be empty."""
    page.locator(f"{where} :is(input[type={kind}], textarea)").evaluate_all(TYPE, TYPED)


def test_no_preset_fails_on_its_way_into_the_controls(quiet_page):
    for label in PRESETS:
        choose_preset(quiet_page, label)


def test_no_number_that_is_typed_among_the_settings_fails(quiet_page):
    quiet_page.evaluate(UNFOLD)
    quiet_page.locator("#more-settings input[type=number]").first.wait_for()
    type_everywhere(quiet_page, ".tl-settings")


def test_what_is_wrong_with_a_number_stands_beside_start_as_soon_as_it_is_typed(quiet_page):
    choose_preset(quiet_page, "Tiny and instant")
    quiet_page.locator("#field-seed input").fill("99999999999")
    quiet_page.locator("#estimate .tl-warning").get_by_text("Seed").wait_for()


def test_a_seed_that_is_not_whole_is_refused_and_not_rounded(quiet_page):
    choose_preset(quiet_page, "Tiny and instant")
    quiet_page.locator("#field-seed input").fill("1.5")
    quiet_page.locator("#estimate .tl-warning").get_by_text("“Seed” is 1.5: it must be a whole number.").wait_for()


def test_a_comma_is_a_decimal_point_in_a_field_of_fractions_and_none_in_a_whole_number(quiet_page):
    rate, seed = (quiet_page.locator(f"#field-{name} input") for name in ("learning_rate", "seed"))
    for field, typed, number in ((rate, "0,002", "0.002"), (seed, "1,200", "1200")):
        field.fill("")
        field.press_sequentially(typed)
        assert field.input_value() == number


def test_no_choice_among_the_settings_fails(quiet_page):
    quiet_page.evaluate(UNFOLD)
    choices = quiet_page.locator(".tl-settings [id^=field-] input[type=radio]")
    choices.nth(10).wait_for()
    choices.evaluate_all(CHOOSE)


def test_nothing_that_b_can_change_fails(quiet_page):
    field = quiet_page.locator("#switch input")
    for label, _ in switch_choices()[::3]:  # lists, numbers, and yes or no
        field.fill(label)
        field.press("Enter")
        type_everywhere(quiet_page, "#switch-number", "text")


def test_no_number_of_a_probe_fails(quiet_page):
    open_tab(quiet_page, "Inside")
    for group, keys in groups().items():
        numbers = [
            f"#probe-{key}-{name}" for key in keys for name in options(PROBES[key]) if is_amount(PROBES[key], name)
        ]
        if not numbers:
            continue
        quiet_page.locator(f"#inside-group input[value='{group}']").check()
        for selector in numbers:
            key = selector.split("-")[1]
            quiet_page.locator(f"#inside-probe input[value='{key}']").check()
            quiet_page.locator(f"{selector} input").first.wait_for()
            type_everywhere(quiet_page, selector)

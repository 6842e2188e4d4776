"""Finished runs in a real browser: a preset shows its own, and the tabs look into the model that is chosen."""

from browsing import choose_model, choose_preset, open_tab, settle, start, wait_for_state
from support import GRADIO
from tlab.ui.settings.presets import TRAINED

pytestmark = GRADIO


def chart_says(page, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('#loss-chart [role=img]').ariaLabel.includes(words)", arg=words
    )


def test_a_preset_shows_its_finished_run_on_every_tab_and_nothing_is_trained_for_it(visit, runs):
    page = visit()
    page.requested.clear()
    choose_preset(page, "AdamW or SGD")
    chart_says(page, "B, SGD with momentum: training loss")
    page.locator("#run-state").get_by_text("A finished run that comes with the lab").wait_for()
    settle(page)
    assert not runs.runs
    assert not page.locator("#other-settings p").count()  # the pictures are of these settings
    assert page.is_enabled("#start")
    open_tab(page, "Attention")
    page.locator("#attention-note").get_by_text("A (AdamW) of the shipped run “AdamW or SGD”").wait_for()
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("A (AdamW) of the shipped run “AdamW or SGD”").wait_for()
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("the shipped run “AdamW or SGD”").wait_for()
    assert page.locator("#written-text-b").is_visible()


def test_a_run_that_trains_keeps_its_place_when_a_preset_is_chosen(visit):
    page = visit()
    start(page, 100_000, "GPT-2 style")
    wait_for_state(page, "running")
    choose_preset(page, "AdamW or SGD")
    page.locator("#other-settings").get_by_text("These pictures are of another run").wait_for()
    wait_for_state(page, "running")
    page.click("#stop")
    wait_for_state(page, "stopped")


def test_the_tabs_open_with_the_model_that_was_trained_longer_and_another_can_be_chosen(visit):
    page = visit()
    open_tab(page, "Attention")
    page.locator("#attention-note").get_by_text(f"the shipped run “{TRAINED.label}”").wait_for()
    choose_model(page, "attention", "Does it need positions?")
    page.locator("#attention-note").get_by_text("A (RoPE) of the shipped run").wait_for()
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("the shipped run “Does it need positions?”").wait_for()
    open_tab(page, "Train")
    start(page, 50)
    wait_for_state(page, "done")
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("your run on “python-docs”").wait_for()
    choose_model(page, "generate", "Does it need positions?")
    page.locator("#generate-note").get_by_text("the shipped run “Does it need positions?”").wait_for()

"""Starting from trained weights, as a visitor does it: choose them, and train both sides further on another text."""

from browsing import choose_preset, come_to_rest, set_number, unfold, wait_for_state
from support import GRADIO, VERSE

pytestmark = GRADIO


def choose(page, control: str, option: str) -> None:
    """In a list of the settings."""
    page.locator(f"#{control} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    come_to_rest(page)


def first_losses_of_start(page, runs) -> list[float]:
    """Of a run that Start begins, once it has ended."""
    before = {*runs.runs}
    page.click("#start")
    page.wait_for_function("before => !before.includes(document.querySelector('#run-state [data-run]')?.dataset.run)",
                           arg=[*before, None, ""])  # fmt: skip
    wait_for_state(page, "done")
    (run,) = (run for run_id, run in runs.runs.items() if run_id not in before)
    return [side.curve.bins[0][0] for side in run.sides]


def test_both_sides_train_further_from_a_shipped_run_on_another_text(visit, runs):
    page = visit()
    choose_preset(page, "Tiny and instant")
    page.click("#own-text")
    page.locator("#field-text textarea").fill(VERSE * 40)
    choose(page, "switch", "Learning rate")
    set_number(page, "steps", 50)
    random_ones = first_losses_of_start(page, runs)
    choose(page, "field-start_from", "Tiny and instant")
    page.locator("#other-settings").get_by_text("Start from random weights instead of “Tiny and instant”").wait_for()
    trained_ones = first_losses_of_start(page, runs)
    assert trained_ones[0] == trained_ones[1] < min(random_ones) - 0.1
    assert "from “Tiny and instant” after" in page.inner_text("#run-state")
    assert "start from the same first weights" in page.inner_text("#run-numbers")
    unfold(page, "What it is made of")
    page.locator("#field-norm").get_by_role("radio", name="RMSNorm").check()
    page.locator("#estimate").get_by_text("fit the model that they come from alone").wait_for()
    assert page.complaints == []

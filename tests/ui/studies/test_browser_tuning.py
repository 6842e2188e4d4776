"""Both sides tuned in a real browser, from the button to the verdict."""

import re

from browsing import choose_preset, drawn, set_number, wait_for_state
from support import GRADIO
from tlab.judging import learning_rates
from tlab.ui.studies import tuning

pytestmark = GRADIO


def test_both_sides_are_tuned_from_a_button_to_a_verdict_and_marked_once_settings_change(visit, monkeypatch):
    monkeypatch.setattr(learning_rates, "RATES_TO_TRY", 3)  # a third of the runs shows as much
    monkeypatch.setattr(tuning, "NUM_SEEDS_TUNED", 2)
    page = visit()
    choose_preset(page, "Does it need positions?")
    set_number(page, "steps", 50)
    set_number(page, "warmup_steps", 5)
    page.click("#tune")
    wait_for_state(page, "running", of="#tuning-card")
    page.click("#stop-tuning")
    wait_for_state(page, "stopped", of="#tuning-card")
    page.click("#go-on-tuning")
    wait_for_state(page, "done", of="#tuning-card")
    words = page.inner_text("#tuning-card")
    assert "At the same learning rate, 0.02: " in words
    assert re.search(r"(Each at its best|so each at the best that is known) \(A \(RoPE\) at ", words)
    assert page.locator("#tuning-card tbody tr").count() == 3
    assert drawn(page, "#rates-chart canvas")
    set_number(page, "steps", 60)
    page.get_by_text("These runs are of other settings").wait_for()
    pale = "selector => getComputedStyle(document.querySelector(selector)).opacity === '0.5'"
    for what in ("#rates-chart", "#tuning-card .tl-words", "#tuning-card .tl-numbers"):
        page.wait_for_function(pale, arg=what)

"""Where an answer takes its time, the page shows in the end what was asked last, and nothing is lost."""

import threading

import pytest

from browsing import generate_text, open_tab, settle, start, unfold, wait_for_state
from support import GRADIO, SECONDS
from tlab.ui.demo.shipped_run import is_shipped
from tlab.ui.settings import controls
from tlab.ui.settings.controls import Controls
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.sweeps.tab import SweepsTab

pytestmark = GRADIO

TABS = {AttentionTab: "pictures", GenerateTab: "chain", InsideTab: "picture_of"}  # what each answers by


class Held:
    """Lets some answers wait that `by` of a class or a module makes: one that waits sets `begun`, and for `go_on`."""

    def __init__(self, monkeypatch, place, by, is_held=lambda *_: True) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        at_once = getattr(place, by)

        def hold(*asked):
            if is_held(*asked):
                self.begun.set()
                assert self.go_on.wait(SECONDS)
            return at_once(*asked)

        monkeypatch.setattr(place, by, hold)


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.key)
def test_the_model_that_is_chosen_while_another_is_looked_at_is_looked_at_then(visit, monkeypatch, tab):
    page = visit()
    open_tab(page, tab.title)
    settle(page)
    held = Held(monkeypatch, tab, TABS[tab], lambda tab, of, *_: of.run.name == DEMO_PRESET.label)
    for name in (DEMO_PRESET.label, "Norm or none"):
        page.locator(f"#{tab.key}-model input").click()
        page.get_by_role("option", name=name, exact=True).click()
        assert held.begun.wait(SECONDS)
    page.wait_for_timeout(1000)  # until the second has been asked for, too
    held.go_on.set()
    page.locator(f"#{tab.key}-note").get_by_text("“Norm or none”").wait_for()
    settle(page)
    assert "“Norm or none”" in page.inner_text(f"#{tab.key}-note")


def test_a_text_that_is_written_before_the_tab_has_answered_stays(visit, monkeypatch):
    page = visit()
    start(page, 50)
    wait_for_state(page, "done")
    held = Held(monkeypatch, GenerateTab, "chain", lambda tab, of, *_: not is_shipped(of.run))
    open_tab(page, "Generate")
    assert held.begun.wait(SECONDS)
    generate_text(page)
    held.go_on.set()
    settle(page)
    assert page.locator("#written-text .tl-token").count() == 300
    page.locator("#written-text .tl-token").nth(5).click()
    page.locator("#chain").get_by_text("token 6 of the text").wait_for()


def test_of_cells_that_are_clicked_in_a_row_none_is_passed_over_and_a_double_click_is_one(visit, monkeypatch):
    page = visit()
    open_tab(page, "Sweeps")
    page.wait_for_selector("#sweep-chart canvas[data-drawn='2']")
    held = Held(monkeypatch, SweepsTab, "shown")
    cells = [page.get_by_role("button", name=name) for name in ("Post-LN RMSNorm, ReLU", "Pre-LN LayerNorm, ReLU")]
    cells[0].dblclick()
    assert held.begun.wait(SECONDS)
    cells[1].click()
    page.wait_for_timeout(500)  # until that has been asked for, too
    held.go_on.set()
    page.wait_for_selector("#sweep-chart canvas[data-drawn='4']")
    settle(page)
    assert [cell.get_attribute("aria-pressed") for cell in cells] == ["true", "true"]


def pick_two(page, field: str, first: str, last: str, held: Held) -> None:
    """Two radio buttons, of which the first one's answer comes after that to the last."""
    buttons = page.locator(f"#field-{field}")
    buttons.get_by_text(first, exact=True).click()
    assert held.begun.wait(SECONDS)
    buttons.get_by_text(last, exact=True).click()
    page.wait_for_timeout(500)  # until that has been answered
    held.go_on.set()
    settle(page)


def test_a_choice_is_explained_by_the_words_of_the_last_one(visit, monkeypatch):
    page = visit()
    unfold(page, "What it is made of")
    held = Held(monkeypatch, controls, "explanation", lambda part: part.label == "RoPE")
    pick_two(page, "position", "RoPE", "ALiBi", held)
    assert page.inner_text(".tl-with-position .tl-why").startswith("Subtracts from each score a penalty")


def test_the_fields_that_are_shown_are_those_of_the_last_choice(visit, monkeypatch):
    page = visit()
    for fold in ("Optimizer and schedule", "Everything else"):
        unfold(page, fold)
    held = Held(monkeypatch, Controls, "visible_fields", lambda _, parts, *b: parts["optimizer"] == "sgd")
    pick_two(page, "optimizer", "SGD with momentum", "AdamW", held)
    assert page.locator("#field-beta1").is_visible() and not page.locator("#field-momentum").is_visible()


def test_the_card_of_a_text_is_that_of_the_last_choice(visit, monkeypatch):
    page = visit()
    unfold(page, "Everything else")
    held = Held(monkeypatch, controls, "text_card", lambda corpus, tokenizer, *_: tokenizer == "bpe-512")
    pick_two(page, "tokenizer", "BPE, vocabulary 512", "Bytes", held)
    assert "256 tokens" in page.inner_text("#text-card")

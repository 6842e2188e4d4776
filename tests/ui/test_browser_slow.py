"""Where an answer takes its time, the page shows in the end what was asked last, and nothing is lost."""

import threading

import pytest

from browsing import generate_text, open_tab, settle, start, wait_for_state
from support import GRADIO, SECONDS
from tlab.ui.demo.shipped_run import is_shipped
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.generate.tab import GenerateTab
from tlab.ui.tabs.inside.tab import InsideTab
from tlab.ui.tabs.sweeps.tab import SweepsTab

pytestmark = GRADIO

TABS = {AttentionTab: "pictures", GenerateTab: "chain", InsideTab: "picture_of"}  # what each answers by


class Held:
    """Lets a tab wait with some of its answers: `begun` is set when it waits, and it waits for `go_on`."""

    def __init__(self, monkeypatch, tab, by, is_held=lambda _: True) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        at_once = getattr(tab, by)

        def hold(tab, about, *asked):
            if is_held(about):
                self.begun.set()
                assert self.go_on.wait(SECONDS)
            return at_once(tab, about, *asked)

        monkeypatch.setattr(tab, by, hold)


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.key)
def test_the_model_that_is_chosen_while_another_is_looked_at_is_looked_at_then(visit, monkeypatch, tab):
    page = visit()
    open_tab(page, tab.title)
    settle(page)
    held = Held(monkeypatch, tab, TABS[tab], lambda of: of.run.name == DEMO_PRESET.label)
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
    held = Held(monkeypatch, GenerateTab, "chain", lambda of: not is_shipped(of.run))
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

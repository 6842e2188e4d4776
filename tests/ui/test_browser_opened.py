"""A model that is opened by the box above the pictures, in a real browser: a head, a probe, a text."""

import pytest

from browsing import drawn, open_tab, settle
from opening import llama_folder
from support import GRADIO
from tlab.ui.opened_models import OPENED_PREFIX

pytestmark = GRADIO


@pytest.fixture
def folder(tmp_path, runs):
    yield llama_folder(tmp_path / "little-llama")
    runs.opened.models.clear()
    runs.opened.places.clear()


def test_a_model_is_opened_by_its_folder_and_looked_into_in_every_tab(visit, folder, runs):
    page = visit()
    open_tab(page, "Attention")
    page.get_by_role("button", name="Open another model").first.click()
    page.fill("#attention-place textarea, #attention-place input", "/nowhere/<i>")
    page.click("#attention-open")
    page.locator("#attention-told").get_by_text("/nowhere/<i> is not there").wait_for()
    page.fill("#attention-place textarea, #attention-place input", str(folder))
    page.click("#attention-open")
    page.locator("#attention-note").get_by_text("the opened model “little-llama”").wait_for()
    page.locator("#attention-heads .tl-thumb").nth(7).wait_for()
    page.locator("#attention-heads .tl-order").select_option("entropy")
    page.locator("#attention-heads .tl-thumb").first.click()
    page.locator("#attention-words").get_by_text("of layer").first.wait_for()
    settle(page)
    assert drawn(page, "#attention-heads .tl-thumb canvas")
    assert f"{OPENED_PREFIX}little-llama" in runs.opened.models
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("the opened model “little-llama”").wait_for()
    page.locator("#inside-table .tl-title b").get_by_text("Logit lens at every place").wait_for()
    open_tab(page, "Generate")
    page.locator("#generate-note").get_by_text("the opened model “little-llama”").wait_for()
    page.click("#write")
    page.wait_for_function("document.querySelectorAll('#written-text .tl-token').length > 20")
    assert not [words for words in page.complaints if "Error" in words]


def test_a_link_leads_to_a_head_and_the_address_follows_what_is_chosen(visit, folder, runs, url):
    runs.opened.id_of(str(folder))
    page = visit()
    page.goto(f"{url}?model=little-llama&layer=2&head=3&text=The+capital+of+Japan")
    page.locator("#attention-words").get_by_text("Head 3 of layer 2").wait_for()
    assert page.input_value("#attention-text textarea") == "The capital of Japan"
    page.locator("#attention-heads .tl-thumb").first.click()
    page.wait_for_function("location.search.includes('model=little-llama&layer=1&head=1&text=The+capital+of+Japan')")
    page.click("#copy-link")
    page.wait_for_function(
        "/layer=1&head=1.*#attention$/.test(document.querySelector('#link textarea, #link input')?.value)"
    )
    page.goto(f"{url}?model=nobody")
    page.locator("#head-link-notice").get_by_text("There is no model called “nobody” here.").wait_for()


def test_a_link_to_a_head_keeps_it_where_it_leads_to_another_tab(visit, folder, runs, url):
    runs.opened.id_of(str(folder))
    page = visit()
    page.goto(f"{url}?model=little-llama&layer=1&head=2#inside")
    page.locator("#inside-note").get_by_text("the opened model “little-llama”").wait_for()
    settle(page)
    assert page.evaluate("location.search") == "?model=little-llama&layer=1&head=2"
    open_tab(page, "Attention")
    page.locator("#attention-words").get_by_text("Head 2 of layer 1").wait_for()
    page.locator("#attention-heads").get_by_text("What is lost without head 2 of layer 1?").wait_for()


@pytest.mark.parametrize(("tab", "box"), [("inside", "#inside-text"), ("generate", "#prompt")])
def test_a_link_to_a_model_lands_on_the_tab_that_it_names(visit, folder, runs, url, tab, box):
    runs.opened.id_of(str(folder))
    page = visit()
    page.goto(f"{url}?model=little-llama&text=The+capital+of+Japan#{tab}")
    page.locator(f"#{tab}-note").get_by_text("the opened model “little-llama”").wait_for()
    assert page.input_value(f"{box} textarea") == "The capital of Japan"
    in_list = f"document.querySelector('#{tab}-model input').value === 'Opened: little-llama'"
    page.wait_for_function(in_list)  # by an answer of its own
    assert page.evaluate("location.hash") == f"#{tab}"
    page.click("#copy-link")
    page.wait_for_function(
        "hash => document.querySelector('#link textarea, #link input')?.value.match(/model=little-llama.*(#.*)/)?.[1]"
        " === hash",
        arg=f"#{tab}",
    )


def test_the_address_holds_the_model_that_was_chosen_on_another_tab_and_brings_it_again(visit, folder, runs):
    runs.opened.id_of(str(folder))
    page = visit()
    open_tab(page, "Inside")
    page.locator("#inside-model input").click()
    page.get_by_role("option", name="Opened: little-llama", exact=True).click()
    page.wait_for_function("location.search.includes('model=little-llama')")
    open_tab(page, "Train")
    page.wait_for_function("location.hash === '#train'")
    page.reload()
    page.get_by_role("tab", name="Train", exact=True, selected=True).wait_for()
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("the opened model “little-llama”").wait_for()

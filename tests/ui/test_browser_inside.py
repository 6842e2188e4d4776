"""The Inside tab in a real browser: alive on load, one click a probe, and nothing that is typed becomes markup."""

import csv
import re
from xml.etree import ElementTree

from browsing import choose_model, drawn, open_tab, settle, start, wait_for_state
from support import EVIL, GRADIO

pytestmark = GRADIO


def inside(visit, **options):
    page = visit(**options)
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-picture canvas")
    settle(page)  # what the tab's opening asks for has come
    return page


def choose(page, group: str, probe: str) -> None:
    page.locator("#inside-group").get_by_role("radio", name=group).check()
    page.locator("#inside-probe").get_by_role("radio", name=probe, exact=True).check()
    page.locator("#inside-table .tl-title b").get_by_text(probe, exact=True).wait_for()


def test_a_picture_its_table_and_an_intervention_are_there_before_any_click(visit):
    page = inside(visit)
    assert page.locator("#inside-table tbody tr").count() > 3
    assert page.locator("#inside-formula .katex").count() == 1
    page.wait_for_function("document.querySelector('#inside-picture canvas').width > 50")
    assert drawn(page, "#inside-picture canvas")
    assert "nats per token" in page.inner_text("#what-if-effect")
    assert not [words for words in page.complaints if "inside" in words.lower()]


def test_a_probe_is_two_clicks_and_shows_its_own_options(visit):
    page = inside(visit)
    choose(page, "Neurons", "Neuron output logits")
    assert page.locator("#probe-says-neuron input").is_visible()
    assert not page.locator("#probe-lens-place").is_visible()
    before = page.text_content("#inside-table")
    page.fill("#probe-says-neuron input", "7")
    page.keyboard.press("Tab")
    page.wait_for_function("before => document.querySelector('#inside-table').textContent !== before", arg=before)


def test_the_key_of_a_histogram_has_the_ends_of_its_curve(visit):
    page = inside(visit)
    choose(page, "Neurons", "Activation input histogram")
    key = page.locator("#inside-picture .tl-key").get_by_text("line: ").inner_text()
    least, most = (float(word.replace("−", "-")) for word in re.findall(r"[−\d.]+", key.partition("from")[2]))
    with page.expect_download() as download:
        page.locator("#inside-picture").get_by_role("button", name="CSV").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        curve = [float(row["curve"]) for row in csv.DictReader(file)]
    assert (least, most) == (float(f"{min(curve):.2g}"), float(f"{max(curve):.2g}"))


def test_the_slider_shows_an_earlier_model(visit):
    page = inside(visit)
    before = page.text_content("#inside-table")
    page.locator("#inside-scrub input").focus()
    page.keyboard.press("Home")
    page.locator("#inside-note").get_by_text("after 0 steps").wait_for()
    assert page.text_content("#inside-table") != before


def test_what_is_typed_stays_text(visit):
    page = inside(visit)
    page.locator("#inside-text textarea").fill(EVIL)
    page.locator("#inside-table").get_by_text("a").first.wait_for()
    choose(page, "Ablation", "Next token under ablation")
    page.fill("#probe-next-part input, #probe-next-part textarea", EVIL)
    page.keyboard.press("Tab")
    page.locator("#inside-table .tl-in-refused").get_by_text("no part").wait_for()
    assert page.evaluate("window.hacked") is None


def test_a_picture_is_a_file_of_three_kinds_with_a_name_that_says_what_it_is(visit, tmp_path):
    page = inside(visit, color_scheme="dark", accept_downloads=True)
    choose(page, "Heads", "QK and OV circuits")
    files = {}
    for kind in ("PNG", "SVG", "CSV"):
        with page.expect_download() as download:
            page.locator("#inside-picture").get_by_role("button", name=kind).click()
        files[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[kind])
    for kind, file in files.items():
        assert re.fullmatch(rf".+_QK-and-OV-circuits_step-\d+\.{kind.lower()}", file.name)
    assert files["PNG"].read_bytes().startswith(b"\x89PNG")
    drawing = ElementTree.parse(files["SVG"]).getroot()
    words = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "QK and OV circuits" in words and "L1 H1" in words and "PNG" not in words
    assert drawing[0].get("fill") == "#ffffff" and drawing.find(".//{http://www.w3.org/2000/svg}image") is None
    lines = files["CSV"].read_text("utf-8").splitlines()
    assert lines[0] == "head,copying,matching,output,query_key" and lines[1].startswith("0.0,")
    assert page.evaluate("document.body.classList.contains('dark')")  # the page keeps its own colours


def test_a_head_leads_from_its_map_to_what_it_costs_and_from_a_table_back_to_its_map(visit):
    page = visit()
    open_tab(page, "Attention")
    choose_model(page, "attention", "Pre-LN or Post-LN")
    page.locator("#attention-heads .tl-thumb").nth(1).click()
    page.locator("#attention-words").get_by_text("Head 2 of layer 1").wait_for()
    page.locator("#attention-scrub .tl-side-b").click()
    page.locator("#attention-scrub input").focus()
    page.keyboard.press("Home")
    page.locator("#attention-note").get_by_text("B (Post-LN)").and_(page.get_by_text("after 0 steps")).wait_for()
    page.get_by_role("button", name="What is lost without head 2 of layer 1?").click()
    page.locator("#what-if-effect").get_by_text("head 2 of layer 1: replace by its mean").wait_for()
    page.locator("#inside-note").get_by_text("B (Post-LN)").and_(page.get_by_text("after 0 steps")).wait_for()
    assert page.locator("#inside-scrub input").input_value() == "0"
    page.locator("#inside-scrub .tl-side-a").click()
    page.locator("#inside-note").get_by_text("A (Pre-LN)").wait_for()
    choose(page, "Heads", "Induction heads")
    page.locator("#inside-table summary").click()
    page.locator("#inside-table").get_by_role("button", name="head 1 of layer 2").click()
    page.locator("#attention-words").get_by_text("Head 1 of layer 2").wait_for()
    page.locator("#attention-heads .tl-thumb[aria-checked=true]").get_by_text("L2 H1").wait_for()
    page.locator("#attention-note").get_by_text("A (Pre-LN)").and_(page.get_by_text("after 0 steps")).wait_for()


def test_a_planted_bug_is_caught_and_trained_beside_the_right_model(visit):
    page = inside(visit)
    page.locator("#lab-bug input").click()
    page.get_by_role("option", name="No causal mask").click()
    page.click("#lab-check")
    page.locator("#lab-checks").get_by_text("Caught").wait_for()
    assert "no token sees a later one" in page.locator("#lab-checks tr.tl-in-failed").all_inner_texts()[1]
    page.locator("#lab-train:enabled").click()
    wait_for_state(page, "running", "done")
    page.locator("#run-numbers").get_by_text("Bug: no causal mask").first.wait_for()
    page.evaluate("document.querySelector('#stop').click()")  # of no effect where it is done already
    wait_for_state(page, "stopped", "done")


def test_a_model_trained_here_is_looked_into(visit):
    page = visit()
    start(page, steps=20)
    wait_for_state(page, "done")
    open_tab(page, "Inside")
    page.locator("#inside-note").get_by_text("your run").wait_for()
    page.locator("#inside-picture canvas").wait_for()
    page.click("#lab-profile")
    page.locator("#lab-profiled").get_by_text("With its parts timed").wait_for()


def test_no_table_is_wider_than_a_phone(visit):
    page = inside(visit, width=390, height=844)
    choose(page, "Trace", "One token's path")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_family_right_after_the_list_of_models_was_closed_brings_no_error(visit):
    page = inside(visit)
    page.locator("#inside-model input").click()
    page.keyboard.press("Escape")  # which counts as a choice of the same model
    page.locator("#inside-group").get_by_role("radio", name="Gradients").check()
    page.locator("#inside-table .tl-title b").get_by_text("Gradient norm by depth").wait_for()
    settle(page)
    assert page.locator(".toast-body").count() == 0

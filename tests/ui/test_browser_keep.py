"""Compare, links, Code and Sweeps in a real browser: what is kept is kept, and stays whose it is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from browsing import (
    assert_enlarges,
    choose_preset,
    drawn,
    open_beside,
    open_tab,
    set_number,
    settle,
    start,
    unfold,
    wait_for_state,
)
from support import EVIL, GRADIO, VERSE
from tlab.ui.demo.shipped_run import shipped_id
from tlab.ui.settings.own_text import BRING_TEXT_BACK
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_job

pytestmark = GRADIO

ROOT = Path(__file__).parents[2]
UPLOAD = "input[type=file][accept='.zip']"


def train(page, steps: int = 50) -> None:
    start(page, steps)
    wait_for_state(page, "done")


def last_run(runs):
    return next(reversed(runs.runs.values()))


def losses(runs) -> list:
    return [(side.last.loss, side.validation_loss) for side in last_run(runs).sides]


def open_link(visit, url, query: str, **options):
    page = visit(**options)
    page.goto(f"{url}?{query}")
    page.wait_for_selector("#loss-chart canvas")
    return page


# ------------------------------------------------------------------------------------------------ compare


def test_the_shipped_run_is_compared_before_there_is_another(visit):
    page = visit()
    open_tab(page, "Compare")
    page.get_by_text("Shipped:").first.wait_for()
    page.wait_for_selector("#history-chart canvas[data-drawn]")
    assert drawn(page, "#history-chart canvas")
    assert page.locator("#history .tl-run").count() == 1


def test_runs_are_named_pinned_overlaid_and_deleted(visit, runs):
    page = visit()
    train(page)
    open_tab(page, "Compare")
    page.wait_for_function("document.querySelectorAll('#history .tl-run').length === 2")
    name = page.locator("#history input.tl-history-name")
    name.fill(EVIL)
    name.press("Enter")
    page.wait_for_function("document.querySelector('#history-chart .tl-lines-key').textContent.includes('<img')")
    page.get_by_role("button", name="Pin <img").click()
    page.get_by_role("button", name="Unpin <img").wait_for()
    assert (last_run(runs).name, last_run(runs).pinned) == (EVIL, True)
    own, shipped = len(last_run(runs).sides), len(preset_job(PRESETS["Tiny and instant"]).plans)
    page.wait_for_selector(f"#history-chart canvas[data-drawn='{own + shipped}']")
    page.get_by_label("Show the curves of Shipped").click()
    page.wait_for_selector(f"#history-chart canvas[data-drawn='{own}']")
    assert "<img src=x" in page.inner_text("#config-table") or page.locator("#config-table .tl-note").count()
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]
    count = len(runs.runs)
    page.get_by_role("button", name="Delete <img").click()
    page.wait_for_function("document.querySelectorAll('#history .tl-run').length === 1")
    assert len(runs.history(last_run(runs).session)) == count - 1
    page.get_by_role("button", name="Bring <img").click()
    page.wait_for_function("document.querySelectorAll('#history .tl-run').length === 2")
    assert len(runs.history(last_run(runs).session)) == count
    assert page.complaints == []


def test_a_part_of_the_curves_is_enlarged_by_dragging_or_keys_and_all_of_it_comes_back(visit):
    page = visit()
    open_tab(page, "Compare")
    chart = page.locator("#history-chart .tl-plot")
    page.wait_for_selector("#history-chart canvas[data-drawn='2']")
    box = chart.bounding_box()

    def step_at_left() -> int:
        page.mouse.move(box["x"] + 50, box["y"] + 150)
        return int(page.locator("#history-chart .tl-tip-head").inner_text().removeprefix("step "))

    assert_enlarges(page, chart, page.get_by_role("button", name="All steps"), step_at_left, least_by_keys=100)


def test_the_table_shows_the_differences_alone_until_all_is_asked_for(visit):
    page = visit()
    open_tab(page, "Compare")
    page.locator("#config-table tbody tr").first.wait_for()
    few = page.locator("#config-table tbody tr").count()
    page.get_by_label("Differences only").click()
    page.wait_for_function(f"document.querySelectorAll('#config-table tbody tr').length > {few + 15}")


def test_an_export_downloads_repeats_to_the_digit_and_opens_for_another_visitor(visit, runs, tmp_path):
    page = visit()
    train(page)
    expected = losses(runs)
    open_tab(page, "Compare")
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Export {last_run(runs).name} as a zip").first.click()
    path = tmp_path / "run.zip"
    download.value.save_as(path)
    zipfile.ZipFile(path).extractall(tmp_path / "run")
    result = subprocess.run([sys.executable, tmp_path / "run" / "repeat.py"], capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(f"loss {loss!r}" in result.stdout for loss, _ in expected)

    other = visit()
    open_tab(other, "Compare")
    other.locator(UPLOAD).set_input_files(path)
    other.wait_for_function("document.querySelectorAll('#history .tl-run').length === 2")
    assert losses(runs) == expected
    open_tab(other, "Generate")
    other.get_by_text("your run on “python-docs”, after 50 steps").first.wait_for()


def test_a_hostile_zip_is_refused_in_words_and_the_page_lives(visit, tmp_path):
    page = visit()
    open_tab(page, "Compare")
    for name, content in (("../../x", b"x"), ("text.txt", b"a" * 50_000_000)):
        path = tmp_path / f"bad{len(content)}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        page.locator(UPLOAD).set_input_files(path)
        page.get_by_text("which no export of the lab has" if ".." in name else "would unpack to").wait_for()
    open_tab(page, "Train")
    train(page)


def test_a_visitor_never_sees_another_visitors_history(visit, runs):
    first, second = visit(), visit()
    train(first)
    open_tab(second, "Compare")
    second.get_by_text("Shipped:").first.wait_for()
    assert second.locator("#history .tl-run").count() == 1
    # Not even by its id, sent as the page would send it.
    theirs = last_run(runs).id
    second.evaluate(
        """([shipped, id]) => {
          const box = document.querySelector('#history input[type=checkbox]');
          const value = JSON.stringify;
          JSON.stringify = (thing, ...rest) => value(thing, ...rest).replaceAll(`"${shipped}"`, `"${id}"`);
          box.click();
        }""",
        [shipped_id(DEMO_PRESET), theirs],
    )
    second.get_by_text("This run is not there any more").wait_for()
    assert runs.get(theirs) is not None


# ------------------------------------------------------------------------------------------------ links


def test_a_shared_link_gives_another_visitor_the_same_loss_to_the_last_digit(visit, runs, url):
    page = visit()
    choose_preset(page, "Tiny and instant")
    unfold(page, "What it is made of")
    page.locator("#field-norm").get_by_text("RMSNorm").click()
    set_number(page, "seed", 5)
    set_number(page, "steps", 50)
    page.click("#copy-link")
    page.wait_for_function("document.querySelector('#link textarea, #link input')?.value.includes('norm=rmsnorm')")
    link = page.locator("#link textarea, #link input").input_value()
    page.wait_for_function("link => location.href === link", arg=link)
    page.click("#start")
    wait_for_state(page, "done")
    expected = losses(runs)

    other = open_link(visit, url, link.partition("?")[2])
    other.wait_for_function("document.querySelector('#field-seed input')?.value === '5'")
    other.click("#start")
    wait_for_state(other, "done")
    assert losses(runs) == expected
    assert last_run(runs).sides[0].model.norm == "rmsnorm"


def test_the_bare_address_says_that_the_run_which_it_shows_has_other_settings(visit, url):
    page = open_link(visit, url, "num_layers=2&hidden_dim=16&num_heads=2&steps=20&position=rope&b.position=none")
    page.wait_for_function("document.querySelector('#field-steps input')?.value === '20'")
    settle(page)
    page.click("#start")
    wait_for_state(page, "done")
    open_beside(page, url)
    page.goto(url)
    page.locator("#other-settings").get_by_text("These pictures are of another run").wait_for()
    assert "no positions" in page.inner_text("#other-settings")


def test_what_a_link_hides_keeps_its_value_whatever_is_pressed(visit, url, runs):
    page = open_link(visit, url, "steps=60&seed=77&hidden_dim=16&num_heads=2&hide=steps,seed,hidden_dim")
    page.get_by_text("each at the value that it sets").wait_for()
    choose_preset(page, "Llama style")
    page.click("#start")
    wait_for_state(page, "done")
    (side,) = last_run(runs).sides
    assert (side.training.steps, side.training.seed, side.model.hidden_dim) == (60, 77, 16)
    assert (side.model.norm, side.model.activation) == ("rmsnorm", "swiglu")
    page.click("#switch input")
    page.get_by_role("option", name="Learning rate", exact=True).wait_for()
    assert not page.get_by_role("option", name="Hidden dim", exact=True).count()


def chosen_preset(page) -> list[str]:
    return page.locator("#presets input:checked").evaluate_all("found => found.map(r => r.parentElement.innerText)")


def test_a_preset_is_no_longer_chosen_once_a_setting_is_changed_by_hand_until_it_is_changed_back(visit):
    page = visit()
    choose_preset(page, "AdamW or SGD")
    words = page.locator("#presets .tl-why")
    set_number(page, "learning_rate", 0.02)
    words.get_by_text("“AdamW or SGD” but for Learning rate 0.02.").wait_for()
    assert chosen_preset(page) == []
    set_number(page, "learning_rate", 0.01)
    page.wait_for_selector("#presets input:checked")
    assert chosen_preset(page) == ["AdamW or SGD"]
    page.click("#switch input")
    page.get_by_role("option", name="Norm", exact=True).click()
    words.get_by_text("but for what B changes.").wait_for()
    assert chosen_preset(page) == []


def test_a_preset_says_what_it_does_not_set_as_the_link_hides_it(visit, url):
    page = open_link(visit, url, "position=learned&hide=position")
    page.get_by_text("each at the value that it sets").wait_for()
    choose_preset(page, "Llama style")
    page.get_by_text("Position stays learned instead of RoPE").wait_for()


def test_what_is_wrong_in_a_link_is_said_and_stays_text(visit, url):
    page = open_link(visit, url, "steps=7&norm=%3Cimg%20src%3Dx%20onerror%3D%22window.hacked%3D1%22%3E&nrm=1")
    page.get_by_text("Some of this link could not be used").wait_for()
    assert "<img src=x" in page.inner_text("#link-notice")
    page.wait_for_function("document.querySelector('#field-steps input')?.value === '7'")
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_a_page_that_lacks_its_links_settings_says_so_and_asks_again(visit, url):
    page = visit()
    refused = []

    def refuse_the_first(route):
        body = route.request.post_data or ""
        if '"data":[]' not in body or refused:
            route.continue_()
        else:
            refused.append(body)
            route.fulfill(status=503, body='{"detail": "too many"}', content_type="application/json")

    page.route("**/gradio_api/run/**", refuse_the_first)
    page.goto(f"{url}?steps=123")
    page.get_by_text("The page asks for them again").wait_for()
    page.wait_for_function("document.querySelector('#field-steps input')?.value === '123'")
    page.wait_for_function("document.querySelector('#link-late')?.hidden")
    assert refused


def test_a_page_that_comes_back_to_a_forgotten_run_says_that_it_is_gone(visit, runs):
    page = visit()
    train(page)
    runs.end_session(last_run(runs).session)
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.get_by_text("The server no longer has this run").wait_for()
    page.wait_for_selector("#start:enabled")


def test_a_page_that_missed_the_end_of_its_run_shows_it_when_it_comes_back(visit, runs):
    page = visit()
    train(page)
    page.evaluate("document.querySelector('#run-state .tl-badge').textContent = 'running'")
    page.evaluate("dispatchEvent(new Event('focus'))")
    wait_for_state(page, "done")
    page.get_by_text("Look inside it under Attention").wait_for()


def test_a_teacher_hides_settings_which_keep_their_values(visit, runs, url):
    page = open_link(visit, url, "seed=9&steps=5&hide=seed,norm")
    page.get_by_text("2 settings are hidden by this link, each at the value that it sets").click()
    page.locator("#link-notice").get_by_text("Seed, Norm.").wait_for()
    assert not page.locator("#field-seed").is_visible()
    for beside in ("steps", "batch_size", "learning_rate", "warmup_steps"):
        assert page.locator(f"#field-{beside}").is_visible()
    unfold(page, "What it is made of")
    page.locator("#field-activation").wait_for()
    assert not page.locator("#field-norm").is_visible()
    assert page.locator("#field-activation").is_visible()
    page.locator("#diagram svg:visible").get_by_role("button", name="LayerNorm before attention").click()
    page.locator("#diagram-part").get_by_role("button", name="Norm epsilon").wait_for()
    assert not page.locator("#diagram-part [data-set=norm]").first.is_visible()
    page.click("#start")
    wait_for_state(page, "done")
    assert last_run(runs).sides[0].training.seed == 9


def test_a_link_to_a_result_opens_with_it_until_it_is_deleted(visit, runs, url):
    page = visit()
    train(page)
    open_tab(page, "Compare")
    page.get_by_role("button", name="Make a link to the result").click()
    page.wait_for_function("document.querySelector('#result-link textarea, #result-link input')?.value.includes('://')")
    link = page.locator("#result-link textarea, #result-link input").input_value()
    other = open_link(visit, url, link.partition("?")[2])
    wait_for_state(other, "done")
    assert other.locator("#run-state [data-run]").get_attribute("data-run") == last_run(runs).id
    other.wait_for_function("document.querySelector('#field-steps input')?.value === '50'")
    runs.delete(last_run(runs))
    late = open_link(visit, url, link.partition("?")[2])
    late.get_by_text("The server no longer has the result of this link").wait_for()
    late.wait_for_function("document.querySelector('#field-steps input')?.value === '50'")


def test_the_address_is_always_that_of_the_chosen_settings(visit):
    page = visit()
    fresh = page.url
    choose_preset(page, "Tiny and instant")
    page.wait_for_function("location.search.includes('hidden_dim=16')")
    set_number(page, "seed", 5)
    page.wait_for_function("location.search.includes('seed=5')")
    page.reload()
    page.wait_for_function("document.querySelector('#field-seed input')?.value === '5'")
    set_number(page, "seed", 0)
    page.wait_for_function("!location.search.includes('seed')")
    page.reload()
    page.wait_for_function("document.querySelector('#presets input[value=\"Tiny and instant\"]')?.checked")
    choose_preset(page, "Pre-LN or Post-LN")
    page.wait_for_function("location.search === ''")
    assert page.url == fresh


# ------------------------------------------------------------------------------------------------ code and sweeps


def test_a_text_of_ones_own_is_still_there_after_a_reload_and_never_in_the_address(visit):
    page = visit()
    page.click("#own-text")
    text = page.locator("#field-text textarea")
    page.locator("#field-text textarea:focus").wait_for()  # so that who presses the button can write at once
    text.fill(VERSE * 5)
    page.locator("#text-card").get_by_text("pasted or typed text").wait_for()
    settle(page)
    page.reload()
    page.locator("#text-card").get_by_text("pasted or typed text").wait_for()
    assert text.input_value() == VERSE * 5
    assert "own" not in page.url and VERSE[:8] not in page.url
    page.click("#copy-link")
    page.locator("#link-panel").get_by_text("Your own text is not in it.").wait_for()
    assert page.locator(".toast-body").count() == 0  # it would cover the buttons


def test_a_page_that_leaves_before_its_fields_have_the_text_keeps_it_all_the_same(visit):
    page = visit()
    kept = page.evaluate(
        f"""() => {{
          delete window.tlabText;
          const kept = {{ own: true, text: "to be", source: "s", address: location.search }};
          sessionStorage.setItem("tlab-text", JSON.stringify(kept));
          ({BRING_TEXT_BACK})("python-docs", "", "");
          dispatchEvent(new PageTransitionEvent("pagehide"));
          return JSON.parse(sessionStorage.getItem("tlab-text"));
        }}"""
    )
    assert (kept["own"], kept["text"], kept["source"]) == (True, "to be", "s")


def test_the_address_never_names_settings_of_which_half_have_arrived(visit, url):
    query = "hidden_dim=128&num_layers=4&steps=4000&seed=5"
    page = open_link(visit, url, query)
    open_tab(page, "Compare")  # a click, which the browser remembers over the loading
    page.add_init_script(
        "window.written = []; const put = history.replaceState.bind(history);"
        "history.replaceState = (...given) => (window.written.push(given[2]), put(...given));"
    )
    page.reload()
    page.wait_for_selector("#link-notice [data-link-read]", state="attached")
    open_tab(page, "Compare")
    page.wait_for_function("window.written.length")
    settle(page)
    assert {*page.evaluate("window.written")} == {f"/?{query}#compare"}


SHOWN = "document.querySelector('[role=tab][aria-selected=true]')?.textContent"


def test_the_chosen_tab_is_in_the_address_and_the_way_back_leads_through_the_tabs(visit):
    page = visit()
    fresh = page.url
    open_tab(page, "Attention")
    page.wait_for_function("location.hash === '#attention'")
    open_tab(page, "Compare")
    page.wait_for_function("location.hash === '#compare'")
    page.reload()
    page.wait_for_function(f"{SHOWN} === 'Compare'")
    page.go_back()
    page.wait_for_function(f"{SHOWN} === 'Attention'")
    page.go_back()
    page.wait_for_function(f"{SHOWN} === 'Train'")
    assert page.url == fresh
    page.go_forward()
    page.wait_for_function(f"{SHOWN} === 'Attention'")


def test_the_way_back_to_another_tab_keeps_the_settings(visit):
    page = visit()
    open_tab(page, "Attention")
    page.wait_for_function("location.hash === '#attention'")
    open_tab(page, "Train")
    page.wait_for_function("location.hash === ''")
    set_number(page, "seed", 5)
    page.wait_for_function("location.search.includes('seed=5')")
    page.go_back()
    page.wait_for_function(f"{SHOWN} === 'Attention' && location.search.includes('seed=5')")


def test_a_copied_link_opens_the_tab_that_it_was_copied_on(visit):
    page = visit()
    open_tab(page, "Attention")
    page.wait_for_function("location.hash === '#attention'")
    page.click("#copy-link")
    page.wait_for_function("document.querySelector('#link textarea, #link input')?.value.includes('://')")
    page.goto(page.input_value("#link :is(textarea, input)"))
    page.reload()  # the same address but for its end would not load anything
    page.wait_for_function(f"{SHOWN} === 'Attention'")


def test_the_code_of_a_choice_is_one_click_away(visit):
    page = visit()
    unfold(page, "What it is made of")
    page.locator("#field-norm").get_by_text("RMSNorm").click()
    page.click("#field-norm-code")
    page.locator("#code-head h2", has_text="RMSNorm").wait_for()
    page.locator("#code-formula .katex").wait_for()
    assert page.locator("#code-body .tl-code-reference").is_visible()
    page.locator("#code-slot").get_by_text("Activation").click()
    page.locator("#code-entry").get_by_text("SwiGLU").click()
    page.locator("#code-head h2", has_text="SwiGLU").wait_for()
    assert page.locator(".katex-error").count() == 0


def test_a_cell_of_the_shipped_sweep_shows_its_curve_and_is_trained(visit, runs):
    page = visit()
    open_tab(page, "Sweeps")
    page.wait_for_selector("#sweep-chart canvas[data-drawn='2']")
    assert page.locator("#sweep-grid .tl-grid-cell").count() == 36
    page.get_by_role("button", name="Post-LN RMSNorm, ReLU").click()
    page.wait_for_selector("#sweep-chart canvas[data-drawn='3']")
    page.locator("#sweep-table").get_by_text("RMSNorm · ReLU · Post-LN").wait_for()
    page.click("#sweep-train")
    wait_for_state(page, "starting", "running", "done")
    page.wait_for_function("document.querySelector('#field-steps input')?.value === '300'")
    model = last_run(runs).sides[0].model
    assert (model.norm, model.activation, model.residual) == ("rmsnorm", "relu", "post")


def test_the_map_can_be_used_with_the_keyboard_alone(visit):
    page = visit()
    open_tab(page, "Sweeps")
    cell = page.get_by_role("button", name="Pre-LN LayerNorm, ReLU")
    cell.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#sweep-chart canvas[data-drawn='3']")
    assert cell.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"

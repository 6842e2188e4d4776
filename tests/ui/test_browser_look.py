"""The Attention and Generate tabs in a real browser: every picture moves at once, together, and never backwards."""

from browsing import choose_model, generate_text, open_tab, settle, start, wait_for_state
from support import EVIL, GRADIO
from tlab.ui.demo.shipped_run import demo_checkpoint, demo_steps
from tlab.ui.settings.presets import DEMO_PRESET, TRAINED
from tlab.wording import short_head_name

pytestmark = GRADIO

MAP = "document.querySelector('#attention-map .tl-plot canvas').dataset.drawn"


def attention(visit):
    """The tab on the comparison that the page opens with: two sides, at several steps."""
    page = visit()
    open_tab(page, "Attention")
    page.wait_for_selector("#attention-map canvas[data-drawn]")
    choose_model(page, "attention", DEMO_PRESET.label)
    settle(page)
    return page


def generating(visit):
    """The tab with a text of both sides of that comparison."""
    page = visit()
    open_tab(page, "Generate")
    page.wait_for_selector("#chain tbody tr")
    choose_model(page, "generate", DEMO_PRESET.label)
    generate_text(page, "#written-text", "#written-text-b")
    settle(page)
    return page


def head(page) -> str:
    return page.locator("#attention-heads [aria-checked=true] b").inner_text()


# ------------------------------------------------------------------------------------------------ attention


def test_every_picture_of_the_attention_tab_is_there_before_any_click(visit):
    page = visit()
    open_tab(page, "Attention")
    page.wait_for_selector("#attention-map canvas[data-drawn]")
    settle(page)  # what the tab's opening asks for has come
    for selector in ("#attention-map .tl-plot canvas", "#attention-map .tl-row canvas", "#attention-pair canvas",
                     "#attention-positions .tl-pattern canvas", "#attention-positions .tl-distance canvas",
                     "#attention-positions .tl-reach canvas", "#attention-heads canvas >> nth=0"):  # fmt: skip
        assert page.locator(selector).evaluate(
            "canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)"
            ".data.buffer)).size > 2"
        ), selector
    config = demo_checkpoint(preset=TRAINED).model_config
    assert page.locator("#attention-heads [role=radio]").count() == config.num_layers * config.num_heads


def calls_of(page) -> int:
    """Handlers of the server that the page has called so far."""
    return sum("/queue/join" in to for to in page.requested)


def test_a_click_on_a_head_shows_it_with_one_call_of_the_server(visit):
    page = attention(visit)
    config = demo_checkpoint().model_config
    for i in range(8):
        called = calls_of(page)
        page.locator("#attention-heads [role=radio]").nth(i).click()
        page.wait_for_function(f"{MAP}.endsWith('@{i + 1}')")
        assert calls_of(page) == called + 1
    assert head(page) == short_head_name(7 // config.num_heads, 7 % config.num_heads)
    assert "Head 4 of layer 2" in page.inner_text("#attention-words")


def test_the_last_of_many_quick_choices_is_what_stays(visit):
    page = attention(visit)
    page.locator("#attention-heads [role=radio]").nth(0).click()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert head(page) == short_head_name(3, 3)  # at once, before any answer
    page.wait_for_selector("#attention-map .tl-plot[aria-label*='head 4 of layer 4']")
    settle(page)
    assert head(page) == short_head_name(3, 3)
    assert "head 4 of layer 4" in page.get_attribute("#attention-map .tl-plot", "aria-label")
    assert "Head 4 of layer 4" in page.inner_text("#attention-statistics")


def test_the_slider_moves_map_bars_and_sample_together(visit):
    page = attention(visit)
    before = [page.inner_text("#attention-next"), page.inner_text("#attention-statistics")]
    slider = page.locator("#attention-scrub input")
    slider.focus()
    page.keyboard.press("Home")
    page.locator("#attention-note").get_by_text(f"after {demo_steps()[0]} steps").wait_for()
    assert page.inner_text("#attention-scrub output") == f"after {demo_steps()[0]} steps"
    assert slider.get_attribute("aria-valuetext") == f"after {demo_steps()[0]} steps"
    after = [page.inner_text("#attention-next"), page.inner_text("#attention-statistics")]
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_play_goes_through_the_whole_training_and_stops(visit):
    page = attention(visit)
    page.click("#attention-scrub .tl-play")
    page.locator("#attention-note").get_by_text(f"after {demo_steps()[0]:,} steps").wait_for()
    page.locator("#attention-note").get_by_text(f"after {demo_steps()[-1]:,} steps").wait_for()
    page.get_by_role("button", name="Play the training").wait_for()


def test_the_other_side_can_be_looked_into(visit):
    page = attention(visit)
    page.locator("#attention-scrub .tl-side-b").click()
    page.locator("#attention-note").get_by_text("The model is B").wait_for()
    assert page.get_attribute("#attention-scrub .tl-side-b", "aria-pressed") == "true"


def test_a_pair_is_chosen_with_the_arrow_keys_and_told(visit):
    page = attention(visit)
    T = len(page.evaluate("[...document.querySelectorAll('#attention-map .tl-reading span')].map(s => s.textContent)"))
    page.locator("#attention-map .tl-plot").focus()
    page.keyboard.press("ArrowUp")
    page.locator("#attention-pair").get_by_text(f"({T - 1}) looks at").wait_for()
    assert f"({T - 1}) looks at" in page.inner_text("#attention-map [role=status]")


def test_hovering_a_cell_tells_its_score_and_weight(visit):
    page = attention(visit)
    box = page.locator("#attention-map .tl-plot canvas").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 300)
    tip = page.locator("#attention-map .tl-tip")
    tip.wait_for()
    assert "score" in tip.inner_text() and "weight" in tip.inner_text()
    assert page.evaluate("document.querySelector('#attention-pair .tl-who').textContent") not in tip.inner_text()


def test_the_map_shows_scores_before_the_mask(visit):
    page = attention(visit)
    corner = (
        "(() => { const canvas = document.querySelector('#attention-map .tl-plot canvas');"
        "return canvas.getContext('2d').getImageData(canvas.width / 2, 60, 1, 1).data[3]; })()"
    )
    assert page.evaluate(corner) == 0  # of weights nothing lies ahead
    page.get_by_role("button", name="scores before the mask").click()
    page.wait_for_function(f"{corner} === 255")


def test_each_kind_of_position_has_its_pictures(visit):
    page = attention(visit)
    seen = set()
    for kind in ("rope", "alibi", "learned", "none"):
        page.click(f"#attention-positions [data-kind={kind}]")
        page.wait_for_function(
            f"document.querySelector('#attention-positions [data-kind={kind}]').getAttribute('aria-pressed') === 'true'"
        )
        settle(page)
        seen.add(page.inner_text("#attention-positions .tl-kind"))
    assert len(seen) == 4


def test_what_is_typed_while_the_tab_opens_stays(visit):
    page = visit()
    start(page, 50)
    wait_for_state(page, "done")
    open_tab(page, "Attention")
    page.locator("#attention-text textarea").fill("import this")
    page.wait_for_function("document.querySelector('.tl-reading').textContent === 'import␣this'")
    settle(page)
    assert page.input_value("#attention-text textarea") == "import this"


# ------------------------------------------------------------------------------------------------ generate


def test_a_slider_moves_the_chain_with_one_call_of_the_server(visit):
    page = generating(visit)
    cell = "document.querySelector('#chain tbody .tl-probability span').textContent"
    for temperature in (0.3, 0.6, 0.9, 1.2, 1.5, 1.8):
        called, before = calls_of(page), page.evaluate(cell)
        field = page.locator("#temperature input[type=number]")
        field.fill(str(temperature))
        field.press("Tab")
        page.wait_for_function(f"before => {cell} !== before", arg=before)
        assert calls_of(page) == called + 1


def test_both_sides_write_to_one_prompt(visit):
    page = generating(visit)
    page.locator("#prompt textarea").fill("def ")
    generate_text(page, "#written-text", "#written-text-b")
    assert page.locator(".tl-prompt").all_inner_texts() == ["def ", "def "]
    assert page.inner_text("#written-text .tl-page") != page.inner_text("#written-text-b .tl-page")


def test_a_clicked_token_shows_its_alternatives_until_escape(visit):
    page = generating(visit)
    page.locator("#written-text .tl-token").nth(20).click()
    page.locator("#chain").get_by_text("token 21 of the text").wait_for()
    assert page.locator("#chain tr.tl-drawn").count() == 1
    page.keyboard.press("ArrowRight")  # the click has focused the page of text
    page.locator("#chain").get_by_text("token 22 of the text").wait_for()
    page.keyboard.press("Escape")
    page.locator("#chain").get_by_text("next, after the prompt").wait_for()
    assert page.locator("#written-text .tl-query").count() == 0


def test_another_token_instead_lets_the_model_write_on_from_there(visit):
    page = generating(visit)
    tokens = "[...document.querySelectorAll('#written-text .tl-token')].map(t => t.textContent)"
    before = page.evaluate(tokens)
    other = page.inner_text("#written-text-b .tl-page")
    page.locator("#written-text .tl-token").nth(20).click()
    page.locator("#chain").get_by_text("token 21 of the text").wait_for()
    page.locator("#chain tbody button:enabled").first.click()
    page.wait_for_function(f"{tokens}.length === 300 && {tokens}[20] !== {before[20]!r}")
    after = page.evaluate(tokens)
    assert after[:20] == before[:20]
    assert page.inner_text("#written-text-b .tl-page") == other


def test_typing_a_prompt_moves_the_chain_and_forgets_the_clicked_token(visit):
    page = generating(visit)
    page.locator("#written-text .tl-token").nth(20).click()
    page.locator("#chain").get_by_text("token 21 of the text").wait_for()
    page.locator("#prompt textarea").fill("The impor")
    page.locator("#chain").get_by_text("next, after the prompt").wait_for()
    page.wait_for_function("document.querySelectorAll('#written-text .tl-query').length === 0")


def test_markup_in_prompts_and_tokens_is_shown_and_not_obeyed(visit):
    page = attention(visit)
    page.locator("#attention-text textarea").fill('def f(): "<b>" in x')
    page.wait_for_function("document.querySelector('.tl-reading').textContent.includes('\"<b>\"')")
    page.locator("#attention-next").get_by_text("<b>", exact=False).first.wait_for()
    open_tab(page, "Generate")
    page.locator("#prompt textarea").fill(EVIL)
    page.click("#write")
    page.wait_for_function("document.querySelector('#written-text .tl-prompt').textContent.startsWith('<img')")
    assert page.evaluate("[window.hacked, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_the_tip_of_a_chart_by_layer_leaves_its_curves_free(visit):
    plot = visit().locator("#why-panel .tl-plot").nth(1)
    plot.hover()
    tip = plot.locator(".tl-tip")
    tip.wait_for()
    below = tip.bounding_box()
    assert below["y"] + below["height"] <= plot.bounding_box()["y"] + 1


def test_light_or_dark_is_chosen_by_one_click_and_kept(visit):
    page = visit()
    is_dark = "document.body.classList.contains('dark')"
    assert not page.evaluate(is_dark)
    page.get_by_role("button", name="Change to dark").click()
    page.get_by_role("button", name="Change to light").wait_for()
    assert page.evaluate(is_dark)
    page.reload()
    page.get_by_role("button", name="Change to light").wait_for()
    assert page.evaluate(is_dark)

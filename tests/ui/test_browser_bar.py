"""The bar for the whole page: soon there, within reach of the keyboard, readable for all, and no wider than a phone."""

import json
import zipfile
from pathlib import Path

import pytest

from browsing import open_tab, set_number, settle, start, wait_for_state
from support import GRADIO
from tlab.ui.diagram.parts import PARTS

pytestmark = GRADIO

TABS = ("Train", "Attention", "Generate", "Inside", "Compare", "Sweeps", "Code", "Learn")

# Everything that is shown and takes the focus by itself; of a group of radio buttons the keyboard reaches one by Tab,
# and the others by the arrow keys.
CONTROLS = """() => {
  for (const numbered of document.querySelectorAll('[data-control]')) delete numbered.dataset.control;
  const seen = new Set();
  const all = [...document.querySelectorAll('button, input, select, textarea, a[href], summary, [tabindex="0"]')];
  return all.filter((e) => {
    const box = e.getBoundingClientRect();
    if (e.disabled || e.tabIndex < 0 || box.width < 2 || box.height < 2) return false;
    if (!e.checkVisibility({ visibilityProperty: true }) || e.closest('[inert], [aria-hidden=true]')) return false;
    if (e.type === 'file') return false;  // the button in front of it opens it
    if (e.type === 'radio') {
      if (seen.has(e.name)) return false;
      seen.add(e.name);
    }
    return true;
  }).map((e, i) => {
    const group = e.type === 'radio' ? document.getElementsByName(e.name) : [e];
    for (const one of group) one.dataset.control = i;
    return `${e.tagName} ${e.id || e.getAttribute('aria-label') || e.textContent.trim().slice(0, 30) || e.className}`;
  });
}"""


def open_whole(page, tab: str) -> None:
    """With its pictures."""
    open_tab(page, tab)
    settle(page)


def test_every_control_of_every_tab_is_reached_by_the_tab_key(visit):
    page = visit()
    for tab in TABS:
        open_whole(page, tab)
        controls = page.evaluate(CONTROLS)
        assert len(controls) > 10
        page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        reached = set()
        for _ in range(2 * len(controls) + 10):
            page.keyboard.press("Tab")
            at = page.evaluate("document.activeElement.dataset.control ?? null")
            reached |= {int(at)} if at is not None else set()
            if len(reached) == len(controls):
                break
        missed = [name for i, name in enumerate(controls) if i not in reached]
        assert missed == [], tab


def test_a_comparison_can_be_trained_and_looked_into_with_the_keyboard_alone(visit):
    page = visit()
    set_number(page, "steps", 50)
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    wait_for_state(page, "done")
    slider = page.get_by_role("slider", name="Step to look at")
    slider.focus()
    page.keyboard.press("Home")
    page.locator("#why-panel .tl-why-at").get_by_text("step 1", exact=True).wait_for()
    page.get_by_role("tab", name="Attention").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#attention-map canvas[data-drawn]")


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, as the package from npm is, where it is installed."""
    package = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return next(Path(package.__file__).parent.rglob("axe.min.js")).read_text("utf-8")


COLOUR_RULES = ["color-contrast", "link-in-text-block"]  # what another theme can break and another layout cannot


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", {"runOnly": COLOUR_RULES})])
def test_axe_finds_nothing_serious_on_any_tab(visit, axe, scheme, options, width):
    page = visit(width=width, color_scheme=scheme)
    page.evaluate(axe)
    found = []
    for tab in TABS:
        open_whole(page, tab)
        result = page.evaluate("options => axe.run({resultTypes: ['violations'], ...options})", options)
        found += [
            f"{tab}: {violation['id']} {node['target']}"
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert len(result["passes"]) > (0 if options else 5)  # it did look
    assert found == []


@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_serious_in_the_panel_of_any_part(visit, axe, width):
    page = visit(width=width)
    page.evaluate(axe)
    found = []
    for key, part in PARTS.items():
        page.locator(f"#diagram svg:visible [data-part={key}]").first.click()
        page.locator("#diagram-part .tl-title b").get_by_text(part.title, exact=True).wait_for()
        settle(page)
        result = page.evaluate("axe.run('#diagram-panel', {resultTypes: ['violations']})")
        found += [f"{key}: {one['id']}" for one in result["violations"] if one["impact"] in ("serious", "critical")]
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_charts_have_words_for_those_who_do_not_see_them(visit):
    page = visit()
    for tab in ("Train", "Attention", "Inside", "Compare", "Sweeps"):
        open_whole(page, tab)
        words = page.evaluate(
            "[...document.querySelectorAll('[role=img]')].filter(e => e.offsetParent).map(e => e.ariaLabel || '')"
        )
        assert words and all(len(said) > 10 for said in words), tab


def test_a_phone_shows_every_tab_without_sideways_scrolling(visit):
    page = visit(width=390, height=844)
    for tab in TABS:
        assert page.get_by_role("tab", name=tab, exact=True).is_visible()  # and not in a menu
        open_whole(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


def test_the_page_is_painted_and_usable_without_much_to_load(visit):
    """What makes it slow, counted; `python -m benchmarks.app` has the seconds."""
    page = visit()
    page.wait_for_selector("#start:enabled")
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
    # The sheets and the letters of the text come inside of it.
    assert page.evaluate("performance.getEntriesByType('navigation')[0].encodedBodySize") < 3e5


def test_two_browsers_never_share_a_run_a_link_or_an_export(visit, runs, tmp_path):
    pages = [visit(), visit()]
    for page, steps in zip(pages, (60, 90), strict=True):
        start(page, steps)  # both at once
    for page in pages:
        wait_for_state(page, "done")
    for page, steps in zip(pages, (60, 90), strict=True):
        page.click("#copy-link")
        page.wait_for_function(
            f"document.querySelector('#link textarea, #link input')?.value.includes('steps={steps}')"
        )
        open_tab(page, "Compare")
        page.wait_for_function("document.querySelectorAll('#history .tl-run').length === 2")
        with page.expect_download() as download:
            page.get_by_role("button", name="as a zip").first.click()
        download.value.save_as(tmp_path / f"{steps}.zip")
        assert f"{steps} of {steps} steps" in page.inner_text("#history")
    for steps in (60, 90):
        with zipfile.ZipFile(tmp_path / f"{steps}.zip") as archive:
            assert json.loads(archive.read("A/config.json"))["training"]["steps"] == steps


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chosen_radio_button_is_seen_to_be_chosen_under_the_pointer(visit, scheme):
    page = visit(color_scheme=scheme)
    open_tab(page, "Inside")
    settle(page)
    button = page.locator("#inside-group [type=radio]:checked")
    shown = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).borderColor]"
    page.mouse.move(0, 0)
    at_rest = button.evaluate(shown)
    button.hover()
    page.wait_for_function("e => e.matches(':hover')", arg=button.element_handle())
    page.wait_for_timeout(400)  # longer than any transition
    assert button.evaluate(shown) == at_rest

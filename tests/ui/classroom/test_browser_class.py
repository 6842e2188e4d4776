"""A class in a real browser: one teacher and two students, from the code to the verdict."""

from browsing import open_beside, open_tab, settle
from support import GRADIO
from test_browser_bar import axe  # noqa: F401, a fixture

pytestmark = GRADIO

COMPARISON = "?steps=12&num_layers=1&hidden_dim=16&b.norm=none"
SERIOUS = """async () => (await axe.run("#class-panel", {resultTypes: ["violations"]})).violations
  .filter(one => ["serious", "critical"].includes(one.impact)).map(one => `${one.id} ${one.nodes[0].target}`)"""

IN_COLOURS_OF = """scheme => document.body.classList.contains("dark") === (scheme === "dark")
  && !document.getAnimations().some(one => one instanceof CSSTransition && one.playState === "running")"""


def counts(page, *expected):
    """Wait until so many are in, have predicted and have trained."""
    shown = "[...document.querySelectorAll('.tl-class-counts dd')].map(one => one.innerText).join()"
    page.wait_for_function(f"expected => {shown} === expected", arg=",".join(map(str, expected)))


def predict(page, side, by):
    page.wait_for_selector("[data-class-state=predict]")
    page.check(f"[name=class-winner][value={side}]")
    page.fill("[name=class-by]", by)
    page.click(".tl-class-predict .tl-go")
    wait_for_settings(page)


def test_after_a_prediction_by_keyboard_the_focus_is_on_start(visit, url):
    teacher, student = visit(), visit()
    teacher.goto(f"{url}?teach")
    teacher.fill("[name=class-link]", COMPARISON)
    teacher.press("[name=class-link]", "Enter")
    student.goto(teacher.get_attribute(".tl-class-way a", "href"))
    student.wait_for_selector("[data-class-state=predict]")
    student.check("[name=class-winner][value=B]")
    student.fill("[name=class-by]", "0.1")
    student.press("[name=class-by]", "Enter")
    student.wait_for_function("document.activeElement.id === 'start'")


def test_who_opens_the_link_of_the_class_again_after_the_start_has_its_settings_and_keeps_the_tab(visit, url):
    teacher, student = visit(), visit()
    teacher.goto(f"{url}?teach")
    teacher.fill("[name=class-link]", COMPARISON.replace("steps=12", "steps=2000"))
    teacher.press("[name=class-link]", "Enter")
    link = teacher.get_attribute(".tl-class-way a", "href")
    student.goto(link)
    student.wait_for_selector("[data-class-state=predict]")
    student.check("[name=class-winner][value=B]")
    student.fill("[name=class-by]", "0.1")
    student.click(".tl-class-predict .tl-go")
    in_place = "document.querySelector('#field-steps input')?.value === '2000'"  # some seconds on any computer
    student.wait_for_function(in_place)
    settle(student)
    student.click("#start")
    student.wait_for_selector("[data-class-state=trains]")
    open_beside(student, url)
    student.goto(f"{link}#attention")
    student.wait_for_function(in_place)
    student.get_by_role("tab", name="Attention", selected=True).wait_for()
    open_tab(student, "Train")
    settle(student)
    assert not student.locator(".tl-press:visible").count(), "what trains is what is chosen"


def wait_for_settings(page):
    """Until those of the class are in place, on a page that has just predicted or was loaded again since."""
    page.wait_for_selector("[data-class-state=train]")
    page.wait_for_function("document.querySelector('#field-steps input')?.value === '12'")
    settle(page)


def test_a_teacher_and_two_students_go_from_a_code_to_a_verdict(visit, url, axe):  # noqa: F811
    teacher, first, second = visit(), visit(), visit(width=390, height=844)
    teacher.goto(f"{url}?teach")
    teacher.fill("[name=class-link]", "nonsense")
    teacher.click("[data-class-submit=open] button")
    teacher.locator("#class-refusal").get_by_text("This link cannot be used").wait_for()
    teacher.fill("[name=class-link]", COMPARISON)
    teacher.click("[data-class-submit=open] button")
    teacher.wait_for_selector("[data-class-code]")
    teacher.locator(".tl-class-refusal").wait_for(state="detached")
    teacher.locator("#start").wait_for(state="hidden")  # a run that is shown there may be of this very comparison
    key = teacher.evaluate("JSON.parse(localStorage.getItem('tlab-class')).key")
    code = teacher.inner_text(".tl-class-code")
    assert len(key) == 43
    assert key not in teacher.url

    first.goto(teacher.get_attribute(".tl-class-way a", "href"))
    second.goto(f"{url}?class")
    second.fill("[name=class-code]", "nonsense")
    second.press("[name=class-code]", "Enter")
    second.wait_for_selector(".tl-class-problem")
    second.fill("[name=class-code]", code.lower())
    second.press("[name=class-code]", "Enter")
    for page, side in ((first, "A"), (second, "B")):
        predict(page, side, "0.25")
    counts(teacher, 2, 2, 0)
    first.reload()
    wait_for_settings(first)
    for page in (first, second):
        page.click("#start")
        page.wait_for_selector("[data-class-state=done]")
    counts(teacher, 2, 2, 2)
    assert "You predict: A (LayerNorm) ends lower, by 0.25" in first.inner_text("#class-panel")
    first_result, second_result = (page.inner_text(".tl-class-now") for page in (first, second))
    assert first_result != second_result

    teacher.locator(".tl-class-verdict").get_by_text("2 seeds so far").wait_for()
    assert teacher.locator(".tl-class .tl-strip").count() == 2
    for page in (teacher, first):
        page.evaluate(axe)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(IN_COLOURS_OF, arg=scheme)
            assert page.evaluate(SERIOUS) == []
    teacher.click("[data-class-act=hide]")
    teacher.wait_for_selector("[data-class-act=show]")
    assert teacher.locator(".tl-class .tl-strip").count() == 0
    teacher.click("[data-class-act=show]")
    teacher.click("[data-class-act=freeze]")
    teacher.wait_for_selector("[data-class-act=thaw]")
    verdict = teacher.inner_text(".tl-class-verdict")
    assert "No winner is named before" not in verdict

    teacher.reload()
    counts(teacher, 2, 2, 2)
    teacher.locator("#start").wait_for()  # after the verdict
    teacher.click(".tl-class-next summary")
    teacher.fill("[name=class-link]", COMPARISON.replace("norm=none", "residual=post"))
    teacher.click("[data-class-submit=next] button")
    counts(teacher, 2, 0, 0)
    teacher.locator("#start").wait_for(state="hidden")
    first.wait_for_selector("[data-class-state=predict]")
    teacher.click(".tl-class-before summary")
    assert verdict in teacher.inner_text(".tl-class-before")
    predict(first, "A", "0.1")
    counts(teacher, 2, 1, 0)
    assert teacher.is_visible(".tl-class-before p"), "it stays unfolded while others predict"
    for page in (first, second):
        assert key not in page.content()
        assert not [url for url in page.requested if key in url]

    teacher.once("dialog", lambda dialog: dialog.dismiss())
    teacher.click("[data-class-act=end]")
    second.check("[name=class-winner][value=A]")
    second.click(".tl-class-predict .tl-go")
    second.locator("#class-refusal").get_by_text("Say by about how much").wait_for()
    assert second.is_checked("[name=class-winner][value=A]")
    teacher.once("dialog", lambda dialog: dialog.accept())
    teacher.click("[data-class-act=end]")
    for page in (teacher, second):
        page.get_by_text("The class is over").wait_for()


def test_nothing_of_the_lab_is_in_view_where_a_code_is_asked_for(visit, url):
    page = visit()
    page.goto(f"{url}?class")
    page.wait_for_selector("[name=class-code]")
    assert not page.locator("#loss-chart").is_visible()


def test_a_page_without_a_class_shows_nothing_of_one(visit):
    page = visit()
    assert not page.locator("#class-panel").is_visible()
    assert not page.locator("#class-curves").is_visible()

"""Every lesson in a real browser, from its first step to its last, by the real buttons of the real tabs.
The runs are short, and of five seeds two are trained: what a lesson says of them is tested without a browser.
"""

import pytest

from browsing import open_beside, open_tab, settle, wait_for_state
from lessons_at_hand import make_short
from support import GRADIO
from test_browser_bar import COLOUR_RULES, axe  # noqa: F401, a fixture
from tlab.ui.lessons.lesson import all_lessons
from tlab.ui.lessons.tasks import GameTask, HeadTask, ProbeTask, SeedsTask, TrainTask, WithoutTask

pytestmark = GRADIO

DONE = "#lesson-strip .tl-guide.tl-ended"
PHONE = {"width": 390, "height": 844}
ON_PHONE = ("loss", "norm")  # of all lessons, those that are played on a phone as well
BY_KEYBOARD = "loss"
IN_SIGHT = """() => {
  const button = document.querySelector("[data-lesson-back]"), { x, y, width, height } = button.getBoundingClientRect();
  return button.contains(document.elementFromPoint(x + width / 2, y + height / 2));
}"""
SERIOUS = """async options => {
  const found = await axe.run("#learn-page, #lesson-strip", {resultTypes: ["violations"], ...options});
  if (!found.passes.length) return ["axe did not look"];
  return found.violations.filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id} ${one.nodes[0].target}`);
}"""


@pytest.fixture(scope="module", autouse=True)
def short_runs():
    with pytest.MonkeyPatch.context() as patch:
        make_short(patch)
        patch.setattr("tlab.ui.studies.five_seeds.NUM_SEEDS", 2)
        yield


class Reader:
    """Somebody who goes through a lesson with a mouse or a finger."""

    def __init__(self, page) -> None:
        self.page = page

    def press(self, selector: str) -> None:
        self.page.locator(selector).first.click()

    def at(self, lesson: str, number: int) -> None:
        """Wait until this step is shown."""
        self.page.wait_for_selector(f"#lesson-strip [data-lesson={lesson}][data-step='{number}']", state="attached")
        title = all_lessons()[lesson].steps[number - 1].title
        self.page.locator("#learn-page h2").get_by_text(title, exact=True).wait_for()

    def wait_for_settings(self, step) -> None:
        """Until those of a step's task are in place."""
        self.page.wait_for_function(
            "steps => document.querySelector('#field-steps input')?.value === String(steps)",
            arg=step.task.settings["steps"],
        )
        settle(self.page)

    def do(self, step) -> None:
        """What a task asks for, on its own tab, and back."""
        self.press("[data-lesson-do]")
        self.page.locator("#lesson-strip .tl-guide").wait_for()
        if isinstance(step.task, TrainTask):
            self.wait_for_settings(step)
            self.press("#start")
            if isinstance(step.task, SeedsTask):
                wait_for_state(self.page, "done")
                self.press("#repeat-seeds")
        elif isinstance(step.task, HeadTask):
            self.press("#attention-heads [role=radio]:has-text('token before') >> nth=-1")
        elif isinstance(step.task, WithoutTask):
            self.press("#attention-heads button:has-text('What is lost without')")
        elif isinstance(step.task, ProbeTask):
            self.page.wait_for_selector("#inside-table table", state="attached")
            settle(self.page)
            self.press("#inside-scrub .tl-side-b")
        elif isinstance(step.task, GameTask):
            self.page.wait_for_function("scrollY > 0")  # it is at the end of its tab
            self.page.locator("#false-winners-next").wait_for()
            for _ in range(step.task.rounds):
                self.press("#false-winners-next")
                self.press("#false-winners button:has-text('Neither')")
                self.page.locator("#false-winners-words").get_by_text("would be better.").wait_for()
        self.page.wait_for_selector(DONE)
        assert self.page.evaluate(IN_SIGHT), "the way back is in view wherever the page is scrolled to"
        self.press("[data-lesson-back]")

    def answer(self, step) -> None:
        """One answer to a prediction; to a question one after the other until the right one is known."""
        page = self.page
        for place in range(len(step.choices)):
            self.press(f"[data-lesson-answer='{place}']")
            page.wait_for_selector(f"[data-lesson-answer='{place}'][aria-pressed=true]")
            if step.kind == "predict" or page.locator(".tl-answers .tl-right").count():
                break
        assert step.kind == "predict" or page.locator(".tl-answers .tl-right").count() == 1

    def play(self, lesson: str, looked_at=lambda: None) -> None:
        steps = all_lessons()[lesson].steps
        self.press(f"[data-lesson-open={lesson}]")
        for number, step in enumerate(steps, 1):
            self.at(lesson, number)
            assert not self.page.get_by_text("This page needs step").count()
            if step.task is not None:
                self.do(step)
                self.page.locator("#learn-page .tl-task.tl-ended").wait_for()
            elif step.choices:
                self.answer(step)
            looked_at()
            way = "[data-lesson-end]" if number == len(steps) else f".tl-lesson-ways [data-lesson-step='{number + 1}']"
            self.page.wait_for_selector(f"{way}:enabled")
            self.press(way)
        self.page.locator(f"[data-lesson-open={lesson}]").get_by_text("✓ done").wait_for()


class Typist(Reader):
    """The same with the keyboard alone."""

    def press(self, selector: str) -> None:
        """Go there by the Tab key, as far as it is, and press Enter."""
        target = self.page.locator(selector).first
        target.wait_for()
        for _ in range(150):
            if target.evaluate("button => button === document.activeElement"):
                break
            self.page.keyboard.press("Tab")
        else:
            raise AssertionError(f"{selector} is not reached by the Tab key")
        self.page.keyboard.press("Enter")


def learning(visit, **options):
    """The list of lessons, opened as a newcomer does."""
    page = visit(**options)
    page.get_by_role("button", name="New here?").click()
    page.locator("#learn-page h2").get_by_text("Learn with your own runs").wait_for()
    return page


def serious(page) -> list[str]:
    """What axe-core finds in what is shown: everything in one theme, and the colours of the other."""
    found = page.evaluate(SERIOUS, {})
    page.evaluate("document.querySelector('.tl-look').click()")
    colours = page.evaluate(SERIOUS, {"runOnly": COLOUR_RULES})
    page.evaluate("document.querySelector('.tl-look').click()")
    return [*found, *(f"{one}, in the other theme" for one in colours)]


@pytest.mark.parametrize("lesson", all_lessons())
def test_a_lesson_is_played_from_its_first_step_to_its_last(visit, axe, lesson):  # noqa: F811
    page = learning(visit)
    page.evaluate(axe)
    found = []
    Reader(page).play(lesson, lambda: found.extend(serious(page)))
    assert found == [] and page.complaints == []


@pytest.mark.parametrize("lesson", ON_PHONE)
def test_a_lesson_is_played_on_a_phone(visit, lesson):
    page = learning(visit, **PHONE, is_mobile=True, has_touch=True)
    widths = []
    Reader(page).play(lesson, lambda: widths.append(page.evaluate("document.documentElement.scrollWidth")))
    assert {*widths} == {390} and page.complaints == []


def test_a_lesson_is_played_by_keyboard_alone(visit):
    Typist(learning(visit)).play(BY_KEYBOARD)


def test_a_page_that_is_loaded_again_in_the_middle_keeps_the_step_the_answers_and_the_tab(visit):
    page = learning(visit)
    reader = Reader(page)
    reader.press("[data-lesson-open=loss]")
    reader.at("loss", 1)
    reader.press(".tl-lesson-ways [data-lesson-step='2']")
    reader.at("loss", 2)
    reader.press("[data-lesson-answer='2']")
    page.wait_for_selector("[data-lesson-answer='2'][aria-pressed=true]")
    page.reload()
    reader.at("loss", 2)
    page.wait_for_selector("[data-lesson-answer='2'][aria-pressed=true]")
    reader.press(".tl-lesson-ways [data-lesson-step='3']")
    reader.at("loss", 3)
    reader.press("[data-lesson-do]")
    page.locator("#lesson-strip").get_by_text("Press Start").wait_for()
    page.wait_for_function("location.search.includes('lesson=loss') && location.search.includes('hidden_dim=32')")
    page.reload()
    page.locator("#lesson-strip").get_by_text("Press Start").wait_for()
    assert page.locator("#start").is_visible()
    page.go_back()
    page.locator("#learn-page h2").get_by_text("Train it").wait_for()


@pytest.mark.parametrize("begins", ["list", "link"])
def test_the_browsers_way_back_leads_from_step_to_step_and_then_to_where_one_came_from(visit, url, begins):
    page = learning(visit)
    reader = Reader(page)
    if begins == "list":
        reader.press("[data-lesson-open=norm]")
    else:
        page.goto(f"{url}?lesson=norm&step=1")
    for step in (1, 2):
        reader.at("norm", step)
        if step == 2:
            reader.press("[data-lesson-answer='0']")
        page.wait_for_selector(f".tl-lesson-ways [data-lesson-step='{step + 1}']:enabled")
        reader.press(f".tl-lesson-ways [data-lesson-step='{step + 1}']")
    reader.at("norm", 3)
    open_tab(page, "Train")
    page.go_back()
    reader.at("norm", 3)
    for step in (2, 1):
        page.go_back()
        reader.at("norm", step)
        assert page.evaluate("location.search + location.hash") == f"?lesson=norm&step={step}#learn"
    page.go_forward()
    reader.at("norm", 2)
    page.go_back()
    reader.at("norm", 1)
    page.go_back()
    page.locator("#learn-page h2").get_by_text("Learn with your own runs").wait_for()


def test_a_tab_that_is_typed_into_the_address_leaves_the_lesson_open(visit, url):
    page = visit()
    page.goto(f"{url}?lesson=norm&step=1")
    reader = Reader(page)
    reader.at("norm", 1)
    page.evaluate("location.hash = '#code'")  # as whoever types it
    page.get_by_role("tab", name="Code", selected=True).wait_for()
    page.wait_for_timeout(1000)  # longer than an answer takes
    assert page.locator("#lesson-strip [data-lesson=norm][data-step='1']").count()
    assert page.evaluate("location.search") == "?lesson=norm&step=1"


def test_a_link_to_a_step_opens_it_and_asks_first_for_what_it_needs(visit, url):
    page = visit()
    page.goto(f"{url}?lesson=norm&step=5")
    reader = Reader(page)
    reader.at("norm", 5)
    page.get_by_text("This page needs step 2 first").wait_for()
    page.wait_for_function("CSS.highlights.get('tl-word')?.size")  # and a step of a lesson is none of a training
    marked = (
        "[...CSS.highlights.get('tl-word')].map(range => range.startContainer.parentElement.closest('.tl-no-terms'))"
    )
    assert not any(page.evaluate(f"{marked}.map(Boolean)"))
    assert page.locator("#link-notice .tl-notice").count() == 0  # these are no settings
    reader.press("[data-lesson-step='2']")
    reader.at("norm", 2)


def test_who_leaves_a_lesson_is_bothered_no_more_and_finds_the_step_again(visit):
    page = learning(visit)
    reader = Reader(page)
    reader.press("[data-lesson-open=norm]")
    reader.at("norm", 1)
    reader.press(".tl-lesson-ways [data-lesson-step='2']")
    reader.at("norm", 2)
    open_tab(page, "Train")
    page.locator("#lesson-strip .tl-guide").wait_for()
    reader.press("#lesson-strip [data-lesson-leave]")
    page.locator("#lesson-strip .tl-guide").wait_for(state="detached")
    page.wait_for_function("!location.search.includes('lesson')")
    page.reload()
    page.wait_for_selector("#loss-chart canvas")
    settle(page)
    assert page.locator("#lesson-strip .tl-guide").count() == 0
    page.get_by_role("button", name="New here?").click()
    page.locator("[data-lesson-open=norm]").get_by_text("at step 2 of").wait_for()
    reader.press("[data-lesson-open=norm]")
    reader.at("norm", 2)


def test_nothing_of_the_lessons_is_sent_to_who_does_not_ask(visit):
    page = visit()
    assert page.locator("#learn-page *").count() == 0 and page.locator("#lesson-strip .tl-guide").count() == 0


def test_after_a_reload_on_another_tab_the_strip_learns_that_its_run_has_ended(visit, url):
    page = learning(visit)
    reader = Reader(page)
    reader.press("[data-lesson-open=loss]")
    for number, step in enumerate(all_lessons()["loss"].steps, 1):
        reader.at("loss", number)
        if isinstance(step.task, TrainTask):
            break
        if step.choices:
            reader.answer(step)
        reader.press(f".tl-lesson-ways [data-lesson-step='{number + 1}']:enabled")
    reader.press("[data-lesson-do]")
    page.locator("#lesson-strip .tl-guide").wait_for()
    reader.wait_for_settings(step)
    open_beside(page, url)
    page.reload()
    page.get_by_role("tab", name="Train", selected=True).wait_for()
    page.locator("#lesson-strip .tl-guide").wait_for()
    reader.wait_for_settings(step)
    reader.press("#start")
    page.wait_for_selector(DONE)

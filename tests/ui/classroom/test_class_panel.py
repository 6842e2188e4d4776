"""The pages of a class without a browser: what each is sent, whatever it sends."""

import dataclasses
import re
from types import SimpleNamespace

import gradio as gr
import pytest

from classroom.test_classroom import HOSTILE, QUERY, ended_run
from pages import built
from support import GRADIO
from tlab.ui.classroom.question import seed_of
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import RUNNING, WAITING
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.presets import DEMO_PRESET
from tlab.ui.tabs.learn.class_panel import OVER, ClassPanel
from tlab.ui.tabs.learn.class_view import ONLY_HERE, WHEN_ALL_PREDICT, link_of, qr_picture, takes_words
from tlab.ui.tabs.train.link_bar import LinkBar
from tlab.ui.tabs.train.tab import TrainTab

pytestmark = GRADIO

TEACHER = SimpleNamespace(session_hash="teacher", headers={})
WHERE = "http://192.0.2.1:7860/"


def student_number(number):
    return SimpleNamespace(session_hash=f"student{number}", headers={})


@pytest.fixture(scope="module")
def panel():
    runs = Runs(LOCAL, slots=1)
    train = built(TrainTab, runs)
    link = LinkBar(train)
    panel = ClassPanel(train, link)
    with gr.Blocks(analytics_enabled=False):
        link.build_button()
        link.build_panel()
        with gr.Tabs() as bar:
            pass
        panel.build()
        for control in train.settings:
            control.render()
        panel.connect(bar)
    yield panel
    runs.close()


@pytest.fixture
def taught(panel):
    """A teacher's page, with what it sends from then on: code and key."""
    panel.classroom.opened.times.clear()
    panel.classroom.tries.times.clear()
    sent = {"role": "teach", "act": "open", "link": f"?{QUERY}", "where": WHERE}
    page = panel.on_teach(sent, TEACHER)[panel.panel]
    code, key = (re.search(rf'data-class-{name}="([^"]+)"', page)[1] for name in ("code", "key"))
    return {"role": "teach", "code": code, "key": key, "where": WHERE}


def of_student(panel, taught, number, act="predict", **more):
    sent = {"role": "student", "code": taught["code"], "act": act, **more}
    return panel.on_go(sent, student_number(number))


def train_one(panel, taught, number, losses):
    of_student(panel, taught, number, winner="A", by="0.2")
    seat = panel.classroom.join(taught["code"], f"page student{number}")
    panel.classroom.take(ended_run(f"page student{number}", seat.job, losses))


def test_the_key_is_in_the_answer_to_who_opens_a_class_and_in_no_other(panel, taught):
    train_one(panel, taught, 1, (2.0, 2.5))
    asked = {"role": "student", "code": taught["code"]}
    answers = [
        panel.on_ask(taught, TEACHER),
        panel.on_ask({**taught, "act": "hide"}, TEACHER),
        panel.on_ask({**asked, "key": taught["key"]}, student_number(1)),
        panel.on_tick(asked, None, student_number(2)),
        of_student(panel, taught, 3, winner="B", by=1),
    ]
    assert all(taught["key"] not in str([*answer.values()]) for answer in answers)
    assert taught["key"] not in link_of(WHERE, taught["code"])


def test_a_prediction_is_asked_for_before_the_seed_is_dealt(panel, taught):
    asked = {"role": "student", "code": taught["code"]}
    page = panel.on_ask(asked, student_number(1))[panel.panel]
    assert 'data-class-state="predict"' in page
    assert not re.search(r"[Ss]eed (is )?\d", page)
    early = of_student(panel, taught, 1, act="")
    assert panel.train.controls.components["seed"] not in early
    later = of_student(panel, taught, 1, winner="A", by="0.2")
    seed = panel.train.controls.components["seed"]
    assert later[seed] == seed_of(QUERY, 1)
    assert later[panel.train.controls.components["steps"]]["value"] == 20
    assert 'data-class-state="train"' in later[panel.panel]


def test_a_student_sees_their_own_result_and_no_other_s(panel, taught):
    train_one(panel, taught, 1, (2.0, 2.5))
    train_one(panel, taught, 2, (2.0, 1.125))
    pages = [
        panel.on_ask({"role": "student", "code": taught["code"]}, student_number(number))[panel.panel]
        for number in (1, 2, 3)
    ]
    assert "A is lower by 0.5000 nats per token: as you predicted" in pages[0]
    assert "B is lower by 0.8750 nats per token: not as you predicted" in pages[1]
    assert [("0.5000" in page, "0.8750" in page) for page in pages] == [(True, False), (False, True), (False, False)]


def test_the_teacher_s_page_is_new_with_each_result_and_at_rest_between(panel, taught):
    first = panel.on_ask(taught, TEACHER)
    state = first[panel.state]
    assert [*panel.on_tick(taught, state, TEACHER)] == [panel.state]
    train_one(panel, taught, 1, (2.0, 2.5))
    second = panel.on_tick(taught, state, TEACHER)
    assert "1 seed so far: A is lower on 1 and B on 0" in second[panel.panel]
    train_one(panel, taught, 2, (2.0, 2.4))
    third = panel.on_tick(taught, second[panel.state], TEACHER)
    faint = [line for line in third[panel.chart]["lines"] if "faint" in line]
    means = [line for line in third[panel.chart]["lines"] if "faint" not in line]
    assert (len(faint), len(means)) == (4, 2)
    assert all(line["band"] for line in means)


def test_a_winner_is_named_when_the_results_are_frozen_and_not_before(panel, taught):
    for number, losses in enumerate([(2.0, 2.5), (2.1, 2.58), (2.05, 2.57), (2.2, 2.68)]):
        train_one(panel, taught, number, losses)
    assert "No winner is named" in panel.on_ask(taught, TEACHER)[panel.panel]
    frozen = panel.on_ask({**taught, "act": "freeze"}, TEACHER)[panel.panel]
    assert "A (LayerNorm) is lower on 4 of 4 seeds, by a mean of 0.49" in frozen
    thawed = panel.on_ask({**taught, "act": "thaw"}, TEACHER)[panel.panel]
    assert "No winner is named" in thawed


def test_hidden_results_are_not_in_the_page_at_all(panel, taught):
    train_one(panel, taught, 1, (2.0, 2.5))
    hidden = panel.on_ask({**taught, "act": "hide"}, TEACHER)
    assert "Predictions and results are hidden" in hidden[panel.panel]
    assert "seed so far" not in hidden[panel.panel]
    assert hidden[panel.chart]["lines"] == []


def test_dots_that_would_hide_each_other_are_stacked_and_one_far_out_squeezes_no_others(panel, taught):
    for number, by in enumerate(["0.1", "0.1", "0.1", "5"]):
        of_student(panel, taught, number, winner="A", by=by)
    page = panel.on_ask(taught, TEACHER)[panel.panel]
    dots = re.findall(r'tl-strip-dot" style="left:([\d.]+)%;bottom:([\d.]+)px', page)
    (first, low), (second, middle), (third, high), (far, bottom) = [map(float, dot) for dot in dots]
    assert first == second == third
    assert low < middle < high
    assert (far > first + 20, bottom) == (True, low)
    assert first > 25  # of 100, where a line up to 5 has it at 8
    assert "further out than their dots: +5.0000" in page


def run_of_90_steps(panel, seat, begun_at):
    """A run of the first student with more steps than the class has."""
    plans = tuple(plan._replace(training=dataclasses.replace(plan.training, steps=90)) for plan in seat.job.plans)
    run = ended_run("page student1", seat.job._replace(plans=plans), (2.0, 2.5), begun_at)
    panel.train.runs.runs[run.id] = run
    return run


def test_a_run_with_other_settings_is_said_not_to_count_and_why(panel, taught):
    asked = {"role": "student", "code": taught["code"]}
    of_student(panel, taught, 1, winner="A", by="0.2")
    seat = panel.classroom.join(taught["code"], "page student1")
    other = run_of_90_steps(panel, seat, seat.answer.predicted_at + 1)
    page = panel.on_ask(asked, student_number(1))[panel.panel]
    assert "Your last run does not count (Steps 90 instead of 20): put the settings in place again" in page
    assert 'data-class-act="setup"' in page
    other.begun_at = seat.answer.predicted_at - 1
    assert "does not count" not in panel.on_ask(asked, student_number(1))[panel.panel]
    del panel.train.runs.runs[other.id]


def test_whoever_predicted_neither_is_right_where_the_sides_end_closer_than_the_lab_calls_different(panel, taught):
    for number, winner in enumerate(("same", "A")):
        of_student(panel, taught, number, winner=winner, by="0.2")
        session = f"page student{number}"
        panel.classroom.take(ended_run(session, panel.classroom.join(taught["code"], session).job, (2.0, 2.01)))
    pages = [
        panel.on_ask({"role": "student", "code": taught["code"]}, student_number(number))[panel.panel]
        for number in range(2)
    ]
    for page, words in zip(pages, ("as you predicted", "not as you predicted"), strict=True):
        equal = "A is lower by 0.0100 nats per token, less than the 0.02 that the lab calls equal"
        assert f"{equal}: {words}" in page
    assert "For 1 of 2 their own run came out as they predicted." in panel.on_ask(taught, TEACHER)[panel.panel]


def test_freezing_is_proposed_when_all_who_are_in_have_trained(panel, taught):
    train_one(panel, taught, 1, (2.0, 2.5))
    proposed = 'class="tl-go" data-class-act="freeze"'
    assert proposed in panel.on_ask(taught, TEACHER)[panel.panel]
    panel.on_ask({"role": "student", "code": taught["code"]}, student_number(2))
    assert proposed not in panel.on_ask(taught, TEACHER)[panel.panel], "one still predicts"


def test_runs_that_diverged_are_told_before_the_results_are_frozen(panel, taught):
    for number in (1, 2):
        train_one(panel, taught, number, (2.0, None))
    assert "Diverged, which counts as higher: B on 2 of 2 seeds." in panel.on_ask(taught, TEACHER)[panel.panel]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([None], "diverged in each run"),
        ([None, None], "diverged in each run"),
        ([2.5], "one run, so no mean"),
        ([2.5, None], "one of 2 runs did not diverge, so no mean"),
        ([2.5, 2.4, None], "mean with 95 % interval of the 2 that did not diverge"),
        ([2.5, 2.4], "mean with 95 % interval"),
    ],
)
def test_the_key_of_the_curves_names_both_sides_and_says_of_which_runs_they_are(panel, taught, losses, words):
    for number, of_b in enumerate(losses):
        train_one(panel, taught, number, (2.0, of_b))
    lines = panel.on_ask(taught, TEACHER)[panel.chart]["lines"]
    a, b = (one["name"] for one in lines if "faint" not in one)
    assert a.startswith("A: ") and b.startswith("B: ") and b.endswith(f", {words}")
    assert b in panel.on_ask(taught, TEACHER)[panel.chart]["alternative"], "who does not see the key is told as well"


def test_what_the_link_of_a_question_hides_is_hidden_from_students_until_the_next(panel, taught):
    locked, notice = panel.train.locked, panel.link.notice
    for link, hidden in (("?steps=20&b.norm=none&hide=seed,steps", ["seed", "steps"]), ("?steps=20&b.norm=none", [])):
        panel.on_teach({**taught, "act": "next", "link": link}, TEACHER)
        there = of_student(panel, taught, 1, winner="A", by="0.2")
        assert there[locked] == hidden and ("#field-seed" in there[notice]) == bool(hidden)
        assert there[panel.train.controls.components["seed"]] == seed_of(QUERY, 1), "hidden, it is set all the same"


def test_the_next_question_is_asked_of_the_same_class(panel, taught):
    train_one(panel, taught, 1, (2.0, 2.5))
    page = panel.on_teach({**taught, "act": "next", "link": "?steps=30&b.residual=post"}, TEACHER)[panel.panel]
    assert "Question 2" in page
    student = panel.on_tick({"role": "student", "code": taught["code"]}, None, student_number(1))[panel.panel]
    assert "Question 2" in student and 'data-class-state="predict"' in student


def test_the_verdicts_of_earlier_questions_stay_the_latest_first(panel, taught):
    for number, losses in enumerate([(2.0, 2.5), (2.1, 2.58), (2.05, 2.57), (2.2, 2.68)]):
        train_one(panel, taught, number, losses)
    frozen = panel.on_ask({**taught, "act": "freeze"}, TEACHER)[panel.panel]
    assert "Verdicts so far" not in frozen, "it stands above"
    for residual in ("post", "sandwich"):
        asked = {**taught, "act": "next", "link": f"?steps=30&b.residual={residual}"}
        page = panel.on_teach(asked, TEACHER)[panel.panel]
    now, before = page.split("Verdicts so far")
    assert "Question 3." in now and "is lower on" not in now
    second, first = before.split("Question 1.")
    assert "Question 2." in second and "No run has ended, so nothing is judged." in second
    assert "One difference: norm" in first and "A (LayerNorm) is lower on 4 of 4 seeds, by a mean of 0.49" in first
    judged = panel.final_verdict.cache_info().misses
    assert before in panel.on_ask(taught, TEACHER)[panel.panel]
    assert panel.final_verdict.cache_info().misses == judged, "once for good, and not each time the page is renewed"


def test_the_settings_of_the_train_tab_are_a_question(panel):
    values = [control.value for control in panel.train.controls.inputs]
    page = panel.on_teach({"role": "teach", "act": "open", "where": WHERE}, TEACHER, *values)[panel.panel]
    labels = DEMO_PRESET.label.split(" ")
    assert labels[0] in page


def test_a_text_of_one_s_own_is_no_question(panel):
    values = [
        OWN_TEXT if name == "corpus" else control.value for name, control in panel.train.controls.components.items()
    ]
    answer = panel.on_teach({"role": "teach", "act": "open"}, TEACHER, *values)
    assert "text that everybody has" in answer[panel.refusal]


def test_what_cannot_be_asked_or_predicted_is_refused_under_the_form_and_changes_nothing_else(panel, taught):
    link = panel.on_teach({**taught, "act": "next", "link": "<b>hello"}, TEACHER)
    unsaid = of_student(panel, taught, 1, winner="A", by="")
    for answer, words in ((link, "This link cannot be used"), (unsaid, "Say by about how much")):
        assert [*answer] == [panel.refusal]
        assert words in answer[panel.refusal]
        assert "<b>" not in answer[panel.refusal]
    assert of_student(panel, taught, 1, winner="A", by="0.1")[panel.refusal] == ""
    assert panel.on_ask(taught, TEACHER)[panel.refusal] == ""


def test_predictions_are_shown_when_all_who_are_in_have_predicted_or_a_run_has_ended(panel, taught):
    of_student(panel, taught, 1, winner="A", by="0.1")
    panel.on_ask({"role": "student", "code": taught["code"]}, student_number(2))
    waiting = panel.on_ask(taught, TEACHER)[panel.panel]
    assert ("tl-strip" in waiting, "Predicted lower" in waiting, WHEN_ALL_PREDICT in waiting) == (False, False, True)
    of_student(panel, taught, 2, winner="B", by="0.1")
    assert "Predicted lower: A by 1, B by 1" in panel.on_ask(taught, TEACHER)[panel.panel]
    panel.on_ask({"role": "student", "code": taught["code"]}, student_number(3))
    assert WHEN_ALL_PREDICT in panel.on_ask(taught, TEACHER)[panel.panel]
    train_one(panel, taught, 4, (2.0, 2.5))
    assert "Predicted lower: A by 2, B by 1" in panel.on_ask(taught, TEACHER)[panel.panel]


def test_teacher_and_students_read_which_setting_is_asked_about(panel, taught):
    asked = "One difference: norm, LayerNorm in A and no norm in B"
    student = panel.on_ask({"role": "student", "code": taught["code"]}, student_number(1))
    assert asked in student[panel.panel]
    assert asked in panel.on_ask(taught, TEACHER)[panel.panel]


@pytest.mark.parametrize("hostile", [*HOSTILE, {"a": [{}]}, float("nan")])
@pytest.mark.parametrize("name", ["whole", "role", "code", "key", "act", "where", "winner", "by", "link"])
def test_whatever_a_page_sends_is_answered_in_plain_words(panel, taught, name, hostile):
    panel.classroom.tries.times.clear()
    for role in ("teach", "student"):
        sent = hostile if name == "whole" else {**taught, "role": role, "act": "", name: hostile}
        handlers = [
            lambda sent=sent: panel.on_ask(sent, TEACHER),
            lambda sent=sent: panel.on_tick(sent, None, TEACHER),
            lambda sent=sent: panel.on_go(sent, TEACHER),
        ]
        if name in ("link", "code", "key", "whole"):
            act = (
                sent if name == "whole" else {**sent, "act": "next", "link": hostile if name == "link" else "?steps=2"}
            )
            handlers.append(lambda act=act: panel.on_teach(act, TEACHER, *[None] * len(panel.train.controls.inputs)))
        for handler in handlers:
            try:
                answer = str([*handler().values()])
            except gr.Error as error:
                answer = str(error)
            assert "<script>x" not in answer


def test_the_link_is_where_the_teacher_has_the_page_or_a_usual_one():
    assert link_of(WHERE, "CODE") == "http://192.0.2.1:7860/?class=CODE"
    for hostile in (
        "javascript:alert(1)",
        'http://a"b/',
        "http://a/<b>",
        "http://a/?teach",
        None,
        5,
        "http://" + "a" * 999,
    ):
        assert link_of(hostile, "CODE") == "http://127.0.0.1:7860/?class=CODE"


def test_the_picture_is_of_squares_and_asks_nothing_of_anybody():
    picture = qr_picture(link_of(WHERE, "K7QM4T2P"))
    assert picture.startswith("<svg")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_a_teacher_at_home_is_told_that_no_one_else_reaches_that_address(panel, taught):
    own = str(ONLY_HERE).replace("'", "&#39;")
    assert own in panel.on_ask({**taught, "where": "http://127.0.0.1:7860/"}, TEACHER)[panel.panel]
    assert own not in panel.on_ask(taught, TEACHER)[panel.panel]


def test_an_ended_class_is_closed_to_its_teacher_and_its_students(panel, taught):
    student = {"role": "student", "code": taught["code"]}
    shown = panel.on_ask(taught, TEACHER), panel.on_ask(student, student_number(1))
    panel.on_ask({**taught, "act": "end"}, TEACHER)
    for before, who, sent in zip(shown, (TEACHER, student_number(1)), (taught, student), strict=True):
        assert OVER in panel.on_tick(sent, before[panel.state], who)[panel.panel]
    for who, sent in ((TEACHER, taught), (student_number(1), student)):
        updates = panel.on_tick(sent, None, who)
        assert updates[panel.clock]["active"] is False
        assert "the class has ended" in updates[panel.panel]


@pytest.mark.parametrize(("state", "words"), [(RUNNING, "What trains now"), (WAITING, "What waits in the queue now")])
def test_who_has_a_run_of_another_question_is_told_to_stop_it(panel, taught, state, words):
    of_student(panel, taught, 1, winner="A", by="0.2")
    seat = panel.classroom.join(taught["code"], "page student1")
    other = run_of_90_steps(panel, seat, seat.answer.predicted_at - 1)
    other.state = state
    page = panel.on_ask({"role": "student", "code": taught["code"]}, student_number(1))[panel.panel]
    del panel.train.runs.runs[other.id]
    assert f"{words} has other settings than the class: press Stop, put its settings in place, and press Start." in page


def test_the_next_question_is_asked_only_after_a_word_while_predictions_wait_for_their_runs(panel, taught):
    waits = "1 of 2 predictions has no result yet"
    assert 'data-class-submit="next" data-class-confirm' not in panel.on_ask(taught, TEACHER)[panel.panel]
    train_one(panel, taught, 1, (2.0, 2.5))
    of_student(panel, taught, 2, winner="A", by="0.2")
    assert f'data-class-submit="next" data-class-confirm="{waits}' in panel.on_ask(taught, TEACHER)[panel.panel]
    panel.on_ask({**taught, "act": "freeze"}, TEACHER)
    assert waits not in panel.on_ask(taught, TEACHER)[panel.panel], "they are not taken in any more"


def test_a_question_that_no_lesson_can_hold_is_said_to_be_too_long():
    assert takes_words(60.0).endswith("here.")
    assert "No lesson is as long" in takes_words(3600.0)


def test_a_student_without_a_class_is_led_to_the_lab(panel):
    page = panel.on_ask({"role": "student", "code": "K7QM-4T2P"}, student_number(1))[panel.panel]
    assert '<a href="?">' in page

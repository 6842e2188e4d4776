"""Lessons without a browser: what they ask for, what counts as done, and which answers are right."""

import math
import re

import numpy as np
import pytest

from lessons_at_hand import REQUEST, STEPS, Pupil, finished, learn_tab, make_short
from support import EVIL, GRADIO, wait_for
from tlab.judging.one_run import PAIRS
from tlab.ui.inspection.process import Inspector
from tlab.ui.lessons.facts import RunFacts
from tlab.ui.lessons.lesson import CHECK, DO, EXPLAIN, PREDICT, all_lessons
from tlab.ui.lessons.sitting import read_open_lesson
from tlab.ui.lessons.tasks import TrainTask
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import STOPPED
from tlab.ui.studies.study import Ended
from tlab.ui.widgets.markup import macros
from tlab.wording import percent

pytestmark = GRADIO

LESSONS = list(all_lessons())


@pytest.fixture(scope="module")
def pupil():
    runs = Runs(LOCAL, slots=2)
    inspector = Inspector(LOCAL)
    with pytest.MonkeyPatch.context() as patch:
        make_short(patch)
        patch.setattr("tlab.ui.runs.manager.MAX_HISTORY", 100)  # those of all lessons, each trained once
        yield Pupil(learn_tab(runs, inspector))
    inspector.end()
    runs.close()


def page_of(pupil, sent: dict) -> str:
    return str(pupil.tab.on_ask(sent, *pupil.about, request=REQUEST)[pupil.tab.page])


def number_of(lesson: str, title: str) -> int:
    return next(n for n, step in enumerate(all_lessons()[lesson].steps, 1) if step.title == title)


# ------------------------------------------------------------------------------------------------ the files


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_asks_before_it_shows_and_lasts_twelve_minutes_at_most(name):
    lesson = all_lessons()[name]
    kinds = [step.kind for step in lesson.steps]
    assert lesson.minutes <= 12 and lesson.title and lesson.needs
    missing = {PREDICT, DO, EXPLAIN, CHECK} - {*kinds}
    assert not missing, f"a lesson has steps of every kind, and this one has none of {missing}"
    assert kinds[0] == kinds[-1] == EXPLAIN, "a lesson begins and ends with an explanation"
    assert kinds.index(PREDICT) < kinds.index(DO)
    names = [step.name for step in lesson.steps if step.kind in (PREDICT, DO)]
    assert all(names) and len({*names}) == len(names), "what is predicted or done has a name of its own"


@pytest.mark.parametrize("name", LESSONS)
def test_each_question_has_one_right_answer_and_takes_no_other_for_it(pupil, name):
    answers, kept = finished(pupil, name)
    lesson = all_lessons()[name]
    for number, step in enumerate(lesson.steps, 1):
        sitting = pupil.sitting(name, len(lesson.steps), answers, kept)
        right = [place for place, choice in enumerate(step.choices) if sitting.is_choice_right(choice)]
        assert len(right) == bool(step.choices), (number, [sitting.words(choice.text) for choice in step.choices])
        if step.kind == CHECK:
            for place in range(len(step.choices)):
                one = pupil.sitting(name, number, {**answers, str(number): [place]}, kept)
                assert one.is_right == (place == right[0])
            shown = [str(sitting.words(choice.text)) for choice in step.choices]
            assert len({*shown}) == len(shown), "two answers read the same"


@pytest.mark.parametrize("name", LESSONS)
def test_every_page_of_a_finished_lesson_can_be_read(pupil, name):
    answers, kept = finished(pupil, name)
    for number in range(1, len(all_lessons()[name].steps) + 1):
        page = page_of(pupil, {"lesson": name, "step": number, "answers": answers, "kept": kept})
        assert "needs step" not in page and not re.search(r"\b(nan|None|inf|no number)\b|{{|\[\]", page)


@pytest.mark.parametrize("name", LESSONS)
def test_every_prediction_is_judged_once_and_who_was_wrong_reads_what_came_of_it(pupil, name):
    answers, kept = finished(pupil, name)
    steps = all_lessons()[name].steps
    judged = []
    for number in range(1, len(steps) + 1):
        found = pupil.sitting(name, number, answers, kept).predictions()
        judged += [str(one.question) for one in found]
        page = page_of(pupil, {"lesson": name, "step": number, "answers": answers, "kept": kept})
        assert all(one.is_right or f"It came out: {one.came[0]}." in page for one in found)
    sitting = pupil.sitting(name, len(steps), answers, kept)
    assert judged == [str(sitting.words(step.question)) for step in steps if step.kind == PREDICT]


# ------------------------------------------------------------------------------------------------ right and wrong


def test_the_probability_that_is_right_is_that_of_the_learners_own_loss(pupil):
    answers, kept = finished(pupil, "loss")
    number = number_of("loss", "Back to a probability")
    sitting = pupil.sitting("loss", number, answers, kept)
    run = pupil.train(all_lessons()["loss"].steps[2].task)
    own = percent(math.exp(-run.sides[0].validation_loss))
    assert [str(sitting.words(sitting.step.choices[place].text)) for place in sitting.right] == [own]


@pytest.mark.parametrize(
    ("loss", "words"), [(4.2, "does not even know"), (2.8, "knows the frequencies"), (1.9, "knows more than pairs")]
)
def test_another_loss_makes_another_answer_right(pupil, monkeypatch, loss, words):
    answers, kept = finished(pupil, "loss")
    run = pupil.train(all_lessons()["loss"].steps[2].task)
    monkeypatch.setattr(run.sides[0], "validation_loss", loss)
    sitting = pupil.sitting("loss", number_of("loss", "How much of it is knowledge?"), answers, kept)
    assert [words in sitting.step.choices[place].text for place in sitting.right] == [True]


@pytest.mark.parametrize(
    ("beside", "words"),
    [(0.03, "less than all pairs"), (0.01, "about as much"), (-0.01, "about as much"), (-0.03, "more than pairs")],
)
def test_a_loss_that_no_eye_can_tell_from_that_of_pairs_is_about_as_good(pupil, monkeypatch, beside, words):
    answers, kept = finished(pupil, "loss")
    run = pupil.train(all_lessons()["loss"].steps[2].task)
    monkeypatch.setattr(run.sides[0], "validation_loss", run.baselines[PAIRS] + beside)
    sitting = pupil.sitting("loss", number_of("loss", "How much of it is knowledge?"), answers, kept)
    assert [words in sitting.step.choices[place].text for place in sitting.right] == [True]


@pytest.mark.parametrize("loss", [2.5149, 2.5151, 2.4949])
def test_what_was_learned_is_the_difference_of_the_two_numbers_beside_it(pupil, monkeypatch, loss):
    run = pupil.train(all_lessons()["loss"].steps[2].task)
    monkeypatch.setattr(run.sides[0], "validation_loss", loss)
    facts = RunFacts(run)
    assert f"{facts.a.learned:.2f}" == f"{float(f'{facts.blind:.2f}') - float(f'{loss:.2f}'):.2f}"


@pytest.mark.parametrize(("loss", "words"), [(1.0, "the part helps"), (9.0, "the part hurts")])
def test_a_part_is_said_to_help_only_where_its_side_is_lower(pupil, monkeypatch, loss, words):
    answers, kept = finished(pupil, "false-winners")
    run = pupil.train(next(step.task for step in all_lessons()["false-winners"].steps if step.task))
    monkeypatch.setattr(run.sides[1], "validation_loss", loss)
    sitting = pupil.sitting("false-winners", number_of("false-winners", "A winner without a reason"), answers, kept)
    assert any(words in paragraph for paragraph in sitting.paragraphs)


def test_a_prediction_is_judged_by_the_gradients_of_the_run(pupil):
    answers, kept = finished(pupil, "norm")
    run = pupil.train(next(step.task for step in all_lessons()["norm"].steps if step.task))
    gradients = [layer.gradient_norm for layer in run.sides[1].insights[0].layers]
    assert run.sides[1].insights[0].step == 1
    even = 0.1 <= gradients[0] / gradients[-1] <= 10
    sitting = pupil.sitting("norm", number_of("norm", "When it happened"), {**answers, "2": [1]}, kept)
    first, *_ = sitting.predictions()
    assert first.said.startswith("About the same") and first.is_right == even


def test_who_counts_the_verdicts_sees_the_intervals(pupil):
    answers, kept = finished(pupil, "ablations")
    sitting = pupil.sitting("ablations", number_of("ablations", "Four verdicts"), answers, kept)
    seeds = [sitting.known[name] for name in ("norm", "post", "nope", "swiglu")]
    assert [told for _, _, told in sitting.bars] == [
        " ".join((f"{one.mean:+.3f}", f"({one.low:+.3f} to {one.high:+.3f})")).replace("-", "−") for one in seeds
    ]


def test_where_runs_diverged_there_is_no_mean_difference_to_draw(pupil):
    answers, kept = finished(pupil, "ablations")
    task = next(step.task for step in all_lessons()["ablations"].steps if step.name == "norm")
    study = task.study(pupil.tab.learner(REQUEST, pupil.about))
    lost = {trial: Ended(None, 3, end.curve) if trial.side else end for trial, end in study.outcomes.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "outcomes", lost)
        sitting = pupil.sitting("ablations", number_of("ablations", "Four verdicts"), answers, kept)
        assert sitting.bars[0] == ("Remove RMSNorm", 0.0, "none: runs diverged")


def test_shares_of_attention_are_written_in_bars_as_in_words(pupil):
    answers, kept = finished(pupil, "induction")
    sitting = pupil.sitting("induction", number_of("induction", "Its score"), answers, kept)
    assert [told for _, _, told in sitting.bars] == [percent(row.induction) for row in sitting.known["heads"].a]


def test_a_wrong_answer_brings_the_hint_and_a_second_one_the_answer(pupil):
    answers, kept = finished(pupil, "loss")
    number = number_of("loss", "Back to a probability")
    (right,) = pupil.sitting("loss", number, answers, kept).right
    wrong = [place for place in range(4) if place != right]
    sent = {"lesson": "loss", "step": number, "kept": kept}
    once = page_of(pupil, {**sent, "answers": {**answers, str(number): wrong[:1]}})
    assert "Not quite." in once and "Try once more" in once and "✓" not in once
    twice = page_of(pupil, {**sent, "answers": {**answers, str(number): wrong[:2]}})
    assert "the right answer is marked" in twice and twice.count("✓") == 1
    assert "That is right." in page_of(pupil, {**sent, "answers": {**answers, str(number): [right]}})


# ------------------------------------------------------------------------------------------------ what is done


def test_nothing_of_a_result_is_shown_before_its_prediction(pupil):
    _, kept = finished(pupil, "loss")
    number = number_of("loss", "What a blind guess is worth")
    page = page_of(pupil, {"lesson": "loss", "step": number, "kept": kept})
    assert "This page needs step 2 first" in page and "Your model began" not in page


def test_a_page_about_a_run_that_is_not_there_leads_back_to_its_step(pupil):
    sitting = Pupil(pupil.tab).sitting("norm", 5, {"2": [0], "3": [0]}, {"run": {"run": "not there"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pupil.tab.runs, "history", lambda session: [])
        sitting = pupil.sitting("norm", 5, {"2": [0], "3": [0]}, {"run": {"run": "not there"}})
    assert sitting.missing == 4 and not sitting.may_go_on


def test_a_run_counts_if_it_is_ones_own_has_these_settings_and_has_ended(pupil, monkeypatch):
    runs, task = pupil.tab.runs, all_lessons()["loss"].steps[2].task
    learner = pupil.tab.learner(REQUEST, pupil.about)
    monkeypatch.setattr(runs, "runs", type(runs.runs)())
    others = runs.start("somebody else", task.job)
    shorter = TrainTask({**task.settings, "steps": STEPS - 1})
    other_settings = runs.start("page page", shorter.job)
    for run in (others, other_settings):
        wait_for(lambda run=run: not run.active)
    assert task.done(learner, {}) is None
    assert task.facts(learner, {"run": others.id}) is None and task.facts(learner, {"run": other_settings.id}) is None
    own = runs.start("page page", task.job)
    wait_for(lambda: not own.active)
    assert task.done(learner, {}) == {"run": own.id}
    own.state = STOPPED
    assert task.done(learner, {}) is None and task.facts(learner, {"run": own.id}) is None


def test_the_head_with_which_the_tab_opens_was_not_found_by_the_learner(pupil):
    task = all_lessons()["attention"].steps[2].task
    shown = pupil.fitting_head(task)
    for serial, is_done in ((0, False), (1, True)):
        learner = pupil.tab.learner(REQUEST, [shown, {"serial": serial}, None, None, None, []])
        assert (task.done(learner, {}) is not None) == is_done


def test_only_what_changes_is_sent_while_something_is_to_be_done(pupil):
    sent = {"lesson": "loss", "step": 3, "answers": {"2": [0]}, "kept": {}}
    finished(pupil, "loss")
    first = pupil.tab.on_ask(sent, *pupil.about, request=REQUEST)
    assert set(pupil.tab.on_tick(sent, first[pupil.tab.state], REQUEST, *pupil.about)) == {pupil.tab.state}
    again = pupil.tab.on_tick(sent, None, REQUEST, *pupil.about)
    assert "✓ Done" in again[pupil.tab.page] and again[pupil.tab.clock]["active"] is False


@pytest.mark.parametrize(
    "sent",
    [
        None, [], "loss", {"lesson": ["loss"]}, {"lesson": "../1-loss"}, {"lesson": "loss", "step": "3"},
        {"lesson": "loss", "step": 10**30}, {"lesson": "loss", "step": 5, "answers": {"2": [99, "x", True, None]}},
        {"lesson": "loss", "step": 5, "answers": {"2": [0]}, "kept": {"run": {"run": EVIL}}},
        {"lesson": "loss", "step": 4, "answers": {"2": [1]}, "kept": {"run": [EVIL], "other": {}}},
        {"reached": {"loss": EVIL, EVIL: 3}},
    ],
)  # fmt: skip
def test_whatever_a_page_sends_gets_a_page(pupil, sent):
    page = str(pupil.tab.on_ask(sent, *pupil.about, request=REQUEST)[pupil.tab.page])
    assert "<h2" in page and EVIL not in page
    progress = read_open_lesson(sent)
    assert progress is None or 1 <= progress.step <= len(progress.lesson.steps)
    pupil.tab.on_go(sent, [], REQUEST, *pupil.about)


def test_no_lesson_is_reached_further_than_it_goes(pupil):
    page = page_of(pupil, {"reached": {"loss": 99, "order": 0}})
    steps = len(all_lessons()["loss"].steps)
    assert f"at step {steps} of {steps}" in page and page.count("✓ done") == 1


@pytest.mark.parametrize(("difference", "right"), [(0.3, "is higher"), (0.0, "Chance could"), (-0.3, "is lower")])
def test_what_five_seeds_say_decides_which_prediction_was_right(pupil, monkeypatch, difference, right):
    monkeypatch.setattr(pupil, "difference_of_b", difference)
    pupil.tab.train.studies.forget("page page")
    answers, kept = finished(pupil, "ablations")
    steps = all_lessons()["ablations"].steps
    sitting = pupil.sitting("ablations", len(steps), answers, kept)
    told = [right in choice.text for step in steps[1:3] for choice in step.choices if sitting.is_choice_right(choice)]
    assert told == [True]
    pupil.tab.train.studies.forget("page page")


def test_a_link_to_a_lesson_that_there_is_not_says_so_above_the_list(pupil):
    page = str(pupil.tab.on_ask({"lesson": f"nope{EVIL}"}, *pupil.about, request=REQUEST)[pupil.tab.page])
    assert "There is no lesson called “nope" in page and "data-lesson-open" in page and "<img" not in page
    for sent in ({}, {"lesson": ""}, {"lesson": 3}, None):
        assert "no lesson" not in str(pupil.tab.on_ask(sent, *pupil.about, request=REQUEST)[pupil.tab.page])


def test_the_curve_of_the_loss_is_minus_the_logarithm_of_the_probability():
    drawn = re.search(r'class="tl-curve" d="M([^"]+)"', str(macros("lessons/pictures.html").loss()))[1]
    numbers = np.array([float(number) for number in re.findall(r"[\d.]+", drawn)]).reshape(-1, 2)
    probability, loss = (numbers[:, 0] - 40) / 266, 120 - numbers[:, 1]
    ends = slice(0, -1)  # without the last point, which is 1
    np.testing.assert_allclose(loss[ends] / loss[0], np.log(probability[ends]) / np.log(probability[0]), atol=0.01)


@pytest.mark.parametrize("losses", [(2.1949, 1.8651), (2.196, 1.864), (3.0, math.inf)])
def test_the_gap_of_a_lesson_is_the_difference_of_the_two_losses_beside_it(pupil, monkeypatch, losses):
    lesson = next(one for one in all_lessons().values() for step in one.steps if two_sides(step))
    run = pupil.train(next(step.task for step in lesson.steps if two_sides(step)))
    for side, loss in zip(run.sides, losses, strict=True):
        monkeypatch.setattr(side, "validation_loss", None if math.isinf(loss) else loss)
    a, b = (float(f"{loss:.2f}") for loss in losses)
    assert RunFacts(run).shown_gap == pytest.approx(abs(b - a))


def two_sides(step) -> bool:
    return isinstance(step.task, TrainTask) and len(step.task.job.plans) == 2

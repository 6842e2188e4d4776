"""The words beside the charts: what is provisional, why one part of a text is easier, what A and B are made to do."""

import pytest

from support import GRADIO, SMALL
from tlab.text.units import bits_per_byte
from tlab.training.config import TrainConfig
from tlab.training.records import StepRecord
from tlab.training.schedules import SCHEDULES
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.messages import Job, Validated
from tlab.ui.runs.run import DONE, RUNNING, STOPPED, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import PRESETS
from tlab.ui.tabs.train.view import chart_value, differing_parts, numbers_html, verdict_html

pytestmark = GRADIO


def half_way(state=RUNNING, switch=("residual", "post"), **changes) -> Run:
    """A run of 40 steps after 20 of them."""
    settings = {**SMALL, "num_layers": 2, "steps": 40, "warmup_steps": 5, **changes}
    run = Run("s", Job("a text", "a text", "char", make_plans(settings, switch)), LOCAL)
    run.state = state
    for side in run.sides:
        side.add(StepRecord(20, 2.5, None, 0.001, 1.0, 100, 1.0))
    return run


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_curves_are_provisional_while_a_schedule_that_decays_is_still_to_end(schedule):
    run = half_way(schedule=schedule)
    rates = [run.sides[0].training.learning_rate_at(step) for step in range(1, 41)]
    words = chart_value(run)["provisional"]
    assert words == ("Provisional until the learning rate has decayed" if rates[-1] < max(rates) else "")


def test_of_two_sides_the_one_that_still_decays_is_named():
    run = half_way(switch=("schedule", "constant"))
    assert chart_value(run)["provisional"] == "A is provisional until the learning rate has decayed"
    run = half_way(switch=("steps", 20))
    assert chart_value(run)["provisional"] == "A is provisional until the learning rate has decayed"


def test_nothing_is_provisional_at_the_end_and_what_was_stopped_stays_so():
    assert chart_value(demo_run())["provisional"] == ""
    assert "ended before the learning rate had decayed" in chart_value(half_way(STOPPED))["provisional"]
    assert chart_value(half_way(DONE, steps=20))["provisional"] == ""


def test_who_cannot_see_the_chart_hears_that_it_is_provisional():
    assert chart_value(half_way())["alternative"].endswith("Provisional until the learning rate has decayed.")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 5, 30])
def test_a_learning_rate_decays_after_a_step_where_a_later_one_is_below_the_highest(schedule, warmup):
    config = TrainConfig(steps=20, warmup_steps=warmup, schedule=schedule)
    rates = [config.learning_rate_at(step) for step in range(1, 21)]
    for step in range(1, 21):
        assert config.decays_after(step) == (step < 20 and rates[-1] < max(rates))


def test_times_of_another_machine_are_not_shown():
    assert "Milliseconds a step" not in numbers_html(demo_run())
    assert "Milliseconds a step" in numbers_html(half_way())


def test_the_numbers_have_the_losses_in_the_unit_of_all_tokenizers():
    run = demo_run()
    a, b = (bits_per_byte(side.validation_loss, run.bytes_per_token.validation) for side in run.sides)
    cells = f"<td>{a:.3f}</td><td>{b:.3f}</td><td>{b - a:+.3f}</td>"
    assert f'<th scope="row">Validation loss, bits per byte</th>{cells}' in numbers_html(run)
    run = half_way(DONE)
    run.bytes_per_token = None
    assert '<th scope="row">Validation loss, bits per byte</th><td>–</td>' in numbers_html(run)


def test_on_a_text_with_answers_the_numbers_say_how_many_are_right_and_what_is_perfect():
    run = half_way(DONE)
    assert "answers" not in numbers_html(run)
    for side, accuracy in zip(run.sides, (0.5, 0.875), strict=True):
        side.complete(Validated(0, 20, 1.25, accuracy=accuracy))
    run.baselines = {"known rule": 1.5}
    shown = numbers_html(run)
    assert '<th scope="row">Right answers on validation text, %</th><td>50.0</td><td>87.5</td><td>+37.5</td>' in shown
    assert "knows the rule of the text has 100% of its answers right, and a validation loss of 1.500." in shown


def test_the_easier_part_of_the_text_is_named_beside_both_losses():
    shown = numbers_html(demo_run())
    assert "The validation part of this text is the easier one" in shown
    assert f"loses {demo_run().baselines['token pairs']:.2f} nats per token there" in shown
    assert "easier" not in numbers_html(demo_run(PRESETS["Induction heads appear"]))


@pytest.mark.parametrize(
    ("switch", "labels", "words", "source"),
    [
        (("residual", "post"), ["Pre-LN", "Post-LN"], "Every gradient passes through every norm", "Vaswani"),
        (("norm", "rmsnorm"), ["LayerNorm", "RMSNorm"], "root mean square of 1", "Zhang"),
        (("optimizer", "sgd"), ["AdamW", "SGD with momentum"], "One step size for all weights", "Polyak"),
    ],
)
def test_what_the_two_differing_parts_do_is_told_with_its_source(switch, labels, words, source):
    a, b = differing_parts(half_way(switch=switch))
    assert [(part["letter"], part["label"]) for part in (a, b)] == [*zip("AB", labels, strict=True)]
    assert words in b["words"] and words not in a["words"] and source in b["source"]


@pytest.mark.parametrize("switch", [None, ("steps", 20), ("tied", False), ("num_layers", 3)])
def test_nothing_is_told_of_parts_where_there_is_one_side_or_a_number_differs(switch):
    assert differing_parts(half_way(switch=switch)) == []


def test_nothing_is_told_of_the_place_of_norms_that_are_not_there_or_of_parts_with_a_planted_bug():
    assert differing_parts(half_way(norm="none")) == []
    run = half_way()
    run.job = run.job._replace(plans=(run.job.plans[0], run.job.plans[1]._replace(bug="no-mask")))
    assert differing_parts(run) == []


def test_the_verdict_begins_with_its_result_and_then_says_how_much_that_is_worth():
    first, rest = verdict_html(demo_run()).removeprefix('<p class="tl-words"><b>').split("</b>")
    assert first == (
        "After 400 steps the validation loss of A (Pre-LN) is 1.19 nats per token (1.71 bits per byte) lower than that "
        "of B (Post-LN)."
    )
    assert "3.3 times the probability" in rest and "One run of each names no winner" in rest
    assert verdict_html(half_way(DONE)) == ""


def test_what_five_seeds_tell_stands_in_place_of_what_one_run_of_each_does():
    shown = verdict_html(demo_run(), "A (Pre-LN) is lower on 5 of 5 seeds, by 1.1 ± 0.1 nats per token. More.")
    assert "<b>A (Pre-LN) is lower on 5 of 5 seeds" in shown and "names no winner" not in shown

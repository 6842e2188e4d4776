"""The Compare tab: which curve has which colour, and where the axis of its chart ends."""

import dataclasses
import math

import gradio as gr
import pytest

from pages import built
from support import GRADIO
from tlab.text.units import BytesPerToken
from tlab.training.records import Divergence, StepRecord
from tlab.ui.demo.shipped_run import demo_run, shipped_id
from tlab.ui.runs.checkpoint_store import CheckpointStore
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import MAX_HISTORY, Runs
from tlab.ui.runs.messages import NewRecords, Validated
from tlab.ui.runs.run import DONE, Run
from tlab.ui.settings.presets import COMPARISONS, DEMO_PRESET
from tlab.ui.sharing.convert import kept_run
from tlab.ui.tabs.compare.tab import CompareTab
from tlab.ui.tabs.compare.view import (
    comparable_runs,
    comparison_warning,
    config_table,
    drawn_sides,
    hidden_runs,
    list_value,
    overlay_value,
)
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.tabs.train.view import measured, numbers_html, place_words
from tlab.ui.visit import COOKIE, visit_of
from tlab.ui.widgets.line_chart import COLOURS, DASHES, line

pytestmark = GRADIO
SHIPPED = shipped_id(DEMO_PRESET)


@pytest.fixture
def runs():
    """Three finished runs of one side."""
    runs = Runs(LOCAL, slots=1)
    job = demo_run().job
    for _ in range(3):
        runs.add(Run("s", job._replace(plans=job.plans[:1]), LOCAL))
    yield runs
    runs.close()


def places(runs, hidden=()):
    """Of each curve, by run and letter."""
    return {
        (one.run_id, one.side.letter): (one.colour, one.dash) for one in drawn_sides(comparable_runs(runs, "s"), hidden)
    }


def look(run, *losses):
    records = [StepRecord(i + 1, loss, None, 1e-3, 1.0, i, 0.1) for i, loss in enumerate(losses)]
    run.apply_message(NewRecords(0, records), CheckpointStore(1, 1))


def test_no_two_curves_look_alike_and_both_sides_of_a_run_have_its_colour(runs):
    job = demo_run().job
    for _ in range(MAX_HISTORY - 3):
        runs.add(Run("s", job, LOCAL))
    looks = places(runs)
    assert len({*looks.values()}) == len(looks) == 3 + 2 * (MAX_HISTORY - 3) + 2
    for run in runs.history("s")[: MAX_HISTORY - 3]:
        assert looks[run.id, "A"][0] == looks[run.id, "B"][0] and looks[run.id, "A"][1] != looks[run.id, "B"][1]


@pytest.mark.parametrize("change", ["pin", "hide", "delete"])
def test_a_curve_keeps_its_place_whatever_becomes_of_another(runs, change):
    before = places(runs)
    newest, *_ = runs.history("s")
    oldest = runs.history("s")[-1]
    hidden = [oldest.id] if change == "hide" else []
    if change == "pin":
        oldest.pinned = True
    if change == "delete":
        runs.forget(oldest)
    after = places(runs, hidden)
    assert after[newest.id, "A"] == before[newest.id, "A"]
    assert all(before[key] == place for key, place in after.items())


def test_a_new_run_takes_the_place_that_a_deleted_one_has_left(runs):
    oldest = runs.history("s")[-1]
    place = oldest.place
    runs.forget(oldest)
    new = Run("s", oldest.job, LOCAL)
    runs.add(new)
    assert new.place == place


def test_no_two_of_the_first_curves_look_alike():
    looks = {(drawn["colour"], drawn["dash"]) for drawn in (line("", place, []) for place in range(COLOURS * DASHES))}
    assert len(looks) == COLOURS * DASHES


def test_a_run_that_exploded_does_not_take_the_axis(runs):
    newest, other, *_ = runs.history("s")
    look(newest, 4.0, 1e15)
    look(other, 5.0, 2.0)
    value = overlay_value(comparable_runs(runs, "s"), [])
    assert 5.0 < value["highest"] < 10
    assert any(point[1] > 1e14 for one in value["lines"] for point in one["points"])  # the log scale shows all


def test_a_loss_that_exploded_is_written_with_its_power_of_ten():
    assert measured(1874513422363308.25, ".3f") == "1.87e+15"
    assert [measured(2.0654, ".3f"), measured(-0.5, "+.3f"), measured(123456, ",")] == ["2.065", "−0.500", "123,456"]


@pytest.mark.parametrize("same", [True, False])
def test_losses_after_different_numbers_of_steps_are_not_subtracted_in_the_table(same):
    job = demo_run().job
    a, b = (plan._replace(training=dataclasses.replace(plan.training, steps=2)) for plan in job.plans)
    b = b if same else b._replace(training=dataclasses.replace(b.training, steps=4))
    run = Run("s", job._replace(plans=(a, b)), LOCAL)
    for side in range(2):
        run.apply_message(NewRecords(side, [StepRecord(1, 4.0 - side, None, 1e-3, 1.0, 9, 0.1)]), CheckpointStore(1, 1))
    assert ("−1.000" in numbers_html(run)) == same


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("gradient of blocks.0.mlp.up.bias", ", first seen in the gradient of the MLP up bias of layer 1"),
        ("blocks.3.mlp.up", ", first seen in MLP up of layer 4"),
        ("gradient of embedding.weight", ", first seen in the gradient of the embedding weight"),
        ("loss", ""),
    ],
)
def test_where_numbers_ended_is_said_in_plain_words(where, words):
    assert place_words(Divergence(3, where, f"the loss is {math.nan}")) == words


def test_runs_of_two_tokenizers_are_drawn_in_bits_per_byte(runs):
    chars, of_bytes, unknown = runs.history("s")
    chars.bytes_per_token, of_bytes.bytes_per_token = BytesPerToken(2.0, 4.0), BytesPerToken(1.0, 1.0)
    of_bytes.job = of_bytes.job._replace(tokenizer="byte")
    for run in (chars, of_bytes, unknown):
        look(run, 3.0)
        run.sides[0].curve.add_validation(1, 2.0)
    found = {run.id: run for run in (chars, of_bytes, unknown)}
    value = overlay_value(found, [])
    assert value["unit"].startswith("bits per byte") and "cannot be compared; not drawn" in value["unit"]
    drawn = [(one["points"][0][1], one["dots"][0][1]) for one in value["lines"]]
    by_hand = [(3 / 2, 2 / 4), (3, 2)]  # nats of a byte, in training and in validation
    assert drawn == [pytest.approx([nats / math.log(2) for nats in pair], abs=1e-4) for pair in by_hand]


def test_the_average_is_drawn_where_the_chart_of_its_own_run_has_it(runs):
    run = runs.history("s")[0]
    look(run, *(5 - step / 500 for step in range(1, 701)))
    (drawn,) = overlay_value({run.id: run}, [])["lines"]
    chart = run.sides[0].curve.to_json()
    bins = [[float(number) for number in bin.split(",")] for bin in (chart["bins"] + chart["last"]).split(";")]
    assert drawn["points"] == [[place, average] for _, _, _, average, place in bins]
    assert drawn["points"][-1] == pytest.approx([681, 5 - 681 / 500], abs=1e-4)  # on the straight line that it averages


def test_runs_of_one_tokenizer_stay_in_nats(runs):
    look(runs.history("s")[0], 3.0)
    value = overlay_value({run.id: run for run in runs.history("s")}, [])
    assert value["unit"].startswith("nats per token") and value["lines"][0]["points"][0][1] == 3.0


def runs_of(runs, *changes, read=None):
    """Two of the runs, each with some of its job changed, by id. `read`: what each has read, by default its text."""
    found = runs.history("s")[: len(changes)]
    for number, (run, change) in enumerate(zip(found, changes, strict=True)):
        run.job = run.job._replace(**change)
        run.text_sha256 = read[number] if read else f"of {run.job.corpus} {run.job.text}"
    return {run.id: run for run in found}


OWN = {"corpus": "your own text", "text": "one"}


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            {},
            {"corpus": "another"},
            "different texts (“python-docs” and “another”), so their losses cannot be compared",
        ),
        ({}, {"corpus": "another", "tokenizer": "byte"}, "so their losses cannot be compared"),
        (OWN, {**OWN, "text": "another"}, "different texts, each “your own text”, so their losses cannot be compared"),
        ({}, {"tokenizer": "byte"}, "The chart has bits per byte, which can."),
        ({}, {}, None),
        (OWN, OWN, None),
    ],
)
def test_what_cannot_be_compared_is_said_above_the_chart(runs, one, other, words):
    found = runs_of(runs, one, other)
    said = comparison_warning(found, [])
    assert words in said if words else said == ""
    assert comparison_warning(found, [next(iter(found))]) == ""  # of one run alone


def test_two_texts_of_ones_own_are_not_called_the_same_settings(runs):
    found = runs_of(runs, OWN, {**OWN, "text": "another"})
    table = config_table(found, [], True)
    assert "your own text, 3 characters" in table and "your own text, 7 characters" in table


@pytest.mark.parametrize(
    ("names", "read", "words", "listed"),
    [
        (("docs", "docs"), ("a" * 64, "b" * 64), "different texts, each “docs”", f"docs, sha256 {'b' * 12}"),
        (("docs", "docs"), ("a" * 64, "a" * 64), "", "These runs have the same settings."),
        (("docs", "copy of docs"), ("a" * 64, "a" * 64), "", "These runs have the same settings."),
        (("docs", "docs"), ("a" * 64, None), "", "These runs have the same settings."),
        (("docs", "other"), (None, None), "", "other"),
    ],
)
def test_texts_are_one_if_what_was_read_is_whatever_they_are_called(runs, names, read, words, listed):
    found = runs_of(runs, *({"corpus": name} for name in names), read=read)
    said = comparison_warning(found, [])
    assert words in said if words else said == ""
    assert listed in config_table(found, [], True)


def asked_by(page: str, session: str = "m" * 43) -> gr.Request:
    return gr.Request(session_hash=page, headers={"cookie": f"{COOKIE}={session}"}, query_params={})


def listed(tab, page: str) -> list[str]:
    """The ids of the runs that a page has to compare."""
    shown = tab.on_open({}, True, asked_by(page))[tab.list]["runs"]
    return [run["id"] for run in shown]


def test_the_pair_of_a_preset_stands_in_the_list_once_its_page_shows_it(runs):
    tab, preset = built(CompareTab, runs, after=[TrainTab]), COMPARISONS[1]
    tab.train.show(visit_of(asked_by("page")), None, preset)
    found = tab.comparable(visit_of(asked_by("page")))
    assert [*found] == [shipped_id(preset)]
    assert [*tab.comparable(visit_of(asked_by("other")))] == [SHIPPED]
    assert kept_run(runs, found[shipped_id(preset)]).sides[0].checkpoint.train_config.steps == preset.settings["steps"]


def test_a_run_that_a_link_has_opened_stays_in_the_list_of_its_page_and_of_no_other(runs):
    tab = built(CompareTab, runs, after=[TrainTab])
    linked = runs.history("s")[0]
    linked.shared, linked.state = True, DONE
    tab.train.show(visit_of(asked_by("page")), linked)
    tab.train.show(visit_of(asked_by("page")), None)  # the visitor goes on to something else
    assert listed(tab, "page") == [linked.id, SHIPPED] and listed(tab, "other") == [SHIPPED]
    (shown, _) = tab.on_open({}, True, asked_by("page"))[tab.list]["runs"]
    assert not shown["own"] and "opened by a link" in shown["words"]
    linked.shared = False
    assert listed(tab, "page") == [SHIPPED]


def settings_with(run, **changes):
    """The job of a run with other numbers in both configs of its only side."""
    (plan,) = run.job.plans
    of = {name: {k: v for k, v in changes.items() if hasattr(getattr(plan, name), k)} for name in ("model", "training")}
    changed = {name: dataclasses.replace(getattr(plan, name), **values) for name, values in of.items()}
    return run.job._replace(plans=(plan._replace(**changed),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_layers": 1}, "Layers 1"),
        ({"seed": 7}, "Seed 7"),
        ({"steps": 30}, "Steps 30"),
        ("text", "on your own text, 3 characters"),
        ("step", "1 of 400 steps"),
        ("state", "done"),
        (None, "begun as no. 3 of 3"),
    ],
)
def test_runs_of_one_name_are_told_apart_everywhere(runs, change, told):
    one, *_ = found = runs.history("s")
    for run in found:
        run.name = "the same"
    if change == "text":
        one.job = one.job._replace(**OWN)
    elif change == "step":
        look(one, 4.0)
    elif change == "state":
        one.state = DONE
    elif change is not None:
        one.job = settings_with(one, **change)
    listed = list_value(comparable_runs(runs, "s"), [], "s")["runs"]
    assert told in next(run["apart"] for run in listed if run["id"] == one.id)
    assert len({(run["name"], run["apart"]) for run in listed}) == len(listed)
    names = [line["name"] for line in overlay_value(comparable_runs(runs, "s"), [])["lines"]]
    assert len({*names}) == len(names) and any(told in name for name in names)
    assert all(name in config_table(comparable_runs(runs, "s"), [], True) for name in names)


def test_a_run_with_a_name_of_its_own_has_nothing_added(runs):
    one, *_ = runs.history("s")
    one.name = "mine"
    listed = list_value(comparable_runs(runs, "s"), [], "s")["runs"]
    assert next(run["apart"] for run in listed if run["id"] == one.id) == ""


def test_the_list_says_how_many_answers_are_right_where_a_text_has_answers(runs):
    one, *_ = runs.history("s")
    one.sides[0].complete(Validated(0, 5, 1.25, accuracy=0.875))
    listed = list_value(comparable_runs(runs, "s"), [], "s")["runs"]
    found = {run["id"]: run["sides"][0]["answers"] for run in listed}
    assert found.pop(one.id) == "87.5% of answers right" and {*found.values()} == {""}


def test_only_runs_on_the_text_of_the_train_tab_are_ticked_until_another_is(runs):
    own, other, *_ = runs_of(runs, OWN, {}).values()
    found = {run.id: run for run in (own, other)}
    assert hidden_runs(found, own, {}) == [other.id] and hidden_runs(found, other, {}) == [own.id]
    assert hidden_runs(found, own, {other.id: True, own.id: False}) == [own.id]


def test_the_pairs_of_all_presets_that_were_looked_at_stay_listed_and_the_latest_is_ticked(runs):
    tab = built(CompareTab, runs, after=[TrainTab])
    for preset in COMPARISONS[:3]:
        tab.train.show(visit_of(asked_by("page")), None, preset)
    shown = tab.on_open({}, True, asked_by("page"))[tab.list]["runs"]
    ids = [shipped_id(preset) for preset in COMPARISONS[2::-1]]
    assert [(run["id"], run["chosen"]) for run in shown] == [(ids[0], True), (ids[1], False), (ids[2], False)]

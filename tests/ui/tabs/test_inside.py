"""The Inside tab without a browser: every probe renders, whatever a page sends is checked, and looks are bounded."""

import gc
import time
from types import SimpleNamespace
from typing import NamedTuple

import gradio as gr
import numpy as np
import pytest

from pages import built, patient_inspector
from support import EVIL, GRADIO, VERSE, wait_for
from tlab.checks import CheckResult
from tlab.config import ConfigError, options
from tlab.files import file_name
from tlab.inside import PROBES, Probe
from tlab.inside.bugs import BUGS
from tlab.inside.interventions import INTERVENTIONS
from tlab.inside.over_time import Curves
from tlab.inside.pictures import Points
from tlab.inside.probes.ablation import NextRow
from tlab.text.tokenizers import visible_text
from tlab.ui.app import build
from tlab.ui.demo.shipped_run import EXCERPT, demo_checkpoint, demo_run
from tlab.ui.inspection import tasks
from tlab.ui.inspection.process import InspectionError, Inspector
from tlab.ui.inspection.selection import find_model, selected_model
from tlab.ui.inspection.tasks import InspectionRequest, InterventionEffect
from tlab.ui.runs.limits import LOCAL, PUBLIC
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.messages import Job, NewRecords, job_corpus
from tlab.ui.runs.run import ACTIVE
from tlab.ui.runs.worker import make_trainers, run_job
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, PRESET_TEXTS, PRESETS, preset_job
from tlab.ui.sharing.convert import kept_run
from tlab.ui.sharing.write_zip import ExportError
from tlab.ui.tabs.attention.tab import AttentionTab
from tlab.ui.tabs.inside.checks_panel import MAX_BUG_STEPS, bug_job, bug_words
from tlab.ui.tabs.inside.options import asked_options, default, groups, most, option_control, probe_words
from tlab.ui.tabs.inside.pictures import picture_value
from tlab.ui.tabs.inside.tab import FIRST, OTHER_TEXT, InsideTab
from tlab.ui.tabs.inside.view import (
    about_html,
    bar,
    bar_scales,
    checks_html,
    intervention_html,
    linked,
    over_time_value,
    probe_table,
    table,
    without_latex,
)
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.widgets.markup import UI
from tlab.wording import written

pytestmark = GRADIO

SMALL = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "context_length": 8, "batch_size": 4, "steps": 3,
         "validation_every": 0}  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    runs = Runs(PUBLIC, slots=1)
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def inspector():
    with patient_inspector(PUBLIC) as inspector:
        yield inspector


@pytest.fixture(scope="module")
def tab(runs, inspector):
    return built(InsideTab, runs, inspector, after=[TrainTab, AttentionTab])


def values_of(tab, **given):
    """What the page sends of all options: defaults, but for these of one probe, as key__name."""
    return [
        given.get(f"{key}__{name}", default(PROBES[key], name)) for key, name in tab.fields
    ]  # fmt: skip


def look(tab, key, text=EXCERPT, selection=None, run_id=None, **given):
    """The table."""
    asked = (run_id, text, selection or {"serial": 1}, key, demo_run().id, None)
    return tab.on_look(*asked, *values_of(tab, **given))[tab.table]


# ------------------------------------------------------------------------------------------------ probes


@pytest.mark.parametrize("key", PROBES)
def test_every_probe_renders_for_the_shipped_model(tab, key):
    shown = look(tab, key)
    assert "<table" in shown and "tl-in-refused" not in shown
    assert 'scope="col"' in shown and f'download="{key}.csv"' in shown


@pytest.mark.parametrize("key", PROBES)
def test_the_picture_of_a_probe_is_made_of_the_rows_of_its_table(tab, key):
    shown = tab.on_look(None, EXCERPT, {"serial": 1}, key, "shipped", None, *values_of(tab))[tab.picture]
    rows = tab.result(find_model(tab.runs, None), EXCERPT, key, {}).rows
    if PROBES[key].picture is None or len(rows) < 2:
        assert shown == {"kind": ""}
        return
    assert [tuple(row) for row in shown["rows"]] == [tuple(row) for row in rows]
    assert [column["key"] for column in shown["columns"]] == [*rows[0]._fields]
    of = find_model(tab.runs, None)
    label = file_name(PROBES.entries[key].label)
    assert shown["file"].startswith(file_name(of.run.name)) and shown["file"].endswith(
        f"_{label}_step-{of.checkpoint.step}"
    )


def test_a_probe_that_is_registered_later_gets_the_picture_that_it_declares(register):
    class Later(Probe):
        """Something new."""

        picture = Points("token", "share", "change")

    register(PROBES, "later", Later)
    shown = picture_value("later", [Row("a", 0.5, -1.0, 3), Row("b", 0.25, 2.0, 4)], "name")
    assert (shown["kind"], shown["x"], shown["y"], shown["shorts"]) == ("points", 1, 2, ["a", "b"])


def test_what_is_far_beyond_all_else_is_left_to_an_arrow_and_said():
    rows = tuple(Effect(f"attention.0.head.{i}", float(i % 3), -1.0, 1.0) for i in range(11))
    usual, cut = picture_value("effect", rows, "x"), picture_value("effect", (*rows, Effect("norms", 500.0, 1, 2)), "x")
    assert usual["cut"] is None and "arrow" not in usual["words"]
    assert 2.0 <= cut["cut"] < 500 and "beyond the axis, 1 row" in cut["words"]


def test_a_part_is_called_the_same_in_table_picture_and_chart_and_its_key_is_at_hand():
    rows = (Effect("attention.1.head.0", 0.1, 0.0, 0.2), Effect("mlp.0", 0.1, 0.0, 0.2))
    shown = probe_table("effect", rows)
    assert 'title="attention.1.head.0"' in shown and "head 1 of layer 2" in shown and "MLP of layer 1" in shown
    assert picture_value("effect", rows, "x")["shown"][0] == {"0": "head 1 of layer 2"}
    lines = over_time_value("x", Curves("loss", "part", [0, 1], {"attention.1.head.0": [0.0, 1.0]}), "nats")["lines"]
    assert [line["name"] for line in lines] == ["head 1 of layer 2"]


def test_one_line_far_beyond_the_others_does_not_flatten_them():
    lines = {f"mlp.{i}": [0.0, 1.0 + i / 100] for i in range(11)}
    assert over_time_value("x", Curves("loss", "part", [0, 1], lines), "nats")["highest"] is None
    value = over_time_value("x", Curves("loss", "part", [0, 1], {**lines, "norms": [0.0, 25_000.0]}), "nats")
    assert value["highest"] == 1.1  # the largest of the others; the chart says what lies above


def test_a_sentence_that_names_a_probe_leads_to_it_by_its_label():
    label = PROBES.entries["induction"].label
    assert linked("see `induction`, or `x`.") == [
        ("see ", ""),
        (label, "induction"),
        (", or ", ""),
        ("x", ""),
        (".", ""),
    ]
    assert 'data-probe="induction"' in about_html("effect") and "`" not in about_html("effect")


def test_a_head_leads_to_its_map_and_back_with_the_same_side_and_step(tab):
    own, of_map = {"serial": 7, "side": 1, "step": 9}, {"serial": 4, "query": 3}
    bar, selection, _ = tab.on_map({"key": "attention.1.head.2"}, own, of_map)
    there = {"serial": 4, "query": 3, "side": 1, "step": 9, "layer": 1, "head": 2}
    assert (bar["selected"], selection) == ("attention", there)
    assert tab.on_map({"key": "1.2"}, None, None)[1] == {"side": None, "step": None, "layer": 1, "head": 2}
    for nonsense in (None, [], {"key": EVIL}, {"key": "mlp.0"}, "x"):
        assert [type(one) for one in tab.on_map(nonsense, {}, {})] == [type(gr.skip())] * 3
    updates = tab.on_head({"part": "attention.1.head.2"}, {"serial": 7}, there)
    assert updates[tab.part] == "attention.1.head.2" and updates[tab.bar]["selected"] == "inside"
    assert updates[tab.selection] == {"serial": 7, "side": 1, "step": 9}


def test_every_probe_is_in_one_group_and_has_a_caption():
    assert sorted(key for keys in groups().values() for key in keys) == sorted(PROBES)
    for kind in PROBES.values():
        first, rest = probe_words(kind)
        assert first.endswith(".") and all(rest)


def test_a_probe_that_is_registered_later_gets_its_controls_from_its_fields(register):
    class Later(Probe):
        """Something new.

        Defined so. Notice: this.
        """

    register(PROBES, "later", Later)
    assert "later" in [key for keys in groups().values() for key in keys]
    assert probe_words(Later) == ("Something new.", ["Defined so.", "Notice: this."])


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, kind in PROBES.items() for name in options(kind)])
def test_every_option_has_a_control_that_opens_with_the_default(key, name):
    with gr.Blocks(analytics_enabled=False):
        control = option_control(key, name, public=True)
    assert control.value in (default(PROBES[key], name), "")


def test_what_a_page_sends_is_checked_and_an_empty_field_is_the_default():
    assert asked_options("lens", {"token": "", "place": None}, True) == {}
    assert asked_options("lens", {"token": "a", "place": 3.0}, True) == {"token": "a", "place": 3}
    for values in ({"place": "x"}, {"place": 1.5}, {"place": True}, {"token": 3}, {"token": "a" * 5000}):
        with pytest.raises(ConfigError):
            asked_options("lens", values, True)
    with pytest.raises(ConfigError, match="change"):
        asked_options("effect", {"change": EVIL}, True)


def test_amounts_are_smaller_on_a_page_that_many_share():
    kind = PROBES["effect"]
    here = most(kind, "count", public=True)
    assert here < most(kind, "count", public=False) == options(kind)["count"].high
    assert asked_options("effect", {"count": here}, True) == {"count": here}
    with pytest.raises(ConfigError, match="public page allows"):
        asked_options("effect", {"count": here + 1}, True)
    assert asked_options("effect", {"count": here + 1}, False) == {"count": here + 1}


@pytest.mark.parametrize(
    ("key", "given", "says"),
    [
        ("neuron", {"neuron__layer": 99}, "no neuron 0 in layer 99"),
        ("next", {"next__part": EVIL}, "no part"),
        ("lens", {"lens__token": "ab"}, "name exactly one"),
        ("effect", {"effect__count": 10_000}, "must be at least 2"),
    ],
)
def test_a_probe_that_has_no_meaning_says_why_in_place_of_the_table(tab, key, given, says):
    shown = look(tab, key, **given)
    assert "tl-in-refused" in shown and says in shown and "<table" not in shown and "<img" not in shown


def test_a_text_of_one_token_or_of_unknown_letters_is_refused_in_words(tab):
    assert "at least two tokens" in look(tab, FIRST, text="a")
    assert "tl-in-refused" in look(tab, FIRST, text="日本")


def test_a_nonsensical_selection_is_the_shipped_model(tab):
    for selection in (None, [], "x", {"side": "B", "step": "now", "serial": {}}, {"step": 1e9, "side": -4}):
        assert "<table" in look(tab, FIRST, selection=selection)
    assert "<table" in look(tab, "no such probe", run_id="nobody's")


def test_the_same_look_is_taken_once(tab, monkeypatch):
    look(tab, "heads")
    monkeypatch.setattr(tab.inspector, "call", None)  # would not do
    assert "<table" in look(tab, "heads")


def test_a_model_of_another_alphabet_gets_a_text_that_it_can_read(tab):
    updates = tab.on_look(None, "日本", {"serial": 1}, FIRST, "another run", "mlp.99", *values_of(tab))
    assert (updates[tab.shown], updates[tab.instead]) == (demo_run().id, ["日本", EXCERPT])
    assert "It reads the last 32 of the 63 tokens" in find_model(tab.runs, None).note(EXCERPT)


def test_following_a_table_draws_its_first_number_at_every_kept_step(tab):
    value = tab.on_follow(None, EXCERPT, {}, "heads", *values_of(tab))["chart"]
    steps = find_model(tab.runs, None).steps
    assert value["lines"] and all([x for x, _ in line["points"]] == steps for line in value["lines"])
    assert "entropy" in value["unit"]
    refused = tab.on_follow(None, EXCERPT, {}, "walk", *values_of(tab, walk__place=99))["chart"]
    assert not refused["lines"] and "place 99" in refused["empty"]


def test_the_rows_that_move_farthest_are_drawn():
    lines = {str(i): [0.0, float(i)] for i in range(40)}
    value = over_time_value("x", Curves("score", "row", [0, 1], lines), "of 1")
    assert [line["name"] for line in value["lines"]] == [str(i) for i in range(28, 40)]
    assert "12 of 40 rows" in value["unit"]


def test_the_chart_over_the_training_names_a_column_as_its_table_does():
    value = over_time_value("x", Curves("logprob", "row", [0, 1], {"a": [0.0, 1.0]}), "nats")
    assert value["unit"] == "log probability, nats"


def test_lines_between_a_few_kept_steps_are_said_to_be_that():
    few, many = (
        over_time_value("x", Curves("logprob", "row", steps, {"a": [0.0] * len(steps)}), "nats")["title"]
        for steps in ([0, 1500], list(range(20)))
    )
    assert few == "x, over the training; kept are 2 steps alone, straight lines join them"
    assert many == "x, over the training"


def test_another_bug_takes_the_checks_of_the_one_before_away(tab):
    panel = tab.checks
    assert "Press the button" in panel.on_bug("no_scale")[panel.checks]


def test_what_is_drawn_of_side_b_has_its_colour_first(tab):
    of = find_model(tab.runs, None, side=1)
    assert of.side == 1
    rows = tab.result(of, EXCERPT, "lens", {}).rows
    assert tab.picture_of(of, "lens", rows)["side"] == 1
    curves = Curves("loss", "row", [0, 1], {name: [0.0, 1.0] for name in "abc"})
    colours = {side: [one["colour"] for one in over_time_value("x", curves, "", side)["lines"]] for side in (0, 1)}
    assert colours == {0: [0, 1, 2], 1: [1, 0, 2]}
    assert [("tl-of-b" in probe_table("lens", rows, side)) for side in (0, 1)] == [False, True]


# ------------------------------------------------------------------------------------------------ tables


class Effect(NamedTuple):
    part: str
    loss: float
    low: float
    high: float


class Row(NamedTuple):
    token: str
    share: float
    change: float
    count: int


def test_every_cell_is_escaped_and_numbers_stand_to_the_right_under_their_units():
    rows = [Row(EVIL, 0.5, -1.0, 3), Row("b", 0.25, 2.0, 4)]
    scales = bar_scales(rows, {"share": "of 1"})
    shown = table(rows, {"share": "of 1"}, scales, "x")
    assert "<img" not in shown and "&lt;img" in shown
    assert scales == {"share": (1.0, False)} and "width:50.0%" in shown
    assert shown.count("<small>of 1</small>") == 1 and shown.count('<td class="tl-in-number">') == 6


def test_only_a_table_with_a_striped_bar_says_that_bars_are_cut():
    usual = [Row("a", 0.0, 0.5, 0)] * 10
    assert "striped" not in probe_table("effect", usual)
    shown = probe_table("effect", [*usual, Row("a", 0.0, 1000.0, 0)])
    assert "striped" in shown and shown.count("tl-in-cut") == 1
    assert shown.index("tl-in-legend") < shown.index("striped")  # a folded table hides its legend
    assert ".tl-in-card:not([open]) .tl-in-legend { display: none; }" in (UI / "tabs/inside/style.css").read_text(
        "utf-8"
    )


def test_the_first_layer_of_a_map_is_at_the_bottom_and_its_caption_says_that_it_goes_up():
    rows = PROBES["lens_map"]().rows(tasks.subject_of(find_model(Runs(LOCAL, 1), None).request(EXCERPT)))
    shown = picture_value("lens_map", rows, "x")
    assert shown["up_name"] == "blocks passed" and shown["down"][-1] == "0"
    assert [int(depth) for depth in shown["down"]] == sorted(map(int, shown["down"]), reverse=True)
    assert "`up: ${upName}`" in (UI / "tabs/inside/picture.js").read_text("utf-8")


@pytest.mark.parametrize("probe", ["heads", "sinks"])
def test_shares_of_heads_are_drawn_from_0_to_1_on_every_side_and_at_every_step(probe):
    rows = PROBES[probe]().rows(tasks.subject_of(find_model(Runs(LOCAL, 1), None).request(EXCERPT)))
    shown = picture_value(probe, rows, "x")
    assert shown["scale"]["high"] == 1.0 and "to 1" in shown["words"]


def test_an_axis_of_shares_ends_at_0_and_1():
    assert "columns[column].share ? [0, 1]" in (UI / "tabs/inside/picture.js").read_text("utf-8")


def test_a_probe_of_the_drawing_looks_into_the_run_that_is_shown_below_it(tab):
    of_opening, of_own = (tab.on_drawing({"probe": "units"}, run_id) for run_id in (None, "own"))
    assert find_model(tab.runs, of_opening[tab.model_id]).run.name == DEMO_PRESET.label
    assert of_own[tab.model_id] == "own" and of_own[tab.probe]["value"] == "units"


def test_bars_go_to_the_side_of_the_sign_and_far_outliers_are_cut():
    rows = [Row("a", 0.0, value, 0) for value in (-1.0, 1.0, *[0.5] * 8, 1000.0)]
    ((largest, signed),) = bar_scales(rows, {"change": "nats"}).values()
    assert signed and largest == 3.0  # three times what nine of ten reach
    assert "left:33.3%;width:16.7%" in bar(-1.0, largest, signed) and "tl-in-minus" in bar(-1.0, largest, signed)
    assert "left:50.0%;width:50.0%" in bar(1000.0, largest, signed) and "tl-in-cut" in bar(1000.0, largest, signed)
    assert bar(float("nan"), 1.0, False) == ""
    assert not bar_scales([Row("a", np.nan, 0.0, 0)] * 2, {"change": "nats"})


def test_equations_in_a_table_are_plain_text():
    assert without_latex(r"S = Q K^\top / \sqrt{D}") == "S = Q Kᵀ / √D"
    assert without_latex("a b") == "a b" and "\\" not in without_latex(r"\partial \mathcal{L} / \partial(x)")


def test_a_table_with_evil_tokens_is_escaped_with_its_file():
    rows = PROBES["lens"]().rows(tasks.subject_of(find_model(Runs(LOCAL, 1), None).request(EXCERPT)))
    shown = probe_table("lens", [row._replace(token=EVIL) for row in rows])
    assert "<img" not in shown


# ------------------------------------------------------------------------------------------------ interventions


@pytest.mark.parametrize("change", INTERVENTIONS)
def test_every_change_of_a_head_shows_its_cost_or_what_it_carries(tab, change):
    other = EXCERPT.replace("name", "list")
    shown = tab.on_what_if(None, EXCERPT[:30], {}, "attention.0.head.1", change, other[:30])
    assert "before" in shown and "<table" in shown and "tl-in-refused" not in shown
    assert ("nats per token" in shown) != INTERVENTIONS[change].needs_reference


@pytest.mark.parametrize("part", ["positions", "norms", "mlp.0.neuron.3", "mlp.7"])
def test_positions_norms_and_neurons_can_be_taken_away(tab, part):
    assert "nats per token" in tab.on_what_if(None, EXCERPT, {}, part, "zero", "")


def test_the_other_text_that_is_offered_can_be_patched_from(tab):
    assert "tl-in-refused" not in tab.on_what_if(None, EXCERPT, {}, "mlp.0", "patch", OTHER_TEXT)


def test_a_patch_names_the_two_tokens_whose_logits_it_tells_of(tab):
    shown = tab.on_what_if(None, EXCERPT, {}, "mlp.0", "patch", OTHER_TEXT)
    subject = tasks.subject_of(find_model(tab.runs, None).request(EXCERPT))
    compared, names = PROBES["patch"](other=OTHER_TEXT).compare(subject), subject.checkpoint.tokenizer.tokens
    told = f"the logit of “{names[compared.a]}” less that of “{names[compared.b]}”"
    assert told in " ".join(shown.split()) and written(compared.whole, "+.3f") in shown


def test_what_is_multiplied_by_one_is_said_to_have_no_effect(tab):
    shown = tab.on_what_if(None, EXCERPT, {}, "mlp.0", "scale", "", 1.0)
    assert "no effect is shown" in shown and "multiply by 1" in shown
    assert "multiply by 2" in tab.on_what_if(None, EXCERPT, {}, "mlp.0", "scale", "", EVIL)


def test_what_the_words_say_of_a_change_is_what_its_interval_shows():
    for low, high, says in ((0.1, 0.3, "predicts worse"), (-0.3, -0.1, "predicts better"), (-0.1, 0.3, "no effect")):
        shown = intervention_html("x", InterventionEffect((0.1, low, high), 16, [], None, None), "the text")
        assert [words in shown for words in ("predicts worse", "predicts better", "no effect")] == [
            words == says for words in ("predicts worse", "predicts better", "no effect")
        ]


def test_the_cost_is_that_of_the_probe(tab):
    of = find_model(tab.runs, None)
    done = tab.intervention(of, EXCERPT, "mlp.0", "zero", "")
    (row,) = PROBES["effect"](part="mlp.0", change="zero", count=done.windows).rows(
        tasks.subject_of(of.request(EXCERPT))
    )
    assert done.loss == pytest.approx((row.loss, row.low, row.high), abs=1e-5)
    assert sum(candidate.before for candidate in done.candidates) < 1


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [("all", "zero", "choose one part"), (EVIL, "zero", "no part"), ("mlp.0", "uniform", "no attention weights"),
     ("mlp.0", "patch", "same number of tokens"), (None, None, "no part")],
)  # fmt: skip
def test_an_intervention_that_cannot_be_is_refused_in_words(tab, part, change, says):
    shown = tab.on_what_if(None, EXCERPT[:30], {}, part, change, "ab")
    assert says in shown and "<img" not in shown and "<table" not in shown


def test_the_parts_on_offer_are_those_of_the_model(tab):
    config = demo_checkpoint().model_config
    names = tasks.part_names(config)
    assert len(names) == config.num_layers * (config.num_heads + 2) + 2
    for name in names[:-2]:
        tasks.find_part(demo_checkpoint().model(), name)


# ------------------------------------------------------------------------------------------------ checks and bugs


def test_the_shipped_configuration_passes_its_checks_and_a_bug_is_caught(tab):
    assert "checks pass" in tab.checks.on_check(None, {}, ":none")
    assert "Caught" in tab.checks.on_check(None, {}, "no-mask")


def test_a_failed_check_stands_first_and_says_so():
    shown = checks_html([CheckResult("gradient", "fine", 1e-9, 1e-6), CheckResult("meaning", EVIL, 1.0, 1e-10)], "it")
    assert shown.index("&lt;img") < shown.index("fine") and "✗ failed" in shown and "<img" not in shown
    assert "Not caught" in checks_html([CheckResult("gradient", "fine", 0.0, 1.0)], "it")


def test_a_large_model_is_not_checked_but_told_why():
    config = demo_checkpoint().model_config
    large = type(config).from_json({**config.to_json(), "hidden_dim": 512})
    with pytest.raises(ValueError, match="Checks take"):
        tasks.check_rows(large, None)


def test_every_bug_has_words_and_an_unknown_one_is_no_bug():
    assert all(len(bug_words(key)) > 80 for key in BUGS)
    assert bug_words(None) == bug_words(EVIL)


def tiny_job(bug, **changes):
    plan = make_plans({**SMALL, **changes})[0]
    return Job("own", VERSE * 20, "char", (plan, plan._replace(label="B", bug=bug)))


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_trains_in_lockstep_and_only_in_b(bug):
    job = tiny_job(bug, **({"attention_softmax": "plus_one"} if bug == "shifted-plus-one" else {}))
    silent = SimpleNamespace(poll=lambda: False)
    messages = list(run_job(job, silent))
    plain_one = list(run_job(job._replace(plans=(job.plans[0],)), silent))
    records = {side: [r.loss for m in messages if isinstance(m, NewRecords) and m.side == side for r in m.records]
               for side in (0, 1)}  # fmt: skip
    alone = [r.loss for m in plain_one if isinstance(m, NewRecords) for r in m.records]
    assert records[0] == alone and len(records[1]) == SMALL["steps"]
    assert messages[-1].checkpoints[1].step == SMALL["steps"]


def test_a_resumed_run_keeps_its_bug():
    job = tiny_job("no-scale")
    corpus = job_corpus(job)
    trainers = make_trainers(job, corpus)
    plans = tuple(p._replace(checkpoint=t.checkpoint()) for p, t in zip(job.plans, trainers, strict=True))
    scales = [t.model.blocks[0].attention.scale for t in make_trainers(job._replace(plans=plans), corpus)]
    assert scales[1] == 1.0 != scales[0]


def test_the_run_of_a_bug_has_the_settings_of_the_chosen_side(runs):
    of = selected_model(runs, None, {"side": 1})
    job = bug_job(of, "no-mask")
    right, wrong = job.plans
    assert right.model == wrong.model
    assert right.model.with_vocab(of.checkpoint.model_config.vocab_size) == of.checkpoint.model_config
    assert right.model.residual == "post" and (right.bug, wrong.bug) == (None, "no-mask")
    assert right.training.steps <= MAX_BUG_STEPS
    runs.check(job)


def test_a_bug_that_cannot_be_is_refused_before_anything_starts(runs):
    with pytest.raises(ValueError, match="cannot be planted"):
        runs.check(tiny_job("batch-norm", norm="none"))
    with pytest.raises(ValueError, match="unknown bug"):
        runs.check(tiny_job(EVIL))
    with pytest.raises(ValueError, match="unknown bug"):
        bug_job(find_model(runs, None), ":none")


def test_a_run_with_a_bug_is_looked_at_but_not_exported(runs, inspector):
    run = runs.start("someone", tiny_job("no-mask"))
    wait_for(lambda: run.state not in ACTIVE)
    assert run.state == "done", run.error
    of = selected_model(runs, run.id, {"side": 1})
    assert "looked at without it" in of.note("the")
    with pytest.raises(ExportError, match="planted bug"):
        kept_run(runs, run)
    tab = built(InsideTab, runs, inspector, after=[TrainTab, AttentionTab])
    shown = look(tab, "effect", text="the quick", run_id=run.id)  # searches the visitor's own text
    assert "<table" in shown, shown


# ------------------------------------------------------------------------------------------------ profile and limits


def test_a_profile_tells_each_part_and_what_it_cost_itself(tab):
    shown = tab.checks.on_profile(None, {})
    assert "attention" in shown and "of peak" in shown and "With its parts timed" in shown
    assert "With the settings of " in shown and DEMO_PRESET.label in shown


def test_a_step_that_takes_too_long_is_not_profiled(runs):
    request = find_model(runs, None).request("")
    training = request.checkpoint.train_config
    huge = type(training).from_json({**training.to_json(), "batch_size": 4096})
    with pytest.raises(ValueError, match="too long to profile"):
        tasks.profile_step(request, huge)


def test_what_is_said_of_a_steps_time_was_measured(runs, monkeypatch):
    request = find_model(runs, None).request("")
    monkeypatch.setattr(tasks, "seconds_of_step", lambda *_: 2.5)
    with pytest.raises(ValueError, match=r"One step of this run takes about 2.5 s here now"):
        tasks.profile_step(request, request.checkpoint.train_config)
    monkeypatch.setattr(tasks, "gemm_rate", lambda: 1e6)
    with pytest.raises(ValueError, match=r"takes at least .* here now, too long to profile"):
        tasks.profile_step(request, request.checkpoint.train_config)


def test_a_look_that_takes_too_long_ends_with_its_process_and_the_next_is_answered():
    inspector = Inspector(PUBLIC)
    try:
        inspector.call(time.sleep, 0)
        child, inspector.seconds = inspector.child, 0.2
        with pytest.raises(InspectionError, match="more than 0 seconds"):
            inspector.call(time.sleep, 1e6)
        assert child is inspector.child and not child.alive
        inspector.seconds = 30
        assert inspector.call(time.sleep, 0) is None
    finally:
        inspector.end()


def test_a_look_that_needs_too_much_memory_says_so_and_the_next_is_answered():
    inspector = Inspector(PUBLIC)
    try:
        with pytest.raises(InspectionError, match="memory"):
            inspector.call(np.ones, 2 * inspector.memory // 8)
        assert inspector.call(time.sleep, 0) is None
    finally:
        inspector.end()


def test_a_corpus_is_found_by_name_and_never_by_path(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text(VERSE * 20)
    with pytest.raises(ValueError, match="there is no"):
        tasks.corpus_of(str(path), None, "char")


def test_the_induction_preset_brings_its_text_and_the_next_one_takes_it_away(runs):
    (preset,) = (preset for preset in PRESETS.values() if preset.corpus)
    assert preset_job(preset).corpus in PRESET_TEXTS
    page = build(runs)
    handler = next(fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "on_preset")
    corpus = next(out for out in handler.outputs if out.elem_id == "field-corpus")
    assert handler.fn(preset.label, "python-docs")[corpus] == preset.corpus
    other = next(label for label in PRESETS if not PRESETS[label].corpus)
    assert handler.fn(other, preset.corpus)[corpus] == "python-docs"
    assert corpus not in handler.fn(other, "mine")  # a visitor's choice stays
    del page, handler
    gc.collect()


def test_attention_and_inside_read_the_same_end_of_a_long_text(tab):
    of = find_model(tab.runs, None)
    length = of.checkpoint.model_config.context_length
    text = EXCERPT * 3
    subject = tasks.subject_of(of.request(text))
    assert tab.cache.look(of.checkpoint, text).tokens == subject.tokens
    assert of.checkpoint.tokenizer.decode(subject.ids) == text[-length:]
    assert f"It reads the last {length} of the {len(text)} tokens." in of.note(text)


def test_an_intervention_reads_no_more_windows_than_do_not_overlap_and_says_how_many():
    text = ("of one's own, " * 400)[:4230]  # of which 423 are for validation
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "context_length": 32, "steps": 1}
    job = Job("your own text", text, "char", make_plans(sizes))
    (trainer,) = make_trainers(job, job_corpus(job))
    checkpoint = trainer.checkpoint()
    asked = InspectionRequest(checkpoint, "of one", "your own text", text, "char")
    assert tasks.intervene(asked, "mlp.0", "zero", "", 16).windows == 13


def test_bytes_and_unseen_characters_keep_their_numbers_in_a_table():
    assert without_latex(r"\x80") == r"\x80"
    assert without_latex(visible_text("\u200d")) == "U+200D"


def test_a_probability_that_is_not_0_is_not_shown_as_0():
    done = InterventionEffect((0.0, 0.0, 0.0), 1, [NextRow("a", 0.0004, 0.0)], None, None)
    shown = intervention_html("words", done, "the text")
    assert "&lt; 0.1%" in shown and "after “the text”" in shown


def test_coming_from_a_head_nothing_of_another_part_or_model_is_left_to_be_read(tab):
    updates = tab.on_head({"part": "attention.0.head.0"}, {}, {})
    assert "head 1 of layer 1" in updates[tab.effect] and "computed" in updates[tab.effect]
    assert "computed" in updates[tab.note]

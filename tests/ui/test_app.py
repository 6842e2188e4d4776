"""The app without a browser: its controls, its runs in worker processes, its limits, and what a client may send."""

import asyncio
import contextlib
import dataclasses
import gc
import inspect
import itertools
import json
import math
import os
import re
import signal
import threading
import time
import urllib.request
import warnings
from collections import Counter

import gradio as gr
import numpy as np
import pytest

from pages import built
from support import EVIL, GRADIO, SMALL, wait_for
from tlab import ModelConfig, TrainConfig
from tlab.cli.terminal import END_SIGNALS
from tlab.config import options
from tlab.nn.activations import ACTIVATIONS, Relu
from tlab.nn.model import Transformer
from tlab.text import CORPORA, TOKENIZERS
from tlab.training.records import Divergence, StepRecord
from tlab.ui import app
from tlab.ui.app import build, launch_options
from tlab.ui.demo.shipped_run import demo_checkpoint, demo_run, demo_steps
from tlab.ui.inspection.selection import find_model
from tlab.ui.listening import only_latest
from tlab.ui.runs import time_estimate
from tlab.ui.runs.checkpoint_store import CheckpointStore, checkpoint_bytes
from tlab.ui.runs.limits import LOCAL, PUBLIC, TooLargeError, check_limits, limits_here
from tlab.ui.runs.live_trainer import insight_steps, kept_steps
from tlab.ui.runs.loss_curve import MAX_BINS, Curve
from tlab.ui.runs.manager import MAX_HISTORY, BusyError, Place, Runs
from tlab.ui.runs.messages import Job, Sample, job_corpus
from tlab.ui.runs.run import DIVERGED, DONE, FAILED, PAUSED, RUNNING, STOPPED, WAITING, Run
from tlab.ui.runs.time_estimate import (
    CALIBRATION_MODELS,
    FORWARD_SHARE,
    OVERHEAD,
    ROUNDS,
    Pace,
    cost_terms,
    estimated_seconds,
    measure_pace,
    update_pace,
)
from tlab.ui.runs.worker import make_trainers
from tlab.ui.settings.controls import Controls
from tlab.ui.settings.fields import field_names, values_of
from tlab.ui.settings.own_text import OWN_TEXT
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_job, preset_settings
from tlab.ui.settings.side_b import suggest_value
from tlab.ui.studies.five_seeds import seeds_study
from tlab.ui.tabs.tab import Tab
from tlab.ui.tabs.train.tab import TrainTab
from tlab.ui.tabs.train.view import (
    WHY_CHARTS,
    chart_value,
    numbers_html,
    run_words,
    samples_html,
    state_html,
    why_value,
)
from tlab.ui.widgets.component import error_toast

pytestmark = GRADIO

PAGE = gr.Request(session_hash="s")
TEXT = "the quick brown fox jumps over the lazy dog; " * 40
PRESSED = ("class-teach-selection", "class-go-selection")  # what buttons of our own send


def job(steps: int = 40, text: str | None = TEXT, **training) -> Job:
    """A run that takes a moment."""
    return Job("your own text", text, "char", make_plans({**SMALL, "steps": steps, **training}))


def pair(switch: tuple[str, object] = ("residual", "post"), **changes) -> Job:
    """Two sides."""
    return Job("your own text", TEXT, "char", make_plans({**SMALL, "num_layers": 2, "steps": 40, **changes}, switch))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def runs():
    runs = Runs(LOCAL, slots=1)
    yield runs
    runs.close()
    wait_for(lambda: runs.free_slots == 1)
    runs.close()  # the last relay may have prepared a worker meanwhile


@pytest.fixture(scope="module")
def controls() -> Controls:
    with gr.Blocks(analytics_enabled=False):
        made = Controls({}, None, LOCAL.text)
        made.build()
    return made


def component(controls: Controls, name: str):
    return controls.components[name]


# ------------------------------------------------------------------------------------------------ controls

SWITCHES = {
    **{name: option.registry for c in (ModelConfig, TrainConfig) for name, option in options(c).items()},
    "corpus": CORPORA,
    "tokenizer": TOKENIZERS,
}


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, registry in SWITCHES.items() for key in registry or ()]
)
def test_every_registered_key_is_a_choice_under_its_label(controls, name, key):
    assert (SWITCHES[name].entries[key].label, key) in component(controls, name).choices


@pytest.fixture
def mish():
    @ACTIVATIONS.add("mish", label="Mish of this test", formula=r"x \tanh(\ln(1 + e^x))")
    class Mish(Relu):
        """Bends twice."""

    yield Mish
    ACTIVATIONS.remove("mish")


def test_an_activation_that_is_registered_at_run_time_is_a_choice_of_the_next_page(mish):
    page = build(Runs(LOCAL, slots=1))
    assert any(
        ("Mish of this test", "mish") in getattr(block, "choices", ())
        for block in page.blocks.values()
        if getattr(block, "elem_id", None) == "field-activation"
    )


def test_every_field_of_the_configs_has_a_control_but_the_vocabulary(controls):
    fields = [*options(ModelConfig), *options(TrainConfig)]
    extra = {"corpus", "text", "tokenizer", "start_from", "switch", "switch_choice", "switch_number"}
    assert set(controls.components) == {*fields, *extra} - {"vocab_size"}


def test_untouched_controls_ask_for_the_default_run(controls):
    asked = controls.job([c.value for c in controls.inputs])
    (plan,) = asked.plans
    assert plan.configs(9) == (ModelConfig(vocab_size=9), TrainConfig())
    assert asked.text is None


def test_the_page_opens_on_the_run_that_start_would_repeat():
    tab = built(TrainTab, Runs(LOCAL, slots=1))
    asked = tab.controls.job([c.value for c in tab.controls.inputs])
    assert asked.plans == demo_run().job.plans == preset_job(DEMO_PRESET).plans


def test_the_collector_leaves_alone_what_stands_when_the_server_begins():
    from tlab.ui.app import collect_garbage_seldom

    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        collect_garbage_seldom()
        assert gc.get_freeze_count() > frozen + 10_000 and gc.get_threshold() > before
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@pytest.mark.parametrize("label", PRESETS)
def test_a_preset_is_a_run_that_the_public_page_allows(label):
    Runs(PUBLIC, slots=1).check(preset_job(PRESETS[label]))  # raises where it refuses


@pytest.mark.parametrize("label", PRESETS)
def test_a_preset_that_sets_the_controls_asks_for_itself(label):
    preset = PRESETS[label]
    with gr.Blocks(analytics_enabled=False):
        controls = Controls({}, None, LOCAL.text)
        controls.build()
    updates = controls.preset_updates(preset)
    values = []
    for component in controls.inputs:
        update = updates.get(component, component.value)
        values.append(update.get("value") if isinstance(update, dict) and "__type__" in update else update)
    assert controls.job(values).plans == preset_job(preset).plans


@pytest.mark.parametrize("name", field_names())
def test_any_field_can_be_the_one_thing_that_b_changes(controls, name):
    given = {name: component.value for name, component in controls.components.items()}
    value = suggest_value(name, given[name])
    as_sent = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
    given |= {"switch": name, "switch_choice": as_sent, "switch_number": value}
    a, b = controls.job(list(given.values())).plans
    both = [values_of(plan.model, plan.training) for plan in (a, b)]
    assert [key for key in both[0] if both[0][key] != both[1][key]] == [name]
    assert a.label != b.label


@pytest.mark.parametrize("name", field_names())
def test_the_proposal_for_b_is_a_run_that_can_be(name):
    settings = preset_settings(DEMO_PRESET)
    value = suggest_value(name, settings[name])
    plan = make_plans(settings, (name, value))[1]
    plan.configs(20)  # raises where the settings don't fit each other


def test_b_must_differ_from_a(controls):
    with pytest.raises(ValueError, match="B is the same as A: “Norm” is LayerNorm in both"):
        make_plans({}, ("norm", "layernorm"))


@pytest.mark.parametrize("name", ["vocab_size", "__class__", EVIL])
def test_b_cannot_change_what_is_no_setting(controls, name):
    given = {name: component.value for name, component in controls.components.items()}
    with pytest.raises(ValueError, match="no setting called"):
        controls.job(list({**given, "switch": name}.values()))


# ------------------------------------------------------------------------------------------------ pictures


def record(step: int, loss: float, validation_loss: float | None = None) -> StepRecord:
    return StepRecord(step, loss, validation_loss, 1e-3, 1.0, step * 10, step * 0.01)


@pytest.mark.parametrize("steps", [1, MAX_BINS, MAX_BINS + 1, 10_000])
def test_a_curve_of_any_length_fits_and_loses_no_peak(steps):
    losses = np.random.default_rng(0).normal(3, 1, steps)
    curve = Curve()
    for i, loss in enumerate(losses.tolist()):
        curve.add(record(i + 1, loss))
    assert len(curve.bins) <= MAX_BINS
    assert (min(b[1] for b in curve.bins), max(b[2] for b in curve.bins)) == (losses.min(), losses.max())


def test_a_curve_keeps_every_validation_point_at_its_step():
    curve = Curve()
    for step in range(1, 2001):
        curve.add(record(step, 2.0, 1.5 if step % 500 == 0 else None))
    assert curve.validation == [[500, 1.5], [1000, 1.5], [1500, 1.5], [2000, 1.5]]


def frames_of_a_run() -> list[dict]:
    curve = Curve()
    frames = []
    for item in [record(step, 4 / step) for step in range(1, 1001)]:
        curve.add(item)
        frames.append(curve.to_json())
    return frames


def test_while_bins_are_as_wide_a_frame_only_adds_to_the_one_before():
    frames = frames_of_a_run()
    pairs = [(a, b) for a, b in itertools.pairwise(frames) if a["width"] == b["width"]]
    assert all(after["bins"].startswith(before["bins"]) for before, after in pairs)


def test_no_frame_asks_gradio_to_remove_anything():
    # In lists inside lists it removes the wrong members; see Curve.to_json.
    frames = [[{"runs": [frame]}] for frame in frames_of_a_run()]
    edits = [edit[0] for before, after in itertools.pairwise(frames) for edit in gr.utils.diff(before, after)]
    assert "delete" not in edits


def test_a_frame_says_how_full_its_last_bin_is():
    curve = Curve()
    for step in range(1, 2 * MAX_BINS + 2):  # halved twice: one step over 150 bins of four
        curve.add(record(step, 2.0))
    frame = curve.to_json()
    assert (frame["bins"].count(";"), frame["width"], frame["filled"]) == (150, 4, 1)


def test_a_frame_is_of_one_moment_while_another_thread_adds_to_its_curve():
    curve = Curve()
    adding = threading.Thread(target=lambda: [curve.add(record(step, 2.0)) for step in range(1, 60_000)])
    adding.start()
    while adding.is_alive():
        assert all(bin.count(",") == 4 for bin in curve.to_json()["bins"].split(";") if bin)


def test_what_is_not_finite_never_reaches_the_chart():
    run = Run("s", job(), LOCAL)
    for step, loss in enumerate([3.0, math.inf, math.nan], 1):
        run.sides[0].add(record(step, loss))
    assert json.loads(json.dumps(chart_value(run), allow_nan=False))["runs"][0]["last"] == "3.0,3.0,3.0,3.0,1.0"


def test_the_chart_has_words_for_those_who_cannot_see_it():
    words = chart_value(demo_run())["alternative"]
    for side in demo_run().sides:
        assert f"{side.letter}, {side.label}: training loss" in words
        assert f"Validation loss: {side.validation_loss:.2f}" in words


def losses_of(*losses: float) -> Run:
    """A run of two sides that end at these validation losses."""
    run = Run("s", pair(), LOCAL)
    for side, loss in zip(run.sides, losses, strict=True):
        side.add(record(40, 2.5, loss))
    run.state = DONE
    return run


def test_the_numbers_of_both_sides_stand_beside_their_difference():
    shown = numbers_html(losses_of(2.0, 3.25))
    assert "<td>2.000</td><td>3.250</td><td>+1.250</td>" in shown


def test_what_both_sides_share_is_said_once_the_text_is_read():
    run = Run("s", pair(), LOCAL)
    assert "batches" not in numbers_html(run)
    run.vocab_size = 65
    assert "A and B read the same batches and start from the same first weights." in numbers_html(run)
    assert "tokens a step" not in numbers_html(run)
    side = run.sides[1]
    side.training = dataclasses.replace(side.training, batch_size=side.training.batch_size + 1)
    shown, tokens = numbers_html(run), run.sides[0].model.context_length
    assert "A and B read different batches and start from the same first weights." in shown
    read = [f"{one.training.batch_size * tokens:,}" for one in run.sides]
    assert f"A reads {read[0]} tokens a step, and B {read[1]}." in shown


def test_every_insight_has_a_chart_with_a_caption():
    from tlab.inside.layers import LayerInsight

    assert tuple(WHY_CHARTS) == LayerInsight._fields
    assert all(chart.caption.endswith(".") for chart in WHY_CHARTS.values())


def test_the_picture_of_updates_shows_which_layers_move_by_weight_decay_alone():
    run = demo_run()
    assert [chart["title"] for chart in why_value(run)["charts"] if chart["has_decay"]] == ["Update"]
    by_layer = {}
    for side, shown in zip(run.sides, why_value(run)["sides"], strict=True):
        shares = [float(share) for share in shown["decay"].split(";")[:-1]]
        assert len(shares) == len(side.insights)
        by_layer[side.letter] = [layer.update_ratio / shares[-1] for layer in side.insights[-1].layers]
    assert min(by_layer["A"]) > 10
    assert by_layer["B"][:2] == pytest.approx([1, 1], rel=0.01) and by_layer["B"][-1] > 10  # Post-LN's first layers


@pytest.mark.parametrize(("optimizer", "weight_decay"), [("sgd", 0.1), ("adam", 0.1), ("adamw", 0.0)])
def test_no_share_of_weight_decay_is_drawn_where_it_has_none_of_its_own(optimizer, weight_decay):
    job = demo_run().job
    settings = {"optimizer": optimizer, "weight_decay": weight_decay}
    run = Run("s", job._replace(plans=make_plans(settings)), LOCAL)
    run.sides[0].insights = demo_run().sides[0].insights
    assert why_value(run)["sides"][0]["decay"] == ""


def test_a_frame_of_the_why_panel_only_adds_to_the_one_before():
    run, shipped = Run("s", pair(), LOCAL), demo_run()
    frames = []
    for insight in shipped.sides[0].insights:
        run.sides[0].insights.append(insight)
        frames.append(why_value(run))
    rows = [frame["sides"][0]["rows"] for frame in frames]
    assert all(after.startswith(before) for before, after in itertools.pairwise(rows))
    edits = [edit[0] for before, after in itertools.pairwise(frames) for edit in gr.utils.diff([before], [after])]
    assert "delete" not in edits


@pytest.mark.parametrize(
    "made",
    [
        lambda run: samples_html(run),
        lambda run: numbers_html(run),
        lambda run: state_html(run.state, run_words(run, None)),
        lambda run: error_toast(ValueError(EVIL)).message,
    ],
    ids=["sample", "label", "state", "toast"],
)
def test_markup_from_a_visitor_is_shown_and_not_obeyed(made):
    evil = job()._replace(corpus=EVIL)
    run = Run("s", evil._replace(plans=(evil.plans[0]._replace(label=EVIL),)), LOCAL)
    run.sides[0].sample = Sample(0, 1, EVIL)
    run.state = RUNNING
    assert "<img" not in made(run)
    assert "&lt;img src=x" in made(run)


# ------------------------------------------------------------------------------------------------ store and limits


def test_the_store_lets_the_least_recently_used_go_when_bytes_run_out():
    one = demo_checkpoint()
    store = CheckpointStore(budget=2 * checkpoint_bytes(one) + 1)
    store.put("s", ("a", 0), one)
    store.put("s", ("b", 0), one)
    store.get(("a", 0))
    store.put("s", ("c", 0), one)
    assert [store.get((name, 0)) is not None for name in "abc"] == [True, False, True]


def test_the_store_never_holds_more_than_its_budget():
    store = CheckpointStore(budget=10)
    store.put("s", ("a", 0), demo_checkpoint())
    assert (store.cache.used, store.cache.used_by, store.get(("a", 0))) == (0, {}, None)


def test_one_session_fills_its_share_of_the_store_and_takes_nothing_of_others():
    one = demo_checkpoint()
    store = CheckpointStore(budget=10 * checkpoint_bytes(one), share=2 * checkpoint_bytes(one))
    store.put("theirs", ("x", 0), one)
    for name in "abc":
        store.put("mine", (name, 0), one)
    assert [(name, 0) in store for name in "xabc"] == [True, False, True, True]


def at(step: int):
    """The shipped model, said to be of this step."""
    return dataclasses.replace(demo_checkpoint(), step=step)


def test_the_store_keeps_the_latest_of_a_side_and_what_was_put_to_be_kept():
    store = CheckpointStore(budget=10**9)
    for step, keep in ((0, True), (3, False), (5, True), (7, False), (9, False)):
        store.put("s", ("a", 1), at(step), keep=keep)
    assert store.steps(("a", 1)) == [0, 5, 9]
    assert [store.get(("a", 1), step).step for step in (None, 1, 4, 100)] == [9, 0, 5, 9]
    assert ("a", 0) not in store


def test_a_kept_step_that_is_put_again_stays_kept():
    store = CheckpointStore(budget=10**9)
    for step, keep in ((5, True), (5, False), (6, False)):
        store.put("s", ("a", 0), at(step), keep=keep)
    assert store.steps(("a", 0)) == [5, 6]


def test_a_space_has_the_public_limits(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    assert limits_here() is PUBLIC


def test_the_public_page_allows_the_default_run():
    check_limits(PUBLIC, [(ModelConfig(vocab_size=256), TrainConfig())])  # raises where it refuses


@pytest.mark.parametrize(
    ("model", "training", "words"),
    [
        ({}, {"steps": 6000}, "5,000 in one run"),
        ({"hidden_dim": 256, "num_layers": 4}, {}, "times the arithmetic"),
        ({"hidden_dim": 10**6, "num_heads": 1}, {"steps": 1}, "GB of memory"),
        ({"context_length": 10**6}, {"steps": 1}, "GB of memory"),
    ],
)
def test_the_public_page_refuses_by_the_whole_cost_before_anything_is_made(model, training, words):
    with pytest.raises(TooLargeError, match=words):
        check_limits(PUBLIC, [(ModelConfig(vocab_size=256, **model), TrainConfig(**training))])


def test_two_sides_count_twice():
    half = [(ModelConfig(vocab_size=256, hidden_dim=128, num_layers=4), TrainConfig(steps=500))]
    check_limits(PUBLIC, half)
    with pytest.raises(TooLargeError, match="times the arithmetic"):
        check_limits(PUBLIC, 4 * half)


def machine_that_costs(pace: Pace, monkeypatch, disturbed=lambda call: 1.0):
    """What a step takes on a machine of these prices, if the factor for its n-th call is 1."""

    def seconds_of(config: ModelConfig, batch_size: int) -> float:
        return float(np.dot(pace, cost_terms(config, batch_size)))

    calls = itertools.count()
    monkeypatch.setattr(time_estimate, "step_of", lambda *model: lambda: model)
    monkeypatch.setattr(time_estimate, "time_call", lambda step: seconds_of(*step()) * disturbed(next(calls)))
    return seconds_of


def test_a_machine_that_is_busy_for_two_thirds_of_the_measurement_has_its_own_pace_all_the_same(monkeypatch):
    true = Pace(1e-4, 1e-11, 1e-9)
    calls = len(CALIBRATION_MODELS) * (ROUNDS + 1)
    machine_that_costs(true, monkeypatch, lambda call: 3.0 if call < 2 * calls / 3 else 1.0)
    assert measure_pace() == pytest.approx(true)


def test_the_estimate_before_the_start_is_exact_where_a_step_costs_what_it_is_made_of(monkeypatch):
    """How far a real machine is from that: `python -m benchmarks.app`."""
    true = Pace(1e-4, 1e-11, 1e-9)
    seconds_of = machine_that_costs(true, monkeypatch)
    pace = measure_pace()
    assert pace == pytest.approx(true)
    config, training = ModelConfig(vocab_size=103), TrainConfig(steps=20, validation_every=10)
    step = seconds_of(config, training.batch_size)
    validations = 2 * FORWARD_SHARE * 300 / (training.batch_size * config.context_length)
    expected = OVERHEAD * step * (20 + validations)
    assert estimated_seconds(pace, [(config, training)], 300) == pytest.approx(expected)


def test_a_run_that_took_four_times_as_long_makes_the_next_estimate_four_times_as_long():
    pace = Pace(1e-4, 1e-11, 1e-9)
    config, training = ModelConfig(vocab_size=103), TrainConfig(steps=100, validation_every=0)
    thought = estimated_seconds(pace, [(config, training)], 0)
    slower = update_pace(pace, [(config, training.batch_size, 100, 4 * thought / 1.1)])
    assert estimated_seconds(slower, [(config, training)], 0) == pytest.approx(4 * thought)


def test_an_estimate_says_that_no_run_was_timed_until_one_was(runs):
    tab = built(TrainTab, runs)
    asked = pair()
    assert "would take" not in tab.estimate_words(asked)
    runs.pace = Pace(1e-4, 1e-11, 1e-9)
    assert "no run was timed here yet" in tab.estimate_words(asked)
    run = runs.start("s", asked)
    wait_for(lambda: run.state == DONE and runs.pace_is_tried)
    assert "would take about" in tab.estimate_words(asked) and "timed" not in tab.estimate_words(asked)


def test_what_is_said_of_the_weights_is_what_is_made(runs):
    tab = built(TrainTab, runs)
    for switch in (("norm", "rmsnorm"), ("bias", False), ("tied", False), ("activation", "swiglu")):
        asked = pair(switch)
        made = [f"{trainer.model.num_parameters:,}" for trainer in make_trainers(asked, job_corpus(asked))]
        assert tab.estimate_words(asked).startswith(" and ".join(dict.fromkeys(made)) + " weights")


def test_a_path_is_no_corpus(runs):
    with pytest.raises(ValueError, match="no text called '/etc/passwd'"):
        runs.start("s", job()._replace(corpus="/etc/passwd", text=None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; give 72 characters"),
        ("abc", "only 3 characters"),
        ("a" * 100, "repeats a single character"),
        ("".join(map(chr, range(0x4E00, 0x9E00))) * 4, "GB of memory"),
        ("ab" * 20, "give 72 or more"),
    ],
    ids=["empty", "short", "one", "alphabet", "context"],
)
def test_a_text_that_is_refused_leaves_the_earlier_run_alone(text, words):
    runs = Runs(PUBLIC, slots=1)
    first = runs.start("s", job(steps=5000))
    with pytest.raises(ValueError, match=words):
        runs.start("s", Job("your own text", text, "char", make_plans({"batch_size": 64})))
    assert first.active
    assert runs.get(first.id) is first
    runs.close()
    wait_for(lambda: runs.free_slots == 1)
    runs.close()


def test_a_full_queue_leaves_the_earlier_run_alone():
    runs = Runs(dataclasses.replace(LOCAL, waiting=0), slots=1)
    mine = Run("s", job(), LOCAL)
    mine.state = RUNNING
    runs.add(mine)
    runs.show("s", mine)
    with pytest.raises(BusyError):
        runs.start("s", job())
    assert (runs.history("s"), runs.shown("s"), mine.order) == ([mine], mine, None)


def test_the_worker_checks_the_limits_with_the_vocabulary_that_it_finds():
    text = "".join(map(chr, range(0x4E00, 0x9E00))) * 4
    asked = Job("large alphabet", text, "char", make_plans({"batch_size": 64}))
    corpus = job_corpus(asked)
    with pytest.raises(TooLargeError, match="GB of memory"):
        make_trainers(asked._replace(limits=PUBLIC), corpus)


def test_an_emptied_field_is_named(controls):
    given = [None if c.elem_id == "field-learning_rate" else c.value for c in controls.inputs]
    with pytest.raises(ValueError, match="“Learning rate” is empty"):
        controls.job(given)


def test_a_text_beyond_the_limit_is_refused():
    with pytest.raises(TooLargeError, match="300,000 are allowed"):
        Runs(PUBLIC, slots=1).start("s", job(text="x" * 300_001))


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_streams_and_finishes_with_its_model(runs):
    run = runs.start("s", job(steps=400))
    seen = set()
    wait_for(lambda: seen.add(run.step) or not run.active)
    assert (run.state, run.step) == (DONE, 400)
    assert len(seen) >= 2
    assert runs.store.get((run.id, 0)).step == 400


def test_the_worker_of_a_finished_run_is_gone(runs):
    run = runs.start("s", job())
    wait_for(lambda: run.worker is not None)
    pid = run.worker.process.pid
    wait_for(lambda: not run.active)
    assert gone(pid)


@pytest.mark.parametrize("size", [SMALL, {"hidden_dim": 512, "num_layers": 12, "context_length": 256}], ids=str)
def test_stop_ends_the_worker_process_in_the_middle_of_a_run_and_of_a_step(runs, size):
    run = runs.start("s", Job("your own text", TEXT, "char", make_plans({**size, "steps": 100_000})))
    wait_for(lambda: run.state == RUNNING)
    pid = run.worker.process.pid
    runs.stop(run)
    wait_for(lambda: gone(pid))
    wait_for(lambda: run.state == STOPPED)


def ends_of(run: Run) -> list[tuple]:
    return [(side.step, side.last.loss, side.validation_loss) for side in run.sides]


def test_a_paused_run_goes_on_as_if_it_had_never_paused(runs):
    unpaused = runs.start("a", job(steps=600))
    wait_for(lambda: not unpaused.active)
    run = runs.start("b", job(steps=600))
    wait_for(lambda: run.step > 0)
    runs.pause(run)
    wait_for(lambda: not run.active)
    assert run.state == PAUSED
    runs.resume(run)
    wait_for(lambda: not run.active)
    assert (run.state, ends_of(run)) == (DONE, ends_of(unpaused))


def test_who_finds_all_workers_busy_is_told_the_place_in_the_queue_and_then_served(runs):
    first = runs.start("a", job(steps=100_000))
    wait_for(lambda: first.state == RUNNING)
    second = runs.start("b", job())
    assert (second.state, runs.place_in_queue(second).number) == (WAITING, 1)
    runs.stop(first)
    wait_for(lambda: second.state == DONE)


def test_no_run_is_ever_at_place_zero_of_the_queue(runs):
    run = Run("s", job(), LOCAL)
    assert "queue" not in run_words(run, None)
    assert "Place 1 in the queue: the run begins as soon as a worker is free" in run_words(run, Place(1, None))
    assert "Place 3 in the queue: the run begins in about 2 min" in run_words(run, Place(3, 130.0))


@pytest.mark.parametrize(("kept", "words"), [(True, "is kept for the other tabs"), (False, "no model to keep")])
def test_a_stopped_run_says_whether_its_model_is_kept(kept, words):
    run = Run("s", job(), LOCAL)
    run.state = STOPPED
    assert words in run_words(run, None, kept)


def test_who_follows_a_forgotten_run_last_sees_the_shipped_one(runs):
    tab = built(TrainTab, runs)

    async def last_frame() -> dict:
        frames = []
        run = runs.start("s", job(steps=100_000))
        async for frame in tab.follow(run, "s"):
            frames.append(frame)
            if run.step:
                tab.on_reset(run.id, PAGE)
        return frames[-1]

    assert asyncio.run(last_frame()) == tab.shipped_frame("s", DEMO_PRESET)


@pytest.mark.parametrize("state", [None, WAITING, RUNNING])
def test_pause_never_ends_without_a_frame_which_would_empty_the_buttons(runs, state):
    tab = built(TrainTab, runs)
    run = runs.start("s", job(steps=100_000)) if state else None
    if state == RUNNING:
        wait_for(lambda: run.step)

    async def frames() -> list:
        return [frame async for frame in tab.on_pause(run and run.id, PAGE)]

    (frame,) = asyncio.run(frames())
    assert all(value == gr.skip() for value in frame.values())
    assert not {tab.start, tab.pause, tab.step, tab.stop, tab.reset} & set(frame)


@pytest.mark.parametrize(
    ("told", "seconds"), [({"ms": 700}, 0.7), ({"ms": 10**9}, 5.0), ({"ms": "700"}, 0.0), (None, 0.0)]
)
def test_a_page_that_lags_behind_is_left_alone_for_so_long_and_five_seconds_at_most(runs, told, seconds):
    tab, before = built(TrainTab, runs), time.monotonic()
    tab.on_behind(told, PAGE)
    assert before + seconds <= tab.rests["s"] <= time.monotonic() + seconds


@pytest.fixture
def followed(runs):
    """The tab, and a run that trains on the page "s"."""
    tab = built(TrainTab, runs)
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: run.step)
    runs.show("s", run)
    return tab, run


def test_buttons_that_a_late_answer_has_set_wrong_are_right_again_while_the_run_goes_on(followed, monkeypatch):
    monkeypatch.setattr("tlab.ui.tabs.train.tab.SECONDS_BETWEEN_BUTTONS", 0.3)
    tab, run = followed

    async def pause_buttons() -> list:
        frames = tab.frames(run, "s")
        return [(await anext(frames)).get(tab.pause) for _ in range(8)]

    told = [update for update in asyncio.run(pause_buttons()) if update is not None]
    assert len(told) >= 2 and all(update["interactive"] for update in told)


def test_while_a_page_is_left_alone_it_gets_no_picture(followed):
    tab, run = followed

    async def seconds_until_next() -> float:
        frames = tab.frames(run, "s")
        await anext(frames)
        tab.on_behind({"ms": 700}, PAGE)
        began = time.monotonic()
        await anext(frames)
        return time.monotonic() - began

    assert asyncio.run(seconds_until_next()) >= 0.7


def test_the_bar_tells_of_a_study_only_while_the_run_that_is_shown_does_not_train(followed, monkeypatch):
    tab, run = followed
    study = seeds_study("s", pair(), {})
    monkeypatch.setattr(tab.studies, "active", lambda session: study)
    stopped = []
    monkeypatch.setattr(tab.studies, "stop", stopped.append)
    assert "five seeds" not in tab.bar("s", run)[tab.state] and "running" in tab.bar("s", run)[tab.state]
    tab.on_stop(run.id, PAGE)  # what the bar tells of
    wait_for(lambda: not run.active)
    assert stopped == []
    assert "five seeds: 0 of 5" in tab.bar("s", run)[tab.state]
    tab.on_stop(run.id, PAGE)
    assert stopped == [study]


def test_stop_ends_a_run_that_pauses_and_the_page_says_so(followed):
    tab, run = followed
    tab.runs.pause(run)
    wait_for(lambda: run.state == PAUSED)
    page = tab.on_stop(run.id, PAGE)
    assert run.state == STOPPED
    assert "stopped" in page[tab.state]
    assert (page[tab.pause]["interactive"], page[tab.stop]["interactive"]) == (False, False)


def test_a_tab_that_is_listed_at_run_time_is_on_the_page_and_works(monkeypatch):
    class EchoTab(Tab):
        """Says what it is told."""

        title, key = "Echo", "echo"

        def build(self, page):
            self.said, self.heard = gr.Textbox(), gr.Textbox()
            self.said.change(self.on_said, self.said, self.heard)

        def on_said(self, said):
            return {self.heard: said.upper()}

    monkeypatch.setattr(app, "TABS", [*app.TABS, EchoTab])
    runs = Runs(LOCAL, slots=1)
    page = app.build(runs)
    titles = [c["props"]["label"] for c in page.get_config_file()["components"] if c["type"] == "tabitem"]
    assert titles == [kind.title for kind in app.TABS]
    (handler,) = [fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "on_said"]
    assert asyncio.run(page.process_api(handler, ["hello"]))["data"] == ["HELLO"]
    runs.close()


def test_a_full_queue_says_so():
    full = Runs(dataclasses.replace(LOCAL, waiting=0), slots=1)
    with pytest.raises(BusyError, match="waiting already"):
        full.start("s", job())


def test_stop_in_the_queue_needs_no_worker(runs):
    first = runs.start("a", job(steps=100_000))
    wait_for(lambda: first.state == RUNNING)
    second = runs.start("b", job())
    runs.stop(second)
    wait_for(lambda: second.state == STOPPED)
    assert first.active


def test_a_killed_worker_fails_its_run_in_words_and_no_other(runs):
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: run.state == RUNNING)
    os.kill(run.worker.process.pid, signal.SIGKILL)
    wait_for(lambda: run.state == FAILED)
    assert "ended unexpectedly" in run.error
    after = runs.start("t", job())
    wait_for(lambda: after.state == DONE)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without this signal")
def test_a_terminal_that_is_closed_ends_no_worker_before_its_server_has_kept_the_run(runs):
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: run.state == RUNNING)
    os.kill(run.worker.process.pid, signal.SIGHUP)
    runs.pause(run)
    wait_for(lambda: not run.active)
    assert run.state == PAUSED


@pytest.mark.parametrize("number", END_SIGNALS, ids=lambda number: number.name)
def test_the_server_ends_once_whoever_asks_and_however_often(number, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setenv("TLAB_RUNS_DIR", "off")
    monkeypatch.setattr(app.atexit, "register", lambda function: None)
    monkeypatch.setattr(app, "share_heaps", lambda: None)
    monkeypatch.setattr(app.Runs, "prepare", lambda runs: None)
    monkeypatch.setattr(app, "build", fail)
    usual = {number: signal.getsignal(number) for number in END_SIGNALS}
    try:
        with pytest.raises(ZeroDivisionError):
            app.launch()
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
        for again in END_SIGNALS:
            signal.raise_signal(again)
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


def test_what_trains_has_paused_before_python_shuts_down_and_pages_get_no_answer(monkeypatch):
    """Then handlers can no more be run in threads, and each page would be told of a failure."""

    def end(*_, **options):
        raise SystemExit

    closed = []
    monkeypatch.setenv("TLAB_RUNS_DIR", "off")
    for name in ("share_heaps", "collect_garbage_seldom", "log_each_kind_once"):
        monkeypatch.setattr(app, name, lambda: None)
    monkeypatch.setattr(app, "catch_end_signals", lambda act, patience: None)
    monkeypatch.setattr(app.atexit, "register", lambda function: None)
    monkeypatch.setattr(app.Runs, "prepare", lambda runs: None)
    monkeypatch.setattr(app.Runs, "close", lambda runs: closed.append(runs))
    monkeypatch.setattr(app.LabPage, "launch", end)
    with pytest.raises(SystemExit):
        app.launch()
    assert len(closed) == 1


def test_settings_that_only_the_corpus_shows_to_be_wrong_fail_in_words(runs, tmp_path, monkeypatch):
    (tmp_path / "short.txt").write_text("too short for this context")
    monkeypatch.setenv("TLAB_DATA_DIR", str(tmp_path))
    run = runs.start("s", job(text=None)._replace(corpus="short", plans=make_plans({"context_length": 64})))
    wait_for(lambda: not run.active)
    assert run.state == FAILED
    assert "take a longer text" in run.error


def test_a_run_that_fails_before_its_first_step_leaves_on_the_page_what_was_there(runs, tmp_path, monkeypatch):
    (tmp_path / "short.txt").write_text("too short for this context")
    monkeypatch.setenv("TLAB_DATA_DIR", str(tmp_path))
    too_short = job(text=None)._replace(corpus="short", plans=make_plans({"context_length": 64}))
    tab = built(TrainTab, runs)
    tab.looked_at["t"] = [PRESETS["AdamW or SGD"]]

    async def left_by(run: Run, before: Run | None) -> dict:
        """What its frames leave on the page."""
        page = {}
        with contextlib.suppress(gr.Error):  # in words, as a toast
            async for frame in tab.follow(run, run.session, before):
                page |= frame
        return page

    before = runs.start("s", job(), "s")
    wait_for(lambda: before.state == DONE)
    left = asyncio.run(left_by(runs.start("s", too_short, "s"), before))
    assert left[tab.model_id] == before.id and left[tab.chart] == tab.chart_of("s", before)
    assert "take a longer text" in left[tab.state]
    left = asyncio.run(left_by(runs.start("t", too_short, "t"), None))
    assert left[tab.chart] == tab.chart_of("t", demo_run(PRESETS["AdamW or SGD"]))


def test_a_run_that_diverges_says_where_and_when(runs):
    run = runs.start("s", job(optimizer="sgd", learning_rate=1e4, gradient_clip=0.0, warmup_steps=0))
    wait_for(lambda: not run.active)
    assert run.state == DIVERGED
    assert f"diverged at step {run.sides[0].divergence.step}" in run_words(run, None)


def test_a_run_past_its_deadline_is_stopped_and_told_why():
    runs = Runs(dataclasses.replace(LOCAL, seconds=0.2), slots=1)
    run = runs.start("s", job(steps=100_000))
    wait_for(lambda: not run.active)
    runs.close()
    assert "Stopped after" in run_words(run, None)


def test_a_second_start_of_a_session_stops_its_first_run_and_keeps_it_in_the_history(runs):
    first = runs.start("s", job(steps=100_000))
    wait_for(lambda: first.step > 0)
    pid = first.worker.process.pid
    second = runs.start("s", job())
    wait_for(lambda: not second.active)
    assert gone(pid)
    assert first.state == STOPPED
    assert runs.history("s") == [second, first]
    assert (first.id, 0) in runs.store


def test_a_visitor_who_leaves_takes_their_run_along_and_nobody_elses(runs):
    mine, theirs = runs.start("me", job()), runs.start("them", job())
    wait_for(lambda: not (mine.active or theirs.active))
    runs.end_session("me")
    assert [runs.get(run.id) is not None for run in (mine, theirs)] == [False, True]
    assert [(run.id, 0) in runs.store for run in (mine, theirs)] == [False, True]


# ------------------------------------------------------------------------------------------------ two sides


def test_two_sides_share_seed_batches_and_every_tensor_that_both_have(runs):
    run = runs.start("s", pair(("activation", "swiglu"), validation_every=10))
    wait_for(lambda: not run.active)
    a, b = (runs.store.get((run.id, side), 0).weights for side in (0, 1))
    shared = a.keys() & b.keys()
    assert any("attention" in name for name in shared)
    alike = {name for name in shared if a[name].shape == b[name].shape}
    assert all(np.array_equal(a[name], b[name]) for name in alike)
    assert [side.step for side in run.sides] == [40, 40]
    assert {step for step, _ in run.sides[0].curve.validation} == {step for step, _ in run.sides[1].curve.validation}


def test_a_side_is_the_same_to_the_last_digit_with_and_without_the_other(runs):
    both = runs.start("s", pair())
    wait_for(lambda: not both.active)
    alone = [runs.start("s", both.job._replace(plans=(plan,))) for plan in both.job.plans[:1]]
    wait_for(lambda: not alone[0].active)
    other = runs.start("s", both.job._replace(plans=both.job.plans[1:]))
    wait_for(lambda: not other.active)
    assert ends_of(both) == [*ends_of(alone[0]), *ends_of(other)]


def test_when_one_side_diverges_the_other_goes_on_and_both_are_told_of(runs):
    run = runs.start("s", pair(("learning_rate", 1e4), optimizer="sgd", gradient_clip=0.0, norm="none", max_loss=50.0))
    wait_for(lambda: not run.active)
    a, b = run.sides
    assert (run.state, a.step, a.divergence) == (DONE, 40, None)
    assert b.divergence is not None
    assert f"B (Learning rate 10000) diverged at step {b.divergence.step}" in run_words(run, None)
    assert chart_value(run)["runs"][1]["marker"]["step"] == b.divergence.step


def test_sides_of_different_length_both_reach_their_end(runs):
    run = runs.start("s", pair(("steps", 15)))
    wait_for(lambda: not run.active)
    assert (run.state, [side.step for side in run.sides]) == (DONE, [40, 15])


def test_one_step_is_one_step_of_each_side_and_ten_of_them_are_ten_in_one_go(runs):
    run = runs.start("s", pair()._replace(pause_after=1))
    wait_for(lambda: not run.active)
    assert (run.state, [side.step for side in run.sides]) == (PAUSED, [1, 1])
    runs.resume(run, 1)
    wait_for(lambda: not run.active)
    assert (run.state, [side.step for side in run.sides]) == (PAUSED, [2, 2])
    runs.resume(run)
    wait_for(lambda: not run.active)
    unpaused = runs.start("t", pair())
    wait_for(lambda: not unpaused.active)
    assert (run.state, ends_of(run)) == (DONE, ends_of(unpaused))


def test_the_worker_looks_inside_at_the_first_steps_and_every_tenth(runs):
    run = runs.start("s", pair())
    wait_for(lambda: not run.active)
    for side in run.sides:
        assert [insight.step for insight in side.insights] == [1, 2, 5, 10, 20, 30, 40]
        assert all(len(insight.layers) == 2 and np.isfinite(insight.layers).all() for insight in side.insights)


@pytest.mark.parametrize("steps", [1, 7, 50, 1000, 999_999])
def test_there_are_never_more_insights_and_snapshots_than_a_slider_has_places(steps):
    assert len(insight_steps(steps)) <= 104
    assert len(kept_steps(steps)) <= 13
    assert {0, steps} <= kept_steps(steps)
    assert {1, steps} <= insight_steps(steps)


def test_looking_inside_costs_one_forward_pass_at_few_of_the_steps(monkeypatch):
    """What that is in seconds: `python -m benchmarks.app`."""
    asked = preset_job(DEMO_PRESET)
    trainer = make_trainers(asked, job_corpus(asked))[0]
    passes = []
    forward = Transformer.run_blocks
    monkeypatch.setattr(Transformer, "run_blocks", lambda *given: passes.append(1) or forward(*given))
    made = []
    for _ in range(30):
        passes.clear()
        step = trainer.train_step().step
        looked = bool(trainer.take_insights())
        assert looked == (step in insight_steps(400))
        made.append((looked, len(passes)))
    plain = {count for looked, count in made if not looked}
    assert len(plain) == 1
    assert {count for looked, count in made if looked} == {plain.pop() + 1}
    assert 0 < len(insight_steps(400)) < 0.2 * 400


# ------------------------------------------------------------------------------------------------ history


def finished(session: str, label: str = "x") -> Run:
    """A run of the shipped one's records, in this session."""
    shipped = demo_run()
    return Run.finished(session, shipped.job, [demo_checkpoint(0), demo_checkpoint(1)], LOCAL)


def test_the_history_keeps_pinned_runs_and_the_newest_others(runs):
    made = [finished("s") for _ in range(MAX_HISTORY + 3)]
    made[0].pinned = True
    for run in made:
        runs.adopt(run, [[demo_checkpoint(0)], [demo_checkpoint(1)]])
    assert runs.history("s") == [*reversed(made[4:]), made[0]]
    assert (made[1].id, 0) not in runs.store


def test_an_adopted_run_is_looked_into_like_any_other(runs):
    run = finished("s")
    runs.adopt(run, [[demo_checkpoint(side, step) for step in demo_steps(side)] for side in (0, 1)])
    assert run.state == DONE
    found = find_model(runs, run.id, 1, 0)
    assert (found.checkpoint.step, found.run, found.steps) == (0, run, demo_steps(1))


def test_without_a_run_the_shipped_one_is_looked_into(runs):
    found = find_model(runs, None, 1)
    assert (found.checkpoint.step, found.run) == (demo_steps(1)[-1], demo_run())
    assert find_model(runs, "no such run").steps == demo_steps(0)


def test_what_is_looked_into_is_of_the_side_that_is_named_also_in_place_of_a_run_of_one_side(runs):
    run = Run("s", pair()._replace(plans=pair().plans[:1]), LOCAL)
    runs.add(run)
    found = find_model(runs, run.id, 1)
    assert found.run is demo_run() and found.checkpoint is demo_checkpoint(found.side)


def test_nobody_reaches_the_run_of_another_session(runs):
    run = finished("mine")
    runs.adopt(run, [[], []])
    assert (runs.get_owned("mine", run.id), runs.get_owned("theirs", run.id)) == (run, None)


@pytest.mark.parametrize(("given", "name"), [("  a  b ", "a b"), ("", "Pre-LN or Post-LN"), ("x" * 99, "x" * 60)])
def test_a_run_can_be_renamed(given, name):
    run = Run("s", pair(), LOCAL)
    run.rename(given)
    assert run.name == name


# ------------------------------------------------------------------------------------------------ writing


# ------------------------------------------------------------------------------------------------ over HTTP


class Client:
    """A client that knows Gradio's wire format and keeps to no rule of the page."""

    def __init__(self, page, url: str, session: str) -> None:
        self.page, self.url, self.session = page, url.rstrip("/") + "/gradio_api", session

    def call(self, name: str, data: list) -> list[dict]:
        """All messages that a handler answers with."""
        index = next(i for i, fn in self.page.fns.items() if getattr(fn.fn, "__name__", "") == name)
        body = json.dumps({"data": data, "fn_index": index, "session_hash": self.session}).encode()
        request = urllib.request.Request(f"{self.url}/queue/join", body, {"Content-Type": "application/json"})
        with contextlib.closing(urllib.request.urlopen(request, timeout=10)):
            pass
        messages = []
        stream = f"{self.url}/queue/data?session_hash={self.session}"
        with contextlib.closing(urllib.request.urlopen(stream, timeout=20)) as lines:
            for line in lines:
                if line.startswith(b"data:"):
                    messages.append(json.loads(line[5:]))
                    if messages[-1]["msg"] == "process_completed":
                        break
        return messages


@pytest.fixture(scope="module")
def served():
    runs = Runs(LOCAL, slots=1)
    page = build(runs)
    with warnings.catch_warnings():
        # Uvicorn's websockets module is deprecated by its own library; Gradio loads it and never uses it.
        warnings.simplefilter("ignore", DeprecationWarning)
        _, url, _ = page.launch(**launch_options(page), prevent_thread_lock=True, quiet=True)
    yield page, url, runs
    page.close(verbose=False)
    runs.close()


def values(page, **changes) -> list:
    """What the page would send on Start."""
    start = next(fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "on_start")
    made = {c.elem_id.removeprefix("field-"): c.value for c in start.inputs}
    return list({**made, **changes}.values())


def test_a_run_over_http_streams_what_is_new_and_finishes(served):
    page, url, _ = served
    changes = {"corpus": OWN_TEXT, "text": TEXT, "steps": 300, "hidden_dim": 16, "context_length": 16}
    messages = Client(page, url, "one").call("on_start", values(page, **changes))
    frames = [m for m in messages if m["msg"] == "process_generating"]
    assert messages[-1]["success"]
    assert len(frames) >= 2


def test_a_path_instead_of_a_corpus_is_refused_over_http(served):
    page, url, runs = served
    messages = Client(page, url, "two").call("on_start", values(page, corpus="/etc/passwd"))
    assert not messages[-1]["success"]
    assert runs.history("two") == []


def test_the_queue_and_the_api_are_closed_to_what_the_page_does_not_call(served):
    _, url, _ = served
    with contextlib.closing(urllib.request.urlopen(f"{url.rstrip('/')}/gradio_api/info", timeout=10)) as answer:
        assert json.load(answer)["named_endpoints"].keys() == {"/tokenize", "/attention", "/generate"}


def is_only_latest(fn) -> bool:
    return getattr(fn.fn, "__code__", None) is only_latest(len).__code__


def answer_of(fn):
    """The handler itself, of a listener whose last question alone is answered, too."""
    return inspect.getclosurevars(fn.fn).nonlocals["answer"] if is_only_latest(fn) else fn.fn


@pytest.fixture(scope="module")
def whole_page():
    """The whole page, which takes seconds; for tests that only look at it."""
    return app.build(Runs(LOCAL, slots=1))


def test_what_refuses_in_a_toast_is_asked_by_the_queue(whole_page):
    """Beside the queue Gradio shows no toast, and whoever has pressed would be told nothing."""
    names = {fn: getattr(getattr(answer_of(fn), "__code__", None), "co_names", ()) for fn in whole_page.fns.values()}
    refusing = [fn for fn in names if error_toast.__name__ in names[fn]]
    assert refusing
    assert [fn.fn.__qualname__ for fn in refusing if not fn.queue] == []


def listeners_to_choices(page):
    """All but those that wait, or follow what waits, for a button, or for what comes by itself."""

    def is_pressed(fn):
        if fn.trigger_after is not None:
            return is_pressed(page.fns[fn.trigger_after])
        buttons = [getattr(page.blocks.get(block), "elem_id", None) in PRESSED for block, _ in fn.targets]
        return all(buttons) or {event for _, event in fn.targets} <= {"click", "submit", "load", "tick"}

    return [fn for fn in page.fns.values() if fn.fn is not None and fn.targets and not is_pressed(fn)]


def test_what_is_chosen_while_an_answer_is_under_way_is_answered_too(whole_page):
    """Gradio drops it by itself: the page would show the answer to the choice before. A button may be pressed once."""
    listening = listeners_to_choices(whole_page)
    assert len(listening) > 30
    assert [(fn.fn, fn.targets) for fn in listening if fn.trigger_mode == "once"] == []


def test_what_is_asked_several_times_at_once_and_in_no_queue_is_answered_by_the_last(whole_page):
    """Gradio asks so for each event of a listener to several, and always where it may ask "multiple" times."""
    listening = listeners_to_choices(whole_page)
    at_once = [fn for fn in listening if not fn.queue and (len(fn.targets) > 1 or fn.trigger_mode == "multiple")]
    assert len(at_once) > 15
    assert [(fn.fn, fn.targets) for fn in at_once if not is_only_latest(fn)] == []


def test_the_state_of_a_call_is_told_to_no_output(whole_page):
    """Nobody sees it, and for each call Gradio's page would tell it to the outputs of all calls before."""
    asking = [fn for fn in whole_page.fns.values() if fn.fn is not None and fn.targets]
    assert len(asking) > 100
    assert [fn.fn for fn in asking if fn.show_progress != "hidden" or fn.show_progress_on != []] == []


def test_no_listener_asks_the_server_for_each_control_that_a_preset_sets(whole_page):
    """Gradio's page tells a listener of each control that is set; forty times it would send all settings."""
    controls = {key for key, block in whole_page.blocks.items() if str(block.elem_id).startswith("field-")}
    assert len(controls) > 50

    def heard(fn):
        return len({block for block, event in fn.targets if event == "change" and block in controls})

    assert [fn.fn for fn in whole_page.fns.values() if fn.fn is not None and heard(fn) > 8] == []
    assert sum(heard(fn) for fn in whole_page.fns.values() if fn.fn is None) > 50  # the page does hear of all of them


def test_no_two_listeners_to_one_event_wait_for_their_turn(whole_page):
    """Of two that do, each would make Gradio ask the other again once it is done, without end."""
    waiting = Counter(
        target
        for fn in whole_page.fns.values()
        if fn.trigger_mode == "always_last" and fn.fn is not None
        for target in fn.targets
        if target[0] is not None  # what follows another listener has no event
    )
    assert [target for target, count in waiting.items() if count > 1] == []


def test_after_a_divergence_no_losses_of_different_steps_are_subtracted():
    run = Run("s", pair(), LOCAL)
    for step in range(1, 41):
        run.sides[0].add(record(step, 2.5))
    for step in range(1, 9):
        run.sides[1].add(record(step, 2500.0))
    run.sides[1].divergence = Divergence(8, "loss", "the training loss is above max_loss = 1000")
    run.state = DONE
    row = re.search(r"Training loss.*?</tr>", numbers_html(run), re.DOTALL)[0]
    assert re.findall(r"<td>(.*?)</td>", row)[-1] == "–"

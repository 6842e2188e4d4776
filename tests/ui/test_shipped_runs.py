"""The finished runs that come with the app: one for each preset, the same that Start would train, and small."""

import math

import numpy as np
import pytest

from support import GRADIO
from tlab.text import load_corpus
from tlab.text.baselines import baseline_losses, training_pair_loss
from tlab.training.trainer import Trainer, evaluate
from tlab.ui.demo import shipped_run
from tlab.ui.demo.eight_bits import from_eight_bits, to_eight_bits
from tlab.ui.demo.shipped_run import (
    SHIPPED_PRESETS,
    SHIPPED_RUNS,
    demo_checkpoint,
    demo_run,
    demo_steps,
    is_shipped,
    shipped_preset,
    sides_of_runs,
)
from tlab.ui.inspection.selection import find_model
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, Run
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, TRAINED, preset_job

pytestmark = GRADIO

SIDES = [(preset, side) for preset in SHIPPED_PRESETS.values() for side in range(len(preset_job(preset).plans))]
EACH_PRESET = pytest.mark.parametrize("preset", SHIPPED_PRESETS.values(), ids=lambda preset: preset.label)
EACH_SIDE = pytest.mark.parametrize(("preset", "side"), SIDES, ids=lambda x: getattr(x, "label", "AB"[x == 1]))


def corpus_of(preset):
    """Its text, where this Python has the edition that was trained on."""
    corpus = load_corpus(preset_job(preset).corpus)
    if corpus.sha256 != demo_checkpoint(preset=preset).corpus["sha256"]:
        pytest.skip("the shipped runs have read the documentation of another Python")
    return corpus


@EACH_SIDE
def test_a_shipped_side_is_what_its_preset_asks_for(preset, side):
    made, asked = demo_checkpoint(side, preset=preset), preset_job(preset).plans[side]
    assert (made.model_config, made.train_config) == asked.configs(made.model_config.vocab_size)
    assert made.corpus["name"] == preset_job(preset).corpus


@EACH_PRESET
def test_a_shipped_run_is_shown_whole(preset):
    run = demo_run(preset)
    assert (run.state, run.step, run.name) == (DONE, run.steps, preset.label)
    for side in run.sides:
        assert len(side.insights) > (30 if side.divergence is None else 2)
        assert side.divergence or len(side.sample.text) > 100
        assert all(math.isfinite(value) for look in side.insights for layer in look.layers for value in layer)


@EACH_SIDE
def test_the_shipped_weights_give_the_loss_of_the_shipped_records(preset, side):
    checkpoint = demo_checkpoint(side, preset=preset)
    if checkpoint.divergence:
        pytest.skip("it has no validation loss")
    loss = evaluate(checkpoint.model(), corpus_of(preset).validation)
    assert loss == pytest.approx(checkpoint.records[-1].validation_loss, abs=2e-3)


def test_a_side_that_diverged_is_shipped_with_its_end():
    run = demo_run(PRESETS["Too fast"])
    a, b = run.sides
    assert a.divergence is None and b.divergence.step == b.step < b.steps
    assert f"diverged at step {b.step}" in str(demo_checkpoint(1, preset=PRESETS["Too fast"]).divergence)


def test_a_shipped_run_begins_where_training_did():
    start = demo_checkpoint(1, 0)
    again = Trainer(start.model_config, start.train_config, corpus_of(DEMO_PRESET)).train_step()
    assert again.loss == pytest.approx(demo_checkpoint(1).records[0].loss, rel=1e-5)
    assert again[3:6] == pytest.approx(demo_checkpoint(1).records[0][3:6], rel=1e-5)


def test_the_shipped_losses_have_all_their_digits_for_an_export_to_compare():
    losses = [record.loss for side in (0, 1) for record in demo_checkpoint(side).records]
    assert losses == [float(np.float32(loss)) for loss in losses]  # six digits would not come back from float32


def test_shipped_runs_have_what_guesses_lose_on_their_text():
    corpus = corpus_of(DEMO_PRESET)
    assert demo_run().baselines == pytest.approx(baseline_losses(corpus), rel=1e-5)
    assert demo_run().training_pairs == pytest.approx(training_pair_loss(corpus), rel=1e-5)


def test_what_is_shipped_is_small():
    shared = [name for sides in sides_of_runs().values() for name in sides]
    assert len(set(shared)) < len(shared)  # a side of two presets is there once
    assert SHIPPED_RUNS.stat().st_size < 3_700_000


def test_a_run_is_read_when_it_is_asked_for_and_once(monkeypatch):
    preset, read = PRESETS["GPT-2 style"], []
    entry = shipped_run.read_entry
    monkeypatch.setattr(shipped_run, "read_entry", lambda name: read.append(name) or entry(name))
    for name in ("load_run", "about_side", "side_arrays", "side_records", "side_checkpoint", "sides_of_runs"):
        getattr(shipped_run, name).cache_clear()
    assert demo_run(preset) is demo_run(preset)
    demo_checkpoint(preset=preset)
    assert sorted(read) == ["GPT-2 style A.json", "GPT-2 style A.safetensors", "contents.json"]


def test_the_tabs_look_into_the_run_that_a_preset_shows():
    preset, runs = PRESETS["AdamW or SGD"], Runs(LOCAL, slots=1)
    found = find_model(runs, demo_run(preset).id, 1)
    assert found.checkpoint is demo_checkpoint(1, preset=preset)
    assert (found.run, found.labels, found.steps) == (
        demo_run(preset),
        ["AdamW", "SGD with momentum"],
        demo_steps(1, preset),
    )
    assert found.words == (
        "The model is B (SGD with momentum) of the shipped run “AdamW or SGD” on “python-docs”, after 400 steps "
        "(validation loss 2.93)."
    )


def test_ids_of_shipped_runs_lead_back_to_their_presets_and_others_to_the_opening():
    assert all(shipped_preset(demo_run(preset).id) is preset for preset in PRESETS.values())
    visitors = Run("s", preset_job(TRAINED), LOCAL)
    assert shipped_preset(visitors.id) is shipped_preset(None) is DEMO_PRESET
    assert is_shipped(demo_run()) and not is_shipped(visitors)


@pytest.mark.parametrize("scale", [1.0, 1e30, 0.0])
def test_eight_bits_are_off_by_half_a_step_at_most(scale):
    weights = {
        "a": scale * np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32),
        "b": np.ones(3, np.float32),
    }
    again = from_eight_bits(to_eight_bits(weights))
    assert again.keys() == weights.keys() and all(again[name].dtype == np.float32 for name in again)
    step = np.abs(weights["a"]).max(1, keepdims=True) / 127
    assert (np.abs(again["a"] - weights["a"]) <= 0.501 * step).all()
    assert (again["b"] == weights["b"]).all()

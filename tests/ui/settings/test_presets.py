"""Presets: what they are called, and that their words are true of runs trained from several seeds."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.preset_rates import FACTOR, MEASURED, RATES_FILE, own_rate, row
from support import GRADIO
from tlab.inside.layers import LayerInsight
from tlab.judging.learning_rates import fit_valley
from tlab.text import DEFAULT_CORPUS
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.settings.fields import control_range, field_names, slider_step
from tlab.ui.settings.presets import (
    COMPARISONS,
    MODELS,
    MORE_MODELS,
    PRESETS,
    own_settings_words,
    preset_settings,
    preset_with,
    settings_name,
    unset_words,
)
from tlab.ui.tabs.train.view import WHY_CHARTS

pytestmark = GRADIO

POSITIONS = "Does it need positions?"
SEED_RUNS = json.loads(gzip.decompress((Path(__file__).parents[1] / "seed_runs.json.gz").read_bytes()))
PRE, POST, NO_NORM, ROPE, NO_POSITIONS = (
    SEED_RUNS[name]
    for name in (
        "Pre-LN or Post-LN: Pre-LN",
        "Pre-LN or Post-LN: Post-LN",
        "Norm or none: no norm",
        "Does it need positions?: RoPE",
        "Does it need positions?: no positions",
    )
)


def ends(runs) -> np.ndarray:
    """The last validation loss of each seed."""
    return np.array([run["validation"][-1][1] for run in runs])


def over_layers(runs, step: int, name: str) -> np.ndarray:
    """(seeds, layers)"""
    number = LayerInsight._fields.index(name)
    return np.array([[layer[number] for layer in dict(run["insights"])[step]] for run in runs])


@pytest.mark.parametrize("preset", [*MODELS, *MORE_MODELS], ids=lambda preset: preset.label)
def test_a_run_of_a_preset_has_its_name(preset):
    assert settings_name(preset_settings(preset)) == preset.label


def test_a_run_is_named_after_the_nearest_preset_and_what_differs():
    tiny = preset_settings(MODELS[-1])
    assert settings_name(tiny | {"learning_rate": 0.01, "seed": 3}) == "Tiny and instant, Learning rate 0.01, Seed 3"
    short = next(preset for preset in COMPARISONS if preset.label == "AdamW or SGD")
    assert settings_name(preset_settings(short)).startswith("Context length 32, Hidden dim 32")


def test_the_words_on_post_ln_are_true_of_every_seed():
    assert len(PRE) == len(POST) == 8
    for runs in (PRE, POST):
        gradients = over_layers(runs, 1, "gradient_norm")
        assert (np.abs(np.log(gradients[:, 0] / gradients[:, -1])) < np.log(2.1)).all()
    later = over_layers(POST, 100, "gradient_norm")
    assert (later[:, 0] < later[:, -1] / 1000).all()
    assert (ends(POST) - ends(PRE) > 0.8).all()


def test_the_words_on_post_ln_are_true_of_the_shipped_run():
    looks = demo_run(PRESETS["Pre-LN or Post-LN"]).sides[1].insights
    broken = [look.step for look in looks if look.layers[0].gradient_norm < look.layers[-1].gradient_norm / 1000]
    assert broken == [look.step for look in looks if look.step >= 10]
    assert "from step 10 on" in PRESETS["Pre-LN or Post-LN"].words


def test_under_adam_early_layers_have_updates_of_usual_size_where_their_gradients_are_small():
    ten = next(look for look in demo_run().sides[1].insights if look.step == 10)
    first, last = ten.layers[0], ten.layers[-1]
    assert first.gradient_norm < last.gradient_norm / 1000 and first.update_ratio > last.update_ratio / 2
    assert "updates can be of usual size all the same" in WHY_CHARTS["gradient_norm"].caption


def test_the_words_on_no_norm_have_the_numbers_of_the_seeds():
    words = PRESETS["Norm or none"].words
    assert (over_layers(NO_NORM, 1, "stream_rms").max(1) > 6 * over_layers(PRE, 1, "stream_rms").max(1)).all()
    named = [float(number) for number in re.findall(r"\d\.\d\d", words)]
    found = [f(ends(runs)) for runs in (NO_NORM, PRE) for f in (np.min, np.max)]
    assert named == [round(value, 2) for value in found]


def test_the_words_on_positions_are_true_of_every_seed():
    gaps = ends(NO_POSITIONS) - ends(ROPE)
    lowest, highest = re.search(r"ended ([\d.]+) to ([\d.]+) nats per token higher", PRESETS[POSITIONS].words).groups()
    assert (round(gaps.min(), 1), round(gaps.max(), 1)) == (float(lowest), float(highest))
    assert fit_valley(stored_losses()[POSITIONS]).best_tried == own_rate(POSITIONS) == 0.02


def test_the_words_on_adamw_and_sgd_have_the_numbers_of_their_best_rates():
    rates = json.loads((Path(__file__).parents[1] / "optimizer_rates.json").read_text())
    means = {name: {float(rate): np.mean(losses) for rate, losses in runs.items()} for name, runs in rates.items()}
    assert {len(losses) for runs in rates.values() for losses in runs.values()} == {3}
    best = {name: min(of, key=of.get) for name, of in means.items()}
    words = PRESETS["AdamW or SGD"].words
    for label, name in (("AdamW", "adamw"), ("SGD", "sgd")):
        number, rate = re.search(rf"{label} (?:ended )?at (\d\.\d\d)[^(]*\(rate ([\d.]+)\)", words).groups()
        assert float(rate) == best[name] and float(number) == round(means[name][best[name]], 2)
    assert own_rate("AdamW or SGD") == best["adamw"] == best["sgd"] / 10 == 0.01
    at_own = ends(SEED_RUNS["AdamW or SGD: SGD with momentum"]).mean()
    assert float(re.search(r"SGD at 0\.01 ended at (\d\.\d\d)", words).group(1)) == round(at_own, 2)
    assert means["sgd"][best["sgd"]] - means["adamw"][best["adamw"]] < at_own - means["adamw"][0.01]


def test_the_words_on_no_norm_have_the_numbers_of_its_seeds():
    runs, words = stored_losses()["No norm at all"], PRESETS["No norm at all"].words
    own, higher, highest = (list(runs[own_rate("No norm at all") * factor].values()) for factor in (1, 2.5, 6.25))
    ends_named = [float(number) for number in re.findall(r"\d\.\d\d", words)]
    assert ends_named == [round(number, 2) for number in (min(own), max(own), min(higher), max(higher))]
    assert highest == [None] * 3 and "all three diverged" in words


def test_no_rate_of_a_preset_that_was_measured_is_farther_than_a_factor_two_from_the_best():
    for label, losses in stored_losses().items():
        valley = fit_valley(losses)
        assert {len(seeds) for seeds in losses.values()} == {3}
        assert valley.low <= FACTOR * own_rate(label) and own_rate(label) <= FACTOR * valley.high


def test_the_page_on_learning_rates_has_the_rows_that_the_stored_runs_make():
    page = (Path(__file__).parents[3] / "docs" / "learning-rates.md").read_text()
    assert [line for line in page.splitlines() if line.startswith(tuple(f"| {label} |" for label in MEASURED))] == [
        row(label, own_rate(label), losses) for label, losses in stored_losses().items()
    ]


def stored_losses():
    """Preset -> rate -> seed -> loss."""
    found = json.loads(RATES_FILE.read_text())
    return {label: {float(rate): dict(enumerate(seeds)) for rate, seeds in of.items()} for label, of in found.items()}


# Ends of the tiny preset's seeds 0 to 7 with OpenBLAS's kernels for Haswell: its high rate makes much of rounding.
TINY_ON_HASWELL = (2.4862, 2.5082, 2.5271, 2.6981, 2.5339, 2.5950, 2.5399, 2.6209)


def test_the_words_on_the_tiny_model_have_the_numbers_of_its_seeds_and_of_the_guesses():
    losses = ends(SEED_RUNS["Tiny and instant: this run"])
    guesses = demo_run(PRESETS["Tiny and instant"]).baselines  # of the documentation that the seeds read
    named = [float(number) for number in re.findall(r"\d\.\d\d", PRESETS["Tiny and instant"].words)]
    found = [
        min(*losses, *TINY_ON_HASWELL),
        max(*losses, *TINY_ON_HASWELL),
        guesses["token frequencies"],
        guesses["token pairs"],
    ]
    assert len(losses) == 8 and named == [round(float(value), 2) for value in found]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_number_of_a_preset_is_a_stop_of_its_slider(preset):
    for name, value in preset_settings(preset).items():
        step = slider_step(name) if name in field_names() else None
        if step is not None and isinstance(value, int):
            assert (value - control_range(name)[0]) % step == 0, f"{name} = {value}, but the slider has steps of {step}"


@pytest.mark.parametrize("preset", [p for p in PRESETS.values() if " style" in p.label], ids=lambda p: p.label)
def test_a_preset_with_the_name_of_a_model_says_what_it_shares_with_it_and_what_not(preset):
    shared, not_shared = preset.words.split(" Not its: ")
    assert shared and not_shared
    settings = preset_settings(preset)
    said = {  # in the words of a preset -> whether its settings have it
        "RMSNorm on queries and keys": settings["qk_norm"] == "rmsnorm",
        "RoPE": settings["position"] == "rope",
        "GEGLU": settings["activation"] == "geglu",
        "SwiGLU": settings["activation"] == "swiglu",
        "squared ReLU": settings["activation"] == "relu2",
        "untied head": not settings["tied"],
        "a tied head": settings["tied"],
        "soft cap": settings["logit_cap"] == 30,
        "z-loss": settings["z_loss"] > 0,
        "value residual": settings["value_residual"],
        "sink": settings["attention_softmax"] == "sink",
        "Muon": settings["optimizer"] == "muon",
        "two heads share": settings["num_kv_heads"] == settings["num_heads"] / 2,
        "of base 1,000,000": settings["rope_base"] == 1e6,
        "of base 500,000": settings["rope_base"] == 5e5,
        "of base 150,000": settings["rope_base"] == 1.5e5,
    }
    assert not [words for words, holds in said.items() if words in shared and not holds]


def test_the_embeddings_of_gemma_are_multiplied_by_the_root_of_the_width():
    settings = preset_settings(PRESETS["Gemma 2 style"])
    assert settings["embedding_scale"] == pytest.approx(settings["hidden_dim"] ** 0.5, abs=0.005)


def test_settings_with_one_change_are_near_their_preset_and_none_of_them():
    preset = PRESETS["Pre-LN or Post-LN"]
    own = {**preset_settings(preset), "corpus": "names"}
    assert preset_with(own, preset.switch) is preset
    changed = {**own, "learning_rate": 0.01}
    assert preset_with(changed, preset.switch) is None
    assert "“Pre-LN or Post-LN” but for Learning rate 0.01 and the text." in own_settings_words(changed, preset.switch)
    assert "but for what B changes and the text." in own_settings_words(own, None)
    usual = {**own, "corpus": DEFAULT_CORPUS}
    assert "but for what B changes." in own_settings_words(usual, None)
    other = {**own, "num_heads": 1, "batch_size": 3, "init": "small", "seed": 7, "beta2": 0.9}
    assert own_settings_words(other, None) == "These settings are those of no preset."


def test_a_preset_with_a_text_of_its_own_is_none_on_another_text():
    preset = PRESETS["Induction heads appear"]
    own = preset_settings(preset)
    assert preset_with({**own, "corpus": preset.corpus}, preset.switch) is preset
    assert preset_with({**own, "corpus": "names"}, preset.switch) is None


def test_what_a_link_hides_of_a_preset_is_named_with_both_values():
    preset = PRESETS[POSITIONS]
    words = unset_words(preset, {"position": "learned", "seed": 0})
    assert "Position stays learned instead of RoPE; B, which would change Position, changes nothing." in words
    assert "Seed" not in words
    assert unset_words(preset, {"seed": 0}) == ""

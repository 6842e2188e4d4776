"""What a run was made of, as the controls take it, and what is said where they hold something else."""

import pytest

from support import GRADIO
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, PRESETS, preset_job
from tlab.ui.settings.run_settings import (
    MAX_NAMED_SETTINGS,
    control_values,
    other_settings_words,
    settings_of,
    switch_of,
)

pytestmark = GRADIO
DEMO = preset_job(DEMO_PRESET)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.label)
def test_the_settings_of_a_run_make_the_same_run_again(preset):
    job = preset_job(preset)
    assert make_plans(settings_of(job), switch_of(job)) == job.plans


def test_a_run_is_said_to_have_every_setting_that_differs_and_no_other():
    chosen = DEMO._replace(plans=make_plans({**DEMO_PRESET.settings, "steps": 60, "norm": "rmsnorm"}))
    words = other_settings_words(DEMO, chosen)
    assert len(words) == 3
    assert "Norm LayerNorm instead of RMSNorm" in words
    assert f"Steps {DEMO.plans[0].training.steps} instead of 60" in words
    assert words[0] == "B with Post-LN instead of no B"
    assert other_settings_words(DEMO, DEMO) == []


def test_of_many_settings_a_few_are_named_and_the_others_counted():
    many = {"steps": 61, "seed": 7, "num_layers": 3, "hidden_dim": 32, "num_heads": 2, "batch_size": 4}
    words = other_settings_words(DEMO, DEMO._replace(plans=make_plans(many, DEMO_PRESET.switch)))
    assert len(words) == MAX_NAMED_SETTINGS + 1
    assert words[-1].endswith(" more")


def test_a_planted_bug_is_named_as_what_b_has():
    a = DEMO.plans[0]
    bugged = DEMO._replace(plans=(a, a._replace(bug="no_mask")))
    assert other_settings_words(bugged, DEMO._replace(plans=(a,))) == ["B with a planted bug instead of no B"]


def test_a_text_of_ones_own_is_another_than_the_one_before():
    own = DEMO._replace(corpus="your own text", text="one")
    assert other_settings_words(own, own._replace(text="two")) == ["another text of your own"]
    assert control_values(own)["text"] == "one"

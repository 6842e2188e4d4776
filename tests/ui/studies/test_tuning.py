"""Both sides at several learning rates: which runs, what is said of them, and how the grid grows."""

import functools
import math
import re

import numpy as np
import pytest

from tlab.judging.few_seeds import DOUBTFUL, SAME_WITHOUT_SEED
from tlab.text.units import bits_per_byte
from tlab.ui.runs.limits import PUBLIC, TooLargeError
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.manager import Runs
from tlab.ui.runs.run import DONE, STOPPED
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, preset_job, preset_settings
from tlab.ui.studies.rates_view import rates_html, rates_value
from tlab.ui.studies.studies import Studies
from tlab.ui.studies.study import Ended, Study
from tlab.ui.studies.tuning import (
    CannotTuneError,
    missing_rates,
    rates_of,
    tuning_study,
    verdict_words,
    widen,
)

RATE = preset_settings(DEMO_PRESET)["learning_rate"]


def job_of(switch=DEMO_PRESET.switch, **settings):
    job = preset_job(DEMO_PRESET)
    return job._replace(plans=make_plans({**preset_settings(DEMO_PRESET), **settings}, switch))


def tuned(loss_of, seeds: int = 3) -> Study:
    """A study of which these seeds have ended, with the losses of `loss_of`, None for a divergence."""
    study = tuning_study("s", job_of())
    fill(study, loss_of, seeds)
    return study


def fill(study: Study, loss_of, seeds: int = 3) -> None:
    for trial in study.trials:
        if trial.seed < seeds:
            loss = loss_of(*trial)
            study.outcomes[trial] = Ended(loss, 3 if loss is None else None, Curve())
    study.end = DONE if len(study.outcomes) == len(study.trials) else STOPPED


def valley(side: int, seed: int, rate: float, best=(0.004, 0.009), lowest=(2.0, 2.3)) -> float:
    """A parabola over log rate for each side, a little other for each seed."""
    return lowest[side] + 0.1 * math.log(rate / best[side]) ** 2 + 0.01 * math.sin(7 * seed + side + 1e4 * rate)


# ------------------------------------------------------------------------------------------------ which runs


def test_the_settings_rate_is_in_the_middle_and_the_others_are_a_factor_apart():
    study = tuning_study("s", job_of(learning_rate=0.006))
    assert rates_of(study) == [0.00096, 0.0024, 0.006, 0.015, 0.0375]


def test_each_side_has_each_rate_with_three_seeds_and_the_first_seed_comes_first():
    study = tuning_study("s", job_of(seed=4))
    assert len(study.trials) == len(set(study.trials)) == 5 * 2 * 3
    assert {trial.seed for trial in study.trials[:10]} == {4}
    assert study.trials[0].learning_rate == RATE


def test_a_trial_has_half_of_the_steps_and_its_rate():
    study = tuning_study("s", job_of())
    (plan,) = study.job_of(study.trials[-1]).plans
    assert (plan.training.steps, plan.training.learning_rate) == (200, study.trials[-1].learning_rate)


def test_a_lowest_rate_that_was_given_keeps_its_ratio():
    study = tuning_study("s", job_of(min_learning_rate=RATE / 4))
    for trial in study.trials[:10]:
        (plan,) = study.job_of(trial).plans
        assert plan.training.min_learning_rate == pytest.approx(plan.training.learning_rate / 4)


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        (None, "nothing to compare"),
        (("learning_rate", 0.02), "differ in their learning rate alone"),
        (("seed", 1), "differ in their seed alone"),
    ],
)
def test_what_has_no_two_sides_to_tune_is_refused_in_words(switch, words):
    with pytest.raises(CannotTuneError, match=words):
        tuning_study("s", job_of(switch))


def test_a_budget_that_a_public_page_cannot_afford_is_refused_in_words():
    studies = Studies(Runs(PUBLIC, slots=2))
    with pytest.raises(TooLargeError, match="These 30 runs would take"):
        studies.start(tuning_study("s", job_of(steps=4_000)))


# ------------------------------------------------------------------------------------------------ words


def test_the_verdict_is_told_at_the_same_rate_and_for_each_at_its_best():
    at_rate, at_best = verdict_words(tuned(valley))[:2]
    assert at_rate.startswith("At the same learning rate, 0.006: A (Pre-LN) is better than B (Post-LN) by 0.3")
    assert at_best.startswith(
        "Each at its best (A (Pre-LN) at 0.0041, B (Post-LN) at 0.0083; these are the lowest points of curves through "
        "their losses, and nothing was trained there): A (Pre-LN) is better"
    )


def test_verdict_and_table_are_told_in_bits_per_byte_as_well():
    study = tuned(valley)
    for trial, ended in study.outcomes.items():
        study.outcomes[trial] = ended._replace(bytes_per_token=2.0)
    words = " ".join(verdict_words(study))
    found = re.findall(r"by ([\d.]+) nats per token \(.*?\), or ([\d.]+) bits per byte \(", words)
    assert len(found) == 2  # at the same rate, and each at its best
    for nats, bits in found:
        assert float(bits) == pytest.approx(bits_per_byte(float(nats), 2.0), abs=1e-3)
    mean = rates_value(study)["sides"][0]["means"][0][1]
    assert f"{mean:.3f} ({bits_per_byte(mean, 2.0):.3f})" in rates_html(study)
    assert "in brackets in bits per byte" in rates_html(study)


@pytest.mark.parametrize("lowest", [(2.0, 2.0), (2.0, 2.02)])
def test_what_names_no_winner_is_told_in_bits_per_byte_too(lowest):
    study = tuned(lambda side, seed, rate: valley(side, seed, rate, best=(0.006, 0.006), lowest=lowest))
    for trial, ended in study.outcomes.items():
        study.outcomes[trial] = ended._replace(bytes_per_token=2.0)
    assert all(" bits per byte (" in words for words in verdict_words(study)[:2])


def test_seeds_that_did_not_reach_the_runs_of_a_rate_name_no_winner():
    study = tuned(lambda side, seed, rate: valley(side, 0, rate))
    assert verdict_words(study) == [SAME_WITHOUT_SEED]


def test_a_run_that_is_stuck_where_the_sides_are_compared_is_warned_of():
    def one_stuck(at, side, seed, rate):
        return valley(side, seed, rate) + 1.2 * ((side, seed) == (1, 2) and rate in at)

    at_both = verdict_words(tuned(functools.partial(one_stuck, (RATE,))))[-1]
    assert at_both == f"Some seeds ended far from the others: B at 0.006. {DOUBTFUL}."
    beside = verdict_words(tuned(functools.partial(one_stuck, (0.0375,))))
    assert not any(DOUBTFUL in words for words in beside)


def test_no_comparison_is_promised_once_the_study_has_ended():
    study = tuned(valley, seeds=0)
    assert verdict_words(study) == ["The first comparison would come when each rate has been tried with one seed."]


def test_no_winner_is_named_before_the_last_seed():
    words = verdict_words(tuned(valley, seeds=2))
    assert len(words) == 1
    assert words[0].startswith("After 2 of 3 seeds, B − A is +0.296 at the same rate and +0.302 each at its best")
    assert words[0].endswith("No winner is named before all 3 seeds are there.")


def test_before_the_first_seed_is_through_nothing_is_said():
    assert "comes when each rate has been tried" in verdict_words(tuning_study("s", job_of()))[0]


def test_two_sides_that_are_alike_are_hardly_ever_told_apart():
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(400):
        noise = {}  # of a seed at a rate; a part of it is of the seed alone
        of_seed = rng.normal(0, 0.02, (2, 3))

        def loss(side, seed, rate, noise=noise, of_seed=of_seed):
            drawn = noise.setdefault((side, seed, rate), rng.normal(0, 0.03))
            return valley(0, 0, rate, best=(0.005, 0.005)) + of_seed[side][seed] + drawn

        named += any(" is better than " in sentence for sentence in verdict_words(tuned(loss)))
    assert named <= 0.05 * 400


# ------------------------------------------------------------------------------------------------ the edge


def falling(side: int, seed: int, rate: float) -> float:
    """B is best far above the grid."""
    return valley(side, seed, rate, best=(0.006, 0.5))


def test_a_best_rate_at_the_edge_is_told_and_the_grid_can_grow_by_a_click():
    study = tuned(falling)
    assert any("was not found within the rates that were tried" in sentence for sentence in verdict_words(study))
    assert missing_rates(study) == [0.0938]
    widen(study)
    assert rates_of(study)[-1] == 0.0938
    assert len(study.missing) == 6


def test_a_grid_with_both_best_rates_inside_does_not_grow():
    assert missing_rates(tuned(valley)) == []


def test_runs_that_diverged_are_counted_in_table_and_chart():
    study = tuned(lambda side, seed, rate: None if side and rate > 0.03 else valley(side, seed, rate))
    assert "3 diverged" in rates_html(study)
    assert rates_value(study)["sides"][1]["lost"] == [[0.0375, 3]]


def test_the_legend_of_the_chart_names_the_marks_that_it_has():
    whole = rates_value(tuned(valley))["signs"]
    assert "fitted curve" in whole and "95 % interval of the best rate" in whole and "diverged" not in whole
    lost = rates_value(tuned(lambda side, seed, rate: None if side and rate > 0.03 else valley(side, seed, rate)))
    assert "×: diverged" in lost["signs"]
    begun = tuning_study("s", job_of())
    fill(begun, lambda side, seed, rate: valley(side, seed, rate) if rate < 0.001 else None)
    assert "curve" not in rates_value(begun)["signs"] and "interval" not in rates_value(begun)["signs"]


def test_where_every_run_diverged_that_is_said():
    assert "Every run diverged" in rates_html(tuned(lambda side, seed, rate: None if side else valley(0, seed, rate)))


def test_the_table_and_the_chart_have_the_rates_that_were_trained():
    study = tuning_study("s", job_of(learning_rate=0.05))
    fill(study, valley)
    names = ["0.008", "0.02", "0.05", "0.125", "0.312"]
    assert [name for _, name in rates_value(study)["rates"]] == names
    assert all(f'<th scope="row">{name}</th>' in rates_html(study) for name in names)


def test_runs_of_other_settings_are_marked():
    study = tuned(valley)
    assert "of other settings" not in rates_html(study)
    assert "of other settings" in rates_html(study, is_other=True)


def test_the_chart_has_each_run_and_the_best_rates():
    value = rates_value(tuned(valley))
    assert [len(side["points"]) for side in value["sides"]] == [15, 15]
    for side, best in zip(value["sides"], (0.004, 0.009), strict=True):
        assert side["optimum"] == pytest.approx(best, rel=0.1)
        low, high = side["interval"]
        assert low < side["optimum"] < high

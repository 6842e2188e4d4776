"""What may be said of five seeds: by the statistics of the sweeps, and no winner where there is none."""

import csv
import gzip
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from sweeps.results.effects import Cube, compare_levels, with_holm
from tlab.judging.few_seeds import DOUBTFUL, MARGIN, SAME_WITHOUT_SEED
from tlab.text.units import bits_per_byte
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.loss_curve import Curve
from tlab.ui.runs.run import DONE, FAILED, STOPPED, WAITING, Run
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import DEMO_PRESET, preset_job, preset_settings
from tlab.ui.studies.csv_link import csv_of
from tlab.ui.studies.five_seeds import SeedPair, judge, pairs_of, seeds_study, why_not, words_of
from tlab.ui.studies.study import Ended
from tlab.ui.studies.view import bands_value, round_numbers, seeds_html, seeds_words
from tlab.wording import written

RUNS = Path(__file__).parents[1] / "seed_runs.json.gz"
LABELS = ("Pre-LN", "Post-LN")


def pairs(a, b):
    return [SeedPair(seed, *losses) for seed, losses in enumerate(zip(a, b, strict=True))]


def said(a, b):
    return words_of(judge(pairs(a, b)), LABELS)


def by_the_sweeps(a, b):
    """The comparison that the report of a sweep would make of the same losses."""
    values = np.array([[math.nan if loss is None else loss for loss in side] for side in (b, a)]).T[..., None]
    functions = np.arange(values.size).reshape(values.shape)
    cube = Cube(list(range(len(a))), ["b", "a"], values, functions, [])
    return with_holm([compare_levels(cube, [(0, 1)], ("norm",), ("b", "a"), None, MARGIN)])[0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([2.1, 2.2, 2.15, 2.3, 2.05], [2.0, 2.08, 2.06, 2.2, 1.97]),
        ([2.1, 2.2, 2.15, 2.3, 2.05], [2.2, 2.08, 2.26, 2.2, 1.97]),
        ([2.1, 2.2, 2.15, 2.3, 2.05], [2.1001, 2.2, 2.1502, 2.3, 2.05]),
        ([2.1, None, 2.15, 2.3, 2.05], [2.0, 2.08, 2.06, 2.2, 1.97]),
        ([2.1, 2.2, 2.15, 2.3, 2.05], [None, 2.08, 2.06, 2.2, 1.97]),
    ],
)
def test_the_sweeps_say_the_same_of_the_same_losses(a, b):
    own, theirs = judge(pairs(a, b)), by_the_sweeps(a, b)
    assert (own.difference, own.verdict) == (theirs.estimate, theirs.verdict)


def test_a_difference_is_told_with_its_interval_and_its_seeds():
    assert said([2.1, 2.2, 2.15, 2.3, 2.05], [2.0, 2.08, 2.06, 2.2, 1.97]) == (
        "B (Post-LN) is lower on 5 of 5 seeds, by a mean of 0.10 nats per token (95 % interval 0.08 to 0.12)."
    )


def test_a_difference_is_told_in_the_unit_of_all_tokenizers_too():
    losses = [2.1, 2.2, 2.15, 2.3, 2.05]
    assert "nats per token (95 % interval 0.08 to 0.12), or 0.07 bits per byte (0.06 to 0.08)." in words_of(
        judge(pairs(losses, [2.0, 2.08, 2.06, 2.2, 1.97])), LABELS, bytes_per_token=2.0
    )
    words = words_of(judge(pairs(losses, [2.2, 2.08, 2.26, 2.2, 1.97])), LABELS, bytes_per_token=2.0)
    assert words.endswith("(95 % interval −0.16 to +0.12), or −0.01 bits per byte (−0.11 to +0.09).")


def test_what_five_seeds_cannot_tell_is_said_with_its_interval():
    words = said([2.1, 2.2, 2.15, 2.3, 2.05], [2.2, 2.08, 2.26, 2.2, 1.97])
    assert words == (
        "These 5 seeds cannot tell A and B apart: the mean difference B − A is −0.02 nats per token (95 % interval "
        "−0.16 to +0.12)."
    )


def test_a_run_that_diverged_speaks_against_its_side():
    a, b = [2.1, 2.2, 2.15, 2.3, 2.05], [None, 2.08, 2.06, 2.2, 1.97]
    words = said(a, b)
    assert words.startswith("Diverged, which counts as higher: B on 1 of 5 seeds. These 5 seeds cannot tell")
    assert judge(pairs(a, b)).winner == ""
    assert "B (Post-LN) is lower on 5 of 5" in said(b, [2.0, 2.06, 2.04, 2.18, 1.95])


def test_where_one_side_always_diverges_nothing_is_averaged():
    assert said([2.1, 2.2, 2.15, 2.3, 2.05], [None] * 5) == (
        "Diverged, which counts as higher: B on 5 of 5 seeds. There are too few pairs of losses to compare."
    )


def test_where_every_run_diverges_there_is_nothing_to_compare():
    words = "Every run of both sides diverged, so there is nothing to compare. A lower learning rate may help."
    assert said([None] * 5, [None] * 5) == words


@pytest.mark.parametrize(("b", "words"), [(2.0, "5 of 5"), (math.nextafter(2.0, 3), "5 of 5"), (None, "4 of 5")])
def test_sides_that_end_alike_on_every_seed_are_said_to(b, words):
    last = None if b is None else 2.0
    said_of_all = said([2.1, 2.2, 2.15, 2.3, last], [2.1, 2.2, 2.15, 2.3, b])
    assert said_of_all.endswith(f"A and B have the same loss on {words} seeds: what they differ in changed nothing.")


@pytest.mark.parametrize("b", [[3.2] * 5, [2.3, 2.2, 2.15, 2.4, 2.05], [3.2, None, 3.2, 3.2, 3.2]])
def test_seeds_that_did_not_reach_the_runs_of_a_side_have_no_interval(b):
    found = judge(pairs([2.1] * 5, b))
    assert words_of(found, LABELS).endswith(SAME_WITHOUT_SEED)
    assert found.winner == "" and math.isinf(found.difference.low)


def test_sides_of_which_one_diverged_do_not_end_alike():
    assert "changed nothing" not in said([2.1, 2.2, 2.15, 2.3, None], [2.1, 2.2, 2.15, 2.3, 2.0])


@pytest.mark.parametrize(
    ("a", "b", "seeds"),
    [
        ([2.1, 2.2, 2.15, 2.3, 2.05], [2.0, 2.08, 2.06, 3.3, 1.97], "Seed 3 (B, B − A) ended"),
        ([2.1, 3.4, 2.15, 2.12, 2.05], [2.0, 2.08, 2.06, 3.3, 1.97], "Seeds 1 (A) and 3 (B) ended"),
        ([3.3, 3.31, 3.32, 3.3, 2.05], [3.31, 3.3, 3.31, 3.29, 3.3], "Seed 4 (A, B − A) ended"),
    ],
)
def test_seeds_that_are_stuck_while_others_learn_are_warned_of(a, b, seeds):
    assert f"{seeds} far from the others. {DOUBTFUL}" in said(a, b)


def test_seeds_that_end_close_to_each_other_are_not_warned_of():
    assert DOUBTFUL not in said([2.1, 2.2, 2.15, 2.3, 2.05], [2.0, 2.08, 2.06, 2.2, None])


def test_of_two_sides_that_are_alike_hardly_any_is_called_better():
    sides = json.loads(gzip.decompress(RUNS.read_bytes()))
    losses = [[run["validation"][-1][1] for run in group] for group in sides.values()]
    rng = np.random.default_rng(0)
    named = 0
    for number in range(400):
        drawn = rng.choice(losses[number % len(losses)], (2, 5))
        named += said(*drawn.tolist()).startswith(("A (", "B ("))
    assert named <= 0.05 * 400


# ------------------------------------------------------------------------------------------------ the study


def job_of(**settings):
    job = preset_job(DEMO_PRESET)
    return job._replace(plans=make_plans({**preset_settings(DEMO_PRESET), **settings}, DEMO_PRESET.switch))


def study_with(losses, **settings):
    """Five seeds of the first preset, of which the first trials ended with these losses; None for a divergence."""
    study = seeds_study("s", job_of(**settings), {})
    for trial, loss in zip(study.trials, losses, strict=False):
        study.outcomes[trial] = Ended(loss, 7 if loss is None else None, Curve())
    return study


def test_both_sides_have_the_seed_of_the_comparison_and_the_next_four():
    study = seeds_study("s", job_of(seed=3), {})
    assert [(trial.side, trial.seed) for trial in study.trials] == [(s, 3 + i) for i in range(5) for s in (0, 1)]


def test_a_trial_is_the_side_of_the_comparison_but_for_its_seed():
    study = seeds_study("s", job_of(), {})
    (plan,) = study.job_of(study.trials[3]).plans
    own = study.job.plans[1]
    assert (plan.model, plan.training.seed, study.trials[3].side) == (own.model, 1, 1)
    assert plan.training.from_json({**plan.training.to_json(), "seed": 0}) == own.training


def test_no_winner_is_named_before_the_last_seed():
    study = study_with([2.1, 1.0, 2.2, 1.0, 2.3, 1.1, 2.1, 1.0])
    study.end = STOPPED
    card = seeds_html(study.job, study, None)
    assert "4 seeds so far: A is lower on 0 and B on 4. No winner is named before all five seeds are there." in card
    assert "8 of 10 runs; what is there is kept" in card


def test_the_card_of_all_seeds_has_the_verdict_and_each_loss():
    study = study_with([2.1, 1.0, 2.2, 1.0, 2.3, 1.1, 2.1, 1.0, None, 1.0])
    study.end = DONE
    card = seeds_html(study.job, study, None)
    assert "B (Post-LN) is lower on 5 of 5 seeds" in card
    assert card.count("diverged") == 1
    assert "2.3000" in card


def test_the_table_has_each_loss_difference_and_interval_in_bits_per_byte_too():
    study = study_with([2.1, 2.0, 2.2, 2.08, 2.3, None])
    in_nats = seeds_html(study.job, study, None)
    assert "bits per byte" not in in_nats and "<td>2.1000</td><td>2.0000</td><td>−0.1000</td>" in in_nats
    for trial, ended in study.outcomes.items():
        study.outcomes[trial] = ended._replace(bytes_per_token=2.0)
    card = seeds_html(study.job, study, None)
    assert "in brackets in bits per byte" in card
    assert "<td>2.1000 (1.5148)</td><td>2.0000 (1.4427)</td><td>−0.1000 (−0.0721)</td>" in card
    assert "<td>2.3000 (1.6591)</td><td>diverged</td><td>–</td>" in card
    mean, low, high, _ = judge(pairs_of(study)).difference
    bits = [written(bits_per_byte(value, 2.0), "+.4f") for value in (mean, low, high)]
    assert "; bits per byte: {} ({} to {})</td>".format(*bits) in card


@pytest.mark.parametrize("ends", [(-0.18, 0.26), (0.0, 0.0021), (-3.0, 14.0), (-1.3, 0.0)])
def test_the_line_of_the_differences_has_numbers_from_which_a_size_can_be_read(ends):
    numbers = [float(words.replace("−", "-")) for _, words in round_numbers(*ends)]
    assert len(numbers) >= 3 and 0 in numbers
    assert np.ptp(np.diff(numbers)) == pytest.approx(0, abs=1e-9)
    assert ends[0] <= numbers[0] < numbers[-1] <= ends[1]


def test_a_small_validation_part_is_said_of_five_seeds():
    text = "a few words of my own, " * 200
    study = study_with([2.1, 2.0, 2.2, 2.08, 2.3, 2.2, 2.4, 2.25, 2.0, 1.9])
    words = "The validation part of this text has 460 tokens: another part of it would give another loss"
    for own, count in ((text, 460), (20 * text, 9200), (None, 0)):
        study.job = study.job._replace(text=own)
        for trial, ended in study.outcomes.items():
            study.outcomes[trial] = ended._replace(bytes_per_token=1.0)
        study.end = DONE
        assert (words in seeds_words(study)) == (count == 460) == (words in seeds_html(study.job, study, None))


def test_no_losses_are_promised_once_the_study_has_ended():
    study = study_with([2.1])
    assert "The first pair of losses comes soon." in seeds_html(study.job, study, None)
    study.end = STOPPED
    assert "There is no pair of losses. No winner is named" in seeds_html(study.job, study, None)


@pytest.mark.parametrize(("end", "words"), [(FAILED, "out of memory"), (STOPPED, "Another run was started.")])
def test_a_study_that_ended_early_says_why(end, words):
    study = study_with([2.1])
    study.end, study.words = end, words
    assert words in seeds_html(study.job, study, None)


def test_a_study_that_waits_says_so():
    study = seeds_study("s", job_of(), {})
    run = Run("s", study.job_of(study.trials[0]), LOCAL)
    study.training[study.trials[0]] = run
    assert (run.state, study.state) == (WAITING, WAITING)
    assert "the next begins when a worker is free" in seeds_html(study.job, study, None)


def test_sides_that_differ_in_their_seed_alone_are_not_repeated():
    job = job_of()
    seeds = job._replace(plans=make_plans(preset_settings(DEMO_PRESET), ("seed", 1)))
    assert why_not(job) == ""
    assert "A and B differ in their seed alone" in seeds_html(seeds, None, 30.0)


def test_the_file_has_a_row_for_each_run_that_ended():
    rows = list(csv.DictReader(io.StringIO(csv_of(study_with([2.0612345678901, None])))))
    assert [(row["side"], row["seed"], row["validation_loss"], row["diverged_at"]) for row in rows] == [
        ("A", "0", "2.0612345678901", ""),
        ("B", "0", "", "7"),
    ]


def test_the_file_has_each_loss_in_bits_per_byte_where_the_bytes_are_known():
    study = study_with([2.0, 3.0, None])
    first, *others = study.outcomes
    study.outcomes[first] = study.outcomes[first]._replace(bytes_per_token=2.5)
    study.outcomes[others[-1]] = study.outcomes[others[-1]]._replace(bytes_per_token=2.5)
    rows = list(csv.DictReader(io.StringIO(csv_of(study))))
    assert [row["validation_bits_per_byte"] for row in rows] == [str(bits_per_byte(2.0, 2.5)), "", ""]


def test_a_band_spans_the_averages_of_the_seeds():
    study = study_with([2.0, 3.0, 2.5])
    for place, outcome in enumerate(study.outcomes.values()):
        outcome.curve.bins, outcome.curve.filled = [[0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 0.0, 3.0 - place]], 1
        outcome.curve.validation = [[2, 1.0]]
    assert bands_value(study)[0] == {
        "letter": "A", "seeds": 2, "ranges": "4,4,1.0;1,3,2.0", "validation": [[2, 1.0], [2, 1.0]],
    }  # fmt: skip

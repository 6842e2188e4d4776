"""What is said of A against B: true of their numbers, and nothing where another seed would do as much."""

import gzip
import itertools
import json
import math
import multiprocessing
from pathlib import Path

import pytest

from benchmarks.seed_noise import loss_gap, pair_gaps, seed_gaps
from support import SMALL
from tlab.inside.layers import LayerInsight
from tlab.judging.one_run import FREQUENCIES, PAIRS, UNIFORM
from tlab.training.records import StepRecord
from tlab.ui.demo.shipped_run import demo_run
from tlab.ui.runs.comparison import (
    LASTING,
    MEASURED_PAIRS,
    QUANTITIES,
    SEED_GAP,
    STEADY_GAP,
    distance,
    easier_part,
    first_lasting,
    first_parting,
    looks_at_start,
    parting_words,
    partings,
    start_differences,
    start_words,
    times_words,
    verdict,
)
from tlab.ui.runs.limits import LOCAL
from tlab.ui.runs.live_trainer import OTHER_SEEDS, LiveTrainer
from tlab.ui.runs.messages import Insight, Job, RunEnded, SeedStart
from tlab.ui.runs.run import DONE, RUNNING, Run
from tlab.ui.runs.worker import MIN_STEPS, run_job
from tlab.ui.settings.plans import make_plans
from tlab.ui.settings.presets import PRESETS
from tlab.ui.tabs.sweeps.results import demo_results

SEED_RUNS = json.loads(gzip.decompress((Path(__file__).parents[1] / "seed_runs.json.gz").read_bytes()))
PLAIN = LayerInsight(gradient_norm=1.0, stream_rms=1.0, update_ratio=0.01, dead_share=0.0, entropy=2.0)
STEPS = (1, 2, 5, 10, 20)


def made(switch: tuple[str, object] | None = ("residual", "post"), **changes) -> Run:
    run = Run("s", Job("a text", "a text", "char", make_plans({**SMALL, "num_layers": 2, **changes}, switch)), LOCAL)
    run.state = DONE
    return run


def looked_into(run: Run, change: dict[tuple[int, int], LayerInsight] | None = None) -> Run:
    """Both sides alike, but for B's layers at the (step, layer) of `change`."""
    for number, side in enumerate(run.sides):
        for step in STEPS:
            layers = [(change or {}).get((step, layer), PLAIN) if number else PLAIN for layer in range(2)]
            side.insights.append(Insight(number, step, layers))
    return run


def validated(run: Run, *losses: float, step: int = 40) -> Run:
    for side, loss in zip(run.sides, losses, strict=True):
        side.add(StepRecord(step, 2.5, loss, 0.001, 1.0, 100, 1.0))
    return run


# --- inside ---


def test_a_ratio_and_a_difference_are_measured_in_what_another_seed_does_by_then():
    first, *_, last = QUANTITIES["gradient_norm"].seed_gaps
    assert distance("gradient_norm", 1, 2.0, 2.0 * math.exp(2 * first)) == pytest.approx(2)
    assert distance("gradient_norm", 400, 2.0, 2.0 * math.exp(2 * last)) == pytest.approx(2)
    assert distance("gradient_norm", 1, 2.0 * math.exp(first), 2.0) == pytest.approx(-1)
    assert distance("entropy", 1, 2.0, 2.0 - 3 * QUANTITIES["entropy"].seed_gaps[0]) == pytest.approx(-3)
    assert distance("gradient_norm", 1, 0.0, 1.0) == 0


@pytest.mark.parametrize(
    ("distances", "start"),
    [
        ([0, 2, 2, 2], 1),
        ([-2, -2, -2, 0], 0),
        ([2, 2, 0.9, 2, 2], None),
        ([2, 2, -2, 2, 2], None),
        ([1, 1, 1], None),
        ([2, 2], None),
    ],
)
def test_sides_part_where_they_differ_for_three_looks_in_one_direction(distances, start):
    assert LASTING == 3
    assert first_lasting(distances) == start


def test_the_first_parting_is_the_earliest_and_of_two_at_once_the_widest():
    loud, louder, wide = (PLAIN._replace(gradient_norm=n) for n in (1e4, 1e5, 2.0))
    late = {(step, 0): PLAIN._replace(entropy=0.01) for step in STEPS[1:]}
    both = {(step, 1): louder for step in STEPS[2:]} | {(step, 0): loud._replace(entropy=0.01) for step in STEPS[2:]}
    run = looked_into(made(), {(2, 0): late[2, 0], (1, 0): wide} | both)
    assert partings(*run.sides) == [
        ("entropy", 2, 0, 2.0, 0.01),
        ("gradient_norm", 5, 1, 1.0, 1e5),
    ]
    assert first_parting(run).quantity == "entropy"


@pytest.mark.parametrize(
    ("times", "words"),
    [(1.2, "20% larger"), (3.31, "3.3 times"), (99.94, "99.9 times"), (148109.6, "about 150,000 times")],
)
def test_no_factor_has_more_digits_than_it_is_worth(times, words):
    assert words in times_words(times)


def test_words_tell_quantity_layer_step_and_both_values():
    run = looked_into(made(), {(step, 1): PLAIN._replace(gradient_norm=5e4) for step in STEPS[2:]})
    words = parting_words(run)
    assert "While they train, they first part in the gradient norm of layer 2 (A 1, B 50000) at step 5." in words
    assert "At the first step" not in words


def test_what_differs_before_any_update_is_told_apart_from_what_training_makes_of_it():
    still = PLAIN._replace(stream_rms=9.0)
    change = {(step, 0): still for step in STEPS[:2]}
    change |= {(step, 0): still._replace(gradient_norm=5e4, entropy=0.01) for step in STEPS[2:]}
    run = looked_into(made(), change)
    assert parting_words(run).startswith(
        "At the first step, A and B differ in the size of the residual stream of layer 1 (A 1, B 9). While they "
        "train, they first part in the attention entropy of layer 1 (A 2, B 0.01) at step 5 and the gradient norm of "
        "layer 1 (A 1, B 50000) at step 5."
    )
    assert first_parting(run).quantity == "entropy"


def test_sides_that_differ_no_more_than_by_a_seed_have_not_parted():
    run = looked_into(made())
    assert partings(*run.sides) == [] and first_parting(run) is None
    assert "have not parted" in parting_words(run)


def test_nothing_is_said_of_one_side_or_before_there_is_enough_to_see():
    assert parting_words(made(None)) == "" and first_parting(made(None)) is None
    assert parting_words(made()) == ""


def test_models_of_different_depth_are_compared_at_their_first_and_last_layers():
    run = made(("num_layers", 3))
    for side, layers in zip(run.sides, (2, 3), strict=True):
        for step in STEPS:
            rows = [PLAIN] * (layers - 1) + [PLAIN._replace(stream_rms=90.0 if layers == 3 else 1.0)]
            side.insights.append(Insight(0, step, rows))
    assert partings(*run.sides) == [("stream_rms", 1, 2, 1.0, 90.0)]


def test_the_shipped_run_parts_in_its_gradients_within_ten_steps():
    gradients = {parting.quantity: parting for parting in partings(*demo_run().sides)}["gradient_norm"]
    assert gradients.step <= 10


# --- losses ---


def test_a_gap_that_a_seed_would_make_names_no_winner():
    words = verdict(validated(made(), 2.0, 2.0 + 0.9 * SEED_GAP))
    assert "names no winner" in words and "lower" not in words


@pytest.mark.parametrize(("worse", "said"), [(2.9, False), (2.99, True), (3.01, True), (3.1, True)])
def test_a_side_that_learned_no_more_than_frequencies_is_told_also_beside_a_gap_that_a_seed_would_make(worse, said):
    run = made()
    run.baselines = {"uniform guess": 4.2, "token frequencies": 3.0, "token pairs": 2.5}
    words = verdict(validated(run, worse - 0.9, worse))
    assert ("B's is" in words and "a guess by token frequencies (3.00)" in words) == said
    assert "names no winner" in words


@pytest.mark.parametrize(("losses", "low", "high"), [((2.0, 3.1), "A (Pre-LN)", "B (Post-LN)"),
                                                     ((3.1, 2.0), "B (Post-LN)", "A (Pre-LN)")])  # fmt: skip
def test_a_wider_gap_is_told_with_its_size_and_with_what_a_seed_would_do(losses, low, high):
    words = verdict(validated(made(), *losses))
    assert f"validation loss of {low} is 1.10 nats per token lower than that of {high}" in words
    assert "3.0 times the probability" in words
    assert "One run of each" in words


def test_losses_are_compared_at_the_last_step_that_both_were_validated_at():
    run = validated(made(), 2.0, 3.0, step=40)
    run.sides[0].add(StepRecord(80, 2.5, 1.0, 0.001, 1.0, 200, 2.0))
    assert verdict(run).startswith("After 40 steps") and "1.00 nats" in verdict(run)


def test_before_the_first_validation_there_is_nothing_to_compare():
    run = made()
    assert verdict(run) == "" and verdict(made(None)) == ""
    run.state = RUNNING
    assert "first validation" in verdict(run)


@pytest.mark.parametrize(("bug", "sees"), [("no-mask", True), ("no-scale", False)])
def test_a_side_with_a_bug_is_never_praised(bug, sees):
    run = validated(made(), 2.0, 0.05)
    run.job = run.job._replace(plans=(run.job.plans[0], run.job.plans[1]._replace(bug=bug)))
    words = verdict(run)
    assert "planted" in words and "not to be compared" in words and "lower" not in words
    assert ("sees the tokens that it has to predict" in words) == sees


def test_where_both_sides_are_worse_than_a_uniform_guess_both_are_said_to_be():
    run = validated(made(), 6.4, 6.5)
    run.baselines = {UNIFORM: 3.81, FREQUENCIES: 3.0, PAIRS: 2.5}
    assert "Both are worse than a uniform guess (3.81)" in verdict(run)
    one = validated(made(), 3.2, 6.5)
    one.baselines = run.baselines
    assert "Both" not in verdict(one) and "B's is worse than a uniform guess (3.81)" in verdict(one)


def by_heart(run: Run, letters: str) -> Run:
    """Its sides named so have a validation loss that rises from step 40 on, while their training loss falls."""
    for side in run.sides:
        for step in range(1, 121):
            loss = 4.0 + 0.02 * (step - 40) if side.letter in letters and step > 40 else 4.0 - 0.001 * step
            validation = loss if step % 20 == 0 else None
            side.add(StepRecord(step, 4.0 - 0.03 * step, validation, 0.001, 1.0, 100, 1.0))
    return run


@pytest.mark.parametrize("letters", ["AB", "B", ""])
def test_the_sides_that_learn_their_text_by_heart_are_named_with_their_lowest_validation_loss(letters):
    words = verdict(by_heart(made(), letters))
    assert [f"{letter} since step 40 (3.96)" in words for letter in "AB"] == [letter in letters for letter in "AB"]
    assert ("Learned by heart" in words) == bool(letters)


def test_no_model_is_expected_to_do_what_the_run_beside_it_does_not():
    run = by_heart(made(), "AB")  # validation ends above training, in the easier part
    run.baselines, run.training_pairs = {UNIFORM: 4.2, FREQUENCIES: 3.0, PAIRS: 2.3}, 2.6
    assert "is the easier one" in easier_part(run) and "Expect" not in easier_part(run)
    other = made()
    other.baselines, other.training_pairs = run.baselines, run.training_pairs
    assert "Expect a model, too, to have a lower loss there" in easier_part(other)


# --- two runs that differ in their seed alone ---


def stored(run: dict, side, number: int) -> None:
    for step, loss in run["validation"]:
        side.curve.add_validation(step, loss)
    side.insights = [Insight(number, step, [LayerInsight(*row) for row in rows]) for step, rows in run["insights"]]


def pairs_of_seeds():
    for name, group in SEED_RUNS.items():
        for pair in itertools.combinations(group, 2):
            run = made()
            for number, (side, of) in enumerate(zip(run.sides, pair, strict=True)):
                stored(of, side, number)
            yield name, run


def test_of_two_runs_that_differ_in_their_seed_alone_a_winner_is_named_in_one_of_twenty_at_most():
    named = ["names no winner" not in verdict(run) for _, run in pairs_of_seeds()]
    assert len(named) >= 200 and sum(named) <= 0.05 * len(named)


def test_one_run_of_each_names_no_winner_whatever_the_losses_are():
    for losses in ((2.0, 2.0), (2.0, 2.5), (2.0, 9.0), (9.0, 2.0)):
        assert "One run of each names no winner" in verdict(validated(made(), *losses))


def test_what_is_said_of_another_seed_is_what_the_measured_runs_have():
    """In the steadiest and the noisiest model; and inside, all pairs keep within the gaps, which are no wider."""
    of_presets = [loss_gap(group) for group in SEED_RUNS.values()]
    of_sweep = demo_results().cells.groupby(["norm", "activation", "residual"], dropna=False)["val_loss"]
    largest = max(*of_presets, *(of_sweep.max() - of_sweep.min()))
    assert pytest.approx((min(of_presets), largest), abs=0.01) == (STEADY_GAP, SEED_GAP) and largest <= SEED_GAP
    pairs = [pair_gaps(*pair) for group in SEED_RUNS.values() for pair in itertools.combinations(group, 2)]
    assert len(pairs) == MEASURED_PAIRS
    for quantity, measured in seed_gaps(pairs).items():
        for gap, size in zip(QUANTITIES[quantity].seed_gaps, measured, strict=True):
            assert size <= gap <= size * 1.05 + 0.01, quantity


@pytest.mark.parametrize("name", SEED_RUNS)
def test_of_each_model_two_seeds_part_inside_in_one_pair_of_twenty_at_most(name):
    parted = [bool(partings(*run.sides)) for of, run in pairs_of_seeds() if of == name]
    assert len(parted) == 28 and sum(parted) <= 0.05 * len(parted)


def test_two_runs_that_differ_in_their_seed_alone_part_inside_in_one_of_twenty_at_most():
    parted = [bool(partings(*run.sides)) for _, run in pairs_of_seeds()]
    assert len(parted) >= 200 and sum(parted) <= 0.05 * len(parted)


def test_where_sides_part_is_worked_out_once_for_each_look(monkeypatch):
    run = looked_into(made())
    asked = []
    monkeypatch.setattr("tlab.ui.runs.comparison.partings", lambda a, b: asked.append((a, b)) or [])
    for _ in range(3):
        assert first_parting(run) is None and parting_words(run)
    assert len(asked) == 1
    run.sides[0].insights.append(Insight(0, 30, [PLAIN, PLAIN]))
    assert first_parting(run) is None
    assert len(asked) == 2


# --- the first step, over several seeds ---

TEXT = "the cat sat on the mat, and the dog lay down beside it.\n" * 40


def job_of(switch=("residual", "post"), **changes) -> Job:
    return Job("a text", TEXT, "char", make_plans({**SMALL, "steps": MIN_STEPS, "batch_size": 2, **changes}, switch))


def trained(job: Job) -> Run:
    here, _ = multiprocessing.Pipe()
    run = Run("s", job, LOCAL)
    for message in run_job(job, here):
        if not isinstance(message, RunEnded):
            run.apply_message(message, None if isinstance(message, (Insight, SeedStart)) else Forgetful())
    return run


class Forgetful:
    """A store of checkpoints that keeps none."""

    def put(self, *_, **__):
        pass


def with_starts(run: Run, of_b) -> Run:
    """A run whose side A is PLAIN at each first step, and B what `of_b` says of a number from 0 to 4."""
    looked_into(run, {(1, layer): of_b(0)[layer] for layer in range(2)})
    for more in range(1, OTHER_SEEDS + 1):
        for number, side in enumerate(run.sides):
            side.starts.append(SeedStart(number, side.training.seed + more, of_b(more) if number else [PLAIN] * 2))
    return run


def test_the_first_step_of_another_seed_is_that_of_a_run_with_this_seed():
    run = trained(job_of())
    for side in run.sides:
        assert [start.seed for start in side.starts] == [side.training.seed + more for more in range(1, 5)]
    other = trained(job_of(seed=run.sides[0].training.seed + 2))
    for side, same in zip(run.sides, other.sides, strict=True):
        for found, first in zip(side.starts[1].layers, same.insights[0].layers, strict=True):
            assert found.update_ratio == 0, "no update is made of it"
            assert found._replace(update_ratio=first.update_ratio) == pytest.approx(first, rel=1e-6)


def go_on(run: Run, pause_after: int | None) -> None:
    """From where it is to the next pause, or to its end."""
    here, _ = multiprocessing.Pipe()
    for message in run_job(run.job._replace(pause_after=pause_after), here):
        if isinstance(message, RunEnded):
            plans = tuple(p._replace(checkpoint=c) for p, c in zip(run.job.plans, message.checkpoints, strict=True))
            run.job = run.job._replace(plans=plans)
        else:
            run.apply_message(message, None if isinstance(message, (Insight, SeedStart)) else Forgetful())


@pytest.mark.parametrize("steps", [(1,), (1, 1, 1), (3, 5), (9,)])
def test_a_run_that_pauses_among_its_first_steps_looks_at_the_rest_of_the_seeds_when_it_goes_on(steps):
    run = Run("s", job_of(), LOCAL)
    for pause_after in (*steps, None):
        go_on(run, pause_after)
    whole = trained(job_of())
    assert [side.starts for side in run.sides] == [side.starts for side in whole.sides]
    assert start_words(run) == start_words(whole) != ""


def test_a_first_step_that_is_known_is_kept_once():
    run = trained(job_of())
    before = list(run.sides[0].starts)
    run.apply_message(before[2], None)
    assert run.sides[0].starts == before


def test_a_first_step_that_diverges_with_another_seed_is_none(monkeypatch):
    take, lost = LiveTrainer.take_insights, []

    def first_is_lost(trainer):
        layers = take(trainer)
        if trainer.step == 0 and layers and not lost:  # the first of another seed, as where its loss is no number
            lost.append(layers)
            return []
        return layers

    monkeypatch.setattr(LiveTrainer, "take_insights", first_is_lost)
    run = trained(job_of())
    found = [start for side in run.sides for start in side.starts]
    assert lost and len(found) == 2 * OTHER_SEEDS - 1 and all(start.layers for start in found)
    assert start_words(run) == "" != parting_words(run)


def test_looking_at_other_seeds_changes_no_bit_of_the_run():
    both = trained(job_of())
    alone = trained(job_of(switch=None))
    assert not alone.sides[0].starts
    assert both.sides[0].curve.validation == alone.sides[0].curve.validation
    assert both.sides[0].last.loss == alone.sides[0].last.loss


@pytest.mark.parametrize(
    "job",
    [
        job_of(steps=MIN_STEPS - 1),
        job_of(switch=("seed", 7)),
        job_of()._replace(losses_only=True),
        job_of()._replace(plans=tuple(plan._replace(bug="no-mask") for plan in job_of().plans)),
    ],
    ids=["few steps", "another seed", "losses alone", "a bug"],
)
def test_other_seeds_are_left_alone_where_they_would_tell_nothing_or_cost_too_much(job):
    assert not any(side.starts for side in trained(job).sides)


def test_an_effect_in_every_seed_is_named_with_its_factor_and_an_interval_of_all_at_once():
    factors = (2.5, 2.9, 3.1, 2.7, 3.3)
    run = with_starts(made(), lambda at: [PLAIN, PLAIN._replace(gradient_norm=factors[at])])
    found = {(one.quantity, one.layer): one for one in start_differences(*run.sides)}
    logs = [math.log(factor) for factor in factors]
    assert found["gradient_norm", 1].found.mean == pytest.approx(sum(logs) / 5)
    words = start_words(run)
    assert "B differs from A over 5 seeds: its gradient norm of layer 2 is 2.9 times A's (2.2 to 3.7)" in words
    assert words in parting_words(run)


def test_what_one_seed_alone_shows_is_not_named():
    run = with_starts(made(), lambda at: [PLAIN, PLAIN._replace(gradient_norm=1e4 if at == 0 else 1.0)])
    assert "5 seeds of each tell no difference inside" in start_words(run)


def test_sides_whose_first_step_is_the_same_are_called_alike():
    run = with_starts(made(), lambda _: [PLAIN, PLAIN])
    assert parting_words(run).startswith(
        "At the first step, before any update, A and B are alike. While they train, A and B have not parted"
    )


def test_a_difference_that_is_no_ratio_has_its_direction_in_words():
    run = with_starts(made(), lambda at: [PLAIN._replace(entropy=1.7 - 0.01 * at), PLAIN])
    assert "its attention entropy of layer 1 is 0.32 below A's (0.28 to 0.36)" in start_words(run)


def test_nothing_is_said_before_all_seeds_are_there_or_where_a_first_step_diverged():
    run = with_starts(made(), lambda _: [PLAIN, PLAIN._replace(gradient_norm=9.0)])
    last = run.sides[1].starts.pop()
    assert start_words(run) == "" and "At the first step, A and B" not in parting_words(run)
    run.sides[1].starts.append(last._replace(layers=[]))
    assert start_words(run) == ""


def test_the_words_of_one_seed_give_way_to_those_of_five():
    run = with_starts(made(), lambda at: [PLAIN, PLAIN._replace(stream_rms=9.0 + at)])
    for look in range(1, len(STEPS)):
        run.sides[1].insights[look].layers[1] = PLAIN._replace(stream_rms=9.0)
    words = parting_words(run)
    assert words == start_words(run) and "its size of the residual stream of layer 2 is 11 times A's" in words


def test_the_lab_opens_with_what_five_seeds_say_of_pre_ln_and_post_ln_at_the_start():
    run = demo_run()
    assert len(run.sides[0].starts) == len(run.sides[1].starts) == OTHER_SEEDS
    words = parting_words(run)
    last = len(run.sides[0].insights[0].layers) - 1
    gradients = next(
        one for one in start_differences(*run.sides) if (one.quantity, one.layer) == ("gradient_norm", last)
    )
    assert gradients.is_clear and gradients.found.low > 0 and gradients.phrase() in words


@pytest.mark.parametrize("preset", ["Too fast", "AdamW or SGD"])
def test_where_the_first_step_is_the_same_the_update_that_it_makes_may_differ(preset):
    words = parting_words(demo_run(PRESETS[preset]))
    assert words.startswith(
        "At the first step, before any update, A and B are alike. Their first update differs: the relative update of"
    )


def test_layers_of_models_of_two_depths_are_called_the_first_and_the_last():
    run = made(("num_layers", 3))
    for number, side in enumerate(run.sides):
        rows = [PLAIN] * (2 + number)
        loud = [*rows[:-1], PLAIN._replace(gradient_norm=5.0)] if number else rows
        side.insights = [Insight(number, step, loud) for step in STEPS]
        side.starts = [SeedStart(number, side.training.seed + more, loud) for more in range(1, OTHER_SEEDS + 1)]
    words = parting_words(run)
    assert "its gradient norm of the last layer is 5 times A's" in words and "layer 3" not in words
    assert "in the first and the last layer, is larger than the largest" in words


def test_a_single_layer_is_compared_with_the_last_one():
    run = made(("num_layers", 1))
    for number, side in enumerate(run.sides):
        rows = [PLAIN] if number else [PLAIN._replace(stream_rms=90.0), PLAIN]
        side.insights = [Insight(number, step, rows) for step in STEPS]
    assert partings(*run.sides) == []


def test_a_difference_that_is_sure_and_small_is_not_called_none():
    run = with_starts(made(), lambda at: [PLAIN, PLAIN._replace(gradient_norm=1.1 + 0.001 * at)])
    assert "5 seeds of each tell no large difference inside" in start_words(run)


def test_a_first_step_that_overflows_in_a_seed_is_none():
    run = with_starts(made(), lambda at: [PLAIN, PLAIN._replace(stream_rms=math.inf if at == 2 else 9.0)])
    assert start_words(run) == ""


@pytest.mark.parametrize("gap", [15.0, 100.0, 1e5])
def test_a_loss_that_is_far_out_has_no_factor_of_endless_digits(gap):
    words = verdict(validated(made(), 2.5, 2.5 + gap))
    assert "gives the right token more than a million times the probability, as a geometric mean" in words


def test_a_run_of_one_step_is_told_in_the_singular():
    run = validated(made(None), 2.5, step=1)
    run.baselines = {UNIFORM: 4.0, FREQUENCIES: 3.0, PAIRS: 2.4}
    assert verdict(run).startswith("After 1 step the validation loss is")


@pytest.mark.parametrize("name", SEED_RUNS)
def test_eight_seeds_of_one_model_in_two_groups_are_seldom_called_different(name):
    """Real runs of eight seeds: in two groups of four, at most one split of ten is named."""
    rows = [[LayerInsight(*row) for row in one["insights"][0][1]] for one in SEED_RUNS[name]]
    named = splits = 0
    for group in itertools.combinations(range(8), 4):
        rest = [at for at in range(8) if at not in group]
        run = made()
        for side, places in zip(run.sides, (group, rest), strict=True):
            side.insights = [Insight(0, 1, rows[places[0]])]
            side.starts = [SeedStart(0, 1 + more, rows[at]) for more, at in enumerate(places[1:])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tlab.ui.runs.comparison.OTHER_SEEDS", 3)
            named += any(one.is_clear for one in start_differences(*run.sides))
        splits += 1
    assert splits == 70 and named <= 0.1 * splits


def test_the_looks_at_a_first_step_are_known_by_their_seeds():
    run = with_starts(made(), lambda _: [PLAIN, PLAIN])
    seed = run.sides[0].training.seed
    assert sorted(looks_at_start(run.sides[0])) == [seed + more for more in range(5)]


def test_two_sides_with_about_the_same_loss_are_compared_with_a_guess_together():
    run = validated(made(), 3.2471, 3.2474)
    run.baselines = {UNIFORM: 3.81, FREQUENCIES: 3.24, PAIRS: 2.32}
    assert "Both are about that of a guess by token frequencies (3.24)" in verdict(run)

"""Findings: measures measure what they say, verdicts are those of the numbers, every claim is complete."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import sweeps.findings.command
from support import VERSE, tiny
from sweeps.__main__ import main
from sweeps.findings import measures, setups
from sweeps.findings.claim import extrapolation_gap, largest_jump, loss, r_squared, slope, spike, step_time
from sweeps.findings.claims import CLAIMS, NOISE_FLOOR, QUESTIONS
from sweeps.findings.command import chosen
from sweeps.findings.measures import MEASURES, copied_letters, prefix_matching, repeated_lines
from sweeps.findings.page import (
    SIGNS,
    Finding,
    finding_as_text,
    number_in_words,
    page_as_markdown,
    verdicts_of_questions,
    write_page,
)
from sweeps.findings.trials import RUNS, read_trials, run_trials, text_of, trial_flops, trials_of
from sweeps.findings.verdicts import (
    EQUIVALENCE,
    EVERY_SEED,
    INCONCLUSIVE,
    INTERVAL,
    NOT_GRADED,
    NOT_REPRODUCED,
    PARTLY_REPRODUCED,
    REPRODUCED,
    Check,
    Judged,
    Noise,
    contrasts,
    detectable,
    judge_checks,
    verdict_of_claim,
    verdicts_of_parts,
)
from sweeps.grid.begin import BeginConfig
from sweeps.run.driver import RunEnd
from sweeps.store.folder import record_path
from tlab.judging.few_seeds import EQUIVALENT, REAL, Estimate
from tlab.judging.few_seeds import INCONCLUSIVE as UNDECIDED
from tlab.nn.model import Transformer
from tlab.text import corpus_from_text, load_corpus
from tlab.training.config import TrainConfig

TINY = {"corpus": "verse", "hidden_dim": 8, "num_heads": 2, "num_layers": 1, "context_length": 8, "steps": 5}


@pytest.fixture(scope="module")
def repeat():
    return load_corpus("repeat")


def one_number(values):
    """The results of as many seeds, each with one number."""
    return [{"x": {"value": value}} for value in values]


def check(rule, low=-math.inf, high=math.inf):
    return Check("x", lambda results: results["x"]["value"], low, high, rule)


# ------------------------------------------------------------------------------------------------ measures


def test_at_start_measures_the_last_gradient_and_the_stream_between_blocks(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, num_layers=3)
    outcome = measures.at_start(config, TrainConfig(batch_size=4), verse)
    model = Transformer(config, 0)
    batch = measures.draw_batch(verse.train, 4, config.context_length, 0, 1)
    _, gradients = model.loss_and_gradients(*batch)
    assert outcome["last_down_gradient"] == pytest.approx(np.linalg.norm(gradients["blocks.2.mlp.down.weight"]))
    last = [gradient.ravel() for name, gradient in gradients.items() if name.startswith("blocks.2.")]
    assert outcome["last_layer_gradient"] == pytest.approx(np.linalg.norm(np.concatenate(last)))
    _, trace = model.forward(batch.ids)
    assert len(outcome["stream"]) == 4
    assert outcome["stream"][-1] == pytest.approx(np.mean(trace.blocks[-1].y ** 2))


def test_first_steps_are_the_first_twenty_of_the_same_run(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    began = measures.first_steps(config, TrainConfig(steps=30, batch_size=2), verse)
    whole = measures.train_to_end(config, TrainConfig(steps=30, batch_size=2), verse)
    assert began["losses"] == whole["losses"][: measures.FIRST_STEPS] and len(began["losses"]) == 20


def test_a_diverged_run_has_no_loss(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    outcome = measures.train_to_end(config, TrainConfig(steps=5, batch_size=2, max_loss=0.1), verse)
    assert outcome["val_loss"] is None and "max_loss" in outcome["diverged"]
    assert math.isnan(loss(outcome))


def test_extrapolation_reads_the_same_text_in_longer_windows(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, position="alibi", num_heads=2)
    outcome = measures.extrapolated(config, TrainConfig(steps=5, batch_size=2), verse)
    assert outcome["longer_losses"][0] == pytest.approx(outcome["val_loss"])
    assert len(outcome["longer_losses"]) == len(measures.LENGTH_FACTORS)


def test_repeated_lines_are_whole_lines_with_a_block_and_its_copy(repeat):
    batches = repeated_lines(repeat)
    assert [ids.shape[1] for ids in batches] == [2 * n + 2 for n in range(8, 17)]
    for ids in batches:
        n = (ids.shape[1] - 2) // 2
        np.testing.assert_array_equal(ids[:, 1 : n + 1], ids[:, n + 2 :])


def test_a_perfect_copier_predicts_every_letter_and_a_shifted_one_none(repeat):
    ids = repeated_lines(repeat)[0]
    perfect = np.eye(repeat.tokenizer.vocab_size)[ids[:, 1:]]  # the logits of each token but the last
    predicted, actual = copied_letters(perfect, ids)
    assert actual.shape == (len(ids), 7)
    np.testing.assert_array_equal(predicted, actual)
    np.testing.assert_array_equal(actual, ids[:, 2:9])  # the first copy, from its second letter on
    predicted, actual = copied_letters(np.roll(perfect, 1, axis=1), ids)
    assert not (predicted == actual).any()


def test_prefix_matching_is_one_for_attention_after_the_first_copy_and_zero_for_attention_to_it(repeat):
    ids = repeated_lines(repeat)[0][:2, :-1]
    config = tiny(vocab_size=repeat.tokenizer.vocab_size, num_layers=1, num_heads=3, context_length=32)
    _, trace = Transformer(config).forward(ids)
    weights = np.zeros_like(trace.blocks[0].attention.weights)
    n = 8
    for query in range(n + 2, 2 * n + 1):  # letter j of the second copy is at n + 2 + j, and at 1 + j in the first
        same = query - n - 1
        np.testing.assert_array_equal(ids[:, query], ids[:, same])
        weights[:, 0, query, same + 1] = 1
        weights[:, 1, query, same] = 1
    block = trace.blocks[0]
    residual, attention = block.attention_residual, block.attention._replace(weights=weights)
    residual = residual._replace(branch=residual.branch._replace(sublayer=attention))
    trace = trace._replace(blocks=(block._replace(attention_residual=residual),))
    np.testing.assert_array_equal(prefix_matching(trace), [[1, 0, 0]])


# ------------------------------------------------------------------------------------------------ numbers of a seed


def test_slope_is_the_exponent_of_depth():
    results = {f"pre {L}": {"last_down_gradient": 3 * L**-0.5} for L in setups.DEPTHS}
    assert slope("pre")(results) == pytest.approx(-0.5)


def test_r_squared_is_one_for_a_line_and_less_for_a_square():
    line = {f"plain {L}": {"stream": [0.0, 1 + 0.7 * L]} for L in setups.DEPTHS}
    square = {f"plain {L}": {"stream": [0.0, L * L]} for L in setups.DEPTHS}
    assert r_squared(line) == pytest.approx(1)
    assert r_squared(square) < 0.98


def test_numbers_of_a_seed_are_what_their_names_say():
    assert extrapolation_gap("a", 8)({"a": {"longer_losses": [1.0, 2.0, 3.0, 5.0]}}) == 4.0
    assert largest_jump([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]) == pytest.approx(0.6)  # six looks are 300 steps
    assert spike({"no norm, 20 steps": {"losses": [9, 12]}, "LayerNorm, 20 steps": {"losses": [4, 3]}}) == 3
    times = {"RMSNorm": {"step_seconds": 0.9}, "LayerNorm": {"step_seconds": 1.0}}
    assert step_time(times) == pytest.approx(-10)


# ------------------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("rule", "values", "bounds", "verdict"),
    [
        (INTERVAL, [1.0, 1.1, 0.9], (0, 2), REPRODUCED),
        (INTERVAL, [1.0, 1.1, 0.9], (0, 1.1), INCONCLUSIVE),  # the mean is below it, the interval reaches beyond
        (INTERVAL, [1.0, 1.1, 0.9], (2, 3), NOT_REPRODUCED),
        (EVERY_SEED, [1.0, 5.0], (0, math.inf), REPRODUCED),
        (EVERY_SEED, [1.0, -5.0], (0, math.inf), INCONCLUSIVE),
        (EVERY_SEED, [-1.0, -5.0], (0, math.inf), NOT_REPRODUCED),
        (EQUIVALENCE, [0.001, -0.001, 0.002], (-0.02, 0.02), REPRODUCED),
        (EQUIVALENCE, [0.03, -0.03, 0.01], (-0.02, 0.02), INCONCLUSIVE),
        (EQUIVALENCE, [0.5, 0.51, 0.49], (-0.02, 0.02), NOT_REPRODUCED),
        *[(rule, [1.0], (0, 2), INCONCLUSIVE) for rule in (INTERVAL, EVERY_SEED)],  # one seed says nothing of luck
        (INTERVAL, [1.0, 1.1, 0.9, math.nan], (0, 2), INCONCLUSIVE),  # a run without a number leaves it open
        (INTERVAL, [1.0, 1.1, 0.9, math.nan], (2, 3), INCONCLUSIVE),  # it might have been where the claim holds
    ],
)
def test_a_check_says_what_its_numbers_allow(rule, values, bounds, verdict):
    judged = check(rule, *bounds).judge(one_number(values))
    assert judged.verdict == verdict
    assert judged.missing == sum(math.isnan(value) for value in values)


def test_no_claim_is_judged_by_a_mean_near_its_bound():
    """Of the checks with an interval, the values' mean holds and the verdict is open: so it is with every claim."""
    for claim in CLAIMS.values():
        for one in claim.checks:
            if isinstance(one, Check) and one.rule is not EVERY_SEED:
                middle = one.high - 0.01 if math.isfinite(one.high) else one.low + 0.01
                values = iter([middle - 1, middle, middle + 1])
                judged = dataclasses.replace(one, number=lambda _, values=values: next(values)).judge([{}] * 3)
                assert judged.verdict == INCONCLUSIVE, (claim.key, one.what)


def test_equivalence_is_judged_by_the_ninety_percent_interval_that_is_shown():
    rng = np.random.default_rng(0)
    for _ in range(50):
        judged = check(EQUIVALENCE, -0.02, 0.02).judge(one_number(rng.normal(0.01, 0.01, 4)))
        inside = judged.estimate.low >= -0.02 and judged.estimate.high <= 0.02
        assert (judged.verdict == REPRODUCED) == inside


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_a_true_value_at_the_bound_is_reproduced_or_refuted_by_chance_in_one_case_of_twenty_at_most(num_seeds):
    """So it is with every rule by which a number with noise is judged; parameters have none."""
    noisy_checks = [one for claim in CLAIMS.values() for one in claim.checks if isinstance(one, Check)]
    assert {one.what for one in noisy_checks if one.rule is EVERY_SEED} == {"parameters of SwiGLU relative to GELU"}
    draws = np.random.default_rng(num_seeds).normal(1.0, 0.1, (2000, num_seeds))
    for rule in {one.rule for one in noisy_checks} - {EVERY_SEED}:
        verdicts = [check(rule, -1.0, 1.0).judge(one_number(values)).verdict for values in draws]
        for verdict in (REPRODUCED, NOT_REPRODUCED):
            assert verdicts.count(verdict) <= 0.06 * len(draws), (rule.words, verdict)  # 5 %, and two of its errors


def test_the_checks_of_a_claim_share_the_chance_of_being_refuted_and_that_of_holding():
    """What is enough for one check alone is not for one of four, unless the others are beyond doubt as well."""
    values = [1.0, 1.1, 0.9]  # the interval reaches to 1.25
    alone, others = check(INTERVAL, high=1.27), [check(INTERVAL, low=0.8), check(INTERVAL, low=0.5, high=1.5)]
    assert [one.verdict for one in judge_checks([alone], one_number(values))] == [REPRODUCED]
    open_too = judge_checks([alone, check(INTERVAL, low=0.95), *others[:1]], one_number(values))
    assert [one.verdict for one in open_too] == [INCONCLUSIVE] * 3
    certain = [check(INTERVAL, low=-9.0)] * 3
    assert [one.verdict for one in judge_checks([alone, *certain], one_number(values))] == [REPRODUCED] * 4
    refuted = check(INTERVAL, low=1.27)
    assert judge_checks([refuted], one_number(values))[0].verdict == NOT_REPRODUCED
    assert judge_checks([refuted, *certain], one_number(values))[0].verdict == INCONCLUSIVE


def test_what_is_only_measured_takes_no_share_of_the_chance():
    noise = Noise("b", lambda outcome: outcome["value"], "x", "x")
    seeds = [{"x": {"value": value}, "y": {"value": 0.0}} for value in (1.0, 1.1, 0.9)]
    noise = dataclasses.replace(noise, baseline="y")
    judged = judge_checks([check(INTERVAL, high=1.27), noise], seeds)
    assert [one.verdict for one in judged] == [REPRODUCED, NOT_GRADED]


def judged_as(verdict, part=""):
    return Judged("x", "", "", (), 0, Estimate(0, 0, 0, 2), verdict, part)


def test_a_claim_needs_all_of_its_checks_and_one_that_fails_decides():
    yes, no, open_ = judged_as(REPRODUCED), judged_as(NOT_REPRODUCED), judged_as(INCONCLUSIVE)
    assert verdict_of_claim([yes, yes]) == REPRODUCED
    assert verdict_of_claim([yes, open_]) == INCONCLUSIVE
    assert verdict_of_claim([yes, open_, no]) == NOT_REPRODUCED


def test_a_claim_of_which_one_part_holds_and_another_fails_is_partly_reproduced():
    yes, more, no = judged_as(REPRODUCED, "a"), judged_as(REPRODUCED, "b"), judged_as(NOT_REPRODUCED, "b")
    open_ = judged_as(INCONCLUSIVE, "c")
    assert verdict_of_claim([yes, more, no]) == PARTLY_REPRODUCED
    assert verdicts_of_parts([yes, more, no, open_]) == {"a": REPRODUCED, "b": NOT_REPRODUCED, "c": INCONCLUSIVE}
    assert verdict_of_claim([yes, no, open_]) == PARTLY_REPRODUCED
    assert verdict_of_claim([yes, more]) == REPRODUCED
    assert verdict_of_claim([yes, open_]) == INCONCLUSIVE
    assert verdict_of_claim([no, open_]) == NOT_REPRODUCED


@pytest.mark.parametrize(("without", "verdict"), [(0.053, PARTLY_REPRODUCED), (0.0, REPRODUCED)])
def test_post_ln_needs_warm_up_and_pre_ln_is_judged_for_itself(without, verdict):
    """Pre-LN that is better with warm-up refutes one part of the claim, however much more Post-LN needs it."""
    seeds = [
        {
            "Post-LN, no warm-up": {"val_loss": 3.35 + noise}, "Post-LN, warm-up": {"val_loss": 2.3},
            "Pre-LN, no warm-up": {"val_loss": 2.0 + without + noise}, "Pre-LN, warm-up": {"val_loss": 2.0},
        }
        for noise in (-0.004, 0.0, 0.004)
    ]  # fmt: skip
    assert Finding(CLAIMS["warmup-layout"], seeds, 1.0).verdict == verdict


@pytest.mark.parametrize(("exponent", "verdict"), [(-0.376, PARTLY_REPRODUCED), (-0.5, REPRODUCED)])
def test_a_slope_that_is_not_that_of_the_theorem_refutes_a_part(exponent, verdict):
    seeds = [
        {f"{kind} {L}": {"last_down_gradient": 3 * L ** (slope + noise)}
         for kind, slope in (("pre", exponent), ("post", 0.1)) for L in setups.DEPTHS}
        for noise in (-0.01, 0.0, 0.01)
    ]  # fmt: skip
    assert Finding(CLAIMS["gradient-depth"], seeds, 1.0).verdict == verdict


def test_the_growth_of_the_stream_is_judged_by_the_lemmas_own_bounds_and_premises():
    claim = CLAIMS["residual-growth"]
    bounds = [(one.low, one.high) for one in claim.checks if "layers" in one.what and "relative" not in one.what]
    assert bounds == [(1 + L / 2, 1 + 3 * L / 2) for L in setups.DEPTHS]
    for run in claim.runs.values():
        assert [run.settings[field] for field in ("mlp_ratio", "position", "activation")] == [1.0, "none", "relu"]


def noisy(effect, label="b", others=8, seed=1):
    """Five seeds of a baseline, one modification with an effect, and others without."""
    rng = np.random.default_rng(seed)
    labels = ["base", label, *map(str, range(others))]
    return [{k: {"val_loss": rng.normal(0, 0.01) + effect * (k == label)} for k in labels} for _ in range(5)]


def test_what_has_an_effect_survives_holm_and_noise_does_not():
    found = {contrast.label: contrast for contrast in contrasts(noisy(0.2), loss, "base")}
    assert [label for label, contrast in found.items() if contrast.survives] == ["b"]
    judged = Noise("b", loss, "base", "b").judge(noisy(0.2))
    assert judged.details[1].startswith("Real after Holm's correction: 1 of 9: b +0.19")
    assert judged.details[2].startswith("Within the noise: 8 of 9: ")


@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_noise_is_measured_and_never_a_finding(effect):
    judged = Noise("b", loss, "base", "b").judge(noisy(effect))
    assert judged.verdict == verdict_of_claim([judged]) == NOT_GRADED
    assert Noise("b", loss, "base", "b").judge(noisy(effect)[:1]).details[0].startswith("Fewer than two seeds")


def test_noise_says_what_could_have_been_found():
    seeds = [{"base": {"val_loss": 0.0}, "b": {"val_loss": x}, "c": {"val_loss": x}} for x in (0.01, 0.02, 0.03)]
    told = Noise("b", loss, "base", "b", unit="nats").judge(seeds).details[0]
    expected = [0.01 * detectable(1.0, 3, alpha) for alpha in (0.05, 0.025)]
    assert "standard deviation of 0.010 nats" in told
    assert all(f"{size:.3f} nats" in told for size in expected) and "2 tests" in told


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.05), (5, 0.05), (5, 0.005), (10, 0.05)])
def test_what_is_detectable_is_found_in_four_of_five_cases(n, alpha):
    values = np.random.default_rng(n).normal(detectable(0.01, n, alpha), 0.01, (20_000, n))
    found = ttest_1samp(values, 0, axis=1).pvalue <= alpha
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("label", "survives"), [("base", True), ("b", False)])
def test_a_modification_that_lost_runs_is_never_really_better(label, survives):
    seeds = noisy(-0.2)
    seeds[2][label]["val_loss"] = None
    assert {contrast.label: contrast.survives for contrast in contrasts(seeds, loss, "base")}["b"] == survives


def test_questions_share_the_chance_of_an_answer_and_a_lost_run_leaves_one_open():
    close, apart = [0.001, -0.001, 0.0], [1.0, 1.1, 0.9]
    assert verdicts_of_questions([close, apart], [3, 3], [0.02, 0.02]) == [EQUIVALENT, REAL]
    assert verdicts_of_questions([close, apart], [4, 4], [0.02, 0.02]) == [UNDECIDED] * 2
    nearly = [0.004, -0.004, 0.0]
    assert verdicts_of_questions([nearly], [3], [0.012]) == [EQUIVALENT]
    assert verdicts_of_questions([nearly, nearly, nearly], [3] * 3, [0.012] * 3) == [UNDECIDED] * 3


def test_a_modification_that_diverged_is_missing_from_the_noise():
    seeds = noisy(0.0)
    seeds[2]["b"]["val_loss"] = None
    assert Noise("b", loss, "base", "b").judge(seeds).missing == 1


# ------------------------------------------------------------------------------------------------ declarations


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_a_claim_is_complete_and_its_runs_can_be_made(claim, repeat):
    verse = corpus_from_text(VERSE * 40, name="shakespeare")
    named = {"shakespeare": verse, "repeat": repeat}
    corpora = {text_of(run.settings): named[run.settings["corpus"]] for run in claim.runs.values()}
    assert re.search(r"\d{4}", claim.source), "the source has its year"
    assert claim.claim.endswith(".") and claim.how.endswith(".")
    assert claim.checks and claim.seeds >= 3
    for run in claim.runs.values():
        trials = trials_of(run.measure, run.settings, claim.seeds, corpora)
        assert [trial.train.seed for trial in trials] == list(range(claim.seeds))
        assert trial_flops(trials[0]) > 0 and run.measure in MEASURES


def test_every_claim_is_graded_but_the_noise_which_is_measured_and_every_question_rests_on_one():
    graded = {key for key, claim in CLAIMS.items() if all(isinstance(one, Check) for one in claim.checks)}
    assert set(CLAIMS) - graded == {"noise-floor"}
    assert all(CLAIMS[question.claim.key] is question.claim for question in QUESTIONS)


def test_swiglu_and_gelu_have_the_same_number_of_weights_within_one_percent(repeat):
    runs = CLAIMS["swiglu"].runs
    corpora = {BeginConfig(corpus="shakespeare"): repeat}
    sizes = [
        Transformer(trials_of(run.measure, run.settings, 1, corpora)[0].model).num_parameters for run in runs.values()
    ]
    assert max(sizes) / min(sizes) < 1.01


# ------------------------------------------------------------------------------------------------ trials


def test_the_same_run_has_the_same_name_and_another_one_another(verse):
    corpora = {BeginConfig(corpus="verse"): verse}
    first, second = trials_of("trained", TINY, 2, corpora)
    assert first.cell_id != second.cell_id
    assert trials_of("trained", {**TINY, "hidden_dim": 8}, 1, corpora)[0].cell_id == first.cell_id
    assert trials_of("trained", {**TINY, "norm": "rmsnorm"}, 1, corpora)[0].cell_id != first.cell_id
    assert trials_of("beginning", TINY, 1, corpora)[0].cell_id != first.cell_id


def test_running_again_measures_only_what_is_missing_or_damaged(verse, tmp_path, capsys):
    corpora = {BeginConfig(corpus="verse"): verse}
    trials = trials_of("trained", TINY, 3, corpora)
    assert run_trials(trials[:2], tmp_path, corpora) == RunEnd(interrupted=False, problem=None)
    files = {trial: record_path(tmp_path / RUNS, trial.cell_id) for trial in trials}
    written, before = files[trials[0]].stat().st_mtime_ns, read_trials(trials, tmp_path)[trials[1].cell_id]
    content = json.loads(files[trials[1]].read_bytes())
    files[trials[1]].write_text(json.dumps({**content, "wall_seconds": 0.0}))  # damaged
    assert list(read_trials(trials, tmp_path)) == [trials[0].cell_id]
    run_trials(trials, tmp_path, corpora)
    assert files[trials[0]].stat().st_mtime_ns == written
    again = read_trials(trials, tmp_path)[trials[1].cell_id]
    assert again.measured["losses"] == before.measured["losses"]
    assert "2 of 2 done" in capsys.readouterr().err


def test_a_trial_that_raises_is_reported_and_the_others_go_on(verse, tmp_path, capsys, monkeypatch):
    def raising(config, train_config, corpus):
        if train_config.seed == 0:
            raise RuntimeError("no luck")
        return {"value": 1}

    monkeypatch.setitem(measures.MEASURES, "trained", measures.Measure(raising))
    corpora = {BeginConfig(corpus="verse"): verse}
    trials = trials_of("trained", TINY, 2, corpora)
    run_trials(trials, tmp_path, corpora)
    assert list(read_trials(trials, tmp_path)) == [trials[1].cell_id]
    told = capsys.readouterr().err
    assert "RuntimeError: no luck" in told and "seed=0" in told and "1 failed" in told


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def small_claims(verse, monkeypatch):
    """The claims read a short text in place of tiny Shakespeare, which not every machine has."""
    monkeypatch.setattr(sweeps.findings.command, "load_corpus", lambda name, tokenizer: verse)


def test_a_quick_claim_is_run_judged_drawn_and_reported(small_claims, tmp_path, capsys):
    page = tmp_path / "docs" / "findings.md"
    words = ["findings", "residual-growth", "--quick", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path / "out")]
    assert main([*words, "--page", str(page)]) == 0
    told = capsys.readouterr()
    assert re.search(r"residual-growth: (reproduced|partly reproduced|not reproduced|inconclusive)", told.out)
    assert "x² after 16 layers relative to 2" in told.out and "2 seeds" in told.out
    assert (tmp_path / "docs/images/finding-residual-growth.png").stat().st_size > 10_000
    text = page.read_text(encoding="utf-8")
    assert "images/finding-residual-growth.png" in text
    assert "| swiglu | not run |" in text
    assert main([*words, "--page", str(page), "--json"]) == 0  # again: nothing to run, the same page
    told = capsys.readouterr()
    assert "done" not in told.err
    made = json.loads(told.out)
    assert made["page"] == str(page) and "verdict" in made["claims"]["residual-growth"]
    assert {check["estimate"]["n"] for check in made["claims"]["residual-growth"]["checks"]} == {2}
    assert page.read_text(encoding="utf-8") == text


def test_interrupted_findings_keep_what_was_measured(small_claims, tmp_path, capsys, monkeypatch):
    def interrupting(*_, **__):
        return RunEnd(interrupted=True, problem=None)

    monkeypatch.setattr(sweeps.findings.command, "run_trials", interrupting)
    assert main(["findings", "no-norm", "--out", str(tmp_path)]) == 130
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["swigl"], "Did you mean 'swiglu'"),
        (["swiglu", "--quick"], "leave out --quick"),
        (["swiglu", "--seeds", "0"], "--seeds 0: must be at least 1"),
        (["swiglu", "--jobs", "0"], "--jobs 0: must be at least 1"),
    ],
)
def test_wrong_words_say_what_is_allowed(words, told, capsys):
    assert main(["findings", *words]) == 2
    assert told in capsys.readouterr().err


def test_quick_claims_train_twenty_steps_at_most():
    for claim in chosen((), quick=True)[0]:
        assert all((MEASURES[run.measure].steps or math.inf) <= 20 for run in claim.runs.values())


# ------------------------------------------------------------------------------------------------ the page


def made_up(claim, value):
    """SeedResults with any numbers, for the page and the figures alone."""
    outcome = {
        "last_down_gradient": value, "last_layer_gradient": value, "stream": [value, value], "val_loss": value,
        "losses": [3.0, 2.5, 2.2], "diverged": None, "n_params": 100, "step_seconds": 0.01 * value,
        "longer_losses": [value, value + 0.1, value + 0.2, value + 0.3], "steps": [0, 50, 100],
        "accuracy": [0.0, 0.5, 1.0], "prefix_matching": [0.0, 0.3, 0.9], "val_bytes_per_token": 1.0,
    }  # fmt: skip
    return {label: outcome | {"n_params": 100 + i, "stream": [value, value + i]} for i, label in enumerate(claim.runs)}


@pytest.fixture(scope="module")
def findings():
    return {
        key: Finding(claim, [made_up(claim, 1.0 + 0.1 * seed) for seed in range(claim.seeds)], seconds=1.0)
        for key, claim in CLAIMS.items()
    }


def test_the_page_has_every_claim_with_its_verdict_figure_and_seeds(findings, tmp_path):
    files = write_page(tmp_path / "findings.md", findings, {}, "a test")
    text = (tmp_path / "findings.md").read_text(encoding="utf-8")
    for key, finding in findings.items():
        assert f"## {key}\n" in text and f"**{finding.verdict}**" in text
        assert tmp_path / "images" / f"finding-{key}.png" in files
        for judged in finding.judged:
            assert judged.what in text and judged.criterion in text
        for part, verdict in finding.parts.items():
            assert f"- {SIGNS[verdict]} {part}: {verdict}\n" in text
            assert f"  {SIGNS[verdict]} {part}: {verdict}" in finding_as_text(finding).splitlines()
    assert all(question.question in text for question in QUESTIONS)


def test_a_moved_threshold_and_a_diverged_run_are_reported(findings):
    finding = findings["swiglu"]
    first = dataclasses.replace(finding.claim.checks[0], moved="it was -0.05, and that was a slip")
    claim = dataclasses.replace(finding.claim, checks=(first,))
    seeds = [{label: dict(outcome) for label, outcome in results.items()} for results in finding.seeds]
    seeds[1]["SwiGLU"]["val_loss"] = None
    changed = Finding(claim, seeds, 1.0)
    text = page_as_markdown({"swiglu": changed}, {}, "a test")
    assert "it was -0.05, and that was a slip" in text
    assert "7, 1 diverged" in text
    assert "1 diverged" in finding_as_text(changed)


def test_the_page_says_which_claims_are_judged_otherwise_than_in_the_first_edition(findings):
    changes = page_as_markdown(findings, {}, "a test").partition("## Since the first edition\n")[2]
    for key, claim in CLAIMS.items():
        row = f"| [{key}](#{key}) | {SIGNS[findings[key].verdict]} {findings[key].verdict} | {claim.changed} |\n"
        assert (row in changes) == bool(claim.changed), key
    assert {"warmup-layout", "noise-floor", "residual-growth", "gradient-depth"} <= {
        key for key, claim in CLAIMS.items() if claim.changed
    }


def test_a_claim_that_holds_in_part_shows_the_number_of_each_part():
    slopes = {"pre": -0.3, "post": 0.1}
    seeds = [
        {
            f"{kind} {L}": {"last_down_gradient": scale * L**slope}
            for kind, slope in slopes.items()
            for L in setups.DEPTHS
        }
        for scale in (1.0, 3.0)
    ]
    finding = Finding(CLAIMS["gradient-depth"], seeds, 1.0)
    assert [number.what for number in finding.main_numbers] == [
        "slope under Pre-LN", "the same, -0.5 by the theorem", "slope under Post-LN",
    ]  # fmt: skip
    row, *_ = [line for line in page_as_markdown({"gradient-depth": finding}, {}, "").splitlines() if "<br>" in line]
    assert "<br>✔ it shrinks with depth under Pre-LN<br>✘ it does so as 1/sqrt(L)<br>" in row
    assert row.count("-0.300 [-0.300, -0.300]") == 2 and row.count("0.100 [0.100, 0.100]") == 1


def test_numbers_are_rounded_to_their_size():
    assert [number_in_words(x) for x in (0.01234, -3.0, 12.345, 12345.6, math.inf, math.nan)] == [
        "0.012", "-3.000", "12.3", "12,346", "∞", "-",
    ]  # fmt: skip


def test_the_committed_page_is_about_the_claims_as_they_are_declared():
    docs = Path(__file__).parents[3] / "docs"
    text = (docs / "findings.md").read_text(encoding="utf-8")
    for key, claim in CLAIMS.items():
        _, _, part = text.partition(f"## {key}\n")
        part = part.partition("\n## ")[0]
        assert all(words in part for words in (claim.claim, claim.source, claim.how, claim.tried)), key
        assert all(check.what in part and check.criterion in part for check in claim.checks), key
        assert (docs / "images" / f"finding-{key}.png").exists()
    assert "python -m sweeps findings" in text


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS.values() if claim is not NOISE_FLOOR], ids=lambda c: c.key)
def test_the_committed_verdicts_are_those_of_the_numbers_per_seed_beside_them(claim):
    text = (Path(__file__).parents[3] / "docs" / "findings.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {claim.key}\n")[2].partition("\n## ")[0]
    shown = {what: numbers.split(", ") for what, numbers in re.findall(r"^- (.+): (-?\d[-\d., ]*)$", section, re.M)}
    columns: list[list[float]] = []
    for one in claim.checks:  # two checks of the same numbers have them once
        columns.append([float(n.replace(",", "")) for n in shown[one.what]] if one.what in shown else columns[-1])
    checks = [
        dataclasses.replace(one, number=lambda results, i=i: results["x"][str(i)]) for i, one in enumerate(claim.checks)
    ]
    seeds = [{"x": {str(i): column[seed] for i, column in enumerate(columns)}} for seed in range(claim.seeds)]
    judged = judge_checks(checks, seeds)
    assert f"**{verdict_of_claim(judged).capitalize()}**, {claim.seeds} seeds" in section
    for one in judged:
        (row,) = [line for line in section.splitlines() if line.startswith(f"| {one.what} | {one.criterion} |")]
        assert row.endswith(f"| {SIGNS[one.verdict]} {one.verdict} |")

"""Findings judged both ways: what tuning does to a difference is said of the numbers, and the page has those."""

import math
from pathlib import Path

import numpy as np
import pytest

import sweeps.findings.command
from sweeps.findings.both_ways import (
    CANNOT_TELL,
    FLIPS,
    GROWS,
    NOT_TUNED,
    NOTHING_TO_TUNE,
    SETTING_PAIRS,
    SHRINKS,
    STAYS,
    SettingPair,
    judge_pair,
    losses_as_csv,
    losses_from_csv,
    pairs_by_verdict,
)
from sweeps.findings.claims import CLAIMS
from sweeps.findings.command import FindingsCommand, corpora_of
from sweeps.findings.page import RATES_FILE, page_as_markdown
from sweeps.findings.setups import BY_TOKENIZER, SMALL
from sweeps.findings.trials import read_trials, run_trials
from tlab.cost import step_flops
from tlab.nn.config import ModelConfig
from tlab.nn.linear import LARGE_VOCABULARY
from tlab.text.bpe import Bpe1024
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN
from tlab.training.config import TrainConfig

DOCS = Path(__file__).parents[3] / "docs"
LAYOUTS = SETTING_PAIRS[0]


def valley(lowest, optimum, noise=0.002, rates=LAYOUTS.rates):
    """Losses of three seeds on a parabola over log rate, each of which lies a little higher or lower as a whole."""
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, noise, 3)
    return {
        rate: {seed: lowest + 0.1 * np.log(rate / optimum) ** 2 + shift + rng.normal(0, noise / 10)
               for seed, shift in enumerate(seeds)}
        for rate in rates
    }  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        (valley(2.0, 0.0075), valley(2.1, 0.0075), STAYS),
        (valley(2.0, 0.0050), valley(2.1, 0.0100), SHRINKS),
        (valley(2.0, 0.0050), valley(1.9, 0.0100), FLIPS),
        (valley(2.0, 0.0050), valley(2.0, 0.0100), SHRINKS),
        (valley(2.0, 0.0100), valley(2.3, 0.0070), GROWS),
        (valley(2.0, 0.0075, noise=0.3), valley(2.0, 0.0075, noise=0.3), STAYS),
        (valley(2.0, 0.0075), valley(2.1, 0.5), CANNOT_TELL),
    ],
)
def test_what_tuning_does_is_that_of_the_two_differences(a, b, verdict):
    assert judge_pair(LAYOUTS, (a, b)).verdict == verdict


def test_a_run_that_diverged_at_the_rate_of_the_claim_leaves_a_verdict():
    a, b = valley(2.0, 0.0075), valley(2.1, 0.0075)
    b[LAYOUTS.rate] = dict.fromkeys(b[LAYOUTS.rate])
    found = judge_pair(LAYOUTS, (a, b))
    assert found.verdict == CANNOT_TELL
    assert "no seed ended well in both" in page_as_markdown({}, {LAYOUTS: found}, "a test")


def test_every_claim_is_tuned_or_said_to_have_nothing_to_tune():
    tuned, untuned = {pair.claim for pair in SETTING_PAIRS}, set(NOTHING_TO_TUNE)
    assert not set(CLAIMS) - tuned - untuned, "name them in SETTING_PAIRS or NOTHING_TO_TUNE of both_ways.py"
    assert tuned | untuned <= set(CLAIMS) and not tuned & untuned


def test_a_pair_is_tried_at_the_rate_of_its_claim():
    for pair in SETTING_PAIRS:
        assert pair.rate in pair.rates, pair.label


def test_the_sides_of_a_pair_differ_and_only_those_of_two_tokenizers_are_compared_by_the_byte():
    for pair in SETTING_PAIRS:
        assert pair.sides[0] != pair.sides[1]
        assert pair.unit == (BITS_PER_BYTE if pair.claim == "tokenizers" else NATS_PER_TOKEN)


def test_of_longer_texts_the_loss_with_the_longest_windows_is_compared():
    (pair,) = [pair for pair in SETTING_PAIRS if pair.claim == "extrapolation"]
    assert pair.loss({"val_loss": 2.0, "longer_losses": [2.0, 2.1, 2.3, 2.7], "diverged": None}) == 2.7
    assert math.isnan(pair.loss({"val_loss": None, "longer_losses": [9.0] * 4, "diverged": "at step 3"}))


def test_the_tokenizers_have_the_same_number_of_operations():
    sizes = {"char": 65, "byte": 256, "bpe-1024": Bpe1024.target_size}
    fields, batch_size = {name: SMALL[name] for name in ("hidden_dim", "mlp_ratio", "tied")}, TrainConfig().batch_size
    spent = []
    for one in BY_TOKENIZER.values():
        model = ModelConfig(sizes[one["tokenizer"]], **fields)
        is_sorted = model.vocab_size > LARGE_VOCABULARY  # and so the embedding's gradient is no product
        one_hot = is_sorted * 2 * batch_size * model.context_length * model.vocab_size * model.hidden_dim
        spent.append((step_flops(model, batch_size) + one_hot) * one["steps"])
    assert max(spent) / min(spent) <= 1.0034


def test_the_losses_of_the_table_give_the_same_verdicts_again():
    a, b = valley(2.0, 0.0050), valley(2.1, 0.0100)
    a[LAYOUTS.rates[-1]][1] = None
    tuned = {LAYOUTS: judge_pair(LAYOUTS, (a, b))}
    assert losses_from_csv(losses_as_csv(tuned)) == tuned


def test_the_committed_page_says_of_the_committed_losses_what_they_say():
    def section(text):
        return text.partition("## Judged both ways\n")[2].partition("\n## ")[0]

    tuned = losses_from_csv((DOCS / RATES_FILE).read_text(encoding="utf-8"))
    assert section((DOCS / "findings.md").read_text(encoding="utf-8")) == section(page_as_markdown({}, tuned, ""))
    assert len(tuned) >= 17 and pairs_by_verdict(tuned)[NOT_TUNED] == [c.label for c in SETTING_PAIRS if c not in tuned]


def test_a_pair_is_judged_once_each_of_its_runs_has_ended(verse, tmp_path, monkeypatch):
    side = {"corpus": "verse", "hidden_dim": 8, "num_heads": 2, "num_layers": 1, "context_length": 8, "steps": 2}
    pair = SettingPair("swiglu", ("LayerNorm", "no norm"), (side, {**side, "norm": "none"}))
    monkeypatch.setattr(sweeps.findings.command, "load_corpus", lambda name, tokenizer: verse)
    monkeypatch.setattr(sweeps.findings.command, "SETTING_PAIRS", (pair,))
    command = FindingsCommand(seeds=2, jobs=1, out=tmp_path)
    corpora = corpora_of([], [pair])
    trials = command.trials_of_pair(pair, corpora)
    run_trials(trials[1:], tmp_path, corpora)
    assert command.tuned(corpora) == {}
    run_trials(trials, tmp_path, corpora)
    losses = command.tuned(corpora)[pair].losses
    records = read_trials(trials, tmp_path)
    assert [list(of_side) for of_side in losses] == [list(pair.rates)] * 2
    assert [loss for of_side in losses for of_rate in of_side.values() for loss in of_rate.values()] == [
        (records[trial.cell_id].measured or {})["val_loss"] for trial in trials
    ]

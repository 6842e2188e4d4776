"""Contested claims: what is said follows from the losses, and the committed page says it of the committed runs."""

import re
from pathlib import Path

import numpy as np
import pytest

from support import tiny
from sweeps.findings.command import chosen
from sweeps.findings.contested import (
    CHANGES,
    COMPARED_AT,
    CONTESTED,
    SEEDS_OF_CONTESTED,
    ContestedRun,
    fair_share,
    first_token_in_words,
    judge_contested,
    rates_tried,
    runs_as_csv,
    runs_from_csv,
    widths_in_words,
)
from sweeps.findings.measures import first_token_weight
from sweeps.findings.page import CONTESTED_FILE, contested_of, page_as_markdown, write_page
from tlab.nn.model import Transformer

DOCS = Path(__file__).parents[3] / "docs"
MUON, ACTIVATIONS, QK_NORM, SINKS = (CONTESTED[key] for key in ("muon", "relu2", "qk-norm", "sinks"))


def made_up(setting, lowest, optimum=0.0075, curvature=0.1, noise=0.003, first_token=0.05):
    """Runs of a setting whose loss is a parabola over log rate; all settings share what a seed does to them."""
    rng = np.random.default_rng(len(setting))
    return {
        rate: {
            seed: ContestedRun(
                lowest + curvature * np.log(rate / optimum) ** 2 + 0.01 * seed + float(rng.normal(0, noise)),
                first_token + float(rng.normal(0, 0.001)), 3.0,
            )
            for seed in range(SEEDS_OF_CONTESTED)
        }
        for rate in rates_tried(setting)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        (made_up("Muon", 1.8, optimum=0.02, noise=0.0001), "Muon is better by 0.2"),
        (made_up("Muon", 2.2, optimum=0.02, noise=0.0001), "AdamW is better by 0.2"),
        (made_up("Muon", 2.0, noise=0.0005), "equal within 0.02 nats, as far as 5 seeds can show"),
        (made_up("Muon", 2.0, noise=0.08), "no difference that 5 seeds could show, and smaller than 0."),
        (made_up("Muon", 1.8, optimum=3.0), "cannot tell: the best rate of Muon may lie beyond those that were tried"),
    ],
)
def test_a_verdict_is_that_of_the_losses(b, verdict):
    (pair,) = judge_contested(MUON, {"baseline": made_up("baseline", 2.0, noise=0.0005), "Muon": b})
    assert pair.verdict.startswith(verdict)


def test_a_difference_that_could_hide_is_larger_than_all_that_is_estimated():
    runs = {"baseline": made_up("baseline", 2.0), "Muon": made_up("Muon", 2.0, noise=0.08)}
    (pair,) = judge_contested(MUON, runs)
    found = pair.found.at_best.estimate
    assert pair.hidden >= max(-found.low, found.high) > 0


def test_the_pairs_of_a_claim_share_the_chance_of_being_called_different():
    runs = {one: made_up(one, 2.0 + 0.03 * i, noise=0.006) for i, one in enumerate(ACTIVATIONS.settings)}
    pairs = judge_contested(ACTIVATIONS, runs)
    assert len(pairs) == 3
    for pair in pairs:
        assert pair.found.at_best.p >= min(1.0, pair.found.at_best.alone[0])
    assert max(pair.found.at_best.p / pair.found.at_best.alone[0] for pair in pairs) >= 3


@pytest.mark.parametrize(
    ("curvature", "told"),
    [(0.02, "QK-norm has the wider one"), (0.1, "do not tell"), (2.0, "without has the wider one")],
)
def test_a_valley_is_called_wider_only_where_the_intervals_do_not_overlap(curvature, told):
    runs = {"baseline": made_up("baseline", 2.0), "QK-norm": made_up("QK-norm", 2.0, curvature=curvature, noise=0.001)}
    (pair,) = judge_contested(QK_NORM, runs)
    assert told in widths_in_words(pair)


def test_less_weight_on_the_first_token_is_said_where_it_is_more_than_chance():
    runs = {
        "baseline": made_up("baseline", 2.0),
        "softmax-plus-one": made_up("softmax-plus-one", 2.0, first_token=0.01),
        "sinks": made_up("sinks", 2.0),
    }
    plus_one, sinks = judge_contested(SINKS, runs)
    assert "so softmax-plus-one has less." in first_token_in_words(plus_one)
    assert "so no difference is shown." in first_token_in_words(sinks)


def test_a_head_that_looks_at_all_alike_has_the_fair_share_on_the_first_token(verse):
    model = Transformer(tiny(vocab_size=verse.tokenizer.vocab_size, context_length=8))
    for name, param in model.parameters.items():
        if "qkv" in name:
            param.data[...] = 0
    assert first_token_weight(model, verse) == pytest.approx(fair_share(8), rel=1e-5)


def test_there_are_ten_claims_with_five_rates_or_more_and_sources_on_both_sides():
    assert len(CONTESTED) == 10
    for claim in CONTESTED.values():
        assert re.search(r"\b20\d\d\b", claim.supported) and re.search(r"\b20\d\d\b|the same PaLM", claim.disputed)
        for setting in claim.settings:
            assert len(rates_tried(setting)) >= 5 and COMPARED_AT in rates_tried(setting)
    assert {setting for claim in CONTESTED.values() for setting in claim.settings} == set(CHANGES)


def test_contested_claims_can_be_asked_for_and_none_is_quick():
    claims, contested = chosen(["muon", "swiglu"], quick=False)
    assert [one.key for one in claims] == ["swiglu"] and [one.key for one in contested] == ["muon"]
    assert not chosen((), quick=True)[1]


def test_the_table_of_runs_can_be_read_again():
    runs = {"baseline": made_up("baseline", 2.0), "Muon": made_up("Muon", 1.9)}
    runs["Muon"][rates_tried("Muon")[-1]][1] = ContestedRun(None, None, 2.0)
    assert runs_from_csv(runs_as_csv(runs)) == runs


def test_a_page_keeps_what_no_new_run_is_about(tmp_path):
    page = tmp_path / "findings.md"
    page.write_text("before\n## Contested claims\n\nold\n## Open questions\n\nafter\n", encoding="utf-8")
    runs = {"baseline": made_up("baseline", 2.0), "Muon": made_up("Muon", 1.8)}
    written = write_page(page, {}, {}, "a test", runs)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n## Contested claims\n") and text.endswith("## Open questions\n\nafter\n")
    assert "Muon is better by 0.2" in text and "| dyt: DyT is as good as a norm. | not run | | |" in text
    assert tmp_path / CONTESTED_FILE in written and tmp_path / "findings-rates.csv" not in written
    assert (tmp_path / "images" / "finding-contested.png").stat().st_size > 10_000


def test_the_committed_page_says_of_the_committed_runs_what_they_say():
    text = (DOCS / "findings.md").read_text(encoding="utf-8")
    (machine,) = re.findall("Measured on (.*), one thread per run", contested_of(text))
    runs = runs_from_csv((DOCS / CONTESTED_FILE).read_text(encoding="utf-8"))
    assert contested_of(text) == contested_of(page_as_markdown({}, {}, machine, runs))
    for of_setting in runs.values():
        assert len(of_setting) >= 5 and all(len(of_rate) >= 5 for of_rate in of_setting.values())

"""Losses of two tokenizers: never compared per token, since a token of one is not one of the other."""

import math

import pytest

from sweeps.console import ranking
from sweeps.report.analysis import Analysis
from sweeps.report.page import write_report
from sweeps.report.sentences import headline
from sweeps.results.read import read_table
from sweeps.results.table import PER_CHARACTER, PER_TOKEN, Table, in_one_unit
from sweeps.run.driver import run_sweep
from sweeps.store.folder import Store
from tlab.files import SUMS_NAME
from tlab.text.corpora import corpus_from_text
from tlab.ui.tabs.sweeps.results import ResultsError, own_results

CHINESE = "山高月小水落石出天長地久春花秋月何時了往事知多少\n" * 200


def rows(bytes_per_character=3.0):
    """Characters are better; but per token bytes look so."""
    return [
        {"cell_id": f"{tokenizer}-{seed}", "alias_of": None, "status": "ok", "tokenizer": tokenizer, "seed": seed,
         "val_loss": loss + 0.01 * seed, "tokens_per_character": ratio}
        for tokenizer, loss, ratio in (("char", 6.0, 1.0), ("byte", 4.0, bytes_per_character)) for seed in range(3)
    ]  # fmt: skip


def test_the_tokens_of_a_character_are_counted_exactly():
    assert corpus_from_text(CHINESE, tokenizer="char").tokens_per_character == 1.0
    part = CHINESE[len(CHINESE) * 9 // 10 :]
    assert corpus_from_text(CHINESE, tokenizer="byte").tokens_per_character == len(part.encode()) / len(part)


def test_losses_of_two_tokenizers_are_compared_per_character():
    table = Table(("tokenizer",), rows())
    analysis = Analysis(
        table, {("train", "loss"): {"byte-0": [(1, 5.0)]}, ("train", "gradient_norm"): {"byte-0": [(1, 5.0)]}}
    )
    assert analysis.table.unit == PER_CHARACTER
    (one,) = analysis.comparisons
    assert one.estimate.mean == pytest.approx(6.01 - 3 * 4.01)
    assert analysis.ranked[0].configuration.levels == {"tokenizer": ["char"]}
    assert analysis.curves == {
        ("train", "loss"): {"byte-0": [(1, 15.0)]},
        ("train", "gradient_norm"): {"byte-0": [(1, 5.0)]},
    }
    first, second, *_ = headline(analysis)
    assert first.startswith("Characters has the lowest loss: 6.010 nats per character")
    assert "Characters is better than Bytes by 6.020" in second
    assert "final validation loss, nats per character" in ranking(table)


def test_losses_of_one_tokenizer_stay_per_token():
    table = Table(("tokenizer",), rows()[:3])
    assert in_one_unit(table) is table and table.unit == PER_TOKEN
    assert in_one_unit(in_one_unit(Table(("tokenizer",), rows()))).rows[-1]["val_loss"] == pytest.approx(12.06)


def test_losses_that_cannot_be_converted_are_left_out_and_it_is_said():
    analysis = Analysis(Table(("tokenizer",), rows(None)))
    assert (len(analysis.table.rows), analysis.table.left_out) == (3, 3)
    assert headline(analysis)[0].startswith(
        "Left out are 3 cells: losses per token of two tokenizers cannot be compared"
    )
    assert not analysis.comparisons


def test_a_sweep_over_tokenizers_says_per_character_everywhere(small, folder, tmp_path):
    (tmp_path / "text.txt").write_text(CHINESE, encoding="utf-8")
    grid = small(corpus=(str(tmp_path / "text.txt"),), tokenizer=("char", "byte"), seeds=(0, 1))
    run_sweep(grid, Store(folder))
    by_name = {row["tokenizer"]: row for row in read_table(folder).rows}
    assert by_name["char"]["tokens_per_character"] == 1.0 and 2.8 < by_name["byte"]["tokens_per_character"] < 3.0
    report = write_report(folder).read_text(encoding="utf-8")
    assert "nats per character" in report and "nats per token" not in report
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[1].startswith("char,1") and lines[2].startswith("byte,2")
    shown = own_results(str(folder))
    assert shown.unit == "nats per character"
    per_token, ratio = by_name["byte"]["val_loss"], by_name["byte"]["tokens_per_character"]
    assert math.isclose(shown.cells[shown.cells.tokenizer == "byte"].val_loss.iloc[-1], per_token * ratio)
    (folder / SUMS_NAME).unlink()  # early versions wrote none
    text = (folder / "cells.csv").read_text().replace("tokens_per_character", "forgotten")
    (folder / "cells.csv").write_text(text)
    with pytest.raises(ResultsError, match="losses per token of two tokenizers cannot be compared"):
        own_results(str(folder))

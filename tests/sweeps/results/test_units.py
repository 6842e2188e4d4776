"""Losses of two tokenizers: never compared per token, since a token of one is not one of the other."""

import math

import pytest

from sweeps.console import ranking
from sweeps.report.analysis import Analysis
from sweeps.report.page import write_report
from sweeps.report.sentences import headline
from sweeps.results.read import read_table
from sweeps.results.table import Table, in_one_unit
from sweeps.run.driver import run_sweep
from sweeps.store.folder import Store
from tlab.files import SUMS_NAME
from tlab.text.corpora import corpus_from_text
from tlab.text.units import BITS_PER_BYTE, NATS_PER_TOKEN, has_one_token
from tlab.ui.tabs.sweeps.results import ResultsError, own_results

CHINESE = "山高月小水落石出天長地久春花秋月何時了往事知多少\n" * 200


def rows(bytes_per_character=3.0):
    """Characters are better; but per token bytes look so."""
    return [
        {"cell_id": f"{tokenizer}-{seed}", "alias_of": None, "status": "ok", "tokenizer": tokenizer, "seed": seed,
         "val_loss": loss + 0.01 * seed, "train_bytes_per_token": ratio, "val_bytes_per_token": ratio}
        for tokenizer, loss, ratio in (("char", 6.0, bytes_per_character), ("byte", 4.0, 1.0)) for seed in range(3)
    ]  # fmt: skip


def old_rows(bytes_per_character):
    """The same of a version that counted the tokens of a character."""
    return [
        {name: value for name, value in row.items() if "bytes" not in name}
        | {"tokens_per_character": 1.0 if row["tokenizer"] == "char" else bytes_per_character}
        for row in rows()
    ]


def bits(nats, bytes_per_token):
    return nats / math.log(2) / bytes_per_token


def test_the_tokens_of_a_character_are_counted_exactly():
    assert corpus_from_text(CHINESE, tokenizer="char").tokens_per_character == 1.0
    part = CHINESE[len(CHINESE) * 9 // 10 :]
    assert corpus_from_text(CHINESE, tokenizer="byte").tokens_per_character == len(part.encode()) / len(part)


def test_losses_of_two_tokenizers_are_compared_in_bits_per_byte():
    table = Table(("tokenizer",), rows())
    analysis = Analysis(
        table, {("train", "loss"): {"byte-0": [(1, 5.0)]}, ("train", "gradient_norm"): {"byte-0": [(1, 5.0)]}}
    )
    assert analysis.table.unit == BITS_PER_BYTE
    (one,) = analysis.comparisons
    assert one.estimate.mean == pytest.approx(bits(6.01, 3) - bits(4.01, 1))
    assert analysis.ranked[0].configuration.levels == {"tokenizer": ["char"]}
    assert analysis.curves == {
        ("train", "loss"): {"byte-0": [(1, pytest.approx(bits(5.0, 1)))]},
        ("train", "gradient_norm"): {"byte-0": [(1, 5.0)]},
    }
    first, second, *_ = headline(analysis)
    assert first.startswith("Characters has the lowest loss: 2.890 bits per byte")
    assert "Characters is better than Bytes by 2.895" in second
    assert "final validation loss, bits per byte" in ranking(table)


def test_rows_of_an_early_version_are_compared_in_bits_per_byte_too():
    now, then = (in_one_unit(Table(("tokenizer",), given)).rows for given in (rows(), old_rows(3.0)))
    assert [row["val_loss"] for row in then] == pytest.approx([row["val_loss"] for row in now])


def test_losses_of_one_tokenizer_stay_per_token():
    table = Table(("tokenizer",), rows()[:3])
    assert in_one_unit(table) is table and table.unit == NATS_PER_TOKEN
    twice = in_one_unit(in_one_unit(Table(("tokenizer",), rows())))
    assert twice.rows[-1]["val_loss"] == pytest.approx(bits(4.02, 1))


def test_losses_that_cannot_be_converted_are_left_out_and_it_is_said():
    analysis = Analysis(Table(("tokenizer",), rows(None)))
    assert (len(analysis.table.rows), analysis.table.left_out) == (3, 3)
    assert headline(analysis)[0].startswith(
        "Left out are 3 cells: losses per token of two tokenizers cannot be compared"
    )
    assert not analysis.comparisons


def test_a_sweep_over_tokenizers_says_bits_per_byte_everywhere(small, folder, tmp_path):
    (tmp_path / "text.txt").write_text(CHINESE, encoding="utf-8")
    grid = small(corpus=(str(tmp_path / "text.txt"),), tokenizer=("char", "byte"), seeds=(0, 1))
    run_sweep(grid, Store(folder))
    by_name = {row["tokenizer"]: row for row in read_table(folder).rows}
    assert 2.8 < by_name["char"]["val_bytes_per_token"] < 3.0 and by_name["byte"]["val_bytes_per_token"] == 1.0
    report = write_report(folder).read_text(encoding="utf-8")
    assert "bits per byte" in report and "nats per token" not in report
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[1].startswith("char,1") and lines[2].startswith("byte,2")
    shown = own_results(str(folder))
    assert shown.unit == "bits per byte"
    for tokenizer, row in by_name.items():
        in_bytes = bits(row["val_loss"], row["val_bytes_per_token"])
        assert shown.cells[shown.cells.tokenizer == tokenizer].val_loss.iloc[-1] == pytest.approx(in_bytes)
        assert row["val_bits_per_byte"] == pytest.approx(in_bytes)
    (folder / SUMS_NAME).unlink()  # early versions wrote none
    text = (folder / "cells.csv").read_text()
    for name in ("tokens_per_character", "train_bytes_per_token", "val_bytes_per_token"):
        text = text.replace(name, f"forgotten_{name[:3]}")
    (folder / "cells.csv").write_text(text)
    with pytest.raises(ResultsError, match="losses per token of two tokenizers cannot be compared"):
        own_results(str(folder))


def begun_rows(*bytes_per_token, **more):
    """Of runs to begin with whose tokens are so long."""
    return [
        row | {"start_from": f"run{i}", "train_bytes_per_token": length, "val_bytes_per_token": length, **more}
        for i, length in enumerate(bytes_per_token) for row in rows()[:3]
    ]  # fmt: skip


def test_two_runs_to_begin_with_whose_tokens_are_as_long_are_compared_per_token():
    assert has_one_token(begun_rows(2.5, 2.5))
    assert in_one_unit(Table(("start_from",), begun_rows(2.5, 2.5))).unit == NATS_PER_TOKEN


@pytest.mark.parametrize(
    "found",
    [begun_rows(2.5, 3.0), begun_rows(2.5, None), begun_rows(None, None), rows(1.0)],
    ids=["another length", "one length unknown", "no length known", "two tokenizers of one length"],
)
def test_where_tokens_are_not_known_to_be_the_same_losses_are_compared_in_bits_per_byte(found):
    assert not has_one_token(found)


def test_the_length_of_a_token_may_be_another_on_another_text():
    assert has_one_token([*begun_rows(2.5, 2.5, corpus="a"), *begun_rows(3.0, 3.0, corpus="b")])
    assert not has_one_token([*begun_rows(2.5, 2.5, corpus="a"), *begun_rows(3.0, 2.5, corpus="b")])


def test_a_run_that_failed_before_its_tokens_were_counted_changes_no_unit():
    found = begun_rows(2.5, 2.5)
    found[0] |= {"status": "failed", "val_bytes_per_token": None}
    assert has_one_token(found)

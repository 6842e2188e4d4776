"""Numbers and tables as they are shown and written."""

from typing import NamedTuple

import pytest

from support import EVIL
from tlab.files import as_csv
from tlab.inside.tables import ProbeTable, as_text, cell


class Row(NamedTuple):
    """A row of each kind of column."""

    head: str
    entropy: float
    count: int


ROWS = [Row("0.0", 1.25, 7), Row("10.11", 0.0001, 12345)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"), (0.5, "0.500"), (0.9994, "0.999"), (-2.0, "-2.000"), (0.001, "0.001"), (0.0009, "9.0e-04"),
        (-0.00012, "-1.2e-04"), (9999.0, "9999.000"), (10_000.0, "10000"), (10_000.4, "10000"),
        (7, "7"), ("a word", "a word"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_mean_something(value, shown):
    assert cell(value) == shown


def test_words_stand_at_the_left_and_numbers_at_the_right_under_names_and_units():
    assert as_text(ROWS, {"entropy": "nats"}).splitlines() == [
        "head   entropy  count",
        "          nats",
        "0.0      1.250      7",
        "10.11  1.0e-04  12345",
    ]


def test_a_table_without_units_has_no_line_for_them():
    assert as_text(ROWS[:1], {}).splitlines() == ["head  entropy  count", "0.0     1.250      7"]


def test_an_empty_row_stays_a_row():
    class Word(NamedTuple):
        token: str

    assert as_text([Word(""), Word("a")], {}) == "token\n\na"


def test_a_csv_keeps_every_digit():
    assert as_csv(Row._fields, [Row("a,b", 1 / 3, 7)]) == 'head,entropy,count\n"a,b",0.3333333333333333,7\n'


def test_a_table_is_a_list_that_shows_itself_and_escapes_what_it_shows():
    table = ProbeTable([*ROWS, Row(EVIL, 1.0, 2)], "entropy & more", {"entropy": "bits"})
    assert table == [*ROWS, Row(EVIL, 1.0, 2)] and table[0].head == "0.0"
    assert repr(table) == as_text(table, {"entropy": "bits"})
    shown = table._repr_html_()
    assert "<caption>entropy &amp; more</caption>" in shown and "<small>bits</small>" in shown
    assert "<td>1.250</td>" in shown and shown.count("<tr>") == 4 and "<img" not in shown
    assert repr(ProbeTable([])) == "no rows" and "<table>" in ProbeTable([])._repr_html_()


def test_a_table_becomes_a_frame_with_every_digit_and_its_units():
    frame = ProbeTable(ROWS, "entropy", {"entropy": "bits"}).to_pandas()
    assert list(frame.columns) == ["head", "entropy", "count"] and frame["entropy"].tolist() == [1.25, 0.0001]
    assert frame.attrs == {"title": "entropy", "units": {"entropy": "bits"}}
    assert ProbeTable([]).to_pandas().empty


def test_a_table_of_one_row_is_written_as_any_other():
    class One(NamedTuple):
        name: str
        loss: float

    lines = as_text([One("a", 1.5)], {"loss": "nats"}).splitlines()
    assert lines[0].split() == ["name", "loss"] and lines[-1].split() == ["a", "1.500"]

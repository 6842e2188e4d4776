"""Numbers as tables show them."""

import pytest

from tlab.inside.tables import cell


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"), (0.5, "0.500"), (0.9994, "0.999"), (-2.0, "-2.000"), (0.001, "0.001"), (0.0009, "9.0e-04"),
        (-0.00012, "-1.2e-04"), (9999.0, "9999.000"), (10_000.4, "10000"), (7, "7"), ("a word", "a word"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_mean_something(value, shown):
    assert cell(value) == shown

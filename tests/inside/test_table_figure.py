"""Tables of probes as pictures: every kind, with the numbers of the table in it."""

import math
from typing import NamedTuple

import matplotlib
import numpy as np
import pytest

from support import EVIL, tiny
from tlab import Checkpoint, TrainConfig
from tlab.checks import random_model
from tlab.inside import PROBES, probe
from tlab.inside.over_time import over_time
from tlab.inside.pictures import Estimates, LayerMap, Lines, Map, Matrix, Points
from tlab.inside.probes.heads import HeadsProbe
from tlab.inside.tables import ProbeTable


class Row(NamedTuple):
    """A row of each kind of column."""

    head: str
    place: int
    low: float
    value: float
    high: float


ROWS = [Row("0.0", 1, 0.5, 1.0, 2.0), Row("0.1", 2, 1.5, 2.0, 3.0), Row("1.0", 3, -1.5, -1.0, 0.0)]


def axes_of(picture, rows=ROWS, **units):
    return ProbeTable(rows, "title", units, picture).figure().axes


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.fixture(scope="module")
def checkpoints(verse):
    rng = np.random.default_rng(0)

    def at(step):
        model = random_model(tiny(vocab_size=verse.tokenizer.vocab_size, context_length=16), rng)
        weights = {name: param.data for name, param in model.parameters.items()}
        return Checkpoint(model.config, TrainConfig(), verse.describe(), step, weights)

    return [at(0), at(10)]


@pytest.mark.parametrize("key", PROBES)
def test_the_table_of_every_probe_is_shown_and_drawn(key, checkpoints, verse):
    table = probe(key, checkpoints[0], "the quick brown", verse)
    shown = table._repr_html_()  # which draws the picture: a warning of matplotlib would be an error here
    assert ("<img" in shown) == (table.picture is not None and len(table) > 1)
    assert PROBES.entries[key].label in texts(table.figure())
    assert len(table.to_pandas()) == len(table)


def test_a_point_stands_at_its_value_in_its_interval_with_the_first_row_at_the_top():
    (axes,) = axes_of(Estimates("head", "value", "low", "high"), value="nats")
    (points,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert points.get_xdata().tolist() == [1.0, 2.0, -1.0] and points.get_ydata().tolist() == [0, 1, 2]
    assert [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()] == [[0.5, 2], [1.5, 3], [-1.5, 0]]
    assert axes.yaxis_inverted() and axes.get_xlabel() == "value (nats)"
    assert axes.get_yticklabels()[0].get_text() == "head 1 of layer 1"


def test_heads_have_a_panel_for_each_layer():
    left, right = axes_of(Lines("place", ("value",), by="head"))
    assert [len(left.get_lines()), len(right.get_lines())] == [2, 1]
    assert [axes.get_title() for axes in (left, right)] == ["layer 1", "layer 2"]


def test_cells_below_zero_have_colours_around_zero():
    axes, _ = axes_of(Matrix("head", ("low", "value")))
    (image,) = axes.get_images()
    assert image.get_array().tolist() == [[0.5, 1.0], [1.5, 2.0], [-1.5, -1.0]]
    assert image.norm(0.0) == 0.5 and image.cmap.name == "PuOr"


def test_cells_of_a_map_stand_at_their_places_with_their_text():
    axes, _ = axes_of(Map("place", "low", "value", text="head", x_name="head"))
    assert np.ma.count(axes.get_images()[0].get_array()) == len(ROWS)
    assert {"0.0", "0.1", "1.0"} <= {text.get_text() for text in axes.texts}


def test_a_column_of_cells_is_a_layer():
    axes, _ = axes_of(LayerMap("head", "value"))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layer 1", "layer 2"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["head 1", "head 2"]


def test_a_point_has_its_name_beside_it():
    (axes,) = axes_of(Points("head", "low", "value"))
    assert (axes.texts[0].get_text(), axes.texts[0].xy) == ("L1 H1", (0.5, 1.0))


def test_a_long_table_says_how_many_rows_its_picture_has():
    (axes,) = axes_of(Estimates("head", "value"), [ROWS[0]] * 41)
    assert axes.get_xlabel() == "value (the first 40 of 41 rows)"


def test_values_that_are_not_finite_are_left_out():
    table = ProbeTable([Row("0.0", 1, 0.0, math.nan, 0.0), Row("0.1", 2, 0.0, math.inf, 0.0)], "t", {})
    for picture in (None, Matrix("head", ("value",)), LayerMap("head", "value"), Points("head", "place", "value")):
        table.picture = picture
        assert table.figure().png()[1:4] == b"PNG"


def test_a_table_without_a_picture_is_drawn_by_its_first_numbers_and_an_empty_one_says_so():
    (axes,) = axes_of(None)
    assert axes.get_xlabel() == "place"
    assert "title: no rows" in texts(ProbeTable([], "title").figure())


def test_what_a_token_says_is_drawn_as_it_is():
    figure = ProbeTable([Row(f"$x^2$ {EVIL}\n", 1, 0, 1, 2)] * 2, "$", {}, Estimates("head", "value")).figure()
    assert figure.png() and any(r"\$x^2\$" in text for text in texts(figure))


def test_a_table_over_time_is_lines_over_the_steps(checkpoints, verse):
    table = over_time(checkpoints, HeadsProbe(), "the quick brown", verse)
    assert table.columns[0] == "step" and len(table.to_pandas()) == len(table)
    (axes,) = table.figure("entropy").axes
    assert axes.get_xlabel() == "training step" and axes.get_title(loc="left") == PROBES.entries["heads"].label
    assert table._repr_html_().count("<img") == 1
    table.append(table[0])  # other rows at some step: no lines, but a table
    assert "<img" not in table._repr_html_()

"""Pictures of probes over training time: their layout, what stands at the axes, and how lines are told apart."""

import math

import pytest

from tlab.figures import LINE_STYLES, PALETTE
from tlab.inside import ProbeError
from tlab.inside.figures import over_time_figure
from tlab.inside.over_time import Curves


def picture(steps=(0, 1), lines=1, unit="", values=None, **more):
    """The axes of a picture of lines with these values."""
    values = values or [float(step) for step in steps]
    table = Curves("loss", more.pop("named_by", "part"), list(steps), {f"line {i}": values for i in range(lines)})
    return over_time_figure(table, unit=unit, **more).axes[0]


@pytest.mark.parametrize(
    ("steps", "ticks"),
    [
        ([0], [0, 1]),
        ([0, 1], [0, 1]),
        ([0, 1, 10, 2000], [0, 1, 10, 100, 1000]),
        ([0, 2999], [0, 1, 10, 100, 1000]),
        ([0, 3000], [0, 1, 10, 100, 1000, 3000]),
        ([0, 999], [0, 1, 10, 100, 999]),
        ([0, 1000], [0, 1, 10, 100, 1000]),
    ],
)
def test_the_powers_of_ten_are_marked_and_the_last_step_where_there_is_room(steps, ticks):
    axis = picture(steps).xaxis
    assert axis.get_major_locator()().tolist() == ticks
    assert len(axis.get_minor_locator()()) == 0
    assert axis.get_major_formatter()(3000) == "3,000"


def test_steps_are_on_a_logarithmic_scale_from_the_first_one_on():
    axes = picture([0, 1, 100])
    place = axes.transData.transform
    at = [place((step, 0.5))[0] for step in (0, 1, 10, 100)]
    assert at[2] - at[1] == pytest.approx(at[3] - at[2])
    assert at[0] < at[1]  # step 0 has no logarithm, and a place all the same
    assert axes.get_xlabel() == "training step"


@pytest.mark.parametrize(
    ("values", "shown"), [([0.25, 0.5], (0.0, 1.0)), ([-0.5, 0.5], (-0.55, 1.0)), ([0.5, 1.5], (0.0, 1.55))]
)
def test_shares_are_drawn_from_0_to_1_and_what_lies_outside_is_shown_too(values, shown):
    assert picture(values=values, unit="of 1").get_ylim() == pytest.approx(shown)


def test_the_axis_of_values_says_their_unit_but_for_shares():
    assert [picture(unit=unit).get_ylabel() for unit in ("nats", "of 1", "")] == ["loss (nats)", "loss", "loss"]


def test_a_value_that_is_not_finite_is_a_gap_and_does_not_choose_the_axis():
    axes = picture([0, 1, 2], values=[1.0, math.inf, 2.0])
    assert [math.isnan(value) for value in axes.lines[0].get_ydata()] == [False, True, False]
    assert axes.get_yscale() == "linear"


def test_more_lines_than_colours_have_other_styles_and_no_two_look_alike():
    lines = picture(lines=len(PALETTE) * len(LINE_STYLES)).lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines)
    assert [line.get_color() for line in lines[: len(PALETTE)]] == list(PALETTE)
    assert {line.get_linestyle() for line in lines[: len(PALETTE)]} == {"-"}
    with pytest.raises(ProbeError, match="29 lines cannot be distinguished, 28 can"):
        picture(lines=len(lines) + 1)


def test_the_legend_of_more_than_five_lines_stands_beside_them_in_a_wider_picture():
    few, many = picture(lines=5), picture(lines=6)
    assert few.figure.get_size_inches().tolist() == [7.0, 4.4]
    assert many.figure.get_size_inches().tolist() == [9.0, 4.4]
    for axes, is_beside in ((few, False), (many, True)):
        axes.figure.draw_without_rendering()
        assert (axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1) == is_beside


def test_the_legend_says_what_the_lines_are_named_by_where_it_is_known():
    assert picture().get_legend().get_title().get_text() == "part"
    assert picture(named_by="").get_legend().get_title().get_text() == ""
    assert picture(title="What grows").get_title(loc="left") == "What grows"

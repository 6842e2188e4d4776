"""Figures: what is drawn is what was given, readable, and without a trace in matplotlib's global state."""

import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from tlab.figures import (
    MISSING,
    PALETTE,
    comparison_figure,
    escape,
    loss_figure,
    moving_average,
    save_figure,
)
from tlab.text.units import bits_per_byte
from tlab.training.records import Divergence, StepRecord


def run(losses, validation_every=10):
    return [
        StepRecord(
            step=step,
            loss=loss,
            validation_loss=loss + 0.1 if step % validation_every == 0 else None,
            learning_rate=0.01 / step,
            gradient_norm=1.0,
            tokens=step,
            seconds=float(step),
        )
        for step, loss in enumerate(losses, 1)
    ]


def falling(first, last, steps=100):
    return [first + (last - first) * i / (steps - 1) for i in range(steps)]


def line(axes, label):
    return next(line for line in axes.lines if str(line.get_label()).startswith(label))


def rows(labels=("a", "b"), seeds=(0, 1, 2), steps=(10, 20)):
    return [(label, seed, step, 2.0 + seed + step / 100) for label in labels for seed in seeds for step in steps]


# --- loss ---


def test_every_training_loss_is_drawn_at_its_step():
    losses = falling(4, 2)
    axes = loss_figure(run(losses)).axes[0]
    assert [*axes.lines[0].get_xdata()] == [*range(1, 101)] and [*axes.lines[0].get_ydata()] == losses


def test_every_validation_loss_is_drawn_at_its_step():
    drawn = line(loss_figure(run(falling(4, 4))).axes[0], "validation")
    assert [*drawn.get_xdata()] == [*range(10, 101, 10)]
    np.testing.assert_allclose(drawn.get_ydata(), 4.1)


def test_the_average_of_a_straight_fall_lies_on_it():
    drawn = line(loss_figure(run(falling(4, 2, 400))).axes[0], "training, moving average")
    steps, averages = drawn.get_xdata()[250:], drawn.get_ydata()[250:]
    np.testing.assert_allclose(averages, 4 - 2 * (steps - 1) / 399, atol=1e-3)


def test_the_axis_names_its_unit():
    assert "nats per token" in loss_figure(run(falling(4, 2))).axes[0].get_ylabel()


def test_the_right_axis_reads_the_validation_loss_in_bits_per_byte():
    figure = loss_figure(run(falling(4, 2)), bytes_per_token=2.5)
    (right,) = figure.axes[0].child_axes
    figure.draw_without_rendering()
    assert "bits per byte" in right.get_ylabel()
    left = figure.axes[0].get_ylim()
    assert right.get_ylim() == pytest.approx([bits_per_byte(nats, 2.5) for nats in left])
    assert not loss_figure(run(falling(4, 2))).axes[0].child_axes


def test_the_learning_rate_has_a_panel_of_its_own():
    assert [*loss_figure(run([3.0, 2.0])).axes[1].lines[0].get_ydata()] == [0.01, 0.005]


def test_the_loss_of_a_blind_guess_is_a_line_of_reference():
    drawn = line(loss_figure(run(falling(4, 2)), uniform_loss=math.log(65)).axes[0], "uniform guess")
    assert {*drawn.get_ydata()} == {math.log(65)}


@pytest.mark.parametrize(("losses", "scale"), [(falling(4, 2), "linear"), (falling(4, 0.01), "log")])
def test_the_axis_is_logarithmic_where_losses_differ_much(losses, scale):
    assert loss_figure(run(losses)).axes[0].get_yscale() == scale


def test_a_diverged_run_shows_where_it_ended():
    records = run(falling(4, 9))
    records[-1] = records[-1]._replace(loss=math.nan, divergence=Divergence(100, "logits", "the loss is nan"))
    drawn = line(loss_figure(records).axes[0], "diverged at step 100")
    assert [*drawn.get_xdata()] == [100, 100]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_run_that_has_hardly_begun_can_be_drawn(count, tmp_path):
    save_figure(loss_figure(run([4.0] * count)), tmp_path / "loss.png")  # an exception or a warning fails this test
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_moving_average_is_the_mean_of_the_last_values():
    values = np.arange(100.0) ** 2
    np.testing.assert_allclose(moving_average(values, 7)[60:], [values[i - 6 : i + 1].mean() for i in range(60, 100)])


def test_the_moving_average_begins_with_the_first_value():
    assert moving_average([5.0, 1.0], 20)[0] == 5.0


# --- comparison ---


def test_a_comparison_draws_the_mean_over_seeds():
    drawn = line(comparison_figure(rows()).axes[0], "a")
    assert [*drawn.get_xdata()] == [10, 20]
    np.testing.assert_allclose(drawn.get_ydata(), [3.1, 3.2])


def test_a_comparison_has_a_band_from_the_lowest_to_the_highest_seed():
    band = comparison_figure(rows(labels=("a",))).axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((2.1, 4.2))


def test_one_seed_alone_has_no_band():
    assert not comparison_figure(rows(seeds=(0,))).axes[0].collections


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        save_figure(loss_figure(run(falling(4, 2))), tmp_path / name / "loss")
    for kind in ("png", "svg"):
        assert (tmp_path / f"first/loss.{kind}").read_bytes() == (tmp_path / f"second/loss.{kind}").read_bytes()


def test_no_two_curves_look_the_same():
    labels = [f"curve {i}" for i in range(2 * len(PALETTE))]
    lines = comparison_figure(rows(labels=labels)).axes[0].lines
    assert len({(drawn.get_color(), drawn.get_linestyle()) for drawn in lines}) == len(labels)


def test_values_that_are_not_finite_are_left_out():
    drawn = line(comparison_figure([("a", 0, 1, 3.0), ("a", 0, 2, math.nan)]).axes[0], "a")
    assert [*drawn.get_xdata()] == [1]


def test_a_comparison_of_nothing_can_be_drawn(tmp_path):
    save_figure(comparison_figure([]), tmp_path / "nothing.png")  # an exception or a warning fails this test
    assert (tmp_path / "nothing.png").read_bytes().startswith(b"\x89PNG")


def test_dollars_are_no_formula_and_what_the_font_lacks_is_replaced():
    assert escape("$x 中") == r"\$x " + MISSING


def test_a_title_that_the_font_lacks_is_drawn_without_a_warning(tmp_path):
    save_figure(loss_figure([], title="$ 中 ↵ ␣"), tmp_path / "loss.png")  # a warning fails this test
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


# --- files and global state ---


def test_a_path_without_suffix_means_png_and_svg(tmp_path):
    files = save_figure(loss_figure(run(falling(4, 2))), tmp_path / "loss")
    assert [file.name for file in files] == ["loss.png", "loss.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG") and b"<svg" in files[1].read_bytes()


def test_a_suffix_chooses_one_kind_of_file(tmp_path):
    save_figure(loss_figure([]), tmp_path / "loss.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["loss.svg"]


def test_drawing_leaves_the_global_settings_as_they_were(tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(comparison_figure(rows()), tmp_path / "a")
    save_figure(loss_figure(run(falling(4, 2))), tmp_path / "b")
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_loaded_by_drawing_and_saving(tmp_path):
    program = (
        "import sys; from tlab.figures import loss_figure, save_figure; "
        f"save_figure(loss_figure([]), {str(tmp_path / 'loss')!r}); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"

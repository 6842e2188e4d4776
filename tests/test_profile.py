"""The profile adds up, says what it costs, and leaves no trace in what it looked at."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from support import tiny
from tlab import ComputeConfig, TrainConfig, Trainer
from tlab.cost import flops_by_part
from tlab.figures import flame_figure
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS
from tlab.profile import STEP, Watch, gemm_seconds, profile, table_lines, watched

QUICK = TrainConfig(batch_size=3)


def profile_of(verse, **changes):
    return profile(tiny(vocab_size=verse.tokenizer.vocab_size, **changes), QUICK, verse, steps=5)


@pytest.fixture(scope="module")
def result(verse):
    return profile_of(verse)


def test_the_parts_are_those_of_a_step_and_each_stands_before_what_is_inside_it(result):
    paths = [row.path for row in result.rows]
    assert paths[0] == (STEP,)
    for path in [(STEP, "update"), (STEP, "loss"), (STEP, "backward", "blocks", "mlp", "down"),
                 (STEP, "forward", "blocks", "attention", "qkv"), (STEP, "backward", "embedding")]:  # fmt: skip
        assert path in paths
    assert all(path[:-1] in paths[:i] for i, path in enumerate(paths) if i)


def test_every_part_is_called_as_often_as_there_are_of_it(result):
    calls = {row.path: row.calls for row in result.rows}
    assert calls[(STEP,)] == calls[(STEP, "forward")] == calls[(STEP, "update")] == 1
    assert calls[(STEP, "forward", "blocks")] == 2
    assert calls[(STEP, "forward", "blocks", "norms")] == 4


def test_own_time_is_the_time_without_the_parts_inside(result):
    for row in result.rows:
        inside = sum(other.seconds for other in result.rows if other.path[:-1] == row.path)
        assert row.own_seconds <= row.seconds
        assert row.own_seconds + inside == pytest.approx(row.seconds, rel=0.5, abs=1e-4)  # medians do not add up


@pytest.mark.parametrize("changes", [{}, {"activation": "swiglu", "tied": False, "residual": "sandwich"}])
def test_the_operations_are_those_of_the_cost_table_each_once(changes, verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, **changes)
    rows = profile_of(verse, **changes).rows
    assert sum(row.flops for row in rows) == sum(row.training for row in flops_by_part(config, 3))
    assert sum(r.flops for r in rows if "forward" in r.path) == sum(r.forward for r in flops_by_part(config, 3))


def test_the_bytes_of_a_linear_layer_are_its_input_its_weights_and_its_output(result, verse):
    row = next(row for row in result.rows if row.path[-2:] == ("attention", "out") and "forward" in row.path)
    tokens, C = 3 * 8, 12
    assert row.bytes == 2 * 4 * (tokens * C + C * C + C + tokens * C)  # in two blocks


def test_shares_follow_from_the_measured_rate(result):
    flops = sum(row.flops for row in result.rows)
    assert result.share_of_peak == pytest.approx(flops / result.gemm_rate / result.plain_seconds)
    assert result.own_cost == pytest.approx(result.profiled_seconds / result.plain_seconds - 1)
    assert 1e8 < result.gemm_rate < 1e13 and gemm_seconds() > 0


def test_a_profile_survives_json(result):
    values = json.loads(json.dumps(result.to_json()))
    assert values["rows"][0]["path"] == [STEP] and values["steps"] == 5
    assert values["rows"][3]["share_of_peak"] >= 0 and values["own_cost"] == result.own_cost


def test_the_table_has_a_line_for_every_part_and_tells_its_own_cost(result):
    lines = table_lines(result)
    assert len(lines) == 1 + len(result.rows) + 4
    assert any("being watched adds" in line for line in lines)


def test_watching_changes_no_bit_and_is_gone_afterwards(verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size)
    one, other = (Trainer(config, QUICK, verse, compute=ComputeConfig(threads=1)) for _ in range(2))
    with watched(one, Watch()):
        one.train_step()
    one.train_step()
    other.train_step()
    other.train_step()
    assert (one.model.parameters.data == other.model.parameters.data).all()
    owners = [one, one.optimizer, one.model, one.model.blocks[0].attention, one.model.blocks[0].mlp.activation]
    assert not any(callable(vars(owner).get(name)) for owner in owners for name in ("forward", "train_step", "step"))


def test_an_error_in_a_watched_step_leaves_nothing_covered(verse, monkeypatch):
    trainer = Trainer(tiny(vocab_size=verse.tokenizer.vocab_size), QUICK, verse)
    monkeypatch.setattr(type(trainer.optimizer), "step", lambda self, space, rate: 1 / 0)
    watch = Watch()
    with pytest.raises(ZeroDivisionError), watched(trainer, watch):
        trainer.train_step()
    assert "forward" not in vars(trainer.model) and watch.path == ()


@pytest.mark.parametrize(
    "changes",
    [{"position": key} for key in POSITIONS] + [{"residual": key} for key in RESIDUALS]
    + [{"activation": key} for key in ACTIVATIONS],
    ids=str,
)  # fmt: skip
def test_every_switch_can_be_profiled(changes, verse):
    config = tiny(vocab_size=verse.tokenizer.vocab_size, **changes)
    assert profile(config, QUICK, verse, steps=1).rows


def test_no_steps_at_all_are_refused(verse):
    with pytest.raises(ValueError, match="steps = 0: must be at least 1"):
        profile(tiny(vocab_size=verse.tokenizer.vocab_size), QUICK, verse, steps=0)


def test_a_flame_figure_has_a_bar_for_every_part_on_top_of_its_caller():
    rows = [(("step",), 0.010), (("step", "forward"), 0.004), (("step", "forward", "blocks"), 0.003),
            (("step", "backward"), 0.005)]  # fmt: skip
    (axes,) = flame_figure(rows, title="a $step$").axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches]
    assert np.allclose(bars, [(0, 10, 0), (0, 4, 1), (0, 3, 2), (4, 5, 1)])
    assert [text.get_text().split("\n")[0] for text in axes.texts] == ["step", "forward", "blocks", "backward"]


def test_the_seconds_of_a_part_that_is_called_twice_add_up(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("tlab.profile.CLOCK", lambda: float(next(clock)))
    watch = Watch()
    call = watch.over(SimpleNamespace(work=lambda: None), "work", "part")
    for _ in range(3):
        call()
    assert (watch.calls, watch.seconds) == ({("part",): 3}, {("part",): 3.0})  # one tick from begin to end

"""The drawing follows what a model does, and not what its parts are called."""

from pathlib import Path

import numpy as np
import pytest

from tlab import ModelConfig
from tlab.nn.norms import NORMS
from tlab.nn.params import ones
from tlab.nn.positions import POSITIONS, Position
from tlab.nn.residuals import RESIDUALS, PreNorm, ResidualTrace
from tlab.ui.diagram.dataflow import dataflow
from tlab.ui.diagram.placement import placements

ROOT = Path(__file__).parents[3]


def flow(**changes):
    return dataflow(ModelConfig(11, **changes))


def kinds(found, places=None):
    nodes = found.nodes if places is None else [found.nodes[place] for place in places]
    return [node.kind for node in nodes]


def in_block(found):
    return kinds(found, [place for place, node in enumerate(found.nodes) if node.in_block])


def place_of(found, kind):
    return kinds(found).index(kind)


@pytest.fixture
def parallel(register):
    """The parallel layout, under a name that says nothing."""
    register(RESIDUALS, "of-this-test", RESIDUALS["parallel"])
    return flow(residual="of-this-test")


@pytest.mark.parametrize(
    ("residual", "block", "final"),
    [
        ("pre", ["norm", "attention", "add", "norm", "mlp", "add"], ["norm", "head"]),
        ("post", ["attention", "add", "norm", "mlp", "add", "norm"], ["head"]),
        ("sandwich", ["norm", "attention", "norm", "add", "norm", "mlp", "norm", "add"], ["norm", "head"]),
        ("inside", ["attention", "norm", "add", "mlp", "norm", "add"], ["norm", "head"]),
    ],
)
def test_norms_stand_where_the_layout_runs_them(residual, block, final):
    found = flow(residual=residual)
    assert in_block(found) == block
    assert kinds(found)[found.leaves + 1 :] == final


def test_the_stream_goes_past_the_sublayers():
    found = flow(residual="sandwich")
    assert kinds(found, found.stream()) == ["tokens", "embedding", "multiply", "add", "add", "add", "norm", "head"]


def test_the_norm_of_a_sum_is_on_the_stream():
    found = flow(residual="post", embedding_scale=1.0)
    on_stream = kinds(found, found.stream())
    assert on_stream == ["tokens", "embedding", "add", "add", "norm", "add", "norm", "head"]


def test_a_layout_of_this_test_has_both_sublayers_on_the_stream_that_enters(parallel):
    sublayers = [parallel.nodes[place_of(parallel, kind)] for kind in ("attention", "mlp")]
    norms = [parallel.nodes[one.inputs[0]] for one in sublayers]
    assert [norm.kind for norm in norms] == ["norm", "norm"]
    assert norms[0].inputs == norms[1].inputs == (parallel.enters,)


def test_its_sublayers_stand_on_either_side_of_the_stream(parallel):
    (placement,) = placements([parallel])
    assert placement.lanes[place_of(parallel, "attention")] == 1
    assert placement.lanes[place_of(parallel, "mlp")] == -1
    assert placement.columns[place_of(parallel, "attention")] == placement.columns[place_of(parallel, "mlp")]


def test_what_two_models_share_stands_in_the_same_column():
    flows = [flow(residual="pre"), flow(residual="sandwich")]
    a, b = placements(flows)
    for kind in ("attention", "mlp", "head"):
        assert a.columns[place_of(flows[0], kind)] == b.columns[place_of(flows[1], kind)]


def test_every_node_stands_after_what_it_reads():
    for residual in RESIDUALS:
        found = flow(residual=residual)
        (placement,) = placements([found])
        for place, node in enumerate(found.nodes):
            assert all(placement.columns[source] < placement.columns[place] for source in node.inputs)


@pytest.mark.parametrize("position", POSITIONS)
def test_positions_are_added_where_they_say_that_they_act(position):
    added = any(node.constant == "position" for node in flow(position=position).nodes)
    assert added == ("embedding" in POSITIONS[position].acts_on)


def test_a_position_of_this_test_that_adds_is_seen(register):
    class Shifted(Position):
        def embed(self, x, start):
            return x + np.arange(start, start + x.shape[1])[:, None]

    register(POSITIONS, "shifted", Shifted)
    assert any(node.constant == "position" for node in flow(position="shifted").nodes)


def test_a_model_without_norm_has_places_for_one():
    assert NORMS["none"].is_identity
    assert in_block(flow(norm="none")) == in_block(flow(norm="layernorm"))


def test_a_scale_of_one_is_no_product():
    assert "multiply" not in kinds(flow(embedding_scale=1.0))


class Weighed(PreNorm):
    """Weighs what the MLP adds, in place and by a number that is learned; and measures what nobody reads."""

    def __init__(self, space, name, branches, make_norm):
        super().__init__(space, name, branches, make_norm)
        self.weight = space.declare(f"{name}.weight", (1,), ones)

    def forward(self, x, attention, mlp):
        added, first = attention(x)
        between = x + added
        added, second = mlp(between)
        weighed = np.empty_like(added)
        np.multiply(added, self.weight.data, out=weighed)
        np.abs(weighed).max()
        y = between + weighed
        return y, (ResidualTrace(x, first, between), ResidualTrace(between, second, y))


def test_a_product_made_in_place_is_seen_and_a_statistic_is_not(register):
    register(RESIDUALS, "weighed", Weighed)
    found = flow(residual="weighed")
    assert in_block(found) == ["norm", "attention", "add", "norm", "mlp", "multiply", "add"]
    assert found.nodes[place_of(found, "multiply")].constant in ("8", "learned")
    assert found.nodes[-3].inputs == (found.enters + 3, len(found.nodes) - 4)


class Plain(PreNorm):
    """Works on plain copies, so that nothing can be followed."""

    def forward(self, x, attention, mlp):
        y, trace = super().forward(np.array(x), attention, mlp)
        return np.array(y.tolist()), trace


def test_a_layout_that_cannot_be_followed_is_one_box(register):
    register(RESIDUALS, "plain", Plain)
    found = flow(residual="plain")
    assert found.nodes[found.leaves].kind == "layout"
    assert {"attention", "mlp"} <= set(in_block(found))

"""The stream is the sum of what its parts add, in every layout; and a part is what is gone when it is switched off."""

import numpy as np
import pytest

from support import all_combinations, tiny
from tlab import Transformer
from tlab.checks import random_model
from tlab.inside import ProbeError
from tlab.inside.contributions import linearized, stream_contributions, unembedding
from tlab.inside.interventions import (
    INTERVENTIONS,
    Context,
    Part,
    find_part,
    part_output,
    parts_of,
    run_changed,
    without_norms,
    without_positions,
)
from tlab.nn.norms import NORMS
from tlab.nn.params import ParamSpace
from tlab.nn.residuals import RESIDUALS


def total(contributions):
    return np.sum([contribution.value for contribution in contributions], axis=0)


def heads_of(model):
    return [part for part in parts_of(model) if part.unit is not None]


@pytest.mark.parametrize("config", all_combinations())
def test_contributions_add_up_to_what_the_head_reads(config, rng, ids):
    model = random_model(config, rng)
    _, trace = model.forward(ids)
    np.testing.assert_allclose(total(stream_contributions(model, trace)), trace.output, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_contributions_add_up_to_the_stream_at_every_depth(residual, depth, rng, ids):
    model = random_model(tiny(residual=residual), rng)
    _, trace = model.forward(ids)
    stream = trace.blocks[depth - 1].y if depth else trace.embedded
    np.testing.assert_allclose(total(stream_contributions(model, trace, depth)), stream, rtol=1e-9, atol=1e-9)


def test_a_stream_of_zeros_is_taken_apart_too(ids):
    model = Transformer(tiny(norm="none", position="none"))
    model.parameters.data[...] = 0
    assert not total(stream_contributions(model, model.forward(ids)[1])).any()


def test_a_layout_that_does_more_than_to_add_is_refused(rng, ids):
    class Halved(RESIDUALS["pre"]):
        """Halves the stream on the way."""

        def forward(self, x, attention, mlp):
            y, (first, second) = super().forward(x, attention, mlp)
            return y / 2, (first, second._replace(y=y / 2))

    model = random_model(tiny(), rng)
    for block in model.blocks:
        block.layout.__class__ = Halved
    with pytest.raises(ProbeError, match="Halved does more to the stream than to add to it and to norm it"):
        stream_contributions(model, model.forward(ids)[1])


def test_a_norm_that_does_not_state_its_form_is_refused():
    class Unstated(NORMS["layernorm"]):
        """Says nothing of what it does."""

        centered = None

    with pytest.raises(ProbeError, match="Unstated does not state its form"):
        linearized(Unstated(ParamSpace(), "norm", 4, 1e-5), np.zeros((1, 4)), None)


def test_of_a_norm_that_squashes_each_number_a_part_is_squashed_as_the_whole_is(rng):
    space = ParamSpace()
    norm = NORMS["dyt"](space, "norm", 4, 1e-5)
    space.pack(0, np.dtype(np.float64))
    x = np.array([[0.0, 1e-9, 3.0, -50.0]])
    _, cache = norm.forward(x)
    parts = rng.standard_normal((2, 1, 4))
    parts[1] = x - parts[0]
    whole = np.sum([linearized(norm, part, cache) for part in parts], axis=0)
    np.testing.assert_allclose(whole, norm.reference(x), rtol=1e-12, atol=1e-12)
    assert linearized(norm, np.ones((1, 4)), cache)[0, 0] == 0.5  # the slope, where x is 0


def test_contributions_through_the_unembedding_are_the_logits(rng, ids):
    for tied in (True, False):
        model = random_model(tiny(tied=tied), rng)
        logits, trace = model.forward(ids)
        np.testing.assert_allclose(total(stream_contributions(model, trace)) @ unembedding(model), logits, rtol=1e-9)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("part", [Part(1, "attention", 2), Part(1, "attention"), Part(1, "mlp"), Part(1, "mlp", 5)])
def test_switching_a_part_off_takes_its_contribution_out_of_the_sum(residual, part, rng, ids):
    model = random_model(tiny(residual=residual), rng)
    _, before = model.forward(ids)
    _, after = run_changed(model, ids, {part: INTERVENTIONS["zero"]()})
    half = 0 if part.kind == "attention" else 1
    lost = before.blocks[1][half].added - after.blocks[1][half].added
    wanted = {c.name: c.value for c in stream_contributions_of_block(model, before, 1)[half]}
    if part.unit is None:
        expected = sum(value for name, value in wanted.items() if name != "offset")
        np.testing.assert_allclose(lost, expected, rtol=1e-9, atol=1e-12)
    elif part.kind == "attention":
        np.testing.assert_allclose(lost, wanted[str(part)], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(before.blocks[0].y, after.blocks[0].y)
    assert not np.allclose(before.logits, after.logits)


def test_what_takes_nothing_from_another_text_is_the_same_with_one_beside_it(rng, ids):
    model = random_model(tiny(residual="sandwich"), rng)
    _, other = model.forward(ids[:, ::-1])
    change = {Part(0, "attention"): INTERVENTIONS["zero"]()}
    alone, beside = (run_changed(model, ids, change, reference)[0] for reference in (None, other))
    np.testing.assert_array_equal(alone, beside)


def stream_contributions_of_block(model, trace, layer):
    from tlab.inside.contributions import block_contributions

    return block_contributions(model.blocks[layer], trace.blocks[layer], layer)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_the_neurons_of_an_mlp_are_together_the_mlp(residual, rng, ids):
    config = tiny(residual=residual)
    model = random_model(config, rng)
    off = INTERVENTIONS["zero"]()
    one_by_one, _ = run_changed(model, ids, {Part(0, "mlp", n): off for n in range(config.mlp_dim)})
    at_once, _ = run_changed(model, ids, {Part(0, "mlp"): off})
    np.testing.assert_allclose(one_by_one, at_once, rtol=1e-9)


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_no_change_and_a_scale_of_one_change_nothing(residual, rng, ids):
    model = random_model(tiny(residual=residual), rng)
    logits, _ = model.forward(ids)
    np.testing.assert_array_equal(run_changed(model, ids, {})[0], logits)
    same, _ = run_changed(model, ids, {part: INTERVENTIONS["scale"](1.0) for part in heads_of(model)})
    np.testing.assert_allclose(same, logits, rtol=1e-12)


def test_the_mean_over_equal_texts_and_places_is_what_was_there(rng):
    model = random_model(tiny(position="none"), rng)
    ids = np.full((2, 5), 3)  # with one token everywhere and no positions every place is alike
    logits, _ = model.forward(ids)
    changed, _ = run_changed(model, ids, {Part(0, "mlp"): INTERVENTIONS["mean"]()})
    np.testing.assert_allclose(changed, logits, rtol=1e-12)


def test_patching_every_part_of_a_layer_brings_over_what_the_other_text_added(rng, ids):
    model = random_model(tiny(), rng)
    other = (ids + 1) % 11
    _, reference = model.forward(other)
    patch = INTERVENTIONS["patch"]()
    _, trace = run_changed(model, ids, {Part(0, "attention"): patch, Part(0, "mlp"): patch}, reference)
    np.testing.assert_allclose(
        trace.blocks[0].attention_residual.added, reference.blocks[0].attention_residual.added, rtol=1e-9
    )
    np.testing.assert_allclose(trace.blocks[0].mlp_residual.added, reference.blocks[0].mlp_residual.added, rtol=1e-9)


def test_a_head_without_queries_is_a_head_that_looks_at_everything_alike(rng, ids):
    model = random_model(tiny(position="none"), rng)
    changed, _ = run_changed(model, ids, {Part(0, "attention"): INTERVENTIONS["uniform"]()})
    qkv = model.blocks[0].attention.qkv
    C = model.config.hidden_dim
    qkv.weight.data[:, :C] = 0
    qkv.bias.data[:C] = 0
    np.testing.assert_allclose(changed, model.forward(ids)[0], rtol=1e-9)


def test_all_heads_of_a_layer_one_by_one_are_the_layer(rng, ids):
    model = random_model(tiny(), rng)
    uniform = INTERVENTIONS["uniform"]()
    at_once, _ = run_changed(model, ids, {Part(0, "attention"): uniform})
    one_by_one, _ = run_changed(model, ids, {part: uniform for part in heads_of(model) if part.layer == 0})
    np.testing.assert_allclose(one_by_one, at_once, rtol=1e-9)
    alone, _ = run_changed(model, ids, {Part(0, "attention", 1): uniform})
    assert not np.allclose(alone, at_once)


def test_taking_out_positions_or_norms_gives_the_model_that_never_had_them(rng, ids):
    for slot, value, take_out in [("position", "rope", without_positions), ("norm", "layernorm", without_norms)]:
        model = random_model(tiny(**{slot: value}), rng)
        bare = random_model(tiny(**{slot: "none"}), rng)
        for name, param in bare.parameters.items():
            param.data[...] = model.parameters[name].data
        take_out(model)
        np.testing.assert_array_equal(model.forward(ids)[0], bare.forward(ids)[0])


def test_a_scale_doubles_what_a_part_adds_unless_told_otherwise(rng, ids):
    model = random_model(tiny(norm="none"), rng)
    plain, doubled = (model.forward(ids)[1], run_changed(model, ids, {Part(1, "mlp"): INTERVENTIONS["scale"]()})[1])
    bias = model.blocks[1].mlp.down.bias.data
    np.testing.assert_allclose(
        doubled.blocks[1].mlp_residual.added - bias, 2 * (plain.blocks[1].mlp_residual.added - bias), rtol=1e-9
    )


def test_the_mean_may_be_that_of_another_pass(rng, ids):
    model = random_model(tiny(), rng)
    _, reference = model.forward(ids[:, :3] % 5)
    mean, part = INTERVENTIONS["mean"](), Part(0, "attention", 1)
    context = Context(np.zeros((1, 7, 12)), part, model.blocks[0], None, reference)
    there = part_output(model.blocks[0], reference.blocks[0].attention, part)
    np.testing.assert_allclose(mean.apply(context), np.broadcast_to(there.mean((0, 1)), (1, 7, 12)))


def test_a_part_is_found_by_its_name_and_a_wrong_name_is_told(rng):
    model = random_model(tiny(), rng)
    for part in [*parts_of(model), Part(1, "mlp", 29)]:
        assert find_part(model, str(part)) == part
    wrong_places = (
        "attention.2",
        "mlp.2",
        "attention.2.head.0",
        "attention.0.head.3",
        "mlp.2.neuron.0",
        "mlp.0.neuron.30",
    )
    no_places = ("attention.x", "attention.x.head.0", "attention.0.head.x", "mlp.x.neuron.0", "mlp.0.neuron.x")
    for wrong in (*wrong_places, *no_places, "mlp.0.head.1", "norm.0", "head", ""):
        with pytest.raises(ValueError, match=r"attention\.N\.head\.M"):
            find_part(model, wrong)


def test_a_change_that_cannot_be_is_told(rng, ids):
    model = random_model(tiny(), rng)
    with pytest.raises(ValueError, match="needs another text"):
        run_changed(model, ids, {Part(0, "mlp"): INTERVENTIONS["patch"]()})
    with pytest.raises(ValueError, match="same number of tokens"):
        run_changed(model, ids, {Part(0, "mlp"): INTERVENTIONS["patch"]()}, model.forward(ids[:, :3])[1])
    with pytest.raises(ValueError, match="no attention weights"):
        run_changed(model, ids, {Part(0, "mlp"): INTERVENTIONS["uniform"]()})

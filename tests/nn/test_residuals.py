"""A layout is one class, and sees both branches: some that are registered here work wherever the lab's own do."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from support import tiny
from tlab import Checkpoint, TrainConfig, Trainer, Transformer
from tlab.checks import random_model, run_checks
from tlab.cost import activation_bytes_by_part
from tlab.inside import PROBES, ProbeError, probe
from tlab.inside.contributions import stream_contributions
from tlab.inside.interventions import INTERVENTIONS, Part, run_changed, without_norms
from tlab.nn.decoder import Decoder
from tlab.nn.norms import NORMS, DyT, LayerNorm, Norm
from tlab.nn.params import ones
from tlab.nn.residuals import RESIDUALS, PreNorm, Residual, ResidualTrace, Sequential
from tlab.profile import profile
from tlab.source import page

ROOT = Path(__file__).parents[2]


def parallel_one_norm():
    """The class that CONTRIBUTING shows."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    ((_, example),) = re.findall(r"```python\n(@RESIDUALS[^\n]*\n)(class Parallel.*?)```", text, re.DOTALL)
    scope = {"Residual": Residual, "ResidualTrace": ResidualTrace}
    exec(example, scope)
    return scope["ParallelOneNorm"]


class Weighed(Sequential):
    """Weighs what is added, by a number that is learned: more than to add and to norm (Bachlechner et al. 2020)."""

    norm_places = ("in",)
    final_norm = True

    def __init__(self, space, name, branches, make_norm):
        super().__init__(space, name, branches, make_norm)
        self.weights = [space.declare(f"{name}.weight{i}", (1,), ones) for i in (1, 2)]

    def forward(self, x, attention, mlp):
        residuals = []
        for run, weight in zip((attention, mlp), self.weights, strict=True):
            added, branch = run(x)
            y = x + weight.data * added
            residuals.append(ResidualTrace(x, branch, y))
            x = y
        return x, tuple(residuals)

    def backward(self, dy, trace, attention, mlp):
        for run, weight, residual in zip((mlp, attention), self.weights[::-1], trace[::-1], strict=True):
            weight.grad += np.sum(dy * residual.added)
            dy = dy + run(weight.data * dy, residual.branch)
        return dy


REGISTERED = {"one-norm": parallel_one_norm(), "weighed": Weighed}
LAYOUTS = ["parallel", *REGISTERED]
SUMS = ["parallel", "one-norm"]  # those that only add, and so can be taken apart


@pytest.fixture(autouse=True)
def registered(register):
    for key, layout in REGISTERED.items():
        register(RESIDUALS, key, layout)


# --- a layout that sees both branches ---


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", "none"])
@pytest.mark.parametrize("residual", LAYOUTS)
def test_its_gradients_are_right_and_it_keeps_every_promise(residual, norm):
    checks = list(run_checks(tiny(residual=residual, norm=norm, position="alibi")))
    assert {"gradient", "meaning"} == {check.group for check in checks}
    assert [f"{check.name}: {check.error:.1e}" for check in checks if not check.passed] == []


@pytest.mark.parametrize("residual", LAYOUTS)
def test_it_learns(residual, verse):
    config = tiny(residual=residual, vocab_size=verse.tokenizer.vocab_size)
    records = list(Trainer(config, TrainConfig(steps=40, learning_rate=0.01, warmup_steps=0), verse))
    assert records[-1].loss < records[0].loss - 0.5


@pytest.mark.parametrize("residual", LAYOUTS)
def test_it_decodes_as_a_full_forward_pass_does(residual, rng):
    model = random_model(tiny(residual=residual), rng)
    tokens = rng.integers(0, 11, 8)
    full = model.forward(tokens[None])[0][0]
    cache = model.new_cache()
    model.forward(tokens[None, :3], cache)
    decoder = Decoder(model, cache)
    assert [decoder.logits(token) for token in tokens[3:]] == pytest.approx(full[3:], rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("residual", LAYOUTS)
def test_its_recomputed_blocks_give_the_bits_of_the_others(residual, rng, ids):
    model = random_model(tiny(residual=residual), rng)
    replica = model.replica(np.zeros_like(model.parameters.grad), recompute=True)
    for one in (model, replica):
        one.parameters.grad[...] = 0
        one.accumulate_gradients(ids, ids)
    np.testing.assert_array_equal(replica.parameters.grad, model.parameters.grad)


def test_in_parallel_the_mlp_hears_nothing_of_attention(rng, ids):
    model = random_model(tiny(residual="parallel"), rng)
    _, before = model.forward(ids)
    _, after = run_changed(model, ids, {Part(0, "attention"): INTERVENTIONS["zero"]()})
    bias = model.blocks[0].attention.out.bias.data
    np.testing.assert_allclose(after.blocks[0].attention_residual.added, np.zeros((2, 6, 12)) + bias, atol=1e-12)
    np.testing.assert_array_equal(after.blocks[0].mlp_residual.added, before.blocks[0].mlp_residual.added)
    assert not np.allclose(after.logits, before.logits)


@pytest.mark.parametrize("residual", SUMS)
@pytest.mark.parametrize("depth", [1, 2, None])
def test_its_contributions_add_up(residual, depth, rng, ids):
    model = random_model(tiny(residual=residual), rng)
    _, trace = model.forward(ids)
    total = np.sum([part.value for part in stream_contributions(model, trace, depth)], axis=0)
    np.testing.assert_allclose(
        total, trace.output if depth is None else trace.blocks[depth - 1].y, rtol=1e-9, atol=1e-9
    )


def test_a_layout_that_does_more_than_to_add_is_not_taken_apart(rng, ids):
    model = random_model(tiny(residual="weighed"), rng)
    with pytest.raises(ProbeError, match="Weighed does more to the stream than to add to it and to norm it"):
        stream_contributions(model, model.forward(ids)[1])


@pytest.mark.parametrize("residual", LAYOUTS)
def test_without_its_norms_it_is_the_model_that_never_had_any(residual, rng, ids):
    model, bare = (random_model(tiny(residual=residual, norm=norm), rng) for norm in ("layernorm", "none"))
    for name, param in bare.parameters.items():
        param.data[...] = model.parameters[name].data
    without_norms(model)
    np.testing.assert_array_equal(model.forward(ids)[0], bare.forward(ids)[0])


@pytest.mark.parametrize("residual", LAYOUTS)
def test_every_probe_answers_or_says_why_not(residual, rng, verse):
    config = tiny(residual=residual, vocab_size=verse.tokenizer.vocab_size, context_length=16)
    model = random_model(config, rng)
    weights = {name: param.data for name, param in model.parameters.items()}
    checkpoint = Checkpoint(model.config, TrainConfig(), verse.describe(), 0, weights)
    for name in PROBES:
        if (residual, name) in [("weighed", "stream"), ("weighed", "attribution"), ("one-norm", "circuits")]:
            with pytest.raises(ProbeError, match="does more to"):
                probe(name, checkpoint, "the quick", verse)
        else:
            assert probe(name, checkpoint, "the quick", verse)


@pytest.mark.parametrize("residual", LAYOUTS)
def test_what_it_costs_is_counted(residual, verse):
    config = tiny(residual=residual, vocab_size=verse.tokenizer.vocab_size)
    assert {row.part for row in activation_bytes_by_part(config, 3)} >= {"norms", "attention", "mlp", "residual stream"}
    assert profile(config, TrainConfig(batch_size=3), verse, steps=1).rows


def test_its_page_shows_its_own_forward():
    assert list(page("residual", "weighed").parts) == ["forward", "backward"]
    assert page("residual", "pre").parts["forward"] == page("residual", "post").parts["forward"]


# --- what a layout states ---


def test_layouts_that_only_place_norms_say_so_and_others_do_not():
    assert {key for key, layout in RESIDUALS.items() if layout.only_norms_differ} == {
        "pre",
        "post",
        "sandwich",
        "inside",
    }


@pytest.mark.parametrize("method", ["__init__", "forward", "backward"])
def test_a_layout_that_defines_a_method_again_no_longer_differs_in_its_norms_only(method):
    other = type("Other", (PreNorm,), {method: getattr(PreNorm, method)})
    assert not other.only_norms_differ and other.mlp_reads_sum is None
    assert type("Same", (PreNorm,), {"norm_places": ("in", "sum")}).only_norms_differ


@pytest.mark.parametrize("places", [("in", "sum"), ("out",), ("in", "out", "sum"), ()])
def test_norms_may_stand_at_any_of_the_places(places, register, rng, ids):
    register(RESIDUALS, "other", type("Other", (PreNorm,), {"norm_places": places}))
    config = tiny(residual="other")
    assert [check.name for check in run_checks(config) if not check.passed] == []
    model = random_model(config, rng)
    _, trace = model.forward(ids)
    total = np.sum([part.value for part in stream_contributions(model, trace)], axis=0)
    np.testing.assert_allclose(total, trace.output, rtol=1e-9, atol=1e-9)
    decoder = Decoder(model, model.new_cache())
    assert [decoder.logits(token) for token in ids[0]] == pytest.approx(trace.logits[0], rel=1e-9, abs=1e-9)


def test_an_unknown_place_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="allowed are in, out, sum"):
        type("Other", (PreNorm,), {"norm_places": ("before",)})


def test_a_second_norm_has_its_place_in_its_name(register):
    register(RESIDUALS, "other", type("Other", (PreNorm,), {"norm_places": ("in", "sum")}))
    names = [name for name in Transformer(tiny(residual="other")).parameters if name.startswith("blocks.0.norm2")]
    assert names == [f"blocks.0.norm2{suffix}.{part}" for suffix in ("", "_sum") for part in ("scale", "shift")]


# --- what a norm states ---


class LargestNorm(Norm):
    """Divides by the largest entry, and states nothing."""

    has_parameters = False

    @staticmethod
    def reference(x, epsilon):
        return x / (np.abs(x).max(-1, keepdims=True) + epsilon)

    def forward(self, x):
        largest = np.abs(x).max(-1, keepdims=True) + self.epsilon
        return x / largest, (x, largest)

    def backward(self, dy, cache):
        x, largest = cache
        dx = dy / largest
        at = np.abs(x).argmax(-1)[..., None]
        dlargest = -(dy * x).sum(-1, keepdims=True) / (largest * largest)
        sign = np.sign(np.take_along_axis(x, at, -1))
        np.put_along_axis(dx, at, np.take_along_axis(dx, at, -1) + dlargest * sign, -1)
        return dx


@pytest.mark.parametrize("residual", ["pre", "post", "sandwich"])
def test_a_norm_that_states_nothing_is_decoded_as_it_is_and_not_taken_apart(residual, register, rng, ids):
    register(NORMS, "largest", LargestNorm)
    config = tiny(norm="largest", residual=residual)
    assert [check.name for check in run_checks(config) if not check.passed] == []
    model = random_model(config, rng)
    logits, trace = model.forward(ids)
    decoder = Decoder(model, model.new_cache())
    assert [decoder.logits(token) for token in ids[0]] == pytest.approx(logits[0], rel=1e-9, abs=1e-9)
    with pytest.raises(ProbeError, match="LargestNorm does not state its form"):
        stream_contributions(model, trace)


def test_a_norm_with_a_forward_of_its_own_does_not_inherit_what_another_states():
    class Doubled(LayerNorm):
        def forward(self, x):
            y, cache = super().forward(x)
            return 2 * y, cache

    class Renamed(LayerNorm):
        pass

    class Halved(DyT):
        def forward(self, x):
            y, cache = super().forward(x)
            return y / 2, cache

    assert Doubled.centered is None and Renamed.centered is True
    assert Halved.factor is Norm.factor and Halved.measures_vector and not DyT.measures_vector


def test_only_a_norm_that_says_so_is_the_identity():
    assert [key for key, norm in NORMS.items() if norm.is_identity] == ["none"]
    config = dataclasses.replace(tiny(norm="none"), residual="post")
    assert Transformer(config).blocks[0].norms[0].is_identity
